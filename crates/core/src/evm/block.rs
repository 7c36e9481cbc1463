//! Blocks: their names, and what a call can tell of the one it ran at.

use crate::jsonrpc::LinkedHeader;

/// A block by number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockId {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// The block that an `eth_call` ran at, as the call itself saw it, of a chain whose id the same answer proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionBlock {
    /// Its number, as `eth_blockNumber` counts.
    pub number: u64,
    /// When it was made, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// The block before it; none before the first, and where the call does not tell.
    pub parent: Option<BlockId>,
    /// Whether the block that was known before is no longer part of the chain.
    pub reorged: bool,
}

/// Whether a chain's contracts see its own blocks: their numbers as `eth_blockNumber` counts them, and their hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// They do: what a call says of its block can be relied on.
    Own,
    /// They see the numbers of another chain, or hashes that are none: only a header says which block was read.
    Foreign,
}

impl Numbering {
    /// Compares a block's header with the block as a contract saw it; `None` if their times say that they are two blocks.
    pub fn of(header: &LinkedHeader, seen: &ExecutionBlock) -> Option<Self> {
        let LinkedHeader { header, parent } = header;
        if seen.timestamp != header.timestamp {
            return None;
        }
        let is_parent = seen
            .parent
            .is_none_or(|seen| parent.is_none_or(|parent| parent == seen.hash));
        let is_own = seen.number == header.number && is_parent;
        Some(if is_own { Self::Own } else { Self::Foreign })
    }
}
