//! An HTTP/1.1 client: follows no redirect, bounds bodies and waiting.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// The longest body that is read, in bytes.
pub const MAX_BODY: usize = 16 << 20;
/// The time limit of one request.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its header section.
    pub headers: HeaderMap,
    /// Its content.
    pub body: Bytes,
}

impl Reply {
    /// A header's value as text; empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The content as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{}: not JSON: {}", self.status, self.text()))
    }

    /// Fails unless the answer has this status.
    pub fn expect_status(&self, status: u16) -> anyhow::Result<()> {
        ensure!(
            self.status == status,
            "{status} expected, got {}: {}",
            self.status,
            self.text()
        );
        Ok(())
    }

    /// The JSON of an answer with this status.
    pub fn expect(&self, status: u16) -> anyhow::Result<Value> {
        self.expect_status(status)?;
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        self.json()
    }

    /// The RFC 9457 problem document of an answer with this status.
    pub fn problem(&self, status: u16) -> anyhow::Result<Value> {
        let problem = self.expect(status)?;
        ensure!(
            self.header("content-type") == "application/problem+json",
            "content-type {:?} of {}",
            self.header("content-type"),
            self.text()
        );
        ensure!(
            problem["status"] == status,
            "the document's status differs: {problem}"
        );
        for member in ["type", "title", "code"] {
            ensure!(
                problem[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "a problem without {member}: {problem}"
            );
        }
        Ok(problem)
    }
}

/// A pooled HTTP/1.1 client.
#[derive(Clone)]
pub struct Http(Client<HttpConnector, Full<Bytes>>);

impl Default for Http {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }
}

impl Http {
    /// Sends `request` and reads the answer to its end.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
        let name = format!("{} {}", request.method(), request.uri());
        tokio::time::timeout(TIMEOUT, async {
            let (parts, body) = self.0.request(request).await?.into_parts();
            let body = Limited::new(body, MAX_BODY)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!(error))?
                .to_bytes();
            anyhow::Ok(Reply {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        })
        .await
        .with_context(|| format!("{name}: no answer within {TIMEOUT:?}"))?
        .with_context(|| name)
    }

    /// Requests `url` with `method` and no content.
    pub async fn fetch(&self, method: Method, url: &str) -> anyhow::Result<Reply> {
        self.send(
            Request::builder()
                .method(method)
                .uri(url)
                .body(Full::default())?,
        )
        .await
    }

    /// GETs `url`.
    pub async fn get(&self, url: &str) -> anyhow::Result<Reply> {
        self.fetch(Method::GET, url).await
    }
}
