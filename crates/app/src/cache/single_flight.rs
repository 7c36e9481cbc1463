//! Reads of chains under way: whoever lacks facts that are being read waits for that read, and asks nobody.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokengate_core::fact::{Fact, FactKey, Unreadable};
use tokengate_core::{ChainId, cost};

use crate::chain::Doubt;
use crate::ports::Ports;

/// What a read has come to, for all who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Landing {
    /// The answers; none, if the chain gave none that can be believed.
    pub(crate) answers: Vec<(FactKey, Result<Fact, Unreadable>)>,
    /// What failed, in words for the log.
    pub(crate) faults: Vec<String>,
    /// What may yet show that the answers were behind.
    pub(crate) doubt: Option<Doubt>,
}

/// A read under way, and then what it has come to.
#[derive(Clone, Default)]
pub(crate) struct Flight(Rc<State>);

#[derive(Default)]
struct State {
    landing: RefCell<Option<Rc<Landing>>>,
    /// Dropped, they end the waits of those who have joined.
    waiting: RefCell<Vec<Box<dyn Any>>>,
}

impl Flight {
    /// What it has come to, as soon as it has.
    pub(crate) async fn landing<P: Ports>(&self, ports: &P) -> Rc<Landing> {
        loop {
            if let Some(landing) = self.0.landing.borrow().clone() {
                return landing;
            }
            let (end, wait) = ports.wait();
            self.0.waiting.borrow_mut().push(end);
            wait.await;
        }
    }

    fn land(&self, landing: Landing) {
        self.0.landing.replace(Some(Rc::new(landing)));
        self.0.waiting.take();
    }
}

/// Which facts are read together, of how many providers.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) chain: ChainId,
    pub(crate) agreement: usize,
    pub(crate) keys: BTreeSet<FactKey>,
    /// Answers of an earlier block do not count.
    pub(crate) floor: u64,
    /// What is known already: an answer of an earlier block that says otherwise does not count either.
    pub(crate) known: BTreeMap<FactKey, Fact>,
    /// Those of the keys that are about a vault which anybody can have named: kept if it has named a delegate.
    pub(crate) of_vault: BTreeSet<FactKey>,
}

impl Course {
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

/// All reads under way, of this instance.
#[derive(Default)]
pub(crate) struct Flights {
    under_way: RefCell<Vec<UnderWay>>,
    last: Cell<u64>,
}

struct UnderWay {
    id: u64,
    course: Course,
    begun: Duration,
    flight: Flight,
}

impl Flights {
    /// The read that serves `course` and began at most `patience` ago, if there is one.
    pub(crate) fn join(
        &self,
        course: &Course,
        now: Duration,
        patience: Duration,
    ) -> Option<Flight> {
        self.under_way
            .borrow()
            .iter()
            .find(|other| {
                other.course.serves(course) && now.saturating_sub(other.begun) <= patience
            })
            .map(|other| other.flight.clone())
    }

    /// What they cost the chains together.
    pub(crate) fn cost(&self) -> usize {
        let under_way = self.under_way.borrow();
        let costs = under_way.iter().map(|other| other.course.cost());
        costs.fold(0, usize::saturating_add)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.under_way.borrow().len()
    }

    /// Notes a read that begins now.
    pub(crate) fn start(&self, course: Course, now: Duration) -> (u64, Flight) {
        let id = self.last.get().wrapping_add(1);
        self.last.set(id);
        let flight = Flight::default();
        self.under_way.borrow_mut().push(UnderWay {
            id,
            course,
            begun: now,
            flight: flight.clone(),
        });
        (id, flight)
    }

    /// Where the read of this number lands.
    pub(crate) const fn landing_place(&self, id: u64, flight: Flight) -> LandingPlace<'_> {
        LandingPlace {
            flights: self,
            id,
            flight,
        }
    }
}

/// Where a read lands. When this is dropped, the read is over, and has come to nothing if it has not landed: what it has
/// come to has to be found elsewhere by then.
pub(crate) struct LandingPlace<'a> {
    flights: &'a Flights,
    id: u64,
    flight: Flight,
}

impl LandingPlace<'_> {
    /// The read has come to something: whoever waits for it goes on, and whoever comes next still joins it.
    pub(crate) fn land(&self, landing: Landing) {
        self.flight.land(landing);
    }
}

impl Drop for LandingPlace<'_> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.borrow_mut();
        under_way.retain(|other| other.id != self.id);
        drop(under_way);
        let is_in_the_air = self.flight.0.landing.borrow().is_none();
        if is_in_the_air {
            self.flight.land(Landing::default());
        }
    }
}

impl std::fmt::Debug for Flights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}
