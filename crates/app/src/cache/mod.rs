//! What an instance remembers between requests: no secret, and nothing of a request but what it counted for.

pub(crate) mod facts;
pub(crate) mod probes;
pub(crate) mod rate_counts;
pub(crate) mod sessions;
pub(crate) mod single_flight;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use tokengate_core::ChainId;
use tokengate_core::config::{self, Rate};
use tokengate_core::provider::Pool;

use self::facts::FactMemory;
use self::probes::HeadProbes;
use self::rate_counts::RateCounts;
use self::sessions::SessionMemory;
use self::single_flight::Flights;

/// How long a store that has fallen silent is left alone.
const SILENCE: Duration = Duration::from_secs(1);

/// An instance's memory, bounded.
pub(crate) struct Memory {
    /// Facts, confirmed a moment ago.
    pub(crate) facts: FactMemory,
    /// Sessions, asked for a moment ago.
    pub(crate) sessions: SessionMemory,
    /// Reads under way.
    pub(crate) flights: Flights,
    /// Tells this instance from others in the log.
    pub(crate) name: [u8; 4],
    silent_since: Cell<Option<Duration>>,
    refreshes: Cell<(Duration, u32)>,
    lists: RefCell<HashMap<i64, List>>,
    entered: Cell<u64>,
    /// What clients and accounts have asked for.
    pub(crate) rates: RateCounts,
    identity: Cell<Option<([u8; 32], Duration)>>,
    lifetime: Cell<Duration>,
    forwarded: Cell<bool>,
    swept: Cell<Option<Duration>>,
    /// Questions about heads in flight.
    pub(crate) probes: HeadProbes,
    pools: RefCell<HashMap<ChainId, Pool>>,
    pulled: Cell<Option<Duration>>,
    published: RefCell<HashMap<ChainId, (Duration, usize)>>,
}

/// A list of what is to be forgotten that this instance writes.
#[derive(Clone, Copy, Debug)]
struct List {
    name: u64,
    entries: u64,
}

impl Default for Memory {
    /// One that remembers no facts and no sessions.
    fn default() -> Self {
        Self::of([0; 4], 0, Duration::ZERO)
    }
}

impl Memory {
    /// As configured, of an instance that is told by `random`.
    pub(crate) fn new(cache: &config::Cache, random: [u8; 16]) -> Self {
        let [a, b, c, d, ..] = random;
        Self::of([a, b, c, d], cache.memory_bytes, cache.memory)
    }

    fn of(name: [u8; 4], bytes: usize, bound: Duration) -> Self {
        Self {
            name,
            facts: FactMemory::new(bytes, bound),
            sessions: SessionMemory::new(bound),
            flights: Flights::default(),
            silent_since: Cell::default(),
            refreshes: Cell::default(),
            lists: RefCell::default(),
            entered: Cell::default(),
            rates: RateCounts::default(),
            identity: Cell::default(),
            lifetime: Cell::default(),
            forwarded: Cell::default(),
            swept: Cell::default(),
            probes: HeadProbes::default(),
            pools: RefCell::default(),
            pulled: Cell::default(),
            published: RefCell::default(),
        }
    }

    /// The store has not answered in time.
    pub(crate) fn store_fell_silent(&self, now: Duration) {
        self.silent_since.set(Some(now));
    }

    /// Whether the store has not answered a moment ago: whoever can do without it does not wait for it.
    pub(crate) fn store_is_silent(&self, now: Duration) -> bool {
        let silent = self.silent_since.get();
        silent.is_some_and(|since| now.saturating_sub(since) < SILENCE)
    }

    /// Whether a fact may be read ahead of its end, of which `rate` says how often.
    pub(crate) fn may_refresh(&self, rate: Rate, now: Duration) -> bool {
        let (begun, count) = self.refreshes.get();
        let (begun, count) = if now.saturating_sub(begun) >= rate.window {
            (now, 0)
        } else {
            (begun, count)
        };
        let may = count < rate.quota;
        self.refreshes.set((begun, count + u32::from(may)));
        may
    }

    /// What this instance's own list of that number is called, if it has begun one.
    pub(crate) fn list(&self, number: i64) -> Option<u64> {
        self.lists.borrow().get(&number).map(|list| list.name)
    }

    /// Begins a list. Those before `present` are over.
    pub(crate) fn begin_list(&self, number: i64, name: u64, present: i64) {
        let mut lists = self.lists.borrow_mut();
        lists.retain(|other, _| *other >= present);
        lists.insert(number, List { name, entries: 0 });
    }

    /// The number of the next entry of a list.
    pub(crate) fn next_entry(&self, number: i64) -> u64 {
        let mut lists = self.lists.borrow_mut();
        let Some(list) = lists.get_mut(&number) else {
            return 0;
        };
        list.entries += 1;
        list.entries - 1
    }

    /// Whether forgetting, which is done every `pause`, is due; then it is not for another `pause`.
    pub(crate) fn is_forgetting_due(&self, elapsed: Duration, pause: Duration) -> bool {
        is_due(&self.swept, elapsed, pause)
    }

    /// The same, of what other instances know of providers.
    pub(crate) fn is_pull_due(&self, elapsed: Duration, pause: Duration) -> bool {
        is_due(&self.pulled, elapsed, pause)
    }

    /// Whether what this instance knows of the providers of `chain`, the heads of `known` of them among it, is to be
    /// published, which is done every `pause` and when more are known.
    pub(crate) fn is_publishing_due(
        &self,
        chain: ChainId,
        known: usize,
        elapsed: Duration,
        pause: Duration,
    ) -> bool {
        let mut published = self.published.borrow_mut();
        let due = published
            .get(&chain)
            .is_none_or(|(last, heads)| known > *heads || elapsed.saturating_sub(*last) >= pause);
        if due {
            published.insert(chain, (elapsed, known));
        }
        due
    }

    /// Works with what is known of the `count` providers of `chain`.
    pub(crate) fn pool<T>(
        &self,
        chain: ChainId,
        count: usize,
        work: impl FnOnce(&mut Pool) -> T,
    ) -> T {
        let mut pools = self.pools.borrow_mut();
        work(pools.entry(chain).or_insert_with(|| Pool::new(count)))
    }

    /// The store's identity, and when it was read.
    pub(crate) fn identity(&self) -> Option<([u8; 32], Duration)> {
        self.identity.get()
    }

    /// The store has this identity, as of `now`.
    pub(crate) fn identify(&self, identity: [u8; 32], now: Duration) {
        self.identity.set(Some((identity, now)));
    }

    /// The longest lifetime of sessions that the store is known to know of.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime.get()
    }

    /// The store knows of a lifetime.
    pub(crate) fn knows_lifetime(&self, lifetime: Duration) {
        self.lifetime.set(lifetime);
    }

    /// Whether no forwarded request was seen before.
    pub(crate) fn is_first_forwarded(&self) -> bool {
        !self.forwarded.replace(true)
    }

    /// An entry was written of what is to expire.
    pub(crate) fn entry_written(&self) {
        self.entered.set(self.entered.get().saturating_add(1));
    }

    /// How many were written since this was last asked.
    pub(crate) fn entries_written(&self) -> u64 {
        self.entered.replace(0)
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn is_due(last: &Cell<Option<Duration>>, elapsed: Duration, pause: Duration) -> bool {
    let due = last
        .get()
        .is_none_or(|last| elapsed.saturating_sub(last) >= pause);
    if due {
        last.set(Some(elapsed));
    }
    due
}
