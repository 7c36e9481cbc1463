//! What a source of events delivers, signed by the Standard Webhooks specification.

use std::time::SystemTime;

use alloy_primitives::Address;
use anyhow::{Context, ensure};
use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::chain::Chain;
use crate::client::{CHAIN, Gate};

/// A delivery, to be signed.
pub struct Delivery {
    id: String,
    body: String,
}

impl Delivery {
    /// Of these logs, as `eth_getLogs` returns them.
    pub fn of(id: &str, logs: &[Value]) -> Self {
        Self {
            id: id.to_owned(),
            body: json!({ "chain": CHAIN, "logs": logs }).to_string(),
        }
    }

    /// Of the newest log of a contract.
    pub async fn of_newest(chain: &Chain, contract: Address) -> anyhow::Result<Self> {
        let filter = json!([{ "fromBlock": "0x0", "address": contract.to_string() }]);
        let logs = chain.call("eth_getLogs", filter).await?;
        let log = logs.as_array().and_then(|logs| logs.last());
        let log = log.context("no log")?.clone();
        let id = format!("{}:{}", log["transactionHash"], log["logIndex"]);
        Ok(Self::of(&id.replace('"', ""), &[log]))
    }

    /// Signs it with `secret` and posts it to `source`; the answer, which has to be 200.
    pub async fn send(&self, gate: &Gate, source: &str, secret: &str) -> anyhow::Result<Value> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a delivery is signed with the time of day"
        )]
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let time = time.as_secs().to_string();
        let key = secret.strip_prefix("whsec_").context("whsec_…")?;
        let key = Base64::decode_vec(key).map_err(|error| anyhow::anyhow!("{error}"))?;
        ensure!(!key.is_empty(), "an empty key");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key)?;
        mac.update(format!("{}.{time}.{}", self.id, self.body).as_bytes());
        let signature = Base64::encode_string(&mac.finalize().into_bytes());
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", self.id.as_str()),
            ("webhook-timestamp", time.as_str()),
            ("webhook-signature", &format!("v1,{signature}")),
        ];
        let path = format!("/v1/events/{source}");
        gate.send(Method::POST, &path, &headers, self.body.clone())
            .await?
            .expect(200)
    }
}
