//! What this instance knows of the providers of chains.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use tokengate_core::ChainId;
use tokengate_core::provider::Pool;

use super::probes::HeadProbes;
use crate::interval::Interval;

/// The pools of all chains, and when they were last pulled from the shared store and published to it.
#[derive(Default)]
pub(crate) struct ProviderPools {
    pools: RefCell<HashMap<ChainId, Pool>>,
    /// Head probes in flight.
    pub(crate) probes: HeadProbes,
    /// When what others know was pulled.
    pub(crate) pulled: Interval,
    published: RefCell<HashMap<ChainId, (Duration, usize)>>,
}

impl ProviderPools {
    /// Works with what is known of the `count` providers of `chain`.
    pub(crate) fn with<T>(
        &self,
        chain: ChainId,
        count: usize,
        work: impl FnOnce(&mut Pool) -> T,
    ) -> T {
        let mut pools = self.pools.borrow_mut();
        work(pools.entry(chain).or_insert_with(|| Pool::new(count)))
    }

    /// Whether what is known of the providers of `chain`, the heads of `known` of them among it, is to be published,
    /// which is done every `pause` and when more are known.
    pub(crate) fn is_publishing_due(
        &self,
        chain: ChainId,
        known: usize,
        elapsed: Duration,
        pause: Duration,
    ) -> bool {
        let mut published = self.published.borrow_mut();
        let due = published
            .get(&chain)
            .is_none_or(|(last, heads)| known > *heads || elapsed.saturating_sub(*last) >= pause);
        if due {
            published.insert(chain, (elapsed, known));
        }
        due
    }
}

impl std::fmt::Debug for ProviderPools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderPools")
            .field("probes", &self.probes)
            .finish_non_exhaustive()
    }
}
