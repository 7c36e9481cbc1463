//! How one provider's state is read: the forms of the reader, the names of blocks, and reads that fail or run out of gas
//! beside others, over simulated ports.
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
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_executor::block_on;
use futures_util::future::LocalBoxFuture;
use http::StatusCode;
use serde_json::{Value, json};
use tokengate_app::state::All;
use tokengate_app::{
    CallError, LoadError, Ports, RedisReply, Reply, StoreError, load, routes, serve,
};
use tokengate_core::Timestamp;

use support::Tasks;
use support::reader::{self, Asked, Block, Outcome, word};

const CONFIG: &str = r#"
[service]
domains = ["gate.example"]
session_ttl = "1h"
url_ttl = "5m"

[cache]
prefetch = "off"

[[chain]]
id = "eip155:1"
providers = ["http://a.example", "http://b.example"]

[[bucket]]
id = "media"
endpoint = "http://127.0.0.1:9000"
region = "us-east-1"
addressing = "path"
credentials = "media"

[[gate]]
id = "one"
resources = ["media/one/**"]
max_age = "0s"
require = { erc20 = { chain = "eip155:1", contract = "0x0000000000000000000000000000000000000001", at_least = "1" } }

[[gate]]
id = "many"
resources = ["media/many/**"]
max_age = "0s"
require = { any = [
  { erc20 = { chain = "eip155:1", contract = "0x00000000000000000000000000000000000000bb", at_least = "1" } },
  { all = [
    { erc20 = { chain = "eip155:1", contract = "0x0000000000000000000000000000000000000001", at_least = "1" } },
    { erc20 = { chain = "eip155:1", contract = "0x00000000000000000000000000000000000000ee", at_least = "1" } },
  ] },
] }

[[gate]]
id = "burner"
resources = ["media/burner/**"]
max_age = "0s"
require = { erc20 = { chain = "eip155:1", contract = "0x00000000000000000000000000000000000000bb", at_least = "1" } }
"#;

/// What a provider does that is not the best of it.
#[derive(Clone, Copy, PartialEq)]
enum Whim {
    None,
    /// Knows no state overrides.
    NoOverride,
    /// Runs no reader.
    NoReader,
    /// `0x` to every call of the reader.
    Empty,
    /// Knows no blocks by their hash, and says so by this code.
    NoHashes(i64),
    /// Contracts see another chain's numbers.
    Foreign,
    /// Contracts see hashes that are none.
    RandomHashes,
    /// Answers at the head whatever block it is asked for.
    AtTheHead,
    /// Its blocks are replaced all the time.
    Orphans,
    /// Fails at so many calls.
    Fails(usize),
    /// Refuses calls of more than one read.
    OneAtATime,
}

struct World {
    config: String,
    elapsed: Cell<Duration>,
    whims: [Cell<Whim>; 2],
    /// What providers were asked, in their order.
    asked: RefCell<Vec<(usize, Value)>>,
    headers: Cell<u64>,
    store: RefCell<HashMap<String, Vec<u8>>>,
    random: Cell<u8>,
    log: RefCell<Vec<String>>,
    tasks: Tasks,
}

/// 2026-06-01T00:00:00Z, in seconds since the Unix epoch.
const NOW: u64 = 1_780_272_000;
const HEAD: u64 = 100;

#[derive(Clone)]
struct Simulated(Rc<World>);

impl Simulated {
    fn reply(&self, index: usize, request: &Value) -> Value {
        if let Some(batch) = request.as_array() {
            return batch.iter().map(|one| self.reply(index, one)).collect();
        }
        let whim = self.0.whims[index].get();
        let params = &request["params"];
        let id = &request["id"];
        let error = |code: i64| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no"}});
        let asked = reader::request(params);
        match whim {
            Whim::NoOverride if params[2].is_object() => return error(-32602),
            Whim::NoReader if asked.is_some() => return error(-32000),
            Whim::Empty if asked.is_some() => {
                return json!({"jsonrpc": "2.0", "id": id, "result": "0x"});
            }
            Whim::NoHashes(code) if params[1].is_object() => return error(code),
            Whim::OneAtATime if asked.as_ref().is_some_and(|asked| asked.len() > 1) => {
                return error(-32000);
            }
            Whim::Fails(count) if count > 0 && asked.is_some() => {
                self.0.whims[index].set(Whim::Fails(count - 1));
                return error(-32000);
            }
            _ => {}
        }
        let number = |value: &Value| {
            let digits = value.as_str()?.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok()
        };
        let hash = match whim {
            Whim::Orphans => {
                self.0.headers.set(self.0.headers.get() + 1);
                7_000 + self.0.headers.get()
            }
            _ => 7,
        };
        let result = match request["method"].as_str().unwrap() {
            "eth_chainId" => json!("0x1"),
            "eth_blockNumber" => json!(format!("{HEAD:#x}")),
            "eth_getBlockByNumber" => {
                let number = number(&params[0]).unwrap_or(HEAD);
                // The block before the head is the one that the reader names as its parent.
                let hash = if number + 1 == HEAD { 6 } else { hash };
                json!({
                    "number": format!("{number:#x}"),
                    "hash": format!("0x{}", hex::encode(word(hash))),
                    "parentHash": format!("0x{}", hex::encode(word(6))),
                    "timestamp": format!("{:#x}", NOW - HEAD + number),
                })
            }
            "eth_call" => {
                let number = match (whim, number(&params[1])) {
                    (Whim::AtTheHead, _) | (_, None) => HEAD,
                    (_, Some(number)) => number,
                };
                let block = Block {
                    chain: 1,
                    number: match whim {
                        Whim::Foreign => 20_000_000,
                        _ => number,
                    },
                    timestamp: NOW - HEAD + number,
                    parent: match whim {
                        Whim::RandomHashes => word(0xdead),
                        _ => word(6),
                    },
                    known: word(0),
                };
                match asked {
                    Some(asked) => {
                        let are_many = asked.len() > 1;
                        let read = |read: &Asked| balance(&read.target, are_many);
                        json!(format!("0x{}", reader::answer(block, &asked, read)))
                    }
                    None => match balance(params[0]["to"].as_str().unwrap(), false) {
                        Outcome::Returned(data) => json!(format!("0x{}", hex::encode(data))),
                        Outcome::Reverted(_) | Outcome::Burnt => return error(-32015),
                    },
                }
            }
            other => panic!("an unexpected call: {other}"),
        };
        json!({"jsonrpc": "2.0", "id": id, "result": result})
    }
}

/// Everybody has one of each token; `bb` burns all the gas that it is given, and `ee` takes most of what there is.
fn balance(contract: &str, is_shared: bool) -> Outcome {
    match contract.get(40..).unwrap() {
        "bb" => Outcome::Burnt,
        "ee" if is_shared => Outcome::Burnt,
        _ => Outcome::Returned(word(1).to_vec()),
    }
}

impl Ports for Simulated {
    fn now(&self) -> Timestamp {
        "2026-06-01T00:00:00Z".parse().unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed.get()
    }

    fn random(&self) -> [u8; 16] {
        self.0.random.set(self.0.random.get().wrapping_add(1));
        [self.0.random.get(); 16]
    }

    async fn sleep(&self, duration: Duration) {
        support::yield_for(duration).await;
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
        Ok(self.0.store.borrow().get(key).cloned())
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut store = self.0.store.borrow_mut();
        store.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.store.borrow_mut().remove(key);
        Ok(())
    }

    async fn increment(&self, key: &str) -> Result<u64, StoreError> {
        let mut store = self.0.store.borrow_mut();
        let count = store.entry(key.to_owned()).or_default();
        count.push(1);
        Ok(count.len() as u64)
    }

    async fn post(&self, url: &str, body: Vec<u8>, _: usize) -> Result<Reply, CallError> {
        let request: Value = serde_json::from_slice(&body).unwrap();
        let index = usize::from(url.starts_with("http://b."));
        let reply = self.reply(index, &request);
        self.0.asked.borrow_mut().push((index, request));
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
            "service_keys" => format!("a:{}", "11".repeat(32)),
            "store_keys" => format!("a:{}", "22".repeat(32)),
            "media_access_key_id" => "AKIAEXAMPLE".to_owned(),
            "media_secret_access_key" => "a secret".to_owned(),
            _ => return Ok(None),
        }))
    }

    fn log(&self, line: &str) {
        self.0.log.borrow_mut().push(line.to_owned());
    }
}

struct Instance {
    ports: Simulated,
    service: Result<All, LoadError>,
}

impl Instance {
    /// With more keys of the chain, and providers that do this; the second one is like the first where nothing else is
    /// said.
    fn new(keys: &str, whim: Whim) -> Self {
        let providers = "providers = [\"http://a.example\", \"http://b.example\"]";
        assert!(CONFIG.contains(providers));
        let ports = Simulated(Rc::new(World {
            config: CONFIG.replace(providers, &format!("{providers}\n{keys}")),
            elapsed: Cell::default(),
            whims: [Cell::new(whim), Cell::new(whim)],
            asked: RefCell::default(),
            headers: Cell::new(0),
            store: RefCell::default(),
            random: Cell::new(0),
            log: RefCell::default(),
            tasks: Tasks::default(),
        }));
        Self::of(ports)
    }

    fn of(ports: Simulated) -> Self {
        let service = block_on(load(&ports));
        Self { ports, service }
    }

    /// Whether a wallet passes a gate: 200 if it does, 403 where not, else what went wrong.
    fn check(&self, gate: &str) -> u16 {
        let mut request = http::Request::new(Bytes::new());
        let address = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
        *request.uri_mut() = format!("/v1/gates/{gate}/check?address={address}")
            .parse()
            .unwrap();
        let routes = routes::all();
        let answer = serve(&routes, &self.service, &self.ports, request);
        let response = self.ports.0.tasks.drive(answer);
        self.ports.0.tasks.run();
        if response.status() != StatusCode::OK {
            return response.status().as_u16();
        }
        let answer: Value = serde_json::from_slice(response.body()).unwrap();
        if answer["granted"] == true { 200 } else { 403 }
    }

    /// What was asked since, of the calls that read state: those of the reader by their block, and batches.
    fn calls(&self) -> Vec<Value> {
        let asked = self.ports.0.asked.take();
        let asked = asked.into_iter().map(|(_, request)| request);
        asked
            .filter(|request| request["method"] == "eth_call" || request.is_array())
            .collect()
    }
}

fn is_override(call: &Value) -> bool {
    call["params"][2].is_object()
}

fn is_creation(call: &Value) -> bool {
    !is_override(call) && call["params"][0]["to"].is_null()
}

#[test]
fn the_first_form_that_works_is_remembered_and_told_to_others() {
    let cases = [
        (Whim::None, is_override as fn(&Value) -> bool),
        (Whim::NoOverride, is_creation),
        (Whim::NoReader, Value::is_array),
        (Whim::Empty, Value::is_array),
    ];
    for (whim, is_expected) in cases {
        let instance = Instance::new("", whim);
        assert_eq!(instance.check("one"), 200);
        instance.calls();
        assert_eq!(instance.check("one"), 200);
        let calls = instance.calls();
        assert!(
            calls.len() == 1 && calls.iter().all(is_expected),
            "{calls:?}"
        );
        // Instances that have just been started ask the store, not the provider.
        let beside = Instance::of(instance.ports.clone());
        beside.ports.0.elapsed.set(Duration::from_secs(60));
        assert_eq!(beside.check("one"), 200);
        assert_eq!(beside.calls().len(), 1);
        let log = instance.ports.0.log.borrow().join("\n");
        assert!(!log.contains("not asked for a while"), "{log}");
    }
}

#[test]
fn a_configured_form_is_the_only_one() {
    for (keys, is_expected) in [
        ("reader = \"override\"", is_override as fn(&Value) -> bool),
        ("reader = \"creation\"", is_creation),
        ("reader = \"calls\"", Value::is_array),
    ] {
        let instance = Instance::new(keys, Whim::None);
        assert_eq!(instance.check("one"), 200);
        let calls = instance.calls();
        assert!(calls.iter().all(is_expected), "{keys}: {calls:?}");
    }
    let instance = Instance::new("reader = \"override\"", Whim::NoOverride);
    assert_eq!(instance.check("one"), 503);
    assert!(instance.calls().iter().all(is_override));
}

#[test]
fn a_read_that_ran_out_of_its_share_is_asked_again_alone() {
    for keys in ["", "reader = \"creation\"", "reader = \"calls\""] {
        let instance = Instance::new(keys, Whim::None);
        // What burns all the gas there is stays unknown, and what only needed more of it is read.
        assert_eq!(instance.check("many"), 200, "{keys}");
        assert_eq!(instance.check("burner"), 503, "{keys}");
        assert_eq!(instance.check("one"), 200, "{keys}");
    }
}

#[test]
fn a_call_that_is_too_much_is_read_in_pieces_of_one_block() {
    let instance = Instance::new("", Whim::OneAtATime);
    assert_eq!(instance.check("many"), 200);
    let calls = instance.calls();
    let pinned = calls.iter().filter(|call| call["params"][1].is_object());
    assert!(pinned.count() >= 3, "{calls:?}");
}

#[test]
fn an_error_for_a_moment_is_booked_on_no_contract() {
    for count in (1..20).chain([1_000]) {
        let instance = Instance::new("", Whim::None);
        assert_eq!(instance.check("many"), 200);
        instance.ports.0.whims[0].set(Whim::Fails(count));
        assert_eq!(
            instance.check("many"),
            200,
            "{count} failures {:?}",
            instance.ports.0.log.borrow()
        );
    }
    // A provider that fails whatever it is asked has said nothing, and the next provider is asked.
    let instance = Instance::new("reader = \"override\"", Whim::Fails(1_000));
    instance.ports.0.whims[1].set(Whim::None);
    assert_eq!(instance.check("many"), 200);
}

#[test]
fn a_block_is_named_by_its_number_where_its_hash_is_refused() {
    for code in [-32602, -32600, -32000] {
        for keys in ["batch = { reads = 1 }", "reader = \"calls\""] {
            let instance = Instance::new(keys, Whim::NoHashes(code));
            assert_eq!(instance.check("many"), 200, "{code}, {keys}");
        }
    }
}

#[test]
fn what_was_read_at_a_block_that_has_been_replaced_is_not_believed() {
    for keys in ["batch = { reads = 1 }", "reader = \"calls\""] {
        let instance = Instance::new(keys, Whim::Orphans);
        assert_eq!(instance.check("many"), 503, "{keys}");
    }
}

#[test]
fn an_answer_for_another_block_than_was_asked_for_is_not_believed() {
    for whim in [Whim::None, Whim::AtTheHead] {
        let expected = if whim == Whim::None { 200 } else { 503 };
        for keys in [
            "confirmations = 12",
            "confirmations = 12\nbatch = { reads = 1 }",
        ] {
            let instance = Instance::new(keys, whim);
            // Where the block is named by its hash, this provider gives the head's state for any.
            instance
                .ports
                .0
                .whims
                .iter()
                .for_each(|slot| slot.set(whim));
            assert_eq!(instance.check("one"), expected, "{keys}");
        }
    }
}

#[test]
fn where_contracts_see_other_blocks_a_header_names_the_one_that_is_read() {
    for whim in [Whim::Foreign, Whim::RandomHashes] {
        let instance = Instance::new("", whim);
        assert_eq!(instance.check("one"), 200);
        instance.calls();
        assert_eq!(instance.check("one"), 200);
        let calls = instance.calls();
        let hash = format!("0x{}", hex::encode(word(7)));
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert_eq!(calls[0]["params"][1]["blockHash"], hash, "{calls:?}");
    }
    // Where they see the chain's own, that is found out with the first answer.
    let instance = Instance::new("", Whim::None);
    // Both providers' heads are asked for as well, once.
    for headers in [3, 0] {
        assert_eq!(instance.check("one"), 200);
        let asked = instance.ports.0.asked.take();
        let asked: Vec<_> = asked
            .iter()
            .map(|(_, request)| &request["method"])
            .collect();
        let count = |method: &str| asked.iter().filter(|asked| **asked == method).count();
        assert_eq!(
            (count("eth_call"), count("eth_getBlockByNumber")),
            (1, headers)
        );
    }
}
