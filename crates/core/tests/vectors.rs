//! Published and cross-checked vectors, run as data: EIP-4361, EIP-191, EIP-712, ERC-6492, ERC-8010, and Project
//! Wycheproof's for ECDSA. Their sources and licences are named in tests/vectors/README.md.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

mod support;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use support::{
    ACCEPTED, NO_CODE, REFUSED, SIGNER, bytes, concluded, concluded_with, read, text, twin,
};
use tokengate_core::eip4361::Message;
use tokengate_core::jsonrpc::{BlockTag, Call, eth_call};
use tokengate_core::signature::{RecoverableSignature, SignatureError, bytes_from_hex};
use tokengate_core::signer::{Scheme, Verification, VerifyError};
use tokengate_core::wallet::Control;
use tokengate_core::{Address, Timestamp, U256, eip191, eip712, erc6492, erc8010, rfc3339};

/// How the message's account is shown to have signed it, where the chain says of it what `verdict` stands for.
fn proven(
    message: &Message<'_>,
    scheme: Scheme,
    signature: Vec<u8>,
    verdict: u64,
) -> Result<Control, VerifyError> {
    concluded(message, scheme, signature, verdict).map(|signer| signer.wallet().control)
}

/// The message that the members of a vector's object stand for; what is absent is left out.
fn render(object: &Value) -> String {
    let line = |label: &str, member: &str| match object.get(member) {
        Some(Value::String(text)) => format!("\n{label}{text}"),
        Some(value) => format!("\n{label}{value}"),
        None => String::new(),
    };
    let statement = text(object, "statement")
        .map(|statement| format!("{statement}\n"))
        .unwrap_or_default();
    let mut message = format!(
        "{} wants you to sign in with your Ethereum account:{}\n\n{statement}",
        text(object, "domain").unwrap_or_default(),
        line("", "address")
    );
    for (label, member) in [
        ("URI: ", "uri"),
        ("Version: ", "version"),
        ("Chain ID: ", "chainId"),
        ("Nonce: ", "nonce"),
        ("Issued At: ", "issuedAt"),
        ("Expiration Time: ", "expirationTime"),
        ("Not Before: ", "notBefore"),
        ("Request ID: ", "requestId"),
    ] {
        message.push_str(&line(label, member));
    }
    if let Some(resources) = object.get("resources").and_then(Value::as_array) {
        message.push_str("\nResources:");
        for resource in resources {
            message.push_str(&format!("\n- {}", resource.as_str().unwrap()));
        }
    }
    message
}

fn assert_fields(name: &str, message: &Message<'_>, fields: &Value) {
    assert_eq!(Some(message.domain), text(fields, "domain"), "{name}");
    assert_eq!(Some(message.uri), text(fields, "uri"), "{name}");
    assert_eq!(Some(message.nonce), text(fields, "nonce"), "{name}");
    assert_eq!(message.scheme, text(fields, "scheme"), "{name}");
    assert_eq!(message.statement, text(fields, "statement"), "{name}");
    assert_eq!(message.request_id, text(fields, "requestId"), "{name}");
    assert_eq!(
        Some(message.address),
        text(fields, "address").map(|address| address.parse().unwrap()),
        "{name}"
    );
    assert_eq!(
        Some(message.chain.id()),
        fields["chainId"].as_u64(),
        "{name}"
    );
    assert_eq!(
        Some(message.issued_at),
        text(fields, "issuedAt").and_then(rfc3339::parse),
        "{name}"
    );
    assert_eq!(
        message.expiration_time,
        text(fields, "expirationTime").and_then(rfc3339::parse),
        "{name}"
    );
    assert_eq!(
        message.not_before,
        text(fields, "notBefore").and_then(rfc3339::parse),
        "{name}"
    );
    let resources = fields
        .get("resources")
        .and_then(Value::as_array)
        .map(|list| {
            list.iter()
                .map(|uri| uri.as_str().unwrap())
                .collect::<Vec<_>>()
        });
    assert_eq!(
        message.resources.clone().unwrap_or_default(),
        resources.unwrap_or_default(),
        "{name}"
    );
}

/// The message of the EIP's smallest form, with one part replaced.
fn with_rule(rule: &str, input: &str) -> String {
    let (origin, statement, uri, request_id) = match rule {
        "scheme" => (format!("{input}://service.org"), "", "uri:".to_owned(), ""),
        "statement" => ("service.org".to_owned(), input, "uri:".to_owned(), ""),
        "userinfo" => (format!("{input}@service.org"), "", "uri:".to_owned(), ""),
        "IPvFuture" => (format!("[{input}]"), "", "uri:".to_owned(), ""),
        "reg-name" => (format!("user@{input}"), "", "uri:".to_owned(), ""),
        "pct-encoded" | "segment-nz" => ("service.org".to_owned(), "", "uri:".to_owned(), input),
        "fragment" => ("service.org".to_owned(), "", format!("uri:#{input}"), ""),
        other => panic!("a rule without a place in the message: {other}"),
    };
    let statement = if statement.is_empty() {
        String::new()
    } else {
        format!("{statement}\n")
    };
    format!(
        "{origin} wants you to sign in with your Ethereum account:\n0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2\n\n{statement}\nURI: {uri}\nVersion: 1\nChain ID: 1\nNonce: 32891757\nIssued At: 2021-09-30T16:25:24.000Z\nRequest ID: {request_id}"
    )
}

/// Whether a vector's message is accepted at a time, for a domain and nonce: everything but the chain's part.
fn verifies(vector: &Value) -> bool {
    let rendered = render(vector);
    let Ok(message) = Message::parse(&rendered) else {
        return false;
    };
    // Vectors without a time were made to be judged by the clock of 2024.
    let now = text(vector, "time").unwrap_or("2024-01-01T00:00:00Z");
    let bound =
        |member: &str, value: &str| text(vector, member).is_none_or(|wanted| wanted == value);
    let Ok(signature) = bytes_from_hex(text(vector, "signature").unwrap()) else {
        return false;
    };
    message.is_current(rfc3339::parse(now).unwrap())
        && bound("domainBinding", message.domain)
        && bound("matchNonce", message.nonce)
        && proven(&message, Scheme::Eip191, signature, NO_CODE) == Ok(Control::Key)
}

#[test]
fn all_245_eip_4361_vectors_hold() {
    let mut count = 0;
    let mut each = |name: &str, judge: &dyn Fn(&str, &Value)| {
        for (case, vector) in read::<Map<String, Value>>(&format!("eip4361/{name}.json")) {
            judge(&format!("{name}: {case}"), &vector);
            count += 1;
        }
    };
    let parses_as = |case: &str, vector: &Value| {
        assert_fields(
            case,
            &Message::parse(text(vector, "message").unwrap())
                .unwrap_or_else(|error| panic!("{case}: {error}")),
            &vector["fields"],
        )
    };
    each("parsing/parsing_positive", &parses_as);
    // Warned about elsewhere, allowed by the EIP: an address in one case carries no checksum.
    each("parsing/parsing_warnings", &parses_as);
    each("parsing/parsing_negative", &|case, vector| {
        assert!(Message::parse(vector.as_str().unwrap()).is_err(), "{case}")
    });
    each("objects/message_objects", &|case, vector| {
        assert_eq!(
            Message::parse(&render(&vector["msg"])).is_ok(),
            vector["error"] == "none",
            "{case}"
        )
    });
    each("objects/parsing_negative_objects", &|case, vector| {
        assert!(Message::parse(&render(vector)).is_err(), "{case}")
    });
    let follows_rule = |case: &str, vector: &Value| {
        assert_eq!(
            Message::parse(&with_rule(
                text(vector, "rule").unwrap(),
                text(vector, "input").unwrap()
            ))
            .is_ok(),
            vector["answer"].as_bool().unwrap(),
            "{case}"
        )
    };
    each("grammar/valid_chars", &follows_rule);
    each("grammar/invalid_chars", &follows_rule);
    each("grammar/valid_uris", &|case, vector| {
        let message = text(vector, "msg").unwrap();
        assert_eq!(
            Message::parse(message)
                .map(|parsed| message.contains(&format!("\nURI: {}\n", parsed.uri))),
            Ok(true),
            "{case}"
        );
    });
    let refused = |case: &str, vector: &Value| {
        assert!(Message::parse(vector.as_str().unwrap()).is_err(), "{case}")
    };
    each("grammar/invalid_uris", &refused);
    each("grammar/invalid_resources", &refused);
    each("grammar/valid_resources", &|case, vector| {
        let parsed = Message::parse(text(vector, "msg").unwrap())
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(
            Value::from(parsed.resources.unwrap()),
            vector["resources"],
            "{case}"
        );
    });
    each("grammar/valid_specification", &|case, vector| {
        let parsed = Message::parse(text(vector, "msg").unwrap())
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        let items = serde_json::json!({"statement": parsed.statement, "requestId": parsed.request_id, "resources": parsed.resources});
        assert_eq!(items, vector["items"], "{case}");
    });
    each("verification/verification_positive", &|case, vector| {
        assert!(verifies(vector), "{case}")
    });
    each("verification/verification_negative", &|case, vector| {
        assert!(!verifies(vector), "{case}")
    });
    // Contracts signed these: the key behind such a signature is not the account, so only their code can accept it.
    each("verification/eip1271", &|case, vector| {
        let message = Message::parse(text(vector, "message").unwrap())
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        let by = |verdict| {
            let signature = bytes_from_hex(text(vector, "signature").unwrap()).unwrap();
            proven(&message, Scheme::Eip191, signature, verdict)
        };
        assert!(by(NO_CODE).is_err(), "{case}");
        assert_eq!(by(REFUSED), Err(VerifyError::Refused), "{case}");
        assert_eq!(by(ACCEPTED), Ok(Control::Contract(message.chain)), "{case}");
    });
    assert_eq!(count, 245);
}

#[test]
fn the_eip_191_vectors_hold() {
    let vectors: Vec<Value> = read("eip191/personal_sign.json");
    assert!(!vectors.is_empty());
    for vector in vectors {
        let message = text(&vector, "message").unwrap();
        assert_eq!(
            format!(
                "0x{}",
                hex::encode(eip191::hash_message(message.as_bytes()))
            ),
            text(&vector, "hash").unwrap()
        );
        let parsed = Message::parse(message).unwrap();
        assert_eq!(
            proven(
                &parsed,
                Scheme::Eip191,
                bytes(&vector, "signature"),
                NO_CODE
            ),
            Ok(Control::Key)
        );
        assert!(parsed.is_current("2026-06-01T00:00:00Z".parse::<Timestamp>().unwrap()));
    }
}

#[test]
fn the_eip_712_vectors_hold() {
    let vectors: Vec<Value> = read("eip712/sign_in.json");
    assert_eq!(vectors.len(), 3);
    for vector in &vectors {
        let name = text(vector, "name").unwrap();
        let message = Message::parse(text(vector, "message").unwrap())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(eip712::typed_data(&message), vector["typed_data"], "{name}");
        assert_eq!(
            eip712::hash_message(&message).as_slice(),
            bytes(vector, "hash"),
            "{name}"
        );
        let by = |scheme| proven(&message, scheme, bytes(vector, "signature"), NO_CODE);
        assert_eq!(by(Scheme::Eip712), Ok(Control::Key), "{name}");
        assert_eq!(by(Scheme::Eip191), Err(VerifyError::Mismatch), "{name}");
    }
}

#[test]
fn the_erc_6492_vectors_hold() {
    let vectors: Vec<Value> = read("erc6492/wrap.json");
    assert_eq!(vectors.len(), 4);
    for vector in &vectors {
        let wrapped = bytes(vector, "wrapped");
        let parts = erc6492::Wrapped {
            factory: text(vector, "factory").unwrap().parse().unwrap(),
            factory_calldata: bytes(vector, "data"),
            signature: bytes(vector, "signature"),
        };
        assert_eq!(erc6492::unwrap(&wrapped), Ok(Some(parts.clone())));
        assert_eq!(parts.to_bytes(), wrapped);
        assert_eq!(erc8010::unwrap(&wrapped), Ok(None));
        let message = Message::parse(text(vector, "message").unwrap()).unwrap();
        let hash = eip191::hash_message(message.text().as_bytes());
        let owner = RecoverableSignature::from_bytes(&parts.signature)
            .unwrap()
            .recover(&hash);
        assert_eq!(owner.unwrap().to_string(), text(vector, "owner").unwrap());
        for (verdict, expected) in [
            (NO_CODE, Err(VerifyError::NotDeployed)),
            (ACCEPTED, Ok(Control::Contract(message.chain))),
            (REFUSED, Err(VerifyError::Refused)),
        ] {
            let by = |factories: &[Address]| {
                let wrapped = wrapped.clone();
                concluded_with(&message, Scheme::Eip191, wrapped, verdict, factories)
                    .map(|signer| signer.wallet().control)
            };
            assert_eq!(by(&[parts.factory]), expected);
            let unlisted = Err(VerifyError::UnlistedFactory(parts.factory));
            assert_eq!(by(&[]), unlisted);
        }
    }
}

#[test]
fn the_erc_8010_vectors_hold() {
    let vectors: Vec<Value> = read("erc8010/wrap.json");
    assert_eq!(vectors.len(), 4);
    for vector in &vectors {
        let address = |value: &Value| value.as_str().map(|text| text.parse::<Address>().unwrap());
        let signer = address(&vector["address"]).unwrap();
        let wrapped = bytes(vector, "wrapped");
        assert_eq!(erc6492::unwrap(&wrapped), Ok(None));
        let parts = erc8010::unwrap(&wrapped).unwrap().unwrap();
        assert_eq!(parts.signature, bytes(vector, "signature"));
        // Where the wrapper names no target for its call, that is the account itself.
        let initialisation = vector["data"].as_str().map(|data| {
            let to = address(&vector["to"]).unwrap_or(signer);
            (to, bytes_from_hex(data).unwrap())
        });
        assert_eq!(parts.initialisation, initialisation);
        let authorization = &parts.authorization;
        assert_eq!(Some(authorization.chain), vector["chain_id"].as_u64());
        assert_eq!(Some(authorization.nonce), vector["nonce"].as_u64());
        assert_eq!(
            Some(authorization.delegation),
            address(&vector["delegation"])
        );
        assert_eq!(authorization.authority(), Ok(signer));
        assert_eq!(
            RecoverableSignature::from_bytes(&parts.signature)
                .unwrap()
                .recover(&bytes(vector, "hash").try_into().unwrap()),
            Ok(signer)
        );
        // Its signature is seen in what a node is asked. Quantities have no leading zeros there.
        let call = Call::to(signer, vec![]).authorized_by(authorization);
        let request: Value =
            serde_json::from_slice(&eth_call(&call, BlockTag::Latest).to_body()).unwrap();
        let scalar = |member: &str| {
            let digits = text(&vector["authorization"], member).unwrap();
            format!("{:#x}", digits.parse::<U256>().unwrap())
        };
        assert_eq!(
            request["params"][0]["authorizationList"],
            json!([{
                "chainId": format!("{:#x}", authorization.chain),
                "address": authorization.delegation.to_lower_hex(),
                "nonce": format!("{:#x}", authorization.nonce),
                "yParity": format!("{:#x}", vector["authorization"]["y_parity"].as_u64().unwrap()),
                "r": scalar("r"),
                "s": scalar("s"),
            }])
        );
        // Only the account that signed the delegation can be spoken for by it, and only where it is valid.
        for (account, chain, expected) in [
            (SIGNER, 31337, matches!(authorization.chain, 0 | 31337)),
            (SIGNER, 2, authorization.chain == 0),
            ("0x70997970C51812dc3A010C7d01b50e0d17dc79C8", 31337, false),
        ] {
            let text = format!(
                "gate.example wants you to sign in with your Ethereum account:\n{account}\n\n\nURI: https://gate.example\nVersion: 1\nChain ID: {chain}\nNonce: a1b2c3d4e5f60718\nIssued At: 2026-01-02T03:04:05.000Z"
            );
            let message = Message::parse(&text).unwrap();
            let read = Verification::new(&message, Scheme::Eip191, wrapped.clone(), &[]);
            assert_eq!(
                read.map(drop),
                if expected {
                    Ok(())
                } else {
                    Err(VerifyError::NotDelegated)
                }
            );
        }
    }
}

/// What Wycheproof has of one file.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wycheproof {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    public_key: Value,
    tests: Vec<Case>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    tc_id: u32,
    comment: String,
    msg: String,
    sig: String,
    result: String,
}

impl Case {
    fn message_hash(&self) -> [u8; 32] {
        Sha256::digest(hex::decode(&self.msg).unwrap()).into()
    }
}

impl Wycheproof {
    /// Judges every case with the address of its key, and whether the file calls it valid.
    fn each(&self, judge: impl Fn(&str, &Case, Address, bool)) {
        let mut count = 0;
        for group in &self.test_groups {
            let point = bytes(&group.public_key, "uncompressed");
            let hash = alloy_primitives::keccak256(&point[1..]);
            let address = Address::from_bytes(*hash.last_chunk().unwrap());
            for case in &group.tests {
                let valid = match case.result.as_str() {
                    "valid" => true,
                    "invalid" => false,
                    other => panic!("{}: {other} is neither valid nor invalid", case.tc_id),
                };
                let name = format!("{}: {}", case.tc_id, case.comment);
                judge(&name, case, address, valid);
                count += 1;
            }
        }
        assert_eq!(count, self.number_of_tests);
    }
}

/// Whether either parity makes `rs` a signature over `hash` that recovers `address`.
fn recovers(rs: &[u8], hash: &[u8; 32], address: Address) -> bool {
    [27, 28].into_iter().any(|v| {
        RecoverableSignature::from_bytes(&[rs, &[v]].concat())
            .and_then(|signature| signature.recover(hash))
            == Ok(address)
    })
}

/// `r ‖ s` of the DER form that Bitcoin knows, `None` for every other encoding and for what 64 bytes cannot hold.
fn from_der(bytes: &[u8]) -> Option<[u8; 64]> {
    fn value(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        match bytes {
            // Two integers of 33 bytes and their headers need no more than the short form of a length.
            [found, length @ 0..=0x7f, rest @ ..] if *found == tag => {
                rest.split_at_checked(usize::from(*length))
            }
            _ => None,
        }
    }
    fn scalar(content: &[u8]) -> Option<[u8; 32]> {
        // Positive, and in as few bytes as that takes.
        let magnitude = match content {
            [0, rest @ ..] if rest.first().is_some_and(|byte| *byte >= 0x80) => rest,
            [0] | [0x01..=0x7f, ..] => content,
            _ => return None,
        };
        let mut word = [0; 32];
        word.get_mut(32_usize.checked_sub(magnitude.len())?..)?
            .copy_from_slice(magnitude);
        Some(word)
    }
    let (sequence, []) = value(0x30, bytes)? else {
        return None;
    };
    let (r, rest) = value(0x02, sequence)?;
    let (s, []) = value(0x02, rest)? else {
        return None;
    };
    [scalar(r)?, scalar(s)?].concat().try_into().ok()
}

#[test]
fn the_wycheproof_vectors_of_bitcoins_ecdsa_hold() {
    let file: Wycheproof = read("wycheproof/ecdsa_secp256k1_sha256_bitcoin_test.json");
    assert_eq!(file.number_of_tests, 463);
    file.each(|name, case, address, valid| {
        let verdict = from_der(&hex::decode(&case.sig).unwrap())
            .is_some_and(|rs| recovers(&rs, &case.message_hash(), address));
        assert_eq!(verdict, valid && !is_reduced(case), "{name}");
    });
}

/// The nonce's point has an x-coordinate beyond the group order, so `r` is what is left of it. Verifying does not mind;
/// recovering would need recovery ids 2 and 3, which Ethereum has not (Yellow Paper, appendix F): no wallet makes one.
fn is_reduced(case: &Case) -> bool {
    [
        "k*G has a large x-coordinate",
        "r = 2, x = n + 2 is the smallest possible x with a reduction",
    ]
    .contains(&case.comment.as_str())
}

#[test]
fn the_wycheproof_vectors_of_raw_ecdsa_hold_but_for_the_upper_half() {
    let file: Wycheproof = read("wycheproof/ecdsa_secp256k1_sha256_p1363_test.json");
    assert_eq!(file.number_of_tests, 252);
    file.each(|name, case, address, valid| {
        let hash = case.message_hash();
        let rs = hex::decode(&case.sig).unwrap();
        // This file allows both values of `s`. We allow the lower one (EIP-2), so a valid signature is either
        // recovered or refused for its half, and then its twin is recovered.
        let high = RecoverableSignature::from_bytes(&[rs.as_slice(), &[27]].concat())
            == Err(SignatureError::HighS);
        let verdict = if high {
            assert!(!recovers(&rs, &hash, address), "{name}");
            recovers(&twin(&rs), &hash, address)
        } else {
            recovers(&rs, &hash, address)
        };
        assert_eq!(verdict, valid && !is_reduced(case), "{name}");
    });
}
