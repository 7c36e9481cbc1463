//! What an instance keeps between requests: routes, configuration and secrets, nothing of any request.

use std::cell::OnceCell;
use std::rc::Rc;

use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};
use tokengate_app::{LoadError, Needs, Route, Service, max_body_len, rejected, serve};

use crate::http::{Incoming, read, respond};
use crate::ports::Spin;

struct Instance {
    routes: Vec<Route<Spin>>,
    service: Result<Service, LoadError>,
}

thread_local! {
    static INSTANCE: OnceCell<Rc<Instance>> = const { OnceCell::new() };
}

/// Answers a request by the routes that `routes` returns.
///
/// # Errors
/// Only the platform's own, in handing the response over.
pub async fn handle(
    routes: fn() -> Vec<Route<Spin>>,
    request: Request,
) -> Result<Response, ErrorCode> {
    let instance = instance(routes).await;
    let max_body_len = |path: &str| max_body_len(&instance.routes, path);
    let response = match read(request, max_body_len).await {
        Incoming::Request(request) => {
            serve(&instance.routes, &instance.service, &Spin, request).await
        }
        Incoming::Rejected(method, problem) => rejected(&Spin, &method, &problem),
    };
    respond(response)
}

async fn instance(routes: fn() -> Vec<Route<Spin>>) -> Rc<Instance> {
    if let Some(instance) = INSTANCE.with(|cell| cell.get().cloned()) {
        return instance;
    }
    let routes = routes();
    let needs = routes
        .iter()
        .fold(Needs::default(), |needs, route| needs.and(route.needs));
    let service = Service::load(&Spin, needs).await;
    let instance = Rc::new(Instance { routes, service });
    // A failure is not kept: the operator may have mended it by the next request.
    if instance.service.is_ok() {
        INSTANCE.with(|cell| cell.get_or_init(|| instance).clone())
    } else {
        instance
    }
}
