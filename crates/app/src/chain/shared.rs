//! What instances tell each other of providers, through the store: so that a fresh one does not pay for what its
//! neighbours learnt. A chain with one provider has nothing to choose, and nothing is told of it.

use std::time::Duration;

use futures_util::future::join_all;
use tokengate_core::config::Chain;

use super::pool;
use crate::ports::Ports;
use crate::router::Context;
use crate::store::{PREFIX, within};

/// How often an instance asks.
const PAUSE: Duration = Duration::from_secs(5);

/// How long it is of use to others.
const TTL: Duration = Duration::from_secs(600);

fn key(chain: &Chain) -> String {
    format!("{PREFIX}:pool:{}", chain.id.id())
}

fn is_shared(chain: &Chain) -> bool {
    chain.providers.len() > 1
}

/// Asks what others know, if that is due. Whatever fails is passed over.
pub(crate) async fn learn<P: Ports>(context: &Context<'_, P>) {
    let Ok(config) = context.service.config() else {
        return;
    };
    let elapsed = context.ports.elapsed();
    if !config.chains().any(is_shared) || !context.service.memory().is_learning_due(elapsed, PAUSE)
    {
        return;
    }
    let asked = config
        .chains()
        .filter(|chain| is_shared(chain))
        .map(async |chain: &Chain| {
            let key = key(chain);
            let told = within(
                context.ports,
                config.deadlines.store,
                context.store().get(&key),
            )
            .await;
            let Some(Ok(Some(told))) = told else {
                return;
            };
            if let Ok(text) = std::str::from_utf8(&told) {
                pool(context, chain.id, |pool| {
                    pool.learn(text, context.ports.now())
                });
            }
        });
    join_all(asked).await;
}

/// Tells others, behind the response.
pub(super) fn tell<P: Ports>(context: &Context<'_, P>, chain: &Chain) {
    let Ok(config) = context.service.config() else {
        return;
    };
    if !is_shared(chain) {
        return;
    }
    let (key, limit) = (key(chain), config.deadlines.store);
    let text = pool(context, chain.id, |pool| pool.to_text());
    context.behind(async move |context: &Context<'_, P>| {
        let told = context.store();
        let told = told.set(&key, text.as_bytes(), TTL);
        if !matches!(within(context.ports, limit, told).await, Some(Ok(()))) {
            context.record.fault("providers not told".into());
        }
    });
}
