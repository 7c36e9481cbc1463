//! The verdict on a gate: a pure function of the gate, the facts at hand and the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokengate_core::fact::{FactKey, Facts, View};
use tokengate_core::gate::{Basis, Decision, Gate, Granted, Truth};
use tokengate_core::resource::Resource;
use tokengate_core::wallet::Holders;
use tokengate_core::{ChainId, Timestamp};

use super::tier::Tier;
use crate::http::problem::Problem;

/// What a verdict rests on.
#[derive(Clone, Copy)]
pub(super) struct Evidence<'a> {
    pub(super) gate: &'a Gate,
    pub(super) holders: &'a Holders,
    /// What the gate reads for the holders.
    pub(super) reads: &'a BTreeSet<FactKey>,
    /// Whether the gate opens by its lists and times alone.
    pub(super) by_configuration: bool,
    pub(super) facts: &'a Facts,
    /// Where each of the facts came from.
    pub(super) tiers: &'a BTreeMap<FactKey, Tier>,
    pub(super) now: Timestamp,
    /// A refusal rests on no older fact.
    pub(super) deny_after: Duration,
    /// A grant may rest on facts of this age, if that is more than the gate's `max_age`.
    pub(super) stale: Duration,
}

/// What a gate says of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is open by fresh facts.
    Open,
    /// It is open by facts past `max_age`, which are read again in the background.
    Stale,
    /// It is closed by facts young enough to refuse.
    Closed,
    /// The facts do not tell.
    Unknown,
}

/// The verdict on one gate, in one state of the facts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// What the gate says.
    pub(crate) outcome: Outcome,
    /// The farthest tier that a fact came from.
    pub(crate) tier: Tier,
    /// The conditions that keep it closed.
    pub(crate) unmet: Vec<Value>,
    /// What has to be read for another outcome: past `max_age` where it is open, too old to refuse where it is not.
    pub(super) missing: BTreeSet<FactKey>,
    /// Seconds that are left of the oldest fact's `max_age`; below zero it is stale.
    pub(super) ttl: Option<i64>,
}

impl Verdict {
    /// Before anything is known.
    pub(super) const UNKNOWN: Self = Self {
        outcome: Outcome::Unknown,
        tier: Tier::Config,
        unmet: Vec::new(),
        missing: BTreeSet::new(),
        ttl: None,
    };
}

impl<'a> Evidence<'a> {
    fn within(&self, age: Duration) -> View<'a> {
        self.facts.within(age, self.now)
    }

    /// Facts that a grant may rest on without a fetch.
    pub(super) fn fresh(&self) -> View<'a> {
        self.within(self.gate.fresh)
    }

    /// Facts that a refusal may rest on.
    fn young(&self) -> View<'a> {
        self.within(self.gate.fresh.min(self.deny_after))
    }

    /// Whether one view has a fact of the gate that another one has not.
    fn differ(&self, one: &View<'_>, other: &View<'_>) -> bool {
        let mut reads = self.reads.iter();
        reads.any(|key| one.fact(key).is_some() != other.fact(key).is_some())
    }

    fn evaluate(&self, view: &View<'_>) -> Truth {
        #[cfg(test)]
        tests::EVALUATIONS.with(|count| count.set(count.get() + 1));
        self.gate.evaluate(self.holders, view)
    }

    /// The gate's tree is evaluated once, and once more only where a view of older or younger facts may say otherwise: what
    /// fresh facts leave unknown stays so without older ones, and a refusal by fresh facts stands if all are young.
    fn outcome(&self) -> Outcome {
        let fresh = self.fresh();
        match self.evaluate(&fresh) {
            Truth::Yes => Outcome::Open,
            Truth::No => {
                let young = self.young();
                if !self.differ(&young, &fresh) || self.evaluate(&young) == Truth::No {
                    Outcome::Closed
                } else {
                    Outcome::Unknown
                }
            }
            Truth::Unknown => {
                let stale = self.within(self.stale);
                let is_older = self.stale > self.gate.fresh && self.differ(&stale, &fresh);
                if is_older && self.evaluate(&stale) == Truth::Yes {
                    Outcome::Stale
                } else {
                    Outcome::Unknown
                }
            }
        }
    }

    fn tier(&self) -> Tier {
        if self.by_configuration {
            return Tier::Config;
        }
        let tiers = self.reads.iter().filter_map(|key| self.tiers.get(key));
        tiers.max().copied().unwrap_or(Tier::Config)
    }

    fn ttl(&self) -> Option<i64> {
        let known = self.within(Duration::MAX);
        let fresh = i64::try_from(self.gate.fresh.as_secs()).ok()?;
        let left = self.reads.iter().filter_map(|key| {
            let age = self.now.duration_since(known.fact(key)?.read_at).as_secs();
            Some(fresh.saturating_sub(age))
        });
        left.min()
    }

    /// The verdict.
    pub(super) fn judge(&self) -> Verdict {
        let outcome = self.outcome();
        let enough = match outcome {
            Outcome::Open | Outcome::Stale => self.fresh(),
            Outcome::Closed | Outcome::Unknown => self.young(),
        };
        let missing = self.reads.iter().filter(|key| enough.fact(key).is_none());
        Verdict {
            outcome,
            tier: self.tier(),
            unmet: if outcome == Outcome::Closed {
                self.gate.unmet(self.holders, &self.young())
            } else {
                Vec::new()
            },
            missing: missing.cloned().collect(),
            ttl: self.ttl(),
        }
    }

    /// The grant of `resource` that a verdict of this evidence stands for.
    ///
    /// # Errors
    /// [`Problem::Refused`] on facts young enough to refuse; [`Problem::ChainUnavailable`] where nothing can be said.
    pub(super) fn grant(&self, verdict: &Verdict, resource: &Resource) -> Result<Granted, Problem> {
        let view = match verdict.outcome {
            Outcome::Open => self.fresh(),
            Outcome::Stale => self.within(self.stale),
            Outcome::Closed => {
                return Err(Problem::Refused {
                    gate: self.gate.id.to_string(),
                    unmet: verdict.unmet.clone(),
                });
            }
            Outcome::Unknown => return Err(Problem::ChainUnavailable),
        };
        match self.gate.decide(self.holders, resource, &view) {
            Decision::Granted(granted) => Ok(granted),
            Decision::Denied | Decision::Unknown => Err(Problem::ChainUnavailable),
        }
    }

    /// Whether every fact that the gate reads is at hand and young enough to refuse by.
    pub(super) fn is_complete(&self) -> bool {
        let young = self.young();
        self.reads.iter().all(|key| young.fact(key).is_some())
    }

    /// The oldest fresh fact of each chain that the gate reads, by chain.
    pub(super) fn basis(&self) -> Vec<Basis> {
        let fresh = self.fresh();
        let mut oldest: BTreeMap<ChainId, Basis> = BTreeMap::new();
        for key in self.reads {
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
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokengate_core::config::Config;
    use tokengate_core::fact::{Fact, Value};
    use tokengate_core::wallet::Wallet;
    use tokengate_core::{Address, U256};

    use super::*;

    thread_local! {
        pub(super) static EVALUATIONS: Cell<u32> = const { Cell::new(0) };
    }

    const DENY_AFTER: Duration = Duration::from_secs(3);

    /// The verdict by one fact of this amount and age, and how often the gate's tree was evaluated for it.
    fn judge(amount: Option<u8>, age: u64) -> (Verdict, u32) {
        let config = Config::parse(include_str!("../../../../tokengate.toml")).unwrap();
        let gate = Gate {
            fresh: Duration::from_secs(60),
            stale: Duration::from_secs(600),
            ..config.gate("pass").unwrap().clone()
        };
        let wallet = Wallet::of_key(Address::from_bytes([7; 20]));
        let holders = Holders::new([wallet], None);
        let reads = gate.reads(&holders);
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let (mut facts, mut tiers) = (Facts::default(), BTreeMap::new());
        for key in &reads {
            if let Some(amount) = amount {
                let fact = Fact {
                    value: Value::Amount(U256::from(amount)),
                    block: 7,
                    read_at: now - Duration::from_secs(age),
                };
                facts.insert(key.clone(), fact);
                tiers.insert(key.clone(), Tier::Store);
            }
        }
        let evidence = Evidence {
            gate: &gate,
            holders: &holders,
            reads: &reads,
            by_configuration: false,
            facts: &facts,
            tiers: &tiers,
            now,
            deny_after: DENY_AFTER,
            stale: gate.stale,
        };
        EVALUATIONS.with(|count| count.set(0));
        (evidence.judge(), EVALUATIONS.with(Cell::get))
    }

    #[test]
    fn a_gate_is_evaluated_once_unless_facts_of_another_age_may_say_otherwise() {
        for (amount, age, outcome, evaluations) in [
            (Some(1), 0, Outcome::Open, 1),
            (Some(1), 59, Outcome::Open, 1),
            (Some(1), 61, Outcome::Stale, 2),
            (Some(1), 601, Outcome::Unknown, 1),
            (Some(0), 2, Outcome::Closed, 1),
            (Some(0), 4, Outcome::Unknown, 2),
            (Some(0), 61, Outcome::Unknown, 2),
            (None, 0, Outcome::Unknown, 1),
        ] {
            let (verdict, count) = judge(amount, age);
            assert_eq!(
                (verdict.outcome, count),
                (outcome, evaluations),
                "{amount:?} {age}"
            );
        }
    }

    #[test]
    fn only_a_refusal_says_what_is_unmet_and_only_what_is_too_old_is_missing() {
        let (open, _) = judge(Some(1), 59);
        assert!(open.unmet.is_empty() && open.missing.is_empty());
        assert_eq!((open.tier, open.ttl), (Tier::Store, Some(1)));
        let (closed, _) = judge(Some(0), 2);
        assert!(!closed.unmet.is_empty() && closed.missing.is_empty());
        for (amount, age) in [(1, 61), (0, 4)] {
            let (verdict, _) = judge(Some(amount), age);
            assert!(verdict.unmet.is_empty() && !verdict.missing.is_empty());
        }
        let (nothing, _) = judge(None, 0);
        assert_eq!((nothing.tier, nothing.ttl), (Tier::Config, None));
    }
}
