//! How far a chain has come, as its providers say: which block numbers are believed, from below and from above.
//!
//! A head is what a provider answered together with its chain's id; a number without that proof is never one. What makes
//! another provider *behind* is the highest head of the others, also where two agree on a lower one: two that are stuck
//! together must not outvote one that is not. A single head that is inflated by little therefore costs the others their
//! place in the order, and nothing else; one that is far beyond everything else is ignored.

use std::time::Duration;

use jiff::Timestamp;

/// A head that was seen longer ago says nothing about how far the chain is now.
const MAX_AGE: Duration = Duration::from_secs(30);
/// A head older than this is asked for again in the background, while it still counts.
const REFRESH_AFTER: Duration = Duration::from_secs(10);
/// A provider is not asked for its head more often than this.
const PAUSE: Duration = Duration::from_secs(10);
/// How much faster than it usually does a chain may make blocks.
const HASTE: u32 = 4;
/// The least time between two blocks of a network that is not known, which may make them on demand.
const UNKNOWN_BLOCK_TIME: Duration = Duration::from_millis(200);
/// A head is ignored that is further beyond all others than a day of blocks, or than this number of them.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LEAST_ABSURD: u64 = 10_000;

/// The newest block of a provider whose answer proved its chain's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub number: u64,
    /// When it was made, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// When it was seen.
    pub seen_at: Timestamp,
}

/// What bounds the block numbers of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// How many blocks a provider may be behind the others.
    pub tolerance: u64,
    /// From block to block, where the network is known.
    pub block_time: Option<Duration>,
}

impl Head {
    fn is_recent(&self, now: Timestamp) -> bool {
        age(self.seen_at, now) <= MAX_AGE
    }

    /// The highest number that the chain may have come to by `now`, if this was its head.
    fn ceiling(&self, now: Timestamp, limits: HeadLimits) -> u64 {
        // The block may have been the newest for as long as it was when it was seen.
        let made = i64::try_from(self.timestamp).ok();
        let made = made.and_then(|seconds| Timestamp::from_second(seconds).ok());
        let since = made.map_or(self.seen_at, |made| made.min(self.seen_at));
        let elapsed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let block_time = limits.block_time.unwrap_or(UNKNOWN_BLOCK_TIME);
        let least = (block_time / HASTE).max(Duration::from_millis(1));
        let made = elapsed.as_millis() / least.as_millis().max(1);
        self.number
            .saturating_add(u64::try_from(made).unwrap_or(u64::MAX))
            .saturating_add(limits.tolerance.saturating_mul(2))
    }
}

fn age(at: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(at).unsigned_abs()
}

/// The heads of a chain's providers, and the last block that was believed.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads {
    of: Vec<Option<Head>>,
    asked: Vec<Option<Timestamp>>,
    /// With the provider that said so.
    believed: Option<(usize, Head)>,
}

impl Heads {
    pub(super) fn new(count: usize) -> Self {
        Self {
            of: vec![None; count],
            asked: vec![None; count],
            believed: None,
        }
    }

    /// Notes a head of `provider`. A lower one than it said a moment ago, by another node behind the same URL perhaps, does
    /// not take that back.
    pub(super) fn saw(&mut self, provider: usize, head: Head) {
        let stands = |known: &Head| known.number > head.number && known.is_recent(head.seen_at);
        if let Some(slot) = self.of.get_mut(provider)
            && !slot.as_ref().is_some_and(stands)
        {
            *slot = Some(head);
        }
    }

    pub(super) fn of(&self, provider: usize) -> Option<Head> {
        self.of.get(provider).copied().flatten()
    }

    /// The last block that was believed, and whose answer it was.
    pub(super) const fn believed(&self) -> Option<(usize, Head)> {
        self.believed
    }

    pub(super) const fn believe(&mut self, provider: usize, head: Head) {
        self.believed = Some((provider, head));
    }

    /// Drops what `provider` said: it has shown that it does not know the chain.
    pub(super) fn drop_of(&mut self, provider: usize) {
        if let Some(slot) = self.of.get_mut(provider) {
            *slot = None;
        }
    }

    /// What `provider` itself said a moment ago.
    pub(super) fn recent_of(&self, provider: usize, now: Timestamp) -> Option<Head> {
        self.of(provider).filter(|head| head.is_recent(now))
    }

    /// Recent heads of the others than `provider`, by index. Whether those can be asked now says nothing against what they
    /// have said.
    fn recent_of_others(
        &self,
        provider: usize,
        now: Timestamp,
    ) -> impl Iterator<Item = (usize, Head)> {
        self.of
            .iter()
            .enumerate()
            .filter_map(|(index, head)| Some((index, (*head)?)))
            .filter(move |(index, head)| *index != provider && head.is_recent(now))
    }

    /// The highest number that a block of `provider` may have, by what the others and this service saw of the chain.
    /// `None` where nothing was seen. What this service believed of `provider` itself counts only where nothing is known of
    /// the others: it must not raise its own bound from answer to answer.
    pub(super) fn ceiling(
        &self,
        provider: usize,
        now: Timestamp,
        limits: HeadLimits,
    ) -> Option<u64> {
        let others = self.recent_of_others(provider, now);
        let by_others = others.map(|(_, head)| head.ceiling(now, limits)).max();
        let believed = self.believed;
        let believed = believed.filter(|(by, _)| *by != provider || by_others.is_none());
        let believed = believed.map(|(_, head)| head.ceiling(now, limits));
        by_others.max(believed)
    }

    /// The highest head of the others than `provider`; one far beyond everything else that was seen does not count.
    pub(super) fn highest_of_others(
        &self,
        provider: usize,
        now: Timestamp,
        limits: HeadLimits,
    ) -> Option<u64> {
        self.recent_of_others(provider, now)
            .filter(|(index, head)| !self.is_absurd(*index, head.number, now, limits))
            .map(|(_, head)| head.number)
            .max()
    }

    /// Whether `number` is far beyond everything that was seen of the chain but by `provider`.
    pub(super) fn is_absurd(
        &self,
        provider: usize,
        number: u64,
        now: Timestamp,
        limits: HeadLimits,
    ) -> bool {
        let block_time = limits.block_time.unwrap_or(UNKNOWN_BLOCK_TIME);
        let day = DAY.as_millis() / block_time.as_millis().max(1);
        let absurd = u64::try_from(day).unwrap_or(u64::MAX).max(LEAST_ABSURD);
        self.ceiling(provider, now, limits)
            .is_some_and(|ceiling| number > ceiling.saturating_add(absurd))
    }

    /// Whether a block of `provider` can have this number by now: by what was seen of the chain but by it, or by its own
    /// recent head, unless that is far beyond the rest.
    pub(super) fn is_possible(
        &self,
        provider: usize,
        number: u64,
        now: Timestamp,
        limits: HeadLimits,
    ) -> bool {
        let by_others = self.ceiling(provider, now, limits);
        let own = self.recent_of(provider, now);
        let by_itself = own.map(|head| head.ceiling(now, limits));
        by_others.is_some_and(|ceiling| number <= ceiling)
            || by_itself.is_some_and(|ceiling| number <= ceiling)
                && !self.is_absurd(provider, number, now, limits)
    }

    /// Whether `provider` is known to be behind the others.
    pub(super) fn is_lagging(&self, provider: usize, now: Timestamp, limits: HeadLimits) -> bool {
        let own = self.recent_of(provider, now);
        let highest = self.highest_of_others(provider, now, limits);
        own.zip(highest)
            .is_some_and(|(own, highest)| own.number.saturating_add(limits.tolerance) < highest)
    }

    /// Usable providers other than `provider` whose head is not known; and `provider` itself, if no block of the chain was
    /// ever believed: then nothing else may tell what number its answer can have.
    pub(super) fn unknown(
        &self,
        provider: usize,
        now: Timestamp,
        usable: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        let is_unknown = |index: usize| !self.of(index).is_some_and(|head| head.is_recent(now));
        let is_wanted = |index: usize| match index == provider {
            true => self.believed.is_none(),
            false => usable(index),
        };
        (0..self.of.len())
            .filter(|index| is_wanted(*index) && is_unknown(*index))
            .collect()
    }

    /// Usable providers other than `provider` whose head will soon be too old to count.
    pub(super) fn ageing(
        &self,
        provider: usize,
        now: Timestamp,
        usable: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        self.recent_of_others(provider, now)
            .filter(|(index, head)| usable(*index) && age(head.seen_at, now) >= REFRESH_AFTER)
            .map(|(index, _)| index)
            .collect()
    }

    /// Those of `providers` that may be asked for their head now. They are noted as asked.
    pub(super) fn ask(&mut self, providers: Vec<usize>, now: Timestamp) -> Vec<usize> {
        let may = |asked: &mut Option<Timestamp>| {
            let may = asked.is_none_or(|at| age(at, now) >= PAUSE);
            if may {
                *asked = Some(now);
            }
            may
        };
        let asked = &mut self.asked;
        providers
            .into_iter()
            .filter(|index| asked.get_mut(*index).is_some_and(may))
            .collect()
    }

    /// Takes over a head that another instance saw later.
    pub(super) fn learn(&mut self, provider: usize, head: Head, now: Timestamp) {
        let newer = self
            .of(provider)
            .is_none_or(|known| known.seen_at < head.seen_at);
        if newer && head.is_recent(now) {
            self.saw(provider, head);
        }
    }

    /// Takes over a block that another instance believed later.
    pub(super) fn learn_believed(&mut self, provider: usize, head: Head, now: Timestamp) {
        let newer = self
            .believed
            .is_none_or(|(_, known)| known.seen_at < head.seen_at);
        let ahead = head.seen_at > now && !head.is_recent(now);
        if newer && !ahead {
            self.believed = Some((provider, head));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        tolerance: 3,
        block_time: Some(Duration::from_secs(12)),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn head(number: u64, seconds: i64) -> Head {
        Head {
            number,
            timestamp: u64::try_from(at(seconds).as_second()).unwrap(),
            seen_at: at(seconds),
        }
    }

    const fn all(_: usize) -> bool {
        true
    }

    #[test]
    fn the_highest_head_of_the_others_counts_also_against_two_that_agree() {
        let mut heads = Heads::new(3);
        for (provider, number) in [(0, 82), (1, 82), (2, 100)] {
            heads.saw(provider, head(number, 0));
        }
        let highest = |provider| heads.highest_of_others(provider, at(1), LIMITS);
        assert_eq!(
            [highest(0), highest(1), highest(2)],
            [Some(100), Some(100), Some(82)]
        );
        let lagging = |provider| heads.is_lagging(provider, at(1), LIMITS);
        assert_eq!([lagging(0), lagging(1), lagging(2)], [true, true, false]);
        assert_eq!(heads.highest_of_others(0, at(31), LIMITS), None, "old");
        heads.drop_of(2);
        assert_eq!(
            heads.highest_of_others(0, at(1), LIMITS),
            Some(82),
            "one that does not know the chain does not count"
        );
    }

    #[test]
    fn an_absurd_head_makes_no_provider_lag() {
        let mut heads = Heads::new(3);
        heads.saw(0, head(100, 0));
        heads.saw(1, head(1 << 36, 0));
        assert_eq!(heads.highest_of_others(0, at(1), LIMITS), None);
        heads.saw(2, head(101, 0));
        assert_eq!(heads.highest_of_others(0, at(1), LIMITS), Some(101));
        assert!(!heads.is_lagging(0, at(1), LIMITS));
        // Nothing else is known of the chain: then it may be right.
        let mut alone = Heads::new(2);
        alone.saw(1, head(1 << 36, 0));
        assert_eq!(alone.highest_of_others(0, at(1), LIMITS), Some(1 << 36));
    }

    #[test]
    fn a_number_is_bounded_by_the_time_since_the_last_head() {
        let mut heads = Heads::new(2);
        assert_eq!(heads.ceiling(0, at(0), LIMITS), None);
        heads.believe(1, head(100, 0));
        // Twice the tolerance, and four blocks in the time of one.
        assert_eq!(heads.ceiling(0, at(0), LIMITS), Some(106));
        assert_eq!(heads.ceiling(0, at(12), LIMITS), Some(110));
        assert_eq!(heads.ceiling(0, at(86_400), LIMITS), Some(28_906));
        // A provider's own head does not raise its own bound; another's does.
        heads.saw(0, head(500, 0));
        assert_eq!(heads.ceiling(0, at(0), LIMITS), Some(106));
        assert_eq!(heads.ceiling(1, at(0), LIMITS), Some(506));
        // One that is stuck says by its block's time how far the chain may have come since.
        let mut stuck = Heads::new(2);
        stuck.saw(
            1,
            Head {
                timestamp: head(0, -120).timestamp,
                ..head(100, 0)
            },
        );
        assert_eq!(stuck.ceiling(0, at(0), LIMITS), Some(146));
        let unknown = HeadLimits {
            block_time: None,
            ..LIMITS
        };
        assert_eq!(stuck.ceiling(0, at(0), unknown), Some(100 + 120 * 20 + 6));
        let ahead = Head {
            timestamp: u64::MAX,
            ..head(100, 0)
        };
        stuck.saw(1, ahead);
        assert_eq!(stuck.ceiling(0, at(0), LIMITS), Some(106));
        stuck.saw(1, head(u64::MAX, 0));
        assert_eq!(stuck.ceiling(0, at(9), LIMITS), Some(u64::MAX));
    }

    #[test]
    fn a_provider_that_is_believed_does_not_raise_its_own_bound() {
        let mut heads = Heads::new(2);
        heads.saw(1, head(100, 0));
        heads.believe(1, head(100, 0));
        let bound = heads.ceiling(0, at(0), LIMITS).unwrap();
        for _ in 0..1_000 {
            let ceiling = heads.ceiling(0, at(0), LIMITS).unwrap();
            heads.saw(0, head(ceiling, 0));
            heads.believe(0, head(ceiling, 0));
        }
        assert_eq!(heads.ceiling(0, at(0), LIMITS), Some(bound));
        assert_eq!(heads.believed(), Some((0, head(bound, 0))));
        // Where nothing else is known it is all there is.
        let mut alone = Heads::new(1);
        alone.believe(0, head(100, 0));
        assert_eq!(alone.ceiling(0, at(12), LIMITS), Some(110));
    }

    #[test]
    fn heads_that_are_missing_are_asked_for_and_not_too_often() {
        let mut heads = Heads::new(3);
        let usable = |index| index != 2;
        assert_eq!(heads.unknown(0, at(0), usable), [0, 1]);
        heads.believe(0, head(5, 0));
        assert_eq!(heads.unknown(0, at(0), usable), [1]);
        assert_eq!(heads.ask(vec![1], at(0)), [1]);
        assert_eq!(heads.ask(vec![1], at(9)), [0; 0]);
        assert_eq!(heads.ask(vec![1, 7], at(10)), [1]);
        heads.saw(1, head(5, 11));
        assert_eq!(heads.unknown(0, at(11), usable), [0; 0]);
        assert_eq!(heads.ageing(0, at(20), usable), [0; 0]);
        assert_eq!(heads.ageing(0, at(21), usable), [1]);
        assert_eq!(heads.unknown(0, at(42), usable), [1]);
        let mut only = Heads::new(1);
        assert_eq!(only.unknown(0, at(0), all), [0]);
        only.believe(0, head(5, 0));
        assert_eq!(only.unknown(0, at(9_999), all), [0; 0]);
    }

    #[test]
    fn what_another_instance_saw_counts_where_it_is_newer() {
        let mut heads = Heads::new(1);
        heads.learn(0, head(100, 0), at(31));
        assert_eq!(heads.of(0), None, "too long ago");
        heads.learn(0, head(100, 0), at(30));
        heads.learn(0, head(90, -1), at(5));
        assert_eq!(heads.of(0), Some(head(100, 0)));
        heads.learn_believed(0, head(100, 0), at(9_999));
        heads.learn_believed(0, head(90, -1), at(9_999));
        assert_eq!(heads.believed(), Some((0, head(100, 0))));
        heads.learn_believed(0, head(7, 500), at(0));
        assert_eq!(heads.believed(), Some((0, head(100, 0))), "from the future");
    }
}
