//! From wallets and gates to verdicts: facts at hand first, what is missing in one call per chain.

pub(crate) mod explain;
mod fetch;
mod reader;
mod tier;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};
use tokengate_core::config::Config;
use tokengate_core::fact::{Fact, FactKey, Facts, Known};
use tokengate_core::gate::{Gate, GateId, Truth};
use tokengate_core::wallet::Holders;
use tokengate_core::{ChainId, Timestamp, cost};

use self::fetch::land;
pub(crate) use self::fetch::{charge, take_off};
pub(crate) use self::reader::{FactReader, FactState};
pub(crate) use self::tier::Tier;
use crate::background::Background as _;
use crate::cache::single_flight::{Course, Flight};
use crate::chain;
use crate::http::problem::Problem;
use crate::ports::Ports;
use crate::rate_limit::Payer;
use crate::store;
use crate::telemetry::{Count, Outside};

/// How much has to be known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Enough for a verdict.
    Verdict,
    /// Every leaf, to explain it.
    EveryLeaf,
}

/// A node that has not seen a block is behind for so long at the most after the block was told of: whoever told may be
/// mistaken.
const FLOOR_FOR: Duration = Duration::from_secs(30);

/// The most reads of chains that an instance has under way and begins another behind a response.
const MAX_BEHIND: usize = 16;

/// A fact that is asked for often is read anew when so much of its time is over: three quarters.
const fn is_nearly_over(age: Duration, fresh: Duration) -> bool {
    age.as_millis() * 4 >= fresh.as_millis() * 3
}

/// Facts about some holders, all judged as of one moment.
pub(crate) struct Gathered {
    facts: Facts,
    now: Timestamp,
    holders: Holders,
    /// What each of the gates reads for these holders.
    reads: Vec<(GateId, BTreeSet<FactKey>)>,
    /// Of gates that are judged together, all rest on what satisfies the strictest.
    agreement: usize,
    effort: Effort,
    /// Who pays for what is read from chains; nobody does for an operator.
    payer: Option<Payer>,
    /// What is read for the vault alone, which anybody can name.
    of_vault: BTreeSet<FactKey>,
    tiers: BTreeMap<FactKey, Tier>,
    /// Blocks before which facts are known to be outdated.
    floors: BTreeMap<ChainId, u64>,
    /// Chains on which something has happened whose block says nothing: a read that began before must not be joined.
    alone: BTreeSet<ChainId>,
    /// Whether a chain was asked.
    asked: bool,
    /// Whether others had begun to read what this lacks.
    collapsed: bool,
    /// Whether facts were there, but too old.
    outdated: bool,
}

/// Gathers the facts that `gates` need for `holders`: from memory and the store, and where they do not settle a gate,
/// from the chains, all of them at once.
pub(crate) async fn gather<P: Ports>(
    reader: &FactReader<P>,
    holders: Holders,
    gates: &[&Gate],
    effort: Effort,
    payer: Option<Payer>,
) -> Result<Gathered, Problem> {
    let mut gathered = at_hand(reader, holders, gates, effort, payer).await?;
    gathered.complete(reader, gates).await?;
    Ok(gathered)
}

/// What memory and the store have of the facts that `gates` need.
pub(crate) async fn at_hand<P: Ports>(
    reader: &FactReader<P>,
    holders: Holders,
    gates: &[&Gate],
    effort: Effort,
    payer: Option<Payer>,
) -> Result<Gathered, Problem> {
    let most = reader.config().limits.reads_per_decision;
    let reads = reads(gates, &holders, most).ok_or(Problem::TooManyReads(most))?;
    let own = holders.vault().map(|_| holders.without_vault());
    // Nobody has proven that the vault is theirs; what is read of the wallets as well is.
    let of_vault = own.map_or_else(BTreeSet::new, |own| {
        let own: BTreeSet<_> = gates.iter().flat_map(|gate| gate.reads(&own)).collect();
        let all = reads.iter().flat_map(|(_, reads)| reads);
        all.filter(|key| !own.contains(key)).cloned().collect()
    });
    let mut gathered = Gathered {
        facts: Facts::default(),
        now: reader.ports().now(),
        reads,
        holders,
        agreement: gates.iter().map(|gate| gate.agreement).max().unwrap_or(1),
        effort,
        payer,
        of_vault,
        tiers: BTreeMap::new(),
        floors: BTreeMap::new(),
        alone: BTreeSet::new(),
        asked: false,
        collapsed: false,
        outdated: false,
    };
    let mut keys = BTreeSet::new();
    for gate in gates {
        if !gathered.opens_by_configuration(gate) || effort == Effort::EveryLeaf {
            keys.extend(gathered.reads(gate).iter().cloned());
        }
    }
    gathered.look_up(reader, keys).await?;
    Ok(gathered)
}

impl Gathered {
    /// What `gate`, one of those that this was gathered for, reads for the holders. Of any other nothing is known.
    fn reads(&self, gate: &Gate) -> &BTreeSet<FactKey> {
        static NONE: BTreeSet<FactKey> = BTreeSet::new();
        let mut reads = self.reads.iter();
        let reads = reads.find(|(id, _)| *id == gate.id);
        reads.map_or(&NONE, |(_, reads)| reads)
    }

    fn opens_by_configuration(&self, gate: &Gate) -> bool {
        let fresh = self.facts.within(gate.fresh, self.now);
        gate.holds_by_configuration(&self.holders, &fresh)
    }

    async fn look_up<P: Ports>(
        &mut self,
        reader: &FactReader<P>,
        keys: BTreeSet<FactKey>,
    ) -> Result<(), Problem> {
        let config = reader.config();
        let memory = &reader.facts;
        let asked = reader.ports().elapsed();
        let undone = |key: &FactKey, fact: &Fact| reader.chain.is_reorged(key, fact);
        let mut lacking = Vec::new();
        for key in keys {
            match memory.cache.get(self.agreement, &key, asked) {
                Some(fact) if !undone(&key, &fact) => {
                    reader.telemetry().count(Count::Memory, 1);
                    self.tiers.insert(key.clone(), Tier::Memory);
                    self.facts.insert(key, fact);
                }
                _ => lacking.push(key),
            }
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let lacking: Vec<_> = lacking.iter().collect();
        let known = store::facts(&reader.store, self.agreement, &lacking);
        let (known, ()) = join(known, chain::pull(&reader.chain)).await;
        for (key, known) in lacking.into_iter().zip(known) {
            match known {
                // One that no gate may rest on any longer must not contradict what is read now either.
                Ok(Some(Known::Fact(fact)))
                    if !undone(key, &fact) && fact.is_within(store::fact_ttl(config), self.now) =>
                {
                    reader.telemetry().count(Count::Store, 1);
                    memory.cache.put(self.agreement, key, &fact, asked);
                    self.tiers.insert(key.clone(), Tier::Store);
                    self.facts.insert(key.clone(), fact);
                }
                Ok(Some(Known::Touched(touch, at))) => {
                    memory.cache.remove(self.agreement, key);
                    let age = self.now.duration_since(at).unsigned_abs();
                    // A read that is under way has begun within the time that one takes. Tombstones stay for longer.
                    if touch.since.is_some() && age <= FLOOR_FOR.max(config.deadlines.chain * 2) {
                        self.alone.insert(key.chain);
                    }
                    if age <= FLOOR_FOR {
                        let floor = self.floors.entry(key.chain).or_default();
                        *floor = touch.block.max(*floor);
                    }
                }
                Ok(Some(Known::Fact(_)) | None) => memory.cache.remove(self.agreement, key),
                Err(store::LookupError::Failed) => {}
                // A tombstone may have stood there: only what is read from now on is believed.
                Err(store::LookupError::Forged) => {
                    memory.cache.remove(self.agreement, key);
                    self.alone.insert(key.chain);
                }
            }
        }
        Ok(())
    }

    /// Has the chains say what is missing for a verdict on each of `gates`, and behind the response what soon will be.
    pub(crate) async fn complete<P: Ports>(
        &mut self,
        reader: &FactReader<P>,
        gates: &[&Gate],
    ) -> Result<(), Problem> {
        let config = reader.config();
        let (mut wanted, mut ahead, mut behind) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for gate in gates {
            let fresh = self.facts.within(gate.fresh, self.now);
            let opens = gate.evaluate(&self.holders, &fresh) == Truth::Yes;
            if opens && self.effort == Effort::Verdict {
                ahead.extend(self.ending(reader, gate));
                continue;
            }
            let reads = self.reads(gate).iter();
            if self.effort == Effort::Verdict && self.opens_on_stale(gate) {
                reader.telemetry().count(Count::Stale, 1);
                let old = reads.filter(|key| fresh.fact(key).is_none());
                let old = old.cloned().collect();
                // Gate by gate: whoever makes a larger read fail must not keep a smaller one from being made.
                behind.push(whole(old, &[gate], &self.holders));
                continue;
            }
            // A grant needs facts that are fresh; a refusal needs facts that are younger still.
            let enough = if opens {
                fresh
            } else {
                self.facts
                    .within(gate.fresh.min(config.service.deny_after), self.now)
            };
            let missing: Vec<_> = reads
                .filter(|key| enough.fact(key).is_none())
                .cloned()
                .collect();
            self.outdated |= missing.iter().any(|key| self.tiers.contains_key(key));
            wanted.extend(missing);
        }
        let wanted = whole(wanted, gates, &self.holders);
        let patience = gates
            .iter()
            .map(|gate| gate.fresh.min(config.service.deny_after))
            .min()
            .unwrap_or_default();
        self.read(reader, config, &wanted, patience).await?;
        for old in behind {
            self.refresh(reader, config, old).await;
        }
        let memory = &reader.facts;
        if let Some(rate) = config.cache.refresh
            && !ahead.is_empty()
            && memory.may_refresh(rate, reader.ports().elapsed())
        {
            let ahead = whole(ahead, gates, &self.holders);
            self.refresh(reader, config, ahead).await;
        }
        let evictions = memory.cache.evictions();
        reader.telemetry().count(
            Count::Evictions,
            usize::try_from(evictions).unwrap_or(usize::MAX),
        );
        Ok(())
    }

    /// Whether facts past `fresh` still open a gate.
    fn opens_on_stale(&self, gate: &Gate) -> bool {
        let stale = self.facts.within(gate.stale, self.now);
        gate.stale > gate.fresh && gate.evaluate(&self.holders, &stale) == Truth::Yes
    }

    /// The facts of an open gate that are asked for often and soon too old.
    fn ending<P: Ports>(&self, reader: &FactReader<P>, gate: &Gate) -> Vec<FactKey> {
        let elapsed = reader.ports().elapsed();
        let memory = &reader.facts;
        let fresh = self.facts.within(gate.fresh, self.now);
        let age = |fact: &Fact| self.now.duration_since(fact.read_at).unsigned_abs();
        let ending = self.reads(gate).iter().filter(|key| {
            fresh
                .fact(key)
                .is_some_and(|fact| is_nearly_over(age(fact), gate.fresh))
                && memory.cache.is_hot(self.agreement, key, elapsed)
        });
        ending.cloned().collect()
    }

    /// Asks all chains at once. A chain without an answer leaves its facts unknown.
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`], before a chain is asked; [`Problem::ChainUnavailable`] while the instance is reading
    /// as much as it can.
    async fn read<P: Ports>(
        &mut self,
        reader: &FactReader<P>,
        config: &Config,
        wanted: &BTreeSet<FactKey>,
        patience: Duration,
    ) -> Result<(), Problem> {
        if wanted.is_empty() {
            return Ok(());
        }
        self.asked = true;
        let begun = reader.ports().elapsed();
        let courses = self.courses(config, wanted);
        let courses: Vec<_> = courses
            .into_iter()
            .map(|course| {
                let joined = self.join(reader, &course, begun, patience);
                (course, joined)
            })
            .collect();
        let lacking = courses.iter().filter(|(_, joined)| joined.is_none());
        self.pay(reader, lacking.map(|(course, _)| course)).await?;
        let mut flights = Vec::new();
        for (course, joined) in courses {
            if self.effort == Effort::EveryLeaf {
                // Explanations are for anybody's address: what only they need is not kept for all.
                flights.push(land(reader, course, self.now).map(Rc::new).left_future());
                continue;
            }
            // Another one may have begun it while the store was asked what this one has used.
            let joined = joined.or_else(|| self.join(reader, &course, begun, patience));
            if joined.is_some() {
                reader.telemetry().count(Count::Coalesced, 1);
                self.collapsed = true;
            } else {
                reader.telemetry().count(Count::Chain, course.keys.len());
            }
            let flight = joined.unwrap_or_else(|| take_off(reader, course, self.now));
            let ports = reader.ports();
            flights.push(async move { flight.landing(ports).await }.right_future());
        }
        reader.telemetry().wait_begins(Outside::Chain, begun);
        let landings = join_all(flights).await;
        reader
            .telemetry()
            .wait_ends(Outside::Chain, reader.ports().elapsed());
        for landing in landings {
            for fault in &landing.faults {
                reader.telemetry().error(fault.clone());
            }
            for (key, answer) in &landing.answers {
                if !wanted.contains(key) {
                    continue;
                }
                match answer {
                    // Whoever has begun the read may not have known what is known here.
                    Ok(fact)
                        if self.known(key).is_some_and(|known| {
                            fact.contradicts(known) && !reader.chain.is_reorged(key, known)
                        }) => {}
                    Ok(fact) => {
                        self.tiers.insert(key.clone(), Tier::Chain);
                        self.facts.insert(key.clone(), fact.clone());
                    }
                    // Neither a yes nor a no, and what was known before is not believed any longer.
                    Err(_) => self.facts.remove(key),
                }
            }
        }
        Ok(())
    }

    /// The read under way that has what `course` wants, if there is one.
    fn join<P: Ports>(
        &self,
        reader: &FactReader<P>,
        course: &Course,
        now: Duration,
        patience: Duration,
    ) -> Option<Flight> {
        let alone = patience.is_zero() || self.alone.contains(&course.chain);
        if alone || self.effort == Effort::EveryLeaf {
            return None;
        }
        reader.facts.flights.join(course, now, patience)
    }

    /// Charges for reads that begin.
    async fn pay<P: Ports>(
        &self,
        reader: &FactReader<P>,
        courses: impl Iterator<Item = &Course>,
    ) -> Result<(), Problem> {
        let facts = courses.map(Course::cost).fold(0, usize::saturating_add);
        charge(reader, self.payer.as_ref(), facts).await
    }

    /// Has facts read behind the response, unless somebody does already, or it is not paid for.
    async fn refresh<P: Ports>(
        &self,
        reader: &FactReader<P>,
        config: &Config,
        wanted: BTreeSet<FactKey>,
    ) {
        if wanted.is_empty() {
            return;
        }
        for course in self.courses(config, &wanted) {
            let flights = &reader.facts.flights;
            let now = reader.ports().elapsed();
            if flights.count() < MAX_BEHIND
                && flights.join(&course, now, Duration::MAX).is_none()
                && self.pay(reader, std::iter::once(&course)).await.is_ok()
            {
                reader.telemetry().count(Count::Refreshes, 1);
                take_off(reader, course, self.now);
            }
        }
    }

    fn known(&self, key: &FactKey) -> Option<&Fact> {
        self.facts.within(Duration::MAX, self.now).fact(key)
    }

    /// What is wanted, chain by chain.
    fn courses(&self, config: &Config, wanted: &BTreeSet<FactKey>) -> Vec<Course> {
        let chains = config.chains().map(|chain| chain.id);
        chains
            .map(|chain| Course {
                chain,
                agreement: self.agreement,
                keys: wanted
                    .iter()
                    .filter(|key| key.chain == chain)
                    .cloned()
                    .collect(),
                floor: self.floors.get(&chain).copied().unwrap_or_default(),
                known: wanted
                    .iter()
                    .filter(|key| key.chain == chain)
                    .filter_map(|key| Some((key.clone(), self.known(key)?.clone())))
                    .collect(),
                of_vault: wanted
                    .iter()
                    .filter(|key| key.chain == chain && self.of_vault.contains(key))
                    .cloned()
                    .collect(),
            })
            .filter(|course| !course.keys.is_empty())
            .collect()
    }
}

/// What each of `gates` reads for `holders`, unless that is more than `most` facts.
fn reads(
    gates: &[&Gate],
    holders: &Holders,
    most: usize,
) -> Option<Vec<(GateId, BTreeSet<FactKey>)>> {
    let (mut reads, mut count) = (Vec::with_capacity(gates.len()), 0_usize);
    for gate in gates {
        let keys = gate.reads(holders);
        count = count.saturating_add(cost::of(&keys));
        if count > most {
            return None;
        }
        reads.push((gate.id.clone(), keys));
    }
    Some(reads)
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
