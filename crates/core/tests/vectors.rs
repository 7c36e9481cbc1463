//! Published vectors, run as data: EIP-4361, EIP-191. Their sources and licences are named in tests/vectors/README.md.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Map, Value};
use tokengate_core::Timestamp;
use tokengate_core::eip191;
use tokengate_core::eip4361::Message;
use tokengate_core::rfc3339;
use tokengate_core::signature::RecoverableSignature;

fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors")
        .join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
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
    let Ok(signature) = RecoverableSignature::from_hex(text(vector, "signature").unwrap()) else {
        return false;
    };
    message.is_current(rfc3339::parse(now).unwrap())
        && bound("domainBinding", message.domain)
        && bound("matchNonce", message.nonce)
        && eip191::verify(&message, &signature).is_ok()
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
    // Contracts signed these: the key behind such a signature is not the account, so it must not pass as one.
    each("verification/eip1271", &|case, vector| {
        let message = Message::parse(text(vector, "message").unwrap())
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        let accepted = RecoverableSignature::from_hex(text(vector, "signature").unwrap())
            .is_ok_and(|signature| eip191::verify(&message, &signature).is_ok());
        assert!(!accepted, "{case}");
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
        let signature =
            RecoverableSignature::from_hex(text(&vector, "signature").unwrap()).unwrap();
        assert!(eip191::verify(&parsed, &signature).is_ok());
        assert!(parsed.is_current("2026-06-01T00:00:00Z".parse::<Timestamp>().unwrap()));
    }
}

/// The messages among the vectors that both parsers read: seeds for what follows. The other one refuses the leading
/// zeros that two of the vectors allow.
fn seeds() -> Vec<String> {
    let positive = read::<Map<String, Value>>("eip4361/parsing/parsing_positive.json")
        .into_iter()
        .map(|(_, vector)| text(&vector, "message").unwrap().to_owned());
    let grammar = [
        "grammar/valid_uris",
        "grammar/valid_resources",
        "grammar/valid_specification",
    ]
    .into_iter()
    .flat_map(|name| read::<Map<String, Value>>(&format!("eip4361/{name}.json")))
    .map(|(_, vector)| text(&vector, "msg").unwrap().to_owned());
    positive
        .chain(grammar)
        .filter(|message| message.parse::<signinwithethereum::Message>().is_ok())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is changed in a valid message: what we accept, the other implementation reads as the same fields.
    /// Only in the domain it may be stricter: it reads the authority of a web URL, which cannot be empty or encoded.
    #[test]
    fn nothing_is_accepted_that_another_parser_reads_differently(seed in 0..seeds().len(), at in any::<prop::sample::Index>(), insert in "[ -~\n]{0,3}", remove in 0..3usize) {
        let mut message = seeds().swap_remove(seed);
        let at = at.index(message.len() + 1);
        let end = (at + remove).min(message.len());
        message.replace_range(at..end, &insert);
        if let Ok(ours) = Message::parse(&message) {
            let theirs: signinwithethereum::Message = match message.parse() {
                Ok(theirs) => theirs,
                Err(error) => {
                    prop_assert!(error.to_string().starts_with("Invalid Domain"), "{error}: {message}");
                    return Ok(());
                }
            };
            prop_assert_eq!(ours.domain, theirs.domain.as_str());
            prop_assert_eq!(ours.address.as_bytes(), &theirs.address);
            prop_assert_eq!(ours.statement, theirs.statement.as_deref());
            prop_assert_eq!(ours.uri, theirs.uri.as_str());
            prop_assert_eq!(ours.chain.id(), theirs.chain_id);
            prop_assert_eq!(ours.nonce, &theirs.nonce);
            prop_assert_eq!(ours.request_id, theirs.request_id.as_deref());
            prop_assert_eq!(ours.text(), message.as_str());
        }
    }

    /// No bytes make the parsers panic.
    #[test]
    fn arbitrary_text_is_read_or_refused(message in "\\PC{0,400}", signature in "(0x)?[0-9a-fA-Fxg]{0,140}") {
        let _ = Message::parse(&message);
        let _ = RecoverableSignature::from_hex(&signature);
    }
}
