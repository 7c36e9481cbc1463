//! Alchemy Notify.
//!
//! Signature: <https://www.alchemy.com/docs/reference/notify-api-quickstart>; bodies:
//! <https://www.alchemy.com/docs/reference/nft-activity-webhook>,
//! <https://www.alchemy.com/docs/reference/address-activity-webhook> and
//! <https://www.alchemy.com/docs/reference/custom-webhook>, whose query says what is in them.

use http::HeaderMap;
use serde_json::Value as Json;

use super::{Delivery, Key, Malformed, Unverified, field, log, log_of, quantity, tag};
use crate::ChainId;
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
    let chain = event.get("network").and_then(Json::as_str).and_then(chain);
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

/// Networks by Alchemy's names.
const NETWORKS: [(&str, u64); 36] = [
    ("APECHAIN_MAINNET", 33_139),
    ("ARBNOVA_MAINNET", 42_170),
    ("ARB_MAINNET", 42_161),
    ("ARB_SEPOLIA", 421_614),
    ("AVAX_FUJI", 43_113),
    ("AVAX_MAINNET", 43_114),
    ("BASE_MAINNET", 8_453),
    ("BASE_SEPOLIA", 84_532),
    ("BERACHAIN_MAINNET", 80_094),
    ("BLAST_MAINNET", 81_457),
    ("BLAST_SEPOLIA", 168_587_773),
    ("BNB_MAINNET", 56),
    ("CELO_MAINNET", 42_220),
    ("ETH_HOODI", 560_048),
    ("ETH_MAINNET", 1),
    ("ETH_SEPOLIA", 11_155_111),
    ("FRAX_MAINNET", 252),
    ("GNOSIS_CHIADO", 10_200),
    ("GNOSIS_MAINNET", 100),
    ("INK_MAINNET", 57_073),
    ("LINEA_MAINNET", 59_144),
    ("LINEA_SEPOLIA", 59_141),
    ("MANTLE_MAINNET", 5_000),
    ("MATIC_AMOY", 80_002),
    ("MATIC_MAINNET", 137),
    ("OPT_MAINNET", 10),
    ("OPT_SEPOLIA", 11_155_420),
    ("SCROLL_MAINNET", 534_352),
    ("SCROLL_SEPOLIA", 534_351),
    ("SHAPE_MAINNET", 360),
    ("SONEIUM_MAINNET", 1_868),
    ("SONIC_MAINNET", 146),
    ("UNICHAIN_MAINNET", 130),
    ("WORLDCHAIN_MAINNET", 480),
    ("ZKSYNC_MAINNET", 324),
    ("ZORA_MAINNET", 7_777_777),
];

fn chain(network: &str) -> Option<ChainId> {
    let (_, id) = NETWORKS.iter().find(|(name, _)| *name == network)?;
    ChainId::new(*id)
}
