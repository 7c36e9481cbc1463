//! The question that every component is asked before the host listens. A component that finds its configuration
//! right answers with success and one that has nothing to check with 404; anything else is a refusal, whose detail
//! says what to correct. Such details are for whoever starts the host: the question carries a header that clients cannot
//! send (`spin-*` is removed from their requests), and they get 404 at its path.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};

use crate::core::Core;
use crate::workers::Handler;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Says that the host itself asks.
const STARTUP_CHECK: HeaderName = HeaderName::from_static("spin-startup-check");

#[derive(Debug, thiserror::Error)]
#[error("component `{component}` refuses to start: {reason}")]
pub(crate) struct Refusal {
    component: String,
    reason: String,
}

/// Asks every component at `path`, past the routes, and collects those that refuse.
pub(crate) async fn check(core: &Core, path: &str) -> Vec<Refusal> {
    let asked =
        core.application
            .components
            .iter()
            .zip(&core.handlers)
            .map(async |(component, handler)| {
                let reason = match tokio::time::timeout(TIMEOUT, ask(handler, path)).await {
                    Ok(Ok(())) => return None,
                    Ok(Err(reason)) => reason,
                    Err(_) => format!("no answer to {path} within {} seconds", TIMEOUT.as_secs()),
                };
                Some(Refusal {
                    component: component.settings.id.clone(),
                    reason,
                })
            });
    futures_util::future::join_all(asked)
        .await
        .into_iter()
        .flatten()
        .collect()
}

async fn ask(handler: &Handler, path: &str) -> Result<(), String> {
    let uri = Uri::builder()
        .scheme("http")
        .authority("localhost")
        .path_and_query(path)
        .build()
        .map_err(|error| error.to_string())?;
    let mut request = Request::new(
        Empty::<Bytes>::new()
            .map_err(|never| match never {})
            .boxed_unsync(),
    );
    *request.uri_mut() = uri;
    request
        .headers_mut()
        .insert(header::HOST, HeaderValue::from_static("localhost"));
    request
        .headers_mut()
        .insert(STARTUP_CHECK, HeaderValue::from_static("1"));
    let response = handler
        .handle(None, request)
        .await
        .map_err(|error| format!("{error:#}"))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await;
    if status.is_success() || status == StatusCode::NOT_FOUND {
        return Ok(());
    }
    let detail = body.ok().and_then(|body| {
        let problem: serde_json::Value = serde_json::from_slice(&body.to_bytes()).ok()?;
        Some(problem.get("detail")?.as_str()?.to_owned())
    });
    Err(detail.unwrap_or_else(|| format!("{path} was answered with {status}")))
}
