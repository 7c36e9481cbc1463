//! From wallets and gates to verdicts: facts at hand first, what is missing in one call per chain.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join, join_all};
use tokengate_core::Timestamp;
use tokengate_core::config::Config;
use tokengate_core::fact::{Fact, FactKey, Facts, Unreadable};
use tokengate_core::gate::{Basis, Decision, Gate, Granted, Truth};
use tokengate_core::resource::Resource;
use tokengate_core::wallet::Holders;

use crate::chain;
use crate::ports::Ports;
use crate::problem::Problem;
use crate::router::Context;
use crate::store;

/// Where what a decision rests on came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// All from the configuration: no fact was needed.
    Config,
    /// All from the shared store.
    Store,
    /// At least one from a chain.
    Chain,
}

impl Tier {
    /// The name in answers and in the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Store => "store",
            Self::Chain => "chain",
        }
    }

    /// The member of `Cache-Status` (RFC 9211) that says so.
    pub(crate) const fn cache_status(self) -> &'static str {
        match self {
            // Neither found in the cache nor looked for elsewhere.
            Self::Config => "tokengate; detail=config",
            Self::Store => "tokengate; hit; detail=store",
            Self::Chain => "tokengate; fwd=miss; detail=chain",
        }
    }
}

/// How much has to be known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Enough for a verdict.
    Verdict,
    /// Every leaf, to explain it.
    EveryLeaf,
}

/// Facts about some holders, all judged as of one moment.
pub(crate) struct Gathered {
    facts: Facts,
    now: Timestamp,
    holders: Holders,
    read: BTreeSet<FactKey>,
    /// Whether facts past `fresh` may grant: only where a gate was asked about alone and its chain did not answer. A
    /// caller who makes a larger read fail must not profit from it, nor one whose contract answers nonsense.
    may_be_stale: bool,
}

/// Gathers the facts that `gates` need for `holders`: from the store, and where they do not settle a gate, from the
/// chains, all of them at once.
pub(crate) async fn gather<P: Ports>(
    context: &Context<'_, P>,
    holders: Holders,
    gates: &[&Gate],
    effort: Effort,
) -> Result<Gathered, Problem> {
    let config = context.service.config()?;
    let now = context.ports.now();
    let mut facts = Facts::default();
    let mut keys = BTreeSet::new();
    for gate in gates {
        let opens = gate.holds_by_configuration(&holders, &facts.within(gate.fresh, now));
        if !opens || effort == Effort::EveryLeaf {
            keys.append(&mut gate.reads(&holders));
        }
    }
    let keys = Vec::from_iter(keys);
    // Of gates that are judged together, all rest on what satisfies the strictest.
    let agreement = gates.iter().map(|gate| gate.agreement).max().unwrap_or(1);
    let stored = store::facts(context, config.deadlines.store, agreement, &keys);
    let (stored, ()) = join(stored, chain::learn(context)).await;
    for (key, fact) in keys.iter().zip(stored) {
        if let Some(fact) = fact {
            facts.insert(key.clone(), fact);
        }
    }
    let mut wanted = BTreeSet::new();
    for gate in gates {
        let fresh = facts.within(gate.fresh, now);
        let opens = gate.evaluate(&holders, &fresh) == Truth::Yes;
        // A grant needs facts that are fresh; a refusal needs facts that are younger still.
        let enough = if opens {
            fresh
        } else {
            facts.within(gate.fresh.min(config.service.deny_after), now)
        };
        if opens && effort == Effort::Verdict {
            continue;
        }
        wanted.extend(
            gate.reads(&holders)
                .into_iter()
                .filter(|key| enough.fact(key).is_none()),
        );
    }
    let wanted = whole(wanted, gates, &holders);
    let mut may_be_stale = gates.len() == 1;
    let mut read = BTreeSet::new();
    let mut new: Vec<(FactKey, Fact)> = Vec::new();
    for (key, answer) in read_chains(context, &wanted, agreement, now).await? {
        match answer {
            Ok(fact) => {
                facts.insert(key.clone(), fact.clone());
                new.push((key.clone(), fact));
                read.insert(key);
            }
            Err(error) => {
                may_be_stale = false;
                context.record.fault(format!("{}: {error}", key.chain));
            }
        }
    }
    // Explanations are for anybody's address: what only they need is not kept for all.
    if !new.is_empty() && effort == Effort::Verdict {
        store::keep(context.ports, config.deadlines.store, agreement, new);
    }
    Ok(Gathered {
        facts,
        now,
        holders,
        read,
        may_be_stale,
    })
}

/// Adds to what is wanted of a chain all else that the same gates read there: whoever asks a chain decides on one block
/// of it, and on nothing that was read at another.
fn whole(mut wanted: BTreeSet<FactKey>, gates: &[&Gate], holders: &Holders) -> BTreeSet<FactKey> {
    // Most decisions want nothing of a chain.
    if wanted.is_empty() {
        return wanted;
    }
    loop {
        let before = wanted.len();
        for gate in gates {
            let reads = gate.reads(holders);
            let chains: BTreeSet<_> = reads
                .iter()
                .filter(|key| wanted.contains(key))
                .map(|key| key.chain)
                .collect();
            let more = reads.into_iter().filter(|key| chains.contains(&key.chain));
            wanted.extend(more);
        }
        if wanted.len() == before {
            return wanted;
        }
    }
}

/// Asks all chains at once. A chain without an answer leaves its facts unknown.
async fn read_chains<P: Ports>(
    context: &Context<'_, P>,
    wanted: &BTreeSet<FactKey>,
    agreement: usize,
    now: Timestamp,
) -> Result<Vec<(FactKey, Result<Fact, Unreadable>)>, Problem> {
    let calls = context.service.config()?.chains().map(|chain| async move {
        let keys = Vec::from_iter(wanted.iter().filter(|key| key.chain == chain.id).cloned());
        if keys.is_empty() {
            return Vec::new();
        }
        let reads: Vec<_> = keys.iter().map(|key| key.read.clone()).collect();
        match chain::read(context, chain, &reads, agreement, now).await {
            Ok(answers) => keys.into_iter().zip(answers).collect(),
            Err(chain::Unavailable) => Vec::new(),
        }
    });
    Ok(join_all(calls).await.into_iter().flatten().collect())
}

impl Gathered {
    /// The verdict of `gate` on `resource`.
    ///
    /// # Errors
    /// [`Problem::Refused`] on facts young enough to refuse; [`Problem::ChainUnavailable`] where nothing can be said.
    pub(crate) fn judge<P: Ports>(
        &self,
        context: &Context<'_, P>,
        gate: &Gate,
        resource: &Resource,
    ) -> Result<(Granted, Tier), Problem> {
        let config = context.service.config()?;
        if let Decision::Granted(granted) = gate.decide(
            &self.holders,
            resource,
            &self.facts.within(gate.fresh, self.now),
        ) {
            return Ok((granted, self.tier(gate)));
        }
        let young = self
            .facts
            .within(gate.fresh.min(config.service.deny_after), self.now);
        if let Decision::Denied = gate.decide(&self.holders, resource, &young) {
            return Err(Problem::Refused {
                gate: gate.id.to_string(),
                unmet: gate.unmet(&self.holders, &young),
            });
        }
        if !self.may_be_stale {
            return Err(Problem::ChainUnavailable);
        }
        // The chain did not say. Facts past `fresh` may still grant up to `stale`; they never refuse.
        match gate.decide(
            &self.holders,
            resource,
            &self.facts.within(gate.stale.max(gate.fresh), self.now),
        ) {
            Decision::Granted(granted) => Ok((granted, Tier::Store)),
            Decision::Denied | Decision::Unknown => Err(Problem::ChainUnavailable),
        }
    }

    /// Whether `gate` holds and why, leaf by leaf. Unknown also where it only seems closed by facts too old to refuse.
    pub(crate) fn explain(&self, config: &Config, gate: &Gate) -> (Truth, serde_json::Value) {
        let fresh = self.facts.within(gate.fresh, self.now);
        let mut truth = gate.evaluate(&self.holders, &fresh);
        if truth == Truth::No {
            let young = gate.fresh.min(config.service.deny_after);
            truth = gate.evaluate(&self.holders, &self.facts.within(young, self.now));
        }
        (truth, gate.explain(&self.holders, &fresh))
    }

    /// The oldest fresh fact of each chain that the gate reads, by chain.
    pub(crate) fn basis(&self, gate: &Gate) -> Vec<Basis> {
        let fresh = self.facts.within(gate.fresh, self.now);
        let mut oldest = BTreeMap::new();
        for key in gate.reads(&self.holders) {
            let Some(fact) = fresh.fact(&key) else {
                continue;
            };
            let basis = oldest.entry(key.chain).or_insert(Basis {
                chain: key.chain,
                block: fact.block,
                read_at: fact.read_at,
            });
            if fact.read_at < basis.read_at {
                (basis.block, basis.read_at) = (fact.block, fact.read_at);
            }
        }
        oldest.into_values().collect()
    }

    /// Which tier the verdict of `gate` came from.
    pub(crate) fn tier(&self, gate: &Gate) -> Tier {
        let reads = gate.reads(&self.holders);
        let fresh = self.facts.within(gate.fresh, self.now);
        if reads.iter().any(|key| self.read.contains(key)) {
            Tier::Chain
        } else if reads.is_empty() || gate.holds_by_configuration(&self.holders, &fresh) {
            Tier::Config
        } else {
            Tier::Store
        }
    }
}
