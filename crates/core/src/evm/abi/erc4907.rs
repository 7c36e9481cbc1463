//! ERC-4907 (EIP-4907): a token's user beside its owner, for rented tokens.

use alloy_sol_types::{SolCall, sol};

use super::DecodeError;
use crate::{Address, U256};

sol! {
    function userOf(uint256 tokenId) external view returns (address);
}

/// Calldata of `userOf(token_id)`.
pub fn user_of(token_id: U256) -> Vec<u8> {
    userOfCall { tokenId: token_id }.abi_encode()
}

/// The user in the answer to [`user_of`]: nobody, where there is none or the rent is over.
///
/// # Errors
/// [`DecodeError`], also for the empty answer of an address without code.
pub fn decode_user(returned: &[u8]) -> Result<Option<Address>, DecodeError> {
    let user = userOfCall::abi_decode_returns_validate(returned).map_err(|_| DecodeError)?;
    // "The zero address indicates that there is no user".
    Ok(Some(user)
        .filter(|user| !user.is_zero())
        .map(Address::from_alloy))
}
