//! The first tier: facts in the instance's own memory. A fact here is believed for a moment after the store or a chain
//! has confirmed it; that moment is the longest that an invalidation takes to be seen.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use quick_cache::unsync::Cache;
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, OptionsBuilder, Weighter};
use tokengate_core::fact::{Fact, FactKey};
use tokengate_core::{Address, ChainId};

/// What an entry takes beside its key and its fact.
const OVERHEAD: usize = 64;
/// About what an entry takes in all: how many of them fit is an estimate.
const ENTRY: usize = 512;

type Entries = Cache<Key, Held, Size, DefaultHashBuilder, Evicted>;

/// Facts, bounded in bytes.
pub(crate) struct FactCache {
    /// `None`: nothing is remembered.
    cache: Option<RefCell<Entries>>,
    /// How long a fact is believed without being confirmed.
    bound: Duration,
    evicted: Rc<Cell<u64>>,
}

/// A fact, and how many providers agreed on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    agreement: usize,
    key: FactKey,
}

/// The same, to look it up.
#[derive(Hash)]
struct Lookup<'a> {
    agreement: usize,
    key: &'a FactKey,
}

impl Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, other: &Key) -> bool {
        self.agreement == other.agreement && *self.key == other.key
    }
}

#[derive(Clone, Debug)]
struct Held {
    fact: Fact,
    confirmed: Duration,
    heat: Heat,
}

/// How often a fact was asked for recently: each use counts 1, and half of it after [`HALF_LIFE`].
#[derive(Clone, Copy, Debug)]
struct Heat {
    /// In parts of a use.
    level: u32,
    at: Duration,
}

const HALF_LIFE: Duration = Duration::from_secs(30);
const USE: u32 = 256;
/// From so many recent uses on, a fact is hot.
const HOT: u32 = 2 * USE;

impl Heat {
    const fn new(now: Duration) -> Self {
        Self {
            level: USE,
            at: now,
        }
    }

    fn level(self, now: Duration) -> u32 {
        let (passed, half) = (
            now.saturating_sub(self.at).as_millis(),
            HALF_LIFE.as_millis(),
        );
        let halvings = u32::try_from(passed / half).unwrap_or(u32::MAX);
        let level = self.level.checked_shr(halvings).unwrap_or(0);
        // Along a straight line from one halving to the next.
        let lost = u128::from(level) * (passed % half) / (2 * half);
        level.saturating_sub(u32::try_from(lost).unwrap_or(u32::MAX))
    }

    fn used(self, now: Duration) -> Self {
        Self {
            level: self.level(now).saturating_add(USE),
            at: now,
        }
    }
}

#[derive(Clone)]
struct Size;

impl Weighter<Key, Held> for Size {
    fn weight(&self, key: &Key, held: &Held) -> u64 {
        (key.key.size() + held.fact.size() + OVERHEAD) as u64
    }
}

/// Counts what had to go.
#[derive(Clone, Default)]
struct Evicted(Rc<Cell<u64>>);

impl Lifecycle<Key, Held> for Evicted {
    type RequestState = ();

    fn on_evict(&self, (): &mut Self::RequestState, _: Key, _: Held) {
        self.0.set(self.0.get().saturating_add(1));
    }
}

impl FactCache {
    /// Room for so many bytes, and belief for so long.
    pub(crate) fn new(bytes: usize, bound: Duration) -> Self {
        let evicted = Rc::new(Cell::new(0));
        let options = OptionsBuilder::new()
            .estimated_items_capacity(bytes / ENTRY)
            .weight_capacity(bytes as u64)
            .build();
        // The builder has all that it asks for; without it there is no memory, which is no failure.
        let cache = options.ok().filter(|_| !bound.is_zero()).map(|options| {
            RefCell::new(Cache::with_options(
                options,
                Size,
                DefaultHashBuilder::default(),
                Evicted(evicted.clone()),
            ))
        });
        Self {
            cache,
            bound,
            evicted,
        }
    }

    /// The fact, if it was confirmed a moment ago. Being asked for warms it.
    pub(crate) fn get(&self, agreement: usize, key: &FactKey, now: Duration) -> Option<Fact> {
        let mut cache = self.cache.as_ref()?.borrow_mut();
        let mut held = cache.get_mut(&Lookup { agreement, key })?;
        held.heat = held.heat.used(now);
        self.is_believed(&held, now).then(|| held.fact.clone())
    }

    /// The same, without being asked for: whether it is hot says nothing.
    pub(crate) fn peek(&self, agreement: usize, key: &FactKey, now: Duration) -> Option<Fact> {
        let cache = self.cache.as_ref()?.borrow();
        let held = cache.peek(&Lookup { agreement, key })?;
        self.is_believed(held, now).then(|| held.fact.clone())
    }

    fn is_believed(&self, held: &Held, now: Duration) -> bool {
        now.saturating_sub(held.confirmed) < self.bound
    }

    /// Keeps a fact that was confirmed at `confirmed`. An older one gives way, a newer one stays.
    pub(crate) fn put(&self, agreement: usize, key: &FactKey, fact: &Fact, confirmed: Duration) {
        let Some(cache) = &self.cache else {
            return;
        };
        let mut cache = cache.borrow_mut();
        if let Some(mut held) = cache.peek_mut(&Lookup { agreement, key }) {
            // One that was begun later and read at an earlier block says less.
            let is_older = self.is_believed(&held, confirmed) && fact.contradicts(&held.fact);
            if confirmed >= held.confirmed && !is_older {
                held.fact = fact.clone();
                held.confirmed = confirmed;
            }
            return;
        }
        let key = Key {
            agreement,
            key: key.clone(),
        };
        let held = Held {
            fact: fact.clone(),
            confirmed,
            heat: Heat::new(confirmed),
        };
        cache.insert(key, held);
    }

    /// Forgets a fact.
    pub(crate) fn remove(&self, agreement: usize, key: &FactKey) {
        if let Some(cache) = &self.cache {
            cache.borrow_mut().remove(&Lookup { agreement, key });
        }
    }

    /// Forgets all facts of a contract.
    pub(crate) fn remove_of(&self, chain: ChainId, contract: Address) {
        if let Some(cache) = &self.cache {
            let is_of =
                |key: &Key| key.key.chain == chain && key.key.read.contract() == Some(contract);
            cache.borrow_mut().retain(|key, _| !is_of(key));
        }
    }

    /// Whether a fact is asked for often enough to be read before it is too old.
    pub(crate) fn is_hot(&self, agreement: usize, key: &FactKey, now: Duration) -> bool {
        self.cache.as_ref().is_some_and(|cache| {
            let cache = cache.borrow();
            let held = cache.peek(&Lookup { agreement, key });
            held.is_some_and(|held| held.heat.level(now) >= HOT)
        })
    }

    /// How many facts had to go for others since this was asked last.
    pub(crate) fn evictions(&self) -> u64 {
        self.evicted.take()
    }
}

impl std::fmt::Debug for FactCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FactCache")
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokengate_core::fact::{Read, Value};
    use tokengate_core::{Timestamp, U256};

    use super::*;

    fn key(n: u64) -> FactKey {
        let mut address = [0; 20];
        address[..8].copy_from_slice(&n.to_be_bytes());
        FactKey {
            chain: ChainId::new(1).unwrap(),
            read: Read::NativeBalance {
                owner: Address::from_bytes(address),
            },
        }
    }

    fn fact(block: u64) -> Fact {
        Fact {
            value: Value::Amount(U256::ONE),
            block,
            read_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_fact_is_believed_for_its_moment_and_only_for_its_agreement() {
        let memory = FactCache::new(1 << 20, seconds(1));
        memory.put(1, &key(1), &fact(7), seconds(10));
        assert_eq!(memory.get(1, &key(1), seconds(10)), Some(fact(7)));
        assert_eq!(memory.get(2, &key(1), seconds(10)), None);
        assert_eq!(memory.get(1, &key(2), seconds(10)), None);
        assert_eq!(memory.get(1, &key(1), seconds(11)), None);
        memory.put(1, &key(1), &fact(6), seconds(9));
        assert_eq!(memory.get(1, &key(1), seconds(10)), Some(fact(7)), "late");
        memory.put(1, &key(1), &fact(8), seconds(11));
        assert_eq!(memory.get(1, &key(1), seconds(11)), Some(fact(8)));
        // Read at an earlier block, although it was begun later.
        let earlier = Fact {
            value: Value::Amount(U256::ZERO),
            ..fact(5)
        };
        let millis = |millis| Duration::from_millis(millis);
        memory.put(1, &key(1), &earlier, millis(11_500));
        assert_eq!(memory.peek(1, &key(1), millis(11_500)), Some(fact(8)));
        memory.put(1, &key(1), &earlier, millis(12_000));
        assert_eq!(memory.get(1, &key(1), millis(12_000)), Some(earlier));
        memory.remove(1, &key(1));
        assert_eq!(memory.get(1, &key(1), seconds(11)), None);
        let none = FactCache::new(1 << 20, Duration::ZERO);
        none.put(1, &key(1), &fact(7), seconds(10));
        assert_eq!(none.get(1, &key(1), seconds(10)), None);
    }

    #[test]
    fn facts_of_a_contract_are_forgotten_together() {
        let memory = FactCache::new(1 << 20, seconds(1));
        let contract = Address::from_bytes([9; 20]);
        let of = |chain, contract| FactKey {
            chain: ChainId::new(chain).unwrap(),
            read: Read::Erc20Balance {
                contract,
                owner: Address::from_bytes([1; 20]),
            },
        };
        let gone = of(1, contract);
        let stay = [
            of(10, contract),
            of(1, Address::from_bytes([8; 20])),
            key(1),
        ];
        for key in stay.iter().chain([&gone]) {
            memory.put(1, key, &fact(7), seconds(1));
            memory.put(2, key, &fact(7), seconds(1));
        }
        memory.remove_of(ChainId::new(1).unwrap(), contract);
        for agreement in [1, 2] {
            assert_eq!(memory.get(agreement, &gone, seconds(1)), None);
            for key in &stay {
                assert_eq!(memory.get(agreement, key, seconds(1)), Some(fact(7)));
            }
        }
    }

    #[test]
    fn memory_is_bounded_in_bytes_and_keeps_what_is_used() {
        let memory = FactCache::new(64 << 10, seconds(1));
        for n in 0..10_000 {
            memory.put(1, &key(n), &fact(n), seconds(1));
            memory.get(1, &key(0), seconds(1));
            let weight = memory.cache.as_ref().unwrap().borrow().weight();
            assert!(weight <= 64 << 10, "{weight}");
        }
        assert_eq!(memory.get(1, &key(0), seconds(1)), Some(fact(0)));
        let evictions = memory.evictions();
        assert!((9_000..10_000).contains(&evictions), "{evictions}");
        assert_eq!(memory.evictions(), 0);
    }

    #[test]
    fn heat_decays_by_half_in_its_half_life() {
        let memory = FactCache::new(1 << 20, seconds(1));
        memory.put(1, &key(1), &fact(7), seconds(0));
        assert!(!memory.is_hot(1, &key(1), seconds(0)), "used once");
        for _ in 0..3 {
            memory.get(1, &key(1), seconds(0));
        }
        assert!(memory.is_hot(1, &key(1), seconds(30)));
        assert!(!memory.is_hot(1, &key(1), seconds(31)));
        assert!(!memory.is_hot(1, &key(1), seconds(100_000)));
        let heat = Heat::new(seconds(0)).used(seconds(0));
        assert_eq!(heat.level(seconds(15)), USE * 3 / 2);
        assert_eq!(heat.level(seconds(30)), USE);
        assert_eq!(heat.level(seconds(60)), USE / 2);
    }
}
