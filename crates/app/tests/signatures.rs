//! Signature checks at nodes that do not run every form of them: the sign-in over simulated nodes.
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
use std::rc::Rc;
use std::time::Duration;

use alloy_sol_types::SolCall as _;
use bytes::Bytes;
use futures_executor::block_on;
use futures_util::future::LocalBoxFuture;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokengate_app::state::All;
use tokengate_app::{
    CallError, Ports, RedisReply, Reply, Request, StoreError, load, routes, serve,
};
use tokengate_core::abi::multicall3_check::{CallResult, aggregate3Call};
use tokengate_core::{Timestamp, U256, erc6492};

use support::Tasks;

const CONFIG: &str = r#"
[service]
domains = ["gate.example"]
session_ttl = "1h"
url_ttl = "5m"

[limits]
per_client = "10000/1m"
per_address = "10000/1m"

[cache]
prefetch = "off"

[[chain]]
id = "eip155:1"
providers = ["http://a.example", "http://b.example"]
factories = ["0x0505050505050505050505050505050505050505"]

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
require = { erc721 = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3", at_least = "1" } }
"#;

/// What a node makes of one form of call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Runs,
    /// Answers `0x` with success.
    Nothing,
    /// Refuses it with an error of this code.
    Error(i64),
}

/// A node, and what it says of accounts.
#[derive(Clone, Copy, Debug)]
struct Node {
    creation: Form,
    overrides: Form,
    multicall3: Form,
    authorizations: Form,
    /// Of the validator: no code, accepted, refused, accepted once initialised.
    verdict: u64,
    nonce: u64,
    has_code: bool,
    /// How old its newest block is, in seconds.
    age: u64,
}

const NODE: Node = Node {
    creation: Form::Runs,
    overrides: Form::Runs,
    multicall3: Form::Runs,
    authorizations: Form::Runs,
    verdict: 1,
    nonce: 0,
    has_code: false,
    age: 0,
};

struct World {
    nodes: Cell<[Node; 2]>,
    store: RefCell<HashMap<String, Vec<u8>>>,
    asked: RefCell<Vec<Value>>,
    random: Cell<u8>,
    tasks: Tasks,
}

#[derive(Clone)]
struct Simulated(Rc<World>);

fn words<const N: usize>(words: [u64; N]) -> Vec<u8> {
    words
        .map(|word| U256::from(word).to_be_bytes::<32>())
        .concat()
}

impl Simulated {
    fn answer(&self, node: &Node, request: &Value) -> Result<Value, i64> {
        let now = self.now().as_second().unsigned_abs() - node.age;
        let hash = format!("0x{}", hex::encode([7; 32]));
        let call = &request["params"][0];
        let (form, returned) = match request["method"].as_str().unwrap() {
            "eth_chainId" => return Ok("0x1".into()),
            "eth_blockNumber" => return Ok("0x64".into()),
            "eth_getBlockByNumber" => {
                let timestamp = format!("{now:#x}");
                return Ok(json!({"number": "0x64", "hash": hash, "timestamp": timestamp}));
            }
            "eth_getTransactionCount" => return Ok(format!("{:#x}", node.nonce).into()),
            "eth_getCode" => return Ok(if node.has_code { "0xef0100" } else { "0x" }.into()),
            "eth_call"
                if call["authorizationList"].is_array() && node.authorizations != Form::Runs =>
            {
                (node.authorizations, vec![])
            }
            "eth_call" if call["to"].is_null() => {
                (node.creation, words([1, 100, now, 99, node.verdict]))
            }
            "eth_call" if request["params"][2].is_object() => {
                (node.overrides, words([1, 100, now, 99, node.verdict]))
            }
            "eth_call" => {
                let part = |success: bool, data: Vec<u8>| CallResult {
                    success,
                    returnData: data.into(),
                };
                let mut magic = vec![0x16, 0x26, 0xba, 0x7e];
                magic.resize(32, 0);
                let account = match node.verdict {
                    0 => part(true, vec![]),
                    1 => part(true, magic),
                    _ => part(false, vec![]),
                };
                let mut results: Vec<_> = [1, 100, now, 99]
                    .map(|word| part(true, words([word])))
                    .into_iter()
                    .collect();
                results.extend([account, part(true, vec![])]);
                (
                    node.multicall3,
                    aggregate3Call::abi_encode_returns(&results),
                )
            }
            other => panic!("an unexpected call: {other}"),
        };
        match form {
            Form::Runs => Ok(format!("0x{}", hex::encode(returned)).into()),
            Form::Nothing => Ok("0x".into()),
            Form::Error(code) => Err(code),
        }
    }
}

impl Ports for Simulated {
    fn now(&self) -> Timestamp {
        "2026-06-01T00:00:00Z".parse().unwrap()
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&self) -> [u8; 16] {
        self.0.random.set(self.0.random.get().wrapping_add(1));
        [self.0.random.get(); 16]
    }

    /// Time passes as soon as nothing else goes on any more.
    async fn sleep(&self, duration: Duration) {
        support::yield_for(duration).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.tasks.push(task);
    }

    fn wait(&self) -> (Box<dyn Any>, LocalBoxFuture<'static, ()>) {
        support::wait()
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

    async fn redis(&self, _: &str, _: &str, _: &[&[u8]]) -> Result<Vec<RedisReply>, StoreError> {
        support::no_redis()
    }

    fn post(
        &self,
        url: &str,
        body: Vec<u8>,
        _: usize,
    ) -> impl Future<Output = Result<Reply, CallError>> {
        let request: Value = serde_json::from_slice(&body).unwrap();
        let node = self.0.nodes.get()[usize::from(url.starts_with("http://b."))];
        let outcome = self.answer(&node, &request);
        self.0.asked.borrow_mut().push(request);
        let reply = match outcome {
            Ok(result) => json!({"jsonrpc": "2.0", "id": 1, "result": result}),
            Err(code) => {
                json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "no"}})
            }
        };
        ready(Ok(Reply {
            status: 200,
            retry_after: None,
            body: reply.to_string().into_bytes(),
        }))
    }

    fn config_text(&self) -> Result<String, String> {
        Ok(CONFIG.to_owned())
    }

    async fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(Some(match name {
            "service_keys" => format!("a:{}", "11".repeat(32)),
            "store_keys" => support::STORE_KEYS.to_owned(),
            "media_access_key_id" => "AKIAEXAMPLE".to_owned(),
            "media_secret_access_key" => "a secret".to_owned(),
            _ => return Ok(None),
        }))
    }

    fn log(&self, _: &str) {}
}

/// A fresh service that asks these nodes.
struct Visit {
    ports: Simulated,
    service: Result<All, tokengate_app::LoadError>,
}

impl Visit {
    fn of(nodes: [Node; 2]) -> Self {
        let ports = Simulated(Rc::new(World {
            nodes: Cell::new(nodes),
            store: RefCell::default(),
            asked: RefCell::default(),
            random: Cell::new(0),
            tasks: Tasks::default(),
        }));
        let service = block_on(load(&ports));
        Self { ports, service }
    }

    fn ask(&self, method: Method, target: &str, body: &Value) -> (StatusCode, Value) {
        let mut request: Request = http::Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().unwrap();
        let json = "application/json".parse().unwrap();
        request.headers_mut().insert("content-type", json);
        let routes = routes::all();
        let answer = serve(&routes, &self.service, &self.ports, request);
        let response = self.ports.0.tasks.drive(answer);
        self.ports.0.tasks.run();
        let body = serde_json::from_slice(response.body()).unwrap_or_default();
        (response.status(), body)
    }

    /// Signs the account in by a signature over whatever message it is given: none of these is by its key.
    fn sign_in(&self, account: &str, signature: &[u8]) -> (StatusCode, Value) {
        let target = format!("/v1/challenge?address={account}&chain=eip155:1");
        let (_, challenge) = self.ask(Method::GET, &target, &Value::Null);
        let signature = format!("0x{}", hex::encode(signature));
        let body = json!({"message": challenge["message"], "signature": signature});
        self.ports.0.asked.take();
        self.ask(Method::POST, "/v1/session", &body)
    }

    /// How many calls carried an authorization, since the sign-in began.
    fn authorized(&self) -> usize {
        let asked = self.ports.0.asked.borrow();
        let calls = asked
            .iter()
            .filter(|request| request["method"] == "eth_call");
        calls
            .filter(|request| request["params"][0]["authorizationList"].is_array())
            .count()
    }
}

const CONTRACT: &str = "0x0909090909090909090909090909090909090909";

/// A signature with a factory that may be called.
fn counterfactual() -> Vec<u8> {
    erc6492::Wrapped {
        factory: "0x0505050505050505050505050505050505050505"
            .parse()
            .unwrap(),
        factory_calldata: vec![1],
        signature: vec![2],
    }
    .to_bytes()
}

/// An account and a signature of it with a delegation for every chain, and the delegation's nonce.
fn delegated() -> (String, Vec<u8>, u64) {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/erc8010/wrap.json"
    );
    let vectors: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let vector = vectors
        .iter()
        .find(|vector| vector["chain_id"] == 0)
        .unwrap();
    let bytes = |name: &str| {
        let digits = vector[name].as_str().unwrap().trim_start_matches("0x");
        hex::decode(digits).unwrap()
    };
    // Its own signature is over another message: a rule of the delegate's has to accept it.
    let wrapped = [&[3], &bytes("wrapped")[bytes("signature").len()..]].concat();
    let account = vector["address"].as_str().unwrap().to_owned();
    (account, wrapped, vector["nonce"].as_u64().unwrap())
}

#[test]
fn a_form_of_the_check_that_a_node_does_not_run_is_replaced_by_one_that_it_runs() {
    let (account, wrapped, nonce) = delegated();
    for refused in [
        Form::Nothing,
        Form::Error(-32602),
        Form::Error(-32000),
        Form::Error(3),
    ] {
        let without = Node {
            creation: refused,
            nonce,
            ..NODE
        };
        let neither = Node {
            overrides: refused,
            ..without
        };
        for (what, node, account, signature, expected) in [
            ("a contract", without, CONTRACT, vec![1], true),
            ("a factory", without, CONTRACT, counterfactual(), true),
            ("a delegation", without, &account, wrapped.clone(), true),
            ("a contract", neither, CONTRACT, vec![1], true),
            // Multicall3 cannot prepare an account.
            ("a factory", neither, CONTRACT, counterfactual(), false),
            ("a delegation", neither, &account, wrapped.clone(), true),
        ] {
            let (status, answer) = Visit::of([node; 2]).sign_in(account, &signature);
            let signed_in = status == StatusCode::CREATED;
            assert_eq!(signed_in, expected, "{what}, {refused:?}: {answer}");
        }
    }
}

#[test]
fn a_check_that_no_provider_runs_is_a_lasting_refusal_that_says_so() {
    let (account, wrapped, nonce) = delegated();
    for refused in [
        Form::Nothing,
        Form::Error(-32601),
        Form::Error(-32000),
        Form::Error(3),
    ] {
        let node = Node {
            creation: refused,
            overrides: refused,
            multicall3: refused,
            nonce,
            ..NODE
        };
        let unauthorized = Node {
            authorizations: refused,
            nonce,
            ..NODE
        };
        for (node, account, signature, code) in [
            (node, CONTRACT, vec![1], "signature-mismatch"),
            (node, CONTRACT, counterfactual(), "account-not-deployed"),
            (node, &account, wrapped.clone(), "account-not-delegated"),
            (
                unauthorized,
                &account,
                wrapped.clone(),
                "account-not-delegated",
            ),
        ] {
            let (status, problem) = Visit::of([node; 2]).sign_in(account, &signature);
            let told = (status, problem["code"].as_str());
            assert_eq!(
                told,
                (StatusCode::UNAUTHORIZED, Some(code)),
                "{refused:?}: {problem}"
            );
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("providers cannot"), "{detail}");
            // A provider that has stopped following the chain may do better once it has caught up.
            let old = Node { age: 3_600, ..node };
            let (status, problem) = Visit::of([old; 2]).sign_in(account, &signature);
            assert_eq!(
                status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{refused:?}: {problem}"
            );
            // Another provider runs it.
            let able = Node { nonce, ..NODE };
            let (status, answer) = Visit::of([node, able]).sign_in(account, &signature);
            assert_eq!(status, StatusCode::CREATED, "{refused:?}: {answer}");
        }
    }
}

#[test]
fn a_delegation_whose_nonce_has_passed_is_not_revived_by_a_node_that_applies_it() {
    let (account, wrapped, nonce) = delegated();
    let sign_in = |nonce, has_code, verdict| {
        let node = Node {
            nonce,
            has_code,
            verdict,
            ..NODE
        };
        let visit = Visit::of([node; 2]);
        let (status, answer) = visit.sign_in(&account, &wrapped);
        let plain = visit.ports.0.asked.borrow().iter().any(|request| {
            request["method"] == "eth_call" && request["params"][0]["authorizationList"].is_null()
        });
        assert!(visit.authorized() > 0);
        let told = match status {
            StatusCode::CREATED => answer["wallets"][0]["chain"].clone(),
            _ => answer["code"].clone(),
        };
        (told.as_str().unwrap_or_default().to_owned(), plain)
    };
    let told = |code: &str, plain| (code.to_owned(), plain);
    assert_eq!(sign_in(nonce, false, 1), told("eip155:1", false));
    // Revoked: the node says that the delegate accepts, and the account has no code.
    assert_eq!(
        sign_in(nonce + 1, false, 1),
        told("account-not-delegated", false)
    );
    assert_eq!(
        sign_in(nonce + 1, false, 3),
        told("account-not-delegated", false)
    );
    // Sent meanwhile: the account is asked as it is, without the authorization.
    assert_eq!(sign_in(nonce + 1, true, 1), told("eip155:1", true));
    assert_eq!(sign_in(nonce + 1, true, 2), told("signature-refused", true));
    assert_eq!(sign_in(nonce + 1, true, 3), told("signature-refused", true));
}
