//! Signed webhooks over simulated ports: what they invalidate is read again, and nothing else is.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod support;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::future::{Future, ready};
use std::rc::Rc;
use std::time::Duration;

use alloy_sol_types::private::keccak256;
use bytes::Bytes;
use futures_executor::block_on;
use futures_util::future::LocalBoxFuture;
use http::{Method, StatusCode};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use tokengate_app::state::{All, Chains, Events, State};
use tokengate_app::{
    CallError, LoadError, Ports, RedisReply, Reply, Request, StoreError, load, routes, serve,
};
use tokengate_core::Timestamp;
use tokengate_core::eip191::hash_message;
use tokengate_core::sealed::Kind;

use support::Tasks;
use support::reader::{self, Asked, Block, Outcome, word};

/// Two chains, of which the second bears its parent's numbers, and a gate on each.
const CONFIG: &str = r#"
[service]
domains = ["gate.example"]
session_ttl = "1h"
url_ttl = "5m"

[limits]
per_client = "1000/1m"

[cache]
prefetch = "off"

[[chain]]
id = "eip155:1"
providers = ["http://a.example"]

[[chain]]
id = "eip155:42161"
providers = ["http://b.example"]

[[bucket]]
id = "media"
endpoint = "http://127.0.0.1:9000"
region = "us-east-1"
addressing = "path"
credentials = "media"

[[gate]]
id = "one"
resources = ["media/one/**"]
max_age = "1h"
require = { erc721 = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3" } }

[[gate]]
id = "two"
resources = ["media/two/**"]
max_age = "1h"
require = { erc721 = { chain = "eip155:1", contract = "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512" } }

[[gate]]
id = "parent"
resources = ["media/parent/**"]
max_age = "1h"
require = { erc721 = { chain = "eip155:42161", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3" } }

[[webhook]]
id = "main"
provider = "moralis"
secret = "{{ stream_secret }}"

[[webhook]]
id = "activity"
provider = "alchemy"
secret = "{{ stream_secret }}"

[[webhook]]
id = "activity-one"
provider = "alchemy"
secret = "{{ stream_secret }}"
chain = "eip155:1"

[[webhook]]
id = "one-chain"
provider = "moralis"
secret = "{{ stream_secret }}"
chain = "eip155:1"
"#;

const SECRET: &str = "a-signing-key-of-the-tests";
const ONE: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
/// Accounts, by their keys.
const SELLER: u8 = 1;
const BUYER: u8 = 2;
const OTHER: u8 = 3;
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

struct World {
    config: String,
    secret: RefCell<String>,
    now: Cell<Timestamp>,
    /// The chain's newest block.
    block: Cell<u64>,
    /// What was read of the chain: contract and account.
    read: RefCell<BTreeSet<String>>,
    store: RefCell<HashMap<String, Vec<u8>>>,
    store_up: Cell<bool>,
    /// Sets of this prefix fail.
    full: Cell<&'static str>,
    random: Cell<u8>,
    calls_to_store: Cell<usize>,
    log: RefCell<Vec<String>>,
    tasks: Tasks,
}

#[derive(Clone)]
struct Simulated(Rc<World>);

impl Simulated {
    fn store(&self) -> Result<(), StoreError> {
        self.0.calls_to_store.set(self.0.calls_to_store.get() + 1);
        if self.0.store_up.get() {
            Ok(())
        } else {
            Err(StoreError::Failed("connection refused".into()))
        }
    }

    /// Everybody has one token.
    fn balance(&self, read: &Asked) -> Outcome {
        assert_eq!(read.selector(), "70a08231");
        let calldata = read.calldata.as_deref().unwrap();
        let account = hex::encode(&calldata[16..]);
        let read = format!("{} {account}", read.target);
        self.0.read.borrow_mut().insert(read);
        Outcome::Returned(word(1).to_vec())
    }
}

impl Ports for Simulated {
    fn now(&self) -> Timestamp {
        self.0.now.get()
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&self) -> [u8; 16] {
        self.0.random.set(self.0.random.get() + 1);
        [self.0.random.get(); 16]
    }

    fn sleep(&self, _: Duration) -> impl Future<Output = ()> {
        ready(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.tasks.push(task);
    }

    fn wait(&self) -> (Box<dyn Any>, LocalBoxFuture<'static, ()>) {
        support::wait()
    }

    async fn redis(&self, _: &str, _: &str, _: &[&[u8]]) -> Result<Vec<RedisReply>, StoreError> {
        support::no_redis()
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store()?;
        Ok(self.0.store.borrow().get(key).cloned())
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.store()?;
        let full = self.0.full.get();
        if !full.is_empty() && key.starts_with(full) {
            return Err(StoreError::Failed("no space left".into()));
        }
        let mut store = self.0.store.borrow_mut();
        store.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store()?;
        self.0.store.borrow_mut().remove(key);
        Ok(())
    }

    async fn increment(&self, key: &str) -> Result<u64, StoreError> {
        self.store()?;
        let mut store = self.0.store.borrow_mut();
        let count = store.entry(key.to_owned()).or_default();
        count.push(1);
        Ok(count.len() as u64)
    }

    async fn post(&self, url: &str, body: Vec<u8>, _: usize) -> Result<Reply, CallError> {
        let request: Value = serde_json::from_slice(&body).unwrap();
        let chain = if url.starts_with("http://a.") {
            1
        } else {
            42_161
        };
        let block = Block {
            chain,
            number: self.0.block.get(),
            timestamp: self.0.now.get().as_second().unsigned_abs(),
            parent: word(1),
            known: word(1),
        };
        let seen = match chain {
            1 => block,
            _ => Block {
                number: 20_000_000,
                ..block
            },
        };
        let result = match request["method"].as_str().unwrap() {
            "eth_call" => {
                let returned = match reader::request(&request["params"]) {
                    Some(asked) => reader::answer(seen, &asked, |read| self.balance(read)),
                    // Who signs in has no code.
                    None => hex::encode([chain, block.number, 0].map(word).concat()),
                };
                json!(format!("0x{returned}"))
            }
            "eth_getBlockByNumber" => json!({
                "number": format!("{:#x}", block.number),
                "hash": format!("0x{}", "07".repeat(32)),
                "parentHash": format!("0x{}", hex::encode(block.parent)),
                "timestamp": format!("{:#x}", block.timestamp),
            }),
            "eth_chainId" => json!(format!("{chain:#x}")),
            _ => json!(format!("{:#x}", block.number)),
        };
        let reply = json!({"jsonrpc": "2.0", "id": 1, "result": result});
        Ok(Reply {
            status: 200,
            retry_after: None,
            body: reply.to_string().into_bytes(),
        })
    }

    fn config_text(&self) -> Result<String, String> {
        Ok(self.0.config.clone())
    }

    async fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(Some(match name {
            "stream_secret" => self.0.secret.borrow().clone(),
            "service_keys" => format!("a:{}", "11".repeat(32)),
            "store_keys" => support::STORE_KEYS.to_owned(),
            "media_access_key_id" => "AKIAEXAMPLE".to_owned(),
            "media_secret_access_key" => "a secret".to_owned(),
            _ => return Ok(None),
        }))
    }

    fn log(&self, line: &str) {
        self.0.log.borrow_mut().push(line.to_owned());
    }
}

/// An instance of the service.
struct Instance {
    /// The sessions of accounts that have asked for something.
    sessions: RefCell<HashMap<u8, String>>,
    ports: Simulated,
    service: Result<All, LoadError>,
}

impl Instance {
    fn new() -> Self {
        Self::with(CONFIG)
    }

    fn with(config: &str) -> Self {
        let ports = Simulated(Rc::new(World {
            config: config.to_owned(),
            secret: RefCell::new(SECRET.to_owned()),
            now: Cell::new("2026-06-01T00:00:00Z".parse().unwrap()),
            block: Cell::new(100),
            read: RefCell::default(),
            store: RefCell::default(),
            store_up: Cell::new(true),
            full: Cell::new(""),
            random: Cell::new(0),
            calls_to_store: Cell::new(0),
            log: RefCell::default(),
            tasks: Tasks::default(),
        }));
        let service = block_on(load(&ports));
        Self {
            sessions: RefCell::default(),
            ports,
            service,
        }
    }

    fn world(&self) -> &World {
        &self.ports.0
    }

    fn send(&self, request: Request) -> (StatusCode, Value) {
        let routes = routes::all();
        let answer = serve(&routes, &self.service, &self.ports, request);
        let response = self.world().tasks.drive(answer);
        self.world().tasks.run();
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            assert!(response.headers().contains_key("retry-after"));
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = &response.headers()["www-authenticate"];
            assert_eq!(challenge, "Signature realm=\"tokengate\"");
        }
        let body = serde_json::from_slice(response.body()).unwrap();
        (response.status(), body)
    }

    /// Delivers a body with these header fields.
    fn post(
        &self,
        source: &str,
        body: &str,
        fields: &[(&'static str, String)],
    ) -> (StatusCode, Value) {
        let mut request = http::Request::new(Bytes::from(body.to_owned()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("/v1/events/{source}").parse().unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        self.send(request)
    }

    /// Delivers what Moralis signed.
    fn deliver_to(&self, source: &str, body: &Value) -> (StatusCode, Value) {
        let body = body.to_string();
        let signature = keccak256([&body, SECRET].concat()).to_string();
        self.post(source, &body, &[("x-signature", signature)])
    }

    /// Delivers it, and answers how many facts it invalidated.
    fn invalidated(&self, body: &Value) -> u64 {
        let (status, answer) = self.deliver_to("main", body);
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["replayed"], false, "{answer}");
        answer["outdated"].as_u64().unwrap()
    }

    fn ask(&self, target: &str, bearer: &str, body: Option<&Value>) -> Value {
        let mut request = http::Request::new(Bytes::new());
        *request.uri_mut() = target.parse().unwrap();
        let fields = [
            ("content-type", "application/json"),
            ("authorization", bearer),
        ];
        for (name, value) in fields {
            if !value.is_empty() {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        if let Some(body) = body {
            *request.method_mut() = Method::POST;
            *request.body_mut() = body.to_string().into();
        }
        let (status, answer) = self.send(request);
        assert!(status.is_success(), "{target}: {answer}");
        answer
    }

    /// The session of an account, as an authorization.
    fn session(&self, account: u8) -> String {
        if let Some(session) = self.sessions.borrow().get(&account) {
            return session.clone();
        }
        let target = format!("/v1/challenge?address={}&chain=eip155:1", address(account));
        let challenge = self.ask(&target, "", None);
        let message = challenge["message"].as_str().unwrap();
        let hash = hash_message(message.as_bytes());
        let (signature, recovery) = key(account).sign_prehash_recoverable(&hash);
        let signature = format!(
            "0x{}{:02x}",
            hex::encode(signature.to_bytes()),
            27 + recovery.to_byte()
        );
        let body = json!({"message": message, "signature": signature});
        let session = self.ask("/v1/session", "", Some(&body));
        let session = format!("Bearer {}", session["token"].as_str().unwrap());
        self.sessions.borrow_mut().insert(account, session.clone());
        session
    }

    /// Has each account open something behind a gate: what was read of the chain for that.
    fn reads(&self, gate: &str, accounts: &[u8]) -> BTreeSet<String> {
        for account in accounts {
            let body = json!({"resource": format!("media/{gate}/x")});
            self.ask("/v1/access", &self.session(*account), Some(&body));
        }
        self.world().read.take()
    }

    fn advance(&self, seconds: u64, blocks: u64) {
        let world = self.world();
        world
            .now
            .set(world.now.get() + Duration::from_secs(seconds));
        world.block.set(world.block.get() + blocks);
    }
}

fn key(account: u8) -> SigningKey {
    SigningKey::from_slice(&[account; 32]).unwrap()
}

fn address(account: u8) -> String {
    let point = key(account).verifying_key().to_sec1_point(false);
    let hash = keccak256(&point.as_bytes()[1..]);
    format!("0x{}", hex::encode(&hash[12..]))
}

/// As reads are noted.
fn read(contract: &str, account: u8) -> String {
    format!("{contract} {}", &address(account)[2..])
}

fn topic(account: u8) -> String {
    format!("0x{}{}", "0".repeat(24), &address(account)[2..])
}

/// Moralis's delivery of a sale of a token of [`ONE`], in a block of this number.
fn sale(chain: u64, block: u64, retries: u32) -> Value {
    let id = format!("0x{:064x}", 5);
    json!({
        "chainId": format!("{chain:#x}"),
        "block": {"number": block.to_string()},
        "confirmed": false,
        "retries": retries,
        "logs": [{"address": ONE, "topic0": TRANSFER, "topic1": topic(SELLER), "topic2": topic(BUYER), "topic3": id, "data": "0x"}],
    })
}

/// The same of Alchemy, with its header fields.
fn activity(block: u64, removed: bool) -> (String, [(&'static str, String); 1]) {
    activity_on(&json!("ETH_MAINNET"), block, removed)
}

fn activity_on(
    network: &Value,
    block: u64,
    removed: bool,
) -> (String, [(&'static str, String); 1]) {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let id = format!("0x{:064x}", 5);
    let log = json!({"address": ONE, "topics": [TRANSFER, topic(SELLER), topic(BUYER), id], "data": "0x", "blockNumber": format!("{block:#x}"), "removed": removed});
    let event = json!({"network": network, "activity": [{"log": log}, {"category": "external"}]});
    let body = json!({"id": format!("whevt_{block}"), "type": "ADDRESS_ACTIVITY", "event": event})
        .to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    (body, [("x-alchemy-signature", signature)])
}

const ALL: [u8; 3] = [SELLER, BUYER, OTHER];

#[test]
fn a_transfer_invalidates_the_facts_that_it_changes_and_no_others() {
    let gate = Instance::new();
    assert_eq!(gate.reads("one", &ALL).len(), 3);
    assert_eq!(gate.reads("two", &ALL).len(), 3);
    assert!(gate.reads("one", &ALL).is_empty(), "facts are kept");
    gate.advance(2, 1);
    let (status, answer) = gate.deliver_to("main", &sale(1, 101, 0));
    let expected =
        json!({"logs": 1, "transfers": 1, "outdated": 2, "skipped": 0, "replayed": false});
    assert_eq!((status, answer), (StatusCode::OK, expected));
    let again = gate.reads("one", &ALL);
    assert_eq!(
        again,
        [SELLER, BUYER].map(|account| read(ONE, account)).into()
    );
    assert!(gate.reads("two", &ALL).is_empty());
}

#[test]
fn a_transfer_of_facts_that_are_not_kept_is_waited_for_as_well() {
    let gate = Instance::new();
    let session = gate.session(SELLER);
    assert_eq!(gate.invalidated(&sale(1, 101, 0)), 0, "nothing was known");
    // The one node that is there has not come to the block of the sale.
    let mut request = http::Request::new(Bytes::from(r#"{"resource":"media/one/x"}"#));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/v1/access".parse().unwrap();
    for (name, value) in [
        ("content-type", "application/json"),
        ("authorization", session.as_str()),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (status, problem) = gate.send(request);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    gate.advance(2, 1);
    assert_eq!(gate.reads("one", &[SELLER]).len(), 1);
}

#[test]
fn what_was_read_later_outlives_what_comes_late_twice_or_in_another_order() {
    let gate = Instance::new();
    gate.reads("one", &ALL);
    gate.advance(2, 1);
    assert_eq!(gate.invalidated(&sale(1, 101, 0)), 2);
    gate.reads("one", &ALL);
    // To the same block again, and to blocks before it.
    for (block, retries) in [(101, 1), (100, 0), (7, 0)] {
        assert_eq!(gate.invalidated(&sale(1, block, retries)), 0, "{block}");
    }
    assert!(gate.reads("one", &ALL).is_empty());
    // A later one comes first; the earlier one has nothing left to do.
    assert_eq!(gate.invalidated(&sale(1, 103, 0)), 2);
    assert_eq!(gate.invalidated(&sale(1, 102, 0)), 0);
}

#[test]
fn a_delivery_that_was_seen_to_is_not_seen_to_again() {
    let gate = Instance::new();
    gate.reads("one", &ALL);
    gate.advance(2, 1);
    let (store, now) = (&gate.world().store, gate.world().now.get());
    assert_eq!(gate.invalidated(&sale(1, 101, 0)), 2);
    gate.reads("one", &ALL);
    gate.world().calls_to_store.set(0);
    let (status, answer) = gate.deliver_to("main", &sale(1, 101, 0));
    let expected =
        json!({"logs": 1, "transfers": 1, "outdated": 0, "skipped": 0, "replayed": true});
    assert_eq!((status, answer), (StatusCode::OK, expected));
    assert_eq!(gate.world().calls_to_store.get(), 1);
    // Another source may name its deliveries alike.
    let (_, answer) = gate.deliver_to("one-chain", &sale(1, 101, 0));
    assert_eq!(answer["replayed"], false);
    // Both are to be forgotten in a day.
    let remembered = |prefix: &str| -> Vec<String> {
        let store = store.borrow();
        let keys = store.keys().filter(|key| key.starts_with(prefix));
        keys.cloned().collect()
    };
    let deliveries: BTreeSet<_> = remembered("tg1:event:").into_iter().collect();
    assert_eq!(deliveries.len(), 2);
    let list = (now.as_second() + 24 * 60 * 60) / 600 + 1;
    let entries = remembered(&format!("tg1:forget:{list}:"));
    let entries: BTreeSet<_> = entries
        .iter()
        .map(|key| String::from_utf8(store.borrow()[key].clone()).unwrap())
        .filter(|entry| entry.starts_with("tg1:"))
        .collect();
    assert_eq!(entries, deliveries);
}

#[test]
fn a_reorged_transfer_invalidates_at_any_number_and_others_at_the_chains_own() {
    let gate = Instance::new();
    gate.reads("one", &ALL);
    let (body, fields) = activity(7, false);
    let (_, answer) = gate.post("activity", &body, &fields);
    assert_eq!(answer["outdated"], 0, "it was known");
    let (body, fields) = activity(8, true);
    let (_, answer) = gate.post("activity", &body, &fields);
    let expected =
        json!({"logs": 1, "transfers": 1, "outdated": 2, "skipped": 1, "replayed": false});
    assert_eq!(answer, expected);
    assert_eq!(gate.reads("one", &ALL).len(), 2);

    // Contracts of this chain see the numbers of another one, far ahead of its own; its facts bear its own.
    gate.reads("parent", &ALL);
    let block = gate.world().block.get();
    assert_eq!(gate.invalidated(&sale(42_161, block, 0)), 0, "it was known");
    gate.advance(1, 1);
    assert_eq!(gate.invalidated(&sale(42_161, block + 1, 0)), 2);
    assert_eq!(gate.reads("parent", &ALL).len(), 2);
    assert!(gate.reads("one", &ALL).is_empty(), "of another chain");
}

#[test]
fn what_is_about_another_chain_does_nothing_and_says_so() {
    let gate = Instance::new();
    gate.reads("one", &ALL);
    gate.reads("parent", &ALL);
    for (source, chain) in [("main", 5), ("one-chain", 42_161)] {
        let (status, answer) = gate.deliver_to(source, &sale(chain, 500, 0));
        let expected = json!({"logs": 1, "transfers": 0, "outdated": 0, "skipped": 0, "replayed": false, "ignored": "other-chain"});
        assert_eq!((status, answer), (StatusCode::OK, expected), "{source}");
    }
    // What tries a new stream is about none.
    for source in ["main", "one-chain"] {
        let trial = json!({"chainId": "", "block": {"number": ""}, "logs": []});
        assert_eq!(gate.deliver_to(source, &trial).0, StatusCode::OK);
    }
    assert!(gate.reads("one", &ALL).is_empty() && gate.reads("parent", &ALL).is_empty());
}

#[test]
fn only_a_chain_that_is_named_or_stated_is_believed_to_be_the_deliverys() {
    let gate = Instance::new();
    gate.reads("one", &ALL);
    let unknown = json!("NEW_MAINNET\u{202e}");
    let ronin = json!("RONIN_MAINNET");
    for (source, network, status, said) in [
        ("activity-one", &ronin, 200, "other-chain"),
        ("activity", &ronin, 200, "other-chain"),
        ("activity", &Value::Null, 400, "chain-not-named"),
        ("activity", &unknown, 422, "unknown-network"),
        ("activity-one", &unknown, 422, "unknown-network"),
    ] {
        gate.world().log.borrow_mut().clear();
        let (body, fields) = activity_on(network, 40_000_000, false);
        let (answered, answer) = gate.post(source, &body, &fields);
        let word = answer.get("ignored").or(answer.get("code"));
        assert_eq!(
            (answered.as_u16(), word),
            (status, Some(&json!(said))),
            "{source} {network}"
        );
        // The log says which source, what became of it, and of a name no more than is printable.
        let log = gate.world().log.borrow().join("\n");
        let network = match said {
            "unknown-network" => "NEW_MAINNET\\\\u{202e}",
            "other-chain" => "eip155:2020",
            _ => "1 logs, 1 skipped",
        };
        assert!(log.contains(network) && log.contains(source), "{log}");
        assert!(!log.contains('\u{202e}'), "{log}");
    }
    assert!(gate.reads("one", &ALL).is_empty());
    // Where the configuration states it, a delivery need not.
    gate.advance(2, 1);
    let (body, fields) = activity_on(&Value::Null, 101, false);
    let (_, answer) = gate.post("activity-one", &body, &fields);
    assert_eq!(answer["outdated"], 2, "{answer}");
}

#[test]
fn a_block_that_the_chain_cannot_have_come_to_is_not_waited_for() {
    let gate = Instance::new();
    gate.reads("one", &ALL);
    gate.advance(2, 1);
    // An hour of Ethereum's blocks is 300; the chain is at 101, as of now.
    assert_eq!(gate.invalidated(&sale(1, 40_000_000, 0)), 2);
    assert_eq!(gate.reads("one", &ALL).len(), 2);
}

#[test]
fn transfers_without_logs_are_read_and_an_event_that_cannot_be_read_invalidates_by_contract() {
    let gate = Instance::new();
    gate.reads("one", &ALL);
    gate.reads("two", &ALL);
    gate.advance(2, 1);
    let mut body = sale(1, 101, 0);
    body["logs"] = json!([]);
    body["nftTransfers"] = json!([{
        "transactionHash": "0xab", "logIndex": "3", "contract": ONE, "from": address(SELLER),
        "to": address(BUYER), "tokenId": "5", "amount": "1", "contractType": "ERC721",
    }]);
    assert_eq!(gate.invalidated(&body), 2);
    assert_eq!(gate.reads("one", &ALL).len(), 2);
    // The words of a transfer, and none of its arguments.
    gate.advance(2, 1);
    let mut body = sale(1, 102, 0);
    body["logs"] = json!([{"address": ONE, "topic0": TRANSFER, "data": "0x"}]);
    let (_, answer) = gate.deliver_to("main", &body);
    let expected = json!({"logs": 1, "transfers": 0, "outdated": 0, "skipped": 0, "replayed": false, "contracts": 1, "unreadable": 1});
    assert_eq!(answer, expected);
    assert!(gate.world().log.borrow().join("").contains("read in part"));
    assert_eq!(gate.reads("one", &ALL).len(), 3);
    assert!(gate.reads("two", &ALL).is_empty());
}

#[test]
fn a_block_that_the_chain_cannot_have_come_to_is_not_waited_for_and_hides_no_later_sale() {
    let gate = Instance::new();
    gate.reads("one", &[SELLER]);
    assert_eq!(gate.invalidated(&sale(1, 1_000_000_000, 0)), 1);
    gate.advance(3, 0);
    assert_eq!(gate.reads("one", &[SELLER]).len(), 1);
    let fresh = Instance {
        sessions: gate.sessions.clone(),
        ports: gate.ports.clone(),
        service: Instance::new().service,
    };
    assert!(fresh.reads("one", &[SELLER]).is_empty(), "it was kept");
    gate.advance(3, 1);
    assert_eq!(gate.invalidated(&sale(1, 101, 0)), 1);
    assert_eq!(gate.reads("one", &[SELLER]).len(), 1);
}

#[test]
fn what_touches_no_gate_costs_nothing() {
    let gate = Instance::new();
    let mut body = sale(1, 101, 0);
    body["logs"][0]["address"] = "0x9fe46736679d2d9a65f0992f2272de9f3c7fa6e0".into();
    assert_eq!(gate.invalidated(&body), 0);
    assert_eq!(gate.invalidated(&body), 0);
    assert_eq!(gate.world().calls_to_store.get(), 0);
}

#[test]
fn what_no_source_signed_changes_nothing() {
    let gate = Instance::new();
    gate.reads("one", &ALL);
    let body = sale(1, 500, 0).to_string();
    let sign = |body: &str, secret: &str| {
        vec![(
            "x-signature",
            keccak256([body, secret].concat()).to_string(),
        )]
    };
    let good = sign(&body, SECRET);
    let cut = &body[..body.len() - 1];
    let twice = [good.clone(), good.clone()].concat();
    for (source, body, fields, expected) in [
        ("main", body.as_str(), vec![], (401, "missing-signature")),
        ("main", &body, twice, (401, "missing-signature")),
        (
            "main",
            &body,
            sign(&body, "another-secret-of-the-tests"),
            (401, "invalid-signature"),
        ),
        ("main", &body, sign(&body, ""), (401, "invalid-signature")),
        ("main", cut, good.clone(), (401, "invalid-signature")),
        ("activity", &body, good.clone(), (401, "missing-signature")),
        ("elsewhere", &body, good.clone(), (404, "unknown-source")),
        ("main", cut, sign(cut, SECRET), (400, "malformed-body")),
        ("main", "{}", sign("{}", SECRET), (400, "malformed-body")),
        ("main", "", sign("", SECRET), (400, "malformed-body")),
    ] {
        let (status, problem) = gate.post(source, body, &fields);
        let code = problem["code"].as_str().unwrap();
        assert_eq!((status.as_u16(), code), expected, "{source} {body}");
    }
    assert!(gate.reads("one", &ALL).is_empty());
    for line in gate.world().log.borrow().iter() {
        assert!(
            !line.contains("signature\":\"0x") && !line.contains(ONE) && !line.contains(SECRET),
            "{line}"
        );
    }
}

#[test]
fn a_delivery_outside_of_its_time_is_untimely() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let events = "[[webhook]]\nid = \"main\"\nprovider = \"moralis\"";
    let stream = "[[webhook]]\nid = \"main\"\nprovider = \"quicknode\"\nchain = \"eip155:1\"";
    let gate = Instance::with(&CONFIG.replacen(events, stream, 1));
    let now = gate.world().now.get().as_second();
    let body = "[]";
    for (time, expected) in [
        (now, 200),
        (now - 300, 200),
        (now - 301, 401),
        (now + 301, 401),
    ] {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("nonce{time}{body}").as_bytes());
        let fields = [
            ("x-qn-nonce", "nonce".to_owned()),
            ("x-qn-timestamp", time.to_string()),
            ("x-qn-signature", hex::encode(mac.finalize().into_bytes())),
        ];
        let (status, answer) = gate.post("main", body, &fields);
        assert_eq!(status.as_u16(), expected, "{answer}");
        if status == StatusCode::UNAUTHORIZED {
            assert_eq!(answer["code"], "timestamp-out-of-range");
        }
    }
}

#[test]
fn only_strangers_are_limited() {
    let gate = Instance::with(&CONFIG.replacen("1000/1m", "3/1m", 1));
    let forged = || {
        gate.post("main", "{}", &[("x-signature", "0x".to_owned())])
            .0
    };
    for _ in 0..3 {
        assert_eq!(forged(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(forged(), StatusCode::TOO_MANY_REQUESTS);
    let unknown = gate.post("elsewhere", "{}", &[]).0;
    assert_eq!(unknown, StatusCode::TOO_MANY_REQUESTS);
    for block in 0..10 {
        assert_eq!(
            gate.deliver_to("main", &sale(1, block, 0)).0,
            StatusCode::OK
        );
    }
}

#[test]
fn a_forged_note_does_not_keep_a_delivery_from_being_processed() {
    let gate = Instance::new();
    gate.deliver_to("main", &sale(1, 101, 0));
    let key = {
        let store = gate.world().store.borrow();
        let mut keys = store.keys().filter(|key| key.starts_with("tg1:event:"));
        keys.next().unwrap().clone()
    };
    let authentic = gate.world().store.borrow()[&key].clone();
    let moved = support::store_keys().seal(Kind::Delivery, "tg1:event:main:0", b"1");
    for (value, replayed) in [
        (b"1".to_vec(), false),
        (moved, false),
        (authentic[..authentic.len() - 1].to_vec(), false),
        (authentic, true),
    ] {
        gate.world().store.borrow_mut().insert(key.clone(), value);
        let (status, answer) = gate.deliver_to("main", &sale(1, 101, 0));
        assert_eq!(
            (status, &answer["replayed"]),
            (StatusCode::OK, &json!(replayed))
        );
    }
}

#[test]
fn what_the_store_does_not_do_is_to_be_sent_again() {
    let gate = Instance::new();
    gate.reads("one", &ALL);
    gate.world().store_up.set(false);
    let (status, problem) = gate.deliver_to("main", &sale(1, 101, 0));
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["code"], "store-unavailable");
    gate.world().store_up.set(true);
    // What could not be remembered was seen to, and is seen to again.
    gate.world().full.set("tg1:event:");
    let (status, _) = gate.deliver_to("main", &sale(1, 101, 0));
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    gate.world().full.set("");
    gate.advance(2, 1);
    assert_eq!(gate.reads("one", &ALL).len(), 2);
    assert_eq!(gate.invalidated(&sale(1, 101, 0)), 0);
    assert_eq!(
        gate.deliver_to("main", &sale(1, 101, 0)).1["replayed"],
        true
    );
}

#[test]
fn only_who_takes_events_needs_their_secrets_and_a_bad_one_is_no_start() {
    fn load_with<S: State>(secret: &str) -> Option<LoadError> {
        let gate = Instance::new();
        gate.world().secret.replace(secret.to_owned());
        block_on(load::<S>(&gate.ports)).err()
    }
    assert_eq!(load_with::<Chains>(""), None);
    assert_eq!(load_with::<Events>(SECRET), None);
    for (secret, words) in [
        ("", "stream_secret is not set"),
        ("0123456789abcde", "shorter than 16 bytes"),
    ] {
        let error = load_with::<Events>(secret).unwrap().to_string();
        assert!(
            error.starts_with("tokengate.toml:") && error.contains(words),
            "{error}"
        );
        assert!(secret.is_empty() || !error.contains(secret), "{error}");
    }
}
