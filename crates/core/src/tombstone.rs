//! Tombstones: marks that invalidate every cached fact of one contract at once.
//!
//! A transfer marks the facts that it changes one by one. Where those are too many to be held, or where the logs of a block
//! cannot be read, the contract gets one mark that every lookup of its facts consults.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fact::{Fact, Known, Read, Touch};
use crate::{Address, ChainId};

/// What invalidates the facts of one contract, and when that was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// What facts have to know of.
    pub touch: Touch,
    /// When it was written.
    pub at: Timestamp,
}

/// Stored bytes that are no tombstone. Whether facts of the contract are valid is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tombstone cannot be read")]
pub struct TombstoneError;

/// The stored form: edition, block, when it was written and the time that facts have to be younger than, in milliseconds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    e: u8,
    b: u64,
    t: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<i64>,
}

const EDITION: u8 = 1;

/// A mark that is obeyed for less than this from now on is replaced rather than relied on: longer than any provider that is
/// not behind may take to come to the block.
const HARDLY: Duration = Duration::from_secs(60);

impl Tombstone {
    /// The key in the shared store, below a prefix of the caller's.
    pub fn store_key(chain: ChainId, contract: Address) -> String {
        format!("{}:{}", chain.id(), contract.to_lower_hex())
    }

    /// The bytes kept in the shared store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let since = self.touch.since.map(Timestamp::as_millisecond);
        // Serialising integers into a vector has no way to fail.
        serde_json::to_vec(&Stored {
            e: EDITION,
            b: self.touch.block,
            t: self.at.as_millisecond(),
            s: since,
        })
        .unwrap_or_default()
    }

    /// Reads the bytes back.
    ///
    /// # Errors
    /// [`TombstoneError`], for anything unexpected: a tombstone that is overlooked lets outdated facts in.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TombstoneError> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|_| TombstoneError)?;
        let time = |millis| Timestamp::from_millisecond(millis).map_err(|_| TombstoneError);
        if stored.e != EDITION {
            return Err(TombstoneError);
        }
        Ok(Self {
            touch: Touch {
                block: stored.b,
                since: stored.s.map(time).transpose()?,
            },
            at: time(stored.t)?,
        })
    }

    /// This together with what happens now; `None` if that adds nothing. Once this is obeyed for hardly any longer, its
    /// block counts no more: a block that has not come until then must not hide what happens now.
    pub fn merged(self, touch: Touch, now: Timestamp, obeyed: Duration) -> Option<Self> {
        let end = self.at.checked_add(obeyed.saturating_sub(HARDLY));
        let lasts = end.is_ok_and(|end| now < end);
        let kept = Touch {
            block: if lasts { self.touch.block } else { 0 },
            since: self.touch.since,
        };
        let touch = kept.and(touch);
        (!lasts || touch != self.touch).then_some(Self { touch, at: now })
    }

    /// Whether `fact`, of the contract, is invalid. A block is obeyed for `obeyed`: a fact that was read later than that
    /// says that whoever named the block was mistaken.
    pub fn outdates(&self, fact: &Fact, obeyed: Duration) -> bool {
        let later = self.at.checked_add(obeyed);
        !self.touch.is_known_to(fact) && later.is_ok_and(|later| fact.read_at < later)
    }

    /// What is known of a fact of the contract, in view of this: where the fact is invalid or missing, what is known is
    /// that it was invalidated.
    pub fn cover(&self, known: Option<Known>, obeyed: Duration) -> Known {
        match known {
            Some(Known::Fact(fact)) if !self.outdates(&fact, obeyed) => Known::Fact(fact),
            Some(Known::Touched(touch, at)) => {
                let at_last = at.max(self.at);
                // The block of one that was no longer obeyed when the other was noted counts no more.
                let counted = |touch: Touch, noted: Timestamp| Touch {
                    block: match noted.checked_add(obeyed) {
                        Ok(end) if end <= at_last => 0,
                        _ => touch.block,
                    },
                    ..touch
                };
                let touch = counted(touch, at).and(counted(self.touch, self.at));
                Known::Touched(touch, at_last)
            }
            Some(Known::Fact(_)) | None => Known::Touched(self.touch, self.at),
        }
    }
}

impl Read {
    /// The contract whose transfers change the answer; none for what no transfer event tells of (native balances,
    /// delegations, owners of accounts).
    pub const fn contract(&self) -> Option<Address> {
        match self {
            Self::Erc721Balance { contract, .. }
            | Self::Erc721Owner { contract, .. }
            | Self::Erc1155Balance { contract, .. }
            | Self::Erc1155Balances { contract, .. }
            | Self::Erc20Balance { contract, .. }
            | Self::Erc4907User { contract, .. }
            | Self::View { contract, .. } => Some(*contract),
            Self::NativeBalance { .. } | Self::AccountOwner { .. } | Self::Delegation { .. } => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::U256;
    use crate::fact::Value;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn fact(block: u64, second: i64) -> Fact {
        Fact {
            value: Value::Amount(U256::ONE),
            block,
            read_at: at(second),
        }
    }

    const OBEYED: Duration = Duration::from_secs(1_800);

    #[test]
    fn facts_of_before_a_tombstone_are_invalid_and_later_ones_are_not() {
        let by_block = Tombstone {
            touch: Touch {
                block: 12,
                since: None,
            },
            at: at(100),
        };
        assert!(by_block.outdates(&fact(11, 900), OBEYED));
        assert!(!by_block.outdates(&fact(12, 50), OBEYED));
        assert!(by_block.outdates(&fact(11, 1_899), OBEYED));
        assert!(
            !by_block.outdates(&fact(11, 1_900), OBEYED),
            "obeyed for long enough"
        );
        assert!(
            by_block.outdates(&fact(11, -9_000), OBEYED),
            "of long before"
        );
        let by_time = Tombstone {
            touch: Touch {
                block: 0,
                since: Some(at(100)),
            },
            at: at(100),
        };
        assert!(by_time.outdates(&fact(99, 100), OBEYED));
        assert!(!by_time.outdates(&fact(1, 103), OBEYED));
        let both = by_block.merged(by_time.touch, at(100), OBEYED).unwrap();
        assert!(both.outdates(&fact(11, 103), OBEYED) && both.outdates(&fact(12, 100), OBEYED));
        assert!(!both.outdates(&fact(12, 103), OBEYED));
    }

    #[test]
    fn a_mark_that_is_hardly_obeyed_hides_no_later_event() {
        let mistaken = Tombstone {
            touch: Touch {
                block: 1_000_000_000,
                since: Some(at(-7)),
            },
            at: at(0),
        };
        let sale = Touch {
            block: 900,
            since: None,
        };
        assert_eq!(mistaken.merged(sale, at(60), OBEYED), None, "known already");
        for second in [1_740, 1_800, 9_000] {
            let merged = mistaken.merged(sale, at(second), OBEYED).unwrap();
            let expected = Touch {
                block: 900,
                since: Some(at(-7)),
            };
            assert_eq!((merged.touch, merged.at), (expected, at(second)));
            assert!(merged.outdates(&fact(895, second + 9), OBEYED));
        }
        // The same event, told again when the mark is hardly obeyed any longer.
        let noted = Tombstone {
            touch: sale,
            at: at(0),
        };
        assert_eq!(noted.merged(sale, at(60), OBEYED), None);
        let again = noted.merged(sale, at(1_800), OBEYED).unwrap();
        assert_eq!((again.touch, again.at), (sale, at(1_800)));
        let later = Touch {
            block: 1_000_000_001,
            since: None,
        };
        let merged = mistaken.merged(later, at(60), OBEYED).unwrap();
        assert_eq!((merged.touch.block, merged.at), (1_000_000_001, at(60)));
        // A fact's own mark, noted when the contract's was no longer obeyed, is not held to its block.
        let covered = mistaken.cover(Some(Known::Touched(sale, at(1_800))), OBEYED);
        let expected = Touch {
            block: 900,
            since: Some(at(-7)),
        };
        assert_eq!(covered, Known::Touched(expected, at(1_800)));
    }

    #[test]
    fn what_is_known_is_covered() {
        let tombstone = Tombstone {
            touch: Touch {
                block: 12,
                since: None,
            },
            at: at(100),
        };
        let touched = Known::Touched(tombstone.touch, at(100));
        assert_eq!(tombstone.cover(None, OBEYED), touched);
        assert_eq!(
            tombstone.cover(Some(Known::Fact(fact(11, 50))), OBEYED),
            touched
        );
        let later = Known::Fact(fact(12, 50));
        assert_eq!(tombstone.cover(Some(later.clone()), OBEYED), later);
        let mark = Touch {
            block: 14,
            since: None,
        };
        assert_eq!(
            tombstone.cover(Some(Known::Touched(mark, at(90))), OBEYED),
            Known::Touched(mark, at(100))
        );
    }

    #[test]
    fn a_tombstone_survives_the_store_and_anything_else_is_an_error() {
        for since in [None, Some(at(7))] {
            let tombstone = Tombstone {
                touch: Touch { block: 12, since },
                at: at(100),
            };
            let bytes = tombstone.to_bytes();
            assert_eq!(Tombstone::from_bytes(&bytes), Ok(tombstone));
        }
        for bytes in [
            &b""[..],
            b"null",
            b"{}",
            br#"{"e":2,"b":1,"t":1}"#,
            br#"{"e":1,"b":-1,"t":1}"#,
            br#"{"e":1,"b":1,"t":9223372036854775807}"#,
            br#"{"e":1,"b":1,"t":1,"x":1}"#,
            br#"{"e":1,"v":"a5","b":1,"t":1}"#,
        ] {
            assert_eq!(Tombstone::from_bytes(bytes), Err(TombstoneError));
        }
    }
}
