//! The application's ports on this machine: real clocks, real calls over the host's own client, and no store, so that
//! whatever is found out is found out anew.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use jiff::fmt::rfc2822;
use sha2::{Digest, Sha256};
use tokengate_app::doctor::{Page, Web};
use tokengate_app::{CallError, Ports, RedisReply, Reply, StoreError};
use tokengate_core::Timestamp;
use tokengate_core::secret::Secret;
use tokio::sync::oneshot;
use wasmtime_wasi_http::{Error, RequestOptions};

use crate::outbound::{self, Client};

/// Below the callers' own deadlines, should those ever be missing.
const BACKSTOP: Duration = Duration::from_secs(60);

/// This machine.
#[derive(Clone)]
pub(super) struct Native(Rc<Machine>);

struct Machine {
    client: Client,
    config: String,
    variables: BTreeMap<String, String>,
    started: Instant,
    seed: [u8; 32],
    drawn: Cell<u64>,
}

impl Native {
    pub(super) fn new(config: &str, variables: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let tls = outbound::tls_config()?;
        let mut seed = [0; 32];
        let filled = tls.crypto_provider().secure_random.fill(&mut seed);
        filled.map_err(|_| anyhow::anyhow!("this machine has no randomness"))?;
        Ok(Self(Rc::new(Machine {
            client: Client::new(tls),
            config: config.to_owned(),
            variables: variables.clone(),
            started: Instant::now(),
            seed,
            drawn: Cell::new(0),
        })))
    }

    /// Sends a request; the answer's body has at most `limit` bytes.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>), CallError> {
        let uri: Uri = url.parse().map_err(|_| CallError::Failed)?;
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        let mut request = Request::new(body.boxed_unsync());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let options = RequestOptions {
            connect_timeout: Some(BACKSTOP),
            first_byte_timeout: Some(BACKSTOP),
            between_bytes_timeout: Some(BACKSTOP),
        };
        let response = outbound::send(self.0.client.clone(), request, options)
            .await
            .map_err(|error| call_error(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                CallError::TooLong
            } else {
                error.downcast_ref().map_or(CallError::Failed, call_error)
            }
        })?;
        Ok((parts.status, parts.headers, body.to_bytes().into()))
    }
}

impl Ports for Native {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is a shell: it reads the clock for the code that may not"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.0.started.elapsed()
    }

    fn random(&self) -> [u8; 16] {
        let drawn = self.0.drawn.get();
        self.0.drawn.set(drawn.wrapping_add(1));
        let digest = Sha256::new()
            .chain_update(self.0.seed)
            .chain_update(drawn.to_be_bytes())
            .finalize();
        let mut bytes = [0; 16];
        for (byte, random) in bytes.iter_mut().zip(digest) {
            *byte = random;
        }
        bytes
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    fn wait(&self) -> (Box<dyn Any>, LocalBoxFuture<'static, ()>) {
        let (end, ended) = oneshot::channel::<()>();
        let wait = async move {
            // Nothing is ever sent.
            let _ = ended.await;
        };
        (Box::new(end), Box::pin(wait))
    }

    async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    async fn set(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn increment(&self, _: &str) -> Result<u64, StoreError> {
        Err(StoreError::Failed("there is no store here".into()))
    }

    async fn redis(&self, _: &str, _: &str, _: &[&[u8]]) -> Result<Vec<RedisReply>, StoreError> {
        Err(StoreError::Failed("there is no Redis here".into()))
    }

    async fn post(&self, url: &str, body: Vec<u8>, limit: usize) -> Result<Reply, CallError> {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, json.clone()), (ACCEPT, json)]);
        let (status, headers, body) = self.send(Method::POST, url, headers, body, limit).await?;
        Ok(Reply {
            status: status.as_u16(),
            retry_after: text(&headers, RETRY_AFTER).and_then(|seconds| seconds.parse().ok()),
            body,
        })
    }

    fn config_text(&self) -> Result<String, String> {
        Ok(self.0.config.clone())
    }

    async fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(self.0.variables.get(name).cloned())
    }

    fn log(&self, line: &str) {
        tracing::debug!(line);
    }
}

impl Web for Native {
    async fn fetch(&self, url: &Secret<String>, limit: usize) -> Result<Page, CallError> {
        let (status, headers, body) = self
            .send(
                Method::GET,
                url.expose(),
                HeaderMap::new(),
                Vec::new(),
                limit,
            )
            .await?;
        Ok(Page {
            status: status.as_u16(),
            // RFC 9110 section 5.6.7: what is to be sent is a subset of what RFC 2822 has.
            date: text(&headers, DATE)
                .and_then(|date| rfc2822::parse(date).ok())
                .map(|date| date.timestamp()),
            body,
        })
    }
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// What failed, in the terms in which guests are told by the same client.
const fn call_error(error: &Error) -> CallError {
    match error {
        Error::DnsTimeout | Error::DnsError { .. } => CallError::Dns,
        Error::DestinationNotFound | Error::DestinationUnavailable | Error::ConnectionRefused => {
            CallError::Refused
        }
        Error::ConnectionTerminated | Error::HttpResponseIncomplete => CallError::Closed,
        Error::ConnectionTimeout
        | Error::ConnectionReadTimeout
        | Error::ConnectionWriteTimeout
        | Error::HttpResponseTimeout => CallError::Timeout,
        Error::TlsProtocolError | Error::TlsCertificateError | Error::TlsAlertReceived { .. } => {
            CallError::Tls
        }
        Error::HttpProtocolError => CallError::Protocol,
        _ => CallError::Failed,
    }
}
