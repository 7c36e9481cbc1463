//! Moralis Streams.
//!
//! Signature: <https://docs.moralis.com/streams/security-and-reliability/webhook-security>; bodies:
//! <https://docs.moralis.com/streams/webhooks/webhook-payloads>. Each comes twice, as soon as the block is there and when
//! it is confirmed, and an empty one when a stream is made or changed. Logs are there where the stream includes them;
//! transfers of tokens also as lists of their own, `nftTransfers` and `erc20Transfers`.

use std::collections::BTreeSet;

use alloy_primitives::Keccak256;
use http::HeaderMap;
use serde_json::Value as Json;

use super::{
    Delivery, Key, Malformed, Unverified, address, data, field, quantity, same, tag, word,
};
use crate::ChainId;
use crate::transfer::{Log, TOPICS};

/// `x-signature` is `0x` and the Keccak-256 of body and key in hexadecimal. A delivery has no other name than that.
pub(super) fn verify<'a>(
    key: &Key,
    headers: &'a HeaderMap,
    body: &[u8],
) -> Result<Option<&'a str>, Unverified> {
    let text = field(headers, "x-signature")?;
    let signature = tag(text.strip_prefix("0x").ok_or(Unverified::Forged)?)?;
    let mut hash = Keccak256::new();
    hash.update(body);
    hash.update(key.bytes.expose());
    if !same(hash.finalize().0, signature) {
        return Err(Unverified::Forged);
    }
    Ok(Some(text))
}

pub(super) fn read(body: &Json) -> Result<Delivery, Malformed> {
    let list = |name: &str| match body.get(name) {
        None | Some(Json::Null) => Ok([].as_slice()),
        Some(list) => list.as_array().map(Vec::as_slice).ok_or(Malformed),
    };
    let logs = list("logs")?;
    let transfers = [("nftTransfers", "tokenId"), ("erc20Transfers", "value")];
    if body.get("logs").is_none() && transfers.iter().all(|(name, _)| body.get(name).is_none()) {
        return Err(Malformed);
    }
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
    let mut told = BTreeSet::new();
    for entry in logs {
        told.extend(place(entry));
        delivery.take(log(entry, block));
    }
    // A stream without `includeContractLogs` tells of the same transfers in its own words, and of no logs.
    for (name, id) in transfers {
        for entry in list(name)? {
            if place(entry).is_none_or(|place| !told.contains(&place)) {
                delivery.take(transfer(entry, id, block));
            }
        }
    }
    Ok(delivery)
}

/// The transaction and the index of the log that an entry is about.
fn place(entry: &Json) -> Option<(&str, u64)> {
    let transaction = entry.get("transactionHash")?.as_str()?;
    Some((transaction, quantity(entry.get("logIndex")?)?))
}

/// The log of a transfer that is told as its arguments. Of an amount it does not matter how it is indexed.
fn transfer(entry: &Json, id: &str, block: Option<u64>) -> Option<Log> {
    let account = |name: &str| {
        let mut word = [0; 32];
        let (_, last) = word.split_last_chunk_mut()?;
        *last = *address(entry.get(name)?)?.as_bytes();
        Some(word)
    };
    let mut topics = vec![TOPICS[0], account("from")?, account("to")?];
    let number = crate::decimal::parse(entry.get(id)?.as_str()?)?.to_be_bytes();
    let data = if id == "tokenId" {
        topics.push(number);
        Vec::new()
    } else {
        number.to_vec()
    };
    Some(Log {
        address: address(entry.get("contract")?)?,
        topics,
        data,
        block: block?,
        removed: false,
    })
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
