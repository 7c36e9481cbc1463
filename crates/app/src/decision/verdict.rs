//! The verdict on a gate.

use std::collections::BTreeMap;

use tokengate_core::config::Config;
use tokengate_core::gate::{Basis, Decision, Gate, Granted, Truth};
use tokengate_core::resource::Resource;

use super::Gathered;
use super::tier::Tier;
use crate::http::problem::Problem;

impl Gathered {
    /// The verdict of `gate` on `resource`.
    ///
    /// # Errors
    /// [`Problem::Refused`] on facts young enough to refuse; [`Problem::ChainUnavailable`] where nothing can be said.
    pub(crate) fn judge(
        &self,
        config: &Config,
        gate: &Gate,
        resource: &Resource,
    ) -> Result<(Granted, Tier), Problem> {
        if let Decision::Granted(granted) = gate.decide(
            &self.holders,
            resource,
            &self.facts.within(gate.fresh, self.now),
        ) {
            return Ok((granted, self.tier(gate)));
        }
        // Past `fresh` it is open for a while yet: the chain is asked behind the response.
        if gate.stale > gate.fresh
            && let Decision::Granted(granted) = gate.decide(
                &self.holders,
                resource,
                &self.facts.within(gate.stale, self.now),
            )
        {
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
        Err(Problem::ChainUnavailable)
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

    /// Whether every fact that the gate reads is at hand and young enough to refuse by.
    pub(crate) fn is_complete(&self, config: &Config, gate: &Gate) -> bool {
        let young = gate.fresh.min(config.service.deny_after);
        let young = self.facts.within(young, self.now);
        self.reads(gate).iter().all(|key| young.fact(key).is_some())
    }

    /// The oldest fresh fact of each chain that the gate reads, by chain.
    pub(crate) fn basis(&self, gate: &Gate) -> Vec<Basis> {
        let fresh = self.facts.within(gate.fresh, self.now);
        let mut oldest = BTreeMap::new();
        for key in self.reads(gate) {
            let Some(fact) = fresh.fact(key) else {
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

    /// Which tier the verdict of `gate` came from: the farthest.
    pub(crate) fn tier(&self, gate: &Gate) -> Tier {
        if self.opens_by_configuration(gate) {
            return Tier::Config;
        }
        let tiers = self
            .reads(gate)
            .iter()
            .filter_map(|key| self.tiers.get(key));
        tiers.max().copied().unwrap_or(Tier::Config)
    }

    /// The member of `Cache-Status` (RFC 9211) for a decision on `gates`.
    pub(crate) fn cache_status(&self, gates: &[&Gate]) -> String {
        let tier = if self.asked {
            Tier::Chain
        } else {
            let tiers = gates.iter().map(|gate| self.tier(gate));
            tiers.max().unwrap_or(Tier::Config)
        };
        let detail = tier.as_str();
        // Of the oldest fact; below zero it is stale.
        let left = gates.iter().flat_map(|gate| {
            self.reads(gate).iter().filter_map(|key| {
                let age = self.now.duration_since(self.known(key)?.read_at).as_secs();
                Some(
                    i64::try_from(gate.fresh.as_secs())
                        .ok()?
                        .saturating_sub(age),
                )
            })
        });
        let ttl = left.min();
        match (tier, ttl) {
            // Neither found in a cache nor looked for elsewhere.
            (Tier::Config, _) => "tokengate; detail=config".to_owned(),
            (Tier::Memory | Tier::Store, Some(ttl)) => {
                format!("tokengate; hit; ttl={ttl}; detail={detail}")
            }
            (Tier::Memory | Tier::Store, None) => format!("tokengate; hit; detail={detail}"),
            (Tier::Chain, _) => {
                let why = if self.outdated { "stale" } else { "miss" };
                let collapsed = if self.collapsed { "; collapsed" } else { "" };
                format!("tokengate; fwd={why}{collapsed}; detail={detail}")
            }
        }
    }
}
