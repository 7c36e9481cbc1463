//! What an instance has of the shared store: how it is reached, and what is known of it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokengate_core::config::Config;

use super::lists::Lists;
use crate::kv::Backend;

/// How long a store that has not answered in time is passed over by what can do without it.
const SILENCE: Duration = Duration::from_secs(1);

/// The shared store, of this instance.
#[derive(Debug)]
pub(crate) struct StoreState {
    pub(crate) config: Rc<Config>,
    pub(super) backend: Backend,
    silent_since: Cell<Option<Duration>>,
    identity: Cell<Option<([u8; 32], Duration)>>,
    lifetime: Cell<Duration>,
    pub(super) expiry: Lists,
}

impl StoreState {
    /// The store behind `backend`, used as `config` says.
    pub(crate) fn new(config: Rc<Config>, backend: Backend) -> Self {
        Self {
            config,
            backend,
            silent_since: Cell::default(),
            identity: Cell::default(),
            lifetime: Cell::default(),
            expiry: Lists::default(),
        }
    }

    /// The store has not answered in time.
    pub(super) fn fell_silent(&self, now: Duration) {
        self.silent_since.set(Some(now));
    }

    /// Whether the store has not answered in time a moment ago.
    pub(super) fn is_silent(&self, now: Duration) -> bool {
        let silent = self.silent_since.get();
        silent.is_some_and(|since| now.saturating_sub(since) < SILENCE)
    }

    /// The store's identity, and when it was read.
    pub(super) fn identity(&self) -> Option<([u8; 32], Duration)> {
        self.identity.get()
    }

    /// The store has this identity, as of `now`.
    pub(super) fn identify(&self, identity: [u8; 32], now: Duration) {
        self.identity.set(Some((identity, now)));
    }

    /// The longest lifetime of sessions that the store is known to know of.
    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime.get()
    }

    /// The store knows of a lifetime.
    pub(super) fn knows_lifetime(&self, lifetime: Duration) {
        self.lifetime.set(lifetime);
    }
}
