//! What the doctor makes of the contracts that gates name, and what cannot be loaded because two names mean one thing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod support;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::rc::Rc;
use std::time::Duration;

use futures_executor::block_on;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use tokengate_app::doctor::{ContractReport, Severity, contracts};
use tokengate_app::state::{Installation, Signers};
use tokengate_app::{CallError, LoadError, Ports, RedisReply, Reply, StoreError};
use tokengate_core::{Timestamp, U256};

const CONTRACT: &str = "0x00000000000000000000000000000000000000c0";
const REGISTRY: &str = "0x00000000000000447e69651d841bd8d104bed493";

/// How a contract is made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Contract {
    /// No code.
    Absent,
    /// ERC-721, also with decimals as ERC-404 has them.
    Erc721(Option<u8>),
    /// ERC-721 of before ERC-165.
    Old721,
    Erc1155,
    /// ERC-20, with decimals or without.
    Erc20(Option<u8>),
    /// It answers every call with a word of 1.
    Agreeable,
    /// It takes every call and answers nothing.
    Silent,
    /// It reverts every call.
    Reverting,
    /// An account of a token whose owner it names.
    Account,
    Registry,
}

#[derive(Clone)]
struct Simulated(Rc<World>);

struct World {
    config: String,
    variables: BTreeMap<&'static str, String>,
    contracts: Vec<(&'static str, Contract)>,
    takes_batches: bool,
    /// Providers that are down, by their host's first letter.
    down: &'static str,
    /// The chain that providers serve.
    chain: &'static str,
    calls: Cell<usize>,
    hosts: RefCell<Vec<String>>,
}

fn word(value: u64) -> String {
    format!("0x{}", hex::encode(U256::from(value).to_be_bytes::<32>()))
}

impl World {
    fn answer(&self, request: &Value) -> Value {
        let id = &request["id"];
        let result = |result: &str| json!({"jsonrpc": "2.0", "id": id, "result": result});
        let revert = || json!({"jsonrpc": "2.0", "id": id, "error": {"code": 3, "message": "execution reverted", "data": "0x"}});
        let contract = |address: &Value| {
            let address = address.as_str().unwrap().to_lowercase();
            let known = self.contracts.iter().find(|(known, _)| *known == address);
            known.map_or(Contract::Absent, |(_, contract)| *contract)
        };
        match request["method"].as_str().unwrap() {
            "eth_chainId" => result(self.chain),
            "eth_getCode" => result(match contract(&request["params"][0]) {
                Contract::Absent => "0x",
                _ => "0x6001",
            }),
            "eth_call" => {
                let call = &request["params"][0];
                let input = call.get("input").or_else(|| call.get("data")).unwrap();
                match answer(contract(&call["to"]), input.as_str().unwrap()) {
                    Some(returned) => result(&returned),
                    None => revert(),
                }
            }
            other => panic!("an unexpected call: {other}"),
        }
    }
}

/// What a contract answers; `None` is a revert.
fn answer(contract: Contract, input: &str) -> Option<String> {
    let (selector, rest) = input.split_at(10);
    let yes = |yes: bool| Some(word(u64::from(yes)));
    let symbol = Some(format!(
        "{}{}{}{}",
        word(32),
        &word(4)[2..],
        hex::encode("HOLD"),
        "00".repeat(28)
    ));
    let supports = |ids: &[&str]| {
        let asked = &rest[..8];
        yes(asked == "01ffc9a7" || ids.contains(&asked))
    };
    match (contract, selector) {
        (Contract::Absent | Contract::Silent, _) => Some("0x".to_owned()),
        (Contract::Agreeable, _) => Some(word(1)),
        (Contract::Reverting, _) => None,
        (Contract::Erc721(_), "0x01ffc9a7") => supports(&["80ac58cd"]),
        (Contract::Erc1155, "0x01ffc9a7") => supports(&["d9b67a26"]),
        // decimals()
        (Contract::Erc721(decimals) | Contract::Erc20(decimals), "0x313ce567") => {
            decimals.map(|decimals| word(u64::from(decimals)))
        }
        // symbol()
        (Contract::Erc721(_) | Contract::Erc20(_), "0x95d89b41") => symbol,
        // balanceOf(address)
        (Contract::Erc721(_) | Contract::Old721 | Contract::Erc20(_), "0x70a08231") => {
            Some(word(0))
        }
        // ownerOf(uint256): of a token that was burned.
        (Contract::Erc721(_) | Contract::Old721, "0x6352211e") => None,
        // balanceOf(address,uint256)
        (Contract::Erc1155, "0x00fdd58e") => Some(word(0)),
        // owner()
        (Contract::Account, "0x8da5cb5b") => Some(word(1)),
        // checkDelegateForAll(address,address,bytes32)
        (Contract::Registry, "0xe839bd53") => yes(false),
        _ => None,
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
        [7; 16]
    }

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
        let world = &self.0;
        world.calls.set(world.calls.get() + 1);
        let host = url.trim_start_matches("https://");
        world.hosts.borrow_mut().push(host[..1].to_owned());
        if world.down.contains(&host[..1]) {
            return Err(CallError::Refused);
        }
        let request: Value = serde_json::from_slice(&body).unwrap();
        let answer = match request.as_array() {
            Some(batch) if world.takes_batches => {
                assert!(batch.len() <= 100, "{}", batch.len());
                batch.iter().map(|one| world.answer(one)).collect()
            }
            Some(_) => {
                json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "no"}})
            }
            None => world.answer(&request),
        };
        Ok(Reply {
            status: 200,
            retry_after: None,
            body: answer.to_string().into_bytes(),
        })
    }

    fn config_text(&self) -> Result<String, String> {
        Ok(self.0.config.clone())
    }

    async fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(Some(match name {
            "media_access_key_id" | "media_secret_access_key" => "a key".to_owned(),
            name => match self.0.variables.get(name) {
                Some(value) => value.clone(),
                None => return Ok(None),
            },
        }))
    }

    fn log(&self, _: &str) {}
}

const HEAD: &str = r#"
[service]
domains = ["gate.example"]
session_ttl = "1h"
url_ttl = "5m"
"#;

fn bucket(name: &str, more: &str) -> String {
    format!(
        "[[bucket]]\nid = \"{name}\"\nregion = \"us-east-1\"\ncredentials = \"media\"\n{more}\n"
    )
}

fn world(require: &str, contracts: &[(&'static str, Contract)]) -> World {
    let require = require.replace(
        "AT",
        &format!("chain = \"eip155:1\", contract = \"{CONTRACT}\""),
    );
    let bucket = bucket(
        "media",
        "endpoint = \"https://s3.example\"\naddressing = \"path\"",
    );
    World {
        config: format!(
            "{HEAD}[[chain]]\nid = \"eip155:1\"\nproviders = [\"https://a.example\", \"https://b.example\"]\n{bucket}[[gate]]\nid = \"g\"\nresources = [\"media/**\"]\nmax_age = \"5m\"\n{require}\n"
        ),
        variables: BTreeMap::new(),
        contracts: contracts.to_vec(),
        takes_batches: true,
        down: "",
        chain: "0x1",
        calls: Cell::new(0),
        hosts: RefCell::default(),
    }
}

fn load(world: &Rc<World>) -> Result<Installation, LoadError> {
    let ports = Simulated(world.clone());
    let installation = block_on(Installation::load(&ports))?;
    block_on(Signers::load(&ports, &installation))?;
    Ok(installation)
}

fn reports(world: &Rc<World>) -> Vec<Option<Vec<ContractReport>>> {
    let service = load(world).unwrap();
    block_on(contracts(&service, &Simulated(world.clone())))
}

fn report(require: &str, contracts: &[(&'static str, Contract)]) -> Vec<ContractReport> {
    let world = Rc::new(world(require, contracts));
    reports(&world).pop().unwrap().unwrap()
}

#[test]
fn what_a_gate_takes_a_contract_for_is_held_against_what_it_is() {
    use Contract::*;
    let (error, warning) = (Severity::Error, Severity::Warning);
    let erc721 = "{ erc721 = { AT } }";
    let owners = "{ erc721 = { AT, token_ids = [\"7\"] } }";
    let erc1155 = "{ erc1155 = { AT, token_ids = [\"7\"] } }";
    let erc20 = "{ erc20 = { AT, at_least = \"1000000000000000000\" } }";
    let in_units = |amount: &str, decimals: u8| {
        format!("{{ erc20 = {{ AT, at_least = \"{amount}\", decimals = {decimals} }} }}")
    };
    let account =
        format!("{{ erc6551_owner = {{ chain = \"eip155:1\", account = \"{CONTRACT}\" }} }}");
    let call = r#"{ call = { AT, function = "function f(address) view returns (uint256)", args = ["$address"], compare = ">", value = "0" } }"#;
    let used = "{ erc4907 = { AT, token_ids = [\"7\"] } }";
    let table = [
        (erc721, Erc721(None), None),
        (erc721, Erc721(Some(0)), None),
        (erc721, Erc721(Some(18)), Some((warning, "fractions"))),
        (owners, Erc721(Some(18)), None),
        (owners, Erc721(None), None),
        (erc721, Old721, Some((warning, "unconfirmed-interface"))),
        (erc721, Erc20(Some(18)), Some((error, "wrong-interface"))),
        (erc721, Erc20(Some(1)), Some((error, "wrong-interface"))),
        (erc721, Erc1155, Some((error, "wrong-interface"))),
        (erc721, Absent, Some((error, "no-contract"))),
        (erc721, Silent, Some((error, "no-answer"))),
        (erc721, Reverting, Some((error, "no-answer"))),
        (erc721, Agreeable, Some((error, "wrong-interface"))),
        (erc1155, Erc1155, None),
        (erc1155, Erc721(None), Some((error, "wrong-interface"))),
        (erc1155, Erc20(Some(18)), Some((error, "no-answer"))),
        (erc1155, Absent, Some((error, "no-contract"))),
        (erc1155, Agreeable, Some((warning, "unconfirmed-interface"))),
        (erc20, Erc20(Some(18)), None),
        (erc20, Erc20(None), None),
        (erc20, Erc721(None), Some((warning, "counts-tokens"))),
        (erc20, Erc1155, Some((error, "wrong-interface"))),
        (erc20, Absent, Some((error, "no-contract"))),
        (account.as_str(), Account, None),
        (account.as_str(), Absent, Some((error, "no-contract"))),
        (account.as_str(), Silent, Some((error, "no-answer"))),
        (call, Agreeable, None),
        (call, Reverting, Some((warning, "no-answer"))),
        (call, Absent, Some((error, "no-contract"))),
        (used, Erc1155, Some((error, "wrong-interface"))),
        (used, Absent, Some((error, "no-contract"))),
    ];
    let found = |require: &str, contract: Contract| {
        let reports = report(&format!("require = {require}"), &[(CONTRACT, contract)]);
        assert_eq!(reports.len(), 1, "{reports:?}");
        let findings = &reports[0].findings;
        assert!(findings.len() <= 1, "{findings:?}");
        findings
            .first()
            .map(|finding| (finding.severity, finding.code))
    };
    for (require, contract, expected) in table {
        assert_eq!(found(require, contract), expected, "{require} {contract:?}");
    }
    for (require, contract, expected) in [
        // The amount as it is written, the contract's decimals.
        (in_units("1.5", 18), Erc20(Some(18)), None),
        (
            in_units("1.5", 6),
            Erc20(Some(18)),
            Some((error, "decimals")),
        ),
        (
            in_units("1.5", 18),
            Erc20(Some(6)),
            Some((error, "decimals")),
        ),
        (in_units("0.000001", 18), Erc20(Some(18)), None),
        (
            in_units("1.5", 18),
            Erc20(None),
            Some((warning, "no-decimals")),
        ),
        (
            in_units("1", 18),
            Erc721(None),
            Some((error, "wrong-interface")),
        ),
        (
            "{ erc20 = { AT, at_least = \"1\" } }".to_owned(),
            Erc20(Some(18)),
            Some((warning, "small-amount")),
        ),
        (
            "{ erc20 = { AT, at_least = \"100\" } }".to_owned(),
            Erc20(Some(6)),
            Some((warning, "small-amount")),
        ),
        (
            "{ erc20 = { AT, at_least = \"1\" } }".to_owned(),
            Erc20(Some(2)),
            None,
        ),
        (
            "{ erc20 = { AT, at_least = \"1000\" } }".to_owned(),
            Erc20(Some(6)),
            None,
        ),
        (
            "{ native = { chain = \"eip155:1\", at_least = \"1\" } }".to_owned(),
            Absent,
            Some((warning, "small-amount")),
        ),
        (
            "{ native = { chain = \"eip155:1\", at_least = \"0.5\", decimals = 18 } }".to_owned(),
            Absent,
            None,
        ),
        (
            "{ native = { chain = \"eip155:1\", at_least = \"0.5\", decimals = 6 } }".to_owned(),
            Absent,
            Some((error, "decimals")),
        ),
    ] {
        assert_eq!(
            found(&require, contract),
            expected,
            "{require} {contract:?}"
        );
    }
}

#[test]
fn a_registry_that_is_not_there_is_said_where_a_gate_needs_it() {
    for (contract, expected) in [
        (Contract::Registry, None),
        (Contract::Absent, Some("no-contract")),
        (Contract::Erc20(Some(18)), Some("no-registry")),
    ] {
        let require = "delegation = {}\nrequire = { erc721 = { AT } }";
        let token = (CONTRACT, Contract::Erc721(None));
        let reports = report(require, &[token, (REGISTRY, contract)]);
        let registry = &reports[1];
        assert_eq!(registry.kind, "delegation");
        let codes: Vec<_> = registry
            .findings
            .iter()
            .map(|finding| (finding.severity, finding.code))
            .collect();
        let expected: Vec<_> = expected
            .map(|code| (Severity::Warning, code))
            .into_iter()
            .collect();
        assert_eq!(codes, expected, "{contract:?}");
    }
}

#[test]
fn an_amount_is_shown_in_whole_units_with_its_symbol() {
    let require = "require = { any = [ { erc20 = { AT, at_least = \"1500000000000000000\" } }, { all = [ { native = { chain = \"eip155:1\", at_least = \"2\", decimals = 18 } }, { erc20 = { AT, at_least = \"1500000000000000000\" } } ] } ] }";
    let reports = report(require, &[(CONTRACT, Contract::Erc20(Some(18)))]);
    let [token, native] = reports.as_slice() else {
        panic!("{reports:?}")
    };
    assert_eq!(
        (
            token.symbol.as_deref(),
            token.decimals,
            token.at_least_whole.as_deref(),
            token.gates.as_slice()
        ),
        (Some("HOLD"), Some(18), Some("1.5"), &["g".to_owned()][..])
    );
    assert_eq!(
        (native.contract, native.at_least_whole.as_deref()),
        (None, Some("2"))
    );
}

#[test]
fn contracts_are_looked_at_through_a_provider_that_answers_for_their_chain() {
    let require = "require = { erc721 = { AT } }";
    let token = [(CONTRACT, Contract::Erc721(None))];
    // One batch for all contracts, after the chain's id.
    let well = Rc::new(world(require, &token));
    assert!(reports(&well)[0].is_some());
    assert_eq!(*well.hosts.borrow(), ["a", "a"]);
    let second = Rc::new(World {
        down: "a",
        ..world(require, &token)
    });
    assert!(reports(&second)[0].is_some());
    assert_eq!(*second.hosts.borrow(), ["a", "b", "b"]);
    let singly = Rc::new(World {
        takes_batches: false,
        ..world(require, &token)
    });
    assert_eq!(
        reports(&singly)[0]
            .as_ref()
            .map(|all| all[0].findings.len()),
        Some(0)
    );
    for failing in [
        World {
            down: "ab",
            ..world(require, &token)
        },
        World {
            chain: "0x5",
            ..world(require, &token)
        },
    ] {
        assert!(reports(&Rc::new(failing))[0].is_none());
    }
}

fn refusal(world: World) -> Option<String> {
    let said = load(&Rc::new(world)).err()?.to_string();
    for secret in ["key-of-a", "key-of-b"] {
        assert!(!said.contains(secret), "{said}");
    }
    Some(said)
}

#[test]
fn providers_that_have_to_agree_are_different_endpoints() {
    let with = |a: &str, b: &str, more: &str, of_gate: &str| World {
        config: format!(
            "{HEAD}[[chain]]\nid = \"eip155:1\"\nproviders = [\"{{{{ rpc_a }}}}\", \"{{{{ rpc_b }}}}\"]\n{more}\n{}[[gate]]\nid = \"g\"\nresources = [\"media/**\"]\nmax_age = \"5m\"\n{of_gate}\nrequire = {{ native = {{ chain = \"eip155:1\", at_least = \"1\" }} }}\n",
            bucket(
                "media",
                "endpoint = \"https://s3.example\"\naddressing = \"path\""
            )
        ),
        variables: [("rpc_a", a.to_owned()), ("rpc_b", b.to_owned())].into(),
        ..world("require = { erc721 = { AT } }", &[])
    };
    let one = "https://rpc.example/v2?key=key-of-a";
    for same in [
        "https://rpc.example/v2?key=key-of-a",
        "https://rpc.example/v2?key=key-of-b",
        "https://RPC.example:443/v2/",
        "https://user:key-of-b@rpc.example/v2#x",
        "http://rpc.example./v2",
    ] {
        for (chain, gate) in [("quorum = 2", ""), ("", "quorum = 2")] {
            let said = refusal(with(one, same, chain, gate)).unwrap();
            assert!(
                said.contains("tokengate.toml:8:29") && said.contains("tokengate.toml:8:14"),
                "{same}: {said}"
            );
        }
        assert_eq!(
            refusal(with(one, same, "", "")),
            None,
            "no quorum is asked for"
        );
    }
    for other in ["https://rpc.example/v3", "https://rpc2.example/v2"] {
        assert_eq!(refusal(with(one, other, "quorum = 2", "")), None);
    }
}

#[test]
fn a_bucket_under_two_names_is_refused_once_variables_are_filled_in() {
    let with = |endpoint: &str, addressing: &str, region: &str| {
        let second = bucket(
            "mirror",
            &format!(
                "name = \"media\"\nendpoint = \"{{{{ store_b }}}}\"\naddressing = \"{addressing}\""
            ),
        )
        .replace("us-east-1", region);
        let first = bucket(
            "media",
            "endpoint = \"{{ store_a }}\"\naddressing = \"path\"",
        );
        World {
            config: format!("{HEAD}{second}{first}"),
            variables: [
                ("store_a", "http://localhost:9000".to_owned()),
                ("store_b", endpoint.to_owned()),
            ]
            .into(),
            ..world("require = { erc721 = { AT } }", &[])
        }
    };
    for (endpoint, addressing, region) in [
        ("http://localhost:9000", "path", "us-east-1"),
        ("http://localhost:9000", "path", "eu-central-1"),
        ("http://LOCALHOST:9000/", "path", "us-east-1"),
        ("http://localhost.:9000", "path", "us-east-1"),
        ("http://127.0.0.1:9000", "path", "us-east-1"),
        ("http://localhost:9000", "virtual-host", "us-east-1"),
        ("https://loc%61lhost:9000", "path", "us-east-1"),
    ] {
        let said = refusal(with(endpoint, addressing, region)).unwrap();
        assert!(
            said.contains("\"media\" is the same as \"mirror\""),
            "{endpoint}: {said}"
        );
        assert!(!said.contains("localhost"), "a variable's value: {said}");
    }
    for endpoint in ["http://localhost:9001", "http://store.example:9000"] {
        assert_eq!(
            refusal(with(endpoint, "path", "us-east-1")),
            None,
            "{endpoint}"
        );
    }
}
