//! Sessions whose end the store has been asked for a moment ago. No token and no wallet is here, only ids.

use std::cell::RefCell;
use std::time::Duration;

use quick_cache::unsync::Cache;
use tokengate_core::Timestamp;

/// The most sessions that are remembered.
const MAX_SESSIONS: usize = 4096;

/// What is known of sessions.
pub(crate) struct SessionCache {
    sessions: RefCell<Cache<[u8; 16], Standing>>,
    /// How long an open one is believed to be open without being asked for.
    bound: Duration,
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was open then, by the clock and by the instance's own time.
    Open(Timestamp, Duration),
    /// It has been ended, which is for good.
    Ended,
}

impl SessionCache {
    /// Belief for so long.
    pub(crate) fn new(bound: Duration) -> Self {
        Self {
            sessions: RefCell::new(Cache::new(MAX_SESSIONS)),
            bound,
        }
    }

    /// What is known of a session, however long ago it was.
    pub(crate) fn standing(&self, id: [u8; 16]) -> Option<Standing> {
        self.sessions.borrow().get(&id).copied()
    }

    /// Whether that is recent enough to need no asking.
    pub(crate) fn is_recent(&self, standing: Standing, now: Duration) -> bool {
        match standing {
            Standing::Open(_, asked) => now.saturating_sub(asked) < self.bound,
            Standing::Ended => true,
        }
    }

    /// Remembers it. One that is known to be ended stays so.
    pub(crate) fn put(&self, id: [u8; 16], standing: Standing) {
        if self.standing(id) != Some(Standing::Ended) {
            self.sessions.borrow_mut().insert(id, standing);
        }
    }
}

impl std::fmt::Debug for SessionCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionCache")
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}
