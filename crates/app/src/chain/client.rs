//! A request's access to chains.

use std::collections::BTreeMap;
use std::rc::Rc;

use tokengate_core::ChainId;
use tokengate_core::config::{Chain, Config};
use tokengate_core::fact::{Fact, FactKey};
use tokengate_core::provider::{Pool, Reorg};
use tokengate_core::secret::Secret;

use crate::background::Background;
use crate::cache::provider_pools::ProviderPools;
use crate::ports::Ports;
use crate::store::StoreClient;
use crate::telemetry::Telemetry;

/// The chains, of this instance.
#[derive(Debug)]
pub(crate) struct ChainState {
    config: Rc<Config>,
    /// The endpoints of each chain, in order of preference; none, where a component only hears of chains.
    providers: BTreeMap<ChainId, Vec<Secret<String>>>,
    pools: ProviderPools,
}

impl ChainState {
    /// The configured chains, with these endpoints.
    pub(crate) fn new(
        config: Rc<Config>,
        providers: BTreeMap<ChainId, Vec<Secret<String>>>,
    ) -> Self {
        Self {
            config,
            providers,
            pools: ProviderPools::default(),
        }
    }
}

/// Chains and their providers. What is known of providers is shared through the store.
#[derive(Clone, Debug)]
pub(crate) struct ChainClient<P> {
    state: Rc<ChainState>,
    pub(super) store: StoreClient<P>,
}

impl<P: Ports> Background<P> for ChainClient<P> {
    fn ports(&self) -> &P {
        self.store.ports()
    }

    fn telemetry(&self) -> &Telemetry {
        self.store.telemetry()
    }

    fn with_telemetry(&self, telemetry: Telemetry) -> Self {
        Self {
            state: self.state.clone(),
            store: self.store.with_telemetry(telemetry),
        }
    }
}

impl<P: Ports> ChainClient<P> {
    /// The chains of an instance, as one request uses them.
    pub(crate) fn new(state: &Rc<ChainState>, store: StoreClient<P>) -> Self {
        Self {
            state: state.clone(),
            store,
        }
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.state.config
    }

    /// The chain of this id, if it is configured.
    pub(super) fn chain(&self, chain: ChainId) -> Option<&Chain> {
        self.config().chain(chain)
    }

    /// The endpoints of `chain`.
    pub(super) fn urls(&self, chain: ChainId) -> &[Secret<String>] {
        self.state.providers.get(&chain).map_or(&[], Vec::as_slice)
    }

    /// What this instance knows of the providers of all chains.
    pub(super) fn pools(&self) -> &ProviderPools {
        &self.state.pools
    }

    /// Works with what this instance knows of the providers of `chain`.
    pub(super) fn pool<T>(&self, chain: ChainId, work: impl FnOnce(&mut Pool) -> T) -> T {
        // A component that knows no endpoints learns of their providers all the same.
        let count = self.chain(chain).map_or(0, |chain| chain.providers.len());
        self.state.pools.with(chain, count, work)
    }

    /// Whether a fact may rest on a block that is not one of the chain any longer, as far as this instance knows: it was
    /// reorged away, or the chain is far from its number.
    pub(crate) fn is_reorged(&self, key: &FactKey, fact: &Fact) -> bool {
        let Some(chain) = self.chain(key.chain) else {
            return false;
        };
        let (now, limits) = (self.ports().now(), chain.head_limits());
        let is_reorged = |reorg: Reorg| reorg.invalidates(fact.block, fact.read_at);
        self.pool(key.chain, |pool| {
            pool.reorg().is_some_and(is_reorged) || pool.is_absurd(fact.block, now, limits)
        })
    }

    /// Whether the chain can have come to a block of this number, as far as this instance knows.
    pub(crate) fn is_possible(&self, chain: &Chain, number: u64) -> bool {
        let (now, limits) = (self.ports().now(), chain.head_limits());
        let highest = self.pool(chain.id, |pool| pool.highest_possible(now, limits));
        highest.is_none_or(|highest| number <= highest)
    }
}
