//! `personal_sign`: hashing by EIP-191 version 0x45.

use alloy_primitives::keccak256;

/// The hash that `personal_sign` signs: keccak-256 of `0x19 ‖ "Ethereum Signed Message:\n" ‖ length ‖ message`.
pub fn hash_message(message: &[u8]) -> [u8; 32] {
    let mut prefixed = format!("\x19Ethereum Signed Message:\n{}", message.len()).into_bytes();
    prefixed.extend_from_slice(message);
    keccak256(prefixed).0
}
