//! From a request to a response: routing, limits, the fields every response has, one log line.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use serde_json::json;

use crate::context::Context;
use crate::http::problem::Problem;
use crate::http::{Request, Response, document_response, json_response};
use crate::ports::Ports;
use crate::route::Route;
use crate::state::{LoadError, State};
use crate::telemetry::Telemetry;

/// Where every component answers whether it could be loaded. A host asks before it serves.
pub const STARTUP_PATH: &str = "/healthz/startup";

/// What the host's own question at [`STARTUP_PATH`] carries.
const STARTUP_CHECK: HeaderName = HeaderName::from_static("spin-startup-check");
/// What hosts add to every request from outside, and to no other.
const PEER: HeaderName = HeaderName::from_static("spin-client-addr");

/// Answers a request by the first of `routes` that covers its path. Never fails: a failure is a response.
pub async fn serve<P: Ports, S: State>(
    routes: &[Route<P, S>],
    state: &Result<S, LoadError>,
    ports: &P,
    request: Request,
) -> Response {
    let start = ports.elapsed();
    let telemetry = Telemetry::default();
    let path = request.uri().path();
    let mut found = routes
        .iter()
        .filter_map(|route| Some((route, route.captures(path)?)));
    let (route, mut response) = match (found.next(), state) {
        _ if path == STARTUP_PATH => (STARTUP_PATH, startup(state, &request, &telemetry)),
        (None, _) => ("-", problem(&telemetry, &Problem::NoRoute)),
        (Some((route, _)), Err(error)) => {
            telemetry.error(error.to_string());
            (route.path, problem(&telemetry, &Problem::Misconfigured))
        }
        (Some((route, _)), Ok(state)) if !route.is_there(state) => {
            (route.path, problem(&telemetry, &Problem::NoRoute))
        }
        (Some((route, captured)), Ok(state)) => {
            telemetry.instance(state.instance());
            let context = Context {
                state: state.clone(),
                ports: ports.clone(),
                telemetry: telemetry.clone(),
            };
            let outcome = match route.handler(request.method()) {
                Ok(handle) => handle(&context, &request, captured).await,
                Err(problem) => Err(problem),
            };
            let response = outcome.unwrap_or_else(|error| problem(&telemetry, &error));
            (route.path, response)
        }
    };
    finish(
        ports,
        &telemetry,
        request.method(),
        route,
        start,
        &mut response,
    );
    response
}

/// Answers a request whose body could not be taken.
pub fn rejected<P: Ports>(ports: &P, method: &Method, reason: &Problem) -> Response {
    let telemetry = Telemetry::default();
    let start = ports.elapsed();
    let mut response = problem(&telemetry, reason);
    finish(ports, &telemetry, method, "-", start, &mut response);
    response
}

fn problem(telemetry: &Telemetry, problem: &Problem) -> Response {
    telemetry.code(problem.code().as_str());
    problem.response()
}

/// Whether the service could be loaded. Why it could not quotes the configuration, so only the host's own question gets
/// it in full; where the platform asks no such question, the log has it.
fn startup<S>(state: &Result<S, LoadError>, request: &Request, telemetry: &Telemetry) -> Response {
    match state {
        Ok(_) => json_response(StatusCode::OK, &json!({"status": "ok"})),
        Err(error) if !is_from_host(request) => {
            telemetry.error(error.to_string());
            problem(telemetry, &Problem::Misconfigured)
        }
        Err(error) => {
            let problem = Problem::Misconfigured;
            let mut document = problem.document();
            if let Some(members) = document.as_object_mut() {
                members.insert("detail".into(), error.to_string().into());
            }
            document_response(problem.status(), &document, Vec::new())
        }
    }
}

/// Whether the host itself asks. Clients can send the one header where the platform does not remove it, but cannot keep
/// the platform from adding the other.
fn is_from_host(request: &Request) -> bool {
    let headers = request.headers();
    headers.contains_key(STARTUP_CHECK) && !headers.contains_key(PEER)
}

fn finish<P: Ports>(
    ports: &P,
    telemetry: &Telemetry,
    method: &Method,
    route: &str,
    start: Duration,
    response: &mut Response,
) {
    let length = response.body().len();
    // RFC 9110 section 8.6: a 204 has none, and everything else of ours says it.
    let stated = response.status() != StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if stated {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // URLs of ours name objects; presigned ones open them. Neither is for other sites.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in telemetry.quota_fields() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(Ok(status)) = telemetry
        .cache_status_field()
        .map(|status| HeaderValue::from_str(&status))
    {
        headers.insert(CACHE_STATUS, status);
    }
    let total = ports.elapsed().saturating_sub(start);
    if let Ok(timing) = HeaderValue::from_str(&telemetry.server_timing(total)) {
        headers.insert(HeaderName::from_static("server-timing"), timing);
    }
    let status = response.status().as_u16();
    if method == Method::HEAD {
        // RFC 9110 section 9.3.2: the fields of a GET, without its content.
        *response.body_mut() = Bytes::new();
    }
    ports.log(&telemetry.line(ports.now(), method.as_str(), route, status, total));
}

/// RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_the_service_cannot_be_loaded_is_said_to_the_host_alone() {
        let ask = |service: &Result<(), LoadError>, fields: &[(&str, &str)]| {
            let mut request = http::Request::builder().uri(STARTUP_PATH);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let request = request.body(Bytes::new()).unwrap();
            let response = startup(service, &request, &Telemetry::default());
            let body = String::from_utf8(response.body().to_vec()).unwrap();
            (response.status(), body)
        };
        let service: Result<(), _> = Err(LoadError::File("no such file".to_owned()));
        let check = ("spin-startup-check", "1");
        let peer = ("spin-client-addr", "192.0.2.1:1234");
        for outside in [&[][..], &[peer], &[check, peer], &[peer, check]] {
            let (status, body) = ask(&service, outside);
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
            assert!(
                !body.contains("no such file") && !body.contains("tokengate.toml"),
                "{outside:?}: {body}"
            );
        }
        let (status, body) = ask(&service, &[check]);
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("no such file"), "{body}");
    }
}
