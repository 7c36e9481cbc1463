//! A chain's providers as an instance knows them: how fast and how reliable each is, which of them to ask, and how far
//! the chain has come. Pure: times are arguments.
//!
//! Nothing here is ever a verdict: a provider that is not asked, or not believed, leaves facts unknown.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use crate::block::BlockId;
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
/// A head that was seen longer ago says nothing about how far the chain is now.
const HEAD_AGE: Duration = Duration::from_secs(30);
/// A provider that is asked for nothing else is asked so often how far it is.
const HEAD_PAUSE: Duration = Duration::from_secs(10);
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
    /// It will not pass by asking again: another chain's endpoint, one that has fallen behind, one that refuses.
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
    head: Option<(u64, Timestamp)>,
    /// When it was last asked how far it is, for no other reason.
    head_asked: Option<Timestamp>,
    /// Attempts under way in spite of an open breaker.
    trials: u32,
    takes_batches: bool,
    /// How much it lists in one `eth_getLogs`.
    log_limits: LogLimits,
}

/// The providers of one chain, by their index in the configuration.
#[derive(Clone, Debug)]
pub struct Pool {
    providers: Vec<Health>,
    /// In tenths of an attempt.
    budget: u32,
    known: Option<BlockId>,
    reorganised: Option<Reorganisation>,
}

/// Blocks from a number on were replaced by others: what was read there before is not true any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorganisation {
    /// The first block that is known to be replaced.
    pub from: u64,
    /// When it was noticed.
    pub noticed_at: Timestamp,
}

impl Reorganisation {
    /// Whether a fact read at `block` at `read_at` may rest on a block that was replaced.
    pub fn undoes(&self, block: u64, read_at: Timestamp) -> bool {
        block >= self.from && read_at <= self.noticed_at
    }
}

impl Health {
    const fn new() -> Self {
        Self {
            breaker: Breaker::Closed { failures: 0 },
            latencies: VecDeque::new(),
            outcomes: 0,
            head: None,
            head_asked: None,
            trials: 0,
            takes_batches: true,
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
            known: None,
            reorganised: None,
        }
    }

    /// Whom to ask, best first: by measured latency and failures, and where these do not tell, in the order of
    /// preference. Those whose breaker is open come last, for when nobody else is left; the one that rests the shortest
    /// before the others.
    pub fn order(&self, now: Timestamp, patience: Duration) -> Vec<usize> {
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
                ((gate, until, health.rank(now)), index)
            })
            .collect();
        order.sort();
        order.into_iter().map(|(_, index)| index).collect()
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

    /// Notes how far `provider` is.
    pub fn saw_head(&mut self, provider: usize, number: u64, now: Timestamp) {
        if let Some(health) = self.providers.get_mut(provider) {
            health.head = Some((number, now));
        }
    }

    /// How far the chain is, as the others than `provider` say of late; those whose breaker is open do not count.
    pub fn head_of_others(&self, provider: usize, now: Timestamp) -> Option<u64> {
        let others = self.providers.iter().enumerate();
        let others = others.filter(|(index, health)| {
            *index != provider && !matches!(health.breaker, Breaker::Open { .. })
        });
        let recent = |(number, at): (u64, Timestamp)| {
            (now.duration_since(at).unsigned_abs() <= HEAD_AGE).then_some(number)
        };
        others.filter_map(|(_, health)| recent(health.head?)).max()
    }

    /// Who is to be asked how far the chain is, while `provider` is asked for something else and none of the others has
    /// said of late: those whose breaker is not open, each only now and then.
    pub fn ask_heads(&mut self, provider: usize, now: Timestamp, patience: Duration) -> Vec<usize> {
        if self.head_of_others(provider, now).is_some() {
            return Vec::new();
        }
        let others = self.providers.iter_mut().enumerate();
        let due = others.filter_map(|(index, health)| {
            let asked = health.head_asked;
            let late = asked.is_none_or(|at| now.duration_since(at).unsigned_abs() >= HEAD_PAUSE);
            let due = index != provider && late && health.gate(now, patience) == Gate::Open;
            due.then(|| {
                health.head_asked = Some(now);
                index
            })
        });
        due.collect()
    }

    /// A block that was seen before, to be asked for again.
    pub const fn known(&self) -> Option<BlockId> {
        self.known
    }

    /// Notes the block before the one that was read at, if that was the newest, and whether the known one has been replaced.
    pub fn saw_block(&mut self, parent: Option<BlockId>, reorganised: bool, now: Timestamp) {
        if let Some(known) = self.known.filter(|_| reorganised) {
            self.reorganised = Some(Reorganisation {
                from: known.number.saturating_sub(DEPTH),
                noticed_at: now,
            });
        }
        self.known = parent.or(self.known);
    }

    /// The last reorganisation that was noticed.
    pub const fn reorganisation(&self) -> Option<Reorganisation> {
        self.reorganised
    }

    /// What instances tell each other: whose breaker is open until when, and how far the chain is. Milliseconds since
    /// the epoch and block numbers, one line for each provider.
    pub fn to_text(&self) -> String {
        let line = |health: &Health| {
            let (until, times) = match health.breaker {
                Breaker::Closed { .. } => (0, 0),
                Breaker::Open { until, times } => (until.as_millisecond(), times),
                Breaker::Probing { since, times } => (since.as_millisecond(), times),
            };
            let (head, at) = health
                .head
                .map_or((0, 0), |(number, at)| (number, at.as_millisecond()));
            format!("{until} {times} {head} {at}\n")
        };
        self.providers.iter().map(line).collect()
    }

    /// Takes over what another instance wrote, where it is newer than what this one knows. Anything not understood is
    /// passed over.
    pub fn learn(&mut self, text: &str, now: Timestamp) {
        for (health, line) in self.providers.iter_mut().zip(text.lines()) {
            let mut fields = line.split(' ');
            let mut field = || fields.next()?.parse::<i64>().ok();
            let (Some(until), Some(times), Some(head), Some(at)) =
                (field(), field(), field(), field())
            else {
                continue;
            };
            if let (Ok(until), Ok(times)) =
                (Timestamp::from_millisecond(until), u32::try_from(times))
                && matches!(health.breaker, Breaker::Closed { .. })
                && until > now
                && until <= later(now, LONGEST_REST)
            {
                health.breaker = Breaker::Open { until, times };
            }
            if let (Ok(number), Ok(at)) = (u64::try_from(head), Timestamp::from_millisecond(at))
                && health.head.is_none_or(|(_, known)| known < at)
                && now.duration_since(at).unsigned_abs() <= HEAD_AGE
            {
                health.head = Some((number, at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    fn measured(pool: &mut Pool, provider: usize, millis: u64, now: Timestamp) {
        for _ in 0..ENOUGH_SAMPLES {
            pool.answered(provider, Duration::from_millis(millis), now);
        }
    }

    #[test]
    fn preference_decides_until_measurements_do() {
        let mut pool = Pool::new(3);
        assert_eq!(pool.order(at(0), PATIENCE), [0, 1, 2]);
        measured(&mut pool, 0, 300, at(0));
        assert_eq!(
            pool.order(at(0), PATIENCE),
            [1, 2, 0],
            "slower than unknown"
        );
        measured(&mut pool, 1, 40, at(0));
        measured(&mut pool, 2, 37, at(0));
        assert_eq!(
            pool.order(at(0), PATIENCE),
            [1, 2, 0],
            "as fast, and preferred"
        );
        measured(&mut pool, 2, 4, at(0));
        measured(&mut pool, 2, 4, at(0));
        assert_eq!(pool.order(at(0), PATIENCE), [2, 1, 0]);
        // What is that old is not known any longer.
        assert_eq!(pool.order(at(61_000), PATIENCE), [0, 1, 2]);
    }

    #[test]
    fn failures_cost_a_provider_its_rank_before_they_open_its_breaker() {
        let mut pool = Pool::new(2);
        for provider in [0, 1] {
            measured(&mut pool, provider, 10, at(0));
        }
        for _ in 0..2 {
            assert!(!pool.failed(0, Failure::Passing, at(1)));
        }
        assert_eq!(pool.order(at(2), PATIENCE), [1, 0]);
        assert!(!pool.is_resting(0, at(2), PATIENCE));
        assert!(pool.failed(0, Failure::Passing, at(2)));
        assert!(pool.is_resting(0, at(2), PATIENCE));
    }

    #[test]
    fn a_breaker_opens_for_longer_each_time_and_one_attempt_closes_it() {
        let mut pool = Pool::new(1);
        for _ in 0..THRESHOLD {
            pool.failed(0, Failure::Passing, at(0));
        }
        assert!(pool.is_resting(0, at(999), PATIENCE));
        assert!(!pool.is_resting(0, at(1_000), PATIENCE));
        pool.asked(0, at(1_000));
        assert!(
            pool.is_resting(0, at(1_001), PATIENCE),
            "one attempt is under way"
        );
        assert!(pool.failed(0, Failure::Passing, at(1_002)));
        assert!(pool.is_resting(0, at(3_001), PATIENCE));
        assert!(!pool.is_resting(0, at(3_002), PATIENCE));
        for _ in 0..20 {
            pool.failed(0, Failure::Passing, at(3_002));
        }
        assert!(
            !pool.is_resting(0, at(33_002), PATIENCE),
            "never longer than that"
        );
        pool.asked(0, at(33_002));
        assert!(pool.answered(0, Duration::from_millis(5), at(33_010)));
        assert!(!pool.is_resting(0, at(33_010), PATIENCE));
        assert!(
            !pool.failed(0, Failure::Passing, at(33_011)),
            "counts from the beginning"
        );
    }

    #[test]
    fn a_forgotten_probe_and_a_clock_put_back_open_no_breaker_for_ever() {
        let mut pool = Pool::new(1);
        pool.failed(0, Failure::Lasting, at(0));
        pool.asked(0, at(1_000));
        assert!(!pool.is_resting(0, at(1_000) + PATIENCE, PATIENCE));
        pool.failed(0, Failure::Lasting, at(3_600_000));
        assert!(!pool.is_resting(0, at(0), PATIENCE));
    }

    #[test]
    fn where_nobody_else_is_left_a_few_try_and_the_others_need_not_wait() {
        let mut pool = Pool::new(1);
        assert_eq!((0..9).filter(|_| pool.try_resting(0)).count(), 4);
        pool.trial_ended(0);
        assert!(pool.try_resting(0) && !pool.try_resting(0));
    }

    #[test]
    fn whoever_loses_each_race_loses_its_rank() {
        let mut pool = Pool::new(2);
        measured(&mut pool, 1, 10, at(0));
        assert_eq!(pool.order(at(0), PATIENCE), [1, 0]);
        measured(&mut pool, 0, 1, at(0));
        assert_eq!(pool.order(at(0), PATIENCE), [0, 1]);
        for _ in 0..2 * ENOUGH_SAMPLES {
            pool.slower_than(0, Duration::from_millis(300), at(1));
        }
        assert_eq!(pool.order(at(1), PATIENCE), [1, 0]);
    }

    #[test]
    fn who_asks_to_be_left_alone_is() {
        let mut pool = Pool::new(2);
        pool.failed(0, Failure::Rest(Duration::from_secs(7)), at(0));
        assert!(pool.is_resting(0, at(6_999), PATIENCE));
        assert!(!pool.is_resting(0, at(7_000), PATIENCE));
        assert_eq!(pool.order(at(1), PATIENCE), [1, 0], "asked last, not never");
        pool.failed(1, Failure::Rest(Duration::from_secs(3_600)), at(0));
        assert!(!pool.is_resting(1, at(30_000), PATIENCE));
        assert_eq!(
            pool.order(at(1), PATIENCE),
            [0, 1],
            "the shorter rest first"
        );
    }

    #[test]
    fn a_second_attempt_waits_for_the_firsts_own_95th_percentile() {
        let mut pool = Pool::new(1);
        let deadline = Duration::from_secs(3);
        assert_eq!(pool.patience(0, at(0), deadline), Duration::from_secs(1));
        for millis in 1..=20 {
            pool.answered(0, Duration::from_millis(millis * 10), at(0));
        }
        assert_eq!(
            pool.patience(0, at(0), deadline),
            Duration::from_millis(190)
        );
        measured(&mut pool, 0, 1, at(0));
        assert_eq!(
            pool.patience(0, at(70_000), deadline),
            Duration::from_secs(1)
        );
    }

    #[test]
    fn retries_are_a_tenth_of_what_is_asked_in_the_long_run() {
        let mut pool = Pool::new(1);
        assert_eq!((0..100).filter(|_| pool.spend()).count(), 10);
        let mut spent = 0;
        for _ in 0..1_000 {
            pool.earn();
            spent += u32::from(pool.spend());
        }
        assert_eq!(spent, 100);
    }

    #[test]
    fn the_head_is_what_others_say_of_late() {
        let mut pool = Pool::new(3);
        pool.saw_head(0, 100, at(0));
        pool.saw_head(1, 200, at(0));
        assert_eq!(pool.head_of_others(0, at(1)), Some(200));
        assert_eq!(pool.head_of_others(1, at(1)), Some(100));
        assert_eq!(pool.head_of_others(2, at(1)), Some(200));
        pool.failed(1, Failure::Lasting, at(2));
        assert_eq!(
            pool.head_of_others(0, at(3)),
            None,
            "it is not trusted any longer"
        );
        assert_eq!(pool.head_of_others(1, at(31_000)), None);
    }

    #[test]
    fn who_is_not_asked_for_anything_is_asked_how_far_it_is_now_and_then() {
        let mut pool = Pool::new(3);
        pool.failed(2, Failure::Rest(Duration::from_secs(30)), at(0));
        assert_eq!(pool.ask_heads(0, at(0), PATIENCE), [1]);
        assert_eq!(
            pool.ask_heads(0, at(9_999), PATIENCE),
            [0; 0],
            "it did not answer"
        );
        assert_eq!(pool.ask_heads(0, at(10_000), PATIENCE), [1]);
        pool.saw_head(1, 5, at(10_001));
        assert_eq!(
            pool.ask_heads(0, at(40_001), PATIENCE),
            [0; 0],
            "it is known"
        );
        assert_eq!(pool.ask_heads(0, at(40_002), PATIENCE), [1, 2]);
    }

    #[test]
    fn a_replaced_block_undoes_what_was_read_there_before() {
        let block = |number, byte| {
            Some(BlockId {
                number,
                hash: [byte; 32],
            })
        };
        let mut pool = Pool::new(1);
        pool.saw_block(block(199, 1), false, at(0));
        assert_eq!(pool.known(), block(199, 1));
        pool.saw_block(block(200, 1), false, at(5));
        assert_eq!(pool.reorganisation(), None);
        pool.saw_block(block(201, 2), true, at(10));
        let reorganisation = pool.reorganisation().unwrap();
        assert!(reorganisation.undoes(136, at(3)));
        assert!(reorganisation.undoes(202, at(10)));
        assert!(!reorganisation.undoes(135, at(3)), "long before it");
        assert!(!reorganisation.undoes(202, at(11)), "read since");
        assert_eq!(pool.known(), block(201, 2));
    }

    #[test]
    fn instances_learn_from_each_other_what_is_newer() {
        let mut first = Pool::new(2);
        first.failed(1, Failure::Rest(Duration::from_secs(9)), at(0));
        first.saw_head(0, 500, at(0));
        let mut second = Pool::new(2);
        second.learn(&first.to_text(), at(100));
        assert!(second.is_resting(1, at(100), PATIENCE));
        assert!(!second.is_resting(0, at(100), PATIENCE));
        assert_eq!(second.head_of_others(1, at(100)), Some(500));
        // Long afterwards it says nothing.
        let mut third = Pool::new(2);
        third.learn(&first.to_text(), at(60_000));
        assert!(!third.is_resting(1, at(60_000), PATIENCE));
        assert_eq!(third.head_of_others(1, at(60_000)), None);
    }

    proptest! {
        #[test]
        fn nothing_that_a_store_says_takes_a_provider_out_for_long(text in "([0-9-]{1,20} ){3}[0-9-]{1,20}\n.*", millis in any::<i32>()) {
            let mut pool = Pool::new(1);
            pool.learn(&text, at(millis.into()));
            prop_assert!(!pool.is_resting(0, later(at(millis.into()), LONGEST_REST), PATIENCE));
            prop_assert_eq!(pool.order(at(millis.into()), PATIENCE), vec![0]);
        }
    }
}
