//! One request: routed, bounded, handed to an instance, answered and logged.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::PoolConcurrencyLimitError;
use wasmtime_wasi_http::handler::{ExpirationError, InstantiationError};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::access_log::{AccessLog, Entry};
use crate::application::Destination;
use crate::body::InboundBody;
use crate::clients::Connection;
use crate::core::{Core, MAX_HEADER_BYTES, Sending};
use crate::problem::Problem;
use crate::routing::Match;
use crate::workers::{Handler, Place};

#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLimits {
    pub(crate) body_bytes: u64,
    /// From the request's head to the response's.
    pub(crate) timeout: Duration,
}

/// Before another try when the instances that there may be are all busy.
const INSTANCE_AGAIN: Duration = Duration::from_millis(5);
/// What clients may not say: these come from the host alone.
const RESERVED_PREFIX: &str = "spin-";
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("spin-client-addr");

pub(crate) async fn answer(
    core: Arc<Core>,
    client: SocketAddr,
    request: Request<Incoming>,
    sending: Arc<Sending>,
    connection: Arc<Connection>,
) -> Response<ResponseBody> {
    let mut record = Record {
        log: core.access_log.clone(),
        started: Instant::now(),
        entry: Entry {
            at: now(),
            client,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            status: 0,
            bytes: 0,
            took: Duration::ZERO,
            component: Arc::default(),
        },
        permit: None,
        sending,
        connection,
    };
    let response = route(&core, client, request, &mut record)
        .await
        .unwrap_or_else(|problem| {
            problem
                .into_response()
                .map(|body| body.map_err(|never| match never {}).boxed_unsync())
        });
    record.entry.status = response.status().as_u16();
    record.sending.begin();
    response.map(|body| ResponseBody { body, record })
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is a shell: it stamps the access log"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

async fn route(
    core: &Core,
    client: SocketAddr,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Response<WasiBody>, Problem> {
    // The asterisk and authority forms (RFC 9112 section 3.2) name nothing that a guest could serve.
    if !record.entry.path.starts_with('/') {
        return Err(Problem::BadRequest("the request target is not a path"));
    }
    // What a component says to the startup check is for whoever starts the host: it quotes the configuration.
    if core.application.startup_check.as_deref() == Some(record.entry.path.as_str()) {
        return Err(Problem::NotFound);
    }
    let Some(found) = core.application.router.route(&record.entry.path) else {
        return Err(Problem::NotFound);
    };
    let index = match found.target {
        Destination::Component(index) => *index,
        Destination::Static(answer) => {
            let mut response = Response::new(full(answer.body.clone()));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers.clone();
            return Ok(response);
        }
    };
    let (Some(handler), Some(component)) = (
        core.handlers.get(index),
        core.application.components.get(index),
    ) else {
        return Err(Problem::Failed);
    };
    record.entry.component = Arc::from(component.settings.id.as_str());

    let limits = core.limits.requests;
    let (parts, body) = request.into_parts();
    let parts = guest_parts(core, client, parts, &found, &record.entry.path)?;
    let overrun = Arc::new(AtomicBool::new(false));
    let turnstile = &core.resources.turnstile;
    let body = InboundBody::read_ahead(
        body,
        limits.body_bytes,
        &overrun,
        turnstile,
        record.connection.budget(),
        tokio::time::Instant::now() + limits.timeout,
    )
    .await?;
    record.connection.work();
    let request = Request::from_parts(parts, body.boxed_unsync());
    let deadline = tokio::time::Instant::now() + limits.timeout;
    let Ok(permit) =
        tokio::time::timeout_at(deadline, core.in_flight.clone().acquire_owned()).await
    else {
        return Err(Problem::Overloaded);
    };
    // The semaphore is never closed, so this is a permit.
    let Some(permit) = permit.ok().map(Arc::new) else {
        return Err(Problem::Overloaded);
    };
    record.permit = Some(permit.clone());
    let begun = AtomicBool::new(false);
    let running = run(core, handler, request, &permit, &begun);
    let outcome = tokio::time::timeout_at(deadline, running).await;
    if overrun.load(Ordering::Relaxed) {
        return Err(Problem::BodyTooLarge);
    }
    let component = &component.settings.id;
    match outcome {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) if error.is::<ExpirationError>() => Err(Problem::TimedOut),
        Ok(Err(error)) => {
            tracing::error!(component, error = %error.root_cause(), "a request failed");
            Err(Problem::Failed)
        }
        Err(_) if begun.load(Ordering::Relaxed) => Err(Problem::TimedOut),
        Err(_) => Err(Problem::Overloaded),
    }
}

/// Has an instance answer, once there is a place to compute and an instance; `begun` says whether there was.
async fn run(
    core: &Core,
    handler: &Handler,
    mut request: Request<WasiBody>,
    permit: &Arc<OwnedSemaphorePermit>,
    begun: &AtomicBool,
) -> wasmtime::Result<Response<WasiBody>> {
    loop {
        let pass = core.resources.turnstile.enter().await;
        begun.store(true, Ordering::Relaxed);
        let place = Place {
            _in_flight: permit.clone(),
            _computing: pass,
        };
        let error = match handler.handle(Some(place), request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        begun.store(false, Ordering::Relaxed);
        let refused = error.downcast::<InstantiationError<Option<Place>>>()?;
        drop(refused.request_data);
        if !refused.error.is::<PoolConcurrencyLimitError>() {
            return Err(wasmtime::format_err!("{:#}", refused.error));
        }
        request = refused
            .request
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep(INSTANCE_AGAIN).await;
    }
}

fn full(body: impl Into<Bytes>) -> WasiBody {
    http_body_util::Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The request's head as the guest gets it: with an absolute URI and Spin's headers.
fn guest_parts(
    core: &Core,
    client: SocketAddr,
    mut parts: Parts,
    found: &Match<'_, '_, Destination>,
    path: &str,
) -> Result<Parts, Problem> {
    // The connection's buffer bounds a head only roughly.
    let fields = parts.headers.iter();
    let head_bytes: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if head_bytes + path.len() > MAX_HEADER_BYTES {
        return Err(Problem::HeadTooLarge);
    }
    let authority = authority(&parts.uri, &parts.headers, parts.version, core.local)?;
    let path_and_query = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));

    remove_reserved(&mut parts.headers);
    let mut say = |name: HeaderName, value: &str| {
        // A path and an authority have passed as URI parts, so each is a header's value, too.
        if let Ok(value) = HeaderValue::from_str(value) {
            parts.headers.insert(name, value);
        }
    };
    say(FULL_URL, &format!("http://{authority}{path_and_query}"));
    say(PATH_INFO, found.path_info(path));
    say(MATCHED_ROUTE, found.route.based());
    say(BASE_PATH, "/");
    say(COMPONENT_ROUTE, found.route.raw_prefix());
    say(RAW_COMPONENT_ROUTE, found.route.raw());
    say(CLIENT_ADDRESS, &client.to_string());
    for (name, value) in &found.captures {
        if let Ok(name) = HeaderName::try_from(format!("spin-path-match-{name}")) {
            say(name, value);
        }
    }

    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority);
    uri.path_and_query = Some(path_and_query);
    parts.uri = Uri::from_parts(uri)
        .map_err(|_| Problem::BadRequest("the request target is not a path"))?;
    Ok(parts)
}

/// Removes what only the host may say to guests.
pub(crate) fn remove_reserved(fields: &mut HeaderMap) {
    let claimed: Vec<HeaderName> = fields
        .keys()
        .filter(|name| name.as_str().starts_with(RESERVED_PREFIX))
        .cloned()
        .collect();
    for name in claimed {
        fields.remove(name);
    }
}

/// The host that the client asked. HTTP/1.1 requires exactly one Host header (RFC 9112 section 3.2).
fn authority(
    uri: &Uri,
    headers: &HeaderMap,
    version: Version,
    local: SocketAddr,
) -> Result<Authority, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let authority = match (uri.authority(), hosts.next(), hosts.next()) {
        (_, Some(_), Some(_)) => {
            return Err(Problem::BadRequest("there is more than one Host header"));
        }
        (Some(authority), Some(_), None) => authority.clone(),
        (None, Some(host), None) => Authority::try_from(host.as_bytes())
            .map_err(|_| Problem::BadRequest("the Host header is malformed"))?,
        (named, None, _) if version == Version::HTTP_10 => match named {
            Some(authority) => authority.clone(),
            None => Authority::try_from(local.to_string())
                .map_err(|_| Problem::BadRequest("there is no Host header"))?,
        },
        (_, None, _) => return Err(Problem::BadRequest("there is no Host header")),
    };
    // Userinfo is an error in a request (RFC 9110 section 4.2.4): it obscures which host is meant.
    if authority.as_str().contains('@') {
        return Err(Problem::BadRequest("the host has userinfo"));
    }
    Ok(authority)
}

/// What the access log will say of a request, said when the last of it is dropped.
struct Record {
    log: AccessLog,
    started: Instant,
    entry: Entry,
    /// The request's place among those in flight, kept until both its response and its guest's part are over.
    permit: Option<Arc<OwnedSemaphorePermit>>,
    sending: Arc<Sending>,
    connection: Arc<Connection>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.sending.end();
        self.connection.wait();
        self.entry.took = self.started.elapsed();
        if self.entry.status == 0 {
            // The client left before there was an answer; nginx's name for it.
            self.entry.status = 499;
        }
        self.log.write(&self.entry);
    }
}

pin_project_lite::pin_project! {
    /// A response's body together with its record.
    pub(crate) struct ResponseBody {
        #[pin]
        body: WasiBody,
        record: Record,
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.project();
        let frame = std::task::ready!(this.body.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.record.entry.bytes += data.len() as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn headers(hosts: &[&str]) -> HeaderMap {
        hosts
            .iter()
            .map(|host| (header::HOST, host.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        let local = "127.0.0.1:3000".parse().unwrap();
        let relative = Uri::from_static("/x");
        let absolute = Uri::from_static("http://absolute/x");
        let of = |uri: &Uri, hosts: &[&str], version| {
            authority(uri, &headers(hosts), version, local)
                .map(|found| found.to_string())
                .map_err(|problem| problem.status())
        };
        assert_eq!(
            of(&relative, &["h:1"], Version::HTTP_11),
            Ok("h:1".to_owned())
        );
        assert_eq!(
            of(&absolute, &["h:1"], Version::HTTP_11),
            Ok("absolute".to_owned())
        );
        assert_eq!(
            of(&absolute, &[], Version::HTTP_10),
            Ok("absolute".to_owned())
        );
        let userinfo = Uri::from_static("http://user@absolute/x");
        for (uri, hosts) in [
            (&absolute, &[][..]),
            (&userinfo, &["absolute"]),
            (&relative, &["user@h"]),
        ] {
            assert_eq!(
                of(uri, hosts, Version::HTTP_11),
                Err(StatusCode::BAD_REQUEST),
                "{uri} {hosts:?}"
            );
        }
        assert_eq!(
            of(&relative, &[], Version::HTTP_10),
            Ok("127.0.0.1:3000".to_owned())
        );
        for (hosts, version) in [
            (&["a", "b"][..], Version::HTTP_11),
            (&[], Version::HTTP_11),
            (&["a b"], Version::HTTP_11),
        ] {
            assert_eq!(
                of(&relative, hosts, version),
                Err(StatusCode::BAD_REQUEST),
                "{hosts:?}"
            );
        }
    }
}
