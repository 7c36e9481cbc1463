//! What the doctor makes of providers and buckets that are well, wrong, slow or gone, over simulated ports.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod support;

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, pending, ready};
use std::rc::Rc;
use std::time::Duration;

use futures_executor::block_on;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use tokengate_app::doctor::{Page, Report, Severity, Web, examine};
use tokengate_app::state::{Installation, Signers};
use tokengate_app::{CallError, Ports, RedisReply, Reply, StoreError};
use tokengate_core::Timestamp;
use tokengate_core::secret::Secret;

use support::reader::{self, Asked, Block, word};

const NOW: &str = "2026-06-01T00:00:00Z";
const API_KEY: &str = "a-key-that-is-never-shown";
const HEAD: u64 = 20_000;

/// A provider's reply to a request, if it is not the one of a good provider.
type Whim = fn(&Value) -> Option<Result<Value, CallError>>;

#[derive(Clone)]
struct Simulated(Rc<World>);

struct World {
    read_at: &'static str,
    /// By the host's first letter, a or b.
    whims: [Whim; 2],
    /// How many blocks of 12 s the second one is behind.
    behind: u64,
    /// The status and S3's code for a signed request, and for one without a signature.
    bucket: [(u16, &'static str); 2],
    date: Option<Timestamp>,
    asked: RefCell<Vec<String>>,
    /// Where the second provider is.
    second: &'static str,
}

impl Simulated {
    fn reply(&self, index: usize, request: &Value) -> Result<Value, CallError> {
        if let Some(outcome) = self.0.whims[index](request) {
            return outcome;
        }
        if let Some(batch) = request.as_array() {
            return batch.iter().map(|one| self.reply(index, one)).collect();
        }
        let head = HEAD - if index == 1 { self.0.behind } else { 0 };
        let now: Timestamp = NOW.parse().unwrap();
        let made = u64::try_from(now.as_second()).unwrap() - 4 - 12 * (HEAD - head);
        let result = match request["method"].as_str().unwrap() {
            "eth_chainId" => "0x1".into(),
            "eth_getCode" => "0x6080".into(),
            "eth_getBlockByNumber" => {
                json!({"number": format!("{head:#x}"), "hash": format!("0x{}", "07".repeat(32)), "timestamp": format!("{made:#x}")})
            }
            "eth_call" if reader::request(&request["params"]).is_none() => {
                // The signature validator's five words: an account without code.
                let words = [1, head, made, 1, 0].map(word);
                format!("0x{}", hex::encode(words.concat())).into()
            }
            "eth_call" => {
                let asked = reader::request(&request["params"]).unwrap();
                assert!(asked.is_empty());
                let block = Block {
                    chain: 1,
                    number: head,
                    timestamp: made,
                    parent: word(1),
                    known: word(0),
                };
                let nothing = |_: &Asked| panic!("nothing is read");
                format!("0x{}", reader::answer(block, &asked, nothing)).into()
            }
            "eth_getBalance" => "0x0".into(),
            other => panic!("an unexpected call: {other}"),
        };
        Ok(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
    }
}

impl Ports for Simulated {
    fn now(&self) -> Timestamp {
        NOW.parse().unwrap()
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&self) -> [u8; 16] {
        [7; 16]
    }

    /// Time passes at once wherever nothing else is waited for.
    fn sleep(&self, _: Duration) -> impl Future<Output = ()> {
        ready(())
    }

    fn spawn(&self, _: impl Future<Output = ()> + 'static) {
        panic!("nothing runs behind a report")
    }

    fn wait(&self) -> (Box<dyn Any>, LocalBoxFuture<'static, ()>) {
        support::wait()
    }

    async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        panic!("no store is asked")
    }

    async fn set(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        panic!("no store is asked")
    }

    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        panic!("no store is asked")
    }

    async fn increment(&self, _: &str) -> Result<u64, StoreError> {
        panic!("no store is asked")
    }

    async fn redis(&self, _: &str, _: &str, _: &[&[u8]]) -> Result<Vec<RedisReply>, StoreError> {
        panic!("no store is asked")
    }

    async fn post(&self, url: &str, body: Vec<u8>, _: usize) -> Result<Reply, CallError> {
        let index = usize::from(url.starts_with("https://b."));
        let request: Value = serde_json::from_slice(&body).unwrap();
        let reply = self.reply(index, &request)?;
        if reply == "silence" {
            return pending().await;
        }
        Ok(
            match reply.as_u64().and_then(|status| u16::try_from(status).ok()) {
                Some(status) => Reply {
                    status,
                    retry_after: None,
                    body: b"<html>".to_vec(),
                },
                None => Reply {
                    status: 200,
                    retry_after: None,
                    body: reply.to_string().into_bytes(),
                },
            },
        )
    }

    fn config_text(&self) -> Result<String, String> {
        Ok(format!(
            r#"
[service]
domains = ["gate.example"]
session_ttl = "1h"
url_ttl = "5m"

[[chain]]
id = "eip155:1"
providers = ["{{{{ rpc_a }}}}", "{{{{ rpc_b }}}}"]
{}

[[bucket]]
id = "media"
endpoint = "https://store.example"
region = "us-east-1"
addressing = "path"
credentials = "media"
"#,
            self.0.read_at
        ))
    }

    async fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(Some(match name {
            "rpc_a" => format!("https://a.example/{API_KEY}"),
            "rpc_b" => format!("{}?key={API_KEY}", self.0.second),
            "media_access_key_id" => "AKIAEXAMPLE".to_owned(),
            "media_secret_access_key" => "a secret".to_owned(),
            _ => return Ok(None),
        }))
    }

    fn log(&self, _: &str) {}
}

impl Web for Simulated {
    async fn fetch(&self, url: &Secret<String>, _: usize) -> Result<Page, CallError> {
        self.0.asked.borrow_mut().push(url.expose().clone());
        let signed = url.expose().contains("X-Amz-Signature=");
        let (status, code) = self.0.bucket[usize::from(!signed)];
        let body = match (status, code) {
            (0, _) => return Err(CallError::Refused),
            (_, "") => String::new(),
            (_, code) => format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>"),
        };
        Ok(Page {
            status,
            date: self.0.date,
            body: body.into_bytes(),
        })
    }
}

fn well() -> World {
    World {
        read_at: "block = \"latest\"",
        whims: [|_| None, |_| None],
        behind: 0,
        bucket: [(404, "NoSuchKey"), (403, "AccessDenied")],
        date: Some(NOW.parse().unwrap()),
        asked: RefCell::default(),
        second: "https://b.example/v2",
    }
}

fn load(ports: &Simulated) -> (Installation, Signers) {
    let installation = block_on(Installation::load(ports)).unwrap();
    let signers = block_on(Signers::load(ports, &installation)).unwrap();
    (installation, signers)
}

fn report(world: World) -> Report {
    let ports = Simulated(Rc::new(world));
    let (installation, signers) = load(&ports);
    let report = block_on(examine(&installation, &signers, &ports)).unwrap();
    let said = format!("{report:?} {}", serde_json::to_string(&report).unwrap());
    for secret in [API_KEY, "AKIAEXAMPLE", "a secret", "X-Amz"] {
        assert!(!said.contains(secret), "{secret} is shown: {said}");
    }
    report
}

/// The findings about the second provider, as severity and code; the first has none.
fn about_b(world: World) -> Vec<(Severity, &'static str)> {
    let report = report(world);
    let [a, b] = report.chains[0].providers.as_slice() else {
        panic!("two providers")
    };
    assert_eq!(a.findings, []);
    b.findings
        .iter()
        .map(|finding| (finding.severity, finding.code))
        .collect()
}

fn about_bucket(world: World) -> Vec<(Severity, &'static str)> {
    report(world).buckets[0]
        .findings
        .iter()
        .map(|finding| (finding.severity, finding.code))
        .collect()
}

fn error(request: &Value, code: i64) -> Option<Result<Value, CallError>> {
    Some(Ok(
        json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": "no"}}),
    ))
}

#[test]
fn a_healthy_world_has_no_findings() {
    let report = report(well());
    let provider = &report.chains[0].providers[1];
    assert_eq!(
        (
            provider.position,
            provider.host.as_str(),
            provider.head,
            provider.lag_blocks
        ),
        (2, "b.example", Some(HEAD), Some(0))
    );
    assert_eq!(provider.head_age_seconds, Some(4));
    for ability in [
        provider.batch,
        provider.safe,
        provider.finalized,
        provider.block_hash,
        provider.archive,
    ] {
        assert_eq!(ability, Some(true));
    }
    assert_eq!(provider.reader.as_deref(), Some("override"));
    assert_eq!(
        (provider.block_numbers, provider.signature_checks),
        (Some("own"), Some("creation"))
    );
    let bucket = &report.buckets[0];
    assert_eq!(
        (
            bucket.host.as_str(),
            bucket.status,
            bucket.clock_skew_seconds
        ),
        ("store.example", Some(404), Some(0))
    );
    let findings = report.chains[0]
        .providers
        .iter()
        .map(|provider| provider.findings.len());
    assert_eq!(findings.sum::<usize>() + bucket.findings.len(), 0);
}

#[test]
fn each_way_in_which_a_provider_fails_has_its_own_name() {
    let cases: [(&str, Whim); 12] = [
        ("refused", |_| Some(Err(CallError::Refused))),
        ("dns", |_| Some(Err(CallError::Dns))),
        ("tls", |_| Some(Err(CallError::Tls))),
        ("closed", |_| Some(Err(CallError::Closed))),
        ("not-http", |_| Some(Err(CallError::Protocol))),
        ("timeout", |_| Some(Ok("silence".into()))),
        ("status", |_| Some(Ok(401.into()))),
        ("not-json-rpc", |_| Some(Ok(json!({"hello": "world"})))),
        ("node-error", |request| error(request, -32000)),
        ("no-head", |request| {
            let asked = request["method"] == "eth_getBlockByNumber";
            asked.then(|| Ok(json!({"jsonrpc": "2.0", "id": 1, "result": null})))
        }),
        ("wrong-chain", |request| {
            let asked = request["method"] == "eth_chainId";
            asked.then(|| Ok(json!({"jsonrpc": "2.0", "id": 1, "result": "0x5"})))
        }),
        ("reader", |request| {
            let asked = ["eth_call", "eth_getBalance"]
                .iter()
                .any(|name| request["method"] == *name);
            asked.then(|| Ok(json!({"jsonrpc": "2.0", "id": 1, "result": "0x"})))
        }),
    ];
    for (code, whim) in cases {
        let mut world = well();
        world.whims[1] = whim;
        assert_eq!(about_b(world), [(Severity::Error, code)], "{code}");
    }
}

#[test]
fn providers_of_one_host_are_a_warning() {
    for (second, expected) in [
        ("https://a.example/v2/other", Some("same-host")),
        ("https://A.example.:8443", Some("same-host")),
        ("https://a2.example/v2", None),
    ] {
        let mut world = well();
        world.second = second;
        let expected: Vec<_> = expected
            .map(|code| (Severity::Warning, code))
            .into_iter()
            .collect();
        assert_eq!(about_b(world), expected, "{second}");
    }
}

#[test]
fn what_decisions_do_not_need_is_no_fault() {
    let mut world = well();
    world.whims[1] = |request| {
        let old = request["params"][1] == "0x2710";
        let refused = request.is_array()
            || ["safe", "finalized"]
                .iter()
                .any(|tag| request["params"][0] == *tag)
            || request["params"][1].is_object()
            || old;
        refused.then(|| error(request, -32601).unwrap())
    };
    let report = report(world);
    let provider = &report.chains[0].providers[1];
    assert_eq!(provider.findings, []);
    for ability in [
        provider.batch,
        provider.safe,
        provider.finalized,
        provider.block_hash,
        provider.archive,
    ] {
        assert_eq!(ability, Some(false));
    }
    assert_eq!(provider.reader.as_deref(), Some("override"));
}

#[test]
fn a_state_that_is_configured_and_not_supported_is_an_error() {
    let no_tags: Whim = |request| {
        let names = |parameter: &Value| parameter == "safe" || parameter == "finalized";
        let tagged = request["params"]
            .as_array()
            .is_some_and(|list| list.iter().any(names));
        tagged.then(|| error(request, -32602).unwrap())
    };
    // A node that keeps the state of its newest blocks alone.
    let pruned: Whim = |request| {
        let old = request["params"][1]
            .as_str()
            .is_some_and(|block| block.starts_with("0x"));
        old.then(|| error(request, -32000).unwrap())
    };
    for (read_at, whim, failing) in [
        ("block = \"latest\"", no_tags, false),
        ("block = \"safe\"", no_tags, true),
        ("block = \"finalized\"", no_tags, true),
        ("confirmations = 12", no_tags, false),
        ("confirmations = 12", pruned, true),
        ("block = \"latest\"", pruned, false),
    ] {
        let mut world = well();
        world.read_at = read_at;
        world.whims[1] = whim;
        let expected = [(Severity::Error, "block")];
        assert_eq!(
            about_b(world),
            expected[..usize::from(failing)],
            "{read_at}"
        );
    }
}

/// Whether a request is a call of the signature validator.
fn is_signature_check(request: &Value) -> bool {
    request["method"] == "eth_call" && reader::request(&request["params"]).is_none()
}

#[test]
fn each_way_of_checking_signatures_is_found_and_none_is_a_warning() {
    let no_creation: Whim = |request| {
        let refused = is_signature_check(request) && request["params"][0]["to"].is_null();
        refused.then(|| error(request, -32602).unwrap())
    };
    // What a node answers that runs no code in calls without a destination.
    let empty_creation: Whim = |request| {
        let refused = is_signature_check(request) && request["params"][0]["to"].is_null();
        refused.then(|| Ok(json!({"jsonrpc": "2.0", "id": request["id"], "result": "0x"})))
    };
    let none: Whim = |request| is_signature_check(request).then(|| error(request, -32602).unwrap());
    let of_another_chain: Whim = |request| {
        let words = [5, HEAD, 1, 1, 0].map(word).concat();
        is_signature_check(request).then(|| {
            let result = format!("0x{}", hex::encode(words));
            Ok(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
        })
    };
    for (whim, way) in [
        (no_creation, Some("override")),
        (empty_creation, Some("override")),
        (none, None),
        (of_another_chain, None),
    ] {
        let mut world = well();
        world.whims[1] = whim;
        let report = report(world);
        let provider = &report.chains[0].providers[1];
        assert_eq!(provider.signature_checks, way);
        let codes: Vec<_> = provider.findings.iter().map(|one| one.code).collect();
        let expected: &[&str] = if way.is_some() {
            &[]
        } else {
            &["signature-checks"]
        };
        assert_eq!(codes, expected);
    }
}

#[test]
fn a_chain_whose_contracts_see_the_blocks_of_another_is_named() {
    let mut world = well();
    world.whims[1] = |request| {
        let params = &request["params"];
        let asked = reader::request(params).filter(|_| request["method"] == "eth_call")?;
        let now: Timestamp = NOW.parse().unwrap();
        let block = Block {
            chain: 1,
            number: 7_000,
            timestamp: u64::try_from(now.as_second()).unwrap() - 4,
            parent: word(9),
            known: word(0),
        };
        let answer = reader::answer(block, &asked, |_| panic!("nothing is read"));
        Some(Ok(
            json!({"jsonrpc": "2.0", "id": request["id"], "result": format!("0x{answer}")}),
        ))
    };
    let report = report(world);
    let provider = &report.chains[0].providers[1];
    assert_eq!(provider.block_numbers, Some("foreign"));
    let [finding] = provider.findings.as_slice() else {
        panic!("{:?}", provider.findings)
    };
    assert_eq!(
        (finding.severity, finding.code),
        (Severity::Warning, "foreign-block-numbers")
    );
    assert!(
        finding
            .problem
            .contains("see block 7000 where the chain counts 20000")
    );
}

#[test]
fn a_provider_is_behind_by_time_and_not_by_blocks_alone() {
    for (behind, expected) in [
        (1, None),
        (4, None),
        (5, Some(Severity::Warning)),
        (49, Some(Severity::Warning)),
        (50, Some(Severity::Error)),
    ] {
        let mut world = well();
        world.behind = behind;
        let report = report(world);
        let provider = &report.chains[0].providers[1];
        assert_eq!(provider.lag_blocks, Some(behind));
        let lagging = provider
            .findings
            .iter()
            .find(|finding| finding.code == "lagging");
        assert_eq!(
            lagging.map(|finding| finding.severity),
            expected,
            "{behind}"
        );
    }
}

#[test]
fn what_the_store_says_is_told_apart() {
    let error = Severity::Error;
    for (status, code, expected) in [
        (404, "NoSuchBucket", (error, "no-such-bucket")),
        (403, "InvalidAccessKeyId", (error, "access-key-id")),
        (403, "NotSignedUp", (error, "access-key-id")),
        (403, "SignatureDoesNotMatch", (error, "secret-access-key")),
        (400, "ExpiredToken", (error, "session-token")),
        (403, "RequestTimeTooSkewed", (error, "clock")),
        (400, "AuthorizationQueryParametersError", (error, "region")),
        (403, "AccessDenied", (Severity::Warning, "cannot-tell")),
        (200, "", (error, "not-a-store")),
        (404, "", (error, "not-a-store")),
        (503, "SlowDown", (error, "store-error")),
        (0, "", (error, "refused")),
    ] {
        let mut world = well();
        world.bucket[0] = (status, code);
        assert_eq!(about_bucket(world), [expected], "{status} {code}");
    }
}

#[test]
fn clocks_are_compared() {
    for (seconds, expected) in [
        (29, None),
        (-29, None),
        (30, Some(Severity::Warning)),
        (-299, Some(Severity::Warning)),
        (300, Some(Severity::Error)),
        (-900, Some(Severity::Error)),
    ] {
        let mut world = well();
        let now: Timestamp = NOW.parse().unwrap();
        world.date = Timestamp::from_second(now.as_second() + seconds).ok();
        // What S3 says to a signature that has expired or is not valid yet.
        if expected.is_some() {
            world.bucket[0] = (403, "AccessDenied");
        }
        let expected: Vec<_> = expected
            .map(|severity| (severity, "clock"))
            .into_iter()
            .collect();
        assert_eq!(about_bucket(world), expected, "{seconds}");
    }
}

#[test]
fn a_bucket_that_answers_strangers_is_an_error() {
    let mut world = well();
    world.bucket[1] = (404, "NoSuchKey");
    assert_eq!(about_bucket(world), [(Severity::Error, "public")]);
}

#[test]
fn the_object_that_is_probed_does_not_exist() {
    let world = Rc::new(well());
    let ports = Simulated(world.clone());
    let (installation, signers) = load(&ports);
    block_on(examine(&installation, &signers, &ports)).unwrap();
    let path = format!(
        "https://store.example/media/tokengate-probe-{}",
        "07".repeat(16)
    );
    let asked = world.asked.borrow();
    assert!(asked[0].starts_with(&format!("{path}?X-Amz-")), "{asked:?}");
    assert_eq!(asked[1], path);
}
