//! Why a gate is open or closed to somebody: for the check that anybody may ask for, and for an operator's.

use serde_json::Value;
use tokengate_core::gate::{Basis, Gate, Truth};
use tokengate_core::wallet::Holders;

use crate::decision::{self, Effort, Tier};
use crate::http::problem::Problem;
use crate::ports::Ports;
use crate::rate_limit::Payer;
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
    /// Whether all facts that it needs were read.
    pub(crate) is_complete: bool,
    pub(crate) tier: Tier,
}

/// Explains what `gate` says of `holders`, to the operator.
///
/// # Errors
/// [`Problem::Misconfigured`], for a service that was loaded without its configuration.
pub async fn explain<P: Ports>(
    context: &Context<'_, P>,
    gate: &Gate,
    holders: Holders,
) -> Result<Explanation, Problem> {
    explain_to(context, gate, holders, None).await
}

/// The same to whom pays for what it reads.
pub(crate) async fn explain_to<P: Ports>(
    context: &Context<'_, P>,
    gate: &Gate,
    holders: Holders,
    payer: Option<Payer>,
) -> Result<Explanation, Problem> {
    let gathered = decision::gather(context, holders, &[gate], Effort::EveryLeaf, payer).await?;
    context.record.cache_status(gathered.cache_status(&[gate]));
    let (truth, tree) = gathered.explain(context.service.config()?, gate);
    Ok(Explanation {
        truth,
        tree,
        basis: gathered.basis(gate),
        is_complete: gathered.is_complete(context.service.config()?, gate),
        tier: gathered.tier(gate),
    })
}
