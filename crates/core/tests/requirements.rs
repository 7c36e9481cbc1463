//! What each kind of requirement makes of what the chain, the clock and the request say, from the text of a
//! configuration to the truth.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod support;

use std::time::Duration;

use alloy_dyn_abi::{DynSolType, DynSolValue, Specifier as _};
use proptest::prelude::*;
use serde_json::Value as Json;
use support::{bytes, read, text};
use tokengate_core::abi::view::{Function, MAX_VALUE_LEN};
use tokengate_core::abi::{erc4907, erc6551};
use tokengate_core::config::Config;
use tokengate_core::fact::{Fact, FactKey, Facts, Read, Unreadable, Value};
use tokengate_core::gate::{Decision, Gate, Truth};
use tokengate_core::merkle::{Proof, ProofError};
use tokengate_core::resource::Resource;
use tokengate_core::wallet::{Control, Holders, Wallet};
use tokengate_core::{Address, ChainId, Timestamp, U256};

const OWN: Address = Address::from_bytes([7; 20]);
const OTHER: Address = Address::from_bytes([8; 20]);
const VAULT: Address = Address::from_bytes([9; 20]);
const NOBODY: Address = Address::from_bytes([0; 20]);
const CONTRACT: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";

fn gate(require: &str) -> Gate {
    let text = format!(
        r#"
[service]
domains = ["gate.example"]
session_ttl = "1h"
url_ttl = "5m"
[[chain]]
id = "eip155:1"
providers = ["{{{{ rpc_url }}}}"]
[[chain]]
id = "eip155:10"
providers = ["{{{{ rpc_url }}}}"]
[[bucket]]
id = "media"
endpoint = "http://127.0.0.1:9000"
region = "us-east-1"
addressing = "path"
credentials = "media"
[[gate]]
id = "g"
resources = ["media/**"]
max_age = "5m"
delegation = {{}}
require = {}
"#,
        require.replace(
            "AT",
            &format!("chain = \"eip155:1\", contract = \"{CONTRACT}\"")
        )
    );
    let config = Config::parse(&text).unwrap_or_else(|error| panic!("{require}: {error}"));
    config.gate("g").unwrap().clone()
}

/// A requirement that would not make a gate by itself, beside a list that has everybody here.
fn beside_a_list(require: &str) -> Gate {
    gate(&format!(
        r#"{{ all = [ {{ allowlist = {{ addresses = ["{OWN}", "{OTHER}"], chain = "eip155:1" }} }}, {require} ] }}"#
    ))
}

fn now() -> Timestamp {
    "2026-12-01T00:00:00Z".parse().unwrap()
}

fn of_key(address: Address) -> Holders {
    Holders::new([Wallet::of_key(address)], None)
}

fn by_contract(address: Address, chain: u64) -> Holders {
    let control = Control::Contract(ChainId::new(chain).unwrap());
    Holders::new([Wallet { address, control }], None)
}

/// What a chain answers: words, or a revert.
type Chain<'a> = dyn Fn(&Read) -> Option<Vec<u8>> + 'a;

fn word(value: impl Into<U256>) -> Vec<u8> {
    value.into().to_be_bytes::<32>().to_vec()
}

fn account(address: Address) -> Vec<u8> {
    [&[0; 12], address.as_bytes().as_slice()].concat()
}

/// The same with what a revert says.
type Reverting<'a> = dyn Fn(&Read) -> Result<Vec<u8>, Vec<u8>> + 'a;

/// The facts that a gate needs, as far as the chain's answers can be read.
fn facts(gate: &Gate, holders: &Holders, chain: &Chain<'_>) -> Facts {
    // A reason that is empty.
    facts_of(gate, holders, &|read| {
        chain(read).ok_or_else(|| vec![0x08, 0xc3, 0x79, 0xa0])
    })
}

/// The same of a chain that says what it reverts with; each makes its way through the store.
fn facts_of(gate: &Gate, holders: &Holders, chain: &Reverting<'_>) -> Facts {
    let mut facts = Facts::default();
    for key in gate.reads(holders) {
        let answer = match chain(&key.read) {
            Ok(returned) => key.read.decode(&returned),
            Err(data) => key.read.reverted(&data),
        };
        if let Ok(value) = answer {
            let fact = Fact {
                value,
                block: 1,
                read_at: now(),
            };
            let kept = Fact::from_bytes(&key.read, &fact.to_bytes());
            assert_eq!(kept.as_ref(), Some(&fact), "{key:?}");
            facts.insert(key, fact);
        }
    }
    facts
}

fn truth(gate: &Gate, holders: &Holders, chain: &Chain<'_>) -> Truth {
    let facts = facts(gate, holders, chain);
    gate.evaluate(holders, &facts.within(gate.fresh, now()))
}

/// A chain that must not be asked.
fn silent(read: &Read) -> Option<Vec<u8>> {
    panic!("{read:?}")
}

#[test]
fn a_tokens_user_is_who_the_contract_says_and_never_the_zero_address() {
    let gate = gate(r#"{ erc4907 = { AT, token_ids = ["4-6"], at_least = "2" } }"#);
    let used = |users: [Option<Address>; 3]| {
        move |read: &Read| match read {
            Read::Erc4907User { token_id, .. } => {
                users[usize::try_from(*token_id).unwrap() - 4].map(account)
            }
            other => panic!("{other:?}"),
        }
    };
    for (users, expected) in [
        ([Some(OWN), Some(OWN), None], Truth::Yes),
        ([Some(OWN), Some(OTHER), Some(NOBODY)], Truth::No),
        // A token that the contract reverts for is used by nobody.
        ([Some(OWN), None, Some(OTHER)], Truth::No),
        ([Some(OWN), None, Some(OWN)], Truth::Yes),
        ([None, None, None], Truth::No),
    ] {
        assert_eq!(
            truth(&gate, &of_key(OWN), &used(users)),
            expected,
            "{users:?}"
        );
    }
    assert_eq!(
        truth(&gate, &of_key(NOBODY), &used([Some(NOBODY); 3])),
        Truth::No
    );
    assert_eq!(
        truth(&gate, &by_contract(OWN, 1), &used([Some(OWN); 3])),
        Truth::Yes
    );
    assert_eq!(truth(&gate, &by_contract(OWN, 10), &silent), Truth::No);
}

#[test]
fn a_used_token_counts_for_the_delegate_of_its_user() {
    let gate = gate(r#"{ erc4907 = { AT, token_ids = ["4"] } }"#);
    let holders = Holders::new([Wallet::of_key(OWN)], Some(VAULT));
    let chain = |allowed: u64| {
        move |read: &Read| match read {
            Read::Erc4907User { .. } => Some(account(VAULT)),
            Read::Delegation { delegation, .. } => {
                assert_eq!((delegation.to, delegation.from), (OWN, VAULT));
                Some(word(U256::from(allowed)))
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(truth(&gate, &holders, &chain(1)), Truth::Yes);
    assert_eq!(truth(&gate, &holders, &chain(0)), Truth::No);
}

#[test]
fn an_account_belongs_to_the_owner_that_it_names_and_to_nobody_at_zero() {
    let gate = gate(&format!(
        r#"{{ erc6551_owner = {{ chain = "eip155:1", account = "{CONTRACT}" }} }}"#
    ));
    for (answer, expected) in [
        (Some(account(OWN)), Truth::Yes),
        (Some(account(OTHER)), Truth::No),
        (Some(account(NOBODY)), Truth::No),
        (Some(word(U256::MAX)), Truth::Unknown),
        (Some(Vec::new()), Truth::Unknown),
        (None, Truth::No),
    ] {
        let chain = |read: &Read| {
            assert!(matches!(read, Read::AccountOwner { .. }));
            answer.clone()
        };
        assert_eq!(truth(&gate, &of_key(OWN), &chain), expected, "{answer:?}");
    }
    assert_eq!(
        truth(&gate, &of_key(NOBODY), &|_: &Read| Some(account(NOBODY))),
        Truth::No
    );
}

#[test]
fn each_id_has_to_reach_what_a_sum_would() {
    let balances = |read: &Read| match read {
        Read::Erc1155Balance { id, .. } => Some(word(*id)),
        Read::Erc1155Balances { ids, .. } => {
            let list = ids.iter().flat_map(U256::to_be_bytes::<32>);
            let head = [word(U256::from(32)), word(U256::from(ids.len()))];
            Some(head.concat().into_iter().chain(list).collect())
        }
        other => panic!("{other:?}"),
    };
    let with = |more: &str| {
        let gate = gate(&format!(
            "{{ erc1155 = {{ AT, token_ids = [\"2-4\"], {more} }} }}"
        ));
        truth(&gate, &of_key(OWN), &balances)
    };
    assert_eq!(with("at_least = \"9\""), Truth::Yes);
    assert_eq!(with("at_least = \"10\""), Truth::No);
    assert_eq!(with("at_least = \"2\", each = true"), Truth::Yes);
    assert_eq!(with("at_least = \"3\", each = true"), Truth::No);
}

#[test]
fn a_returned_value_is_compared_by_its_type() {
    let minus = |n: u64| word(U256::ZERO.wrapping_sub(U256::from(n)));
    let text = |text: &str| {
        let length = U256::from(text.len());
        let mut bytes = [word(U256::from(32)), word(length)].concat();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes
    };
    let left = |bytes: &[u8]| {
        let mut word = bytes.to_vec();
        word.resize(32, 0);
        word
    };
    let (yes, no, unknown) = (Truth::Yes, Truth::No, Truth::Unknown);
    // The type, the comparison and the value; what is answered; the truth.
    let table = [
        ("uint256", ">=", "100", Some(word(U256::from(100))), yes),
        ("uint256", ">=", "100", Some(word(U256::from(99))), no),
        ("uint256", ">", "100", Some(word(U256::from(100))), no),
        ("uint256", "<", "100", Some(word(U256::from(99))), yes),
        ("uint256", "<", "100", Some(word(U256::MAX)), no),
        ("uint256", "<=", "100", Some(word(U256::from(100))), yes),
        ("uint256", "==", "100", Some(word(U256::from(100))), yes),
        ("uint256", "!=", "100", Some(word(U256::from(100))), no),
        ("uint64", ">", "1", Some(word(U256::from(u64::MAX))), yes),
        (
            "uint64",
            ">",
            "1",
            Some(word(U256::from(u128::MAX))),
            unknown,
        ),
        ("int256", ">", "-5", Some(minus(4)), yes),
        ("int256", ">", "-5", Some(minus(6)), no),
        ("int256", "<", "0", Some(minus(1)), yes),
        ("int256", ">", "0", Some(minus(1)), no),
        ("int8", ">=", "-128", Some(minus(128)), yes),
        ("int8", "<=", "127", Some(minus(129)), unknown),
        ("int8", "<=", "127", Some(word(U256::from(128))), unknown),
        ("bool", "==", "true", Some(word(U256::ONE)), yes),
        ("bool", "==", "true", Some(word(U256::ZERO)), no),
        ("bool", "!=", "false", Some(word(U256::from(2))), unknown),
        ("address", "==", CONTRACT, Some(account(OTHER)), no),
        ("address", "!=", CONTRACT, Some(account(OTHER)), yes),
        ("address", "==", "$address", Some(account(OWN)), yes),
        ("address", "==", "$address", Some(account(OTHER)), no),
        ("address", "!=", "$address", Some(account(OTHER)), yes),
        ("address", "!=", "$address", Some(word(U256::MAX)), unknown),
        (
            "bytes4",
            "==",
            "0xdeadbeef",
            Some(left(&[0xde, 0xad, 0xbe, 0xef])),
            yes,
        ),
        (
            "bytes4",
            "!=",
            "0xdeadbeef",
            Some(left(&[0xde, 0xad, 0xbe, 0xef, 1])),
            unknown,
        ),
        ("string", "==", "gold", Some(text("gold")), yes),
        ("string", "==", "gold", Some(text("gold ")), no),
        ("string", "!=", "gold", Some(text("")), yes),
        ("bytes", "==", "0x676f6c64", Some(text("gold")), yes),
        (
            "string",
            "!=",
            "gold",
            Some(text(&"g".repeat(MAX_VALUE_LEN))),
            yes,
        ),
        (
            "string",
            "!=",
            "gold",
            Some(text(&"g".repeat(MAX_VALUE_LEN + 1))),
            unknown,
        ),
        (
            "string",
            "!=",
            "gold",
            Some(text("gold")[..68].to_vec()),
            no,
        ),
        (
            "string",
            "==",
            "gold",
            Some(text("gold")[..68].to_vec()),
            yes,
        ),
        (
            "string",
            "==",
            "gold",
            Some(text("gold")[..67].to_vec()),
            unknown,
        ),
        ("string", "!=", "gold", Some(minus(32)), unknown),
        (
            "string",
            "!=",
            "gold",
            Some([word(U256::from(32)), minus(1)].concat()),
            unknown,
        ),
        // No contract, an answer cut short, and a revert, are no answers: not even for what holds unless.
        ("uint256", "!=", "100", Some(Vec::new()), unknown),
        ("uint256", "!=", "100", Some(vec![0; 31]), unknown),
        ("uint256", "!=", "100", None, unknown),
        ("bool", "==", "false", None, unknown),
    ];
    for (ty, compare, value, answer, expected) in table {
        let gate = beside_a_list(&format!(
            r#"{{ call = {{ AT, function = "function f(address who) view returns ({ty})", args = ["$address"], compare = "{compare}", value = "{value}" }} }}"#
        ));
        let chain = |_: &Read| answer.clone();
        let found = truth(&gate, &of_key(OWN), &chain);
        assert_eq!(found, expected, "{ty} {compare} {value}: {answer:?}");
    }
}

#[test]
fn a_call_is_about_each_account_unless_it_names_none() {
    let about = beside_a_list(
        r#"{ call = { AT, function = "function f(address who) view returns (uint256)", args = ["$address"], compare = ">", value = "0" } }"#,
    );
    let both = Holders::new([OWN, OTHER].map(Wallet::of_key), Some(VAULT));
    let calls = |gate: &Gate, holders: &Holders| {
        let keys = gate.reads(holders);
        let is_call = |key: &&FactKey| matches!(key.read, Read::View { .. });
        (keys.iter().filter(is_call).count(), keys.len())
    };
    // Three accounts are asked about, and whether the vault has named either wallet.
    assert_eq!(calls(&about, &both), (3, 5));
    assert_eq!(calls(&about, &by_contract(OWN, 10)), (0, 0));
    let of = |member: Address, allowed: u64| {
        move |read: &Read| match read {
            Read::View { calldata, .. } => Some(word(U256::from(u8::from(
                calldata.ends_with(member.as_bytes()),
            )))),
            Read::Delegation { .. } => Some(word(U256::from(allowed))),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(truth(&about, &both, &of(OTHER, 0)), Truth::Yes);
    assert_eq!(truth(&about, &both, &of(VAULT, 1)), Truth::Yes);
    assert_eq!(truth(&about, &both, &of(VAULT, 0)), Truth::No);
    let global = beside_a_list(
        r#"{ call = { AT, function = "function open() view returns (bool)", compare = "==", value = "true" } }"#,
    );
    assert_eq!(calls(&global, &both), (1, 1));
    assert_eq!(calls(&global, &by_contract(OWN, 10)), (1, 1));
    let open = |_: &Read| Some(word(U256::ONE));
    assert_eq!(truth(&global, &by_contract(OWN, 1), &open), Truth::Yes);
    // One call for all, and each is compared with the one account that was answered.
    let owned = gate(
        r#"{ call = { AT, function = "function keeper() view returns (address)", compare = "==", value = "$address" } }"#,
    );
    let both = Holders::new([OWN, OTHER].map(Wallet::of_key), None);
    assert_eq!(calls(&owned, &both), (1, 1));
    assert_eq!(
        truth(&owned, &both, &|_: &Read| Some(account(OTHER))),
        Truth::Yes
    );
    assert_eq!(
        truth(&owned, &both, &|_: &Read| Some(account(VAULT))),
        Truth::No
    );
}

#[test]
fn calls_are_encoded_and_answers_read_as_viem_does() {
    let vectors: Vec<Json> = read("view/calls.json");
    assert_eq!(vectors.len(), 10);
    for vector in vectors {
        let signature = text(&vector, "function").unwrap();
        let function = Function::parse(signature).unwrap();
        let args = vector["args"].as_array().unwrap();
        let args: Vec<&str> = args.iter().map(|arg| arg.as_str().unwrap()).collect();
        let calldata = function.calldata(&args).unwrap();
        let about = text(&vector, "account").unwrap().parse().unwrap();
        assert_eq!(
            hex::encode(calldata.about(about)),
            hex::encode(bytes(&vector, "calldata")),
            "{signature}"
        );
        assert_eq!(
            calldata.names_account(),
            args.iter().any(|arg| arg.contains("$address"))
        );
        let element = function.element(text(&vector, "returns").unwrap()).unwrap();
        let returned = element.decode(&bytes(&vector, "returned")).unwrap();
        assert_eq!(
            Some(element.kind().text(&returned).as_str()),
            text(&vector, "text")
        );
        for length in 0..bytes(&vector, "returned").len() {
            // Cut short it is refused, or its head is whole and the value is the same.
            let cut = element.decode(&bytes(&vector, "returned")[..length]);
            assert!(
                cut.is_err() || cut.as_ref() == Ok(&returned),
                "{signature} {length}"
            );
        }
    }
    let of = |name: &str| {
        let vectors: Vec<Json> = read("view/calls.json");
        let is = |vector: &&Json| text(vector, "function").unwrap().contains(name);
        vectors.iter().find(is).unwrap().clone()
    };
    let (user, owner) = (of("userOf"), of("owner()"));
    assert_eq!(erc4907::user_of(U256::from(7)), bytes(&user, "calldata"));
    assert_eq!(erc6551::owner(), bytes(&owner, "calldata"));
    let found = [
        erc4907::decode_user(&bytes(&user, "returned")),
        erc6551::decode_owner(&bytes(&owner, "returned")),
    ];
    for found in found {
        let address = text(&user, "text").unwrap().parse().unwrap();
        assert_eq!(found, Ok(Some(address)));
    }
}

#[test]
fn a_list_admits_by_key_everywhere_and_by_contract_where_it_says() {
    let list = |chain: &str| {
        gate(&format!(
            r#"{{ allowlist = {{ addresses = ["{OWN}"] {chain} }} }}"#
        ))
    };
    let (anywhere, here) = (list(""), list(", chain = \"eip155:1\""));
    for (gate, holders, admitted) in [
        (&anywhere, of_key(OWN), true),
        (&anywhere, of_key(OTHER), false),
        (&anywhere, by_contract(OWN, 1), false),
        (
            &anywhere,
            Holders::new([OTHER, OWN].map(Wallet::of_key), None),
            true,
        ),
        (&anywhere, Holders::new([], None), false),
        (&here, of_key(OWN), true),
        (&here, by_contract(OWN, 1), true),
        (&here, by_contract(OWN, 10), false),
        (&here, by_contract(OTHER, 1), false),
        // Being listed is nothing that a vault could hand on.
        (
            &here,
            Holders::new([Wallet::of_key(OTHER)], Some(OWN)),
            false,
        ),
    ] {
        assert_eq!(
            truth(gate, &holders, &silent),
            admitted.into(),
            "{holders:?}"
        );
    }
}

#[test]
fn a_list_that_keeps_out_keeps_out_whoever_has_the_address() {
    let gate = gate(&format!(
        r#"{{ all = [ {{ erc6551_owner = {{ chain = "eip155:10", account = "{CONTRACT}" }} }}, {{ not = {{ allowlist = {{ addresses = ["{OWN}"] }} }} }} ] }}"#
    ));
    let owns = |of: Address| move |_: &Read| Some(account(of));
    assert_eq!(truth(&gate, &of_key(OTHER), &owns(OTHER)), Truth::Yes);
    assert_eq!(truth(&gate, &of_key(OWN), &owns(OWN)), Truth::No);
    assert_eq!(truth(&gate, &by_contract(OWN, 10), &owns(OWN)), Truth::No);
}

#[test]
fn proofs_of_openzeppelins_trees_lead_to_their_roots_and_nothing_else_does() {
    let trees: Vec<Json> = read("merkle/addresses.json");
    assert_eq!(trees.len(), 5);
    let proof = |member: &Json| {
        let nodes = member["proof"].as_array().unwrap();
        Proof::parse(nodes.iter().map(|node| node.as_str().unwrap())).unwrap()
    };
    let address = |member: &Json| text(member, "address").unwrap().parse::<Address>().unwrap();
    for (index, tree) in trees.iter().enumerate() {
        let root = text(tree, "root").unwrap();
        let gate = gate(&format!(
            r#"{{ allowlist = {{ merkle_root = "{root}" }} }}"#
        ));
        let admitted = |who: Address, proof: Option<Proof>| {
            truth(&gate, &of_key(who).with_proof(proof), &silent) == Truth::Yes
        };
        let members = tree["members"].as_array().unwrap();
        for member in members {
            let own = proof(member);
            assert!(admitted(address(member), Some(own.clone())), "{member}");
            assert!(!admitted(address(member), None), "{member}");
            assert!(!admitted(OTHER, Some(own.clone())), "{member}");
            let safe = by_contract(address(member), 1).with_proof(Some(own));
            assert_eq!(truth(&gate, &safe, &silent), Truth::No, "{member}");
            for other in members.iter().filter(|other| *other != member) {
                let others = proof(other);
                assert!(!admitted(address(member), Some(others)), "{member} {other}");
            }
            // A proof of the same member in another tree.
            for foreign in trees.iter().enumerate().filter(|(at, _)| *at != index) {
                let same = foreign.1["members"].as_array().unwrap().iter();
                for same in same.filter(|same| same["address"] == member["address"]) {
                    assert!(!admitted(address(member), Some(proof(same))));
                }
            }
            // A node more, a node less, a bit.
            let nodes = member["proof"].as_array().unwrap();
            let nodes: Vec<&str> = nodes.iter().map(|node| node.as_str().unwrap()).collect();
            let changed = nodes.iter().map(|node| node.replace('1', "2"));
            for wrong in [
                [nodes.as_slice(), &[root]].concat(),
                nodes.iter().copied().skip(1).collect(),
                changed
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_str)
                    .collect(),
            ] {
                let wrong = (wrong != nodes).then(|| Proof::parse(wrong).unwrap());
                assert!(!admitted(address(member), wrong));
            }
        }
    }
}

#[test]
fn a_proof_has_up_to_64_nodes_of_32_bytes() {
    let node = format!("0x{}", "ab".repeat(32));
    let nodes = |count: usize| Proof::parse(std::iter::repeat_n(node.as_str(), count));
    assert!(nodes(0).is_ok() && nodes(64).is_ok());
    assert_eq!(nodes(65), Err(ProofError::Long));
    for wrong in [
        "",
        "0x",
        "ab",
        &node[2..],
        &node[..65],
        &format!("{node}00"),
        &node.replace('b', "g"),
    ] {
        assert_eq!(
            Proof::parse([node.as_str(), wrong]),
            Err(ProofError::Node(1)),
            "{wrong}"
        );
    }
}

#[test]
fn an_answer_shorter_than_a_word_is_no_balance() {
    let (contract, owner) = (OWN, OWN);
    for read in [
        Read::Erc721Balance { contract, owner },
        Read::Erc20Balance { contract, owner },
        Read::NativeBalance { owner },
    ] {
        for length in [0, 1, 31] {
            assert_eq!(read.decode(&vec![0; length]), Err(Unreadable), "{read:?}");
        }
        assert!(read.decode(&[0; 32]).is_ok(), "{read:?}");
    }
}

#[test]
fn a_time_includes_its_start_and_not_its_end() {
    let at = |require: &str, time: &str| {
        let gate = beside_a_list(require);
        let time = time.parse().unwrap();
        gate.evaluate(&of_key(OWN), &Facts::default().within(gate.fresh, time))
    };
    let both = r#"{ time = { from = "2026-12-01T00:00:00Z", until = "2027-01-01T00:00:00Z" } }"#;
    let from = r#"{ time = { from = "2026-12-01T00:00:00Z" } }"#;
    let until = r#"{ time = { until = "2026-12-01T00:00:00Z" } }"#;
    for (require, time, holds) in [
        (both, "2026-11-30T23:59:59.999Z", false),
        (both, "2026-12-01T00:00:00Z", true),
        (both, "2026-12-31T23:59:59.999Z", true),
        (both, "2027-01-01T00:00:00Z", false),
        (both, "2027-01-01T00:00:00.001Z", false),
        (both, "2999-01-01T00:00:00Z", false),
        (from, "2026-11-30T23:59:59.999Z", false),
        (from, "2999-01-01T00:00:00Z", true),
        (until, "1999-01-01T00:00:00Z", true),
        (until, "2026-12-01T00:00:00Z", false),
        (until, "2999-01-01T00:00:00Z", false),
    ] {
        assert_eq!(at(require, time), holds.into(), "{require} {time}");
    }
}

#[test]
fn what_the_configuration_opens_by_itself_rests_on_no_fact_and_nothing_else_does() {
    let resource = Resource::parse("media/a").unwrap();
    let decide = |require: &str, holders: &Holders, chain: Option<&Chain<'_>>| {
        let gate = gate(require);
        let facts = chain.map_or_else(Facts::default, |chain| facts(&gate, holders, chain));
        let view = facts.within(gate.fresh, now());
        match gate.decide(holders, &resource, &view) {
            Decision::Granted(granted) => granted.basis().map_or("config", |_| "fact"),
            Decision::Denied => "denied",
            Decision::Unknown => "unknown",
        }
    };
    let listed = format!(r#"{{ allowlist = {{ addresses = ["{OWN}"], chain = "eip155:10" }} }}"#);
    let either = format!("{{ any = [ {{ erc721 = {{ AT }} }}, {listed} ] }}");
    let both = format!("{{ all = [ {{ not = {{ erc721 = {{ AT }} }} }}, {listed} ] }}");
    let holds = |_: &Read| Some(word(U256::ONE));
    let holds: &Chain<'_> = &holds;
    let own = of_key(OWN);
    assert_eq!(decide(&listed, &own, None), "config");
    assert_eq!(decide(&listed, &of_key(OTHER), None), "denied");
    assert_eq!(decide(&either, &own, None), "config");
    assert_eq!(decide(&either, &own, Some(holds)), "config");
    assert_eq!(decide(&either, &of_key(OTHER), None), "unknown");
    assert_eq!(decide(&either, &of_key(OTHER), Some(holds)), "fact");
    assert_eq!(decide(&both, &own, None), "unknown");
    assert_eq!(decide(&both, &own, Some(holds)), "denied");
    assert_eq!(
        decide(&both, &own, Some(&|_: &Read| Some(word(U256::ZERO)))),
        "fact"
    );
    // It counts nowhere near the token's chain, but what keeps out takes its address there: unread, that is unknown.
    assert_eq!(decide(&both, &by_contract(OWN, 10), None), "unknown");
}

#[test]
fn a_refusal_names_each_kind_in_its_own_words() {
    let gate = gate(&format!(
        r#"{{ all = [
  {{ erc4907 = {{ AT, token_ids = ["1-3"] }} }},
  {{ erc6551_owner = {{ chain = "eip155:1", account = "{CONTRACT}" }} }},
  {{ call = {{ AT, function = "function stakeOf(address) view returns (uint256, uint256 amount)", args = ["$address"], returns = "amount", compare = ">=", value = "100" }} }},
  {{ call = {{ AT, function = "function keeper() view returns (address)", compare = "==", value = "$address" }} }},
  {{ not = {{ allowlist = {{ addresses = ["{OWN}"] }} }} }},
  {{ allowlist = {{ merkle_root = "0x{}" }} }},
  {{ time = {{ until = "2026-01-01T00:00:00Z" }} }} ] }}"#,
        "ab".repeat(32)
    )
    .replace('\n', ""));
    let own = of_key(OWN);
    let chain = |read: &Read| match read {
        Read::View { calldata, .. } if calldata.len() > 4 => {
            Some([word(U256::from(1)), word(U256::from(99))].concat())
        }
        _ => Some(account(OTHER)),
    };
    let facts = facts(&gate, &own, &chain);
    let unmet = gate.unmet(&own, &facts.within(gate.fresh, now()));
    let found: Vec<_> = unmet
        .iter()
        .map(|leaf| ["kind", "needs", "has"].map(|name| leaf[name].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            ["erc4907", "used tokens ≥ 1", "0"],
            ["erc6551_owner", "owned accounts ≥ 1", "0"],
            ["call", "stakeOf.amount ≥ 100", "99"],
            ["call", "keeper.0 = the account", &OTHER.to_string()],
            ["allowlist", "not to be on the list", "on the list"],
            ["allowlist", "to be on the list", "no proof"],
            [
                "time",
                "time < 2026-01-01T00:00:00.000Z",
                "2026-12-01T00:00:00.000Z"
            ],
        ]
    );
}

#[test]
fn a_call_that_reverts_or_answers_nothing_is_no_answer() {
    let gate = gate(
        r#"{ call = { AT, function = "function keeper() view returns (address)", compare = "==", value = "$address" } }"#,
    );
    let reads = gate.reads(&of_key(OWN));
    assert_eq!(reads.len(), 1);
    for key in reads {
        for data in [
            &[][..],
            &[0x08, 0xc3, 0x79, 0xa0],
            &[0x7e, 0x27, 0x32, 0x89],
        ] {
            assert_eq!(key.read.reverted(data), Err(Unreadable), "{key:?}");
        }
        assert_eq!(key.read.decode(&[]), Err(Unreadable), "{key:?}");
    }
}

#[test]
fn a_reverted_question_about_a_token_admits_nobody_and_hides_no_owner() {
    let error = |reason: &str| {
        let mut data = vec![0x08, 0xc3, 0x79, 0xa0];
        data.extend(word(U256::from(32)));
        data.extend(word(U256::from(reason.len())));
        data.extend(reason.as_bytes());
        data.resize(data.len().next_multiple_of(32) + 4, 0);
        data
    };
    let typed = |selector: [u8; 4]| [&selector[..], &word(U256::from(7))].concat();
    let (yes, no, unknown) = (Truth::Yes, Truth::No, Truth::Unknown);
    // What is reverted with; whether it opens for the token, and for its absence.
    let table = [
        (error("ERC721: owner query for nonexistent token"), no, yes),
        (error("ERC721: invalid token ID"), no, yes),
        (error("NOT_MINTED"), no, yes),
        (error("ERC721A: owner query for nonexistent token"), no, yes),
        (
            error("ERC721A: unable to determine the owner of token"),
            no,
            yes,
        ),
        (error("003002"), no, yes),
        (typed([0x7e, 0x27, 0x32, 0x89]), no, yes),
        (vec![0xdf, 0x2d, 0x9b, 0x42], no, yes),
        (vec![0xce, 0xea, 0x21, 0xb6], no, yes),
        // Any words, an unknown error, an expired name, `require(false)`: burned, or something else.
        (error(""), no, unknown),
        (error("no such token"), no, unknown),
        (error("Address: low-level call failed"), no, unknown),
        (error("the ERC721: invalid token ID"), no, unknown),
        (typed([0xf8, 0x0d, 0xba, 0xea]), no, unknown),
        (vec![0xde, 0xad, 0xbe, 0xef], no, unknown),
        (vec![0x08, 0xc3, 0x79, 0xa0], no, unknown),
        (Vec::new(), no, unknown),
        // The contract does not answer at present.
        (error("Pausable: paused"), unknown, unknown),
        (error("paused"), unknown, unknown),
        (error("Token transfers are PAUSED"), unknown, unknown),
        (vec![0xd9, 0x3c, 0x06, 0x65], unknown, unknown),
        (vec![0x9e, 0x87, 0xfa, 0xc8], unknown, unknown),
        (typed([0x4e, 0x48, 0x7b, 0x71]), unknown, unknown),
    ];
    let leaves = [
        "{ erc721 = { AT, token_ids = [\"7\"] } }".to_owned(),
        "{ erc4907 = { AT, token_ids = [\"7\"] } }".to_owned(),
        format!("{{ erc6551_owner = {{ chain = \"eip155:1\", account = \"{CONTRACT}\" }} }}"),
    ];
    for leaf in leaves {
        let (admits, excludes) = (gate(&leaf), beside_a_list(&format!("{{ not = {leaf} }}")));
        let twice = beside_a_list(&format!("{{ not = {{ not = {leaf} }} }}"));
        for (data, admitted, not_excluded) in &table {
            let told = |gate: &Gate| {
                let chain = |_: &Read| Err(data.clone());
                let facts = facts_of(gate, &of_key(OWN), &chain);
                gate.evaluate(&of_key(OWN), &facts.within(gate.fresh, now()))
            };
            let said = hex::encode(data);
            assert_eq!(told(&admits), *admitted, "{leaf} {said}");
            assert_eq!(told(&excludes), *not_excluded, "not {leaf} {said}");
            assert_eq!(told(&twice), *admitted, "not not {leaf} {said}");
        }
    }
}

#[test]
fn a_token_that_is_burned_does_not_shut_out_the_owners_of_others() {
    let gate = gate(r#"{ erc721 = { AT, token_ids = ["7", "8"] } }"#);
    let chain = |read: &Read| match read {
        Read::Erc721Owner { token_id, .. } if *token_id == U256::from(8) => Some(account(OWN)),
        _ => None,
    };
    assert_eq!(truth(&gate, &of_key(OWN), &chain), Truth::Yes);
    assert_eq!(truth(&gate, &of_key(OTHER), &chain), Truth::No);
}

/// Conditions of each kind on chain 1, that a wallet meets which has something there; and what a chain answers where
/// `has` says which accounts do. The last is met by a wallet that has nothing, and by no other.
fn kinds() -> Vec<String> {
    let call = |returns: &str, compare: &str, value: &str| {
        format!(
            r#"{{ call = {{ AT, function = "function f(address who) view returns ({returns})", args = ["$address"], compare = "{compare}", value = "{value}" }} }}"#
        )
    };
    vec![
        "{ erc721 = { AT } }".to_owned(),
        "{ erc721 = { AT, token_ids = [\"7\", \"8\"] } }".to_owned(),
        "{ erc1155 = { AT, token_ids = [\"7\"] } }".to_owned(),
        "{ erc1155 = { AT, token_ids = [\"7\", \"8\"] } }".to_owned(),
        "{ erc20 = { AT, at_least = \"1\" } }".to_owned(),
        "{ native = { chain = \"eip155:1\", at_least = \"1\" } }".to_owned(),
        "{ erc4907 = { AT, token_ids = [\"7\"] } }".to_owned(),
        format!("{{ erc6551_owner = {{ chain = \"eip155:1\", account = \"{CONTRACT}\" }} }}"),
        r#"{ call = { AT, function = "function keeper() view returns (address)", compare = "==", value = "$address" } }"#.to_owned(),
        call("uint256", ">", "0"),
        call("bool", "==", "true"),
        LISTED.to_owned(),
        call("uint256", "==", "0"),
    ]
}

/// Stands for a list of the accounts that have something.
const LISTED: &str = "LISTED";

fn with_list(kind: &str, has: &[Address]) -> String {
    let mut listed: Vec<_> = has.iter().map(|address| format!("\"{address}\"")).collect();
    listed.push(format!("\"{CONTRACT}\""));
    let list = format!(
        "{{ allowlist = {{ addresses = [{}] }} }}",
        listed.join(", ")
    );
    kind.replace(LISTED, &list)
}

/// A chain on which these accounts have something; of what only one can have, the first does.
fn held_by(has: &[Address]) -> impl Fn(&Read) -> Option<Vec<u8>> {
    let has = has.to_vec();
    let first = has.first().copied().unwrap_or(NOBODY);
    move |read: &Read| {
        let amount = |owner: &Address| word(U256::from(u8::from(has.contains(owner))));
        Some(match read {
            Read::Erc721Balance { owner, .. }
            | Read::Erc20Balance { owner, .. }
            | Read::Erc1155Balance { owner, .. }
            | Read::NativeBalance { owner } => amount(owner),
            Read::Erc1155Balances { owner, .. } => [
                word(U256::from(32)),
                word(U256::from(2)),
                amount(owner),
                amount(owner),
            ]
            .concat(),
            Read::Erc721Owner { .. } | Read::Erc4907User { .. } | Read::AccountOwner { .. } => {
                account(first)
            }
            Read::View { calldata, .. } if calldata.len() == 4 => account(first),
            Read::View { calldata, .. } => {
                let asked = has.iter().any(|who| calldata.ends_with(who.as_bytes()));
                word(U256::from(u8::from(asked)))
            }
            Read::Delegation { .. } => word(U256::ZERO),
        })
    }
}

const SOMEBODY: Address = Address::from_bytes([6; 20]);

/// A wallet as a session may have it: by its key, or by a contract on the chain of [`kinds`] or on another.
fn wallet(address: Address, control: u8) -> Wallet {
    let control = match control {
        0 => Control::Key,
        1 => Control::Contract(ChainId::new(1).unwrap()),
        _ => Control::Contract(ChainId::new(10).unwrap()),
    };
    Wallet { address, control }
}

/// A gate that keeps out whom `require` says, beside what everybody here meets.
fn keeping_out(require: &str) -> Gate {
    let list = format!(
        r#"{{ allowlist = {{ addresses = ["{OWN}", "{OTHER}", "{SOMEBODY}"], chain = "eip155:10" }} }}"#
    );
    gate(&format!(
        "{{ any = [ {{ all = [ {list}, {require} ] }}, {{ all = [ {{ allowlist = {{ addresses = [\"{OWN}\", \"{OTHER}\"], chain = \"eip155:1\" }} }}, {require} ] }} ] }}"
    ))
}

#[test]
fn a_wallet_proven_elsewhere_is_kept_out_as_one_proven_here() {
    for kind in kinds() {
        // What a new wallet meets keeps out by itself; all else does under `not`.
        let met_by_new = kind.contains(r#""==", value = "0""#);
        let out = if met_by_new {
            kind.clone()
        } else {
            format!("{{ not = {kind} }}")
        };
        for out in [
            out.clone(),
            format!("{{ not = {{ not = {out} }} }}"),
            format!("{{ all = [ {out}, {{ time = {{ until = \"2090-01-01T00:00:00Z\" }} }} ] }}"),
        ] {
            let gate = keeping_out(&with_list(&out, &[OWN]));
            for control in 0..3 {
                let told = |has: &[Address]| {
                    let holders = Holders::new([wallet(OWN, control)], None);
                    let chain = held_by(has);
                    let facts = facts(&gate, &holders, &chain);
                    let view = facts.within(gate.fresh, now());
                    let truth = gate.evaluate(&holders, &view);
                    let unmet = gate.unmet(&holders, &view);
                    assert_eq!(truth == Truth::Yes, unmet.is_empty(), "{out} {control}");
                    let explained = gate.explain(&holders, &view).to_string();
                    assert!(!explained.contains("\"met\":null"), "{out} {explained}");
                    truth
                };
                assert_eq!(told(&[OWN]), Truth::No, "{out} by {control}");
                // What others have is nothing to this wallet. A list has been written for it.
                if !out.contains(LISTED) {
                    assert_eq!(told(&[OTHER]), Truth::Yes, "{out} by {control}");
                }
            }
        }
    }
}

#[test]
fn what_lets_in_counts_only_wallets_proven_there_also_below_two_nots() {
    for kind in kinds() {
        let met_by_new = kind.contains(r#""==", value = "0""#);
        let gate = if met_by_new {
            keeping_out(&format!("{{ not = {kind} }}"))
        } else {
            keeping_out(&format!(
                "{{ not = {{ not = {} }} }}",
                with_list(&kind, &[OWN])
            ))
        };
        for control in 0..3 {
            let holders = Holders::new([wallet(OWN, control)], None);
            let chain = held_by(&[OWN]);
            // Of no chain, a list believes keys alone.
            let counts = control == 0 || control == 1 && kind != LISTED;
            let expected = if counts { Truth::Yes } else { Truth::No };
            assert_eq!(truth(&gate, &holders, &chain), expected, "{kind} {control}");
        }
    }
}

#[test]
fn a_call_that_new_wallets_meet_keeps_out_also_beside_a_new_one() {
    let not_banned = r#"{ call = { AT, function = "function banned(address who) view returns (bool)", args = ["$address"], compare = "==", value = "false" } }"#;
    let gate = keeping_out(not_banned);
    for control in 0..3 {
        let banned = wallet(OWN, control);
        for wallets in [
            vec![banned],
            vec![banned, Wallet::of_key(OTHER)],
            vec![Wallet::of_key(OTHER), banned],
        ] {
            let holders = Holders::new(wallets, None);
            let facts = facts(&gate, &holders, &held_by(&[OWN]));
            let view = facts.within(gate.fresh, now());
            assert_eq!(gate.evaluate(&holders, &view), Truth::No, "{holders:?}");
            // The answer that is shown is that of the wallet that is kept out.
            let unmet = gate.unmet(&holders, &view);
            let shown = unmet.iter().find(|leaf| leaf["kind"] == "call").unwrap();
            assert_eq!(shown["has"], "true");
            let clean = held_by(&[SOMEBODY]);
            assert_eq!(truth(&gate, &holders, &clean), Truth::Yes, "{holders:?}");
        }
    }
}

#[test]
fn at_least_so_many_below_not_keep_out_by_address_too() {
    let gate = keeping_out(
        "{ not = { at_least = { count = 2, of = [ { erc721 = { AT } }, { erc20 = { AT, at_least = \"1\" } }, { native = { chain = \"eip155:1\", at_least = \"1\" } } ] } } }",
    );
    let holds = |banned: bool| {
        move |read: &Read| match read {
            Read::NativeBalance { .. } => Some(word(U256::ZERO)),
            Read::Erc20Balance { .. } => Some(word(U256::from(u8::from(banned)))),
            _ => Some(word(U256::ONE)),
        }
    };
    for chain in [1, 10] {
        let holders = by_contract(OWN, chain);
        assert_eq!(truth(&gate, &holders, &holds(true)), Truth::No, "{chain}");
        assert_eq!(truth(&gate, &holders, &holds(false)), Truth::Yes, "{chain}");
    }
}

#[test]
fn different_calls_have_different_keys_of_bounded_length() {
    let key = |function: &str, arg: &str, returns: &str| {
        let gate = beside_a_list(&format!(
            r#"{{ call = {{ AT, function = "{function}", args = ["{arg}"], returns = "{returns}", compare = "!=", value = "0" }} }}"#
        ));
        let key = gate.reads(&of_key(OWN)).pop_first().unwrap();
        key.store_key()
    };
    let two = "function f(bytes) view returns (uint256, uint256)";
    let keys = [
        key(two, "0x01", "0"),
        key(two, "0x01", "1"),
        key(two, "0x02", "0"),
        key(
            "function g(bytes) view returns (uint256, uint256)",
            "0x01",
            "0",
        ),
        key("function f(bytes) view returns (uint256)", "0x01", "0"),
        key(
            "function f(bytes) view returns (int256, uint256)",
            "0x01",
            "0",
        ),
        key(two, &format!("0x{}", "ab".repeat(4096)), "0"),
    ];
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "{keys:?}");
    assert!(keys.iter().all(|key| key.len() < 160), "{keys:?}");
}

#[test]
fn kept_answers_are_read_back_only_as_what_they_are() {
    let read_of = |returns: &str| {
        let gate = beside_a_list(&format!(
            r#"{{ call = {{ AT, function = "function f() view returns ({returns})", compare = "!=", value = "VALUE" }} }}"#
        ).replace("VALUE", if returns == "bool" { "true" } else { "0x01" }));
        gate.reads(&of_key(OWN)).pop_first().unwrap().read
    };
    let (truth, bytes) = (read_of("bool"), read_of("bytes"));
    let entry = |value: &str| format!(r#"{{"e":1,"v":"{value}","b":1,"t":1}}"#).into_bytes();
    let one = format!("w{:064x}", 1);
    assert!(Fact::from_bytes(&truth, &entry(&one)).is_some());
    assert!(Fact::from_bytes(&bytes, &entry("b01")).is_some());
    let long = format!("b{}", "00".repeat(MAX_VALUE_LEN + 1));
    for (read, value) in [
        (&truth, format!("w{:064x}", 2)),
        (&truth, format!("w{:062x}", 1)),
        (&truth, "b01".to_owned()),
        (&truth, "a1".to_owned()),
        (&truth, "n".to_owned()),
        (&bytes, one.clone()),
        (&bytes, "b0".to_owned()),
        (&bytes, long),
    ] {
        assert_eq!(Fact::from_bytes(read, &entry(&value)), None, "{value}");
    }
    let native = Read::NativeBalance { owner: OWN };
    assert_eq!(Fact::from_bytes(&native, &entry(&one)), None);
    let facts = Fact::from_bytes(&truth, &entry(&one)).unwrap();
    assert!(matches!(facts.value, Value::Returned(_)));
    assert!(facts.is_within(Duration::ZERO, facts.read_at));
}

/// A type and a text of one of its values, as both readers take them.
fn typed() -> impl Strategy<Value = (String, String)> {
    let bytes = |count: std::ops::RangeInclusive<usize>| {
        prop::collection::vec(any::<u8>(), count)
            .prop_map(|bytes| format!("0x{}", hex::encode(bytes)))
    };
    let plain = prop_oneof![
        (1..=32_usize, any::<u8>())
            .prop_map(|(bytes, value)| (format!("uint{}", bytes * 8), value.to_string())),
        any::<[u8; 32]>()
            .prop_map(|word| ("uint".to_owned(), U256::from_be_bytes(word).to_string())),
        (1..=32_usize, any::<i8>())
            .prop_map(|(bytes, value)| (format!("int{}", bytes * 8), value.to_string())),
        any::<bool>().prop_map(|value| ("bool".to_owned(), value.to_string())),
        bytes(20..=20).prop_map(|text| ("address".to_owned(), text)),
        (1..=32_usize).prop_flat_map(move |length| {
            bytes(length..=length).prop_map(move |text| (format!("bytes{length}"), text))
        }),
        bytes(0..=70).prop_map(|text| ("bytes".to_owned(), text)),
        "[a-z][a-z ]{0,40}[a-z]".prop_map(|text| ("string".to_owned(), text)),
    ];
    plain.prop_recursive(3, 12, 3, |inner| {
        let tuple = (prop::collection::vec(inner.clone(), 1..4), any::<bool>());
        prop_oneof![
            (inner.clone(), 0..3_usize).prop_map(|((ty, value), count)| {
                (
                    format!("{ty}[]"),
                    format!("[{}]", vec![value; count].join(", ")),
                )
            }),
            (inner, 1..3_usize).prop_map(|((ty, value), count)| {
                (
                    format!("{ty}[{count}]"),
                    format!("[{}]", vec![value; count].join(",")),
                )
            }),
            tuple.prop_map(|(mut parts, quoted)| {
                if quoted {
                    parts.push(("string".to_owned(), "\"a, [b]) \"".to_owned()));
                }
                let (types, values): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
                (
                    format!("({})", types.join(",")),
                    format!("({})", values.join(", ")),
                )
            }),
        ]
    })
}

/// The calldata that alloy makes of a signature and texts.
fn by_alloy(signature: &str, args: &[&str]) -> Option<Vec<u8>> {
    let function = alloy_json_abi::Function::parse(signature).ok()?;
    let values = function.inputs.iter().zip(args).map(|(param, text)| {
        let ty: DynSolType = param.resolve().ok()?;
        ty.coerce_str(text).ok()
    });
    let arguments = DynSolValue::Tuple(values.collect::<Option<_>>()?).abi_encode_params();
    Some([function.selector().as_slice(), &arguments].concat())
}

proptest! {
    #[test]
    fn signatures_and_texts_are_read_as_alloy_reads_them(parts in prop::collection::vec(typed(), 0..4)) {
        let types: Vec<&str> = parts.iter().map(|(ty, _)| ty.as_str()).collect();
        let args: Vec<&str> = parts.iter().map(|(_, text)| text.as_str()).collect();
        let signature = format!("function f({}) view returns (bool)", types.join(", "));
        let function = Function::parse(&signature).unwrap();
        let calldata = function.calldata(&args).unwrap();
        prop_assert!(!calldata.names_account());
        prop_assert_eq!(Some(calldata.about(OWN)), by_alloy(&signature, &args), "{} {:?}", signature, args);
    }

    /// The other way round there is more that alloy takes: units, exponents, addresses with wrong checksums.
    #[test]
    fn what_is_accepted_alloy_accepts(signature in "function [a-z(]{1,3}[()a-z0-9, \\[\\]]{0,24} (view|pure|) returns \\([a-z0-9,]{0,10}\\)", argument in "[-0-9a-fx\\[\\](),. \"]{0,12}", ty in "(u?int(8|256|)|bool|bytes[1-4]?|address)(\\[2?\\])?") {
        if Function::parse(&signature).is_ok() {
            prop_assert!(alloy_json_abi::Function::parse(&signature).is_ok(), "{}", signature);
        }
        let signature = format!("function f({ty}) view returns (bool)");
        let function = Function::parse(&signature).unwrap();
        if let Ok(calldata) = function.calldata(&[&argument]) {
            prop_assert_eq!(Some(calldata.about(OWN)), by_alloy(&signature, &[argument.trim()]), "{} {:?}", ty, argument);
        }
    }

    /// Whoever is kept out stays out with more wallets, whichever way those were proven.
    #[test]
    fn another_wallet_in_a_session_never_opens_a_not(which in 0..13_usize, controls in prop::collection::vec(0..3_u8, 3), has in prop::collection::vec(any::<bool>(), 3), count in 1..3_usize, unread in prop::collection::vec(any::<bool>(), 3)) {
        let everybody = [OWN, OTHER, SOMEBODY];
        let has: Vec<_> = everybody.into_iter().zip(has).filter(|(_, has)| *has).map(|(who, _)| who).collect();
        let kind = kinds()[which].clone();
        let gate = keeping_out(&format!("{{ not = {} }}", with_list(&kind, &has)));
        let wallets: Vec<_> = everybody.into_iter().zip(controls).map(|(who, control)| wallet(who, control)).collect();
        let answers = held_by(&has);
        let told = |wallets: &[Wallet]| {
            let holders = Holders::new(wallets.iter().copied(), None);
            let about = |read: &Read| everybody.iter().position(|who| match read {
                Read::Erc721Balance { owner, .. } | Read::Erc20Balance { owner, .. } | Read::Erc1155Balance { owner, .. } | Read::Erc1155Balances { owner, .. } | Read::NativeBalance { owner } => owner == who,
                Read::View { calldata, .. } => calldata.ends_with(who.as_bytes()),
                _ => false,
            });
            // What is about some of the accounts cannot be read.
            let chain = |read: &Read| answers(read).filter(|_| !about(read).is_some_and(|at| unread[at]));
            let facts = facts(&gate, &holders, &chain);
            let view = facts.within(gate.fresh, now());
            // The lists beside it admit whom they name; only the part under `not` is looked at.
            let explained = gate.explain(&holders, &view);
            let met = explained["any"][0]["all"][1]["not"].get("met").unwrap();
            (met.clone(), gate.evaluate(&holders, &view))
        };
        let (fewer, more) = (told(&wallets[..count]), told(&wallets));
        // Under `not`, met is no.
        prop_assert!(!(fewer.0 == Json::Bool(true) && more.0 != Json::Bool(true)), "{} {:?} {:?}", kind, fewer, more);
        prop_assert!(!(fewer.0 == Json::Null && more.0 == Json::Bool(false)), "{} {:?} {:?}", kind, fewer, more);
    }

    #[test]
    fn no_answer_of_a_contract_is_more_than_it_may_be(which in 0..6_usize, words in prop::collection::vec(prop_oneof![Just(U256::ZERO), (0..300_u64).prop_map(U256::from), any::<[u8; 32]>().prop_map(U256::from_be_bytes)], 0..12), cut in 0..40_usize) {
        let function = Function::parse("function f() view returns (uint8[2] a, int16, bytes, string, address, bytes3 z)").unwrap();
        let names = ["1", "2", "3", "4", "5", "z"];
        let element = function.element(names[which]).unwrap();
        let mut returned: Vec<u8> = words.iter().flat_map(U256::to_be_bytes::<32>).collect();
        returned.truncate(returned.len().saturating_sub(cut));
        if let Ok(value) = element.decode(&returned) {
            prop_assert!(returned.len() >= 7 * 32);
            prop_assert!(element.kind().has(&value));
            prop_assert!(element.kind().text(&value).len() <= 2 + 2 * MAX_VALUE_LEN);
        }
    }
}
