//! QuickNode Streams, and its Webhooks, which sign alike.
//!
//! Signature: <https://www.quicknode.com/guides/quicknode-products/streams/validating-incoming-streams-webhook-messages>;
//! bodies: <https://www.quicknode.com/docs/streams/data-sources>. A stream's filter may reshape them as it likes, so logs
//! are looked for where the data sets and the templates have them: in lists of lists, in receipts, with metadata beside
//! them or not.

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value as Json;

use super::{Delivery, Key, Malformed, Unverified, field, log, quantity, tag, timely};

/// `X-QN-Signature` is the HMAC of nonce, time and body in hexadecimal, and the nonce names the delivery.
///
/// Nothing separates the three, and nothing has to: the body begins with no digit, and the time is as many digits before
/// it as a time of these days has.
pub(super) fn verify<'a>(
    key: &Key,
    headers: &'a HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Option<&'a str>, Unverified> {
    let nonce = field(headers, "x-qn-nonce")?;
    let time = field(headers, "x-qn-timestamp")?;
    let signature = tag(field(headers, "x-qn-signature")?)?;
    if !key.signed(&[nonce.as_bytes(), time.as_bytes(), body], &signature) {
        return Err(Unverified::Forged);
    }
    timely(time, now)?;
    Ok(Some(nonce))
}

/// Where the logs are, in whatever stands around them.
const PLACES: [&str; 4] = ["data", "receipts", "matchingReceipts", "logs"];

pub(super) fn read(body: &Json) -> Result<Delivery, Malformed> {
    let known = match body {
        Json::Array(_) => true,
        Json::Object(members) => PLACES.iter().any(|place| members.contains_key(*place)),
        _ => false,
    };
    if !known {
        return Err(Malformed);
    }
    let mut delivery = Delivery::new(None);
    collect(body, &mut delivery);
    // Of these numbers there has been another block.
    let replaced: Vec<u64> = body
        .pointer("/metadata/blocks_reorged")
        .and_then(Json::as_array)
        .map(|numbers| numbers.iter().filter_map(quantity).collect())
        .unwrap_or_default();
    for log in &mut delivery.logs {
        log.removed |= replaced.contains(&log.block);
    }
    Ok(delivery)
}

/// As deep as the reader of JSON goes, which is bounded.
fn collect(value: &Json, into: &mut Delivery) {
    match value {
        Json::Array(entries) => entries.iter().for_each(|entry| collect(entry, into)),
        Json::Object(members) if members.contains_key("topics") => into.take(log(value)),
        Json::Object(members) => {
            let mut places = PLACES
                .iter()
                .filter_map(|place| members.get(*place))
                .peekable();
            if places.peek().is_none() {
                into.take(None);
            }
            places.for_each(|place| collect(place, into));
        }
        // A block without any.
        Json::Null => {}
        _ => into.take(None),
    }
}
