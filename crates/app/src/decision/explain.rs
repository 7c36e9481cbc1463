//! Why a gate is open or closed to somebody: for the check that anybody may ask for, and for an operator's.

use serde_json::Value;
use tokengate_core::gate::{Basis, Gate, Truth};
use tokengate_core::wallet::Holders;

use super::{Effort, FactReader, Tier};
use crate::background::Background as _;
use crate::decision;
use crate::http::problem::Problem;
use crate::ports::Ports;
use crate::rate_limit::Payer;

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

/// Explains what `gate` says of `holders`. A payer is charged for what is read; an operator is not.
///
/// # Errors
/// [`Problem::TooManyReads`]; [`Problem::TooManyRequests`].
pub(crate) async fn explain<P: Ports>(
    reader: &FactReader<P>,
    gate: &Gate,
    holders: Holders,
    payer: Option<Payer>,
) -> Result<Explanation, Problem> {
    let gathered = decision::gather(reader, holders, &[gate], Effort::EveryLeaf, payer).await?;
    reader
        .telemetry()
        .cache_status(gathered.cache_status(&[gate]));
    let (truth, tree) = gathered.explain(reader.config(), gate);
    Ok(Explanation {
        truth,
        tree,
        basis: gathered.basis(gate),
        is_complete: gathered.is_complete(reader.config(), gate),
        tier: gathered.tier(gate),
    })
}
