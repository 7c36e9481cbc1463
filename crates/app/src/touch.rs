//! Outdating cached facts.

use tokengate_core::fact::{FactKey, Touch};

use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::store::{fact_key, timed};

/// Outdates facts that are older than what happened; answers how many were there.
pub(crate) async fn touch<P: Ports>(
    context: &Context<'_, P>,
    touches: Vec<(FactKey, Touch)>,
) -> Result<usize, StoreError> {
    let Ok(config) = context.service.config() else {
        return Ok(0);
    };
    let all = async {
        let mut outdated = 0;
        for (key, _) in touches {
            for agreement in 1..=config.agreement(key.chain) {
                let name = fact_key(&key, agreement);
                if context.ports.get(&name).await?.is_some() {
                    context.ports.delete(&name).await?;
                    outdated += 1;
                }
            }
        }
        Ok(outdated)
    };
    timed(context, config.deadlines.store, all).await
}
