//! How many requests compute at once. Few computing requests keep latency even; many waiting ones cost only memory.
//! So a request holds its place while it computes and gives it up while it waits for a call out of the host.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A bounded number of places for computing requests, handed out in the order of arrival.
#[derive(Clone)]
pub(crate) struct Turnstile(Arc<Mutex<State>>);

struct State {
    limit: isize,
    /// Requests inside, which may exceed the limit while some come back from waiting; below zero when one request
    /// waits for several things at once.
    inside: isize,
    waiting: VecDeque<oneshot::Sender<Pass>>,
}

/// A place among the computing requests, free again when dropped; `None` once it was taken back.
pub(crate) struct Pass(Option<Turnstile>);

/// The time that a request spends waiting for something outside; it computes again when this is dropped.
pub(crate) struct Aside(Turnstile);

impl Turnstile {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = isize::try_from(limit.max(1)).unwrap_or(isize::MAX);
        Self(Arc::new(Mutex::new(State {
            limit,
            inside: 0,
            waiting: VecDeque::new(),
        })))
    }

    pub(crate) async fn enter(&self) -> Pass {
        let turn = {
            let mut state = self.lock();
            if state.inside < state.limit {
                state.inside += 1;
                return Pass(Some(self.clone()));
            }
            let (sender, turn) = oneshot::channel();
            state.waiting.push_back(sender);
            turn
        };
        match turn.await {
            Ok(pass) => pass,
            // Senders leave the queue only with a pass; were one ever lost, letting this request in is harmless.
            Err(_) => {
                self.lock().inside += 1;
                Pass(Some(self.clone()))
            }
        }
    }

    /// Gives up one place until the result is dropped. Coming back never waits: the requests that are admitted are
    /// finished before new ones are taken.
    pub(crate) fn aside(&self) -> Aside {
        self.leave();
        Aside(self.clone())
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.inside -= 1;
        while state.inside < state.limit {
            let Some(next) = state.waiting.pop_front() else {
                break;
            };
            state.inside += 1;
            if let Err(mut pass) = next.send(Pass(Some(self.clone()))) {
                // Its request is gone. Dropped as it is, the pass would wait for the lock that is held here.
                pass.0 = None;
                state.inside -= 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and the counts stay sound if something did.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(turnstile) = &self.0 {
            turnstile.leave();
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.lock().inside += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn admitted(turnstile: &Turnstile) -> Option<Pass> {
        tokio::time::timeout(Duration::from_millis(20), turnstile.enter())
            .await
            .ok()
    }

    #[tokio::test]
    async fn a_full_turnstile_admits_when_someone_leaves() {
        let turnstile = Turnstile::new(1);
        let first = turnstile.enter().await;
        assert!(admitted(&turnstile).await.is_none());
        drop(first);
        assert!(admitted(&turnstile).await.is_some());
    }

    #[tokio::test]
    async fn who_waits_outside_makes_room_and_comes_back_at_once() {
        let turnstile = Turnstile::new(1);
        let first = turnstile.enter().await;
        let aside = turnstile.aside();
        let second = admitted(&turnstile).await.unwrap();
        drop(aside);
        drop(second);
        assert!(
            admitted(&turnstile).await.is_none(),
            "the first is back inside"
        );
        drop(first);
        assert!(admitted(&turnstile).await.is_some());
    }

    #[tokio::test]
    async fn places_given_to_the_gone_are_not_lost() {
        let turnstile = Turnstile::new(1);
        let first = turnstile.enter().await;
        for _ in 0..10 {
            assert!(admitted(&turnstile).await.is_none());
        }
        // A pass that was sent but never received counts as left, too.
        let mut late = Box::pin(turnstile.enter());
        assert!(futures_util::poll!(late.as_mut()).is_pending());
        drop(first);
        drop(late);
        assert!(admitted(&turnstile).await.is_some());
        assert_eq!(
            Arc::strong_count(&turnstile.0),
            1,
            "passes that were not taken are freed"
        );
    }
}
