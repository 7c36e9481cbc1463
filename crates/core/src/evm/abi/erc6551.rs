//! ERC-6551 (EIP-6551): accounts that belong to a token.

use alloy_sol_types::{SolCall, sol};

use super::DecodeError;
use crate::Address;

sol! {
    // Of the reference implementation: the EIP's interfaces leave the account's owner to `isValidSigner`.
    function owner() external view returns (address);
}

/// Calldata of `owner()`.
pub fn owner() -> Vec<u8> {
    ownerCall {}.abi_encode()
}

/// The owner in the answer to [`owner`]: nobody, where the token is on another chain.
///
/// # Errors
/// [`DecodeError`], also for the empty answer of an account that is not deployed.
pub fn decode_owner(returned: &[u8]) -> Result<Option<Address>, DecodeError> {
    let owner = ownerCall::abi_decode_returns_validate(returned).map_err(|_| DecodeError)?;
    Ok(Some(owner)
        .filter(|owner| !owner.is_zero())
        .map(Address::from_alloy))
}
