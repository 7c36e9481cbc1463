//! Which cached facts a transfer changes.

use super::Config;
use crate::ChainId;
use crate::fact::{FactKey, Read};
use crate::transfer::Transfer;

impl Config {
    /// The facts about configured gates that `transfer` on `chain` changes.
    pub fn touched(&self, chain: ChainId, transfer: &Transfer) -> Vec<FactKey> {
        let contract = transfer.contract;
        [transfer.from, transfer.to]
            .map(|owner| FactKey {
                chain,
                read: Read::Erc721Balance { contract, owner },
            })
            .into()
    }
}
