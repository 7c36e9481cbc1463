//! Requests that guests make: allowed by the component's manifest entry or refused, sent over pooled connections,
//! each with its own deadlines. Redirects are the guest's to follow.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::guest::{ComponentSettings, CoreResources};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);
const BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(30);
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

type BoxError = Box<dyn StdError + Send + Sync>;
type IoOutcome = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// The pooled connections of one runtime.
#[derive(Clone)]
pub(crate) struct Client(
    legacy::Client<Deadlined<HttpsConnector<HttpConnector<Resolver>>>, WasiBody>,
);

impl Client {
    pub(crate) fn new(tls: rustls::ClientConfig) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver);
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .http2_adaptive_window(true)
            .build(Deadlined(tls));
        Self(client)
    }
}

/// Trusts the machine's certificate authorities. A machine without any can still serve, but no `https` request of a
/// guest will succeed there.
pub(crate) fn tls_config() -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "a certificate authority of this machine cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!(
            "this machine has no certificate authorities: outbound https will fail; install ca-certificates"
        );
    }
    Ok(rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_root_certificates(roots)
    .with_no_client_auth())
}

/// The outbound side of one instance.
pub(crate) struct Outbound {
    component: Arc<ComponentSettings>,
    core: Arc<CoreResources>,
}

impl Outbound {
    pub(crate) fn new(component: Arc<ComponentSettings>, core: Arc<CoreResources>) -> Self {
        Self { component, core }
    }
}

impl WasiHttpHooks for Outbound {
    /// The client sets it where the protocol wants it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _response_outcome: IoOutcome,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, IoOutcome), Error>> + Send> {
        if !self.component.allowed_hosts.allow(request.uri()) {
            let uri = request.uri();
            tracing::warn!(
                component = self.component.id,
                origin = format!(
                    "{}://{}",
                    uri.scheme_str().unwrap_or("?"),
                    uri.host().unwrap_or("?")
                ),
                port = uri.port_u16(),
                "outbound request denied: add it to the component's allowed_outbound_hosts"
            );
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        }
        let client = self.core.client.clone();
        let aside = self.core.turnstile.aside();
        Box::new(async move {
            let outcome = send(client, request, options.unwrap_or_default()).await;
            drop(aside);
            Ok((outcome?, Box::new(std::future::ready(Ok(()))) as IoOutcome))
        })
    }
}

/// Sends `request` over a pooled connection, within the times that `options` leaves to it. Whether it may be sent is
/// for the caller to know.
pub(crate) async fn send(
    Client(client): Client,
    request: http::Request<WasiBody>,
    options: RequestOptions,
) -> Result<http::Response<WasiBody>, Error> {
    let connect = options.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    let first_byte = options.first_byte_timeout.unwrap_or(FIRST_BYTE_TIMEOUT);
    let between_bytes = options
        .between_bytes_timeout
        .unwrap_or(BETWEEN_BYTES_TIMEOUT);
    // A request on a pooled connection has no time of its own to connect, and the sum bounds both.
    let response = tokio::time::timeout(
        connect.saturating_add(first_byte),
        CONNECT_DEADLINE.scope(connect, client.request(request)),
    )
    .await
    .map_err(|_| Error::HttpResponseTimeout)?
    .map_err(|error| classify(&error))?;
    Ok(response.map(|body| Timed::new(body, between_bytes).boxed_unsync()))
}

/// The `wasi:http` error that says most about `error`.
fn classify(error: &legacy::Error) -> Error {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<ConnectTimedOut>() {
            return Error::ConnectionTimeout;
        }
        if let Some(ResolutionFailed(reason)) = error.downcast_ref() {
            return Error::DnsError {
                rcode: Some(reason.clone()),
                info_code: None,
            };
        }
        if let Some(error) = error.downcast_ref::<Error>() {
            return request_body_error(error);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_parse() || error.is_incomplete_message())
        {
            return if error.is_parse() {
                Error::HttpProtocolError
            } else {
                Error::HttpResponseIncomplete
            };
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return classify_io(error);
        }
        cause = error.source();
    }
    Error::InternalError(Some(error.to_string()))
}

fn classify_io(error: &io::Error) -> Error {
    if let Some(inner) = error.get_ref() {
        // Layers above the socket wrap its errors in errors of the same type.
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            return classify_io(inner);
        }
        match inner.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(_)) => return Error::TlsCertificateError,
            Some(rustls::Error::AlertReceived(alert)) => {
                return Error::TlsAlertReceived {
                    alert_id: Some(u8::from(*alert)),
                    alert_message: alert.as_str().map(str::to_owned),
                };
            }
            Some(_) => return Error::TlsProtocolError,
            None => {}
        }
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Error::DestinationUnavailable
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Error::ConnectionTerminated,
        _ => Error::InternalError(Some(error.to_string())),
    }
}

/// What the guest's own body failed with comes back to it; only a size is worth telling apart.
fn request_body_error(error: &Error) -> Error {
    match error {
        Error::HttpRequestBodySize(size) => Error::HttpRequestBodySize(*size),
        other => Error::InternalError(Some(other.to_string())),
    }
}

tokio::task_local! {
    /// How long the request being polled may take to connect. The client calls its connector from there.
    static CONNECT_DEADLINE: Duration;
}

#[derive(Debug)]
struct ConnectTimedOut;

impl fmt::Display for ConnectTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connecting took too long")
    }
}

impl StdError for ConnectTimedOut {}

/// A connector that keeps to the deadline of the request it connects for, TLS included.
#[derive(Clone)]
struct Deadlined<C>(C);

impl<C> Service<http::Uri> for Deadlined<C>
where
    C: Service<http::Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let deadline = CONNECT_DEADLINE
            .try_with(|deadline| *deadline)
            .unwrap_or(CONNECT_TIMEOUT);
        let connecting = self.0.call(uri);
        Box::pin(async move {
            match tokio::time::timeout(deadline, connecting).await {
                Ok(outcome) => outcome.map_err(Into::into),
                Err(_) => Err(ConnectTimedOut.into()),
            }
        })
    }
}

/// The system's resolver, with failures that can be told from others.
#[derive(Clone)]
struct Resolver;

#[derive(Debug)]
struct ResolutionFailed(String);

impl fmt::Display for ResolutionFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name cannot be resolved: {}", self.0)
    }
}

impl StdError for ResolutionFailed {}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolutionFailed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolutionFailed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolutionFailed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(addresses) => Ok(addresses.collect::<Vec<_>>().into_iter()),
                Err(error) => Err(ResolutionFailed(error.to_string())),
            }
        })
    }
}

pin_project_lite::pin_project! {
    /// A response body that fails when its next part takes too long.
    struct Timed<B> {
        #[pin]
        body: B,
        limit: Duration,
        #[pin]
        sleep: Option<tokio::time::Sleep>,
    }
}

impl<B> Timed<B> {
    fn new(body: B, limit: Duration) -> Self {
        Self {
            body,
            limit,
            sleep: None,
        }
    }
}

impl Body for Timed<hyper::body::Incoming> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        match this.body.poll_frame(cx) {
            Poll::Ready(frame) => {
                this.sleep.set(None);
                Poll::Ready(frame.map(|frame| frame.map_err(body_error)))
            }
            Poll::Pending => {
                // Most bodies are there at once; a timer is made only for those that are not.
                if this.sleep.is_none() {
                    this.sleep.set(Some(tokio::time::sleep(*this.limit)));
                }
                match this.sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
                    Some(Poll::Ready(())) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
                    _ => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn body_error(error: hyper::Error) -> Error {
    if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else if error.is_timeout() {
        Error::ConnectionReadTimeout
    } else {
        match error
            .source()
            .and_then(|cause| cause.downcast_ref())
            .map(classify_io)
        {
            Some(Error::ConnectionTerminated) => Error::HttpResponseIncomplete,
            Some(other) => other,
            None => Error::HttpProtocolError,
        }
    }
}
