//! Facts for decisions: from this instance's cache, the shared store and the chains.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokengate_core::config::{Config, Rate};

use crate::background::Background;
use crate::cache::facts::FactCache;
use crate::cache::single_flight::SingleFlight;
use crate::chain::ChainClient;
use crate::ports::Ports;
use crate::rate_limit::RateLimiter;
use crate::store::StoreClient;
use crate::telemetry::Telemetry;

/// The facts of this instance.
#[derive(Debug)]
pub(crate) struct FactState {
    /// Facts that were confirmed a moment ago.
    pub(crate) cache: FactCache,
    /// Fetches in in_flight.
    pub(crate) single_flight: SingleFlight,
    refreshes: Cell<(Duration, u32)>,
}

impl FactState {
    /// A cache of so many bytes, whose facts are believed for `ttl`.
    pub(crate) fn new(bytes: usize, ttl: Duration) -> Self {
        Self {
            cache: FactCache::new(bytes, ttl),
            single_flight: SingleFlight::default(),
            refreshes: Cell::default(),
        }
    }

    /// Whether a fact may be read ahead of its end, of which `rate` says how often.
    pub(super) fn may_refresh(&self, rate: Rate, now: Duration) -> bool {
        let (begun, count) = self.refreshes.get();
        let (begun, count) = if now.saturating_sub(begun) >= rate.window {
            (now, 0)
        } else {
            (begun, count)
        };
        let may = count < rate.quota;
        self.refreshes.set((begun, count + u32::from(may)));
        may
    }
}

/// A request's access to facts.
#[derive(Clone, Debug)]
pub(crate) struct FactReader<P> {
    pub(crate) facts: Rc<FactState>,
    pub(crate) store: StoreClient<P>,
    pub(crate) chain: ChainClient<P>,
    limiter: RateLimiter<P>,
}

impl<P: Ports> Background<P> for FactReader<P> {
    fn ports(&self) -> &P {
        self.store.ports()
    }

    fn telemetry(&self) -> &Telemetry {
        self.store.telemetry()
    }

    fn with_telemetry(&self, telemetry: Telemetry) -> Self {
        Self {
            facts: self.facts.clone(),
            store: self.store.with_telemetry(telemetry.clone()),
            chain: self.chain.with_telemetry(telemetry.clone()),
            limiter: self.limiter.with_telemetry(telemetry),
        }
    }
}

impl<P: Ports> FactReader<P> {
    /// The facts of an instance, as one request uses them.
    pub(crate) fn new(
        facts: &Rc<FactState>,
        store: StoreClient<P>,
        chain: ChainClient<P>,
        limiter: RateLimiter<P>,
    ) -> Self {
        Self {
            facts: facts.clone(),
            store,
            chain,
            limiter,
        }
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        self.store.config()
    }

    /// Who is charged for what is fetched.
    pub(super) fn limiter(&self) -> &RateLimiter<P> {
        &self.limiter
    }
}
