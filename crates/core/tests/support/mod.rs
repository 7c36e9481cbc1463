//! What the tests over vectors, the fuzzing and the tests of requirements share.
#![allow(dead_code, reason = "each of them uses a part of it")]

use std::path::PathBuf;

use k256::NonZeroScalar;
use serde_json::Value;
use tokengate_core::eip4361::Message;
use tokengate_core::signer::{Scheme, Verification, VerifiedSigner, VerifyError};
use tokengate_core::{ChainId, U256};

/// The account of the first well-known development key.
pub(crate) const SIGNER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// What the signature validator answers of an account: whether it has code, and whether the code takes the signature.
pub(crate) const NO_CODE: u64 = 0;
pub(crate) const ACCEPTED: u64 = 1;
pub(crate) const REFUSED: u64 = 2;

/// The signature validator's answer on `chain`: chain id, block number, verdict.
pub(crate) fn answer(chain: ChainId, verdict: u64) -> Vec<u8> {
    [chain.id(), 21_000_000, verdict]
        .map(|word| U256::from(word).to_be_bytes::<32>())
        .concat()
}

/// Who the message is shown to be signed by, where the chain says of the account what `verdict` stands for.
pub(crate) fn concluded(
    message: &Message<'_>,
    scheme: Scheme,
    signature: Vec<u8>,
    verdict: u64,
) -> Result<VerifiedSigner, VerifyError> {
    let verification = Verification::new(message, scheme, signature)?;
    let signer = verification
        .conclude(&answer(message.chain, verdict))
        .unwrap()?;
    assert_eq!(signer.wallet().address, message.address);
    assert_eq!(signer.chain(), message.chain);
    Ok(signer)
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
