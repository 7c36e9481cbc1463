//! HTTP as a careful client speaks it: no redirect followed, every body bounded, every answer checked for what all answers owe.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::{Value, json};
pub use tokengate_demo::http::{Http, Reply};
use tokengate_demo::http::{MAX_BODY, TIMEOUT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wallet::Wallet;

/// The chain of every test, as CAIP-2 names it.
pub const CHAIN: &str = "eip155:31337";

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
        let ended = tokio::time::timeout(TIMEOUT, reading)
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
