//! Blocks: their names, and what a call can tell of the one it ran at.

/// A block by number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockId {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl BlockId {
    /// The bytes kept in the shared store: the number, big-endian, and the hash.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.number.to_be_bytes()[..], &self.hash].concat()
    }

    /// Reads the bytes back. Anything unexpected is `None`.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (number, hash) = bytes.split_first_chunk()?;
        Some(Self {
            number: u64::from_be_bytes(*number),
            hash: hash.try_into().ok()?,
        })
    }
}

/// The block that an `eth_call` ran at, as the call itself saw it, of a chain whose id the same answer proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionBlock {
    /// Its number, as contracts see it.
    pub number: u64,
    /// When it was made, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// The block before it; none before the first, and where the call does not tell.
    pub parent: Option<BlockId>,
    /// Whether the block that was known before is no longer part of the chain.
    pub reorged: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_back_from_its_bytes_and_from_no_others() {
        let block = BlockId {
            number: u64::MAX - 1,
            hash: [0xab; 32],
        };
        let bytes = block.to_bytes();
        assert_eq!(BlockId::from_bytes(&bytes), Some(block));
        assert_eq!(BlockId::from_bytes(&bytes[1..]), None);
        assert_eq!(BlockId::from_bytes(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(BlockId::from_bytes(&[]), None);
    }
}
