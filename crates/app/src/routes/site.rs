//! `GET /`, its assets, and `GET /openapi.json`: a page to try the service with a wallet, and the API's description.

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;

use crate::ports::Ports;
use crate::problem::Problem;
use crate::router::{self, Context, Needs, Request, Response, Route};

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P>> {
    let needs = Needs {
        demo: true,
        ..Needs::default()
    };
    vec![
        Route::new("/", needs).on(Method::GET, asset),
        Route::new("/app.js", needs).on(Method::GET, asset),
        Route::new("/style.css", needs).on(Method::GET, asset),
        Route::new("/openapi.json", needs).on(Method::GET, asset),
        Route::new("/config.json", needs).on(Method::GET, config),
    ]
}

/// Scripts and styles only from here. The page talks to wallets' nodes and to object stores, whose origins are the
/// operator's; it never runs what they send.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: http: https:; connect-src 'self' http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

fn asset<'a, P: Ports>(
    _: &'a Context<'a, P>,
    request: &'a Request,
    _: &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>> {
    let (media_type, bytes): (&'static str, &'static [u8]) = match request.uri().path() {
        "/" => (
            "text/html; charset=utf-8",
            include_bytes!("../../assets/index.html"),
        ),
        "/app.js" => (
            "text/javascript; charset=utf-8",
            include_bytes!("../../assets/app.js"),
        ),
        "/style.css" => (
            "text/css; charset=utf-8",
            include_bytes!("../../assets/style.css"),
        ),
        _ => (
            "application/json",
            include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json")),
        ),
    };
    async move {
        let mut response = Response::new(Bytes::from_static(bytes));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, POLICY);
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(response)
    }
    .boxed_local()
}

fn config<'a, P: Ports>(
    context: &'a Context<'a, P>,
    _: &'a Request,
    _: &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>> {
    async move {
        Ok(router::json(
            StatusCode::OK,
            &json!({"demo_rpc_url": context.service.demo_rpc_url()}),
        ))
    }
    .boxed_local()
}
