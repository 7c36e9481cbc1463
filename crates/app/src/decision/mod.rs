//! Decides gates: from the facts at hand, and where those do not suffice by one call per chain.

pub(crate) mod explain;
mod fetch;
mod fetches;
mod look_up;
mod reader;
mod tier;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokengate_core::config::Config;
use tokengate_core::fact::{Fact, FactKey, Facts};
use tokengate_core::gate::{Gate, Granted};
use tokengate_core::resource::Resource;
use tokengate_core::wallet::Holders;
use tokengate_core::{ChainId, Timestamp, cost};

pub(crate) use self::fetch::{charge, start_fetch};
pub(crate) use self::reader::{FactReader, FactState};
pub(crate) use self::tier::Tier;
use self::verdict::{Evidence, Outcome, Verdict};
use crate::background::Background as _;
use crate::http::problem::Problem;
use crate::ports::Ports;
use crate::rate_limit::Payer;
use crate::telemetry::Count;

/// How much has to be known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Enough for a verdict.
    Verdict,
    /// Every leaf, to explain it.
    EveryLeaf,
}

/// A fact that is asked for often is read again when so much of its time is over: three quarters.
const fn is_nearly_over(age: Duration, fresh: Duration) -> bool {
    age.as_millis() * 4 >= fresh.as_millis() * 3
}

/// Facts about some holders, all judged as of one moment, and the verdicts of gates by them.
pub(crate) struct Gathered<'g> {
    facts: Facts,
    now: Timestamp,
    holders: Holders,
    gates: Vec<Judged<'g>>,
    /// Of gates that are judged together, all rest on what satisfies the strictest.
    agreement: usize,
    effort: Effort,
    /// Who pays for what is read from chains; an operator does not.
    payer: Option<Payer>,
    /// What is read for the vault alone, which the client names without proof.
    of_vault: BTreeSet<FactKey>,
    tiers: BTreeMap<FactKey, Tier>,
    /// Blocks before which facts are known to be invalid.
    floors: BTreeMap<ChainId, u64>,
    /// Chains on which something has happened whose block says nothing: a read that began before must not be joined.
    alone: BTreeSet<ChainId>,
    /// What was fetched, if anything was.
    fetched: Option<Fetched>,
}

/// A gate, what it reads for the holders, and its verdict by the facts at hand.
struct Judged<'g> {
    gate: &'g Gate,
    reads: BTreeSet<FactKey>,
    /// Whether it opens by its lists and times alone.
    by_configuration: bool,
    verdict: Verdict,
}

/// How facts were fetched from chains.
#[derive(Clone, Copy, Default)]
struct Fetched {
    /// Whether another request had begun to read what this one lacks.
    is_joined: bool,
    /// Whether facts were there, but too old.
    was_stale: bool,
}

/// Gathers the facts that `gates` need for `holders`: from memory and the store, and where they do not settle a gate,
/// from the chains, all of them at once.
pub(crate) async fn gather<'g, P: Ports>(
    reader: &FactReader<P>,
    holders: Holders,
    gates: &[&'g Gate],
    effort: Effort,
    payer: Option<Payer>,
) -> Result<Gathered<'g>, Problem> {
    let mut gathered = at_hand(reader, holders, gates, effort, payer).await?;
    gathered.complete(reader).await?;
    Ok(gathered)
}

/// What memory and the store have of the facts that `gates` need.
pub(crate) async fn at_hand<'g, P: Ports>(
    reader: &FactReader<P>,
    holders: Holders,
    gates: &[&'g Gate],
    effort: Effort,
    payer: Option<Payer>,
) -> Result<Gathered<'g>, Problem> {
    let (facts, now) = (Facts::default(), reader.ports().now());
    let most = reader.config().limits.reads_per_decision;
    let mut judged = Vec::with_capacity(gates.len());
    let (mut keys, mut count) = (BTreeSet::new(), 0_usize);
    for gate in gates {
        let reads = gate.reads(&holders);
        count = count.saturating_add(cost::of(&reads));
        if count > most {
            return Err(Problem::TooManyReads(most));
        }
        let by_configuration =
            gate.holds_by_configuration(&holders, &facts.within(gate.fresh, now));
        if !by_configuration || effort == Effort::EveryLeaf {
            keys.extend(reads.iter().cloned());
        }
        judged.push(Judged {
            gate,
            reads,
            by_configuration,
            verdict: Verdict::UNKNOWN,
        });
    }
    let own = holders.vault().map(|_| holders.without_vault());
    // The vault is named without proof; what is read of the wallets as well is proven.
    let of_vault = own.map_or_else(BTreeSet::new, |own| {
        let own: BTreeSet<_> = gates.iter().flat_map(|gate| gate.reads(&own)).collect();
        let all = judged.iter().flat_map(|judged| &judged.reads);
        all.filter(|key| !own.contains(key)).cloned().collect()
    });
    let mut gathered = Gathered {
        facts,
        now,
        holders,
        gates: judged,
        agreement: gates.iter().map(|gate| gate.agreement).max().unwrap_or(1),
        effort,
        payer,
        of_vault,
        tiers: BTreeMap::new(),
        floors: BTreeMap::new(),
        alone: BTreeSet::new(),
        fetched: None,
    };
    gathered.look_up(reader, keys).await?;
    gathered.judge(reader.config());
    Ok(gathered)
}

impl Gathered<'_> {
    /// Judges every gate by the facts at hand.
    fn judge(&mut self, config: &Config) {
        let verdicts: Vec<_> = self
            .gates
            .iter()
            .map(|judged| self.evidence(judged, config).judge())
            .collect();
        for (judged, verdict) in self.gates.iter_mut().zip(verdicts) {
            judged.verdict = verdict;
        }
    }

    fn evidence<'a>(&'a self, judged: &'a Judged<'_>, config: &Config) -> Evidence<'a> {
        Evidence {
            gate: judged.gate,
            holders: &self.holders,
            reads: &judged.reads,
            by_configuration: judged.by_configuration,
            facts: &self.facts,
            tiers: &self.tiers,
            now: self.now,
            deny_after: config.service.deny_after,
            stale: match self.effort {
                Effort::Verdict => judged.gate.stale,
                // To explain it, everything is read again that is too old.
                Effort::EveryLeaf => Duration::ZERO,
            },
        }
    }

    /// The gate, if it is one of those that this was gathered for.
    fn judged(&self, gate: &Gate) -> Option<&Judged<'_>> {
        self.gates.iter().find(|judged| judged.gate.id == gate.id)
    }

    /// The grant of `resource` by `gate`, and the tier that the verdict came from.
    ///
    /// # Errors
    /// [`Problem::Refused`] on facts young enough to refuse; [`Problem::ChainUnavailable`] where nothing can be said.
    pub(crate) fn grant(
        &self,
        config: &Config,
        gate: &Gate,
        resource: &Resource,
    ) -> Result<(Granted, Tier), Problem> {
        let judged = self.judged(gate).ok_or(Problem::ChainUnavailable)?;
        let granted = self
            .evidence(judged, config)
            .grant(&judged.verdict, resource)?;
        Ok((granted, judged.verdict.tier))
    }

    /// The farthest tier that a verdict came from.
    pub(crate) fn tier(&self) -> Tier {
        let tiers = self.gates.iter().map(|judged| judged.verdict.tier);
        tiers.max().unwrap_or(Tier::Config)
    }

    /// The member of `Cache-Status` (RFC 9211) for the decision.
    pub(crate) fn cache_status(&self) -> String {
        let tier = if self.fetched.is_some() {
            Tier::Chain
        } else {
            self.tier()
        };
        let detail = tier.as_str();
        let ttl = self.gates.iter().filter_map(|judged| judged.verdict.ttl);
        match (tier, ttl.min()) {
            // Neither found in a cache nor looked for elsewhere.
            (Tier::Config, _) => "tokengate; detail=config".to_owned(),
            (Tier::Memory | Tier::Store, Some(ttl)) => {
                format!("tokengate; hit; ttl={ttl}; detail={detail}")
            }
            (Tier::Memory | Tier::Store, None) => format!("tokengate; hit; detail={detail}"),
            (Tier::Chain, _) => {
                let fetched = self.fetched.unwrap_or_default();
                let why = if fetched.was_stale { "stale" } else { "miss" };
                let collapsed = if fetched.is_joined { "; collapsed" } else { "" };
                format!("tokengate; fwd={why}{collapsed}; detail={detail}")
            }
        }
    }

    /// Has the chains say what is missing for a verdict on each of the gates, and in the background what soon will be.
    pub(crate) async fn complete<P: Ports>(
        &mut self,
        reader: &FactReader<P>,
    ) -> Result<(), Problem> {
        let config = reader.config();
        let (mut wanted, mut ahead, mut stale) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let mut was_stale = false;
        for judged in &self.gates {
            let missing = &judged.verdict.missing;
            match (judged.verdict.outcome, self.effort) {
                (Outcome::Open, Effort::Verdict) => ahead.extend(self.expiring(reader, judged)),
                (Outcome::Stale, Effort::Verdict) => {
                    reader.telemetry().count(Count::Stale, 1);
                    // Gate by gate: a larger read that fails must not keep a smaller one from being made.
                    stale.push(whole(missing.clone(), std::slice::from_ref(judged)));
                }
                _ => {
                    was_stale |= missing.iter().any(|key| self.tiers.contains_key(key));
                    wanted.extend(missing.iter().cloned());
                }
            }
        }
        let wanted = whole(wanted, &self.gates);
        let ahead = whole(ahead, &self.gates);
        let youngest = self
            .gates
            .iter()
            .map(|judged| judged.gate.fresh.min(config.service.deny_after));
        let max_age = youngest.min().unwrap_or_default();
        if !wanted.is_empty() {
            self.fetched = Some(Fetched {
                was_stale,
                ..Fetched::default()
            });
            self.read(reader, config, &wanted, max_age).await?;
            self.judge(config);
        }
        for stale in stale {
            self.refresh(reader, config, stale).await;
        }
        if let Some(rate) = config.cache.refresh
            && !ahead.is_empty()
            && reader.facts.may_refresh(rate, reader.ports().elapsed())
        {
            self.refresh(reader, config, ahead).await;
        }
        let evictions = reader.facts.cache.evictions();
        reader.telemetry().count(
            Count::Evictions,
            usize::try_from(evictions).unwrap_or(usize::MAX),
        );
        Ok(())
    }

    /// The facts of an open gate that are asked for often and soon too old.
    fn expiring<P: Ports>(&self, reader: &FactReader<P>, judged: &Judged<'_>) -> Vec<FactKey> {
        let elapsed = reader.ports().elapsed();
        let fresh = self.facts.within(judged.gate.fresh, self.now);
        let age = |fact: &Fact| self.now.duration_since(fact.read_at).unsigned_abs();
        let expiring = judged.reads.iter().filter(|key| {
            let fact = fresh.fact(key);
            fact.is_some_and(|fact| is_nearly_over(age(fact), judged.gate.fresh))
                && reader.facts.cache.is_hot(self.agreement, key, elapsed)
        });
        expiring.cloned().collect()
    }
}

/// Adds to what is wanted of a chain all else that the same gates read there: a decision that asks a chain rests on one
/// block of it, and on nothing that was read at another.
fn whole(mut wanted: BTreeSet<FactKey>, gates: &[Judged<'_>]) -> BTreeSet<FactKey> {
    // Most decisions want nothing of a chain.
    if wanted.is_empty() {
        return wanted;
    }
    loop {
        let before = wanted.len();
        for judged in gates {
            let named = judged.reads.iter().filter(|key| wanted.contains(key));
            let chains: BTreeSet<_> = named.map(|key| key.chain).collect();
            let more = judged.reads.iter();
            let more = more.filter(|key| chains.contains(&key.chain));
            wanted.extend(more.cloned());
        }
        if wanted.len() == before {
            return wanted;
        }
    }
}
