//! What instances tell each other of a chain through the store, so that a fresh one does not pay for what its neighbours
//! learned: whose breaker is open, how far the chain is, the last block that was believed, the last reorg.

use std::time::Duration;

use futures_util::future::join_all;
use tokengate_core::config::{Chain, Config};
use tokengate_core::sealed::Kind;

use super::pool;
use crate::ports::{Ports, StoreError};
use crate::router::Context;
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
pub(crate) async fn pull<P: Ports>(context: &Context<'_, P>) {
    let Ok(config) = context.service.config() else {
        return;
    };
    let elapsed = context.ports.elapsed();
    if !context.service.memory().is_pull_due(elapsed, PAUSE) {
        return;
    }
    let pulled = config.chains().map(async |chain: &Chain| {
        let (key, store) = (key(config, chain), context.store());
        let get = store.get_sealed(Kind::Providers, &key);
        match within(context.ports, config.deadlines.store, get).await {
            Some(Ok(Some(bytes))) => pool(context, chain.id, |pool| {
                pool.learn(&bytes, context.ports.now());
            }),
            Some(Err(error @ StoreError::Forged(_))) => context.record.fault(error.to_string()),
            _ => {}
        }
    });
    join_all(pulled).await;
}

/// Publishes what this instance knows, in the background: if it has not done so a moment ago, or knows of more providers
/// since.
pub(super) fn publish<P: Ports>(context: &Context<'_, P>, chain: &Chain) {
    let known = pool(context, chain.id, |pool| pool.known_heads());
    let elapsed = context.ports.elapsed();
    let memory = context.service.memory();
    if memory.is_publishing_due(chain.id, known, elapsed, PAUSE) {
        publish_now(context, chain);
    }
}

/// Publishes what this instance knows, in the background.
pub(super) fn publish_now<P: Ports>(context: &Context<'_, P>, chain: &Chain) {
    let Ok(config) = context.service.config() else {
        return;
    };
    let (key, id, limit) = (key(config, chain), chain.id, config.deadlines.store);
    context.behind(async move |context: &Context<'_, P>| {
        let bytes = pool(context, id, |pool| pool.to_bytes());
        let store = context.store();
        let set = store.set_sealed(Kind::Providers, &key, &bytes, TTL);
        if !matches!(within(context.ports, limit, set).await, Some(Ok(()))) {
            let fault = "what is known of providers was not published";
            context.record.fault(fault.into());
        }
    });
}
