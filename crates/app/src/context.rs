//! What a handler works with.

use tokengate_core::config::Config;

use crate::auth::SessionClient;
use crate::chain::ChainClient;
use crate::decision::FactReader;
use crate::ports::Ports;
use crate::rate_limit::RateLimiter;
use crate::state::{Base, Chains, SignIn};
use crate::store::StoreClient;
use crate::telemetry::Telemetry;

/// A request's state, platform and telemetry. What can be reached from it depends on what the state has.
#[derive(Clone, Debug)]
pub(crate) struct Context<P, S> {
    pub(crate) state: S,
    pub(crate) ports: P,
    pub(crate) telemetry: Telemetry,
}

impl<P: Ports, S> Context<P, S> {
    /// The same for routes that work with a part of the state.
    pub(crate) fn within<T>(&self, part: fn(&S) -> T) -> Context<P, T> {
        Context {
            state: part(&self.state),
            ports: self.ports.clone(),
            telemetry: self.telemetry.clone(),
        }
    }
}

impl<P: Ports, S: AsRef<Base>> Context<P, S> {
    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.state.as_ref().config
    }

    /// The shared store.
    pub(crate) fn store(&self) -> StoreClient<P> {
        StoreClient::new(&self.state.as_ref().store, &self.ports, &self.telemetry)
    }

    /// Rate limits.
    pub(crate) fn limiter(&self) -> RateLimiter<P> {
        RateLimiter::new(&self.state.as_ref().rates, self.store())
    }
}

impl<P: Ports, S: AsRef<Base> + AsRef<Chains>> Context<P, S> {
    /// Chains.
    pub(crate) fn chain(&self) -> ChainClient<P> {
        let chains: &Chains = self.state.as_ref();
        ChainClient::new(&chains.chains, self.store())
    }

    /// Facts.
    pub(crate) fn facts(&self) -> FactReader<P> {
        let chains: &Chains = self.state.as_ref();
        FactReader::new(&chains.facts, self.store(), self.chain(), self.limiter())
    }
}

impl<P: Ports, S: AsRef<Base> + AsRef<SignIn>> Context<P, S> {
    /// Sessions.
    pub(crate) fn sessions(&self) -> SessionClient<P> {
        let sign_in: &SignIn = self.state.as_ref();
        SessionClient {
            keys: sign_in.keys.clone(),
            cache: sign_in.sessions.clone(),
            store: self.store(),
        }
    }
}
