//! A request's access to the shared store.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokengate_core::config::Config;

use super::state::StoreState;
use crate::background::Background;
use crate::kv::Kv;
use crate::ports::{Ports, StoreError};
use crate::telemetry::{Outside, Telemetry};
use crate::timeout::within;

/// The shared store, with a limit on every call. What fails is noted.
#[derive(Clone, Debug)]
pub(crate) struct StoreClient<P> {
    pub(super) state: Rc<StoreState>,
    ports: P,
    telemetry: Telemetry,
}

impl<P: Ports> Background<P> for StoreClient<P> {
    fn ports(&self) -> &P {
        &self.ports
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn with_telemetry(&self, telemetry: Telemetry) -> Self {
        Self {
            state: self.state.clone(),
            ports: self.ports.clone(),
            telemetry,
        }
    }
}

impl<P: Ports> StoreClient<P> {
    /// The store of an instance, as one request uses it.
    pub(crate) fn new(state: &Rc<StoreState>, ports: &P, telemetry: &Telemetry) -> Self {
        Self {
            state: state.clone(),
            ports: ports.clone(),
            telemetry: telemetry.clone(),
        }
    }

    /// The configuration: of keys, limits and retention.
    pub(crate) fn config(&self) -> &Config {
        &self.state.config
    }

    /// How long one call may take.
    pub(crate) fn limit(&self) -> Duration {
        self.config().deadlines.store
    }

    /// The store without a limit: for several calls under one.
    pub(crate) fn kv(&self) -> Kv<'_, P> {
        Kv {
            ports: &self.ports,
            backend: &self.state.backend,
            namespace: self.config().cache.namespace.as_deref(),
        }
    }

    /// Runs `call` for as long as one may take.
    pub(crate) async fn timed<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.telemetry
            .wait_begins(Outside::Store, self.ports.elapsed());
        let outcome = within(&self.ports, self.limit(), call)
            .await
            .unwrap_or(Err(StoreError::Timeout));
        self.telemetry
            .wait_ends(Outside::Store, self.ports.elapsed());
        if let Err(error) = &outcome {
            self.telemetry.error(error.to_string());
        }
        outcome
    }

    /// Notes that the store has not answered in time.
    pub(crate) fn fell_silent(&self) {
        self.state.fell_silent(self.ports.elapsed());
    }

    /// Whether the store has not answered in time a moment ago: what can do without it does not wait for it.
    pub(crate) fn is_silent(&self) -> bool {
        self.state.is_silent(self.ports.elapsed())
    }
}
