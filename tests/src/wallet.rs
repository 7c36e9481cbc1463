//! Externally owned accounts that sign as wallets do (EIP-191 `personal_sign`).

use alloy_primitives::{Address, B256, eip191_hash_message, hex, keccak256};
use anyhow::Context;
use k256::ecdsa::SigningKey;

/// The well-known development keys: those of the mnemonic "test test … junk" that every development chain funds.
const DEVELOPMENT: [&str; 2] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
];

/// A private key and what it signs.
pub struct Wallet {
    key: SigningKey,
}

impl Wallet {
    /// The development key that deploys the demo's contracts and owns its tokens.
    pub fn owner() -> anyhow::Result<Self> {
        Self::development(0)
    }

    /// The development key that owns nothing.
    pub fn stranger() -> anyhow::Result<Self> {
        Self::development(1)
    }

    /// A wallet of its own for `seed`, unknown to the chain.
    pub fn seeded(seed: &str) -> anyhow::Result<Self> {
        Self::from_key(keccak256(seed))
    }

    fn development(index: usize) -> anyhow::Result<Self> {
        let key = DEVELOPMENT.get(index).context("no such development key")?;
        Self::from_key(key.parse()?)
    }

    pub(crate) fn from_key(key: B256) -> anyhow::Result<Self> {
        Ok(Self {
            key: SigningKey::from_slice(key.as_slice())?,
        })
    }

    /// The account's address.
    pub fn address(&self) -> Address {
        let point = self.key.verifying_key().to_sec1_point(false);
        // The uncompressed point without its leading 0x04.
        Address::from_raw_public_key(point.as_bytes().get(1..).unwrap_or_default())
    }

    /// `0x` + r ‖ s ‖ v over the EIP-191 hash of `message`, v in {27, 28}.
    pub fn personal_sign(&self, message: &str) -> String {
        hex::encode_prefixed(self.sign_hash(eip191_hash_message(message)))
    }

    /// r ‖ s ‖ v over `hash` itself, s in the lower half of the order, v in {27, 28}.
    pub fn sign_hash(&self, hash: B256) -> Vec<u8> {
        let (signature, recovery) = self.key.sign_prehash_recoverable(hash.as_slice());
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + recovery.to_byte());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_development_keys_have_their_well_known_addresses() {
        let addresses = [Wallet::owner(), Wallet::stranger()].map(|w| w.unwrap().address());
        assert_eq!(
            addresses.map(|a| a.to_checksum(None)),
            [
                "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
            ]
        );
    }

    #[test]
    fn personal_sign_agrees_with_the_published_vector() {
        let path = crate::root().join("tests/vectors/eip191/personal_sign.json");
        let vectors: Vec<serde_json::Value> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(vectors.len(), 1);
        for vector in vectors {
            let key = vector["private_key"].as_str().unwrap().parse().unwrap();
            let wallet = Wallet::from_key(key).unwrap();
            let signature = wallet.personal_sign(vector["message"].as_str().unwrap());
            assert_eq!(vector["signature"], signature);
            assert_eq!(vector["address"], wallet.address().to_string());
        }
    }
}
