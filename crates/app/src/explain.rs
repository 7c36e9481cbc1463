//! Why a gate is open or closed to somebody: for the check that anybody may ask for, and for an operator's.

use serde_json::Value;
use tokengate_core::gate::{Basis, Gate, Truth};
use tokengate_core::wallet::Holders;

use crate::decide::{self, Effort, Tier};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::router::Context;

/// What a gate says of somebody, and why.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Whether it is open.
    pub truth: Truth,
    /// What it demands, with what they have at each leaf.
    pub tree: Value,
    /// What that rests on: the oldest fact of each chain.
    pub basis: Vec<Basis>,
    pub(crate) tier: Tier,
}

/// Explains what `gate` says of `holders`.
///
/// # Errors
/// [`Problem::Misconfigured`], for a service that was loaded without its configuration.
pub async fn explain<P: Ports>(
    context: &Context<'_, P>,
    gate: &Gate,
    holders: Holders,
) -> Result<Explanation, Problem> {
    let gathered = decide::gather(context, holders, &[gate], Effort::EveryLeaf).await?;
    context.record.cache_status(gathered.cache_status(&[gate]));
    let (truth, tree) = gathered.explain(context.service.config()?, gate);
    Ok(Explanation {
        truth,
        tree,
        basis: gathered.basis(gate),
        tier: gathered.tier(gate),
    })
}
