//! ERC-721 (EIP-721): non-fungible tokens.

use alloy_sol_types::{Revert, SolCall, SolError, sol};

use super::DecodeError;
use crate::{Address, U256};

sol! {
    function balanceOf(address owner) external view returns (uint256);
    function ownerOf(uint256 tokenId) external view returns (address);

    // How the widespread implementations throw for a token that nobody owns: EIP-6093, and ERC-721A.
    error ERC721NonexistentToken(uint256 tokenId);
    error OwnerQueryForNonexistentToken();
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

/// Whether `ownerOf` reverting with this data says that nobody owns the token, as EIP-721 demands for invalid tokens.
///
/// A reason in words and the errors of the widespread implementations say so. A failure without data is what running
/// out of gas looks like; a panic, a pause or an unknown error says something else.
pub fn is_unowned(reverted: &[u8]) -> bool {
    [
        Revert::SELECTOR,
        ERC721NonexistentToken::SELECTOR,
        OwnerQueryForNonexistentToken::SELECTOR,
    ]
    .iter()
    .any(|selector| reverted.starts_with(selector))
}
