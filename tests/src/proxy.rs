//! A JSON-RPC provider's front: it counts what the service asks of the chain, and fails on demand as providers do.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use crate::client::Http;

const MAX_BODY: usize = 1 << 20;

const NODE_ERROR: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"not here"}}"#;

/// How the provider behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Answers as the chain does.
    Faithful,
    /// Answers with this status and no JSON.
    Status(StatusCode),
    /// Answers 200 with content that is no JSON-RPC response.
    Garbage,
    /// Closes the connection without an answer.
    HangUp,
    /// Takes the request and never answers.
    Silent,
    /// Answers as the chain does, but with a node's error where this text is in the request.
    Refuse(&'static str),
}

struct State {
    mode: Mode,
    requests: Vec<Bytes>,
}

/// A running front.
pub struct Proxy {
    url: String,
    state: Arc<Mutex<State>>,
    server: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Proxy {
    /// Starts it before `upstream` on a free port of the loopback interface.
    pub async fn start(upstream: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State {
            mode: Mode::Faithful,
            requests: Vec::new(),
        }));
        let server =
            tokio::spawn(serve(listener, upstream.parse()?, Arc::clone(&state))).abort_handle();
        Ok(Self { url, state, server })
    }

    /// Its endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes how it behaves from the next request on.
    pub fn behave(&self, mode: Mode) {
        self.lock().mode = mode;
    }

    /// Takes the requests seen since the last call, each as the JSON that was sent.
    pub fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.lock().requests)
            .iter()
            .map(|body| serde_json::from_slice(body).unwrap_or(Value::Null))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, upstream: Uri, state: Arc<Mutex<State>>) {
    let http = Http::default();
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        // Nagle's delay would be measured as the service's.
        let _ = stream.set_nodelay(true);
        let (http, upstream, state) = (http.clone(), upstream.clone(), Arc::clone(&state));
        connections.spawn(async move {
            let answer = service_fn(|request| answer(&http, &upstream, &state, request));
            // A client that hangs up is no failure of the provider.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// An error closes the connection without an answer.
async fn answer(
    http: &Http,
    upstream: &Uri,
    state: &Mutex<State>,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let body = Limited::new(request.into_body(), MAX_BODY)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!(error))?
        .to_bytes();
    let mode = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests.push(body.clone());
        state.mode
    };
    let refused = |text: &str| String::from_utf8_lossy(&body).contains(text);
    Ok(match mode {
        Mode::Refuse(text) if refused(text) => Response::builder()
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_static(NODE_ERROR)))?,
        Mode::Faithful | Mode::Refuse(_) => {
            let request = Request::builder()
                .method(Method::POST)
                .uri(upstream)
                .header("content-type", "application/json")
                .body(Full::new(body))?;
            let reply = http.send(request).await?;
            Response::builder()
                .status(reply.status)
                .header("content-type", "application/json")
                .body(Full::new(reply.body))?
        }
        Mode::Status(status) => Response::builder()
            .status(status)
            .body(Full::new(Bytes::from_static(b"not today")))?,
        Mode::Garbage => Response::builder()
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_static(b"{\"jsonrpc\":\"2.0\",")))?,
        Mode::HangUp => anyhow::bail!("the provider hangs up"),
        Mode::Silent => std::future::pending().await,
    })
}
