//! Single-flight for chain reads: concurrent misses for the same facts share one fetch.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokengate_core::fact::{Fact, FactKey, Unreadable};
use tokengate_core::{ChainId, cost};

use crate::chain::Doubt;
use crate::ports::Ports;

/// Which facts are fetched together, of how many providers.
#[derive(Clone, Debug)]
pub(crate) struct FetchRequest {
    pub(crate) chain: ChainId,
    pub(crate) agreement: usize,
    pub(crate) keys: BTreeSet<FactKey>,
    /// Answers of an earlier block do not count.
    pub(crate) floor: u64,
    /// What is known already: an answer of an earlier block that says otherwise does not count either.
    pub(crate) known: BTreeMap<FactKey, Fact>,
    /// Those of the keys that are about a vault, which the client names without proof: kept if it has named a delegate.
    pub(crate) of_vault: BTreeSet<FactKey>,
}

impl FetchRequest {
    /// What it costs the chain: its facts, and one for the call.
    pub(crate) fn cost(&self) -> usize {
        cost::of(&self.keys).saturating_add(1)
    }

    /// Whether its answers are all that `other` wants.
    fn serves(&self, other: &Self) -> bool {
        self.chain == other.chain
            && self.agreement == other.agreement
            && self.floor >= other.floor
            && self.keys.is_superset(&other.keys)
    }
}

/// What a fetch has come to, for all requests that share it.
#[derive(Debug, Default)]
pub(crate) struct FetchResult {
    /// The answers; none, if the chain gave none that can be believed.
    pub(crate) answers: Vec<(FactKey, Result<Fact, Unreadable>)>,
    /// What failed, in words for the log.
    pub(crate) errors: Vec<String>,
    /// What may yet show that the answers were behind.
    pub(crate) doubt: Option<Doubt>,
}

/// A fetch in flight, and then its result.
#[derive(Clone, Default)]
pub(crate) struct InFlight(Rc<Shared>);

#[derive(Default)]
struct Shared {
    result: RefCell<Option<Rc<FetchResult>>>,
    /// Dropped, they end the waits of the requests that have joined.
    waiting: RefCell<Vec<Box<dyn Any>>>,
}

impl InFlight {
    /// The result, as soon as there is one.
    pub(crate) async fn result<P: Ports>(&self, ports: &P) -> Rc<FetchResult> {
        loop {
            if let Some(result) = self.0.result.borrow().clone() {
                return result;
            }
            let (end, wait) = ports.wait();
            self.0.waiting.borrow_mut().push(end);
            wait.await;
        }
    }

    fn set(&self, result: FetchResult) {
        self.0.result.replace(Some(Rc::new(result)));
        self.0.waiting.take();
    }
}

/// All fetches in flight, of this instance.
#[derive(Default)]
pub(crate) struct SingleFlight {
    entries: RefCell<Vec<Entry>>,
    last: Cell<u64>,
}

struct Entry {
    id: u64,
    request: FetchRequest,
    begun: Duration,
    in_flight: InFlight,
}

impl SingleFlight {
    /// The fetch that serves `request` and began at most `max_age` ago, if there is one.
    pub(crate) fn join(
        &self,
        request: &FetchRequest,
        now: Duration,
        max_age: Duration,
    ) -> Option<InFlight> {
        self.entries
            .borrow()
            .iter()
            .find(|entry| {
                entry.request.serves(request) && now.saturating_sub(entry.begun) <= max_age
            })
            .map(|entry| entry.in_flight.clone())
    }

    /// What they cost the chains together.
    pub(crate) fn cost(&self) -> usize {
        let entries = self.entries.borrow();
        let costs = entries.iter().map(|entry| entry.request.cost());
        costs.fold(0, usize::saturating_add)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Notes a fetch that begins now.
    pub(crate) fn start(&self, request: FetchRequest, now: Duration) -> (u64, InFlight) {
        let id = self.last.get().wrapping_add(1);
        self.last.set(id);
        let in_flight = InFlight::default();
        self.entries.borrow_mut().push(Entry {
            id,
            request,
            begun: now,
            in_flight: in_flight.clone(),
        });
        (id, in_flight)
    }

    /// The guard of the fetch of this id.
    pub(crate) const fn guard(&self, id: u64, in_flight: InFlight) -> FetchGuard<'_> {
        FetchGuard {
            all: self,
            id,
            in_flight,
        }
    }
}

/// Ends a fetch when it is dropped: without a result, if there is none by then, and what it has come to has to be found
/// elsewhere.
pub(crate) struct FetchGuard<'a> {
    all: &'a SingleFlight,
    id: u64,
    in_flight: InFlight,
}

impl FetchGuard<'_> {
    /// There is a result: the requests that wait for it go on, and later ones still join.
    pub(crate) fn set(&self, result: FetchResult) {
        self.in_flight.set(result);
    }
}

impl Drop for FetchGuard<'_> {
    fn drop(&mut self) {
        let mut entries = self.all.entries.borrow_mut();
        entries.retain(|entry| entry.id != self.id);
        drop(entries);
        let has_result = self.in_flight.0.result.borrow().is_some();
        if !has_result {
            self.in_flight.set(FetchResult::default());
        }
    }
}

impl std::fmt::Debug for SingleFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SingleFlight")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}
