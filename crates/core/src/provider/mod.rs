//! A chain's providers as an instance knows them: how fast and how reliable each is, which of them to ask, and how far
//! the chain has come. Pure: times are arguments.
//!
//! Nothing here is ever a verdict: a provider that is not asked, or not believed, leaves facts unknown.

mod heads;

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::heads::Heads;
pub use self::heads::{Head, HeadLimits};
use crate::abi::reader::Form;
use crate::block::{BlockId, Numbering};
use crate::log_limits::LogLimits;

/// So many failures in a row open a provider's circuit breaker.
const THRESHOLD: u32 = 3;
/// How long it stays open at first; each further failure doubles that, up to the most.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// How many latencies are remembered, for how long, and how many make a percentile.
const SAMPLES: usize = 32;
const SAMPLE_AGE: Duration = Duration::from_secs(60);
const ENOUGH_SAMPLES: usize = 8;
/// How long a provider is read in a way that is not the best.
const FORM_AGE: Duration = Duration::from_secs(600);
/// A second attempt is not made sooner than this.
const LEAST_PATIENCE: Duration = Duration::from_millis(25);
/// What a provider counts as before it was measured, in microseconds: of two unknown ones the preferred goes first, and
/// one that is known to be slow loses to an unknown one.
const UNMEASURED: u32 = 40_000;
/// A replaced block is hardly the first one that was: so many before it are taken for replaced as well.
const DEPTH: u64 = 64;
/// So many attempts at once are made at a provider whose breaker is open, if nobody else is left.
const TRIALS: u32 = 4;
/// Retries and second attempts: so many at once, and one more for so many first attempts.
const BUDGET: u32 = 10;
const EARNED_BY: u32 = 10;

/// Of what kind a provider's failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may pass: several in a row open the breaker.
    Passing,
    /// It will not pass by asking again: another chain's endpoint, one whose newest block is too old, one that refuses.
    Lasting,
    /// It asks to be left alone for so long.
    Rest(Duration),
}

/// A provider's circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaker {
    /// Asked as usual; so many failures in a row.
    Closed { failures: u32 },
    /// Not asked before `until`. Then one attempt tells: half-open.
    Open { until: Timestamp, times: u32 },
    /// That attempt is under way, since then.
    Probing { since: Timestamp, times: u32 },
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gate {
    Open,
    Resting,
}

#[derive(Clone, Debug)]
struct Health {
    breaker: Breaker,
    latencies: VecDeque<(Timestamp, u32)>,
    /// The last outcomes, the latest in the lowest bit; 1 is a failure.
    outcomes: u8,
    /// Attempts under way in spite of an open breaker.
    trials: u32,
    /// Attempts that failed, perhaps because of what was asked, and since when a control request is under way.
    suspected: u32,
    controlled: Option<Timestamp>,
    takes_batches: bool,
    /// How it is read, and when that was found out.
    form: Option<(Form, Timestamp)>,
    numbering: Option<Numbering>,
    /// How much it lists in one `eth_getLogs`.
    log_limits: LogLimits,
}

/// The providers of one chain, by their index in the configuration.
#[derive(Clone, Debug)]
pub struct Pool {
    providers: Vec<Health>,
    /// In tenths of an attempt.
    budget: u32,
    heads: Heads,
    known: Option<BlockId>,
    reorg: Option<Reorg>,
}

/// Blocks from a number on were replaced by others: facts read there before are no longer true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorg {
    /// The first block that is known to be replaced.
    pub from: u64,
    /// When it was noticed.
    pub noticed_at: Timestamp,
}

impl Reorg {
    /// Whether a fact read at `block` at `read_at` may rest on a block that was replaced.
    pub fn invalidates(&self, block: u64, read_at: Timestamp) -> bool {
        block >= self.from && read_at <= self.noticed_at
    }
}

impl Health {
    const fn new() -> Self {
        Self {
            breaker: Breaker::Closed { failures: 0 },
            latencies: VecDeque::new(),
            outcomes: 0,
            trials: 0,
            suspected: 0,
            controlled: None,
            takes_batches: true,
            form: None,
            numbering: None,
            log_limits: LogLimits::NONE,
        }
    }

    fn gate(&self, now: Timestamp, patience: Duration) -> Gate {
        let resting = match self.breaker {
            Breaker::Closed { .. } => false,
            // An end further off than any rest was set by a clock that has since been put back.
            Breaker::Open { until, .. } => now < until && until <= later(now, LONGEST_REST),
            // Whoever probes may have been given up; then another one does.
            Breaker::Probing { since, .. } => now < later(since, patience) && since <= now,
        };
        if resting { Gate::Resting } else { Gate::Open }
    }

    /// Latencies that still say something, in order of size.
    fn sorted(&self, now: Timestamp) -> Vec<u32> {
        let young = |at: Timestamp| now.duration_since(at).unsigned_abs() <= SAMPLE_AGE;
        let recent = self.latencies.iter().filter(|(at, _)| young(*at));
        let mut sorted: Vec<u32> = recent.map(|(_, micros)| *micros).collect();
        sorted.sort_unstable();
        sorted
    }

    /// The smaller, the better: the median latency by its power of two, and one more for every second failure of late.
    fn rank(&self, now: Timestamp) -> u32 {
        let sorted = self.sorted(now);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(UNMEASURED);
        median.max(1_000).ilog2() + self.outcomes.count_ones() / 2
    }

    fn took(&mut self, latency: Duration, now: Timestamp) {
        if self.latencies.len() >= SAMPLES {
            self.latencies.pop_front();
        }
        let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        self.latencies.push_back((now, micros));
    }

    fn ended(&mut self, failed: bool) {
        self.outcomes = self.outcomes << 1 | u8::from(failed);
    }
}

fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

fn rest(times: u32) -> Duration {
    FIRST_REST
        .saturating_mul(1 << times.min(8))
        .min(LONGEST_REST)
}

impl Pool {
    /// A pool of `count` providers, of which nothing is known.
    pub fn new(count: usize) -> Self {
        Self {
            providers: vec![Health::new(); count],
            budget: BUDGET * EARNED_BY,
            heads: Heads::new(count),
            known: None,
            reorg: None,
        }
    }

    /// Which providers to ask, best first: by measured latency and failures, and where these do not tell, in the order of
    /// preference. Those known to be behind the others follow, and last those whose breaker is open; of these, the one
    /// whose breaker is open for the shortest time comes first.
    pub fn order(&self, now: Timestamp, patience: Duration, limits: HeadLimits) -> Vec<usize> {
        let mut order: Vec<_> = self
            .providers
            .iter()
            .enumerate()
            .map(|(index, health)| {
                let gate = health.gate(now, patience);
                let until = match health.breaker {
                    Breaker::Open { until, .. } if gate == Gate::Resting => Some(until),
                    _ => None,
                };
                let lagging = self.heads.is_lagging(index, now, limits);
                ((gate, until, lagging, health.rank(now)), index)
            })
            .collect();
        order.sort();
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// Whether `provider` may be asked for its head: not while its breaker is open.
    fn is_usable(&self, provider: usize) -> bool {
        let health = self.providers.get(provider);
        health.is_some_and(|health| !matches!(health.breaker, Breaker::Open { .. }))
    }

    /// Whether the breaker of `provider` is open.
    pub fn is_resting(&self, provider: usize, now: Timestamp, patience: Duration) -> bool {
        self.providers
            .get(provider)
            .is_some_and(|health| health.gate(now, patience) == Gate::Resting)
    }

    /// Notes that `provider` is being asked. While the one attempt after an open breaker is under way, others rest.
    pub fn asked(&mut self, provider: usize, now: Timestamp) {
        if let Some(health) = self.providers.get_mut(provider)
            && let Breaker::Open { times, .. } = health.breaker
        {
            health.breaker = Breaker::Probing { since: now, times };
        }
    }

    /// How long to wait for `provider` before another one is asked as well: its own 95th percentile, or a third of
    /// `deadline` while that is not known.
    pub fn patience(&self, provider: usize, now: Timestamp, deadline: Duration) -> Duration {
        let Some(health) = self.providers.get(provider) else {
            return deadline;
        };
        // One that has just failed gets no more time than it needs.
        if let Breaker::Probing { .. } = health.breaker {
            return LEAST_PATIENCE;
        }
        let sorted = health.sorted(now);
        if sorted.len() < ENOUGH_SAMPLES {
            return deadline / 3;
        }
        let rank = (sorted.len() * 95).div_ceil(100).saturating_sub(1);
        let micros = sorted.get(rank).copied().unwrap_or(u32::MAX);
        Duration::from_micros(u64::from(micros)).clamp(LEAST_PATIENCE, deadline)
    }

    /// Whether `provider` may be asked in spite of its open breaker, because nobody else is left: a few at once may. Each
    /// one that may ends with [`Self::trial_ended`].
    pub fn try_resting(&mut self, provider: usize) -> bool {
        let Some(health) = self.providers.get_mut(provider) else {
            return false;
        };
        let may = health.trials < TRIALS;
        health.trials += u32::from(may);
        may
    }

    /// Notes the end of an attempt that [`Self::try_resting`] allowed.
    pub fn trial_ended(&mut self, provider: usize) {
        if let Some(health) = self.providers.get_mut(provider) {
            health.trials = health.trials.saturating_sub(1);
        }
    }

    /// Whether `provider` takes JSON-RPC batches, as far as is known.
    pub fn takes_batches(&self, provider: usize) -> bool {
        self.providers
            .get(provider)
            .is_some_and(|health| health.takes_batches)
    }

    /// Notes that it does not.
    pub fn refused_batch(&mut self, provider: usize) {
        if let Some(health) = self.providers.get_mut(provider) {
            health.takes_batches = false;
        }
    }

    /// How `provider` is read, as far as that was found out. What is less than the best is looked at again now and then.
    pub fn form(&self, provider: usize, now: Timestamp) -> Option<Form> {
        let (form, found_at) = self.providers.get(provider)?.form?;
        let is_recent = now.duration_since(found_at).unsigned_abs() <= FORM_AGE;
        (form == Form::Override || is_recent).then_some(form)
    }

    /// Notes how it is read, or that what was found out is not so.
    pub fn found_form(&mut self, provider: usize, form: Option<Form>, now: Timestamp) {
        if let Some(health) = self.providers.get_mut(provider) {
            health.form = form.map(|form| (form, now));
        }
    }

    /// Whether contracts at `provider` see its chain's own blocks, as far as that was found out.
    pub fn numbering(&self, provider: usize) -> Option<Numbering> {
        self.providers.get(provider)?.numbering
    }

    /// Notes whether they do.
    pub fn found_numbering(&mut self, provider: usize, numbering: Numbering) {
        if let Some(health) = self.providers.get_mut(provider) {
            health.numbering = Some(numbering);
        }
    }

    /// How much `provider` lists in one `eth_getLogs`, as far as is known.
    pub fn log_limits(&self, provider: usize, now: Timestamp) -> LogLimits {
        let health = self.providers.get(provider);
        health.map_or_else(LogLimits::default, |health| health.log_limits.at(now))
    }

    /// Keeps what was learned of that.
    pub fn set_log_limits(&mut self, provider: usize, limits: LogLimits) {
        if let Some(health) = self.providers.get_mut(provider) {
            health.log_limits = limits;
        }
    }

    /// Notes that `provider` had not answered after so long, when another one did.
    pub fn slower_than(&mut self, provider: usize, latency: Duration, now: Timestamp) {
        if let Some(health) = self.providers.get_mut(provider) {
            health.took(latency, now);
        }
    }

    /// Notes an answer that took so long. True if that closed the breaker.
    pub fn answered(&mut self, provider: usize, latency: Duration, now: Timestamp) -> bool {
        if let Some(health) = self.providers.get_mut(provider) {
            health.took(latency, now);
        }
        self.worked(provider)
    }

    /// Notes an answer whose time says nothing of how fast `provider` is. True if that closed the breaker.
    pub fn worked(&mut self, provider: usize) -> bool {
        let Some(health) = self.providers.get_mut(provider) else {
            return false;
        };
        health.ended(false);
        let was = std::mem::replace(&mut health.breaker, Breaker::Closed { failures: 0 });
        !matches!(was, Breaker::Closed { .. })
    }

    /// Notes a failure. True if that opened the breaker, or opened it anew.
    pub fn failed(&mut self, provider: usize, failure: Failure, now: Timestamp) -> bool {
        let Some(health) = self.providers.get_mut(provider) else {
            return false;
        };
        health.ended(true);
        let (failures, times) = match health.breaker {
            Breaker::Closed { failures } => (failures + 1, None),
            Breaker::Open { times, .. } | Breaker::Probing { times, .. } => {
                (THRESHOLD, Some(times))
            }
        };
        let times = times.map_or(0, |times| times + 1);
        let pause = match failure {
            Failure::Passing if failures < THRESHOLD => {
                health.breaker = Breaker::Closed { failures };
                return false;
            }
            Failure::Passing | Failure::Lasting => rest(times),
            Failure::Rest(pause) => pause.min(LONGEST_REST),
        };
        let until = later(now, pause);
        health.breaker = Breaker::Open { until, times };
        true
    }

    /// Notes a failure that what was asked may have caused. True if a control request is to be sent, which takes at most
    /// `limit`: none is under way. It ends with [`Self::controlled`].
    pub fn suspect(&mut self, provider: usize, now: Timestamp, limit: Duration) -> bool {
        let Some(health) = self.providers.get_mut(provider) else {
            return false;
        };
        health.suspected += 1;
        // One whose end was not noted was given up with its instance's work.
        let is_under_way = |since: Timestamp| since <= now && now <= later(since, limit * 2);
        let is_due = !health.controlled.is_some_and(is_under_way);
        if is_due {
            health.controlled = Some(now);
        }
        is_due
    }

    /// Notes how a control request went: where that failed too, the failures before it are the provider's own. True if that
    /// opened the breaker.
    pub fn controlled(&mut self, provider: usize, failed: Option<Failure>, now: Timestamp) -> bool {
        let Some(health) = self.providers.get_mut(provider) else {
            return false;
        };
        health.controlled = None;
        let suspected = std::mem::take(&mut health.suspected).min(THRESHOLD);
        let Some(failure) = failed else {
            return false;
        };
        (0..suspected).any(|_| self.failed(provider, failure, now))
    }

    /// A first attempt, which earns part of a retry.
    pub fn earn(&mut self) {
        self.budget = (self.budget + 1).min(BUDGET * EARNED_BY);
    }

    /// Whether a retry or a second attempt can be afforded; then it is spent.
    pub fn spend(&mut self) -> bool {
        match self.budget.checked_sub(EARNED_BY) {
            Some(left) => {
                self.budget = left;
                true
            }
            None => false,
        }
    }

    /// Notes the newest block of `provider`, whose answer proved its chain's id.
    pub fn saw_head(&mut self, provider: usize, head: Head) {
        self.heads.saw(provider, head);
    }

    /// Drops what `provider` said of its head: it serves another chain, or names blocks that the chain cannot have come to.
    pub fn drop_head(&mut self, provider: usize) {
        self.heads.drop_of(provider);
    }

    /// What `provider` said of its head a moment ago.
    pub fn head(&self, provider: usize, now: Timestamp) -> Option<Head> {
        self.heads.recent_of(provider, now)
    }

    /// The highest head of the others than `provider`, as far as it is known. An open breaker says nothing against what its
    /// provider said before.
    pub fn head_of_others(
        &self,
        provider: usize,
        now: Timestamp,
        limits: HeadLimits,
    ) -> Option<u64> {
        self.heads.highest_of_others(provider, now, limits)
    }

    /// Whether a block of `provider` can have this number by now: by what the others said of the chain, or by what it said
    /// itself in another answer, unless that is far beyond the others.
    pub fn is_possible(
        &self,
        provider: usize,
        number: u64,
        now: Timestamp,
        limits: HeadLimits,
    ) -> bool {
        self.heads.is_possible(provider, number, now, limits)
    }

    /// Whether a number is far beyond everything that was seen of the chain.
    pub fn is_absurd(&self, number: u64, now: Timestamp, limits: HeadLimits) -> bool {
        self.heads.is_absurd(usize::MAX, number, now, limits)
    }

    /// The highest number that any block of the chain may have by now; `None` where nothing is known of it.
    pub fn highest_possible(&self, now: Timestamp, limits: HeadLimits) -> Option<u64> {
        self.heads.ceiling(usize::MAX, now, limits)
    }

    /// How many providers' heads were ever seen.
    pub fn known_heads(&self) -> usize {
        let indices = 0..self.providers.len();
        indices
            .filter(|index| self.heads.of(*index).is_some())
            .count()
    }

    /// Whether it is not known how far the chain is, other than by `provider`.
    pub fn lacks_heads(&self, provider: usize, now: Timestamp) -> bool {
        let missing = self
            .heads
            .unknown(provider, now, |index| self.is_usable(index));
        !missing.is_empty()
    }

    /// The providers to ask for their heads while `provider` is asked for something else: those of which none is known,
    /// each only now and then. They are noted as asked.
    pub fn ask_unknown_heads(&mut self, provider: usize, now: Timestamp) -> Vec<usize> {
        let unknown = self
            .heads
            .unknown(provider, now, |index| self.is_usable(index));
        self.heads.ask(unknown, now)
    }

    /// The same for those whose heads will soon be too old to count.
    pub fn ask_ageing_heads(&mut self, provider: usize, now: Timestamp) -> Vec<usize> {
        let ageing = self
            .heads
            .ageing(provider, now, |index| self.is_usable(index));
        self.heads.ask(ageing, now)
    }

    /// The block of this chain that was believed last, to be asked for again: if it is gone, there was a reorg.
    pub const fn known(&self) -> Option<BlockId> {
        self.known
    }

    /// Notes a head of `provider` that was believed, a block of its chain by name, and whether the known one has been
    /// replaced.
    pub fn believed(&mut self, provider: usize, head: Head, block: Option<BlockId>, reorged: bool) {
        self.heads.believe(provider, head);
        self.saw_block(block, reorged, head.seen_at);
    }

    /// Notes a block of the chain by name, and whether the known one has been replaced.
    pub fn saw_block(&mut self, block: Option<BlockId>, reorged: bool, now: Timestamp) {
        if let Some(known) = self.known.filter(|_| reorged) {
            self.reorg = Some(Reorg {
                from: known.number.saturating_sub(DEPTH),
                noticed_at: now,
            });
        }
        self.known = block.or(self.known);
    }

    /// The last reorg that was noticed.
    pub const fn reorg(&self) -> Option<Reorg> {
        self.reorg
    }

    /// What instances tell each other through the store: the last block that was believed, the last reorg, each
    /// provider's breaker and head. One JSON document.
    pub fn to_bytes(&self) -> Vec<u8> {
        let millis = |at: Timestamp| at.as_millisecond();
        let head = |head: Head| (head.number, head.timestamp, millis(head.seen_at));
        let shared = Shared {
            edition: EDITION,
            believed: self
                .heads
                .believed()
                .map(|(provider, believed)| (provider, head(believed))),
            known: self
                .known
                .map(|block| (block.number, hex::encode(block.hash))),
            reorg: self
                .reorg
                .map(|reorg| (reorg.from, millis(reorg.noticed_at))),
            providers: self
                .providers
                .iter()
                .enumerate()
                .map(|(index, health)| SharedProvider {
                    open: match health.breaker {
                        Breaker::Closed { .. } => None,
                        Breaker::Open { until, times } => Some((millis(until), times)),
                        Breaker::Probing { since, times } => Some((millis(since), times)),
                    },
                    head: self.heads.of(index).map(head),
                    form: match health.form {
                        Some((Form::Override, at)) => Some((SharedForm::Override, millis(at))),
                        Some((Form::Creation, at)) => Some((SharedForm::Creation, millis(at))),
                        Some((Form::Calls, at)) => Some((SharedForm::Calls, millis(at))),
                        // Is configured, not found.
                        Some((Form::Deployed(_), _)) | None => None,
                    },
                    has_own_numbers: health
                        .numbering
                        .map(|numbering| numbering == Numbering::Own),
                })
                .collect(),
        };
        // Integers and strings have no way to fail.
        serde_json::to_vec(&shared).unwrap_or_default()
    }

    /// Takes over what another instance wrote, where it is newer than what this one knows. Anything else is ignored.
    pub fn learn(&mut self, bytes: &[u8], now: Timestamp) {
        let Ok(shared) = serde_json::from_slice::<Shared>(bytes) else {
            return;
        };
        if shared.edition != EDITION || shared.providers.len() != self.providers.len() {
            return;
        }
        let time = |millis| Timestamp::from_millisecond(millis).ok();
        let head = |(number, timestamp, seen_at)| {
            Some(Head {
                number,
                timestamp,
                seen_at: time(seen_at)?,
            })
        };
        for (index, other) in shared.providers.into_iter().enumerate() {
            if let Some(health) = self.providers.get_mut(index)
                && let Some((until, times)) = other.open
                && let Some(until) = time(until)
                && matches!(health.breaker, Breaker::Closed { .. })
                && until > now
                && until <= later(now, LONGEST_REST)
            {
                health.breaker = Breaker::Open { until, times };
            }
            if let Some(head) = other.head.and_then(head) {
                self.heads.learn(index, head, now);
            }
            let Some(health) = self.providers.get_mut(index) else {
                continue;
            };
            let found = other.form.and_then(|(form, at)| {
                let form = match form {
                    SharedForm::Override => Form::Override,
                    SharedForm::Creation => Form::Creation,
                    SharedForm::Calls => Form::Calls,
                };
                Some((form, time(at)?))
            });
            if let Some(found) = found
                && health.form.is_none_or(|(_, known)| known < found.1)
            {
                health.form = Some(found);
            }
            health.numbering = health
                .numbering
                .or(other.has_own_numbers.map(|own| match own {
                    true => Numbering::Own,
                    false => Numbering::Foreign,
                }));
        }
        if let Some(reorg) = shared.reorg
            && let Some(noticed_at) = time(reorg.1)
            && noticed_at <= later(now, SKEW)
            && self.reorg.is_none_or(|own| own.noticed_at < noticed_at)
        {
            self.reorg = Some(Reorg {
                from: reorg.0,
                noticed_at,
            });
        }
        let Some((provider, believed)) = shared
            .believed
            .and_then(|(provider, believed)| Some((provider, head(believed)?)))
        else {
            return;
        };
        let own = self.heads.believed().map(|(_, own)| own.seen_at);
        let known = shared.known.and_then(|(number, hash)| {
            let hash = hex::decode(hash).ok()?.try_into().ok()?;
            Some(BlockId { number, hash })
        });
        if own.is_none_or(|own| own < believed.seen_at) {
            self.known = known.or(self.known);
        }
        self.heads.learn_believed(provider, believed, now);
    }
}

/// The form of [`Pool::to_bytes`]: another edition is not understood.
const EDITION: u8 = 3;

/// What clocks of different instances may differ by.
const SKEW: Duration = Duration::from_secs(2);

/// Number, the block's time in seconds, when it was seen in milliseconds since the Unix epoch.
type SharedHead = (u64, u64, i64);

#[derive(Serialize, Deserialize)]
struct Shared {
    edition: u8,
    /// With the index of the provider that said so.
    believed: Option<(usize, SharedHead)>,
    known: Option<(u64, String)>,
    reorg: Option<(u64, i64)>,
    providers: Vec<SharedProvider>,
}

#[derive(Serialize, Deserialize)]
struct SharedProvider {
    open: Option<(i64, u32)>,
    head: Option<SharedHead>,
    /// How it is read, and when that was found out.
    form: Option<(SharedForm, i64)>,
    /// Whether its blocks bear the chain's own numbers.
    has_own_numbers: Option<bool>,
}

#[derive(Serialize, Deserialize)]
enum SharedForm {
    Override,
    Creation,
    Calls,
}

#[cfg(test)]
mod tests;
