//! Decisions when something outside is slow, wrong or gone: the use cases over simulated ports.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

#[path = "decisions/limits.rs"]
mod limits;
mod support;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::future::LocalBoxFuture;
use http::{Method, StatusCode};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use tokengate_app::state::{All, Chains, Installation, State};
use tokengate_app::{
    CallError, LoadError, Ports, RedisReply, Reply, Request, Response, StoreError, load, routes,
    serve,
};
use tokengate_core::Timestamp;
use tokengate_core::eip191::hash_message;
use tokengate_core::sealed::{Kind, StoreKeys};

use support::reader::{self, Asked, Block, Outcome, word};
use support::{Task, Tasks};

const CONFIG: &str = r#"
[service]
domains = ["gate.example"]
session_ttl = "1h"
url_ttl = "5m"
deny_max_age = "3s"

[cache]
prefetch = "off"

[[chain]]
id = "eip155:1"
providers = ["http://a.example", "http://b.example"]

[[chain]]
id = "eip155:10"
providers = ["http://a.example"]

[[bucket]]
id = "media"
endpoint = "http://127.0.0.1:9000"
region = "us-east-1"
addressing = "path"
credentials = "media"

[[gate]]
id = "season-1"
resources = ["media/season-1/**"]
max_age = "10s"
stale_while_revalidate = "50s"
require = { erc721 = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3", at_least = "1" } }

[[gate]]
id = "outsiders"
resources = ["media/outsiders/**"]
max_age = "10s"
stale_while_revalidate = "50s"
require = { all = [ { native = { chain = "eip155:1", at_least = "1" } }, { not = { erc721 = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3", at_least = "1" } } } ] }
"#;

/// A gate of which two providers have to say the same, and then every sign-in on its chain.
const AGREED: &str = r#"
[[gate]]
id = "agreed"
resources = ["media/agreed/**"]
max_age = "10s"
stale_while_revalidate = "50s"
quorum = 2
require = { erc721 = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3", at_least = "1" } }
"#;

const RESOURCE: &str = "media/season-1/ep1.mp4";

/// Gates over what is no token: `LISTED` is the wallet, `ROOT` that of a list with it.
const MORE_GATES: &str = r#"
[[gate]]
id = "list"
resources = ["media/list/**"]
max_age = "10s"
require = { allowlist = { addresses = ["LISTED"] } }

[[gate]]
id = "either"
resources = ["media/either/**"]
max_age = "10s"
require = { any = [ { erc721 = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3" } }, { allowlist = { addresses = ["LISTED"] } } ] }

[[gate]]
id = "proven"
resources = ["media/proven/**"]
max_age = "10s"
require = { allowlist = { merkle_root = "ROOT" } }

[[gate]]
id = "premiere"
resources = ["media/premiere/**"]
max_age = "10s"
require = { all = [ { allowlist = { addresses = ["LISTED"] } }, { time = { from = "2026-06-01T00:10:00Z", until = "2026-06-01T00:20:00Z" } } ] }

[[gate]]
id = "stakers"
resources = ["media/stakers/**"]
max_age = "10s"
stale_while_revalidate = "50s"
require = { call = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3", function = "function stakeOf(address owner) view returns (uint256 amount, uint64 until)", args = ["$address"], returns = "amount", compare = ">=", value = "100" } }
"#;

/// What a provider does with a call.
#[derive(Clone, Copy, PartialEq)]
enum Provider {
    /// Answers truthfully, from the world's balance.
    Honest,
    /// Serves another chain.
    OtherChain,
    /// Has no contracts: every call returns nothing.
    Unsynced,
    /// Refuses connections.
    Down,
    /// Accepts and says nothing.
    Hung,
    /// Answers 502 with a page.
    Broken,
    /// Answers 429, and asks to be left alone for twenty seconds.
    Limited,
    /// Never answers what asks for a balance of a token, and everything else.
    Swamped,
    /// Says that every balance is 1, and is this number of blocks behind.
    Generous(u64),
    /// Is this number of blocks behind.
    Behind(u64),
    /// The same, and says that contracts accept every signature.
    Accepting(u64),
    /// Answers 504 to whatever a contract is asked about a signature, and everything else.
    Refusing,
    /// Has seen no block for so many seconds.
    Stuck(u64),
    /// Says that its newest block has this number, and reads at another.
    Boastful(u64),
    /// Says that it reads at a block of this number, and that every balance is 1.
    Bent(u64),
    /// Reads its newest block, whichever it is asked for.
    Deaf,
}

/// A JSON-RPC reply with this result.
fn reply(result: Value) -> Reply {
    let reply = json!({"jsonrpc": "2.0", "id": 1, "result": result});
    Reply {
        status: 200,
        retry_after: None,
        body: reply.to_string().into_bytes(),
    }
}

struct World {
    config: RefCell<String>,
    now: Cell<Timestamp>,
    elapsed: Cell<u64>,
    providers: [Cell<Provider>; 2],
    /// How long each takes to answer, in milliseconds.
    delays: [Cell<u64>; 2],
    balance: Cell<u64>,
    /// The hash of every block before the present one.
    hash: Cell<u64>,
    /// What is staked; the call reverts where nothing is said.
    stake: Cell<Option<u64>>,
    /// What the chain makes of signatures: 0, there is no contract; 1, it accepts; 2, it does not.
    contract: Cell<u64>,
    calls: Cell<usize>,
    /// The states that were read.
    blocks: RefCell<Vec<Value>>,
    /// What happens in the middle of the next call of a provider, or before the next count at a key, with this in its
    /// name.
    meanwhile: RefCell<Option<(&'static str, Task)>>,
    store: RefCell<HashMap<String, Vec<u8>>>,
    store_keys: RefCell<Option<String>>,
    store_up: Cell<bool>,
    /// Whether vaults have named the asking wallet their delegate.
    delegated: Cell<bool>,
    /// Keys with this in their names cannot be written.
    refused_writes: RefCell<Option<&'static str>>,
    /// Whether the store takes values and gives none back.
    store_is_mute: Cell<bool>,
    stands_still: Cell<bool>,
    random: Cell<u64>,
    log: RefCell<Vec<String>>,
    /// What runs behind the response.
    tasks: Tasks,
}

#[derive(Clone)]
struct Simulated(Rc<World>);

impl Simulated {
    fn new(config: String) -> Self {
        Self(Rc::new(World {
            config: RefCell::new(config),
            now: Cell::new("2026-06-01T00:00:00Z".parse().unwrap()),
            elapsed: Cell::new(0),
            providers: [Cell::new(Provider::Honest), Cell::new(Provider::Honest)],
            delays: [Cell::new(0), Cell::new(0)],
            balance: Cell::new(1),
            hash: Cell::new(1),
            stake: Cell::new(Some(100)),
            contract: Cell::new(0),
            calls: Cell::new(0),
            blocks: RefCell::default(),
            meanwhile: RefCell::default(),
            store: RefCell::default(),
            store_keys: RefCell::new(Some(support::STORE_KEYS.to_owned())),
            store_up: Cell::new(true),
            delegated: Cell::new(false),
            refused_writes: RefCell::default(),
            store_is_mute: Cell::new(false),
            stands_still: Cell::new(false),
            random: Cell::new(0),
            log: RefCell::default(),
            tasks: Tasks::default(),
        }))
    }

    fn advance(&self, seconds: u64) {
        self.0.elapsed.set(self.0.elapsed.get() + seconds);
        self.0
            .now
            .set(self.0.now.get() + Duration::from_secs(seconds));
    }

    fn providers(&self, provider: Provider) {
        self.0.providers.iter().for_each(|slot| slot.set(provider));
    }

    fn store(&self) -> Result<(), StoreError> {
        if self.0.store_up.get() {
            Ok(())
        } else {
            Err(StoreError::Failed("connection refused".into()))
        }
    }

    /// What is to happen before something of this name.
    fn meanwhile(&self, name: &str) -> impl Future<Output = ()> + use<> {
        let due = |(place, _): &mut (&str, Task)| name.contains(*place);
        let task = self.0.meanwhile.borrow_mut().take_if(due);
        async move {
            if let Some((_, task)) = task {
                task.await;
            }
        }
    }

    fn answer(&self, provider: Provider, body: &[u8]) -> Reply {
        let (chain, code) = match provider {
            Provider::OtherChain => (5, true),
            Provider::Unsynced => (1, false),
            _ => (1, true),
        };
        let behind = match provider {
            Provider::Generous(blocks) | Provider::Behind(blocks) | Provider::Accepting(blocks) => {
                blocks
            }
            _ => 0,
        };
        let request: Value = serde_json::from_slice(body).unwrap();
        if let Some(batch) = request.as_array() {
            // Nothing here is read by single calls with success.
            let answer = |one: &Value| json!({"jsonrpc": "2.0", "id": one["id"], "result": "0x"});
            let answers: Vec<Value> = batch.iter().map(answer).collect();
            return Reply {
                status: 200,
                retry_after: None,
                body: Value::from(answers).to_string().into_bytes(),
            };
        }
        let method = request["method"].as_str().unwrap();
        let number =
            |value: &Value| u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok();
        let asked = match method {
            "eth_call" => number(&request["params"][1]),
            _ => number(&request["params"][0]),
        };
        if method == "eth_call" {
            self.0
                .blocks
                .borrow_mut()
                .push(request["params"][1].clone());
        }
        if method == "eth_getBlockByNumber" && code {
            let number = match provider {
                Provider::Boastful(number) => number,
                // The other chain is longer.
                Provider::OtherChain => 1_000,
                _ => asked.unwrap_or(100 - behind),
            };
            let header = json!({
                "number": format!("{number:#x}"),
                "hash": format!("0x{}", hex::encode(word(1_000 + self.0.hash.get()))),
                "parentHash": format!("0x{}", hex::encode(word(self.0.hash.get()))),
                "timestamp": format!("{:#x}", self.timestamp(provider)),
            });
            return reply(header);
        }
        let block = Block {
            chain,
            number: match provider {
                Provider::Bent(number) => number,
                Provider::Deaf => 100,
                _ => asked.unwrap_or(100 - behind),
            },
            timestamp: self.timestamp(provider),
            parent: word(self.0.hash.get()),
            known: word(self.0.hash.get()),
        };
        let result = match method {
            "eth_blockNumber" => json!(format!("{:#x}", block.number)),
            "eth_chainId" => json!(format!("{chain:#x}")),
            _ if !code => json!("0x"),
            "eth_call" => match reader::request(&request["params"]) {
                Some(asked) => {
                    let read = |read: &Asked| self.read(provider, read);
                    json!(format!("0x{}", reader::answer(block, &asked, read)))
                }
                None => {
                    assert_eq!(request["params"][0]["to"], Value::Null);
                    let verdict = match provider {
                        Provider::Accepting(_) => 1,
                        Provider::Refusing => {
                            return Reply {
                                status: 504,
                                retry_after: None,
                                body: Vec::new(),
                            };
                        }
                        _ => self.0.contract.get(),
                    };
                    let words = [
                        chain,
                        block.number,
                        block.timestamp,
                        self.0.hash.get(),
                        verdict,
                    ];
                    json!(format!("0x{}", hex::encode(words.map(word).concat())))
                }
            },
            other => panic!("an unexpected call: {other}"),
        };
        reply(result)
    }

    /// When the newest block of a provider was made.
    fn timestamp(&self, provider: Provider) -> u64 {
        let age = match provider {
            Provider::Stuck(seconds) => seconds,
            _ => 0,
        };
        self.0.now.get().as_second().unsigned_abs() - age
    }

    fn read(&self, provider: Provider, read: &Asked) -> Outcome {
        let balance = match provider {
            Provider::Generous(_) | Provider::Bent(_) => 1,
            _ => self.0.balance.get(),
        };
        match (read.selector().as_str(), self.0.stake.get()) {
            ("70a08231", _) => Outcome::Returned(word(balance).to_vec()),
            ("", _) => Outcome::Returned(word(1).to_vec()),
            // `checkDelegateForContract`.
            ("8988eea9", _) => Outcome::Returned(word(u64::from(self.0.delegated.get())).to_vec()),
            ("42623360", Some(stake)) => Outcome::Returned([stake, 0].map(word).concat()),
            ("42623360", None) => Outcome::Reverted(Vec::new()),
            (other, _) => panic!("an unexpected call: {other}"),
        }
    }
}

impl Ports for Simulated {
    fn now(&self) -> Timestamp {
        self.0.now.get()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.elapsed.get())
    }

    fn random(&self) -> [u8; 16] {
        self.0.random.set(self.0.random.get() + 1);
        let number = self.0.random.get().to_be_bytes();
        std::array::from_fn(|index| number[index % 8])
    }

    /// Time passes as soon as nothing else goes on any more, unless it stands still.
    async fn sleep(&self, duration: Duration) {
        if self.0.stands_still.get() {
            pending().await
        }
        support::yield_for(duration).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.tasks.push(task);
    }

    fn wait(&self) -> (Box<dyn Any>, LocalBoxFuture<'static, ()>) {
        support::wait()
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store()?;
        if self.0.store_is_mute.get() {
            return Err(StoreError::Failed("no answer".into()));
        }
        Ok(self.0.store.borrow().get(key).cloned())
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.store()?;
        if self
            .0
            .refused_writes
            .borrow()
            .is_some_and(|part| key.contains(part))
        {
            return Err(StoreError::Failed("no space left".into()));
        }
        self.0
            .store
            .borrow_mut()
            .insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store()?;
        self.0.store.borrow_mut().remove(key);
        Ok(())
    }

    async fn increment(&self, key: &str) -> Result<u64, StoreError> {
        self.meanwhile(key).await;
        self.store()?;
        let mut store = self.0.store.borrow_mut();
        let count = store.entry(key.to_owned()).or_default();
        count.push(1);
        Ok(count.len() as u64)
    }

    async fn redis(&self, _: &str, _: &str, _: &[&[u8]]) -> Result<Vec<RedisReply>, StoreError> {
        support::no_redis()
    }

    fn post(
        &self,
        url: &str,
        body: Vec<u8>,
        _: usize,
    ) -> impl Future<Output = Result<Reply, CallError>> {
        // Providers are asked for their heads now and then: what is counted is calls that read the chain's state.
        if body.windows(8).any(|part| part == b"eth_call") {
            self.0.calls.set(self.0.calls.get() + 1);
        }
        let index = usize::from(url.starts_with("http://b."));
        let outcome: Pin<Box<dyn Future<Output = _>>> = match self.0.providers[index].get() {
            Provider::Down => Box::pin(ready(Err(CallError::Refused))),
            Provider::Hung => Box::pin(pending()),
            Provider::Broken => Box::pin(ready(Ok(Reply {
                status: 502,
                retry_after: None,
                body: b"<html>".to_vec(),
            }))),
            Provider::Limited => Box::pin(ready(Ok(Reply {
                status: 429,
                retry_after: Some(20),
                body: Vec::new(),
            }))),
            Provider::Swamped if body.windows(8).any(|part| part == b"70a08231") => {
                Box::pin(pending())
            }
            provider => Box::pin(ready(Ok(self.answer(provider, &body)))),
        };
        let meanwhile = self.meanwhile(url);
        let delay = Duration::from_millis(self.0.delays[index].get());
        async move {
            meanwhile.await;
            if !delay.is_zero() {
                support::yield_for(delay).await;
            }
            outcome.await
        }
    }

    fn config_text(&self) -> Result<String, String> {
        Ok(self.0.config.borrow().clone())
    }

    async fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(Some(match name {
            "service_keys" => format!("a:{}", "11".repeat(32)),
            "store_keys" => return Ok(self.0.store_keys.borrow().clone()),
            "media_access_key_id" => "AKIAEXAMPLE".to_owned(),
            "media_secret_access_key" => "a secret".to_owned(),
            _ => return Ok(None),
        }))
    }

    fn log(&self, line: &str) {
        self.0.log.borrow_mut().push(line.to_owned());
    }
}

/// A signed-in wallet and the service it asks.
struct Visit {
    ports: Simulated,
    service: Result<All, LoadError>,
    key: SigningKey,
    token: String,
}

impl Visit {
    fn new() -> Self {
        Self::with(|config| config)
    }

    /// A visit of a service that is configured otherwise.
    fn with(configure: impl FnOnce(String) -> String) -> Self {
        let mut visit = Self::of(&Simulated::new(configure(CONFIG.to_owned())), 7);
        let session = visit.sign_in();
        assert_eq!(session.0, StatusCode::CREATED, "{}", session.1);
        visit.token = token(&session.1);
        visit.calls();
        visit
    }

    /// The same wallet at a fresh instance over the same store.
    fn beside(&self) -> Self {
        Self {
            token: self.token.clone(),
            ..Self::of(&self.ports, 7)
        }
    }

    /// A visitor who is not signed in, at an instance that has just been started.
    fn of(ports: &Simulated, key: u8) -> Self {
        Self {
            ports: ports.clone(),
            service: block_on(load(ports)),
            key: self::key(key),
            token: String::new(),
        }
    }

    /// A request with this visitor's session.
    fn request(&self, method: Method, target: &str, body: Option<Value>) -> Request {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str())];
        let headers = &headers[..usize::from(!self.token.is_empty())];
        request(method, target, body, headers)
    }

    fn send(&self, method: Method, target: &str, body: Option<Value>) -> Response {
        self.serve(self.request(method, target, body))
    }

    fn send_with(
        &self,
        method: Method,
        target: &str,
        body: Option<Value>,
        fields: &[(&'static str, &str)],
    ) -> Response {
        self.serve(request(method, target, body, fields))
    }

    fn serve(&self, request: Request) -> Response {
        let routes = routes::all();
        let answer = serve(&routes, &self.service, &self.ports, request);
        let response = self.ports.0.tasks.drive(answer);
        self.ports.0.tasks.run();
        response
    }

    fn ask(&self, method: Method, target: &str, body: Option<Value>) -> (StatusCode, Value) {
        answer(&self.send(method, target, body))
    }

    fn address(&self) -> String {
        address_of(&self.key)
    }

    fn challenge(&self) -> String {
        let target = format!("/v1/challenge?address={}&chain=eip155:1", self.address());
        let (_, challenge) = self.ask(Method::GET, &target, None);
        challenge["message"].as_str().unwrap().to_owned()
    }

    /// The body of a sign-in by a message, whatever it says.
    fn signed(&self, message: &str) -> Value {
        let hash = hash_message(message.as_bytes());
        let (signature, recovery) = self.key.sign_prehash_recoverable(&hash);
        let v = 27 + recovery.to_byte();
        let signature = format!("0x{}{v:02x}", hex::encode(signature.to_bytes()));
        json!({"message": message, "signature": signature})
    }

    /// The body of a sign-in by something that only a contract could accept.
    fn of_contract(&self) -> Value {
        json!({"message": self.challenge(), "signature": "0x", "link": false})
    }

    /// Signs a message, whatever it says, and presents it.
    fn present(&self, message: &str) -> (StatusCode, Value) {
        let mut body = self.signed(message);
        body["link"] = false.into();
        self.ask(Method::POST, "/v1/session", Some(body))
    }

    fn sign_in(&self) -> (StatusCode, Value) {
        self.present(&self.challenge())
    }

    /// Signs in with the session that it has, which the new one replaces.
    fn link(&self) -> (StatusCode, Value) {
        let body = self.signed(&self.challenge());
        self.ask(Method::POST, "/v1/session", Some(body))
    }

    /// Ends all sessions of its wallets.
    fn end_all(&self) {
        let (status, problem) = self.ask(Method::DELETE, EVERYWHERE, None);
        assert_eq!(status, StatusCode::NO_CONTENT, "{problem}");
    }

    fn access(&self) -> (StatusCode, Value) {
        self.ask(
            Method::POST,
            "/v1/access",
            Some(json!({"resource": RESOURCE})),
        )
    }

    /// Asks for a resource, with more members in the body.
    fn open(&self, resource: &str, more: Value) -> (StatusCode, Value) {
        let mut body = json!({"resource": resource});
        let members = body.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        self.ask(Method::POST, "/v1/access", Some(body))
    }

    fn calls(&self) -> usize {
        self.ports.0.calls.replace(0)
    }
}

const EVERYWHERE: &str = "/v1/session?everywhere=true";

fn request(
    method: Method,
    target: &str,
    body: Option<Value>,
    fields: &[(&'static str, &str)],
) -> Request {
    let mut request = http::Request::new(
        body.map(|body| Bytes::from(body.to_string()))
            .unwrap_or_default(),
    );
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().unwrap();
    let headers = request.headers_mut();
    headers.insert("content-type", "application/json".parse().unwrap());
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    request
}

fn answer(response: &Response) -> (StatusCode, Value) {
    (
        response.status(),
        serde_json::from_slice(response.body()).unwrap_or_default(),
    )
}

fn token(session: &Value) -> String {
    session["token"].as_str().unwrap().to_owned()
}

fn key(byte: u8) -> SigningKey {
    SigningKey::from_slice(&[byte; 32]).unwrap()
}

fn address_of(key: &SigningKey) -> String {
    let point = key.verifying_key().to_sec1_point(false);
    let hash = alloy_sol_types::private::keccak256(&point.as_bytes()[1..]);
    format!("0x{}", hex::encode(&hash[12..]))
}

/// A visit of a service with the gates over what is no token.
fn visit_more() -> Visit {
    Visit::with(|config| {
        let more = MORE_GATES
            .replace("LISTED", &address_of(&key(7)))
            .replace("ROOT", &format!("0x{}", hex::encode(merkle_root())));
        config + &more
    })
}

/// What `Cache-Status` and the line of the log say of a decision.
fn told(visit: &Visit) -> (String, Value) {
    let body = json!({"resource": RESOURCE});
    let response = visit.send(Method::POST, "/v1/access", Some(body));
    let status = response.headers().get("cache-status");
    let status = status.map_or("", |status| status.to_str().unwrap());
    let lines = visit.ports.0.log.take();
    let line = lines.iter().find(|line| line.contains("\"route\""));
    let line: Value = serde_json::from_str(line.unwrap()).unwrap();
    (status.to_owned(), line["cache"].clone())
}

/// Another account's leaf in the list of the gate `proven`.
const SIBLING: [u8; 32] = [0x5a; 32];

/// The root over the wallet's leaf and [`SIBLING`].
fn merkle_root() -> [u8; 32] {
    use alloy_sol_types::private::keccak256;
    let mut word = [0; 32];
    hex::decode_to_slice(&address_of(&key(7))[2..], &mut word[12..]).unwrap();
    let mut pair = [keccak256(keccak256(word)).0, SIBLING];
    pair.sort();
    keccak256(pair.concat()).0
}

#[test]
fn a_fresh_fact_decides_alone_and_an_older_one_is_read_again() {
    let visit = Visit::with(|config| config.replace("stale_while_revalidate = \"50s\"\n", ""));
    let (status, first) = visit.access();
    assert_eq!((status, visit.calls()), (StatusCode::OK, 1));
    assert_eq!(first["basis"]["tier"], "chain");
    visit.ports.advance(10);
    let (status, second) = visit.access();
    assert_eq!((status, visit.calls()), (StatusCode::OK, 0));
    assert_eq!(second["basis"]["tier"], "store");
    visit.ports.advance(1);
    visit.ports.0.balance.set(0);
    let (status, refused) = visit.access();
    assert_eq!((status, visit.calls()), (StatusCode::FORBIDDEN, 1));
    assert_eq!(refused["unmet"][0]["has"], "0");
}

#[test]
fn a_refusal_never_rests_on_an_old_fact() {
    let visit = Visit::new();
    visit.ports.0.balance.set(0);
    assert_eq!(
        (visit.access().0, visit.calls()),
        (StatusCode::FORBIDDEN, 1)
    );
    visit.ports.advance(3);
    assert_eq!(
        (visit.access().0, visit.calls()),
        (StatusCode::FORBIDDEN, 0),
        "young enough to repeat"
    );
    visit.ports.0.balance.set(1);
    visit.ports.advance(1);
    assert_eq!(
        (visit.access().0, visit.calls()),
        (StatusCode::OK, 1),
        "a wallet that has just bought gets in"
    );
}

#[test]
fn without_an_answer_from_the_chain_there_is_no_verdict() {
    for provider in [
        Provider::Down,
        Provider::Hung,
        Provider::Broken,
        Provider::OtherChain,
        Provider::Unsynced,
    ] {
        let visit = Visit::new();
        visit.ports.providers(provider);
        for resource in [RESOURCE, "media/outsiders/x"] {
            let response = visit.send(
                Method::POST,
                "/v1/access",
                Some(json!({"resource": resource})),
            );
            assert_eq!(
                response.status(),
                StatusCode::SERVICE_UNAVAILABLE,
                "{resource}"
            );
            assert!(response.headers().contains_key("retry-after"));
        }
        assert_eq!(
            visit
                .ask(
                    Method::GET,
                    "/v1/gates/season-1/check?address=0x5fbdb2315678afecb367f032d93f642f64180aa3",
                    None
                )
                .0,
            StatusCode::SERVICE_UNAVAILABLE
        );
        visit.ports.providers(Provider::Honest);
        visit.ports.0.balance.set(0);
        assert_eq!(
            visit.access().0,
            StatusCode::FORBIDDEN,
            "nothing of the failure was kept"
        );
    }
}

#[test]
fn the_next_provider_answers_where_the_first_does_not() {
    for (provider, calls) in [
        (Provider::Down, 2),
        (Provider::Hung, 2),
        (Provider::Broken, 2),
        (Provider::OtherChain, 2),
        // In each way in which a chain can be read.
        (Provider::Unsynced, 3),
    ] {
        let visit = Visit::new();
        visit.ports.0.providers[0].set(provider);
        let (status, answer) = visit.access();
        assert_eq!(
            (status, visit.calls()),
            (StatusCode::OK, calls),
            "{answer} {:?}",
            visit.ports.0.log
        );
    }
}

#[test]
fn a_provider_that_has_fallen_behind_is_not_believed() {
    for blocks in [4, 90] {
        let mut visit = Visit::new();
        visit.ports.0.balance.set(0);
        visit.ports.0.providers[0].set(Provider::Generous(blocks));
        assert_eq!(visit.access().0, StatusCode::FORBIDDEN, "{blocks}");
        // One that no other contradicts is believed, as its blocks are young.
        visit = Visit::new();
        visit.ports.0.balance.set(0);
        visit.ports.providers(Provider::Generous(blocks));
        assert_eq!(visit.access().0, StatusCode::OK, "{blocks}");
    }
    // A few blocks are a matter of a moment.
    let visit = Visit::new();
    visit.ports.0.balance.set(0);
    visit.ports.0.providers[0].set(Provider::Generous(3));
    assert_eq!(visit.access().0, StatusCode::OK);
}

/// The first provider answers at once, is behind and grants; the second one is slower and refuses.
fn a_lagging_provider_beside_a_slow_one(blocks: u64, delay: u64) -> Visit {
    let visit = Visit::new();
    visit.ports.0.balance.set(0);
    visit.ports.0.providers[0].set(Provider::Generous(blocks));
    visit.ports.0.delays[1].set(delay);
    visit
}

#[test]
fn a_lagging_provider_that_answers_first_is_not_believed() {
    for (blocks, delay) in [(4, 60), (18, 60), (90, 60), (18, 900)] {
        let visit = a_lagging_provider_beside_a_slow_one(blocks, delay);
        for round in 0..12 {
            let status = visit.access().0;
            assert_eq!(status, StatusCode::FORBIDDEN, "{blocks} {delay} {round}");
            visit.ports.advance(7);
        }
        // It is asked last, and its breaker is closed: as soon as the other one fails it answers, and is refused.
        visit.ports.0.log.take();
        visit.ports.0.providers[1].set(Provider::Down);
        assert_eq!(visit.access().0, StatusCode::SERVICE_UNAVAILABLE);
        let log = visit.ports.0.log.take().concat();
        assert!(log.contains("provider 1: it is at block"), "{log}");
    }
}

#[test]
fn a_lagging_provider_that_has_to_agree_keeps_its_breaker_closed() {
    let visit = Visit::with(|config| {
        let chain = "id = \"eip155:1\"\n";
        config.replace(chain, &format!("{chain}quorum = 2\n"))
    });
    visit.ports.0.providers[0].set(Provider::Behind(18));
    for _ in 0..6 {
        assert_eq!(visit.access().0, StatusCode::SERVICE_UNAVAILABLE);
        visit.ports.advance(1);
    }
    let log = visit.ports.0.log.take().concat();
    assert!(
        log.contains("it is at block 82 and the others at 100"),
        "{log}"
    );
    assert!(!log.contains("not asked for a while"), "{log}");
    // As soon as it has caught up it agrees.
    visit.ports.0.providers[0].set(Provider::Honest);
    assert_eq!(visit.access().0, StatusCode::OK);
}

#[test]
fn what_a_provider_said_of_its_head_stands_while_it_is_left_alone() {
    for read_at in [
        "block = \"latest\"",
        "block = \"safe\"",
        "block = \"finalized\"",
        "confirmations = 2",
    ] {
        let visit = Visit::with(|config| {
            let chain = "id = \"eip155:1\"\n";
            let config = config.replace("stale_while_revalidate = \"50s\"\n", "");
            config.replace(chain, &format!("{chain}{read_at}\n"))
        });
        visit.ports.0.providers[1].set(Provider::Generous(18));
        visit.ports.advance(31);
        assert_eq!(visit.access().0, StatusCode::OK, "{read_at}");
        visit.ports.0.balance.set(0);
        visit.ports.0.providers[0].set(Provider::Limited);
        visit.ports.advance(11);
        let status = visit.access().0;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{read_at}");
        visit.ports.0.providers[1].set(Provider::Accepting(18));
        let (status, problem) = visit.ask(Method::POST, "/v1/session", Some(visit.of_contract()));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
        let log = visit.ports.0.log.take().concat();
        assert!(
            log.contains("HTTP status 429; not asked for a while"),
            "{log}"
        );
    }
}

#[test]
fn a_provider_that_falls_behind_what_it_said_itself_is_not_believed() {
    let visit = Visit::with(|config| {
        let config = config.replace("stale_while_revalidate = \"50s\"\n", "");
        config.replace(", \"http://b.example\"", "")
    });
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.ports.advance(11);
    visit.ports.0.balance.set(0);
    visit.ports.0.providers[0].set(Provider::Generous(18));
    assert_eq!(visit.access().0, StatusCode::SERVICE_UNAVAILABLE);
    let log = visit.ports.0.log.take().concat();
    assert!(
        log.contains("it is at block 82 and the others at 100"),
        "{log}"
    );
    assert!(!log.contains("not asked for a while"), "{log}");
    // Behind its URL there is another node again.
    visit.ports.0.providers[0].set(Provider::Honest);
    assert_eq!(visit.access().0, StatusCode::FORBIDDEN);
}

#[test]
fn a_contract_that_uses_up_the_time_of_a_call_opens_no_breaker() {
    let visit = visit_more();
    visit.ports.providers(Provider::Swamped);
    visit.ports.advance(80);
    for _ in 0..12 {
        assert_eq!(visit.access().0, StatusCode::SERVICE_UNAVAILABLE);
        let (status, answer) = visit.open("media/stakers/a", json!({}));
        assert_eq!(status, StatusCode::OK, "{answer}");
        visit.ports.advance(61);
    }
    let log = visit.ports.0.log.take().concat();
    assert!(!log.contains("not asked for a while"), "{log}");
    // One that answers nothing at all is soon left alone.
    visit.ports.providers(Provider::Hung);
    for _ in 0..3 {
        assert_eq!(visit.access().0, StatusCode::SERVICE_UNAVAILABLE);
    }
    let log = visit.ports.0.log.take().concat();
    assert!(
        log.contains("no answer to a control request; not asked for a while"),
        "{log}"
    );
}

#[test]
fn a_head_that_comes_late_has_the_facts_read_again() {
    // Longer than an answer waits for the others' heads: one provider's answer suffices, until it is refuted.
    let visit = a_lagging_provider_beside_a_slow_one(18, 1_500);
    assert_eq!(visit.access().0, StatusCode::OK);
    let log = visit.ports.0.log.take().concat();
    assert!(
        log.contains("it answered at block 82 and was behind"),
        "{log}"
    );
    let beside = visit.beside();
    let (status, answer) = beside.access();
    assert_eq!(
        status,
        StatusCode::FORBIDDEN,
        "{answer} {log} {:?}",
        visit.ports.0.store
    );
    assert_eq!(visit.access().0, StatusCode::FORBIDDEN);
}

#[test]
fn a_fresh_instance_knows_from_the_store_how_far_the_chain_is() {
    let visit = Visit::new();
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.ports.advance(11);
    // The one that knows better is silent now, and the other one is behind.
    visit.ports.0.balance.set(0);
    visit.ports.0.providers[0].set(Provider::Generous(18));
    visit.ports.0.providers[1].set(Provider::Hung);
    let status = visit.beside().ask(
        Method::GET,
        "/v1/gates/season-1/check?address=0x5fbdb2315678afecb367f032d93f642f64180aa3",
        None,
    );
    assert_eq!(status.0, StatusCode::SERVICE_UNAVAILABLE, "{}", status.1);
}

#[test]
fn a_block_that_the_chain_cannot_have_come_to_is_a_fault_and_is_not_kept() {
    for number in [200, 1_000, 1 << 36, u64::MAX] {
        for alone in [false, true] {
            let visit = Visit::with(|config| {
                let config = config.replace("stale_while_revalidate = \"50s\"\n", "");
                match alone {
                    true => config.replace(", \"http://b.example\"", ""),
                    false => config,
                }
            });
            // How the chain numbers its blocks is known from here on.
            assert_eq!(visit.access().0, StatusCode::OK);
            visit.ports.advance(11);
            visit.ports.0.balance.set(0);
            visit.ports.0.providers[0].set(Provider::Bent(number));
            let expected = match alone {
                true => StatusCode::SERVICE_UNAVAILABLE,
                false => StatusCode::FORBIDDEN,
            };
            assert_eq!(visit.access().0, expected, "{number}");
            let log = visit.ports.0.log.take().concat();
            assert!(log.contains("which the chain cannot have come to"), "{log}");
            // One bent answer outlives nothing.
            visit.ports.providers(Provider::Honest);
            visit.ports.0.balance.set(1);
            visit.ports.advance(4);
            assert_eq!(visit.access().0, StatusCode::OK, "{number}");
        }
    }
}

#[test]
fn a_known_fact_that_is_too_old_to_be_used_contradicts_nothing() {
    // One provider, whose answers go back by blocks that could be: as if the chain had been started again.
    let visit = Visit::with(|config| config.replace(", \"http://b.example\"", ""));
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.ports.0.balance.set(0);
    visit.ports.0.providers[0].set(Provider::Behind(40));
    visit.ports.advance(11);
    assert_eq!(
        visit.access().0,
        StatusCode::OK,
        "stale, as long as it may be"
    );
    // `stale_while_revalidate`, and what clocks may differ by.
    visit.ports.advance(180);
    assert_eq!(visit.access().0, StatusCode::FORBIDDEN);
    assert_eq!(visit.beside().access().0, StatusCode::FORBIDDEN);
}

#[test]
fn an_inflated_head_takes_no_other_provider_out() {
    for number in [110, 1_000, 1 << 36, u64::MAX] {
        let visit = Visit::new();
        visit.ports.0.providers[1].set(Provider::Boastful(number));
        for _ in 0..30 {
            assert_eq!(visit.access().0, StatusCode::OK, "{number}");
            visit.ports.advance(11);
        }
        let log = visit.ports.0.log.take().concat();
        assert!(!log.contains("not asked for a while"), "{log}");
    }
}

#[test]
fn a_head_of_another_chain_does_not_count() {
    let visit = Visit::new();
    visit.ports.0.providers[1].set(Provider::OtherChain);
    for _ in 0..30 {
        assert_eq!(visit.access().0, StatusCode::OK);
        visit.ports.advance(11);
    }
    let log = visit.ports.0.log.take().concat();
    assert!(!log.contains("provider 1: "), "{log}");
}

#[test]
fn a_provider_that_reads_another_block_than_it_is_asked_for_is_not_believed() {
    let visit = Visit::with(|config| {
        let chain = "id = \"eip155:1\"\n";
        config.replace(chain, &format!("{chain}confirmations = 12\n"))
    });
    visit.ports.providers(Provider::Deaf);
    assert_eq!(visit.access().0, StatusCode::SERVICE_UNAVAILABLE);
    visit.ports.0.providers[1].set(Provider::Honest);
    let (status, answer) = visit.access();
    assert_eq!(
        (status, &answer["basis"]["block"]),
        (StatusCode::OK, &json!(88))
    );
}

#[test]
fn a_lagging_head_is_passed_over_in_every_state_that_a_chain_is_read_at() {
    for read_at in [
        "block = \"latest\"",
        "block = \"safe\"",
        "block = \"finalized\"",
        "confirmations = 2",
    ] {
        let visit = Visit::with(|config| {
            let chain = "id = \"eip155:1\"\n";
            config.replace(chain, &format!("{chain}{read_at}\n"))
        });
        visit.ports.0.balance.set(0);
        visit.ports.0.providers[0].set(Provider::Generous(18));
        visit.ports.0.delays[1].set(60);
        assert_eq!(visit.access().0, StatusCode::FORBIDDEN, "{read_at}");
        visit.ports.providers(Provider::Stuck(301));
        visit.ports.advance(11);
        assert_eq!(
            visit.access().0,
            StatusCode::SERVICE_UNAVAILABLE,
            "{read_at}"
        );
    }
}

#[test]
fn a_provider_that_sees_no_new_blocks_is_not_believed() {
    let visit = Visit::new();
    visit.ports.providers(Provider::Stuck(301));
    assert_eq!(visit.access().0, StatusCode::SERVICE_UNAVAILABLE);
    visit.ports.0.providers[1].set(Provider::Stuck(299));
    assert_eq!(visit.access().0, StatusCode::OK);
}

#[test]
fn where_two_have_to_agree_one_alone_says_nothing() {
    let visit = Visit::with(|config| config + AGREED);
    let ask = || {
        let body = json!({"resource": "media/agreed/ep1.mp4"});
        visit.ask(Method::POST, "/v1/access", Some(body))
    };
    assert_eq!(ask().0, StatusCode::OK);
    assert_eq!(visit.calls(), 2);
    // What one provider said is not what two agreed on.
    visit.access();
    assert_eq!(visit.calls(), 1);
    assert_eq!(ask().0, StatusCode::OK);
    assert_eq!(visit.calls(), 0);
    visit.ports.advance(61);
    visit.ports.0.balance.set(0);
    for liar in [0, 1] {
        visit.ports.providers(Provider::Honest);
        visit.ports.0.providers[liar].set(Provider::Generous(0));
        assert_eq!(ask().0, StatusCode::SERVICE_UNAVAILABLE, "{liar}");
        let log = visit.ports.0.log.borrow();
        assert!(log.last().unwrap().contains("disagree"), "{log:?}");
    }
    visit.ports.0.providers[0].set(Provider::Down);
    visit.ports.0.providers[1].set(Provider::Generous(0));
    assert_eq!(ask().0, StatusCode::SERVICE_UNAVAILABLE);
    // Nor does one alone say whose signature it is: else it could let any account in as the holder.
    let body = visit.of_contract();
    visit.ports.0.contract.set(1);
    visit.ports.0.providers[1].set(Provider::Honest);
    assert_eq!(
        visit.ask(Method::POST, "/v1/session", Some(body)).0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    visit.ports.advance(61);
    visit.ports.providers(Provider::Honest);
    assert_eq!(ask().0, StatusCode::FORBIDDEN);
}

#[test]
fn what_was_read_at_a_block_that_has_been_replaced_is_read_again() {
    let visit = Visit::new();
    assert_eq!((visit.access().0, visit.calls()), (StatusCode::OK, 1));
    assert_eq!((visit.access().0, visit.calls()), (StatusCode::OK, 0));
    visit.ports.0.hash.set(2);
    visit.ports.0.balance.set(0);
    // Another request shows it.
    let check = format!("/v1/gates/outsiders/check?address=0x{}", "07".repeat(20));
    assert_eq!(visit.ask(Method::GET, &check, None).0, StatusCode::OK);
    visit.calls();
    assert_eq!(
        (visit.access().0, visit.calls()),
        (StatusCode::FORBIDDEN, 1)
    );
}

#[test]
fn a_fresh_instance_notices_a_reorg_in_every_state_that_a_chain_is_read_at() {
    for how in [
        "block = \"latest\"",
        "block = \"safe\"",
        "confirmations = 2",
        "reader = \"creation\"",
    ] {
        let visit = Visit::with(|config| {
            let chain = "id = \"eip155:1\"\n";
            config.replace(chain, &format!("{chain}{how}\n"))
        });
        assert_eq!(visit.access().0, StatusCode::OK, "{how}");
        visit.ports.0.hash.set(2);
        visit.ports.0.balance.set(0);
        // Nothing here has read anything before: what the block was called that was believed last is in the store.
        let fresh = visit.beside();
        let check = format!("/v1/gates/outsiders/check?address=0x{}", "07".repeat(20));
        assert_eq!(fresh.ask(Method::GET, &check, None).0, StatusCode::OK);
        assert_eq!(fresh.access().0, StatusCode::FORBIDDEN, "{how}");
        // The others are told.
        visit.ports.advance(6);
        let third = visit.beside();
        assert_eq!(third.access().0, StatusCode::FORBIDDEN, "{how}");
    }
}

#[test]
fn a_fresh_instance_knows_which_breakers_are_open() {
    let visit = Visit::new();
    visit.ports.0.providers[0].set(Provider::OtherChain);
    assert_eq!((visit.access().0, visit.calls()), (StatusCode::OK, 2));
    let fresh = visit.beside();
    visit
        .ports
        .0
        .store
        .borrow_mut()
        .retain(|key, _| !key.contains(":fact"));
    assert_eq!((fresh.access().0, fresh.calls()), (StatusCode::OK, 1));
}

#[test]
fn while_the_chain_is_silent_facts_grant_up_to_stale_and_never_refuse() {
    let visit = Visit::new();
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.ports.providers(Provider::Down);
    visit.ports.advance(60);
    assert_eq!(visit.access().0, StatusCode::OK);
    let outsider = || {
        visit
            .ask(
                Method::POST,
                "/v1/access",
                Some(json!({"resource": "media/outsiders/x"})),
            )
            .0
    };
    assert_eq!(
        outsider(),
        StatusCode::SERVICE_UNAVAILABLE,
        "known only by an old fact that it is closed"
    );
    let both = json!({"resources": [RESOURCE, "media/outsiders/x"]});
    let (_, batch) = visit.ask(Method::POST, "/v1/access", Some(both));
    assert!(batch["results"][0]["url"].is_string(), "{batch}");
    assert_eq!(
        batch["results"][1]["problem"]["code"], "chain-unavailable",
        "{batch}"
    );
    visit.ports.advance(1);
    assert_eq!(visit.access().0, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn what_the_store_must_know_is_not_assumed_without_it() {
    let visit = Visit::new();
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.ports.0.store_up.set(false);
    assert_eq!(
        visit.sign_in().0,
        StatusCode::SERVICE_UNAVAILABLE,
        "the nonce may have been used"
    );
    assert_eq!(
        visit.ask(Method::DELETE, "/v1/session", None).0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    for (method, path) in [
        (Method::GET, "/v1/session"),
        (Method::POST, "/v1/session/renew"),
    ] {
        assert_eq!(
            visit.ask(method, path, None).0,
            StatusCode::SERVICE_UNAVAILABLE,
            "the session may have been ended: {path}"
        );
    }
    let check = "/v1/gates/season-1/check?address=0x5fbdb2315678afecb367f032d93f642f64180aa3";
    assert_eq!(
        visit.ask(Method::GET, check, None).0,
        StatusCode::OK,
        "facts are read from the chain instead"
    );
}

#[test]
fn an_explanation_never_refuses_on_an_old_fact() {
    let visit = Visit::new();
    visit.ports.0.balance.set(0);
    assert_eq!(visit.access().0, StatusCode::FORBIDDEN);
    let address = visit.address();
    let check = || {
        visit.ask(
            Method::GET,
            &format!("/v1/gates/season-1/check?address={address}"),
            None,
        )
    };
    visit.ports.providers(Provider::Down);
    visit.ports.advance(2);
    assert_eq!(check().1["granted"], false);
    visit.ports.advance(2);
    assert_eq!(check().0, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn a_gate_that_refuses_a_batch_says_why_once() {
    let visit = Visit::new();
    visit.ports.0.balance.set(0);
    let wanted = json!({"resources": vec![RESOURCE; 100]});
    let (_, answer) = visit.ask(Method::POST, "/v1/access", Some(wanted));
    let results = answer["results"].as_array().unwrap();
    assert!(
        results
            .iter()
            .all(|result| result["problem"]["code"] == "access-denied"
                && result["problem"]["gate"] == "season-1")
    );
    assert_eq!(
        results
            .iter()
            .filter(|result| !result["problem"]["unmet"].is_null())
            .count(),
        1
    );
}

#[test]
fn bodies_are_objects_and_nothing_that_reads_like_one() {
    let visit = Visit::new();
    for body in [
        json!([RESOURCE, null, null, null]),
        json!(RESOURCE),
        json!(null),
    ] {
        assert_eq!(
            visit.ask(Method::POST, "/v1/access", Some(body.clone())).0,
            StatusCode::BAD_REQUEST,
            "{body}"
        );
    }
}

#[test]
fn corrupt_facts_in_the_store_are_read_again() {
    let visit = Visit::new();
    assert_eq!((visit.access().0, visit.calls()), (StatusCode::OK, 1));
    assert_eq!(
        (visit.beside().access().0, visit.calls()),
        (StatusCode::OK, 0)
    );
    let damages: [fn(&mut Vec<u8>); 4] = [
        |value| value.truncate(5),
        |value| value.clear(),
        |value| value.iter_mut().for_each(|byte| *byte = 0xff),
        |value| value.push(b' '),
    ];
    for damage in damages {
        for (key, value) in visit.ports.0.store.borrow_mut().iter_mut() {
            if key.contains(":fact:") {
                damage(value);
            }
        }
        assert_eq!(
            (visit.beside().access().0, visit.calls()),
            (StatusCode::OK, 1)
        );
    }
}

#[test]
fn a_session_ends_when_it_is_deleted_and_when_its_time_is_over() {
    let visit = Visit::new();
    visit.ports.advance(3599);
    let (_, opened) = visit.access();
    assert!(
        opened["url"].as_str().unwrap().contains("X-Amz-Expires=1&"),
        "a URL ends with its session"
    );
    assert_eq!(
        visit.ask(Method::DELETE, "/v1/session", None).0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(visit.access().1["code"], "revoked-session");
    visit.ports.advance(1);
    assert_eq!(visit.access().1["code"], "expired-session");
}

#[test]
fn a_batch_is_decided_with_one_call_and_each_resource_has_its_own_answer() {
    let visit = Visit::new();
    let wanted = json!({"resources": [RESOURCE, {"resource": "media/outsiders/x", "method": "HEAD"}, "media/nowhere/x", "media/../x"]});
    let (status, answer) = visit.ask(Method::POST, "/v1/access", Some(wanted));
    assert_eq!((status, visit.calls()), (StatusCode::OK, 1));
    let code = |index: usize| answer["results"][index]["problem"]["code"].clone();
    assert_eq!(answer["results"][0]["gate"], "season-1");
    assert_eq!(
        [code(1), code(2), code(3)],
        [
            json!("access-denied"),
            json!("unknown-resource"),
            json!("malformed-resource")
        ]
    );
    for resources in [json!([]), json!(vec![RESOURCE; 101])] {
        assert_eq!(
            visit
                .ask(
                    Method::POST,
                    "/v1/access",
                    Some(json!({"resources": resources}))
                )
                .0,
            StatusCode::UNPROCESSABLE_ENTITY
        );
    }
    for body in [
        json!({}),
        json!({"resource": RESOURCE, "resources": [RESOURCE]}),
        json!({"resources": [RESOURCE], "method": "GET"}),
        json!({"resource": RESOURCE, "methods": "GET"}),
    ] {
        assert_eq!(
            visit.ask(Method::POST, "/v1/access", Some(body.clone())).0,
            StatusCode::BAD_REQUEST,
            "{body}"
        );
    }
}

#[test]
fn a_message_signs_its_account_in_once_here_and_now() {
    let visit = Visit::new();
    let message = visit.challenge();
    let code = |message: &str| visit.present(message).1["code"].clone();
    assert_eq!(
        code(&message.replacen("gate.example", "evil.example", 1)),
        "wrong-domain"
    );
    assert_eq!(
        code(&message.replace("https://gate.example", "https://evil.example")),
        "wrong-uri"
    );
    assert_eq!(
        code(&message.replace("Chain ID: 1", "Chain ID: 5")),
        "unknown-chain"
    );
    assert_eq!(
        code(&message.replace("Issued At: 2026", "Issued At: 2027")),
        "message-expired"
    );
    let other = message.replace(
        visit.challenge().lines().nth(1).unwrap(),
        "0x5fbdb2315678afecb367f032d93f642f64180aa3",
    );
    assert_eq!(code(&other), "invalid-nonce");
    let nonce = message
        .lines()
        .find_map(|line| line.strip_prefix("Nonce: "))
        .unwrap();
    assert_eq!(
        code(&message.replace(nonce, "a1b2c3d4e5f60718")),
        "invalid-nonce"
    );
    // Well formed, and made by another account over something else.
    let elsewhere = "0x458dd2a4edb59845b994dcdc6b439edf867110e1fa5104e8bf5e20064beaad505a4c5422f60aa5cbcf7e730e6d6747519b1172c1d696d1d0edad9295270ef33c1b";
    let forged = json!({"message": message, "signature": elsewhere});
    let (status, problem) = visit.ask(Method::POST, "/v1/session", Some(forged));
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::UNAUTHORIZED, &json!("signature-mismatch"))
    );
    assert_eq!(
        visit.present(&message).0,
        StatusCode::CREATED,
        "none of these used the nonce up"
    );
    visit.calls();
    assert_eq!(code(&message), "nonce-reused");
    assert_eq!(visit.calls(), 0, "a replay costs no call");
    let late = visit.challenge();
    let unending = late.rsplit_once("\nExpiration Time").unwrap().0.to_owned();
    visit.ports.advance(331);
    assert_eq!(code(&late), "message-expired");
    assert_eq!(
        code(&unending),
        "expired-nonce",
        "without an expiry of its own a message has the nonce's"
    );
}

#[test]
fn a_nonce_that_is_used_while_a_sign_in_is_under_way_is_refused() {
    let visit = Visit::new();
    let mut body = visit.signed(&visit.challenge());
    body["link"] = json!(false);
    let first = visit.request(Method::POST, "/v1/session", Some(body.clone()));
    let ports = visit.ports.clone();
    let task = async move {
        let service = load::<All>(&ports).await;
        let response = serve(&routes::all(), &service, &ports, first).await;
        assert_eq!(response.status(), StatusCode::CREATED);
    };
    let world = &visit.ports.0;
    world.meanwhile.replace(Some((":nonce:", Box::pin(task))));
    let (status, problem) = visit.ask(Method::POST, "/v1/session", Some(body));
    assert!(world.meanwhile.take().is_none(), "its use was not counted");
    assert_eq!(
        (status, &problem["code"], &problem["token"]),
        (
            StatusCode::UNAUTHORIZED,
            &json!("nonce-reused"),
            &Value::Null
        )
    );
}

#[test]
fn the_log_has_one_line_per_request_and_no_secret() {
    let visit = Visit::new();
    visit.ports.0.log.borrow_mut().clear();
    let (_, opened) = visit.access();
    let log = visit.ports.0.log.borrow();
    assert_eq!(log.len(), 1, "{log:?}");
    let line: Value = serde_json::from_str(&log[0]).unwrap();
    assert_eq!(
        [&line["status"], &line["gate"], &line["tier"]],
        [&json!(200), &json!("season-1"), &json!("chain")]
    );
    for secret in [
        visit.token.as_str(),
        opened["url"].as_str().unwrap(),
        "a secret",
        "X-Amz-Signature",
        "a.example",
    ] {
        assert!(!log[0].contains(secret), "{secret}");
    }
}

#[test]
fn a_key_signs_in_whatever_code_its_account_has_and_a_contract_by_what_its_code_says() {
    let visit = Visit::new();
    for contract in [0, 1, 2] {
        visit.ports.0.contract.set(contract);
        visit.calls();
        let (status, session) = visit.sign_in();
        assert_eq!(status, StatusCode::CREATED, "{session}");
        assert_eq!(
            session["wallets"][0]["chain"],
            Value::Null,
            "on every chain"
        );
        assert_eq!(visit.calls(), 0, "no chain is asked about a key");
    }
    for (contract, status, code) in [
        (0, StatusCode::UNPROCESSABLE_ENTITY, "malformed-signature"),
        (2, StatusCode::UNAUTHORIZED, "signature-refused"),
    ] {
        visit.ports.0.contract.set(contract);
        let (refused, problem) = visit.ask(Method::POST, "/v1/session", Some(visit.of_contract()));
        assert_eq!((refused, &problem["code"]), (status, &json!(code)));
    }
    // A contract may accept what no key has made; then it speaks for itself, on its own chain.
    visit.ports.0.contract.set(1);
    let (status, answer) = visit.ask(Method::POST, "/v1/session", Some(visit.of_contract()));
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(answer["wallets"][0]["chain"], "eip155:1");
}

#[test]
fn without_the_chain_a_key_signs_in_and_a_contract_is_unknown() {
    for provider in [
        Provider::Down,
        Provider::Hung,
        Provider::Broken,
        Provider::OtherChain,
        Provider::Unsynced,
    ] {
        let visit = Visit::new();
        let message = visit.challenge();
        let of_contract = visit.of_contract();
        visit.ports.0.contract.set(1);
        visit.ports.providers(provider);
        let by_contract = || visit.ask(Method::POST, "/v1/session", Some(of_contract.clone()));
        let (status, problem) = by_contract();
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("chain-unavailable"))
        );
        assert_eq!(visit.present(&message).0, StatusCode::CREATED);
        visit.ports.0.providers[1].set(Provider::Honest);
        assert_eq!(
            by_contract().0,
            StatusCode::CREATED,
            "the message is still good, and the other provider answers"
        );
    }
}

#[test]
fn a_message_for_another_chain_of_ours_says_so() {
    let visit = Visit::new();
    let message = visit.challenge();
    let moved = message.replace("Chain ID: 1\n", "Chain ID: 10\n");
    assert_ne!(moved, message);
    assert_eq!(visit.present(&moved).1["code"], "wrong-chain");
}

#[test]
fn what_has_no_use_any_longer_is_forgotten_and_nothing_else() {
    let visit = Visit::new();
    let keys = |kind: &str| {
        let store = visit.ports.0.store.borrow();
        store.keys().filter(|key| key.contains(kind)).count()
    };
    for _ in 0..12 {
        assert_eq!(visit.sign_in().0, StatusCode::CREATED);
    }
    let message = visit.challenge();
    assert_eq!(visit.present(&message).0, StatusCode::CREATED);
    assert_eq!(keys(":nonce:"), 14);
    // As long as any clock takes the message, its nonce is known.
    let mut age = 0;
    for _ in 0..60 {
        visit.ports.advance(30);
        age += 30;
        let (status, problem) = visit.present(&message);
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let known = keys(":nonce:") >= 14;
        assert!(known || age > 390, "forgotten after {age} s");
        assert_eq!(
            problem["code"] == "nonce-reused",
            age <= 300 + 29,
            "{age} {problem}"
        );
        if age % 600 == 0 {
            assert_eq!(visit.sign_in().0, StatusCode::CREATED);
        }
    }
    assert!(keys(":nonce:") <= 3, "{}", keys(":nonce:"));
    assert!(keys(":forget:") <= 6, "{}", keys(":forget:"));
    assert_eq!(visit.access().0, StatusCode::OK, "the session is not over");
}

#[test]
fn sessions_that_were_ended_are_forgotten_after_their_end_and_not_before() {
    let visit = Visit::new();
    let token = visit.token.clone();
    assert_eq!(
        visit.ask(Method::DELETE, "/v1/session", None).0,
        StatusCode::NO_CONTENT
    );
    let marks = || {
        let store = visit.ports.0.store.borrow();
        store.keys().filter(|key| key.contains(":revoked:")).count()
    };
    for minute in 0..90 {
        visit.ports.advance(60);
        assert_eq!(visit.sign_in().0, StatusCode::CREATED);
        assert_eq!(visit.token, token);
        assert_eq!(visit.access().0, StatusCode::UNAUTHORIZED, "{minute}");
    }
    assert_eq!(marks(), 0);
}

#[test]
fn a_failing_store_refuses_no_request_by_its_counts() {
    let visit = Visit::new();
    visit.ports.0.store_up.set(false);
    let target = format!("/v1/challenge?address={}&chain=eip155:1", visit.address());
    let response = visit.send(Method::GET, &target, None);
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().contains_key("ratelimit"));
}

#[test]
fn instances_learn_of_each_others_counts_from_the_store() {
    let visit = Visit::new();
    let target = "/v1/challenge?chain=eip155:1";
    let mut refused = 0;
    // Every request meets an instance that has just been started: what it knows is what the store knows.
    for _ in 0..200 {
        let fresh = Visit::of(&visit.ports, 7);
        let response = fresh.send(Method::GET, target, None);
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused += 1;
            let wait = response.headers()["retry-after"].to_str().unwrap();
            assert!((1..=60).contains(&wait.parse::<u64>().unwrap()), "{wait}");
        }
    }
    // Of the client's 120, `Visit::new` took two: one that it has told the store of, and one that only it knows of.
    assert_eq!(refused, 200 - 119);
    visit.ports.advance(60);
    assert_eq!(visit.ask(Method::GET, target, None).0, StatusCode::OK);
}

/// The session as a cookie, from a page of ours.
fn cookie(visit: &Visit) -> String {
    let mut body = visit.signed(&visit.challenge());
    body["cookie"] = true.into();
    let response = visit.send_with(Method::POST, "/v1/session", Some(body), &[OURS]);
    assert_eq!(response.status(), StatusCode::CREATED);
    let answer: Value = serde_json::from_slice(response.body()).unwrap();
    assert!(answer.get("token").is_none(), "{answer}");
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    cookie.split_once(';').unwrap().0.to_owned()
}

const OURS: (&str, &str) = ("origin", "https://gate.example");

#[test]
fn a_cookie_counts_for_unsafe_methods_from_pages_of_ours_only() {
    let visit = Visit::new();
    let cookie = cookie(&visit);
    let ask = |fields: &[(&'static str, &str)]| {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend(fields);
        let body = json!({"resource": RESOURCE});
        let response = visit.send_with(Method::POST, "/v1/access", Some(body), &headers);
        response.status()
    };
    assert_eq!(ask(&[OURS]), StatusCode::OK);
    assert_eq!(ask(&[("sec-fetch-site", "same-origin")]), StatusCode::OK);
    for fields in [
        &[][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "same-site")],
        &[OURS, ("sec-fetch-site", "cross-site")],
        &[OURS, ("origin", "https://evil.example")],
    ] {
        assert_eq!(ask(fields), StatusCode::FORBIDDEN, "{fields:?}");
    }
    assert_eq!(
        ask(&[OURS, ("cookie", &cookie)]),
        StatusCode::UNAUTHORIZED,
        "two of them"
    );
}

#[test]
fn a_sign_in_that_links_ends_the_old_session() {
    let visit = Visit::new();
    let planted = visit.token.clone();
    let (status, linked) = visit.link();
    assert_eq!(status, StatusCode::CREATED, "{linked}");
    assert_ne!(linked["token"], planted.as_str());
    assert_eq!(visit.access().1["code"], "revoked-session");
}

#[test]
fn a_used_nonce_is_refused_before_a_chain_is_asked() {
    let visit = Visit::new();
    visit.ports.0.contract.set(1);
    let body = visit.of_contract();
    let (status, session) = visit.ask(Method::POST, "/v1/session", Some(body.clone()));
    assert_eq!(status, StatusCode::CREATED, "{session}");
    assert!(visit.calls() > 0, "a contract is asked");
    for _ in 0..3 {
        let (_, problem) = visit.ask(Method::POST, "/v1/session", Some(body.clone()));
        assert_eq!(
            (&problem["code"], visit.calls()),
            (&json!("nonce-reused"), 0)
        );
    }
}

#[test]
fn a_link_prolongs_nothing() {
    let mut visit = Visit::new();
    visit.ports.advance(3000);
    visit.token = token(&visit.link().1);
    visit.ports.advance(599);
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.ports.advance(1);
    assert_eq!(visit.access().1["code"], "expired-session");
}

#[test]
fn all_sessions_of_an_address_end_together_and_a_new_one_is_open() {
    let mut visit = Visit::new();
    let other = token(&visit.sign_in().1);
    visit.end_all();
    visit.token = other;
    assert_eq!(visit.access().1["code"], "revoked-session");
    visit.token = token(&visit.sign_in().1);
    assert_eq!(visit.access().0, StatusCode::OK);
}

#[test]
fn a_renewed_session_ends_when_the_first_one_would_have() {
    let mut visit = Visit::new();
    visit.ports.advance(1800);
    let (status, renewed) = visit.ask(Method::POST, "/v1/session/renew", None);
    assert_eq!(status, StatusCode::OK, "{renewed}");
    visit.token = token(&renewed);
    visit.ports.advance(1799);
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.ports.advance(1);
    assert_eq!(visit.access().1["code"], "expired-session");
}

/// Whether the store still has the epoch of a wallet's sessions.
fn knows_an_epoch(ports: &Simulated) -> bool {
    let store = ports.0.store.borrow();
    store.keys().any(|key| key.contains(":epoch:"))
}

#[test]
fn a_session_outlives_the_end_of_those_before_it_and_what_is_kept_of_that() {
    let mut visit = Visit::new();
    let other = Visit::of(&visit.ports, 8);
    visit.end_all();
    visit.ports.advance(30 * 60);
    visit.token = token(&visit.sign_in().1);
    for minute in 30..90 {
        assert_eq!(visit.access().0, StatusCode::OK, "{minute}");
        assert!(minute > 60 || knows_an_epoch(&visit.ports), "{minute}");
        // A sign-in sweeps expired entries.
        assert_eq!(other.sign_in().0, StatusCode::CREATED, "{minute}");
        visit.ports.advance(60);
    }
    assert!(!knows_an_epoch(&visit.ports), "nothing was forgotten");
    assert_eq!(visit.access().1["code"], "expired-session");
}

#[test]
fn sessions_between_two_ends_of_all_stay_ended_when_the_first_is_forgotten() {
    let mut visit = Visit::new();
    let other = Visit::of(&visit.ports, 8);
    visit.end_all();
    visit.ports.advance(30 * 60 - 1);
    let between = token(&visit.sign_in().1);
    // By another session: this one has no mark of its own.
    visit.token = token(&visit.sign_in().1);
    visit.ports.advance(1);
    visit.end_all();
    visit.token = between;
    for minute in 30..89 {
        assert_eq!(other.sign_in().0, StatusCode::CREATED, "{minute}");
        // An instance that has seen the session ended would need no store to know.
        let fresh = visit.beside();
        assert_eq!(fresh.access().1["code"], "revoked-session", "{minute}");
        visit.ports.advance(60);
    }
    for _ in 89..120 {
        assert_eq!(other.sign_in().0, StatusCode::CREATED);
        visit.ports.advance(60);
    }
    assert!(!knows_an_epoch(&visit.ports), "the second is forgotten too");
    assert_eq!(visit.access().1["code"], "expired-session");
}

#[test]
fn a_session_that_is_ended_or_replaced_meanwhile_vouches_for_no_wallet() {
    type Meanwhile = fn(&Visit) -> Request;
    let ends_it: Meanwhile = |visit| visit.request(Method::DELETE, "/v1/session", None);
    let ends_all: Meanwhile = |visit| {
        let token = token(&visit.sign_in().1);
        let bearer = format!("Bearer {token}");
        let fields = [("authorization", bearer.as_str())];
        request(Method::DELETE, EVERYWHERE, None, &fields)
    };
    let links: Meanwhile = |visit| {
        let body = visit.signed(&visit.challenge());
        visit.request(Method::POST, "/v1/session", Some(body))
    };
    for (what, place, meanwhile, status) in [
        ("ended", "a.example", ends_it, StatusCode::NO_CONTENT),
        (
            "ended with all of its address",
            "a.example",
            ends_all,
            StatusCode::NO_CONTENT,
        ),
        ("replaced", "a.example", links, StatusCode::CREATED),
        (
            "replaced at the last moment",
            ":revoked:",
            links,
            StatusCode::CREATED,
        ),
    ] {
        let visit = Visit::new();
        let request = meanwhile(&visit);
        let ports = visit.ports.clone();
        let task = async move {
            let service = load::<All>(&ports).await;
            let response = serve(&routes::all(), &service, &ports, request).await;
            assert_eq!(response.status(), status, "{what}");
        };
        // While the chain is asked, which it is about a contract.
        visit.ports.0.contract.set(1);
        let mut link = visit.of_contract();
        link["link"] = true.into();
        let message = link["message"].as_str().unwrap().to_owned();
        let world = &visit.ports.0;
        world.meanwhile.replace(Some((place, Box::pin(task))));
        let (status, problem) = visit.ask(Method::POST, "/v1/session", Some(link));
        assert!(
            world.meanwhile.take().is_none(),
            "{what}: it did not happen"
        );
        assert_eq!(
            (status, &problem["code"], &problem["token"]),
            (
                StatusCode::UNAUTHORIZED,
                &json!("revoked-session"),
                &Value::Null
            ),
            "{what}"
        );
        assert_eq!(
            visit.present(&message).1["code"],
            "nonce-reused",
            "{what}: it was refused at the very end"
        );
    }
}

#[test]
fn of_two_sign_ins_that_link_to_one_session_the_second_is_refused() {
    let visit = Visit::new();
    assert_eq!(visit.link().0, StatusCode::CREATED);
    let (status, problem) = visit.link();
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::UNAUTHORIZED, &json!("revoked-session"))
    );
}

#[test]
fn a_session_that_cannot_be_ended_is_not_replaced() {
    let visit = Visit::new();
    let ports = visit.ports.clone();
    let fails = async move { ports.0.store_up.set(false) };
    let body = visit.signed(&visit.challenge());
    let world = &visit.ports.0;
    world
        .meanwhile
        .replace(Some((":revoked:", Box::pin(fails))));
    let (status, problem) = visit.ask(Method::POST, "/v1/session", Some(body));
    assert!(world.meanwhile.take().is_none(), "nothing was to be ended");
    assert_eq!(
        (status, &problem["code"], &problem["token"]),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            &json!("store-unavailable"),
            &Value::Null
        )
    );
    world.store_up.set(true);
    assert_eq!(
        visit.access().0,
        StatusCode::OK,
        "the old one is still good"
    );
}

/// A configuration with one line of it replaced.
fn replaced(config: &str, from: &str, to: &str) -> String {
    assert!(config.contains(from), "{from}");
    config.replacen(from, to, 1)
}

#[test]
fn an_idle_session_expires_and_one_that_is_renewed_lasts_until_its_end() {
    let idle = "session_ttl = \"1h\"\nsession_idle = \"20m\"";
    let mut visit = Visit::with(|config| replaced(&config, "session_ttl = \"1h\"", idle));
    let first = visit.token.clone();
    let renew = |visit: &Visit| {
        let (status, renewed) = visit.ask(Method::POST, "/v1/session/renew", None);
        assert_eq!(status, StatusCode::OK, "{renewed}");
        renewed
    };
    visit.ports.advance(15 * 60);
    let renewed = renew(&visit);
    assert_eq!(
        [&renewed["expires_at"], &renewed["ends_at"]],
        ["2026-06-01T00:35:00.000Z", "2026-06-01T01:00:00.000Z"]
    );
    visit.ports.advance(5 * 60 - 1);
    assert_eq!(
        visit.access().0,
        StatusCode::OK,
        "its renewal does not end it"
    );
    visit.ports.advance(1);
    assert_eq!(visit.access().1["code"], "expired-session");
    visit.token = token(&renewed);
    assert_ne!(visit.token, first);
    for _ in 0..2 {
        visit.ports.advance(15 * 60 - 1);
        assert_eq!(visit.access().0, StatusCode::OK);
        visit.token = token(&renew(&visit));
    }
    visit.ports.advance(10 * 60 + 1);
    assert_eq!(visit.access().0, StatusCode::OK);
    assert_eq!(renew(&visit)["expires_at"], "2026-06-01T01:00:00.000Z");
    visit.ports.advance(1);
    assert_eq!(visit.access().1["code"], "expired-session");
    assert_eq!(
        visit.ask(Method::POST, "/v1/session/renew", None).1["code"],
        "expired-session"
    );
}

#[test]
fn a_signature_is_checked_in_the_state_that_the_chain_is_read_at() {
    for (read_at, block) in [
        ("block = \"latest\"", "latest"),
        ("block = \"safe\"", "safe"),
        ("block = \"finalized\"", "finalized"),
        // The head is 100.
        ("confirmations = 12", "0x58"),
    ] {
        let line = format!("id = \"eip155:1\"\n{read_at}");
        let visit = Visit::with(|config| replaced(&config, "id = \"eip155:1\"", &line));
        visit.ports.0.contract.set(1);
        let body = visit.of_contract();
        visit.ports.0.blocks.take();
        let (status, problem) = visit.ask(Method::POST, "/v1/session", Some(body));
        assert_eq!(status, StatusCode::CREATED, "{problem}");
        assert_eq!(visit.ports.0.blocks.take(), [block]);
    }
}

#[test]
fn a_lagging_provider_signs_no_contract_account_in() {
    for read_at in [
        "block = \"latest\"",
        "block = \"safe\"",
        "block = \"finalized\"",
        "confirmations = 2",
        "confirmations = 12",
    ] {
        let line = format!("id = \"eip155:1\"\n{read_at}");
        let visit = Visit::with(|config| replaced(&config, "id = \"eip155:1\"", &line));
        // The first provider is stuck at a block at which the account accepts the signature; the other one is slower, and
        // refuses every signature.
        visit.ports.0.contract.set(2);
        visit.ports.0.providers[0].set(Provider::Accepting(18));
        visit.ports.0.delays[1].set(60);
        let sign_in = || visit.ask(Method::POST, "/v1/session", Some(visit.of_contract()));
        for _ in 0..4 {
            let (status, problem) = sign_in();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{read_at} {problem}");
            visit.ports.advance(31);
        }
        visit.ports.0.providers[1].set(Provider::Hung);
        visit.ports.0.providers[0].set(Provider::Stuck(301));
        assert_eq!(sign_in().0, StatusCode::SERVICE_UNAVAILABLE, "{read_at}");
    }
}

#[test]
fn a_strangers_question_opens_no_breaker_and_a_failing_provider_does() {
    let visit = Visit::new();
    visit.ports.providers(Provider::Refusing);
    for _ in 0..6 {
        let (status, _) = visit.ask(Method::POST, "/v1/session", Some(visit.of_contract()));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let log = visit.ports.0.log.take().concat();
    assert!(log.contains("HTTP status 504"), "{log}");
    assert!(!log.contains("not asked for a while"), "{log}");
    visit.ports.providers(Provider::Broken);
    for _ in 0..6 {
        let (status, _) = visit.ask(Method::POST, "/v1/session", Some(visit.of_contract()));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let log = visit.ports.0.log.take().concat();
    assert!(log.contains("not asked for a while"), "{log}");
}

#[test]
fn an_account_signs_in_only_so_often_wherever_it_asks() {
    let visit = Visit::new();
    // As from somewhere else each time: no client's own limit is in the way.
    let sign_in = |visit: &Visit, client: usize| {
        let peer = format!("192.0.2.{client}:1");
        let fields = [("spin-client-addr", peer.as_str())];
        let target = format!("/v1/challenge?address={}&chain=eip155:1", visit.address());
        let (_, challenge) = answer(&visit.send_with(Method::GET, &target, None, &fields));
        let message = challenge["message"].as_str().unwrap().to_owned();
        let body = Some(visit.signed(&message));
        let response = visit.send_with(Method::POST, "/v1/session", body, &fields);
        (message, response)
    };
    for client in 1..20 {
        assert_eq!(sign_in(&visit, client).1.status(), StatusCode::CREATED);
    }
    let (message, refused) = sign_in(&visit, 20);
    assert_eq!(answer(&refused).1["code"], "too-many-requests");
    assert_eq!(refused.headers()["retry-after"], "60");
    let other = Visit::of(&visit.ports, 8);
    assert_eq!(sign_in(&other, 20).1.status(), StatusCode::CREATED);
    visit.ports.advance(60);
    assert_eq!(
        visit.present(&message).0,
        StatusCode::CREATED,
        "a refused sign-in has not used the nonce up"
    );
}

#[test]
fn what_costs_calls_is_limited_for_each_client_and_nothing_else_is() {
    let check = "/v1/gates/season-1/check?address=0x5fbdb2315678afecb367f032d93f642f64180aa3";
    for (target, admitted) in [
        // Of the client's 120, `Visit::new` took two.
        (check, 118),
        ("/healthz/ready", 118),
        ("/v1/challenge?chain=eip155:1", 118),
        ("/v1/gates/season-1", 150),
        ("/healthz/live", 150),
    ] {
        let visit = Visit::new();
        let answers = (0..150).map(|_| visit.ask(Method::GET, target, None).0);
        let refused = answers.filter(|status| *status == StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(150 - refused.count(), admitted, "{target}");
    }
}

#[test]
fn what_lists_open_no_chain_has_a_say_in() {
    let visit = visit_more();
    visit.ports.providers(Provider::Down);
    for resource in ["media/list/x", "media/either/x"] {
        visit.ports.0.log.borrow_mut().clear();
        let response = visit.send(
            Method::POST,
            "/v1/access",
            Some(json!({"resource": resource})),
        );
        assert_eq!((response.status(), visit.calls()), (StatusCode::OK, 0));
        let status = response.headers()["cache-status"].to_str().unwrap();
        assert_eq!(status, "tokengate; detail=config", "{resource}");
        let granted: Value = serde_json::from_slice(response.body()).unwrap();
        assert!(granted.as_object().unwrap()["basis"].is_null(), "{granted}");
        let log = visit.ports.0.log.borrow();
        let line: Value = serde_json::from_str(&log[0]).unwrap();
        assert_eq!(line["tier"], "config");
    }
    let everything = json!({"resources": ["media/list/x", RESOURCE, "media/either/x"]});
    let (_, batch) = visit.ask(Method::POST, "/v1/access", Some(everything));
    let granted = |index: usize| batch["results"][index].get("url").is_some();
    assert_eq!([granted(0), granted(1), granted(2)], [true, false, true]);
    let stranger = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
    let check = |gate: &str| {
        let target = format!("/v1/gates/{gate}/check?address={stranger}");
        visit.ask(Method::GET, &target, None)
    };
    let (status, untold) = check("list");
    assert_eq!((status, &untold["granted"]), (StatusCode::OK, &Value::Null));
    assert_eq!(untold["explain"]["has"], Value::Null);
    assert_eq!(check("either").0, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn a_proof_opens_for_its_address_and_only_where_one_is_asked_for() {
    let visit = visit_more();
    let node = format!("0x{}", hex::encode(SIBLING));
    let resource = "media/proven/x";
    let (status, refused) = visit.open(resource, json!({}));
    assert_eq!(
        (status, &refused["unmet"][0]["has"]),
        (StatusCode::FORBIDDEN, &json!("no proof"))
    );
    assert_eq!(
        visit.open(resource, json!({"proof": [node]})).0,
        StatusCode::OK
    );
    let batch = json!({"resources": [resource, resource], "proof": [node]});
    let (_, batch) = visit.ask(Method::POST, "/v1/access", Some(batch));
    assert!(batch["results"][1].get("url").is_some(), "{batch}");
    let root = format!("0x{}", hex::encode(merkle_root()));
    for wrong in [
        json!([]),
        json!([root]),
        json!([node, node]),
        json!([root, node]),
    ] {
        let (status, refused) = visit.open(resource, json!({"proof": wrong}));
        assert_eq!(status, StatusCode::FORBIDDEN, "{wrong}");
        assert_eq!(refused["unmet"][0]["has"], "a proof of something else");
    }
    for malformed in [json!(["0x12"]), json!([""]), json!(vec![node.as_str(); 65])] {
        let (status, problem) = visit.open(resource, json!({"proof": malformed}));
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::BAD_REQUEST, &json!("malformed-proof"))
        );
    }
    let (_, problem) = visit.open(resource, json!({"proof": [node, "0x12"]}));
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .starts_with("Entry 1 of the proof")
    );
    let (_, problem) = visit.open(resource, json!({"proof": node}));
    assert_eq!(problem["code"], "malformed-body");
    let content = |query: &str| {
        let target = format!("/v1/content/{resource}{query}");
        visit.send(Method::GET, &target, None).status()
    };
    assert_eq!(content(&format!("?proof={node}")), StatusCode::FOUND);
    assert_eq!(
        content(&format!("?proof={node},{node}")),
        StatusCode::FORBIDDEN
    );
    assert_eq!(content("?proof="), StatusCode::FORBIDDEN);
    assert_eq!(content(""), StatusCode::FORBIDDEN);
    assert_eq!(content(&format!("?proof={node},")), StatusCode::BAD_REQUEST);
    let check = |address: &str, proof: &str| {
        let target = format!("/v1/gates/proven/check?address={address}&proof={proof}");
        visit.ask(Method::GET, &target, None)
    };
    assert_eq!(check(&visit.address(), &node).1["granted"], true);
    let stranger = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
    assert_eq!(check(stranger, &node).1["granted"], false);
    assert_eq!(check(stranger, "0x12").1["code"], "malformed-proof");
    // A gate of tokens does not look at it.
    visit.ports.0.balance.set(0);
    assert_eq!(
        visit.open(RESOURCE, json!({"proof": [node]})).0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        visit.open("media/list/x", json!({"proof": [root]})).0,
        StatusCode::OK
    );
}

#[test]
fn a_list_is_for_the_account_that_a_key_proved() {
    let mut visit = visit_more();
    // The contract accepts what no key made: on the list's chains it could be another account's.
    visit.ports.0.contract.set(1);
    let body = json!({"message": visit.challenge(), "signature": "0x", "link": false});
    let (status, session) = visit.ask(Method::POST, "/v1/session", Some(body));
    assert_eq!(status, StatusCode::CREATED, "{session}");
    visit.token = session["token"].as_str().unwrap().to_owned();
    assert_eq!(
        visit.open("media/list/x", json!({})).0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(visit.access().0, StatusCode::OK);
}

#[test]
fn a_time_begins_and_ends_by_the_services_clock() {
    let visit = visit_more();
    let premiere = || visit.open("media/premiere/x", json!({}));
    visit.ports.advance(599);
    let (status, refused) = premiere();
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(refused["unmet"].as_array().unwrap().len(), 1);
    assert_eq!(refused["unmet"][0]["kind"], "time");
    assert_eq!(refused["unmet"][0]["has"], "2026-06-01T00:09:59.000Z");
    visit.ports.advance(1);
    assert_eq!(premiere().0, StatusCode::OK);
    visit.ports.advance(599);
    assert_eq!(premiere().0, StatusCode::OK);
    visit.ports.advance(1);
    assert_eq!(premiere().0, StatusCode::FORBIDDEN);
    assert_eq!(visit.calls(), 0);
}

#[test]
fn a_view_function_decides_and_its_revert_does_not() {
    let visit = visit_more();
    let stakers = || visit.open("media/stakers/x", json!({}));
    visit.ports.0.stake.set(None);
    assert_eq!(
        (stakers().0, visit.calls()),
        (StatusCode::SERVICE_UNAVAILABLE, 1)
    );
    visit.ports.0.stake.set(Some(100));
    let (status, granted) = stakers();
    assert_eq!((status, visit.calls()), (StatusCode::OK, 1));
    assert_eq!(granted["basis"]["tier"], "chain");
    let (_, again) = stakers();
    assert_eq!(
        (again["basis"]["tier"].as_str(), visit.calls()),
        (Some("memory"), 0)
    );
    visit.ports.advance(11);
    visit.ports.0.stake.set(None);
    assert_eq!(
        (stakers().0, visit.calls()),
        (StatusCode::OK, 1),
        "stale, while it is read"
    );
    assert_eq!(
        stakers().0,
        StatusCode::SERVICE_UNAVAILABLE,
        "who can make it revert must not profit from an older answer"
    );
    visit.ports.0.stake.set(Some(99));
    let (status, refused) = stakers();
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(refused["unmet"][0]["has"], "99");
    assert_eq!(refused["unmet"][0]["needs"], "stakeOf.amount ≥ 100");
}

#[test]
fn each_tier_answers_for_as_long_as_it_may_and_says_so() {
    let visit = Visit::new();
    visit.ports.0.log.take();
    assert_eq!(
        told(&visit),
        (
            "tokengate; fwd=miss; detail=chain".into(),
            json!({"chain": 1})
        )
    );
    assert_eq!(
        told(&visit),
        (
            "tokengate; hit; ttl=10; detail=memory".into(),
            json!({"memory": 1})
        )
    );
    visit.ports.advance(1);
    assert_eq!(
        told(&visit),
        (
            "tokengate; hit; ttl=9; detail=store".into(),
            json!({"store": 1})
        ),
        "after a second, memory is not believed without the store"
    );
    assert_eq!(told(&visit).1, json!({"memory": 1}));
    assert_eq!(visit.calls(), 1);
    // A denial says it, too, and rests on facts younger than a grant may.
    visit.ports.0.balance.set(0);
    visit.ports.advance(60);
    assert_eq!(told(&visit).0, "tokengate; fwd=stale; detail=chain");
    assert_eq!(told(&visit).0, "tokengate; hit; ttl=10; detail=memory");
}

#[test]
fn a_stale_grant_answers_at_once_and_is_read_behind_the_response() {
    let visit = Visit::new();
    assert_eq!((visit.access().0, visit.calls()), (StatusCode::OK, 1));
    visit.ports.0.balance.set(0);
    visit.ports.advance(11);
    // The tasks behind the response have not run when it is made.
    let response = block_on(serve(
        &routes::all(),
        &visit.service,
        &visit.ports,
        visit.request(
            Method::POST,
            "/v1/access",
            Some(json!({"resource": RESOURCE})),
        ),
    ));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()["cache-status"],
        "tokengate; hit; ttl=-1; detail=store"
    );
    assert_eq!(visit.calls(), 0);
    visit.ports.0.tasks.run();
    assert_eq!(visit.calls(), 1);
    assert_eq!(
        (visit.access().0, visit.calls()),
        (StatusCode::FORBIDDEN, 0),
        "what was read behind the response decides"
    );
}

#[test]
fn a_hot_fact_is_read_ahead_of_its_end_and_a_cold_one_is_not() {
    for (uses, reads) in [(1, 0), (4, 1)] {
        let visit = Visit::with(|config| config.replace("stale_while_revalidate = \"50s\"\n", ""));
        for _ in 0..uses {
            visit.access();
        }
        visit.calls();
        visit.ports.advance(8);
        assert_eq!(visit.access().0, StatusCode::OK);
        assert_eq!(visit.calls(), reads, "after {uses} uses");
        visit.ports.advance(3);
        visit.ports.providers(Provider::Down);
        let expected = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK][reads];
        assert_eq!(visit.access().0, expected, "after {uses} uses");
    }
    let off = Visit::with(|config| config.replace("[cache]", "[cache]\nrefresh_ahead = \"off\""));
    for _ in 0..4 {
        off.access();
    }
    off.calls();
    off.ports.advance(8);
    assert_eq!((off.access().0, off.calls()), (StatusCode::OK, 0));
}

/// Ends only after others have had their turn, also where it is polled several times in a row.
fn a_moment() -> Task {
    let mut left = 10;
    Box::pin(std::future::poll_fn(move |context| {
        left -= 1;
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    }))
}

#[test]
fn concurrent_misses_share_one_read() {
    for order in 0..2 {
        let visit = Visit::new();
        visit.ports.0.stands_still.set(true);
        visit.ports.0.log.take();
        visit
            .ports
            .0
            .meanwhile
            .replace(Some(("http://", a_moment())));
        let request = || {
            visit.request(
                Method::POST,
                "/v1/access",
                Some(json!({"resource": RESOURCE})),
            )
        };
        let routes = routes::all();
        let ask = || Box::pin(serve(&routes, &visit.service, &visit.ports, request()));
        let (mut first, second) = (ask(), ask());
        let answers = visit.ports.0.tasks.drive(async {
            if order == 0 {
                return futures_util::future::join(first, second).await;
            }
            // The one that began the read goes away; the other one gets its answer all the same.
            let begun = futures_util::poll!(&mut first);
            assert!(begun.is_pending());
            drop(first);
            let answer = second.await;
            let again = serve(&routes, &visit.service, &visit.ports, request()).await;
            (answer, again)
        });
        visit.ports.0.tasks.run();
        assert_eq!(answers.0.status(), StatusCode::OK);
        assert_eq!(answers.1.status(), StatusCode::OK);
        assert_eq!(visit.calls(), 1, "order {order}");
        let log = visit.ports.0.log.take().join("\n");
        assert_eq!(log.matches("\"coalesced\":1").count(), 1, "{log}");
    }
}

#[test]
fn without_the_store_a_session_counts_for_as_long_as_a_url_that_it_could_have_had() {
    let visit = Visit::new();
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.ports.0.store_up.set(false);
    visit.ports.advance(100);
    // The chain is asked instead of the store.
    let (status, opened) = visit.access();
    assert_eq!((status, visit.calls()), (StatusCode::OK, 2), "{opened}");
    assert!(
        opened["url"]
            .as_str()
            .unwrap()
            .contains("X-Amz-Expires=200&"),
        "no URL outlasts one of when the session was known to be open: {opened}"
    );
    let fresh = visit.beside();
    assert_eq!(
        fresh.access().0,
        StatusCode::OK,
        "the token says when it was made"
    );
    visit.ports.advance(200);
    let (status, problem) = visit.access();
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("store-unavailable")),
    );
    visit.ports.0.store_up.set(true);
    assert_eq!(visit.access().0, StatusCode::OK);
}

#[test]
fn a_session_that_is_known_to_be_ended_stays_so_without_the_store() {
    let visit = Visit::new();
    assert_eq!(visit.access().0, StatusCode::OK);
    let elsewhere = visit.beside();
    let (status, _) = elsewhere.ask(Method::DELETE, "/v1/session", None);
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(visit.access().0, StatusCode::OK, "for a moment");
    visit.ports.advance(1);
    assert_eq!(visit.access().0, StatusCode::UNAUTHORIZED);
    visit.ports.0.store_up.set(false);
    for instance in [&visit, &elsewhere] {
        assert_eq!(instance.access().0, StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn a_sign_in_warms_the_gates_that_it_is_for() {
    for (warm, named, reads) in [
        ("all", false, 2),
        ("all", true, 1),
        ("named", true, 1),
        ("named", false, 0),
        ("off", true, 0),
    ] {
        let config = CONFIG.replace("prefetch = \"off\"", &format!("prefetch = \"{warm}\""));
        let mut visit = Visit::of(&Simulated::new(config), 7);
        let mut message = visit.challenge();
        if named {
            message
                .push_str("\nResources:\n- https://gate.example/v1/content/media/season-1/a.mp4");
        }
        let (status, session) = visit.present(&message);
        assert_eq!(status, StatusCode::CREATED, "{session}");
        visit.token = token(&session);
        // The signature needs none; one call reads all facts.
        assert_eq!(visit.calls(), usize::from(reads > 0), "{warm} {named}");
        let store = visit.ports.0.store.borrow();
        let facts = store.keys().filter(|key| key.contains(":fact:")).count();
        assert_eq!(facts, reads, "{warm} {named}");
        drop(store);
        assert_eq!(visit.beside().access().0, StatusCode::OK);
        assert_eq!(visit.calls(), usize::from(reads == 0));
    }
}

#[test]
fn what_is_known_at_a_block_is_not_unsaid_by_a_node_that_has_not_come_to_it() {
    let visit = Visit::new();
    visit.ports.0.balance.set(0);
    assert_eq!(visit.access().0, StatusCode::FORBIDDEN);
    // It is asked again before a request is refused again, and a node that is a block behind says that all is as it was.
    visit.ports.advance(4);
    visit.ports.providers(Provider::Generous(1));
    for instance in [&visit, &visit.beside()] {
        let (status, problem) = instance.access();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    }
    // An instance that cannot look up what is known does not write over it either.
    visit.ports.0.store_is_mute.set(true);
    visit.beside().access();
    visit.ports.0.store_is_mute.set(false);
    let (status, problem) = visit.beside().access();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    // Nor one that looks it up only then.
    visit.ports.0.store_is_mute.set(true);
    let ports = visit.ports.clone();
    let heard = async move { ports.0.store_is_mute.set(false) };
    let task: Task = Box::pin(heard);
    visit.ports.0.meanwhile.replace(Some(("http://", task)));
    visit.beside().access();
    let (status, problem) = visit.beside().access();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    visit.ports.providers(Provider::Honest);
    assert_eq!(visit.beside().access().0, StatusCode::FORBIDDEN);
    // What says the same may come from before.
    visit.ports.advance(4);
    visit.ports.0.balance.set(1);
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.ports.advance(61);
    visit.ports.providers(Provider::Generous(1));
    assert_eq!(visit.access().0, StatusCode::OK);
}

/// Facts that `CONFIG` has kept, and the wallet's session, at a service that is configured otherwise.
fn restarted(before: &Visit, configure: impl FnOnce(String) -> String) -> Visit {
    let ports = Simulated::new(configure(CONFIG.to_owned()));
    ports.0.store.replace(before.ports.0.store.borrow().clone());
    ports.0.balance.set(0);
    Visit {
        token: before.token.clone(),
        ..Visit::of(&ports, 7)
    }
}

#[test]
fn facts_that_were_read_in_another_way_are_not_there() {
    let visit = Visit::new();
    assert_eq!((visit.access().0, visit.calls()), (StatusCode::OK, 1));
    let chain = |keys: &'static str| {
        move |config: String| {
            config.replacen(
                "id = \"eip155:1\"",
                &format!("id = \"eip155:1\"\n{keys}"),
                1,
            )
        }
    };
    let same = |config: String| config;
    let unlike = |config: String| config.replace("10s", "12s") + AGREED;
    for (instance, why) in [
        (restarted(&visit, same), "the same configuration"),
        (
            restarted(&visit, unlike),
            "what does not change how they are read",
        ),
        (
            restarted(&visit, chain("block = \"latest\"\nquorum = 1")),
            "the defaults",
        ),
    ] {
        assert_eq!(
            (instance.access().0, instance.calls()),
            (StatusCode::OK, 0),
            "{why}"
        );
    }
    let gate = |config: String| {
        config.replacen(
            "stale_while_revalidate = \"50s\"",
            "stale_while_revalidate = \"50s\"\nquorum = 2",
            1,
        )
    };
    let namespace =
        |config: String| config.replacen("[cache]", "[cache]\nnamespace = \"other\"", 1);
    for (instance, why) in [
        (restarted(&visit, chain("block = \"safe\"")), "safe"),
        (
            restarted(&visit, chain("block = \"finalized\"")),
            "finalized",
        ),
        (
            restarted(&visit, chain("quorum = 2")),
            "two have to agree on the chain",
        ),
        (restarted(&visit, gate), "two have to agree for the gate"),
        (
            restarted(&visit, chain("max_head_age = \"30s\"")),
            "the age of heads",
        ),
        (restarted(&visit, chain("max_lag = 1")), "the tolerance"),
        (
            restarted(&visit, chain("reader = \"creation\"")),
            "the reader",
        ),
        (restarted(&visit, namespace), "another service"),
    ] {
        let (status, problem) = instance.access();
        assert_eq!(status, StatusCode::FORBIDDEN, "{why}: {problem}");
        assert!(instance.calls() > 0, "{why}: no chain was asked");
        // What it has read is there for the next instance of it.
        assert_eq!(
            (instance.beside().access().0, instance.calls()),
            (StatusCode::FORBIDDEN, 0),
            "{why}"
        );
    }
}

#[test]
fn what_a_service_stores_is_below_its_namespace() {
    let mut visit =
        Visit::with(|config| config.replacen("[cache]", "[cache]\nnamespace = \"shop-1\"", 1));
    assert_eq!(visit.access().0, StatusCode::OK);
    let (_, session) = visit.sign_in();
    visit.end_all();
    visit.token = token(&session);
    assert_eq!(visit.beside().access().1["code"], "revoked-session");
    let store = visit.ports.0.store.borrow();
    for kind in ["fact", "nonce", "epoch", "rate", "forget"] {
        assert!(
            store
                .keys()
                .any(|key| key.starts_with(&format!("shop-1/tg1:{kind}:"))),
            "{kind}"
        );
    }
    for key in store.keys() {
        assert!(key.starts_with("shop-1/tg1:"), "{key}");
    }
}

/// The key of what is kept under a name with this in it, and what is kept.
fn kept(visit: &Visit, name: &str) -> (String, Vec<u8>) {
    let store = visit.ports.0.store.borrow();
    let mut found = store.iter().filter(|(key, _)| key.contains(name));
    let (key, value) = found.next().unwrap_or_else(|| panic!("nothing at {name}"));
    assert_eq!(found.next(), None, "more than one at {name}");
    (key.clone(), value.clone())
}

/// Values for `key` that the service did not write for it: `value` as it is without a tag, under another ring with the
/// same kid, for another key and for another kind, and `sealed` cut short or changed.
fn forgeries(kind: Kind, key: &str, value: &[u8], sealed: &[u8]) -> Vec<Vec<u8>> {
    let keys = support::store_keys();
    let others = StoreKeys::parse(&support::STORE_KEYS.replace('2', "3")).unwrap();
    let mut changed = sealed.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let another = if kind == Kind::Fact {
        Kind::Epoch
    } else {
        Kind::Fact
    };
    vec![
        value.to_vec(),
        others.seal(kind, key, value),
        keys.seal(kind, &key.replace(':', ";"), value),
        keys.seal(another, key, value),
        sealed[..sealed.len() - 1].to_vec(),
        changed,
        Vec::new(),
    ]
}

#[test]
fn a_fact_that_the_service_did_not_write_for_its_key_is_read_from_the_chain() {
    let visit = Visit::new();
    assert_eq!(visit.access().0, StatusCode::OK);
    let (holders, holding) = kept(&visit, ":fact:");
    visit.ports.0.store.borrow_mut().remove(&holders);
    visit.ports.0.balance.set(0);
    let mut other = Visit::of(&visit.ports, 8);
    other.token = token(&other.sign_in().1);
    assert_eq!(other.access().0, StatusCode::FORBIDDEN);
    let (key, none) = kept(&other, ":fact:");
    let keys = support::store_keys();
    let one = keys.open(Kind::Fact, &holders, &holding).unwrap();
    let mut forged = forgeries(Kind::Fact, &key, one, &none);
    forged.push(holding.clone());
    let ask = |value: Vec<u8>| {
        other.ports.0.store.borrow_mut().insert(key.clone(), value);
        other.calls();
        other.ports.0.log.take();
        let status = other.beside().access().0;
        let log = other.ports.0.log.take().concat();
        (
            status,
            other.calls(),
            log.contains("a stored fact has no valid tag"),
        )
    };
    // So a fact that the service has written is believed, whatever the chain says by now.
    assert_eq!(
        ask(keys.seal(Kind::Fact, &key, one)),
        (StatusCode::OK, 0, false)
    );
    for value in forged {
        assert_eq!(
            ask(value.clone()),
            (StatusCode::FORBIDDEN, 1, true),
            "{value:?}"
        );
        // What was read is kept in its place.
        let (_, kept) = kept(&other, ":fact:");
        assert!(keys.open(Kind::Fact, &key, &kept).is_ok());
        assert_eq!(
            (other.beside().access().0, other.calls()),
            (StatusCode::FORBIDDEN, 0)
        );
    }
    // What is authentic and of another edition is as nothing.
    let edition = String::from_utf8_lossy(one).replace("\"e\":1", "\"e\":0");
    let sealed = keys.seal(Kind::Fact, &key, edition.as_bytes());
    assert_eq!(ask(sealed), (StatusCode::FORBIDDEN, 1, false));
}

#[test]
fn nothing_is_granted_on_a_stale_fact_that_the_service_did_not_write() {
    let visit = Visit::new();
    assert_eq!(visit.access().0, StatusCode::OK);
    visit.ports.advance(11);
    visit.ports.providers(Provider::Down);
    assert_eq!(visit.beside().access().0, StatusCode::OK, "stale");
    let (key, sealed) = kept(&visit, ":fact:");
    let value = support::store_keys()
        .open(Kind::Fact, &key, &sealed)
        .unwrap()
        .to_vec();
    for forged in forgeries(Kind::Fact, &key, &value, &sealed) {
        visit.ports.0.store.borrow_mut().insert(key.clone(), forged);
        let (status, problem) = visit.beside().access();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
        assert_eq!(problem["code"], "chain-unavailable");
    }
}

#[test]
fn an_epoch_that_the_service_did_not_write_opens_nothing() {
    let mut visit = Visit::new();
    // One that has no mark of its own: it ends by the epoch alone.
    let ended = token(&visit.sign_in().1);
    visit.end_all();
    visit.token = token(&visit.sign_in().1);
    let (key, sealed) = kept(&visit, &format!(":epoch:{}:key", visit.address()));
    // That of the sessions which were ended, and that of the open one.
    let present = support::store_keys()
        .open(Kind::Epoch, &key, &sealed)
        .unwrap()
        .to_vec();
    let mut forged = forgeries(Kind::Epoch, &key, &[0; 8], &sealed);
    forged.extend(forgeries(Kind::Epoch, &key, &present, &sealed));
    for value in forged {
        visit.ports.0.store.borrow_mut().insert(key.clone(), value);
        for token in [&ended, &visit.token] {
            visit.ports.0.log.take();
            let instance = Visit {
                token: token.clone(),
                ..visit.beside()
            };
            let (status, problem) = instance.access();
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
            assert_eq!(problem["code"], "store-unavailable");
            let log = visit.ports.0.log.take().concat();
            assert!(log.contains("a stored epoch has no valid tag"), "{log}");
        }
        assert_eq!(visit.beside().sign_in().0, StatusCode::SERVICE_UNAVAILABLE);
    }
    visit.ports.0.store.borrow_mut().insert(key, sealed);
    assert_eq!(visit.beside().access().0, StatusCode::OK);
    visit.token = ended;
    assert_eq!(visit.beside().access().1["code"], "revoked-session");
}

#[test]
fn whatever_is_kept_of_a_session_that_was_ended_says_that_it_was() {
    let visit = Visit::new();
    assert_eq!(visit.beside().access().0, StatusCode::OK);
    let (status, _) = visit.ask(Method::DELETE, "/v1/session", None);
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (key, _) = kept(&visit, ":revoked:");
    for value in [&b""[..], b"0", b"not a count", &[0; 64]] {
        visit
            .ports
            .0
            .store
            .borrow_mut()
            .insert(key.clone(), value.to_vec());
        assert_eq!(
            visit.beside().access().1["code"],
            "revoked-session",
            "{value:?}"
        );
    }
}

#[test]
fn a_service_starts_only_with_keys_of_its_own_for_its_store() {
    fn load_with<S: State>(keys: Option<String>) -> Option<String> {
        let ports = Simulated::new(CONFIG.to_owned());
        ports.0.store_keys.replace(keys);
        let loaded = block_on(load::<S>(&ports));
        loaded.err().map(|error| error.to_string())
    }
    let (own, service) = ("ab".repeat(32), "11".repeat(32));
    assert_eq!(load_with::<All>(Some(format!("x:{own}"))), None);
    assert_eq!(
        load_with::<All>(Some(format!("y:{},x:{own}", "cd".repeat(32)))),
        None
    );
    for (keys, words) in [
        (
            None,
            "the variable store_keys is not set; give it to every component",
        ),
        (Some(String::new()), "the variable store_keys is not set"),
        (Some(own.clone()), "the variable store_keys is not valid"),
        (
            Some(format!("x:{service}")),
            "store_keys and service_keys share a key",
        ),
        (
            Some(format!("y:{own},x:{service}")),
            "store_keys and service_keys share a key",
        ),
    ] {
        let error = load_with::<All>(keys).unwrap();
        assert!(error.contains(words), "{error}");
        assert!(
            !error.contains(&own) && !error.contains(&service),
            "{error}"
        );
    }
    let ports = Simulated::new(CONFIG.to_owned());
    ports.0.store_keys.replace(None);
    assert!(
        block_on(Installation::load(&ports)).is_ok(),
        "nothing is stored"
    );
    assert_eq!(load_with::<Chains>(Some(format!("x:{own}"))), None);
}
