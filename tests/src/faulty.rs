//! A provider that fails on demand as real ones do, in front of a chain. It speaks HTTP over plain sockets, so that it can
//! stop anywhere in an answer, and counts what is asked of it and over how many connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, hex};
use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::chain::{ERC721, ERC1155};
use crate::client::Http;

const MAX_BODY: usize = 1 << 20;

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers as the chain does.
    None,
    /// Does not listen.
    Refused,
    /// Closes the connection in place of answering.
    HangUp,
    /// Takes requests and never answers.
    Silent,
    /// Accepts connections and never reads from them.
    HungAfterAccept,
    /// Sends half of the answer and no more.
    HungMidBody,
    /// Answers after so long.
    Slow(Duration),
    /// 429 with `Retry-After` of so many seconds.
    TooMany(u64),
    /// This status and a page.
    Status(u16),
    /// 200 and a page.
    Html,
    /// Half of the JSON, as a whole answer.
    Truncated,
    /// An answer to another request.
    WrongId,
    /// The answer of another chain.
    WrongChain,
    /// What the chain said so many blocks ago.
    Stale(u64),
    /// `0x` to every call.
    Unsynced,
    /// Every balance but zero is none, and every zero is 7.
    Lying,
    /// An answer of two megabytes.
    Oversized,
    /// Sends the client elsewhere.
    Redirect,
    /// Replaces the newest blocks by others before the next call, and then no more.
    Reorganising,
    /// Refuses JSON-RPC batches.
    NoBatches,
    /// A node's error where this text is in the request.
    Refuse(&'static str),
    /// Refuses calls of more calldata than this, in bytes.
    Small(usize),
    /// Lists so many transfers of other people's tokens more in each block.
    Dust(u64),
    /// Lists so many batches of 256 ERC-1155 ids between other people more in each block.
    Batches(u64),
    /// Refuses calls without a destination, as nodes of ZK stack chains and Tron do.
    NoDestinationless,
    /// The same, and refuses state overrides too.
    NoOverrides,
    /// Refuses calls that carry authorizations (EIP-7702).
    NoAuthorizations,
    /// Applies an authorization of this account whatever its nonce.
    IgnoresNonces(Address),
    /// Knows no state overrides.
    NoOverride,
    /// Knows no state overrides, and runs no reader as creation code.
    NoReader,
    /// `0x` to every call of the reader.
    EmptyReader,
    /// Knows no blocks by their hash, and says so with this code.
    NoHashes(i64),
    /// A chain whose blocks are numbered so much further than its contracts see.
    Ahead(u64),
}

/// Code of the service's reader.
const READER: &str = include_str!("../../crates/core/contracts/Reader.hex");

/// Whether a request lends the reader's code to an account, and whether it runs it as creation code.
fn runs_reader(asked: &Value) -> [bool; 2] {
    let data = asked["params"][0]["data"].as_str().unwrap_or_default();
    let code = data.get(2..).unwrap_or_default();
    [
        asked["params"][2].is_object(),
        asked["params"][0]["to"].is_null() && code.starts_with(READER.trim()),
    ]
}

struct State {
    fault: Fault,
    requests: Vec<Value>,
    server: Option<AbortHandle>,
}

/// A running provider.
pub struct Faulty {
    address: SocketAddr,
    upstream: String,
    state: Arc<Mutex<State>>,
    connections: Arc<AtomicUsize>,
    chain: Option<u64>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if let Some(server) = self.lock().server.take() {
            server.abort();
        }
    }
}

impl Faulty {
    /// Starts it in front of `upstream` on a free port of the loopback interface.
    pub async fn start(upstream: &str) -> anyhow::Result<Self> {
        Self::of_chain(upstream, None).await
    }

    /// Starts one that says it is of the chain with this id.
    pub async fn of_chain(upstream: &str, chain: Option<u64>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let faulty = Self {
            address: listener.local_addr()?,
            upstream: upstream.to_owned(),
            state: Arc::new(Mutex::new(State {
                fault: Fault::None,
                requests: Vec::new(),
                server: None,
            })),
            connections: Arc::default(),
            chain,
        };
        faulty.serve(listener);
        Ok(faulty)
    }

    /// Its endpoint.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what it does from the next request on. Its connections are closed.
    pub async fn behave(&self, fault: Fault) -> anyhow::Result<()> {
        let server = self.lock().server.take();
        if let Some(server) = server {
            server.abort();
        }
        self.lock().fault = fault;
        if fault == Fault::Refused {
            return Ok(());
        }
        // The old listener may still be on its way out.
        for _ in 0..100 {
            if let Ok(listener) = TcpListener::bind(self.address).await {
                self.serve(listener);
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("{} cannot be listened on again", self.address)
    }

    /// Takes the requests seen since the last call.
    pub fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.lock().requests)
    }

    /// Takes the requests seen since the last call, and gives those that read the chain's state.
    pub fn calls(&self) -> Vec<Value> {
        let mut requests = self.take();
        requests.retain(|request| request["method"] == "eth_call");
        requests
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, listener: TcpListener) {
        let front = Front {
            upstream: self.upstream.clone(),
            state: Arc::clone(&self.state),
            connections: Arc::clone(&self.connections),
            http: Http::default(),
            chain: self.chain,
        };
        let server = tokio::spawn(async move {
            // Dropped with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                front.connections.fetch_add(1, Ordering::Relaxed);
                let _ = stream.set_nodelay(true);
                let front = front.clone();
                connections.spawn(async move {
                    // A client that hangs up is no failure of the provider.
                    let _ = front.connection(stream).await;
                });
            }
        });
        self.lock().server = Some(server.abort_handle());
    }
}

#[derive(Clone)]
struct Front {
    upstream: String,
    state: Arc<Mutex<State>>,
    connections: Arc<AtomicUsize>,
    http: Http,
    chain: Option<u64>,
}

impl Front {
    async fn connection(&self, stream: TcpStream) -> anyhow::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            if self.lock().fault == Fault::HungAfterAccept {
                std::future::pending::<()>().await;
            }
            let Some(body) = request(&mut stream).await? else {
                return Ok(());
            };
            let asked: Value = serde_json::from_slice(&body)?;
            let fault = {
                let mut state = self.lock();
                state.requests.push(asked.clone());
                state.fault
            };
            self.answer(&mut stream, fault, asked).await?;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(
        &self,
        stream: &mut BufReader<TcpStream>,
        fault: Fault,
        mut asked: Value,
    ) -> anyhow::Result<()> {
        const PAGE: &[u8] = b"<html><body>Please try again later.</body></html>";
        let id = asked["id"].clone();
        if let Some(error) = refusal(fault, &asked) {
            let answer = json!({"jsonrpc": "2.0", "id": id, "error": error});
            return reply(stream, 200, "", answer.to_string().as_bytes()).await;
        }
        match fault {
            Fault::IgnoresNonces(authority) => delegate(&mut asked, authority),
            Fault::Slow(time) => tokio::time::sleep(time).await,
            Fault::HangUp => anyhow::bail!("the provider hangs up"),
            Fault::Silent => std::future::pending().await,
            Fault::Refuse(text) if asked.to_string().contains(text) => {
                let error = json!({"code": -32602, "message": "not here"});
                let answer = json!({"jsonrpc": "2.0", "id": id, "error": error});
                return reply(stream, 200, "", answer.to_string().as_bytes()).await;
            }
            Fault::TooMany(seconds) => {
                let field = format!("retry-after: {seconds}\r\n");
                return reply(stream, 429, &field, b"{}").await;
            }
            Fault::Status(status) => return reply(stream, status, "", PAGE).await,
            Fault::Html => return reply(stream, 200, "", PAGE).await,
            Fault::Redirect => {
                let field = format!("location: {}\r\n", self.upstream);
                return reply(stream, 307, &field, b"").await;
            }
            Fault::Unsynced => {
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": "0x"});
                return reply(stream, 200, "", answer.to_string().as_bytes()).await;
            }
            Fault::NoBatches if asked.is_array() => {
                let error = json!({"code": -32600, "message": "batches are not supported"});
                let answer = json!({"jsonrpc": "2.0", "id": null, "error": error});
                return reply(stream, 200, "", answer.to_string().as_bytes()).await;
            }
            Fault::Small(limit) => {
                let data = asked["params"][0]["data"].as_str().unwrap_or_default();
                if data.len() / 2 > limit {
                    return reply(stream, 413, "", b"{}").await;
                }
            }
            Fault::NoOverride if runs_reader(&asked)[0] => {
                return refuse(stream, &id, -32602, "too many arguments, want at most 2").await;
            }
            Fault::NoReader if runs_reader(&asked).contains(&true) => {
                return refuse(stream, &id, -32000, "not supported").await;
            }
            Fault::NoHashes(code) if asked.to_string().contains("blockHash") => {
                return refuse(stream, &id, code, "invalid block parameter").await;
            }
            Fault::EmptyReader if runs_reader(&asked).contains(&true) => {
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": "0x"});
                return reply(stream, 200, "", answer.to_string().as_bytes()).await;
            }
            Fault::Ahead(blocks) => renumber(&mut asked, |number| number.saturating_sub(blocks)),
            Fault::Reorganising if asked["method"] == "eth_call" => {
                self.lock().fault = Fault::None;
                self.ask(
                    json!({"jsonrpc": "2.0", "id": 1, "method": "anvil_reorg", "params": [2, []]}),
                )
                .await?;
            }
            Fault::Stale(blocks) => self.put_back(&mut asked, blocks).await?,
            _ => {}
        }
        let mut answer = self.ask(asked.clone()).await?;
        match fault {
            Fault::Stale(blocks) if asked["method"] == "eth_blockNumber" => {
                let head = quantity(&answer["result"])?;
                answer["result"] = format!("{:#x}", head.saturating_sub(blocks)).into();
            }
            Fault::Dust(count) if asked["method"] == "eth_getLogs" => {
                add_logs(&asked, &mut answer, count, 8_000, single_transfer)?;
            }
            Fault::Batches(count) if asked["method"] == "eth_getLogs" => {
                add_logs(&asked, &mut answer, count, 64, batch_transfer)?;
            }
            Fault::WrongId => answer["id"] = 4711.into(),
            Fault::Ahead(blocks) => {
                // Batches are of calls, which name their block by its hash.
                let number = match asked["method"].as_str() {
                    Some("eth_blockNumber") => answer.get_mut("result"),
                    Some("eth_getBlockByNumber") => answer.pointer_mut("/result/number"),
                    _ => None,
                };
                if let Some(number) = number {
                    *number = format!("{:#x}", quantity(number)? + blocks).into();
                }
            }
            Fault::WrongChain => self.replace_words(&mut answer, |word| match word {
                31_337 => 5,
                other => other,
            })?,
            // Block numbers and times are far from these.
            Fault::Lying => self.replace_words(&mut answer, |word| match word {
                0 => 7,
                1 => 0,
                other => other,
            })?,
            _ => {}
        }
        if let Some(chain) = self.chain {
            self.replace_words(&mut answer, |word| match word {
                31_337 => chain,
                other => other,
            })?;
            if asked["method"] == "eth_chainId" {
                answer["result"] = format!("{chain:#x}").into();
            }
        }
        let text = answer.to_string();
        match fault {
            Fault::Truncated => {
                let half = text.as_bytes().get(..text.len() / 2).unwrap_or_default();
                reply(stream, 200, "", half).await
            }
            Fault::Oversized => {
                let padded = format!("{text}{}", " ".repeat(2 << 20));
                reply(stream, 200, "", padded.as_bytes()).await
            }
            Fault::HungMidBody => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
                stream.write_all(head.as_bytes()).await?;
                let half = text.as_bytes().get(..text.len() / 2).unwrap_or_default();
                stream.write_all(half).await?;
                stream.flush().await?;
                std::future::pending().await
            }
            _ => reply(stream, 200, "", text.as_bytes()).await,
        }
    }

    async fn ask(&self, body: Value) -> anyhow::Result<Value> {
        let request = Request::post(&self.upstream)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        self.http.send(request).await?.expect(200)
    }

    /// Makes a request for the newest block one for an older block.
    async fn put_back(&self, asked: &mut Value, blocks: u64) -> anyhow::Result<()> {
        let at = match asked["method"].as_str() {
            Some("eth_call") => 1,
            Some("eth_getBlockByNumber") => 0,
            _ => return Ok(()),
        };
        let head = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []});
        let head = quantity(&self.ask(head).await?["result"])?;
        if let Some(block) = asked["params"]
            .get_mut(at)
            .filter(|block| *block == "latest")
        {
            *block = format!("{:#x}", head.saturating_sub(blocks)).into();
        }
        Ok(())
    }

    /// Changes the 32-byte words of what a call returned. Those of an answer of the reader are the chain's id and what was
    /// read; those of the answer's own frame, its offsets, lengths and
    /// successes, are what an aggregate's decoder needs: of them only words behind a length of 32 are changed.
    fn replace_words(&self, answer: &mut Value, change: impl Fn(u64) -> u64) -> anyhow::Result<()> {
        let Some(Ok(mut data)) = answer["result"].as_str().map(hex::decode) else {
            return Ok(());
        };
        if let Some(places) = words_of_reader(&data) {
            for place in places {
                if let Some(low) = data.get_mut(place + 24..place + 32) {
                    let value = u64::from_be_bytes(<[u8; 8]>::try_from(&*low)?);
                    low.copy_from_slice(&change(value).to_be_bytes());
                }
            }
            answer["result"] = hex::encode_prefixed(data).into();
            return Ok(());
        }
        let mut after_length = false;
        for word in data.chunks_exact_mut(32) {
            let (high, low) = word.split_at_mut(24);
            let value = u64::from_be_bytes(<[u8; 8]>::try_from(&*low)?);
            let small = high.iter().all(|byte| *byte == 0);
            if after_length && small {
                low.copy_from_slice(&change(value).to_be_bytes());
            }
            after_length = small && value == 32 && !after_length;
        }
        answer["result"] = hex::encode_prefixed(data).into();
        Ok(())
    }
}

/// Where the chain's id and the words that were read are in an answer of the reader, if it is one.
fn words_of_reader(data: &[u8]) -> Option<Vec<usize>> {
    let (head, mut rest) = data.split_at_checked(112)?;
    let is_id = head.get(..24)?.iter().all(|byte| *byte == 0);
    let mut places = vec![0];
    while !rest.is_empty() {
        let [_, _, _, _, high, low] = *rest.first_chunk::<6>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 32 {
            places.push(data.len() - rest.len() + 6);
        }
        rest = rest.get(6 + length..)?;
    }
    is_id.then_some(places)
}

/// Changes the numbers of blocks that a request names.
fn renumber(asked: &mut Value, change: impl Fn(u64) -> u64) {
    let places: &[&str] = match asked["method"].as_str() {
        Some("eth_call" | "eth_getBalance" | "eth_getCode") => &["/params/1"],
        Some("eth_getBlockByNumber") => &["/params/0"],
        Some("eth_getLogs") => &["/params/0/fromBlock", "/params/0/toBlock"],
        _ => &[],
    };
    for place in places {
        if let Some(block) = asked.pointer_mut(place)
            && let Ok(number) = quantity(block)
        {
            *block = format!("{:#x}", change(number)).into();
        }
    }
}

async fn refuse(
    stream: &mut BufReader<TcpStream>,
    id: &Value,
    code: i64,
    message: &str,
) -> anyhow::Result<()> {
    let error = json!({"code": code, "message": message});
    let answer = json!({"jsonrpc": "2.0", "id": id, "error": error});
    reply(stream, 200, "", answer.to_string().as_bytes()).await
}

/// Why a node does not run a call. geth refuses authorizations without a destination also in `eth_call` (EIP-7702); anvil
/// does not, so that is always refused here.
fn refusal(fault: Fault, asked: &Value) -> Option<Value> {
    if asked["method"] != "eth_call" {
        return None;
    }
    let (call, overrides) = (&asked["params"][0], &asked["params"][2]);
    let authorized = !call["authorizationList"].is_null();
    let destinationless = call["to"].is_null();
    let error = |code: i64, message: &str| Some(json!({"code": code, "message": message}));
    match fault {
        _ if authorized && destinationless => error(
            -32000,
            "EIP-7702 transaction cannot be used to create contract",
        ),
        Fault::NoDestinationless | Fault::NoOverrides if destinationless => {
            error(-32602, "missing field `to`")
        }
        Fault::NoOverrides if !overrides.is_null() => {
            error(-32602, "too many arguments, want at most 2")
        }
        Fault::NoAuthorizations if authorized => error(-32000, "transaction type not supported"),
        _ => None,
    }
}

/// Has a call run as if the authorization that it carries were in force: as an override of the account's code.
fn delegate(asked: &mut Value, authority: Address) {
    let Some(params) = asked["params"].as_array_mut() else {
        return;
    };
    let list = params
        .first_mut()
        .and_then(Value::as_object_mut)
        .and_then(|call| call.remove("authorizationList"))
        .unwrap_or_default();
    let Some(delegation) = list[0]["address"].as_str() else {
        return;
    };
    params.resize(3, json!({}));
    let code = format!("0xef0100{}", delegation.trim_start_matches("0x"));
    params[2][authority.to_string().to_lowercase()] = json!({"code": code});
}

/// Ids in one batch of [`Fault::Batches`].
pub const BATCH_IDS: u64 = 256;

/// Adds `per_block` logs to each block of the range asked for, at most `most`, which make the answer too long to be read.
fn add_logs(
    asked: &Value,
    answer: &mut Value,
    per_block: u64,
    most: usize,
    log: fn(u64, u64) -> Value,
) -> anyhow::Result<()> {
    let filter = &asked["params"][0];
    let (from, to) = (
        quantity(&filter["fromBlock"])?,
        quantity(&filter["toBlock"])?,
    );
    let logs = answer["result"].as_array_mut().context("no logs")?;
    let places = (from..=to).flat_map(|block| (0..per_block).map(move |index| (block, index)));
    for (block, index) in places.take(most) {
        let mut log = log(block, index);
        log["blockNumber"] = format!("{block:#x}").into();
        log["blockHash"] = format!("0x{block:064x}").into();
        log["logIndex"] = format!("{index:#x}").into();
        log["removed"] = false.into();
        logs.push(log);
    }
    Ok(())
}

/// An account of its own for each log, as a topic.
fn account(kind: &str, block: u64, index: u64) -> String {
    format!("0x{}{kind}{block:016x}{index:020x}", "0".repeat(24))
}

/// An ERC-721 `Transfer` between accounts that no request names.
fn single_transfer(block: u64, index: u64) -> Value {
    json!({
        "address": ERC721.to_string().to_lowercase(),
        "topics": [
            "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
            account("dead", block, index),
            account("beef", block, index),
            format!("0x{:064x}", 1_000_000 + index),
        ],
        "data": "0x",
    })
}

/// An ERC-1155 `TransferBatch` of the ids 0 to 255, one of each, between accounts that no request names.
fn batch_transfer(block: u64, index: u64) -> Value {
    let word = |number: u64| format!("{number:064x}");
    let ids: String = (0..BATCH_IDS).map(word).collect();
    let amounts = word(1).repeat(usize::try_from(BATCH_IDS).unwrap_or_default());
    let data = [
        word(64),
        word(64 + 32 + 32 * BATCH_IDS),
        word(BATCH_IDS),
        ids,
        word(BATCH_IDS),
        amounts,
    ];
    json!({
        "address": ERC1155.to_string().to_lowercase(),
        "topics": [
            "0x4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb",
            account("feed", block, index),
            account("dead", block, index),
            account("beef", block, index),
        ],
        "data": format!("0x{}", data.concat()),
    })
}

fn quantity(value: &Value) -> anyhow::Result<u64> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    Ok(u64::from_str_radix(digits.context("no quantity")?, 16)?)
}

/// A request's body; none where the client has hung up.
async fn request(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<Vec<u8>>> {
    let mut length = 0;
    let mut lines = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        lines += 1;
        ensure!(lines < 100, "too many header fields");
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    ensure!(length <= MAX_BODY, "a body of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(body))
}

async fn reply(
    stream: &mut BufReader<TcpStream>,
    status: u16,
    fields: &str,
    body: &[u8],
) -> anyhow::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    Ok(())
}
