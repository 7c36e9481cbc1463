//! Lists of addresses, in the configuration or as the root of a Merkle tree.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::Polarity;
use crate::gate::Truth;
use crate::wallet::Holders;
use crate::{Address, ChainId};

/// A list of addresses. What a wallet's vault is on does not count: being listed cannot be delegated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowlist {
    /// Who is on it.
    pub members: Members,
    /// Where its addresses are contracts, if they may be. The same address on another chain may be somebody else's.
    pub chain: Option<ChainId>,
}

/// Who is on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// These.
    Addresses(BTreeSet<Address>),
    /// Whoever brings a proof that leads to this root.
    Merkle([u8; 32]),
}

impl Allowlist {
    /// Whether one of the wallets is on it. To be let in, a wallet needs to be proven where its address counts; what
    /// keeps out takes its address alone.
    pub(super) fn names(&self, holders: &Holders, polarity: Polarity) -> bool {
        holders.wallets().iter().any(|wallet| {
            let counts = polarity == Polarity::Excludes
                || wallet.is_of_key()
                || self.chain.is_some_and(|chain| wallet.counts_on(chain));
            counts
                && match &self.members {
                    Members::Addresses(addresses) => addresses.contains(&wallet.address),
                    Members::Merkle(root) => holders
                        .proof()
                        .is_some_and(|proof| proof.leads(wallet.address, root)),
                }
        })
    }

    /// Whether it admits the holders; unknown of wallets that nobody has signed for, where saying so would tell of the
    /// list. A Merkle list is told of: its root is public, and the proof came along.
    pub(super) fn truth(&self, holders: &Holders, polarity: Polarity) -> Truth {
        if self.is_withheld(holders) {
            return Truth::Unknown;
        }
        self.names(holders, polarity).into()
    }

    fn is_withheld(&self, holders: &Holders) -> bool {
        holders.is_named_only() && matches!(self.members, Members::Addresses(_))
    }

    /// What the holders have of it; nothing where that is not told.
    pub(super) fn has(&self, holders: &Holders, polarity: Polarity) -> Option<&'static str> {
        Some(match (&self.members, holders.proof()) {
            _ if self.is_withheld(holders) => return None,
            _ if self.names(holders, polarity) => "on the list",
            (Members::Merkle(_), None) => "no proof",
            (Members::Merkle(_), Some(_)) => "a proof of something else",
            (Members::Addresses(_), _) => "not on the list",
        })
    }

    /// Without the addresses: who else is on it is nobody's business.
    pub(super) fn members(&self) -> Map<String, Json> {
        let mut members = Map::new();
        match &self.members {
            Members::Addresses(addresses) => {
                members.insert("addresses".into(), addresses.len().into());
            }
            Members::Merkle(root) => {
                let root = format!("0x{}", hex::encode(root));
                members.insert("merkle_root".into(), root.into());
            }
        }
        if let Some(chain) = self.chain {
            members.insert("chain".into(), chain.to_string().into());
        }
        members
    }
}
