//! What is done once in a while.

use std::cell::Cell;
use std::time::Duration;

/// When something was done last.
#[derive(Debug, Default)]
pub(crate) struct Interval(Cell<Option<Duration>>);

impl Interval {
    /// Whether it is due, being done every `pause`; then it is not for another `pause`.
    pub(crate) fn is_due(&self, elapsed: Duration, pause: Duration) -> bool {
        let last = self.0.get();
        let due = last.is_none_or(|last| elapsed.saturating_sub(last) >= pause);
        if due {
            self.0.set(Some(elapsed));
        }
        due
    }
}
