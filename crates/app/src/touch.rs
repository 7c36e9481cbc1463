//! Outdating facts: what happened on a chain must not be overlooked by a decision that rests on older knowledge.

use futures_util::future::join_all;
use tokengate_core::fact::{Fact, FactKey, Touch};

use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::store::{fact_key, timed};

/// How many facts are looked up at once.
const AT_ONCE: usize = 64;

/// Outdates each of these facts as far as it does not know of its touch; the store forgets it. Answers how many there
/// were. What was read later stays, so that touches may come late, twice and in any order.
///
/// # Errors
/// [`StoreError`]: some may not be outdated, and all of them are to be touched again.
pub(crate) async fn touch<P: Ports>(
    context: &Context<'_, P>,
    touches: Vec<(FactKey, Touch)>,
) -> Result<usize, StoreError> {
    let Ok(config) = context.service.config() else {
        return Err(StoreError::Failed("there is no configuration".into()));
    };
    let outdate = async |(key, touch): &(FactKey, Touch)| {
        let mut outdated = false;
        for agreement in 1..=config.agreement(key.chain) {
            let name = fact_key(key, agreement);
            let fact = context.ports.get(&name).await?;
            let fact = fact.and_then(|bytes| Fact::from_bytes(&key.read, &bytes));
            if fact.is_some_and(|fact| !touch.is_known_to(&fact)) {
                context.ports.delete(&name).await?;
                outdated = true;
            }
        }
        Ok::<_, StoreError>(usize::from(outdated))
    };
    let mut outdated = 0;
    for some in touches.chunks(AT_ONCE) {
        let all = async {
            let counts = join_all(some.iter().map(outdate)).await;
            counts.into_iter().sum::<Result<usize, _>>()
        };
        outdated += timed(context, config.deadlines.store, all).await?;
    }
    Ok(outdated)
}
