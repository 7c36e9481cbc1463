//! Short names for long things.

use alloy_primitives::keccak256;

/// 16 bytes that stand for the concatenation of `parts`: the first of its keccak-256.
pub fn fingerprint(parts: &[&[u8]]) -> [u8; 16] {
    let hash = keccak256(parts.concat());
    let mut short = [0; 16];
    for (byte, hashed) in short.iter_mut().zip(hash) {
        *byte = hashed;
    }
    short
}
