//! Invalidates cached facts that a transfer changes: each by a mark in its place, or where those are many, all facts of a
//! contract by its tombstone.

use std::collections::BTreeMap;
use std::time::Duration;

use tokengate_core::config::{Chain, Config};
use tokengate_core::fact::{FactKey, Touch};
use tokengate_core::transfer::Transfer;
use tokengate_core::{Address, Timestamp};

use crate::background::Background as _;
use crate::cache::facts::FactCache;
use crate::ports::{Ports, StoreError};
use crate::store::{self, Contract, StoreClient};

/// After this facts are invalidated again: an older one may have been kept meanwhile that was read before.
const AGAIN: Duration = Duration::from_secs(1);

/// The most facts of a contract that are invalidated one by one, and those of all.
const MAX_FACTS: usize = 256;
const MAX_ALL_FACTS: usize = 2_048;

/// What facts have to know of, where something happened in the block of this number; where it was undone, that is the time.
pub(crate) const fn touch_of(block: u64, undone: bool, now: Timestamp) -> Touch {
    if undone {
        // A block that is gone may have been read by its number.
        Touch {
            block: 0,
            since: Some(now),
        }
    } else {
        Touch { block, since: None }
    }
}

/// What is to be invalidated, merged while it is gathered: at most [`MAX_FACTS`] facts of each contract that gates name, and
/// [`MAX_ALL_FACTS`] in all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Invalidations {
    facts: BTreeMap<Contract, BTreeMap<FactKey, Touch>>,
    /// How many facts there are in all.
    count: usize,
    contracts: BTreeMap<Contract, Touch>,
}

impl Invalidations {
    /// Adds the facts that a transfer changes.
    pub(crate) fn add(
        &mut self,
        config: &Config,
        chain: &Chain,
        transfer: &Transfer,
        touch: Touch,
    ) {
        let contract = (chain.id, transfer.contract);
        if let Some(known) = self.contracts.get_mut(&contract) {
            *known = known.and(touch);
            return;
        }
        let touched = config.touched(chain.id, transfer);
        if touched.is_empty() {
            return;
        }
        let facts = self.facts.entry(contract).or_default();
        let before = facts.len();
        for key in touched {
            let known = facts.entry(key).or_insert(touch);
            *known = known.and(touch);
        }
        self.count += facts.len() - before;
        if facts.len() > MAX_FACTS || self.count > MAX_ALL_FACTS {
            self.add_contract(chain, transfer.contract, touch);
        }
    }

    /// Adds all facts of a contract.
    pub(crate) fn add_contract(&mut self, chain: &Chain, contract: Address, touch: Touch) {
        let contract = (chain.id, contract);
        let facts = self.facts.remove(&contract).unwrap_or_default();
        self.count = self.count.saturating_sub(facts.len());
        let touch = facts.into_values().fold(touch, Touch::and);
        let known = self.contracts.entry(contract).or_insert(touch);
        *known = known.and(touch);
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.contracts.is_empty()
    }

    /// How many contracts are invalidated as a whole.
    pub(crate) fn contracts(&self) -> usize {
        self.contracts.len()
    }

    #[cfg(test)]
    pub(crate) fn touches(&self) -> impl Iterator<Item = Touch> + '_ {
        let facts = self.facts.values().flat_map(BTreeMap::values);
        facts.chain(self.contracts.values()).copied()
    }
}

/// Invalidates; how many facts were there that did not know of what happened, those of whole contracts not counted. Doing
/// it twice, or late, or in another order than it happened in, comes to the same.
///
/// # Errors
/// [`StoreError`], if any could not be invalidated: then all of it has to be done again.
pub(crate) async fn invalidate<P: Ports>(
    store: &StoreClient<P>,
    cache: &FactCache,
    invalidations: Invalidations,
) -> Result<usize, StoreError> {
    if invalidations.is_empty() {
        return Ok(0);
    }
    let Invalidations {
        facts, contracts, ..
    } = invalidations;
    store::write_tombstones(store, &contracts).await?;
    let touches: Vec<_> = facts.into_values().flatten().collect();
    let invalidated = store::invalidate(store, &touches, true).await?;
    for agreement in store.config().agreements() {
        for (key, _) in &touches {
            cache.remove(agreement, key);
        }
    }
    for (chain, contract) in contracts.keys() {
        cache.remove_of(*chain, *contract);
    }
    // Chain reads that were in flight are kept by the end of this.
    let deadlines = &store.config().deadlines;
    let last = deadlines.chain + deadlines.provider + 2 * deadlines.store;
    store.in_background(async move |store: &StoreClient<P>| {
        for pause in [AGAIN, last.saturating_sub(AGAIN)] {
            store.ports().sleep(pause).await;
            // A failure is noted; what it leaves is forgotten with its age. A tombstone is looked at again, as two that
            // were written at once may have become one.
            let _ = store::write_tombstones(store, &contracts).await;
            let _ = store::invalidate(store, &touches, false).await;
        }
    });
    Ok(invalidated)
}

#[cfg(test)]
mod tests {
    use tokengate_core::U256;
    use tokengate_core::transfer::Tokens;

    use super::*;

    fn config() -> Config {
        Config::parse(include_str!("../../../tokengate.toml")).unwrap()
    }

    fn transfer(contract: Address, n: u16) -> Transfer {
        let account = |kind: u8| {
            let mut bytes = [kind; 20];
            bytes[18..].copy_from_slice(&n.to_be_bytes());
            Address::from_bytes(bytes)
        };
        Transfer {
            contract,
            from: account(1),
            to: account(2),
            tokens: Tokens::Token(U256::ONE),
            block: u64::from(n),
            removed: false,
        }
    }

    #[test]
    fn many_facts_of_a_contract_become_its_tombstone_and_others_stay_facts() {
        let config = config();
        let chain = config.chains().next().unwrap();
        let contract = *config.watched(chain.id).first().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let mut all = Invalidations::default();
        let other = transfer(Address::from_bytes([7; 20]), 1);
        all.add(&config, chain, &other, touch_of(1, false, now));
        assert!(all.is_empty(), "no gate names it");
        for n in 1..=10_000 {
            let touch = touch_of(u64::from(n), false, now);
            all.add(&config, chain, &transfer(contract, n), touch);
            let facts: usize = all.facts.values().map(BTreeMap::len).sum();
            assert!(facts <= MAX_FACTS && facts == all.count, "{facts}");
        }
        assert_eq!((all.contracts(), all.facts.len()), (1, 0));
        let touches: Vec<_> = all.touches().collect();
        assert_eq!(touches, [touch_of(10_000, false, now)]);
        // What was undone before is not forgotten.
        let mut all = Invalidations::default();
        let undone = touch_of(3, true, now);
        all.add(&config, chain, &transfer(contract, 3), undone);
        assert_eq!(all.contracts(), 0);
        all.add_contract(chain, contract, touch_of(9, false, now));
        let expected = Touch {
            block: 9,
            since: Some(now),
        };
        assert_eq!(all.touches().collect::<Vec<_>>(), [expected]);
    }
}
