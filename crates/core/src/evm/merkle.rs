//! Merkle trees of addresses as `StandardMerkleTree` of OpenZeppelin makes them of the leaf encoding `["address"]`.
//!
//! A leaf is hashed twice and a pair of nodes once, so that no node passes for a leaf; the two of a pair are sorted, so
//! that a proof needs no sides.

use alloy_primitives::keccak256;

use crate::Address;

/// The most nodes in a proof: a tree of 2⁶⁴ leaves.
pub const MAX_NODES: usize = 64;

/// The nodes beside the path from a leaf to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof(Vec<[u8; 32]>);

/// Why texts are no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Too many nodes.
    #[error("a proof has at most {MAX_NODES} entries")]
    Long,
    /// The entry at this index is no node.
    #[error("entry {0} of the proof is not 0x followed by 64 hexadecimal digits")]
    Node(usize),
}

impl Proof {
    /// Reads the nodes, each `0x` and 64 hexadecimal digits, from the leaf up.
    ///
    /// # Errors
    /// [`ProofError`], which counts from 0.
    pub fn parse<'a>(nodes: impl IntoIterator<Item = &'a str>) -> Result<Self, ProofError> {
        let mut proof = Vec::new();
        for (index, text) in nodes.into_iter().enumerate() {
            if index >= MAX_NODES {
                return Err(ProofError::Long);
            }
            proof.push(node(text).ok_or(ProofError::Node(index))?);
        }
        Ok(Self(proof))
    }

    /// Whether it leads from `address` to `root`.
    pub fn leads(&self, address: Address, root: &[u8; 32]) -> bool {
        let pair = |a: [u8; 32], b: &[u8; 32]| {
            let (low, high) = if a <= *b { (a, *b) } else { (*b, a) };
            keccak256([low, high].concat()).0
        };
        self.0.iter().fold(leaf(address), pair) == *root
    }
}

/// `0x` and 64 hexadecimal digits.
pub fn node(text: &str) -> Option<[u8; 32]> {
    let mut node = [0; 32];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut node).ok()?;
    Some(node)
}

/// `keccak256(keccak256(abi.encode(address)))`.
fn leaf(address: Address) -> [u8; 32] {
    keccak256(keccak256(address.into_alloy().into_word())).0
}
