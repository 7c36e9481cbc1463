//! Single-flight for questions about heads: concurrent requests of an instance wait for the same answers.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use tokengate_core::ChainId;

use crate::ports::Ports;

/// The questions in flight, by chain.
#[derive(Clone, Default)]
pub(crate) struct HeadProbes(Rc<RefCell<HashMap<ChainId, InFlight>>>);

#[derive(Default)]
struct InFlight {
    count: usize,
    /// Dropped, they end the waits for the next answer.
    waiting: Vec<Box<dyn Any>>,
}

impl HeadProbes {
    /// Notes a question to one provider of `chain`, which is in flight until the guard is dropped.
    pub(crate) fn begin(&self, chain: ChainId) -> Probe {
        self.0.borrow_mut().entry(chain).or_default().count += 1;
        Probe {
            probes: self.clone(),
            chain,
        }
    }

    /// A wait until the next question about `chain` is answered or has failed; `None` where none is in flight.
    pub(crate) fn next<P: Ports>(
        &self,
        chain: ChainId,
        ports: &P,
    ) -> Option<LocalBoxFuture<'static, ()>> {
        let mut probes = self.0.borrow_mut();
        let in_flight = probes.get_mut(&chain)?;
        let (end, wait) = ports.wait();
        in_flight.waiting.push(end);
        Some(wait)
    }
}

/// A question in flight.
pub(crate) struct Probe {
    probes: HeadProbes,
    chain: ChainId,
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut probes = self.probes.0.borrow_mut();
        let Some(in_flight) = probes.get_mut(&self.chain) else {
            return;
        };
        in_flight.count = in_flight.count.saturating_sub(1);
        let ended = std::mem::take(&mut in_flight.waiting);
        if in_flight.count == 0 {
            probes.remove(&self.chain);
        }
        // What they wake may come back here.
        drop(probes);
        drop(ended);
    }
}

impl std::fmt::Debug for HeadProbes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeadProbes")
            .field("chains", &self.0.borrow().len())
            .finish()
    }
}
