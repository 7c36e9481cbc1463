//! Short names for long things.

use alloy_primitives::keccak256;
use hmac::Mac as _;

use crate::keys::keyed;

/// 16 bytes that stand for the concatenation of `parts`: the first of its keccak-256.
pub fn fingerprint(parts: &[&[u8]]) -> [u8; 16] {
    let hash = keccak256(parts.concat());
    let mut short = [0; 16];
    for (byte, hashed) in short.iter_mut().zip(hash) {
        *byte = hashed;
    }
    short
}

/// 16 bytes that stand for the list of `parts`, and that nobody without `key` can foresee: of HMAC-SHA-256, each part
/// behind its length.
pub fn keyed_fingerprint(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 16] {
    let mut state = keyed(key);
    for part in parts {
        let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
        state.update(&len.to_be_bytes());
        state.update(part);
    }
    let mut short = [0; 16];
    for (byte, hashed) in short.iter_mut().zip(state.finalize().into_bytes()) {
        *byte = hashed;
    }
    short
}
