//! The instances of a component within one runtime: made when requests need them, reused one after another and, while
//! they wait, for several requests at once, and ended when they are used up, idle or stuck.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{GuestTaskId, InstancePre};
use wasmtime::{Engine, Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, ProxyHandler, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState,
    WorkerStatus,
};
use wasmtime_wasi_http::{WasiHttpView, p2, p3};

use crate::admission::Pass;
use crate::guest::{ComponentSettings, CoreResources, Guest};

/// Answers requests with instances of one component.
pub(crate) type Handler = ProxyHandler<Instances>;

/// What a stuck instance gets beyond its last request's time, so that the request's own timeout is what answers.
const GRACE: Duration = Duration::from_secs(1);

/// How long instances live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reuse {
    /// Requests that one instance answers, in all.
    pub(crate) total: usize,
    /// Requests that one instance answers at once; a further one is taken only while all of them wait.
    pub(crate) concurrent: usize,
    pub(crate) idle: Duration,
    /// Bounds a request, and the work after its response.
    pub(crate) request_timeout: Duration,
}

/// What a request occupies. Its guest's task holds it, for a guest computes on when its client has hung up.
pub(crate) struct Place {
    pub(crate) _in_flight: Arc<OwnedSemaphorePermit>,
    pub(crate) _computing: Pass,
}

pub(crate) struct Instances {
    engine: Engine,
    pre: ProxyPre<Guest>,
    component: Arc<ComponentSettings>,
    core: Arc<CoreResources>,
    reuse: Reuse,
}

/// Neither version of `wasi:http`'s handler is exported.
#[derive(Debug, thiserror::Error)]
#[error("exports neither wasi:http/handler@0.3.0 nor wasi:http/incoming-handler@0.2: {0}")]
pub(crate) struct NotAHandler(String);

/// The component's exported handler: WASI 0.3's, else 0.2's.
fn proxy_pre(pre: &InstancePre<Guest>) -> Result<ProxyPre<Guest>, NotAHandler> {
    if let Ok(service) = p3::bindings::ServicePre::new(pre.clone()) {
        return Ok(ProxyPre::P3(service));
    }
    p2::bindings::ProxyPre::new(pre.clone())
        .map(ProxyPre::P2)
        .map_err(|error| NotAHandler(error.to_string()))
}

/// A handler for the component, bound to the runtime that `core` belongs to.
pub(crate) fn handler(
    engine: &Engine,
    pre: &InstancePre<Guest>,
    component: &Arc<ComponentSettings>,
    core: &Arc<CoreResources>,
    reuse: Reuse,
) -> Result<Handler, NotAHandler> {
    Ok(ProxyHandler::new(Instances {
        engine: engine.clone(),
        pre: proxy_pre(pre)?,
        component: component.clone(),
        core: core.clone(),
        reuse,
    }))
}

impl HandlerState for Instances {
    type StoreData = Guest;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Guest, Expiration, Worker>> {
        let mut store = Guest::new(&self.component, &self.core)?.into_store(&self.engine);
        let proxy = self.pre.instantiate_async(&mut store).await?;
        Ok(Instance {
            store,
            proxy,
            view: Guest::http,
            expiration: Expiration {
                reuse: self.reuse,
                sleep: tokio::time::sleep(self.reuse.idle),
            },
            state: Worker {
                component: self.component.clone(),
                core: self.core.clone(),
                reuse: self.reuse,
            },
        })
    }
}

pin_project_lite::pin_project! {
    pub(crate) struct Expiration {
        reuse: Reuse,
        #[pin]
        sleep: tokio::time::Sleep,
    }
}

impl WorkerExpiration for Expiration {
    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        let mut this = self.project();
        let limit = match status {
            WorkerStatus::Idle => this.reuse.idle,
            WorkerStatus::Requests => this.reuse.request_timeout + GRACE,
            WorkerStatus::PostReturn => this.reuse.request_timeout,
        };
        let deadline = (start + limit).into();
        if this.sleep.deadline() != deadline {
            this.sleep.as_mut().reset(deadline);
        }
        this.sleep.poll(cx)
    }
}

pub(crate) struct Worker {
    component: Arc<ComponentSettings>,
    core: Arc<CoreResources>,
    reuse: Reuse,
}

impl WorkerState for Worker {
    type StoreData = Guest;
    /// `None` for the startup check, which nothing competes with.
    type RequestData = Option<Place>;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.reuse.total {
            ShouldAccept::Never
        } else if concurrent >= self.reuse.concurrent {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, Guest>,
        place: Option<Place>,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        let expiration = tokio::time::sleep(self.reuse.request_timeout);
        Box::pin(async move {
            let _place = place;
            expiration.await;
        })
    }

    fn drop(&self, store: Store<Guest>, result: wasmtime::Result<()>) {
        if let Err(error) = result
            && !self.core.ending.load(Ordering::Relaxed)
        {
            let component = &self.component.id;
            tracing::error!(component, error = %error.root_cause(), "an instance failed");
            tracing::debug!(component, "{error:#}");
        }
        drop(store);
    }
}
