//! Lists of addresses, in the configuration or as the root of a Merkle tree.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::Polarity;
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

    pub(super) fn has(&self, holders: &Holders, polarity: Polarity) -> &'static str {
        match (&self.members, holders.proof()) {
            _ if self.names(holders, polarity) => "on the list",
            (Members::Merkle(_), None) => "no proof",
            (Members::Merkle(_), Some(_)) => "a proof of something else",
            (Members::Addresses(_), _) => "not on the list",
        }
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
