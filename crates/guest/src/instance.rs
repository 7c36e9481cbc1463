//! What an instance keeps between requests: routes and their state, nothing of any request.

use std::any::Any;
use std::cell::OnceCell;
use std::rc::Rc;

use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};
use tokengate_app::state::State;
use tokengate_app::{LoadError, Route, load, max_body_len, rejected, serve};

use crate::http::{Incoming, read, respond};
use crate::ports::Spin;

struct Instance<S> {
    routes: Vec<Route<Spin, S>>,
    state: Result<S, LoadError>,
}

thread_local! {
    /// The one `Instance` of this component; its type depends on the component's routes.
    static INSTANCE: OnceCell<Rc<dyn Any>> = const { OnceCell::new() };
}

/// Answers a request by the routes that `routes` returns.
///
/// # Errors
/// Only the platform's own, in handing the response over.
pub async fn handle<S: State>(
    routes: fn() -> Vec<Route<Spin, S>>,
    request: Request,
) -> Result<Response, ErrorCode> {
    let instance = instance(routes).await;
    let max_body_len = |path: &str| max_body_len(&instance.routes, path);
    let response = match read(request, max_body_len).await {
        Incoming::Request(request) => {
            serve(&instance.routes, &instance.state, &Spin, request).await
        }
        Incoming::Rejected(method, problem) => rejected(&Spin, &method, &problem),
    };
    respond(response)
}

async fn instance<S: State>(routes: fn() -> Vec<Route<Spin, S>>) -> Rc<Instance<S>> {
    let known = INSTANCE.with(|cell| cell.get().cloned());
    if let Some(Ok(instance)) = known.map(Rc::downcast) {
        return instance;
    }
    let instance = Rc::new(Instance {
        routes: routes(),
        state: load(&Spin).await,
    });
    // A failure is not kept: the configuration may be corrected by the next request.
    if instance.state.is_ok() {
        let kept = INSTANCE.with(|cell| cell.get_or_init(|| instance.clone()).clone());
        // Another request may have loaded one meanwhile: that one is kept.
        return kept.downcast().unwrap_or(instance);
    }
    instance
}
