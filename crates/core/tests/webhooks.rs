//! Deliveries of events: vectors that another implementation signed (tests/vectors/README.md), and what becomes of
//! those that are forged, changed, late or about something else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod support;

use http::HeaderMap;
use serde_json::{Value, json};
use support::{headers, kind, read, sign, text};
use tokengate_core::secret::Secret;
use tokengate_core::transfer::{Log, TOPICS, Tokens, Transfer};
use tokengate_core::webhook::{Delivery, Key, KeyError, Kind, Malformed, Named, Unverified};
use tokengate_core::{Address, ChainId, Timestamp, U256};

const SECRET: &str = "a-signing-key-of-the-tests";
/// 24 bytes of 7.
const STANDARD_SECRET: &str = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

fn vectors() -> Vec<Value> {
    read("webhooks/deliveries.json")
}

fn at(vector: &Value, later: i64) -> Timestamp {
    Timestamp::from_second(vector["now"].as_i64().unwrap() + later).unwrap()
}

fn key(kind: Kind, secret: &str) -> Result<Key, KeyError> {
    Key::new(kind, &Secret::new(secret.to_owned()))
}

fn key_of(vector: &Value) -> Key {
    key(kind(vector), text(vector, "secret").unwrap()).unwrap()
}

/// A log as the vectors have it.
fn shown(log: &Log) -> Value {
    json!({
        "address": log.address.to_lower_hex(),
        "topics": log.topics.iter().map(|topic| format!("0x{}", hex::encode(topic))).collect::<Vec<_>>(),
        "data": format!("0x{}", hex::encode(&log.data)),
        "block": log.block,
        "removed": log.removed,
    })
}

#[test]
fn each_source_is_read_as_it_signs_and_writes() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 13);
    for vector in &vectors {
        let what = format!("{} {}", vector["kind"], vector["what"]);
        let (headers, body) = (headers(vector), text(vector, "body").unwrap());
        let verified = key_of(vector).verify(&headers, body.as_bytes(), at(vector, 0));
        let delivery = verified.expect(&what).read().expect(&what);
        let logs: Vec<_> = delivery.logs.iter().map(shown).collect();
        assert_eq!(Value::from(logs), vector["logs"], "{what}");
        let chain = match &delivery.chain {
            Named::Chain(chain) => Some(chain.to_string()),
            Named::Nothing | Named::Unknown(_) => None,
        };
        assert_eq!(chain.as_deref(), text(vector, "chain"), "{what}");
        assert_eq!(delivery.skipped, vector["skipped"], "{what}");
        let id = match kind(vector) {
            Kind::Alchemy => serde_json::from_str::<Value>(body).unwrap()["id"].clone(),
            Kind::QuickNode => vector["headers"]["x-qn-nonce"].clone(),
            Kind::Moralis => vector["headers"]["x-signature"].clone(),
            Kind::Standard => vector["headers"]["webhook-id"].clone(),
        };
        assert_eq!(delivery.id.as_deref(), id.as_str(), "{what}");
        // All but one of the logs are transfers.
        let approval = "0x17307eab39ab6107e8899845ad3d59bd9653f200f220920489ca2b5937696c31";
        for log in &delivery.logs {
            let is_transfer = !Transfer::read(log).unwrap().is_empty();
            assert_eq!(is_transfer, shown(log)["topics"][0] != approval, "{what}");
        }
    }
}

#[test]
fn what_the_source_did_not_sign_so_is_not_read() {
    for vector in vectors() {
        let kind = kind(&vector);
        let (good, body) = (headers(&vector), text(&vector, "body").unwrap());
        let verify = |headers: &HeaderMap, body: &str, later: i64| {
            let now = at(&vector, later);
            let outcome = key_of(&vector).verify(headers, body.as_bytes(), now);
            outcome.map(|_| ()).err()
        };
        assert_eq!(verify(&good, body, 0), None);
        // Another body: changed, cut short, lengthened, nothing at all.
        let (cut, spaced) = (&body[..body.len() - 1], format!("{body} "));
        let renamed = body.replacen('"', "'", 1);
        for other in [renamed.as_str(), cut, &spaced, ""] {
            assert_eq!(verify(&good, other, 0), Some(Unverified::Forged));
        }
        // Another key, of the same source and of another.
        let other = match kind {
            Kind::Standard => "whsec_CAgICAgICAgICAgICAgICAgICAgICAgI",
            _ => "another-signing-key-of-the-tests",
        };
        let stranger = key(kind, other).unwrap();
        let forged = stranger.verify(&good, body.as_bytes(), at(&vector, 0));
        assert_eq!(forged.err(), Some(Unverified::Forged));
        // Each field missing, twice, empty, in other words.
        for name in good.keys() {
            let mut missing = good.clone();
            missing.remove(name);
            assert_eq!(verify(&missing, body, 0), Some(Unverified::Unsigned));
            let mut twice = good.clone();
            twice.append(name, good[name].clone());
            assert_eq!(verify(&twice, body, 0), Some(Unverified::Unsigned));
            for words in ["", "0", "0x", "v1,", "1800000001"] {
                let mut other = good.clone();
                other.insert(name, words.parse().unwrap());
                assert_eq!(
                    verify(&other, body, 0),
                    Some(Unverified::Forged),
                    "{kind:?} {name}: {words:?}"
                );
            }
        }
        // Later and earlier, where times are signed: two seconds before the vectors' now, and three after it.
        let signs_times = |offset: i64| match kind {
            Kind::QuickNode => Some(-2 + offset),
            Kind::Standard => Some(3 + offset),
            Kind::Alchemy | Kind::Moralis => None,
        };
        for (offset, timely) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let now = signs_times(offset).unwrap_or(offset);
            let expected = (!timely && signs_times(0).is_some()).then_some(Unverified::Untimely);
            assert_eq!(verify(&good, body, now), expected, "{kind:?} {offset}");
        }
    }
}

#[test]
fn times_are_canonical_and_signatures_of_a_rotation_are_all_tried() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let body = r#"{"logs":[]}"#;
    for (time, expected) in [
        ("1800000000", None),
        ("01800000000", Some(Unverified::Untimely)),
        ("+1800000000", Some(Unverified::Untimely)),
        ("1800000000000", Some(Unverified::Untimely)),
        ("18446744073709551616", Some(Unverified::Untimely)),
        ("now", Some(Unverified::Untimely)),
        ("", Some(Unverified::Untimely)),
    ] {
        for (kind, secret) in [(Kind::QuickNode, SECRET), (Kind::Standard, STANDARD_SECRET)] {
            let headers = sign(kind, secret, body, time);
            let key = key(kind, secret).unwrap();
            let outcome = key.verify(&headers, body.as_bytes(), now);
            assert_eq!(outcome.err(), expected, "{kind:?} {time:?}");
        }
    }
    // Of very many signatures not all are tried: each costs a hash of the body.
    let mut headers = sign(Kind::Standard, STANDARD_SECRET, body, "1800000000");
    let good = headers["webhook-signature"].to_str().unwrap().to_owned();
    let key = key(Kind::Standard, STANDARD_SECRET).unwrap();
    for (others, expected) in [(15, None), (16, Some(Unverified::Forged))] {
        let text = format!("{}{good}", "v1,AAAA ".repeat(others));
        headers.insert("webhook-signature", text.parse().unwrap());
        let outcome = key.verify(&headers, body.as_bytes(), now);
        assert_eq!(outcome.err(), expected, "{others}");
    }
}

#[test]
fn short_and_misshapen_secrets_are_no_keys() {
    for kind in [Kind::Alchemy, Kind::QuickNode, Kind::Moralis] {
        assert!(key(kind, "0123456789abcdef").is_ok());
        for short in ["", "0123456789abcde"] {
            assert_eq!(key(kind, short).unwrap_err(), KeyError::Short);
        }
    }
    assert!(key(Kind::Standard, "whsec_AAAAAAAAAAAAAAAAAAAAAA==").is_ok());
    for (text, error) in [
        ("whsec_", KeyError::Short),
        ("whsec_AAAAAAAAAAAAAAAAAAAA", KeyError::Short),
        ("whsec_AAAAAAAAAAAAAAAAAAAAAA", KeyError::Shape),
        ("whsec_not base64 at all, but long", KeyError::Shape),
        ("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH", KeyError::Shape),
        ("", KeyError::Shape),
    ] {
        assert_eq!(key(Kind::Standard, text).unwrap_err(), error, "{text}");
    }
    let shown = format!("{:?}", key(Kind::Alchemy, SECRET).unwrap());
    assert!(shown.contains("[redacted]") && !shown.contains("a-signing"));
}

fn delivery(kind: Kind, body: &str) -> Result<Delivery, Malformed> {
    let secret = match kind {
        Kind::Standard => STANDARD_SECRET,
        _ => SECRET,
    };
    let headers = sign(kind, secret, body, "1800000000");
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let key = key(kind, secret).unwrap();
    let verified = key.verify(&headers, body.as_bytes(), now).unwrap();
    verified.read()
}

#[test]
fn a_body_of_another_shape_is_malformed_and_an_unreadable_log_is_skipped() {
    let kinds = [
        Kind::Alchemy,
        Kind::QuickNode,
        Kind::Moralis,
        Kind::Standard,
    ];
    let deep = format!("{}1{}", "[".repeat(2000), "]".repeat(2000));
    for body in [
        "",
        "null",
        "7",
        "\"logs\"",
        "{}",
        "{\"logs\":",
        "\u{0}",
        &deep,
    ] {
        for kind in kinds {
            assert_eq!(delivery(kind, body), Err(Malformed), "{kind:?} {body}");
        }
    }
    for (kind, body) in [
        (Kind::Alchemy, "[]"),
        (Kind::Alchemy, r#"{"event":{"network":"ETH_MAINNET"}}"#),
        (Kind::Alchemy, r#"{"event":{"activity":{}}}"#),
        (
            Kind::Alchemy,
            r#"{"event":{"data":{"block":{"logs":null}}}}"#,
        ),
        (Kind::Moralis, r#"{"logs":[]}"#),
        (Kind::Moralis, r#"{"logs":[],"chainId":1}"#),
        (Kind::Moralis, r#"{"logs":[],"chainId":"0x0"}"#),
        (Kind::Moralis, r#"{"logs":[],"chainId":"mainnet"}"#),
        (Kind::Moralis, r#"{"logs":{},"chainId":"0x1"}"#),
        (Kind::Standard, r#"{"logs":[],"chain":"1"}"#),
        (Kind::Standard, r#"{"logs":[],"chain":1}"#),
        (Kind::Standard, r#"{"logs":null,"chain":"eip155:1"}"#),
        (Kind::QuickNode, r#"{"error":"none"}"#),
    ] {
        assert_eq!(delivery(kind, body), Err(Malformed), "{kind:?} {body}");
    }
    let log = json!({"address": format!("0x{}", "5f".repeat(20)), "topics": [format!("0x{}", "ab".repeat(32))], "data": "0x01", "blockNumber": "0x7"});
    let with = |member: &str, value: Value| {
        let mut log = log.clone();
        log[member] = value;
        log
    };
    for (entry, read) in [
        (log.clone(), true),
        (with("blockNumber", 7.into()), true),
        (with("blockNumber", "7".into()), true),
        (with("data", Value::Null), true),
        (with("removed", Value::Null), true),
        (with("removed", true.into()), true),
        (with("topics", json!([])), true),
        (with("removed", "true".into()), false),
        (with("blockNumber", Value::Null), false),
        (with("blockNumber", "0x".into()), false),
        (with("blockNumber", "0x+7".into()), false),
        (with("blockNumber", (-7).into()), false),
        (with("blockNumber", 7.5.into()), false),
        (with("blockNumber", "18446744073709551616".into()), false),
        (with("address", Value::Null), false),
        (with("address", "0x5f".into()), false),
        (with("data", "01".into()), false),
        (with("data", "0x0".into()), false),
        (with("topics", json!(["0xab"])), false),
        (with("topics", json!([7])), false),
        (
            with("topics", Value::from(vec![log["topics"][0].clone(); 5])),
            false,
        ),
        (7.into(), false),
        ("log".into(), false),
    ] {
        for (kind, body) in [
            (Kind::Standard, json!({"logs": [entry, log]})),
            (Kind::QuickNode, json!([[entry, log]])),
        ] {
            let delivery = delivery(kind, &body.to_string()).unwrap();
            let found = (delivery.logs.len(), delivery.skipped);
            let expected = if read { (2, 0) } else { (1, 1) };
            assert_eq!(found, expected, "{kind:?} {entry}");
        }
    }
    // A name too long to be kept is none.
    for (len, kept) in [(0, false), (1, true), (256, true), (257, false)] {
        let body = json!({"id": "x".repeat(len), "event": {"activity": []}});
        let delivery = delivery(Kind::Alchemy, &body.to_string()).unwrap();
        assert_eq!(delivery.id.is_some(), kept, "{len}");
    }
}

/// The accounts, the block and the tokens of what Moralis tells.
fn told(body: &Value) -> (usize, Vec<(Address, Address, Tokens)>, usize) {
    let read = delivery(Kind::Moralis, &body.to_string()).unwrap();
    let transfers = read.logs.iter().flat_map(|log| {
        assert_eq!(log.block, 7);
        Transfer::read(log).unwrap()
    });
    let transfers = transfers.map(|transfer| (transfer.from, transfer.to, transfer.tokens));
    (read.logs.len(), transfers.collect(), read.skipped)
}

#[test]
fn transfers_that_moralis_tells_without_logs_are_read() {
    let account = |byte| Address::from_bytes([byte; 20]);
    let transfer = |index: u64, number: &str| {
        json!({
            "transactionHash": "0xab", "logIndex": index.to_string(), "contract": account(9),
            "from": account(1), "to": account(2), "tokenId": number, "value": number, "amount": "1",
        })
    };
    let body = |logs: Value, nfts: Value, erc20: Value| {
        json!({
            "chainId": "0x1", "block": {"number": "7"},
            "logs": logs, "nftTransfers": nfts, "erc20Transfers": erc20,
        })
    };
    let token = |id: u64| (account(1), account(2), Tokens::Token(U256::from(id)));
    let amount = (account(1), account(2), Tokens::Amount);
    let both = body(
        json!([]),
        json!([transfer(3, "5")]),
        json!([transfer(4, "6")]),
    );
    assert_eq!(told(&both), (2, vec![token(5), amount.clone()], 0));
    let without = |name: &str| {
        let mut body = both.clone();
        body.as_object_mut().unwrap().remove(name);
        told(&body)
    };
    assert_eq!(without("logs").1, [token(5), amount.clone()]);
    assert_eq!(without("nftTransfers").1, [amount]);
    // What is among the logs is told once, by its place in the chain.
    let topic = |byte| format!("0x{}{}", "00".repeat(12), format!("{byte:02x}").repeat(20));
    let log = json!({
        "transactionHash": "0xab", "logIndex": "3", "address": account(9), "data": "0x",
        "topic0": format!("0x{}", hex::encode(TOPICS[0])), "topic1": topic(1), "topic2": topic(2),
        "topic3": format!("0x{:064x}", 5),
    });
    let nfts = json!([transfer(3, "5"), transfer(4, "5")]);
    assert_eq!(
        told(&body(json!([log]), nfts, json!([]))),
        (2, vec![token(5); 2], 0)
    );
    // What cannot be read is counted.
    let broken = |name: &str| {
        let mut transfer = transfer(3, "5");
        transfer[name] = "x".into();
        transfer
    };
    let nfts = ["contract", "from", "to", "tokenId"].map(broken);
    assert_eq!(
        told(&body(json!([]), nfts.as_slice().into(), json!([]))),
        (0, vec![], 4)
    );
    let list = body(json!([]), json!({}), json!([]));
    assert_eq!(delivery(Kind::Moralis, &list.to_string()), Err(Malformed));
}

#[test]
fn a_network_is_named_by_a_known_name_an_unknown_one_or_not_at_all() {
    let chain = |network: Value| {
        let body = json!({"event": {"network": network, "activity": []}});
        delivery(Kind::Alchemy, &body.to_string()).map(|delivery| delivery.chain)
    };
    let known = |id| Ok(Named::Chain(ChainId::new(id).unwrap()));
    assert_eq!(chain("ETH_MAINNET".into()), known(1));
    assert_eq!(chain("RONIN_MAINNET".into()), known(2_020));
    assert_eq!(chain(Value::Null), Ok(Named::Nothing));
    assert_eq!(chain(7.into()), Err(Malformed));
    let unknown = |name: &str| Ok(Named::Unknown(name.into()));
    assert_eq!(chain("NEW_MAINNET".into()), unknown("NEW_MAINNET"));
    assert_eq!(
        chain("\u{9b}2J\u{202e}\n\"".into()),
        unknown("\\u{9b}2J\\u{202e}\\n\\\"")
    );
    assert_eq!(chain("x".repeat(5_000).into()), unknown(&"x".repeat(64)));
}
