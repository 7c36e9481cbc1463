//! `personal_sign`: hashing by EIP-191 version 0x45.

use alloy_primitives::keccak256;

/// The hash that `personal_sign` signs: keccak-256 of `0x19 ‖ "Ethereum Signed Message:\n" ‖ length ‖ message`.
pub fn hash_message(message: &[u8]) -> [u8; 32] {
    let mut prefixed = format!("\x19Ethereum Signed Message:\n{}", message.len()).into_bytes();
    prefixed.extend_from_slice(message);
    keccak256(prefixed).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{RecoverableSignature, bytes_from_hex};

    /// Agreed on by viem, cast, alloy and k256.
    const MESSAGE: &str = "gate.example.com wants you to sign in with your Ethereum account:\n0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\nUnlock the download.\n\nURI: https://gate.example.com/login\nVersion: 1\nChain ID: 31337\nNonce: a1b2c3d4e5f60718\nIssued At: 2026-01-02T03:04:05.000Z\nExpiration Time: 2036-01-02T03:04:05.000Z\nRequest ID: req-1\nResources:\n- https://gate.example.com/files/1";
    const SIGNATURE: &str = "0x458dd2a4edb59845b994dcdc6b439edf867110e1fa5104e8bf5e20064beaad505a4c5422f60aa5cbcf7e730e6d6747519b1172c1d696d1d0edad9295270ef33c1b";

    #[test]
    fn the_published_vector_hashes_and_recovers() {
        let hash = hash_message(MESSAGE.as_bytes());
        assert_eq!(
            hex::encode(hash),
            "f5fe4d8f1cdd3d4e9f22f727871768d3c050cbd105bf1c7de6bedf516ff85633"
        );
        let bytes = bytes_from_hex(SIGNATURE).unwrap();
        let signer = RecoverableSignature::from_bytes(&bytes)
            .unwrap()
            .recover(&hash)
            .unwrap();
        assert_eq!(
            signer.to_string(),
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
        );
    }
}
