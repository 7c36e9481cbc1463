//! From a request to a response: routing, limits, the fields every response has, one log line.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use serde_json::json;

use crate::http::problem::Problem;
use crate::http::{Request, Response, document_response, json_response};
use crate::kv::Store;
use crate::ports::Ports;
use crate::state::{LoadError, Service};
use crate::telemetry::Record;

/// The longest request body that is read, in bytes, where a route does not say otherwise.
pub const MAX_BODY_LEN: usize = 64 * 1024;

/// Where every component answers whether it could be loaded. A host asks before it serves.
pub const STARTUP_PATH: &str = "/healthz/startup";

/// What the host's own question at [`STARTUP_PATH`] carries.
const STARTUP_CHECK: HeaderName = HeaderName::from_static("spin-startup-check");
/// What hosts add to every request from outside, and to no other.
const PEER: HeaderName = HeaderName::from_static("spin-client-addr");

/// What a handler works with.
pub struct Context<'a, P> {
    /// Configuration and secrets.
    pub service: &'a Service,
    /// The platform.
    pub ports: &'a P,
    /// Notes for the log.
    pub record: &'a Record,
}

impl<'a, P: Ports> Context<'a, P> {
    /// The shared store.
    pub(crate) fn store(&self) -> Store<'a, P> {
        self.service.store(self.ports)
    }

    /// Does `work` behind the response. What fails of it is noted in a line of its own.
    pub(crate) fn behind(&self, work: impl AsyncFnOnce(&Context<'_, P>) + 'static) {
        let (service, ports) = (self.service.clone(), self.ports.clone());
        self.ports.spawn(async move {
            let record = Record::default();
            let context = Context {
                service: &service,
                ports: &ports,
                record: &record,
            };
            work(&context).await;
            if let Some(line) = record.line_behind(ports.now()) {
                ports.log(&line);
            }
        });
    }
}

/// What a route needs of the service; nothing else is loaded for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// `tokengate.toml`.
    pub config: bool,
    /// The service's keys.
    pub keys: bool,
    /// The keys of the shared store. Without them nothing is kept of chains, and no session is known to be open.
    pub store: bool,
    /// Endpoints of chains.
    pub providers: bool,
    /// Credentials of buckets.
    pub storage: bool,
    /// Secrets of those who send events.
    pub events: bool,
    /// Settings of the demo page.
    pub demo: bool,
    /// The operator's token. Without one, routes that need it are not there.
    pub admin: bool,
}

impl Needs {
    /// What either needs.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            config: self.config || other.config,
            keys: self.keys || other.keys,
            store: self.store || other.store,
            providers: self.providers || other.providers,
            storage: self.storage || other.storage,
            events: self.events || other.events,
            demo: self.demo || other.demo,
            admin: self.admin || other.admin,
        }
    }
}

/// A function that answers a request; what it cannot answer is a problem.
pub type Handler<P> = for<'a> fn(
    &'a Context<'a, P>,
    &'a Request,
    &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>>;

/// A path, what it needs, and who answers its methods.
pub struct Route<P> {
    /// `/exact`, `/prefix/{rest…}` (one or more segments), or `/a/{segment}/b`. In the log it stands for the path.
    pub path: &'static str,
    /// What the handlers need.
    pub needs: Needs,
    body_len: usize,
    handlers: Vec<(Method, Handler<P>)>,
}

impl<P> Route<P> {
    /// A path, without a method yet.
    pub const fn new(path: &'static str, needs: Needs) -> Self {
        Self {
            path,
            needs,
            body_len: MAX_BODY_LEN,
            handlers: Vec::new(),
        }
    }

    /// Takes bodies of up to so many bytes.
    #[must_use]
    pub const fn with_bodies_of(mut self, len: usize) -> Self {
        self.body_len = len;
        self
    }

    /// Answers `method` by `handler`. `HEAD` is answered through `GET` where it is not named.
    #[must_use]
    pub fn on(mut self, method: Method, handler: Handler<P>) -> Self {
        self.handlers.push((method, handler));
        self
    }

    /// The part of `path` that the placeholder stands for (empty without one), if the route covers it.
    fn captures<'a>(&self, path: &'a str) -> Option<&'a str> {
        let Some((before, rest)) = self.path.split_once('{') else {
            return (self.path == path).then_some("");
        };
        let (name, after) = rest.split_once('}')?;
        let captured = path.strip_prefix(before)?.strip_suffix(after)?;
        let whole = !captured.is_empty() && (name.ends_with('…') || !captured.contains('/'));
        whole.then_some(captured)
    }
}

/// The longest body, in bytes, that the first of `routes` which covers `path` takes.
pub fn max_body_len<P>(routes: &[Route<P>], path: &str) -> usize {
    let mut routes = routes.iter();
    let route = routes.find(|route| route.captures(path).is_some());
    route.map_or(MAX_BODY_LEN, |route| route.body_len)
}

/// Answers a request by the first of `routes` that covers its path. Never fails: a failure is a response.
pub async fn serve<P: Ports>(
    routes: &[Route<P>],
    service: &Result<Service, LoadError>,
    ports: &P,
    request: Request,
) -> Response {
    let start = ports.elapsed();
    let record = Record::default();
    let path = request.uri().path();
    let (route, mut response) = match (
        routes
            .iter()
            .find_map(|route| route.captures(path).map(|captured| (route, captured))),
        service,
    ) {
        _ if path == STARTUP_PATH => (STARTUP_PATH, startup(service, &request, &record)),
        (None, _) => ("-", problem(&record, &Problem::NoRoute)),
        (Some((route, _)), Ok(service)) if route.needs.admin && service.admin().is_none() => {
            (route.path, problem(&record, &Problem::NoRoute))
        }
        (Some((route, _)), Err(error)) => {
            record.fault(error.to_string());
            (route.path, problem(&record, &Problem::Misconfigured))
        }
        (Some((route, captured)), Ok(service)) => {
            let context = Context {
                service,
                ports,
                record: &record,
            };
            record.instance(service.memory().name);
            let outcome = match handler(route, request.method()) {
                Ok(handle) => handle(&context, &request, captured).await,
                Err(problem) => Err(problem),
            };
            (
                route.path,
                outcome.unwrap_or_else(|error| problem(&record, &error)),
            )
        }
    };
    finish(
        ports,
        &record,
        request.method(),
        route,
        start,
        &mut response,
    );
    response
}

/// Answers a request whose body could not be taken.
pub fn rejected<P: Ports>(ports: &P, method: &Method, reason: &Problem) -> Response {
    let record = Record::default();
    let start = ports.elapsed();
    let mut response = problem(&record, reason);
    finish(ports, &record, method, "-", start, &mut response);
    response
}

fn handler<P>(route: &Route<P>, method: &Method) -> Result<Handler<P>, Problem> {
    let of = |wanted: &Method| {
        route
            .handlers
            .iter()
            .find(|(method, _)| method == wanted)
            .map(|(_, handler)| *handler)
    };
    let found = of(method).or_else(|| {
        if method == Method::HEAD {
            of(&Method::GET)
        } else {
            None
        }
    });
    found.ok_or_else(|| {
        let mut allowed: Vec<&str> = route
            .handlers
            .iter()
            .map(|(method, _)| method.as_str())
            .collect();
        if of(&Method::GET).is_some() && of(&Method::HEAD).is_none() {
            allowed.push("HEAD");
        }
        Problem::MethodNotAllowed(allowed.join(", "))
    })
}

fn problem(record: &Record, problem: &Problem) -> Response {
    record.code(problem.code());
    problem.response()
}

/// Whether the service could be loaded. Why it could not quotes the configuration, so only the host's own question gets
/// it in full; where the platform asks no such question, the log has it.
fn startup(service: &Result<Service, LoadError>, request: &Request, record: &Record) -> Response {
    match service {
        Ok(_) => json_response(StatusCode::OK, &json!({"status": "ok"})),
        Err(error) if !is_from_host(request) => {
            record.fault(error.to_string());
            problem(record, &Problem::Misconfigured)
        }
        Err(error) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let document = json!({"type": "/problems/misconfigured", "title": status.canonical_reason(), "status": status.as_u16(), "code": "misconfigured", "detail": error.to_string()});
            document_response(status, &document, Vec::new())
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
    record: &Record,
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
    // URLs of ours name objects; presigned ones open them. Neither is anybody else's business.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in record.quota_fields() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(Ok(status)) = record
        .cache_status_field()
        .map(|status| HeaderValue::from_str(&status))
    {
        headers.insert(CACHE_STATUS, status);
    }
    let total = ports.elapsed().saturating_sub(start);
    if let Ok(timing) = HeaderValue::from_str(&record.server_timing(total)) {
        headers.insert(HeaderName::from_static("server-timing"), timing);
    }
    let status = response.status().as_u16();
    if method == Method::HEAD {
        // RFC 9110 section 9.3.2: the fields of a GET, without its content.
        *response.body_mut() = Bytes::new();
    }
    ports.log(&record.line(ports.now(), method.as_str(), route, status, total));
}

/// RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

#[cfg(test)]
mod tests {
    use super::*;

    fn captures<'a>(route: &'static str, path: &'a str) -> Option<&'a str> {
        Route::<()>::new(route, Needs::default()).captures(path)
    }

    #[test]
    fn placeholders_take_one_segment_and_with_an_ellipsis_the_rest() {
        assert_eq!(captures("/v1/gates", "/v1/gates"), Some(""));
        assert_eq!(captures("/v1/gates", "/v1/gates/"), None);
        assert_eq!(captures("/v1/gates/{id}", "/v1/gates/a"), Some("a"));
        assert_eq!(captures("/v1/gates/{id}", "/v1/gates/a/b"), None);
        assert_eq!(captures("/v1/gates/{id}", "/v1/gates/"), None);
        assert_eq!(
            captures("/v1/gates/{id}/check", "/v1/gates/a/check"),
            Some("a")
        );
        assert_eq!(captures("/v1/gates/{id}/check", "/v1/gates/check"), None);
        assert_eq!(
            captures("/v1/content/{resource…}", "/v1/content/media/a/b"),
            Some("media/a/b")
        );
        assert_eq!(captures("/v1/content/{resource…}", "/v1/content/"), None);
    }

    #[test]
    fn why_the_service_cannot_be_loaded_is_said_to_the_host_alone() {
        let ask = |service, fields: &[(&str, &str)]| {
            let mut request = http::Request::builder().uri(STARTUP_PATH);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let request = request.body(Bytes::new()).unwrap();
            let response = startup(service, &request, &Record::default());
            let body = String::from_utf8(response.body().to_vec()).unwrap();
            (response.status(), body)
        };
        let service = Err(LoadError::File("no such file".to_owned()));
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

    #[test]
    fn only_a_route_that_says_so_takes_long_bodies() {
        let route = |path| Route::<()>::new(path, Needs::default());
        let routes = [route("/a"), route("/b/{id}").with_bodies_of(1 << 20)];
        let len = |path| max_body_len(&routes, path);
        assert_eq!(len("/b/c"), 1 << 20);
        for path in ["/a", "/b", "/b/c/d", "/c"] {
            assert_eq!(len(path), MAX_BODY_LEN, "{path}");
        }
    }
}
