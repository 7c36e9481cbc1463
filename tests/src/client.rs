//! HTTP as a careful client speaks it: no redirect followed, every body bounded, every answer checked for what all answers owe.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Uri;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wallet::Wallet;

/// The chain of every test, as CAIP-2 names it.
pub const CHAIN: &str = "eip155:31337";

const MAX_BODY: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

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
        tokio::time::timeout(PATIENCE, async {
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
        .with_context(|| format!("{name}: no answer within {PATIENCE:?}"))?
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

/// The service, seen from outside.
#[derive(Clone)]
pub struct Gate {
    http: Http,
    base: String,
    domain: String,
}

impl Gate {
    /// A client of the service at `base`, which is known to the world as `domain`.
    pub fn new(base: &str, domain: &str) -> Self {
        Self {
            http: Http::default(),
            base: base.to_owned(),
            domain: domain.to_owned(),
        }
    }

    /// Sends what `build` makes of a request for `path`, and checks what every answer owes.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Reply> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base))
            .header(HOST, &self.domain);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = self
            .http
            .send(request.body(Full::new(body.into()))?)
            .await?;
        // RFC 9110 §8.6: only these have no content to measure.
        let bare = reply.status == StatusCode::NO_CONTENT || reply.status.is_informational();
        ensure!(
            bare || reply.headers.contains_key(CONTENT_LENGTH),
            "{method} {path}: {} without content-length",
            reply.status
        );
        ensure!(
            !reply.headers.contains_key("transfer-encoding"),
            "{method} {path}: {} is chunked",
            reply.status
        );
        Ok(reply)
    }

    /// Sends bytes that no client library would, and answers the status of what comes back: `None` where the connection
    /// is closed without an answer.
    pub async fn send_raw(&self, request: &[u8]) -> anyhow::Result<Option<u16>> {
        let authority = self.base.parse::<Uri>()?;
        let authority = authority.authority().context("a base without authority")?;
        let stream = TcpStream::connect(authority.as_str()).await?;
        let (read, mut write) = stream.into_split();
        // The server may answer and close before it has read everything.
        let _ = write.write_all(request).await;
        let mut answer = Vec::new();
        let mut read = read.take(MAX_BODY as u64);
        let reading = read.read_to_end(&mut answer);
        let ended = tokio::time::timeout(PATIENCE, reading)
            .await
            .context("no answer, and no end")?;
        if answer.is_empty() {
            return Ok(None);
        }
        // What it answered before it reset the connection counts.
        drop(ended);
        let answer = String::from_utf8_lossy(&answer);
        let status = answer
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .with_context(|| format!("no HTTP/1.1 answer: {answer:?}"))?;
        Ok(Some(status))
    }

    /// The domain that it is known as.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// GETs `path`.
    pub async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// Asks with a session that has been ended until that is known: what an instance has in memory it believes for a second.
    /// Answers the problem document.
    pub async fn refused(&self, token: &str, resource: &str) -> anyhow::Result<Value> {
        let ended = Instant::now();
        loop {
            let reply = self.ask(token, resource).await?;
            let known = reply.status == StatusCode::UNAUTHORIZED;
            if known || ended.elapsed() > Duration::from_millis(1_100) {
                return reply.problem(401);
            }
        }
    }

    /// GETs `path` with a session's token.
    pub async fn get_as(&self, token: &str, path: &str) -> anyhow::Result<Reply> {
        self.bearing(Method::GET, token, path, Bytes::new()).await
    }

    /// POSTs `body` to `path`.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.send(
            Method::POST,
            path,
            &[(CONTENT_TYPE.as_str(), "application/json")],
            body.to_string(),
        )
        .await
    }

    /// Any request with a session's token.
    pub async fn bearing(
        &self,
        method: Method,
        token: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Reply> {
        self.send(
            method,
            path,
            &[
                (AUTHORIZATION.as_str(), &format!("Bearer {token}")),
                (CONTENT_TYPE.as_str(), "application/json"),
            ],
            body,
        )
        .await
    }

    /// `GET /v1/challenge`: the message for `wallet` to sign.
    pub async fn challenge(&self, wallet: &Wallet) -> anyhow::Result<String> {
        let reply = self
            .get(&format!(
                "/v1/challenge?address={}&chain={CHAIN}",
                wallet.address()
            ))
            .await?
            .expect(200)?;
        Ok(reply["message"]
            .as_str()
            .context("a challenge without a message")?
            .to_owned())
    }

    /// `POST /v1/session` with a message and its signature.
    pub async fn session(&self, message: &str, signature: &str) -> anyhow::Result<Reply> {
        self.post(
            "/v1/session",
            &json!({ "message": message, "signature": signature }),
        )
        .await
    }

    /// Signs in; answers the session's token.
    pub async fn sign_in(&self, wallet: &Wallet) -> anyhow::Result<String> {
        let message = self.challenge(wallet).await?;
        let session = self
            .session(&message, &wallet.personal_sign(&message))
            .await?
            .expect(201)?;
        Ok(session["token"]
            .as_str()
            .context("a session without a token")?
            .to_owned())
    }

    /// `POST /v1/access` with a session's token.
    pub async fn access(&self, token: &str, body: &Value) -> anyhow::Result<Reply> {
        self.bearing(Method::POST, token, "/v1/access", body.to_string())
            .await
    }

    /// `POST /v1/access` for one resource with default method.
    pub async fn ask(&self, token: &str, resource: &str) -> anyhow::Result<Reply> {
        self.access(token, &json!({ "resource": resource })).await
    }

    /// Asks until the decision no longer needs the chain: what was read is shared behind the answer.
    pub async fn warm(&self, token: &str, resource: &str) -> anyhow::Result<Value> {
        for _ in 0..50 {
            let grant = self.ask(token, resource).await?.expect(200)?;
            if grant["basis"]["tier"] != "chain" {
                return Ok(grant);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("{resource} is read from the chain again and again")
    }
}
