//! Alchemy Notify.
//!
//! Signature: <https://www.alchemy.com/docs/reference/notify-api-quickstart>; bodies:
//! <https://www.alchemy.com/docs/reference/nft-activity-webhook>,
//! <https://www.alchemy.com/docs/reference/address-activity-webhook> and
//! <https://www.alchemy.com/docs/reference/custom-webhook>, whose query says what is in them.

use http::HeaderMap;
use serde_json::Value as Json;

use super::{
    Delivery, Key, Malformed, Named, Unverified, field, log, log_of, networks, quantity, tag,
};
use crate::transfer::Log;

/// `X-Alchemy-Signature` is the HMAC of the body in hexadecimal. No time is signed.
pub(super) fn verify<'a>(
    key: &Key,
    headers: &'a HeaderMap,
    body: &[u8],
) -> Result<Option<&'a str>, Unverified> {
    let signature = tag(field(headers, "x-alchemy-signature")?)?;
    if !key.signed(&[body], &signature) {
        return Err(Unverified::Forged);
    }
    Ok(None)
}

pub(super) fn read(body: &Json) -> Result<Delivery, Malformed> {
    let event = body.get("event").ok_or(Malformed)?;
    let chain = match event.get("network") {
        None | Some(Json::Null) => Named::Nothing,
        Some(network) => {
            let name = network.as_str().ok_or(Malformed)?;
            networks::chain(name).map_or_else(|| Named::unknown(name), Named::Chain)
        }
    };
    let mut delivery = Delivery::new(chain);
    if let Some(activity) = event.get("activity").and_then(Json::as_array) {
        for entry in activity {
            // Ether moves without a log.
            delivery.take(entry.get("log").and_then(log));
        }
    } else if let Some(block) = event.pointer("/data/block") {
        let number = block.get("number").and_then(quantity);
        let logs = block.get("logs").and_then(Json::as_array);
        for entry in logs.ok_or(Malformed)? {
            delivery.take(queried(entry, number));
        }
    } else {
        return Err(Malformed);
    }
    delivery.id = body.get("id").and_then(Json::as_str).map(str::to_owned);
    Ok(delivery)
}

/// A log in the words of the query language: its contract is an account, and its number is its block's.
fn queried(entry: &Json, block: Option<u64>) -> Option<Log> {
    log_of(entry, entry.pointer("/account/address")?, block)
}
