//! Sign-in by typed data (EIP-712), for wallets that sign nothing else.
//!
//! The message is the one of EIP-4361: its text travels as always and is parsed and checked as always, and what is
//! signed is a structure with the same fields, each as the text has it. A field that the text leaves out is empty.

use alloy_primitives::U256;
use alloy_sol_types::{Eip712Domain, SolStruct, sol};
use serde_json::{Value, json};

use crate::eip4361::Message;

sol! {
    struct SignIn {
        string domain;
        address account;
        string statement;
        string uri;
        string version;
        uint256 chainId;
        string nonce;
        string issuedAt;
        string expirationTime;
        string notBefore;
        string requestId;
        string[] resources;
    }
}

const NAME: &str = "Sign-In with Ethereum";
const VERSION: &str = "1";

impl SignIn {
    fn of(message: &Message<'_>) -> Self {
        let text = |field: Option<&str>| field.unwrap_or_default().to_owned();
        Self {
            domain: message.origin().to_owned(),
            account: message.address.into_alloy(),
            statement: text(message.statement),
            uri: message.uri.to_owned(),
            version: VERSION.to_owned(),
            chainId: U256::from(message.chain.id()),
            nonce: message.nonce.to_owned(),
            issuedAt: message.times.issued_at.to_owned(),
            expirationTime: text(message.times.expiration_time),
            notBefore: text(message.times.not_before),
            requestId: text(message.request_id),
            resources: message
                .resources
                .iter()
                .flatten()
                .map(|&resource| resource.to_owned())
                .collect(),
        }
    }
}

/// The hash that `eth_signTypedData_v4` signs for `message`: keccak-256 of `0x1901 ‖ domain ‖ structure`.
pub fn hash_message(message: &Message<'_>) -> [u8; 32] {
    let domain = Eip712Domain::new(
        Some(NAME.into()),
        Some(VERSION.into()),
        Some(U256::from(message.chain.id())),
        None,
        None,
    );
    SignIn::of(message).eip712_signing_hash(&domain).0
}

/// What a wallet is given to sign: the parameter of `eth_signTypedData_v4`.
pub fn typed_data(message: &Message<'_>) -> Value {
    let fields = |fields: &[(&str, &str)]| -> Value {
        fields
            .iter()
            .map(|(name, r#type)| json!({"name": name, "type": r#type}))
            .collect()
    };
    let sign_in = SignIn::of(message);
    json!({
        "types": {
            "EIP712Domain": fields(&[("name", "string"), ("version", "string"), ("chainId", "uint256")]),
            "SignIn": fields(&[
                ("domain", "string"), ("account", "address"), ("statement", "string"), ("uri", "string"),
                ("version", "string"), ("chainId", "uint256"), ("nonce", "string"), ("issuedAt", "string"),
                ("expirationTime", "string"), ("notBefore", "string"), ("requestId", "string"),
                ("resources", "string[]"),
            ]),
        },
        "primaryType": "SignIn",
        "domain": {"name": NAME, "version": VERSION, "chainId": message.chain.id()},
        "message": {
            "domain": sign_in.domain,
            "account": message.address,
            "statement": sign_in.statement,
            "uri": sign_in.uri,
            "version": sign_in.version,
            "chainId": message.chain.id(),
            "nonce": sign_in.nonce,
            "issuedAt": sign_in.issuedAt,
            "expirationTime": sign_in.expirationTime,
            "notBefore": sign_in.notBefore,
            "requestId": sign_in.requestId,
            "resources": sign_in.resources,
        },
    })
}
