//! ERC-1271 (EIP-1271): a contract says whether a signature is its own.

use alloy_sol_types::{SolCall, sol};

use crate::Address;

sol! {
    function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4 magicValue);
}

/// What `isValidSignature` returns for a valid signature, as a word.
pub const ACCEPTED: [u8; 32] = {
    let mut word = [0; 32];
    [word[0], word[1], word[2], word[3]] = [0x16, 0x26, 0xba, 0x7e];
    word
};

/// Calldata of `isValidSignature(hash, signature)`.
pub fn is_valid_signature(hash: [u8; 32], signature: &[u8]) -> Vec<u8> {
    isValidSignatureCall {
        hash: hash.into(),
        signature: signature.to_vec().into(),
    }
    .abi_encode()
}

/// What a contract makes of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no contract at the address.
    NoCode,
    /// It is its own.
    Accepted,
    /// It is not, or the contract does not know the question.
    Refused,
    /// It is its own only after the account was initialised within the call.
    Initialised,
}

/// A check of a signature by the contract at `account`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check<'a> {
    /// Whose signature.
    pub account: Address,
    /// What was signed.
    pub hash: [u8; 32],
    /// The signature, in the contract's own form.
    pub signature: &'a [u8],
}
