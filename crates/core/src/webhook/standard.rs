//! The Standard Webhooks specification, for whoever sends logs without being one of the vendors.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>. The body is ours: `chain`
//! (CAIP-2, which the configuration may say instead) and `logs`, each as `eth_getLogs` returns it.

use base64ct::{Base64, Encoding as _};
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value as Json;

use super::{Delivery, Key, Malformed, Unverified, field, log, timely};
use crate::ChainId;

/// More signatures than these are of no rotation of keys.
const MAX_SIGNATURES: usize = 16;

/// `webhook-signature` holds signatures separated by spaces, each a version, a comma and in version 1 the HMAC of id,
/// time and body, separated by points, in base64.
pub(super) fn verify<'a>(
    key: &Key,
    headers: &'a HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Option<&'a str>, Unverified> {
    let id = field(headers, "webhook-id")?;
    let time = field(headers, "webhook-timestamp")?;
    let signatures = field(headers, "webhook-signature")?.split(' ');
    let signed = |signature: &str| {
        let signature = signature.strip_prefix("v1,").unwrap_or_default();
        let mut buffer = [0; 32];
        Base64::decode(signature, &mut buffer)
            .is_ok_and(|tag| key.signed(&[id.as_bytes(), b".", time.as_bytes(), b".", body], tag))
    };
    if !signatures.take(MAX_SIGNATURES).any(signed) {
        return Err(Unverified::Forged);
    }
    timely(time, now)?;
    Ok(Some(id))
}

pub(super) fn read(body: &Json) -> Result<Delivery, Malformed> {
    let logs = body.get("logs").and_then(Json::as_array).ok_or(Malformed)?;
    let chain = match body.get("chain") {
        None => None,
        Some(chain) => Some(
            chain
                .as_str()
                .and_then(|chain| chain.parse::<ChainId>().ok())
                .ok_or(Malformed)?,
        ),
    };
    let mut delivery = Delivery::new(chain);
    for entry in logs {
        delivery.take(log(entry));
    }
    Ok(delivery)
}
