//! What the operator asks for, over a simulated chain: rounds that follow transfers when providers are behind, wrong or
//! gone, blocks are replaced and the store fails; and facts that are read ahead.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod support;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::future::LocalBoxFuture;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokengate_app::state::Admin;
use tokengate_app::{
    CallError, LoadError, Ports, RedisReply, Reply, Response, StoreError, load, routes, serve,
};
use tokengate_core::config::Config;
use tokengate_core::fact::{Fact, FactKey, Known, Read, Value as FactValue};
use tokengate_core::sealed::{Kind, StoreKeys};
use tokengate_core::transfer::TOPICS;
use tokengate_core::{Address, ChainId, Timestamp, U256};

use support::Tasks;
use support::reader::{self, Outcome, word};

const CONFIG: &str = r#"
[service]
domains = ["gate.example"]
session_ttl = "1h"
url_ttl = "5m"

[limits]
per_client = "3/1m"

[[chain]]
id = "eip155:ID"
providers = ["http://a.example", "http://b.example"]

[[chain]]
id = "eip155:10"
providers = ["http://ten.example"]

[[bucket]]
id = "media"
endpoint = "http://127.0.0.1:9000"
region = "us-east-1"
addressing = "path"
credentials = "media"

[[gate]]
id = "season-1"
resources = ["media/season-1/**"]
max_age = "10m"
require = { erc721 = { chain = "eip155:ID", contract = "0x0909090909090909090909090909090909090909" } }
"#;

/// A gate on the other chain, and one of which two providers have to say the same.
const ON_TEN: &str = r#"
[[gate]]
id = "ten"
resources = ["media/ten/**"]
max_age = "10m"
require = { erc721 = { chain = "eip155:10", contract = "0x0909090909090909090909090909090909090909" } }
"#;
const AGREED: &str = r#"
[[gate]]
id = "agreed"
resources = ["media/agreed/**"]
max_age = "10m"
quorum = 2
require = { erc721 = { chain = "eip155:ID", contract = "0x0909090909090909090909090909090909090909" } }
"#;

const CONTRACT: Address = Address::from_bytes([9; 20]);
const ANN: Address = Address::from_bytes([1; 20]);
const BOB: Address = Address::from_bytes([2; 20]);
const CAT: Address = Address::from_bytes([3; 20]);
const TOKEN: &str = "an operator's token of 32 characters";

/// What a provider does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Provider {
    Honest,
    /// Refuses connections.
    Down,
    /// So many blocks behind.
    Behind(usize),
    /// Two nodes: the one that knows the newest block is not the one that is so many blocks behind and answers the rest.
    Mixed(usize),
    /// Lists the logs of so many blocks at once.
    Short(u64, Refusal),
    /// Lists logs once, and fails after that.
    Breaks,
    /// Serves another chain.
    Other,
    /// Answers with logs of another block than those that were asked for.
    Astray,
    /// Every call of a contract fails.
    Reverts,
    /// Lists the logs of so many contracts at once.
    Addresses(usize),
}

/// How the contract writes its transfers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// As ERC-721 says.
    Indexed,
    /// All arguments as data.
    Unindexed,
    /// As ERC-2309 says, of the tokens 1 to 9.
    Consecutive,
    /// The event's name and nothing else.
    Nothing,
}

/// How a provider refuses.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Refusal {
    Node(i64),
    Status(u16),
    TooLong,
}

#[derive(Clone)]
struct Block {
    hash: u64,
    timestamp: u64,
    logs: Vec<(Address, Address)>,
}

type Change = Box<dyn FnOnce(&World)>;
struct World {
    config: String,
    chain: u64,
    token: Option<&'static str>,
    now: Cell<Timestamp>,
    blocks: RefCell<Vec<Block>>,
    made: Cell<u64>,
    /// Two of the chain, and that of chain 10.
    providers: [Cell<Provider>; 3],
    /// What the lists of logs were asked from and to, and of which contracts.
    asked: RefCell<Vec<(usize, u64, u64)>>,
    /// How many contracts each was of.
    addressed: RefCell<Vec<usize>>,
    form: Cell<Form>,
    calls: Cell<usize>,
    /// How many balances a read of a chain's state was for, and who was asked.
    reads: RefCell<Vec<(usize, usize)>>,
    /// What happens after the next list of logs.
    meanwhile: RefCell<Option<Change>>,
    store: RefCell<HashMap<String, Vec<u8>>>,
    /// What runs behind the response.
    tasks: Tasks,
    reads_fail: Cell<bool>,
    writes_fail: Cell<bool>,
    log: RefCell<Vec<String>>,
}

impl World {
    fn at(&self, block: usize) -> Timestamp {
        Timestamp::from_second(self.blocks.borrow()[block].timestamp.try_into().unwrap()).unwrap()
    }

    /// Blocks of a second each, with these transfers, and then the time of the last one.
    fn grow(&self, blocks: &[&[(Address, Address)]]) {
        for logs in blocks {
            self.made.set(self.made.get() + 1);
            let made = self.made.get();
            let block = Block {
                hash: made,
                timestamp: 1_800_000_000 + made,
                logs: logs.to_vec(),
            };
            self.blocks.borrow_mut().push(block);
        }
        let head = self.blocks.borrow().len() - 1;
        self.now.set(self.at(head));
    }

    /// So many blocks are replaced by these.
    fn replace(&self, count: usize, blocks: &[&[(Address, Address)]]) {
        let left = self.blocks.borrow().len() - count;
        self.blocks.borrow_mut().truncate(left);
        self.grow(blocks);
    }
}

#[derive(Clone)]
struct Simulated(Rc<World>);

impl Simulated {
    /// The chain of a provider.
    fn chain(&self, index: usize) -> u64 {
        [self.0.chain, self.0.chain, 10][index]
    }

    /// What the reader answers: everybody has one token.
    fn read(&self, provider: Provider, index: usize, block: u64, params: &Value) -> String {
        let asked = reader::request(params).unwrap();
        let block = reader::Block {
            chain: self.chain(index),
            number: block,
            timestamp: self.0.blocks.borrow()[usize::try_from(block).unwrap()].timestamp,
            parent: word(0),
            known: word(0),
        };
        self.0.reads.borrow_mut().push((index, asked.len()));
        let answer = reader::answer(block, &asked, |read| {
            assert_eq!(read.selector(), "70a08231");
            match provider {
                Provider::Reverts => Outcome::Reverted(Vec::new()),
                _ => Outcome::Returned(word(1).to_vec()),
            }
        });
        format!("0x{answer}")
    }

    fn answer(&self, provider: Provider, index: usize, body: &[u8]) -> Result<Reply, CallError> {
        let world = &self.0;
        let request: Value = serde_json::from_slice(body).unwrap();
        let params = &request["params"];
        let number = |value: &Value| {
            u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16)
        };
        let blocks = world.blocks.borrow();
        let behind = match provider {
            Provider::Behind(count) => count,
            Provider::Mixed(count) if params[0] != "latest" => count,
            _ => 0,
        };
        let head = blocks.len() - 1 - behind;
        let result = match request["method"].as_str().unwrap() {
            "eth_chainId" if provider == Provider::Other => json!("0x5"),
            "eth_chainId" => json!(format!("{:#x}", self.chain(index))),
            "eth_call" => {
                json!(self.read(provider, index, head as u64, params))
            }
            "eth_blockNumber" => json!(format!("{head:#x}")),
            "eth_getBlockByNumber" => {
                let number = match &params[0] {
                    tag if tag == "latest" => head,
                    number_ => usize::try_from(number(number_).unwrap()).unwrap(),
                };
                match blocks.get(number).filter(|_| number <= head) {
                    Some(block) => json!({
                        "number": format!("{number:#x}"),
                        "hash": format!("{:#066x}", block.hash),
                        "timestamp": format!("{:#x}", block.timestamp),
                    }),
                    None => Value::Null,
                }
            }
            "eth_getLogs" => {
                let filter = &params[0];
                let addresses = filter["address"].as_array().unwrap();
                world.addressed.borrow_mut().push(addresses.len());
                let is_asked = addresses.contains(&json!(CONTRACT.to_lower_hex()));
                assert_eq!(filter["topics"][0].as_array().unwrap().len(), TOPICS.len());
                let from = number(&filter["fromBlock"]).unwrap();
                let to = number(&filter["toBlock"]).unwrap();
                let earlier = world.asked.borrow().len();
                world.asked.borrow_mut().push((index, from, to));
                match provider {
                    Provider::Short(most, refusal) if to - from + 1 > most => {
                        return match refusal {
                            Refusal::TooLong => Err(CallError::TooLong),
                            Refusal::Status(status) => Ok(reply(status, Value::Null)),
                            Refusal::Node(code) => Ok(refused(code)),
                        };
                    }
                    Provider::Addresses(most) if addresses.len() > most => {
                        return Ok(refused(-32_602));
                    }
                    Provider::Breaks if earlier > 0 => return Err(CallError::Refused),
                    _ => {}
                }
                let astray = u64::from(provider == Provider::Astray) * 1_000;
                let logs: Vec<Value> = (from..=to)
                    .filter(|block| *block <= head as u64 && is_asked)
                    .flat_map(|block| {
                        let logs = blocks[usize::try_from(block).unwrap()].logs.clone();
                        logs.into_iter().map(move |(from, to)| {
                            let account = |address: Address| {
                                format!("{}{}", "00".repeat(12), &address.to_lower_hex()[2..])
                            };
                            let token = |id: u64| format!("{id:064x}");
                            let (event, topics, data) = match world.form.get() {
                                Form::Indexed => (
                                    TOPICS[0],
                                    vec![account(from), account(to), token(7)],
                                    vec![],
                                ),
                                Form::Unindexed => (
                                    TOPICS[0],
                                    vec![],
                                    vec![account(from), account(to), token(7)],
                                ),
                                Form::Consecutive => (
                                    TOPICS[3],
                                    vec![token(1), account(from), account(to)],
                                    vec![token(9)],
                                ),
                                Form::Nothing => (TOPICS[0], vec![], vec![]),
                            };
                            let topics: Vec<_> = [hex::encode(event)]
                                .into_iter()
                                .chain(topics)
                                .map(|word| format!("0x{word}"))
                                .collect();
                            json!({
                                "address": CONTRACT.to_lower_hex(),
                                "topics": topics,
                                "data": format!("0x{}", data.concat()),
                                "blockNumber": format!("{:#x}", block + astray),
                                "removed": false,
                            })
                        })
                    })
                    .collect();
                json!(logs)
            }
            other => panic!("an unexpected call: {other}"),
        };
        drop(blocks);
        if request["method"] == "eth_getLogs"
            && let Some(change) = world.meanwhile.take()
        {
            change(world);
        }
        Ok(reply(200, result))
    }
}

fn refused(code: i64) -> Reply {
    let error = json!({"code": code, "message": "too many"});
    let body = json!({"jsonrpc": "2.0", "id": 1, "error": error});
    Reply {
        status: 200,
        retry_after: None,
        body: body.to_string().into_bytes(),
    }
}

fn reply(status: u16, result: Value) -> Reply {
    Reply {
        status,
        retry_after: None,
        body: json!({"jsonrpc": "2.0", "id": 1, "result": result})
            .to_string()
            .into_bytes(),
    }
}

impl Ports for Simulated {
    fn now(&self) -> Timestamp {
        self.0.now.get()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.made.get())
    }

    fn random(&self) -> [u8; 16] {
        [0; 16]
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
        if self.0.reads_fail.get() {
            return Err(StoreError::Timeout);
        }
        Ok(self.0.store.borrow().get(key).cloned())
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        if self.0.writes_fail.get() {
            return Err(StoreError::Timeout);
        }
        let mut store = self.0.store.borrow_mut();
        store.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        if self.0.writes_fail.get() {
            return Err(StoreError::Timeout);
        }
        self.0.store.borrow_mut().remove(key);
        Ok(())
    }

    async fn increment(&self, key: &str) -> Result<u64, StoreError> {
        let count = self.get(key).await?.map_or(0, |bytes| {
            u64::from_le_bytes(bytes.as_slice().try_into().unwrap())
        });
        self.set(key, &(count + 1).to_le_bytes()).await?;
        Ok(count + 1)
    }

    fn post(
        &self,
        url: &str,
        body: Vec<u8>,
        _: usize,
    ) -> impl Future<Output = Result<Reply, CallError>> {
        self.0.calls.set(self.0.calls.get() + 1);
        let hosts = ["http://a.", "http://b.", "http://ten."];
        let index = hosts.iter().position(|host| url.starts_with(host));
        let index = index.unwrap();
        let outcome: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(ready(match self.0.providers[index].get() {
                Provider::Down => Err(CallError::Refused),
                provider => self.answer(provider, index, &body),
            }));
        outcome
    }

    fn config_text(&self) -> Result<String, String> {
        Ok(self.0.config.clone())
    }

    async fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(match name {
            "admin_token" => self.0.token.map(str::to_owned),
            "store_keys" => Some(support::STORE_KEYS.to_owned()),
            _ => None,
        })
    }

    fn log(&self, line: &str) {
        self.0.log.borrow_mut().push(line.to_owned());
    }
}

/// A service over a chain of 400 blocks, the last of which is number 399.
struct Watched {
    ports: Simulated,
    service: Result<Admin, LoadError>,
}

impl Watched {
    fn new() -> Self {
        Self::with(31_337, Some(TOKEN), |config| config)
    }

    fn with(
        chain: u64,
        token: Option<&'static str>,
        configure: impl FnOnce(String) -> String,
    ) -> Self {
        let ports = Simulated(Rc::new(World {
            config: configure(CONFIG.replace("ID", &chain.to_string())),
            chain,
            token,
            now: Cell::new(Timestamp::UNIX_EPOCH),
            blocks: RefCell::default(),
            made: Cell::new(0),
            providers: [Provider::Honest, Provider::Down, Provider::Down].map(Cell::new),
            asked: RefCell::default(),
            addressed: RefCell::default(),
            form: Cell::new(Form::Indexed),
            calls: Cell::new(0),
            reads: RefCell::default(),
            meanwhile: RefCell::default(),
            store: RefCell::default(),
            tasks: Tasks::default(),
            reads_fail: Cell::new(false),
            writes_fail: Cell::new(false),
            log: RefCell::default(),
        }));
        ports.0.grow(&[&[] as &[_]; 400]);
        let service = block_on(load(&ports));
        Self { ports, service }
    }

    /// One that has been followed up to its head.
    fn started() -> Self {
        let watched = Self::new();
        watched.follow();
        watched
    }

    fn world(&self) -> &World {
        &self.ports.0
    }

    fn providers(&self, providers: [Provider; 2]) {
        for (slot, provider) in self.world().providers.iter().zip(providers) {
            slot.set(provider);
        }
    }

    fn send(&self, target: &str, authorization: &[&str]) -> Response {
        self.send_with(target, authorization, None)
    }

    fn send_with(&self, target: &str, authorization: &[&str], body: Option<&Value>) -> Response {
        self.send_as("192.0.2.1:1", target, authorization, body)
    }

    fn send_as(
        &self,
        peer: &str,
        target: &str,
        authorization: &[&str],
        body: Option<&Value>,
    ) -> Response {
        let json = body.map(Value::to_string).unwrap_or_default();
        let mut request = http::Request::new(Bytes::from(json));
        if body.is_some() {
            let json = "application/json".parse().unwrap();
            request.headers_mut().insert("content-type", json);
        }
        let peer = peer.parse().unwrap();
        request.headers_mut().insert("spin-client-addr", peer);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.parse().unwrap();
        for value in authorization {
            let headers = request.headers_mut();
            headers.append("authorization", value.parse().unwrap());
        }
        let routes = routes::admin::routes();
        let answer = serve(&routes, &self.service, &self.ports, request);
        let response = self.world().tasks.drive(answer);
        self.world().tasks.run();
        response
    }

    fn round(&self) -> (StatusCode, Value) {
        let response = self.send("/v1/admin/watch", &[&format!("Bearer {TOKEN}")]);
        let body = serde_json::from_slice(response.body()).unwrap();
        (response.status(), body)
    }

    /// What a round says of the one chain with gated contracts.
    fn follow(&self) -> Value {
        let (status, mut answer) = self.round();
        assert_eq!(status, StatusCode::OK, "{answer}");
        let chains = answer["chains"].as_array_mut().unwrap();
        assert_eq!(chains.len(), 1, "the other chain has nothing to follow");
        chains.remove(0)
    }

    /// The transfers, the undone ones and the invalidated facts that a round reports.
    fn told(&self) -> [u64; 3] {
        let report = self.follow();
        ["transfers", "undone", "outdated"].map(|member| report[member].as_u64().unwrap())
    }

    /// Keeps an account's balance as it would be cached.
    fn remember(&self, owner: Address) {
        self.remember_at(owner, self.world().blocks.borrow().len() as u64 - 1);
    }

    /// The same, as it was read at an earlier block.
    fn remember_at(&self, owner: Address, block: u64) {
        let fact = Fact {
            value: FactValue::Amount(U256::ONE),
            block,
            read_at: self.world().now.get(),
        };
        let keys = self.config().quorums(self.chain());
        let keys = keys.into_iter().map(|quorum| self.key(owner, quorum));
        for key in keys {
            let sealed = support::store_keys().seal(Kind::Fact, &key, &fact.to_bytes());
            self.world().store.borrow_mut().insert(key, sealed);
        }
    }

    /// What the store has of an account's balance: a fact, or a tombstone.
    fn known(&self, owner: Address) -> Option<Known> {
        let store = self.world().store.borrow();
        let quorums = self.config().quorums(self.chain()).into_iter();
        let known = quorums.map(|quorum| {
            let key = self.key(owner, quorum);
            let sealed = store.get(&key)?;
            let bytes = support::store_keys()
                .open(Kind::Fact, &key, sealed)
                .unwrap()
                .to_vec();
            Some(Known::from_bytes(&self.read(owner).read, &bytes).unwrap())
        });
        let known: Vec<_> = known.collect();
        assert!(
            known.iter().all(|other| *other == known[0]),
            "of every quorum"
        );
        known[0].clone()
    }

    fn knows(&self, owner: Address) -> bool {
        matches!(self.known(owner), Some(Known::Fact(_)))
    }

    fn is_invalid(&self, owner: Address) -> bool {
        matches!(self.known(owner), Some(Known::Touched(..)))
    }

    fn read(&self, owner: Address) -> FactKey {
        FactKey {
            chain: self.chain(),
            read: Read::Erc721Balance {
                contract: CONTRACT,
                owner,
            },
        }
    }

    fn chain(&self) -> ChainId {
        ChainId::new(self.world().chain).unwrap()
    }

    fn config(&self) -> Config {
        Config::parse(&self.world().config).unwrap()
    }

    fn key(&self, owner: Address, quorum: usize) -> String {
        let config = self.config();
        let space = config.fact_space(self.chain(), quorum).unwrap();
        format!("tg1:fact:{space}:{}", self.read(owner).store_key())
    }

    /// Where it is kept how far the chain has been followed.
    fn cursor(&self) -> String {
        let config = self.config();
        let space = config.chain_space(self.chain()).unwrap();
        format!("tg1:watch:{space}:{}", self.world().chain)
    }

    /// What came of reading ahead, as the operator asks for it.
    fn warm(&self, body: &Value) -> (StatusCode, Value) {
        let bearer = format!("Bearer {TOKEN}");
        let response = self.send_with("/v1/admin/warm", &[&bearer], Some(body));
        let answer = serde_json::from_slice(response.body()).unwrap();
        (response.status(), answer)
    }

    /// The counts of facts: wanted, known, read, unreadable, failed.
    fn warmed(&self, body: &Value) -> [u64; 5] {
        let (status, answer) = self.warm(body);
        assert_eq!(status, StatusCode::OK, "{answer}");
        ["wanted", "known", "read", "unreadable", "failed"]
            .map(|member| answer["facts"][member].as_u64().unwrap())
    }

    /// Whether what is known of an account's balance is not used, and it is read of the chain.
    fn is_read_again(&self, owner: Address) -> bool {
        // What an instance has in memory it believes for a second.
        self.world().made.set(self.world().made.get() + 2);
        let body = json!({"gates": ["season-1"], "addresses": [owner]});
        match self.warmed(&body) {
            [1, 1, 0, 0, 0] => false,
            [1, 0, 1, 0, 0] => true,
            other => panic!("{other:?}"),
        }
    }

    /// The checks of readiness.
    fn ready(&self) -> Value {
        let mut request = http::Request::new(Bytes::new());
        *request.uri_mut() = "/healthz/ready".parse().unwrap();
        let routes = routes::health::routes().into_iter();
        let routes: Vec<_> = routes.map(|route| route.within(Admin::chains)).collect();
        let answer = serve(&routes, &self.service, &self.ports, request);
        let response = self.world().tasks.drive(answer);
        self.world().tasks.run();
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        body["checks"].clone()
    }

    fn advance(&self, seconds: u64) {
        let now = self.world().now.get() + Duration::from_secs(seconds);
        self.world().now.set(now);
    }

    /// Who was asked for balances, and for how many.
    fn reads(&self) -> Vec<(usize, usize)> {
        let mut reads = self.world().reads.take();
        reads.sort_unstable();
        reads
    }

    /// How many facts are kept below a prefix.
    fn kept(&self, prefix: &str) -> usize {
        let store = self.world().store.borrow();
        store.keys().filter(|key| key.starts_with(prefix)).count()
    }

    fn asked(&self) -> Vec<(usize, u64, u64)> {
        self.world().asked.take()
    }
}

#[test]
fn a_transfer_is_told_once_and_invalidates_what_it_changes() {
    let watched = Watched::started();
    for owner in [ANN, BOB, CAT] {
        watched.remember(owner);
    }
    watched.world().grow(&[&[(ANN, BOB)], &[]]);
    let report = watched.follow();
    let expected = json!({
        "chain": "eip155:31337", "from": 400, "to": 401, "head": 401, "behind": 0,
        "transfers": 1, "undone": 0, "outdated": 2, "contracts": 0, "skipped": 0, "unreadable": 0,
        "dropped": 0,
    });
    assert_eq!(report, expected);
    assert_eq!(
        [ANN, BOB, CAT].map(|owner| watched.knows(owner)),
        [false, false, true]
    );
    assert_eq!(
        [ANN, BOB, CAT].map(|owner| watched.is_invalid(owner)),
        [true, true, false],
        "also for reads of an older block in flight"
    );
    watched.remember(ANN);
    assert_eq!(watched.told(), [0, 0, 0], "nothing new");
    watched.world().grow(&[&[]]);
    assert_eq!(
        watched.told(),
        [0, 0, 0],
        "also where blocks are read again"
    );
    assert!(watched.knows(ANN));
}

#[test]
fn the_first_round_starts_at_the_head_and_lists_nothing() {
    let watched = Watched::new();
    watched.world().grow(&[&[(ANN, BOB)]]);
    let report = watched.follow();
    assert_eq!((&report["from"], &report["to"]), (&json!(401), &json!(400)));
    assert!(watched.asked().is_empty());
    // So does one over what another edition left.
    let key = watched.cursor();
    let sealed = support::store_keys().seal(Kind::Cursor, &key, b"{\"e\":9}");
    let before = watched.world().store.borrow_mut().insert(key, sealed);
    assert!(before.is_some(), "the first round has kept one");
    watched.world().grow(&[&[(ANN, BOB)]]);
    assert_eq!(watched.told(), [0, 0, 0]);
}

#[test]
fn a_cursor_that_the_service_did_not_write_is_no_start_at_the_head() {
    let watched = Watched::started();
    watched.remember(ANN);
    let key = watched.cursor();
    let authentic = watched.world().store.borrow()[&key].clone();
    watched.world().grow(&[&[(ANN, BOB)]]);
    let keys = support::store_keys();
    let at_the_head = {
        let other = Watched::started();
        other.world().grow(&[&[(ANN, BOB)]]);
        other.follow();
        let store = other.world().store.borrow();
        keys.open(Kind::Cursor, &key, &store[&key])
            .unwrap()
            .to_vec()
    };
    let others = StoreKeys::parse(&support::STORE_KEYS.replace('2', "3")).unwrap();
    for forged in [
        at_the_head.clone(),
        others.seal(Kind::Cursor, &key, &at_the_head),
        keys.seal(Kind::Cursor, "tg1:watch:10", &at_the_head),
        keys.seal(Kind::Fact, &key, &at_the_head),
        authentic[..authentic.len() - 1].to_vec(),
        Vec::new(),
    ] {
        watched
            .world()
            .store
            .borrow_mut()
            .insert(key.clone(), forged.clone());
        let (status, problem) = watched.round();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
        assert_eq!(problem["code"], "store-unavailable");
        let log = watched.world().log.take().concat();
        assert!(log.contains("a stored cursor has no valid tag"), "{log}");
        assert_eq!(
            watched.world().store.borrow()[&key],
            forged,
            "it is left to be looked at"
        );
        assert!(watched.knows(ANN));
    }
    watched.world().store.borrow_mut().insert(key, authentic);
    assert_eq!(watched.told(), [1, 0, 1]);
    assert!(watched.is_invalid(ANN));
}

#[test]
fn what_is_forged_in_a_facts_place_is_invalidated_as_a_fact_is() {
    let watched = Watched::started();
    watched.remember(ANN);
    watched.world().grow(&[&[(ANN, BOB)]]);
    let key = watched.key(ANN, 1);
    let cut = |value: &mut Vec<u8>| value.truncate(value.len() - 1);
    watched
        .world()
        .store
        .borrow_mut()
        .entry(key)
        .and_modify(cut);
    assert_eq!(watched.told(), [1, 0, 1]);
    assert!(watched.is_invalid(ANN) && watched.is_invalid(BOB));
}

#[test]
fn a_transfer_invalidates_a_fact_under_every_quorum_that_it_is_kept_for_once() {
    for (chain, quorums) in [("", vec![1, 2]), ("quorum = 2\n", vec![2])] {
        let watched = Watched::with(31_337, Some(TOKEN), |config| {
            let agreed = AGREED.replace("ID", "31337");
            config.replacen("[[chain]]\n", &format!("[[chain]]\n{chain}"), 1) + &agreed
        });
        watched.providers([Provider::Honest, Provider::Honest]);
        watched.follow();
        watched.remember(ANN);
        assert_eq!(watched.kept("tg1:fact:"), quorums.len());
        watched.world().grow(&[&[(ANN, BOB)]]);
        let expected = u64::try_from(quorums.len()).unwrap();
        assert_eq!(watched.told(), [1, 0, expected], "{chain}");
        assert!(
            watched.is_invalid(ANN) && watched.is_invalid(BOB),
            "{chain}"
        );
        assert_eq!(
            watched.kept("tg1:fact:"),
            2 * quorums.len(),
            "nothing under another key"
        );
    }
}

#[test]
fn a_provider_that_is_behind_is_not_believed() {
    let watched = Watched::started();
    watched.world().grow(&[&[(ANN, BOB)] as &[_]; 8]);
    assert_eq!(watched.told()[0], 8);
    // Within what providers may differ by there is nothing to be said.
    watched.providers([Provider::Behind(3), Provider::Down]);
    assert_eq!(watched.told(), [0, 0, 0]);
    watched.providers([Provider::Behind(4), Provider::Down]);
    let (status, problem) = watched.round();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["code"], "chain-unavailable");
    watched.world().grow(&[&[(BOB, ANN)]]);
    watched.providers([Provider::Behind(5), Provider::Honest]);
    assert_eq!(watched.told(), [1, 0, 0]);
}

#[test]
fn a_node_that_lacks_the_block_does_not_pass_for_one_on_which_nothing_happened() {
    let watched = Watched::started();
    watched.remember(ANN);
    watched.world().grow(&[&[(ANN, BOB)]]);
    watched.providers([Provider::Mixed(1), Provider::Down]);
    let (status, _) = watched.round();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!watched.asked().is_empty() && watched.knows(ANN));
    watched.providers([Provider::Mixed(1), Provider::Honest]);
    assert_eq!(watched.told(), [1, 0, 1]);
}

#[test]
fn what_a_node_missed_is_found_with_the_next_blocks() {
    let watched = Watched::started();
    watched.world().grow(&[&[]]);
    assert_eq!(watched.told(), [0, 0, 0]);
    // It had the block's name already, and its logs only now.
    watched.world().blocks.borrow_mut()[400]
        .logs
        .push((ANN, BOB));
    watched.world().grow(&[&[]]);
    assert_eq!(watched.told(), [1, 0, 0]);
}

#[test]
fn what_was_read_before_a_provider_fails_is_not_read_again() {
    let watched = Watched::with(31_337, Some(TOKEN), |config| {
        config.replace(
            "[[chain]]\nid = \"eip155:10\"",
            "[watch]\nrange = 10\n\n[[chain]]\nid = \"eip155:10\"",
        )
    });
    watched.follow();
    watched.world().grow(&[&[(ANN, BOB)] as &[_]; 30]);
    watched.providers([Provider::Breaks, Provider::Down]);
    let report = watched.follow();
    assert_eq!(
        (&report["transfers"], &report["to"], &report["behind"]),
        (&json!(10), &json!(409), &json!(20))
    );
    let (status, _) = watched.round();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "no list at all");
    watched.providers([Provider::Breaks, Provider::Honest]);
    watched.asked();
    let report = watched.follow();
    assert_eq!(
        (&report["transfers"], &report["from"], &report["to"]),
        (&json!(20), &json!(410), &json!(429))
    );
    let mut asked = watched.asked();
    asked.dedup();
    assert_eq!(asked, [(0, 410, 419), (0, 420, 429), (1, 420, 429)]);
}

#[test]
fn a_reorg_undoes_what_was_told_and_is_read_again() {
    let watched = Watched::started();
    watched.world().grow(&[&[], &[(ANN, BOB)], &[], &[]]);
    assert_eq!(watched.told(), [1, 0, 0]);
    watched.remember(ANN);
    watched.remember(BOB);
    watched.remember(CAT);
    // Three blocks are replaced, and the transfer is in none of them.
    watched.world().replace(3, &[&[], &[], &[], &[]]);
    assert_eq!(watched.told(), [0, 1, 2]);
    assert!(watched.knows(CAT));
    // Or it comes a block later, whatever block a fact says it was read at.
    watched.world().grow(&[&[(ANN, CAT)], &[]]);
    assert_eq!(
        watched.told(),
        [1, 0, 1],
        "of the other, nothing is known any more"
    );
    watched.remember(ANN);
    watched.world().replace(2, &[&[], &[(ANN, CAT)], &[]]);
    assert_eq!(watched.told(), [1, 1, 1]);
    assert!([ANN, CAT].iter().all(|owner| watched.is_invalid(*owner)));
}

#[test]
fn a_reorganisation_within_a_round_is_no_round() {
    let watched = Watched::started();
    watched.world().grow(&[&[], &[]]);
    let change = |world: &World| world.replace(1, &[&[(ANN, BOB)]]);
    watched.providers([Provider::Honest, Provider::Honest]);
    *watched.world().meanwhile.borrow_mut() = Some(Box::new(change));
    assert_eq!(watched.told(), [1, 0, 0], "the next provider is asked");
    let asked = watched.asked();
    assert_eq!(asked, [(0, 400, 401), (1, 400, 401)]);
}

#[test]
fn a_chain_that_was_reset_is_followed_again() {
    let watched = Watched::started();
    watched.world().grow(&[&[(ANN, BOB)]]);
    assert_eq!(watched.told(), [1, 0, 0]);
    watched.world().replace(390, &[&[(BOB, ANN)], &[]]);
    assert_eq!(watched.told(), [1, 1, 0]);
    watched.world().grow(&[&[(ANN, BOB)]]);
    assert_eq!(watched.told(), [1, 0, 0]);
}

#[test]
fn a_range_that_is_too_large_is_halved_and_not_asked_for_again() {
    for refusal in [
        Refusal::Node(-32_602),
        Refusal::Node(-32_005),
        Refusal::Status(413),
        Refusal::Status(400),
        Refusal::TooLong,
    ] {
        let watched = Watched::started();
        watched.world().grow(&[&[(ANN, BOB)] as &[_]; 40]);
        watched.providers([Provider::Short(7, refusal), Provider::Down]);
        let report = watched.follow();
        // 40 blocks, halved to 20, 10 and 5.
        assert_eq!(
            (&report["transfers"], &report["behind"]),
            (&json!(40), &json!(0)),
            "{refusal:?}"
        );
        let asked = watched.asked();
        assert_eq!(
            asked[..4],
            [(0, 400, 439), (0, 400, 419), (0, 400, 409), (0, 400, 404)],
            "{refusal:?}"
        );
        watched.world().grow(&[&[(ANN, BOB)] as &[_]; 40]);
        watched.follow();
        let first = watched.asked()[0];
        // What may pass, and what was too long for those blocks, is tried again.
        if !matches!(refusal, Refusal::Node(-32_005) | Refusal::TooLong) {
            assert_eq!(first, (0, 437, 441), "{refusal:?}");
        }
    }
}

#[test]
fn a_provider_that_lists_one_block_at_a_time_is_followed_block_by_block() {
    let watched = Watched::started();
    watched.world().grow(&[&[(ANN, BOB)] as &[_]; 12]);
    watched.providers([Provider::Short(1, Refusal::Node(-32_000)), Provider::Down]);
    let report = watched.follow();
    assert_eq!(
        (&report["transfers"], &report["behind"]),
        (&json!(10), &json!(2))
    );
    assert_eq!(watched.told(), [2, 0, 0]);
}

#[test]
fn a_block_that_no_provider_lists_is_passed_over_and_reported() {
    let watched = Watched::started();
    watched.world().grow(&[&[(ANN, BOB)], &[(ANN, BOB)]]);
    watched.providers([Provider::Short(0, Refusal::TooLong), Provider::Down]);
    let report = watched.follow();
    let members = ["skipped", "transfers", "contracts", "behind"];
    let told = members.map(|member| report[member].as_u64().unwrap());
    let [skipped, transfers, contracts, behind] = told;
    assert_eq!((skipped, transfers, behind), (2, 0, 0), "{report}");
    assert!(contracts >= 2, "{report}");
    assert!(
        watched.is_read_again(CAT),
        "whatever changed is in none of the logs"
    );
}

#[test]
fn a_block_that_one_provider_refuses_is_read_from_another() {
    for code in [-32_008, -32_000, -32_602, -32_005] {
        let watched = Watched::started();
        let refuses = Provider::Short(0, Refusal::Node(code));
        watched.world().grow(&[&[(ANN, BOB)]]);
        watched.providers([refuses, Provider::Honest]);
        let report = watched.follow();
        let members = ["transfers", "skipped", "behind"];
        let told = |report: &Value| members.map(|member| report[member].as_u64().unwrap());
        assert_eq!(told(&report), [1, 0, 0], "{code}");
        assert_eq!(report["contracts"], 0, "{code}");
        // Where all of them do, the blocks after it are not kept waiting.
        watched.providers([refuses, Provider::Down]);
        watched.remember(CAT);
        watched.world().grow(&[&[(BOB, ANN)]]);
        assert_eq!(told(&watched.follow()), [0, 1, 0], "{code}");
        assert!(watched.is_read_again(CAT), "{code}");
    }
    // What is refused to everybody, or for now, is no property of a block.
    for code in [429, -32_601] {
        let watched = Watched::started();
        watched.world().grow(&[&[(ANN, BOB)]]);
        watched.providers([Provider::Short(0, Refusal::Node(code)), Provider::Down]);
        let (status, _) = watched.round();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{code}");
    }
}

#[test]
fn a_list_with_more_transfers_than_are_held_is_read_in_fewer_blocks() {
    let watched = Watched::started();
    let many = [(ANN, BOB); 1_000];
    watched.world().grow(&[&many as &[_]; 12]);
    let report = watched.follow();
    // Two lists of three blocks are enough for a round.
    assert_eq!(
        (&report["transfers"], &report["to"], &report["behind"]),
        (&json!(6_000), &json!(405), &json!(6))
    );
    let lists = [(0, 400, 411), (0, 400, 405), (0, 400, 402), (0, 403, 405)];
    assert_eq!(watched.asked(), lists);
    assert_eq!(watched.follow()["transfers"], 6_000);
    let most = watched
        .asked()
        .iter()
        .map(|(_, from, to)| to - from + 1)
        .max();
    assert_eq!(most, Some(3), "what was too long is not asked for again");
    // A single block of too many: its contract is invalidated, and the next block is read.
    let more = [(ANN, BOB); 5_001];
    watched.remember(CAT);
    watched.world().grow(&[&more, &[(ANN, BOB)]]);
    let report = watched.follow();
    assert_eq!(
        (&report["skipped"], &report["behind"]),
        (&json!(1), &json!(0))
    );
    assert_ne!(report["contracts"], 0);
    assert!(watched.is_read_again(CAT));
}

/// So many accounts.
fn accounts(count: u16) -> Vec<Address> {
    let address = |n: u16| {
        let mut bytes = [0xee; 20];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        Address::from_bytes(bytes)
    };
    (0..count).map(address).collect()
}

#[test]
fn more_facts_of_a_contract_than_are_marked_one_by_one_are_invalidated_together() {
    let watched = Watched::started();
    watched.remember(CAT);
    let few: Vec<_> = accounts(128).into_iter().map(|who| (ANN, who)).collect();
    watched.world().grow(&[&few]);
    assert_eq!(watched.follow()["contracts"], 0);
    assert_eq!(watched.kept("tg1:fact:"), 130, "each has its mark");
    assert!(!watched.is_read_again(CAT));
    let many: Vec<_> = accounts(300).into_iter().map(|who| (ANN, who)).collect();
    watched.world().grow(&[&many]);
    let report = watched.follow();
    assert_eq!(
        (&report["contracts"], &report["outdated"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(watched.kept("tg1:fact:"), 130, "no more marks");
    assert!(watched.is_read_again(CAT), "it may be among them");
    // What is read afterwards counts.
    assert!(!watched.is_read_again(CAT));
    // A fact of before that is kept late does not.
    watched.remember_at(CAT, 400);
    assert!(watched.is_read_again(CAT));
}

#[test]
fn a_tombstone_that_cannot_be_read_makes_its_facts_unknown() {
    let watched = Watched::started();
    watched.remember(ANN);
    assert!(!watched.is_read_again(ANN));
    let key = format!("tg1:tombstone:31337:{}", CONTRACT.to_lower_hex());
    for broken in [&b"{}"[..], b"", b"\xff"] {
        let put = |bytes: &[u8]| {
            let mut store = watched.world().store.borrow_mut();
            store.insert(key.clone(), bytes.to_vec()).unwrap()
        };
        let good = put(broken);
        assert!(watched.is_read_again(ANN));
        assert!(watched.is_read_again(ANN), "nor is it kept");
        put(&good);
        assert!(!watched.is_read_again(ANN));
    }
    // Writing one over it invalidates everything of before.
    watched
        .world()
        .store
        .borrow_mut()
        .insert(key, b"{}".to_vec());
    watched.world().form.set(Form::Nothing);
    watched.world().grow(&[&[(ANN, BOB)]]);
    watched.remember(CAT);
    assert_eq!(watched.follow()["contracts"], 1);
    assert!(watched.is_read_again(CAT));
    watched.advance(10);
    assert!(watched.is_read_again(CAT));
    assert!(!watched.is_read_again(CAT));
}

#[test]
fn what_happened_before_the_first_round_is_invalidated_by_contract() {
    let watched = Watched::new();
    watched.remember_at(ANN, 398);
    watched.remember(BOB);
    assert_eq!(watched.follow()["contracts"], 1);
    assert!(watched.is_read_again(ANN));
    assert!(
        !watched.is_read_again(BOB),
        "it was read at the block where following begins"
    );
}

#[test]
fn transfers_in_other_forms_are_followed_and_unreadable_ones_invalidate_by_contract() {
    for (form, transfers, contracts) in [
        (Form::Indexed, 1, 0),
        (Form::Unindexed, 1, 0),
        (Form::Consecutive, 1, 0),
        (Form::Nothing, 0, 1),
    ] {
        let watched = Watched::started();
        watched.remember(ANN);
        watched.remember(CAT);
        watched.world().form.set(form);
        watched.world().grow(&[&[(ANN, BOB)]]);
        let report = watched.follow();
        let members = ["transfers", "contracts", "unreadable"];
        let told = members.map(|member| report[member].as_u64().unwrap());
        assert_eq!(told, [transfers, contracts, contracts], "{form:?}");
        assert!(watched.is_read_again(ANN), "{form:?}");
        assert_eq!(watched.is_read_again(CAT), contracts > 0, "{form:?}");
    }
}

#[test]
fn a_transfer_that_a_late_node_did_not_list_is_found_however_few_blocks_are_listed_at_once() {
    // Providers of this chain may be three blocks behind each other.
    for most in [1, 2, 3, 4, 10] {
        let watched = Watched::started();
        watched.providers([
            Provider::Short(most, Refusal::Node(-32_000)),
            Provider::Down,
        ]);
        watched.world().grow(&[&[] as &[_]; 11]);
        while watched.follow()["behind"] != 0 {}
        for late in 1..=3 {
            watched.remember(ANN);
            watched.world().grow(&[&[]]);
            let block = watched.world().blocks.borrow().len() - 1;
            assert_eq!(watched.told()[0], 0);
            for _ in 1..late {
                watched.world().grow(&[&[]]);
                assert_eq!(watched.told()[0], 0);
            }
            // Only now the node that is behind has come to it.
            watched.world().blocks.borrow_mut()[block]
                .logs
                .push((ANN, BOB));
            let mut told = 0;
            for _ in 0..3 {
                watched.world().grow(&[&[]]);
                told += watched.told()[0];
            }
            assert_eq!(told, 1, "{most} blocks at once, {late} blocks late");
            assert!(watched.is_invalid(ANN));
        }
        // What is settled is not asked for again and again.
        watched.asked();
        watched.world().grow(&[&[]]);
        watched.follow();
        assert!(watched.asked().len() <= 5, "{most}");
    }
}

#[test]
fn a_provider_that_lists_few_contracts_at_once_is_asked_for_few() {
    let contract = |n: u8| Address::from_bytes([n; 20]);
    let watched = Watched::with(31_337, Some(TOKEN), |config| {
        let leaves = (10..60).map(|n| {
            let contract = contract(n);
            format!("{{ erc721 = {{ chain = \"eip155:31337\", contract = \"{contract}\" }} }}")
        });
        let leaves: Vec<_> = leaves.collect();
        let require = leaves.join(", ");
        config
            + &format!(
                "[[gate]]\nid = \"many\"\nresources = [\"media/many/**\"]\nmax_age = \"1m\"\nrequire = {{ any = [{require}] }}\n"
            )
    });
    watched.follow();
    watched.world().grow(&[&[(ANN, BOB)] as &[_]; 40]);
    watched.providers([Provider::Addresses(20), Provider::Down]);
    let mut transfers = 0;
    let mut rounds = 0;
    loop {
        let report = watched.follow();
        transfers += report["transfers"].as_u64().unwrap();
        assert_eq!(report["contracts"], 0, "none is passed over");
        rounds += 1;
        if report["behind"] == 0 {
            break;
        }
    }
    assert_eq!((transfers, rounds), (40, 1));
    // It is remembered, and the blocks were not what was too much.
    watched.world().addressed.take();
    watched.asked();
    watched.world().grow(&[&[(ANN, BOB)] as &[_]; 40]);
    assert_eq!(watched.follow()["transfers"], 40);
    let addressed = watched.world().addressed.take();
    assert!(addressed.iter().all(|count| *count <= 20), "{addressed:?}");
    let lists = watched.asked();
    assert!(lists.iter().all(|list| *list == (0, 437, 479)), "{lists:?}");
}

#[test]
fn a_reorganisation_of_transfers_that_are_not_remembered_invalidates_by_contract() {
    let watched = Watched::started();
    watched.world().grow(&[&[], &[(ANN, BOB); 3_000], &[]]);
    let report = watched.follow();
    assert_eq!(
        (&report["dropped"], &report["contracts"]),
        (&json!(1_000), &json!(0))
    );
    watched.remember(CAT);
    watched.world().replace(2, &[&[], &[], &[]]);
    let report = watched.follow();
    assert_eq!(
        (&report["undone"], &report["contracts"]),
        (&json!(2_000), &json!(1))
    );
    assert!(watched.is_read_again(CAT));
}

#[test]
fn rounds_that_come_no_further_are_said_in_the_answer_and_in_readiness() {
    let watched = Watched::started();
    watched.world().grow(&[&[(ANN, BOB)]]);
    let says = |words: &str| {
        let (status, problem) = watched.round();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        problem["detail"].as_str().unwrap().contains(words)
    };
    let words = "not been followed past block 399 in 3 rounds";
    watched.providers([Provider::Down, Provider::Down]);
    assert!(!says(words) && !says(words));
    assert_eq!(watched.ready()["eip155:31337 transfers"], Value::Null);
    assert!(says(words) && says(words));
    assert_eq!(watched.ready()["eip155:31337 transfers"], "failing");
    watched.providers([Provider::Honest, Provider::Down]);
    watched.advance(60);
    assert_eq!(watched.told()[0], 1);
    assert_eq!(watched.ready()["eip155:31337 transfers"], Value::Null);
    watched.providers([Provider::Down, Provider::Down]);
    assert!(!says(words));
}

#[test]
fn a_round_reads_so_much_and_the_next_one_goes_on() {
    let watched = Watched::with(31_337, Some(TOKEN), |config| {
        config.replace("[[bucket]]", "[watch]\nrange = 4\n\n[[bucket]]")
    });
    watched.follow();
    watched.world().grow(&[&[(ANN, BOB)] as &[_]; 100]);
    let report = watched.follow();
    let expected = json!([400, 439, 499, 60, 40]);
    let members = ["from", "to", "head", "behind", "transfers"];
    let told = |report: &Value| json!(members.map(|member| report[member].clone()));
    assert_eq!(told(&report), expected);
    assert_eq!(watched.asked().len(), 10);
    assert_eq!(told(&watched.follow()), json!([440, 479, 499, 20, 40]));
    assert_eq!(told(&watched.follow()), json!([480, 499, 499, 0, 20]));
}

#[test]
fn what_is_too_long_ago_to_matter_is_passed_over() {
    let watched = Watched::started();
    // Facts are used for ten minutes, and a quarter of an hour more is followed: 1,500 blocks of a second.
    watched.world().grow(&[&[(ANN, BOB)] as &[_]; 5_000]);
    let report = watched.follow();
    assert_eq!(report["skipped"], 3_313);
    assert_eq!(
        (&report["from"], &report["to"], &report["behind"]),
        (&json!(400), &json!(5_399), &json!(0))
    );
    assert_eq!(watched.asked(), [(0, 3_713, 4_712), (0, 4_713, 5_399)]);
}

#[test]
fn a_store_that_fails_moves_nothing() {
    let watched = Watched::started();
    watched.remember(ANN);
    watched.world().grow(&[&[(ANN, BOB)]]);
    watched.world().reads_fail.set(true);
    let (status, problem) = watched.round();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["code"], "store-unavailable");
    watched.world().reads_fail.set(false);
    watched.world().writes_fail.set(true);
    assert_eq!(watched.round().1["code"], "store-unavailable");
    watched.world().writes_fail.set(false);
    assert_eq!(watched.told(), [1, 0, 1], "the round is done once more");
}

#[test]
fn another_chain_and_other_blocks_are_not_believed() {
    for provider in [Provider::Other, Provider::Astray] {
        let watched = Watched::started();
        watched.world().grow(&[&[(ANN, BOB)]]);
        watched.providers([provider, Provider::Down]);
        assert_eq!(
            watched.round().0,
            StatusCode::SERVICE_UNAVAILABLE,
            "{provider:?}"
        );
        watched.providers([provider, Provider::Honest]);
        assert_eq!(watched.told(), [1, 0, 0], "{provider:?}");
    }
}

#[test]
fn one_chain_of_two_is_followed_where_the_other_cannot_be() {
    let watched = Watched::with(31_337, Some(TOKEN), |config| {
        config
            + "[[gate]]\nid = \"other\"\nresources = [\"media/other/**\"]\nmax_age = \"1m\"\nrequire = { erc721 = { chain = \"eip155:10\", contract = \"0x0909090909090909090909090909090909090909\" } }\n"
    });
    let (status, answer) = watched.round();
    assert_eq!(status, StatusCode::OK, "{answer}");
    let [other, chain] = answer["chains"].as_array().unwrap().as_slice() else {
        panic!("{answer}")
    };
    assert_eq!(
        (&other["chain"], &other["problem"]["status"]),
        (&json!("eip155:10"), &json!(503))
    );
    assert_eq!(
        (&chain["chain"], &chain["to"]),
        (&json!("eip155:31337"), &json!(399))
    );
}

#[test]
fn only_the_operator_has_transfers_followed_and_guesses_are_counted() {
    let watched = Watched::new();
    let send = |authorization: &[&str]| {
        let response = watched.send("/v1/admin/watch", authorization);
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        let asks = response.headers().get("www-authenticate").is_some();
        (body["code"].as_str().unwrap_or_default().to_owned(), asks)
    };
    let right = format!("Bearer {TOKEN}");
    assert_eq!(send(&[]), ("no-admin-token".into(), true));
    assert_eq!(send(&["Bearer "]), ("invalid-admin-token".into(), true));
    assert_eq!(
        send(&[&right, &right]),
        ("invalid-admin-token".into(), true)
    );
    assert_eq!(send(&[&format!("{right}x")]).0, "too-many-requests");
    assert_eq!(send(&[&format!("Basic {TOKEN}")]).0, "too-many-requests");
    assert_eq!(watched.world().calls.get(), 0, "no provider was asked");
    // Who has guessed too often is not told of the right one either, for a while.
    assert_eq!(send(&[&right]).0, "too-many-requests");
    let response = watched.send_as("198.51.100.7:1", "/v1/admin/watch", &[&right], None);
    assert_eq!(response.status(), StatusCode::OK, "elsewhere");
    watched.advance(60);
    // What the operator asks is not counted.
    for _ in 0..5 {
        assert_eq!(send(&[&right]).0, "");
    }
    let response = watched.send("/v1/admin/watch?chain=eip155:1", &[&right]);
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn without_a_token_there_is_no_such_route_and_a_short_one_is_an_error() {
    let watched = Watched::with(31_337, None, |config| config);
    let response = watched.send("/v1/admin/watch", &[&format!("Bearer {TOKEN}")]);
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(String::from_utf8_lossy(response.body()).contains("route-not-found"));
    let watched = Watched::with(31_337, Some("31 characters are not enough..."), |config| {
        config
    });
    let error = watched.service.unwrap_err().to_string();
    assert!(
        error.contains("admin_token") && error.contains("32"),
        "{error}"
    );
}

/// So many addresses.
fn crowd(count: u8) -> Vec<String> {
    let address = |byte| Address::from_bytes([byte; 20]).to_lower_hex();
    (1..=count).map(address).collect()
}

/// A service with a gate on the other chain as well, whose provider is well.
fn on_two_chains() -> Watched {
    let watched = Watched::with(31_337, Some(TOKEN), |config| config + ON_TEN);
    watched.world().providers[2].set(Provider::Honest);
    watched
}

#[test]
fn what_many_lack_is_read_in_one_call_of_each_chain_and_kept() {
    let watched = on_two_chains();
    let (status, answer) = watched.warm(&json!({"addresses": crowd(200)}));
    let expected = json!({
        "gates": 2, "addresses": 200,
        "facts": {"wanted": 400, "known": 0, "read": 400, "unreadable": 0, "failed": 0},
    });
    assert_eq!((status, answer), (StatusCode::OK, expected));
    assert_eq!(watched.reads(), [(0, 200), (2, 200)]);
    assert_eq!(watched.kept("tg1:fact:"), 400);
    let again = json!({"addresses": crowd(200)});
    assert_eq!(watched.warmed(&again), [400, 400, 0, 0, 0]);
    assert!(watched.reads().is_empty());
    // An address that comes twice is read once, and only for the gates that are named.
    let twice = json!({"gates": ["ten"], "addresses": [crowd(201)[200], crowd(201)[200]]});
    assert_eq!(watched.warmed(&twice), [1, 0, 1, 0, 0]);
    assert_eq!(watched.reads(), [(2, 1)]);
}

#[test]
fn only_what_has_half_of_its_time_ahead_of_it_is_not_read_again() {
    let watched = Watched::new();
    watched.remember(ANN);
    watched.advance(300);
    let ann = json!({"addresses": [ANN]});
    assert_eq!(watched.warmed(&ann), [1, 1, 0, 0, 0]);
    watched.advance(1);
    assert_eq!(watched.warmed(&ann), [1, 0, 1, 0, 0]);
    assert_eq!(watched.reads(), [(0, 1)]);
    assert_eq!(watched.warmed(&ann), [1, 1, 0, 0, 0]);
}

#[test]
fn what_several_providers_have_to_agree_on_is_read_as_its_gate_looks_for_it() {
    let watched = Watched::with(31_337, Some(TOKEN), |config| {
        config + &AGREED.replace("ID", "31337")
    });
    watched.providers([Provider::Honest, Provider::Honest]);
    let crowd = json!({"addresses": crowd(3)});
    assert_eq!(watched.warmed(&crowd), [6, 0, 6, 0, 0]);
    assert_eq!(watched.reads(), [(0, 3), (0, 3), (1, 3)]);
    let kept = [1, 2].map(|quorum| {
        let config = watched.config();
        let space = config.fact_space(watched.chain(), quorum).unwrap();
        watched.kept(&format!("tg1:fact:{space}:"))
    });
    assert_eq!(kept, [3, 3]);
    // One alone says nothing of it.
    watched.providers([Provider::Honest, Provider::Down]);
    watched.advance(301);
    assert_eq!(watched.warmed(&crowd), [6, 0, 3, 0, 3]);
}

#[test]
fn a_fact_that_cannot_be_prefetched_is_not_kept() {
    let watched = on_two_chains();
    let crowd = json!({"addresses": crowd(3)});
    watched.world().providers[2].set(Provider::Down);
    assert_eq!(watched.warmed(&crowd), [6, 0, 3, 0, 3], "of one chain");
    assert_eq!(watched.kept("tg1:fact:"), 3);

    let watched = Watched::new();
    watched.providers([Provider::Down, Provider::Down]);
    let (status, problem) = watched.warm(&crowd);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["code"], "chain-unavailable");
    assert_eq!(watched.kept("tg1:fact:"), 0);
    watched.providers([Provider::Reverts, Provider::Down]);
    assert_eq!(watched.warmed(&crowd), [3, 0, 0, 3, 0]);
    assert_eq!(watched.kept("tg1:fact:"), 0);
}

#[test]
fn a_malformed_prefetch_is_refused_before_a_provider_is_asked() {
    let watched = Watched::new();
    for (status, code, body) in [
        (
            404,
            "unknown-gate",
            json!({"gates": ["season-1", "nowhere"], "addresses": [ANN]}),
        ),
        (422, "address-count", json!({"addresses": []})),
        (422, "address-count", json!({"addresses": vec![ANN; 501]})),
        (
            400,
            "malformed-address",
            json!({"addresses": [ANN, "0x12"]}),
        ),
        // One letter in the wrong case.
        (
            400,
            "malformed-address",
            json!({"addresses": ["0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266"]}),
        ),
        (400, "malformed-body", json!({"gates": []})),
        (
            400,
            "malformed-body",
            json!({"addresses": [ANN], "fresh": "1h"}),
        ),
    ] {
        let (told, problem) = watched.warm(&body);
        assert_eq!(
            (told.as_u16(), &problem["code"]),
            (status, &json!(code)),
            "{body}"
        );
    }
    let none = json!({"gates": [], "addresses": vec![ANN; 500]});
    assert_eq!(watched.warmed(&none), [0; 5]);
    assert_eq!(watched.world().calls.get(), 0);
}

#[test]
fn only_the_operator_has_facts_read_ahead() {
    let watched = Watched::new();
    let body = json!({"addresses": [ANN]});
    let code = |watched: &Watched, authorization: &[&str]| {
        let response = watched.send_with("/v1/admin/warm", authorization, Some(&body));
        let problem: Value = serde_json::from_slice(response.body()).unwrap();
        (response.status().as_u16(), problem["code"].clone())
    };
    let right = format!("Bearer {TOKEN}");
    let wrong = format!("{right}x");
    assert_eq!(code(&watched, &[]), (401, json!("no-admin-token")));
    assert_eq!(
        code(&watched, &[&wrong]),
        (401, json!("invalid-admin-token"))
    );
    assert_eq!(watched.world().calls.get(), 0, "no provider was asked");
    assert_eq!(code(&watched, &[&right]).0, 200);
    let closed = Watched::with(31_337, None, |config| config);
    assert_eq!(code(&closed, &[&right]), (404, json!("route-not-found")));
}
