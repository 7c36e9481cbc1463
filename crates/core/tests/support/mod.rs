//! What the tests over vectors, the fuzzing, the tests of requirements and those of webhooks share.
#![allow(dead_code, reason = "each of them uses a part of it")]

use std::path::PathBuf;

use base64ct::{Base64, Encoding as _};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName};
use k256::NonZeroScalar;
use serde_json::Value;
use sha2::Sha256;
use tokengate_core::eip4361::Message;
use tokengate_core::signer::{
    AccountState, Scheme, Verification, VerifiedSigner, VerifyError, Way,
};
use tokengate_core::webhook::Kind;
use tokengate_core::{Address, ChainId, U256};

/// The account of the first well-known development key.
pub(crate) const SIGNER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// What the signature validator answers of an account: whether it has code, and whether the code takes the signature.
pub(crate) const NO_CODE: u64 = 0;
pub(crate) const ACCEPTED: u64 = 1;
pub(crate) const REFUSED: u64 = 2;
pub(crate) const INITIALISED: u64 = 3;

/// The signature validator's answer on `chain`: chain id, number, timestamp and parent of the block, verdict.
pub(crate) fn answer(chain: ChainId, verdict: u64) -> Vec<u8> {
    [chain.id(), 21_000_000, 1_800_000_000, 20_999_999, verdict]
        .map(|word| U256::from(word).to_be_bytes::<32>())
        .concat()
}

/// An account that has sent nothing and has no code.
pub(crate) const UNUSED: AccountState = AccountState {
    nonce: 0,
    has_code: false,
};

/// Who the message is shown to be signed by: by its key, or where the chain says of the account what `verdict` stands for.
/// Any of `factories` may be called.
pub(crate) fn concluded_with(
    message: &Message<'_>,
    scheme: Scheme,
    signature: Vec<u8>,
    verdict: u64,
    factories: &[Address],
) -> Result<VerifiedSigner, VerifyError> {
    let verification = Verification::new(message, scheme, signature, factories)?;
    let signer = match verification.by_key() {
        Some(signer) => signer,
        None => verification
            .conclude(
                Way::Override,
                &answer(message.chain, verdict),
                Some(&UNUSED),
            )
            .unwrap()
            .into_outcome()?,
    };
    assert_eq!(signer.wallet().address, message.address);
    assert_eq!(signer.chain(), message.chain);
    Ok(signer)
}

/// The same without factories.
pub(crate) fn concluded(
    message: &Message<'_>,
    scheme: Scheme,
    signature: Vec<u8>,
    verdict: u64,
) -> Result<VerifiedSigner, VerifyError> {
    concluded_with(message, scheme, signature, verdict, &[])
}

/// `r ‖ s` with the other `s` that verifies.
pub(crate) fn twin(rs: &[u8]) -> Vec<u8> {
    let (r, s) = rs.split_at(32);
    let s = NonZeroScalar::try_from(s).unwrap();
    [r, &(-s).to_bytes()].concat()
}

/// The data in a file of `tests/vectors`.
pub(crate) fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors")
        .join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
}

/// The bytes of a vector's hexadecimal member, with or without `0x`.
pub(crate) fn bytes(value: &Value, member: &str) -> Vec<u8> {
    let digits = text(value, member).unwrap();
    hex::decode(digits.strip_prefix("0x").unwrap_or(digits)).unwrap()
}

/// The kind of source of a vector.
pub(crate) fn kind(vector: &Value) -> Kind {
    Kind::parse(text(vector, "kind").unwrap()).unwrap()
}

/// The header fields of a vector.
pub(crate) fn headers(vector: &Value) -> HeaderMap {
    let fields = vector["headers"].as_object().unwrap().iter();
    fields
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, value.as_str().unwrap().parse().unwrap())
        })
        .collect()
}

/// Signs a body as a source of this kind does, at a time in its words.
pub(crate) fn sign(kind: Kind, secret: &str, body: &str, time: &str) -> HeaderMap {
    let hmac = |key: &[u8], message: String| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(message.as_bytes());
        mac.finalize().into_bytes()
    };
    let id = "delivery-1";
    let fields = match kind {
        Kind::Alchemy => vec![(
            "x-alchemy-signature",
            hex::encode(hmac(secret.as_bytes(), body.to_owned())),
        )],
        Kind::QuickNode => vec![
            ("x-qn-nonce", id.to_owned()),
            ("x-qn-timestamp", time.to_owned()),
            (
                "x-qn-signature",
                hex::encode(hmac(secret.as_bytes(), format!("{id}{time}{body}"))),
            ),
        ],
        Kind::Moralis => vec![(
            "x-signature",
            alloy_primitives::keccak256([body, secret].concat()).to_string(),
        )],
        Kind::Standard => {
            let key = Base64::decode_vec(secret.strip_prefix("whsec_").unwrap()).unwrap();
            let tag = hmac(&key, format!("{id}.{time}.{body}"));
            vec![
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", time.to_owned()),
                (
                    "webhook-signature",
                    format!("v1,{}", Base64::encode_string(&tag)),
                ),
            ]
        }
    };
    fields
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}
