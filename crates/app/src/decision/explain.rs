//! Explanations of a gate's verdict, condition by condition: for the public check and for the operator's.

use serde_json::Value;
use tokengate_core::config::Config;
use tokengate_core::gate::{Basis, Gate, Truth};
use tokengate_core::wallet::Holders;

use super::verdict::Outcome;
use super::{Effort, FactReader, Gathered, Tier, gather};
use crate::background::Background as _;
use crate::http::problem::Problem;
use crate::ports::Ports;
use crate::rate_limit::Payer;

/// A gate's verdict on a subject, and why.
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
    let gathered = gather(reader, holders, &[gate], Effort::EveryLeaf, payer).await?;
    reader.telemetry().cache_status(gathered.cache_status());
    let explanation = gathered.explain(reader.config(), gate);
    explanation.ok_or(Problem::ChainUnavailable)
}

impl Gathered<'_> {
    /// Whether and why `gate` is open, leaf by leaf.
    fn explain(&self, config: &Config, gate: &Gate) -> Option<Explanation> {
        let judged = self.judged(gate)?;
        let (evidence, verdict) = (self.evidence(judged, config), &judged.verdict);
        Some(Explanation {
            truth: match verdict.outcome {
                Outcome::Open => Truth::Yes,
                Outcome::Closed => Truth::No,
                // Also where it only seems closed by facts too old to refuse.
                Outcome::Stale | Outcome::Unknown => Truth::Unknown,
            },
            tree: gate.explain(&self.holders, &evidence.fresh()),
            basis: evidence.basis(),
            is_complete: evidence.is_complete(),
            tier: verdict.tier,
        })
    }
}
