//! Gossip: what instances publish of a chain through the store, so that a fresh one need not find it out: whose breaker is open, how far the chain is, the last block that was believed, the last reorg.

use std::time::Duration;

use futures_util::future::join_all;
use tokengate_core::config::{Chain, Config};
use tokengate_core::sealed::Kind;

use super::client::ChainClient;
use crate::background::Background as _;
use crate::ports::{Ports, StoreError};
use crate::store::chain_key;
use crate::timeout::within;

/// How often an instance pulls, and how often it publishes what changes all the time.
const PAUSE: Duration = Duration::from_secs(5);

/// How long it is of use to others. What was known longer ago is asked for again.
const TTL: Duration = Duration::from_secs(60 * 60);

fn key(config: &Config, chain: &Chain) -> String {
    chain_key(config, "chain", chain.id)
}

/// Takes over what others have published, if that is due. Whatever fails is passed over.
pub(crate) async fn pull<P: Ports>(client: &ChainClient<P>) {
    let config = client.config();
    let elapsed = client.ports().elapsed();
    if !client.pools().pulled.is_due(elapsed, PAUSE) {
        return;
    }
    let pulled = config.chains().map(async |chain: &Chain| {
        let (key, store) = (key(config, chain), client.store.kv());
        let get = store.get_sealed(Kind::Providers, &key);
        match within(client.ports(), client.store.limit(), get).await {
            Some(Ok(Some(bytes))) => client.pool(chain.id, |pool| {
                pool.learn(&bytes, client.ports().now());
            }),
            Some(Err(error @ StoreError::Forged(_))) => client.telemetry().error(error.to_string()),
            _ => {}
        }
    });
    join_all(pulled).await;
}

/// Publishes what this instance knows, in the background: if it has not done so a moment ago, or knows of more providers
/// since.
pub(super) fn publish<P: Ports>(client: &ChainClient<P>, chain: &Chain) {
    let known = client.pool(chain.id, |pool| pool.known_heads());
    let elapsed = client.ports().elapsed();
    let pools = client.pools();
    if pools.is_publishing_due(chain.id, known, elapsed, PAUSE) {
        publish_now(client, chain);
    }
}

/// Publishes what this instance knows, in the background.
pub(super) fn publish_now<P: Ports>(client: &ChainClient<P>, chain: &Chain) {
    let (key, id) = (key(client.config(), chain), chain.id);
    client.in_background(async move |client: &ChainClient<P>| {
        let bytes = client.pool(id, |pool| pool.to_bytes());
        let store = client.store.kv();
        let set = store.set_sealed(Kind::Providers, &key, &bytes, TTL);
        if !matches!(
            within(client.ports(), client.store.limit(), set).await,
            Some(Ok(()))
        ) {
            let error = "what is known of providers was not published";
            client.telemetry().error(error.into());
        }
    });
}
