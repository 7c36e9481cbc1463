//! `personal_sign`: hashing by EIP-191 version 0x45 and the proof that an address signed.

use alloy_primitives::keccak256;

use crate::address::Address;
use crate::chain::ChainId;
use crate::eip4361::Message;
use crate::signature::{RecoverableSignature, SignatureError};

/// The hash that `personal_sign` signs: keccak-256 of `0x19 ‖ "Ethereum Signed Message:\n" ‖ length ‖ message`.
pub fn hash_message(message: &[u8]) -> [u8; 32] {
    let mut prefixed = format!("\x19Ethereum Signed Message:\n{}", message.len()).into_bytes();
    prefixed.extend_from_slice(message);
    keccak256(prefixed).0
}

/// Proof that the account named in a message signed exactly its text. Only [`verify`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedSigner {
    address: Address,
    chain: ChainId,
}

impl VerifiedSigner {
    /// The account that signed.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// The chain that the message names.
    pub const fn chain(&self) -> ChainId {
        self.chain
    }
}

/// Why a message is not shown to be signed by the account it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The signature is malformed.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It was made by another key, or over another text.
    #[error("the signature was not made over this message by the address in it")]
    Mismatch,
}

/// Verifies an externally owned account's signature over the exact text of `message`.
///
/// # Errors
/// [`VerifyError`]; every failure means that nobody is signed in.
pub fn verify(
    message: &Message<'_>,
    signature: &RecoverableSignature,
) -> Result<VerifiedSigner, VerifyError> {
    let signer = signature.recover(&hash_message(message.text().as_bytes()))?;
    if signer != message.address {
        return Err(VerifyError::Mismatch);
    }
    Ok(VerifiedSigner {
        address: signer,
        chain: message.chain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Agreed on by viem, cast, alloy and k256.
    const MESSAGE: &str = "gate.example.com wants you to sign in with your Ethereum account:\n0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\nUnlock the download.\n\nURI: https://gate.example.com/login\nVersion: 1\nChain ID: 31337\nNonce: a1b2c3d4e5f60718\nIssued At: 2026-01-02T03:04:05.000Z\nExpiration Time: 2036-01-02T03:04:05.000Z\nRequest ID: req-1\nResources:\n- https://gate.example.com/files/1";
    const SIGNATURE: &str = "0x458dd2a4edb59845b994dcdc6b439edf867110e1fa5104e8bf5e20064beaad505a4c5422f60aa5cbcf7e730e6d6747519b1172c1d696d1d0edad9295270ef33c1b";

    #[test]
    fn the_published_vector_hashes_and_verifies() {
        assert_eq!(
            hex::encode(hash_message(MESSAGE.as_bytes())),
            "f5fe4d8f1cdd3d4e9f22f727871768d3c050cbd105bf1c7de6bedf516ff85633"
        );
        let message = Message::parse(MESSAGE).unwrap();
        let signer = verify(
            &message,
            &RecoverableSignature::from_hex(SIGNATURE).unwrap(),
        )
        .unwrap();
        assert_eq!(signer.address(), message.address);
        assert_eq!(signer.chain().id(), 31337);
    }

    #[test]
    fn any_change_of_the_text_or_the_account_is_refused() {
        let signature = RecoverableSignature::from_hex(SIGNATURE).unwrap();
        for (from, to) in [
            ("Unlock", "Unlocc"),
            ("req-1", "req-2"),
            ("Chain ID: 31337", "Chain ID: 1"),
            (
                "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            ),
            (
                "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
            ),
        ] {
            let text = MESSAGE.replace(from, to);
            let message = Message::parse(&text).unwrap();
            assert_eq!(
                verify(&message, &signature),
                Err(VerifyError::Mismatch),
                "{to}"
            );
        }
    }
}
