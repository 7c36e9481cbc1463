//! What has happened on a chain outdates what is known of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokengate_core::Timestamp;
use tokengate_core::config::{Chain, Config};
use tokengate_core::fact::{FactKey, Touch};
use tokengate_core::transfer::Transfer;

use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::store;

/// After this it is looked again whether somebody has kept an older fact meanwhile, which they read before.
const AGAIN: Duration = Duration::from_secs(1);

/// Of more touches at once only the facts that are there are marked: of a token that changes hands all the time, nearly
/// all are of accounts that nobody here has heard of.
const MARKED_AHEAD: usize = 256;

/// The facts that `transfer` changes, or changes back where it was undone, and what they have to know of.
pub(crate) fn touches(
    config: &Config,
    chain: &Chain,
    transfer: &Transfer,
    undone: bool,
    now: Timestamp,
) -> impl Iterator<Item = (FactKey, Touch)> + use<> {
    let touch = if undone {
        // A block that is gone may have been read by its number.
        Touch {
            block: 0,
            since: Some(now),
        }
    } else {
        Touch {
            block: transfer.block,
            since: None,
        }
    };
    let facts = config.touched(chain.id, transfer).into_iter();
    facts.map(move |fact| (fact, touch))
}

/// Outdates the facts that do not know of what has happened to them; how many there were. Doing it twice, or late, or
/// in another order than it happened in, comes to the same.
///
/// # Errors
/// [`StoreError`], if any could not be outdated: then all of it has to be done again.
pub(crate) async fn touch<P: Ports>(
    context: &Context<'_, P>,
    touches: Vec<(FactKey, Touch)>,
) -> Result<usize, StoreError> {
    let mut merged: BTreeMap<FactKey, Touch> = BTreeMap::new();
    for (key, touch) in touches {
        merged
            .entry(key)
            .and_modify(|known| *known = known.and(touch))
            .or_insert(touch);
    }
    if merged.is_empty() {
        return Ok(0);
    }
    let touches = Vec::from_iter(merged);
    let outdated = store::outdate(context, &touches, touches.len() <= MARKED_AHEAD).await?;
    let config = context.service.config();
    let config = config.map_err(|_| StoreError::Failed("no configuration".into()))?;
    let memory = context.service.memory();
    for agreement in config.agreements() {
        for (key, _) in &touches {
            memory.facts.remove(agreement, key);
        }
    }
    // Whoever was reading a chain meanwhile keeps what it said by the end of this.
    let deadlines = &config.deadlines;
    let last = deadlines.chain + deadlines.provider + 2 * deadlines.store;
    context.behind(async move |context: &Context<'_, P>| {
        for pause in [AGAIN, last.saturating_sub(AGAIN)] {
            context.ports.sleep(pause).await;
            // A failure is noted; what it leaves is forgotten with its age.
            let _ = store::outdate(context, &touches, false).await;
        }
    });
    Ok(outdated)
}
