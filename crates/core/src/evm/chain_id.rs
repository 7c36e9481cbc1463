//! Chain identifiers by CAIP-2, namespace `eip155`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An EVM chain: written `eip155:<chain id>` (CAIP-2), the id as in EIP-155.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(u64);

/// Why a string is not a chain of the `eip155` namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chain is written eip155:<decimal chain id>, for example eip155:1")]
pub struct ChainIdError;

impl ChainId {
    /// The chain with this EIP-155 id; 0 names none.
    pub const fn new(id: u64) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// The EIP-155 chain id.
    pub const fn id(self) -> u64 {
        self.0
    }

    /// Reads a bare decimal chain id without sign or leading zero, as EIP-4361 writes it.
    pub fn from_decimal(text: &str) -> Result<Self, ChainIdError> {
        let canonical = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
        if !canonical {
            return Err(ChainIdError);
        }
        text.parse().ok().and_then(Self::new).ok_or(ChainIdError)
    }
}

impl FromStr for ChainId {
    type Err = ChainIdError;

    fn from_str(text: &str) -> Result<Self, ChainIdError> {
        Self::from_decimal(text.strip_prefix("eip155:").ok_or(ChainIdError)?)
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eip155:{}", self.0)
    }
}

impl Serialize for ChainId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChainId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_eip155_references_are_chains() {
        assert_eq!("eip155:31337".parse(), Ok(ChainId(31337)));
        assert_eq!(ChainId(1).to_string(), "eip155:1");
        for text in [
            "1",
            "eip155:",
            "eip155:0",
            "eip155:01",
            "eip155:+1",
            "eip155:-1",
            "eip155:1 ",
            "cosmos:1",
            "eip155:18446744073709551616",
        ] {
            assert_eq!(text.parse::<ChainId>(), Err(ChainIdError), "{text}");
        }
    }
}
