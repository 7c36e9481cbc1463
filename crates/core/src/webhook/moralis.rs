//! Moralis Streams.
//!
//! Signature: <https://docs.moralis.com/streams/security-and-reliability/webhook-security>; bodies:
//! <https://docs.moralis.com/streams/webhooks/webhook-payloads>. Each comes twice, as soon as the block is there and when
//! it is confirmed, and an empty one when a stream is made or changed.

use alloy_primitives::Keccak256;
use http::HeaderMap;
use serde_json::Value as Json;

use super::{
    Delivery, Key, Malformed, Unverified, address, data, field, quantity, same, tag, word,
};
use crate::ChainId;
use crate::transfer::Log;

/// `x-signature` is `0x` and the Keccak-256 of body and key in hexadecimal. A delivery has no other name than that hash,
/// in whichever case its digits came.
pub(super) fn verify(key: &Key, headers: &HeaderMap, body: &[u8]) -> Result<String, Unverified> {
    let text = field(headers, "x-signature")?;
    let signature = tag(text.strip_prefix("0x").ok_or(Unverified::Forged)?)?;
    let mut hash = Keccak256::new();
    hash.update(body);
    hash.update(key.bytes.expose());
    if !same(hash.finalize().0, signature) {
        return Err(Unverified::Forged);
    }
    Ok(format!("0x{}", hex::encode(signature)))
}

pub(super) fn read(body: &Json) -> Result<Delivery, Malformed> {
    let logs = body.get("logs").and_then(Json::as_array).ok_or(Malformed)?;
    let chain = body
        .get("chainId")
        .and_then(Json::as_str)
        .ok_or(Malformed)?;
    let chain = match chain {
        "" => None,
        _ => Some(
            body.get("chainId")
                .and_then(quantity)
                .and_then(ChainId::new)
                .ok_or(Malformed)?,
        ),
    };
    let block = body.pointer("/block/number").and_then(quantity);
    let mut delivery = Delivery::new(chain);
    for entry in logs {
        delivery.take(log(entry, block));
    }
    Ok(delivery)
}

/// A log whose topics have names of their own, null or missing from the first that is not there.
fn log(entry: &Json, block: Option<u64>) -> Option<Log> {
    let topics = ["topic0", "topic1", "topic2", "topic3"].into_iter();
    let topics = topics.map_while(|name| entry.get(name).filter(|topic| !topic.is_null()));
    Some(Log {
        address: address(entry.get("address")?)?,
        topics: topics.map(word).collect::<Option<_>>()?,
        data: data(entry.get("data"))?,
        block: block?,
        removed: false,
    })
}
