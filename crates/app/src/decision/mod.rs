//! Decides gates: from the facts at hand, and where those do not suffice by one call per chain.

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
use tokengate_core::gate::{Gate, Granted};
use tokengate_core::resource::Resource;
use tokengate_core::wallet::Holders;
use tokengate_core::{ChainId, Timestamp, cost};

use self::fetch::fetch;
pub(crate) use self::fetch::{charge, start_fetch};
pub(crate) use self::reader::{FactReader, FactState};
pub(crate) use self::tier::Tier;
use self::verdict::{Evidence, Outcome, Verdict};
use crate::background::Background as _;
use crate::cache::single_flight::{FetchRequest, InFlight};
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

/// A node that has not seen a block is behind for so long at the most after the block was told of: the source may be
/// mistaken.
const FLOOR_FOR: Duration = Duration::from_secs(30);

/// With more fetches in flight than this, none begins in the background.
const MAX_BACKGROUND: usize = 16;

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

    async fn look_up<P: Ports>(
        &mut self,
        reader: &FactReader<P>,
        keys: BTreeSet<FactKey>,
    ) -> Result<(), Problem> {
        let config = reader.config();
        let memory = &reader.facts;
        let asked = reader.ports().elapsed();
        let is_reorged = |key: &FactKey, fact: &Fact| reader.chain.is_reorged(key, fact);
        let mut lacking = Vec::new();
        for key in keys {
            match memory.cache.get(self.agreement, &key, asked) {
                Some(fact) if !is_reorged(&key, &fact) => {
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
                    if !is_reorged(key, &fact)
                        && fact.is_within(store::fact_ttl(config), self.now) =>
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
        max_age: Duration,
    ) -> Result<(), Problem> {
        let begun = reader.ports().elapsed();
        let requests = self.requests(config, wanted);
        let requests: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let joined = self.join(reader, &request, begun, max_age);
                (request, joined)
            })
            .collect();
        let lacking = requests.iter().filter(|(_, joined)| joined.is_none());
        self.pay(reader, lacking.map(|(request, _)| request))
            .await?;
        let mut fetches = Vec::new();
        for (request, joined) in requests {
            if self.effort == Effort::EveryLeaf {
                // Explanations are public, for any address: what only they need is not kept.
                fetches.push(fetch(reader, request, self.now).map(Rc::new).left_future());
                continue;
            }
            // Another one may have begun it while the store was asked what this one has used.
            let joined = joined.or_else(|| self.join(reader, &request, begun, max_age));
            if joined.is_some() {
                reader.telemetry().count(Count::Coalesced, 1);
                self.fetched.get_or_insert_default().is_joined = true;
            } else {
                reader.telemetry().count(Count::Chain, request.keys.len());
            }
            let in_flight = joined.unwrap_or_else(|| start_fetch(reader, request, self.now));
            let ports = reader.ports();
            fetches.push(async move { in_flight.result(ports).await }.right_future());
        }
        reader.telemetry().wait_begins(Outside::Chain, begun);
        let results = join_all(fetches).await;
        reader
            .telemetry()
            .wait_ends(Outside::Chain, reader.ports().elapsed());
        for result in results {
            for error in &result.errors {
                reader.telemetry().error(error.clone());
            }
            for (key, answer) in &result.answers {
                if !wanted.contains(key) {
                    continue;
                }
                match answer {
                    // The request that began the fetch may not have known what is known here.
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

    /// The fetch in flight that has what `request` wants, if there is one.
    fn join<P: Ports>(
        &self,
        reader: &FactReader<P>,
        request: &FetchRequest,
        now: Duration,
        max_age: Duration,
    ) -> Option<InFlight> {
        let alone = max_age.is_zero() || self.alone.contains(&request.chain);
        if alone || self.effort == Effort::EveryLeaf {
            return None;
        }
        reader.facts.single_flight.join(request, now, max_age)
    }

    /// Charges for reads that begin.
    async fn pay<P: Ports>(
        &self,
        reader: &FactReader<P>,
        requests: impl Iterator<Item = &FetchRequest>,
    ) -> Result<(), Problem> {
        let facts = requests
            .map(FetchRequest::cost)
            .fold(0, usize::saturating_add);
        charge(reader, self.payer.as_ref(), facts).await
    }

    /// Has facts fetched in the background, unless they are in flight or not paid for.
    async fn refresh<P: Ports>(
        &self,
        reader: &FactReader<P>,
        config: &Config,
        wanted: BTreeSet<FactKey>,
    ) {
        if wanted.is_empty() {
            return;
        }
        for request in self.requests(config, &wanted) {
            let in_flight = &reader.facts.single_flight;
            let now = reader.ports().elapsed();
            if in_flight.count() < MAX_BACKGROUND
                && in_flight.join(&request, now, Duration::MAX).is_none()
                && self.pay(reader, std::iter::once(&request)).await.is_ok()
            {
                reader.telemetry().count(Count::Refreshes, 1);
                start_fetch(reader, request, self.now);
            }
        }
    }

    fn known(&self, key: &FactKey) -> Option<&Fact> {
        self.facts.within(Duration::MAX, self.now).fact(key)
    }

    /// What is wanted, chain by chain.
    fn requests(&self, config: &Config, wanted: &BTreeSet<FactKey>) -> Vec<FetchRequest> {
        let chains = config.chains().map(|chain| chain.id);
        chains
            .map(|chain| FetchRequest {
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
            .filter(|request| !request.keys.is_empty())
            .collect()
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
