//! ERC-721 (EIP-721): non-fungible tokens.

use alloy_sol_types::{SolCall, sol};

use super::DecodeError;
use crate::{Address, U256};

sol! {
    function balanceOf(address owner) external view returns (uint256);
    function ownerOf(uint256 tokenId) external view returns (address);
}

/// Calldata of `balanceOf(owner)`. ERC-20 spells it the same.
pub fn balance_of(owner: Address) -> Vec<u8> {
    balanceOfCall {
        owner: owner.into_alloy(),
    }
    .abi_encode()
}

/// The balance in the answer to [`balance_of`].
///
/// # Errors
/// [`DecodeError`], also for the empty answer of an address without code.
pub fn decode_balance(returned: &[u8]) -> Result<U256, DecodeError> {
    balanceOfCall::abi_decode_returns_validate(returned).map_err(|_| DecodeError)
}

/// Calldata of `ownerOf(token_id)`, which reverts for a token that nobody owns.
pub fn owner_of(token_id: U256) -> Vec<u8> {
    ownerOfCall { tokenId: token_id }.abi_encode()
}

/// The owner in the answer to [`owner_of`].
///
/// # Errors
/// [`DecodeError`], also for the empty answer of an address without code.
pub fn decode_owner(returned: &[u8]) -> Result<Address, DecodeError> {
    ownerOfCall::abi_decode_returns_validate(returned)
        .map(Address::from_alloy)
        .map_err(|_| DecodeError)
}
