//! Rate counts of this instance, bounded.

use std::cell::{Cell, RefCell};

use quick_cache::unsync::Cache;

/// The most clients and addresses that one instance counts at a time.
const MAX_COUNTED: usize = 4096;

/// How often a client or account has asked in the present window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateCount {
    /// The window's end, in seconds since the epoch.
    pub(crate) window: u64,
    /// As the store last said, this instance's included.
    pub(crate) shared: u32,
    /// Since then.
    pub(crate) own: u32,
}

/// Counts by the fingerprint of what is counted.
pub(crate) struct RateCounts {
    counts: RefCell<Cache<[u8; 16], RateCount>>,
    forwarded: Cell<bool>,
}

impl Default for RateCounts {
    fn default() -> Self {
        Self {
            counts: RefCell::new(Cache::new(MAX_COUNTED)),
            forwarded: Cell::default(),
        }
    }
}

impl RateCounts {
    /// Whether no forwarded request was seen before.
    pub(crate) fn is_first_forwarded(&self) -> bool {
        !self.forwarded.replace(true)
    }

    /// The count under `name`, if it is of `window`.
    pub(crate) fn count(&self, name: &[u8; 16], window: u64) -> Option<RateCount> {
        let count = self.counts.borrow().get(name).copied();
        count.filter(|count| count.window == window)
    }

    /// Changes the count under `name`, which starts at zero with every window.
    pub(crate) fn update(&self, name: [u8; 16], window: u64, change: impl FnOnce(&mut RateCount)) {
        let mut count = self.count(&name, window).unwrap_or(RateCount {
            window,
            ..RateCount::default()
        });
        change(&mut count);
        self.counts.borrow_mut().insert(name, count);
    }
}

impl std::fmt::Debug for RateCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateCounts")
            .field("count", &self.counts.borrow().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_start_at_zero_with_each_window_and_never_grow_past_their_bound() {
        let counts = RateCounts::default();
        counts.update([1; 16], 7, |count| count.own += 1);
        counts.update([1; 16], 7, |count| count.own += 1);
        assert_eq!(counts.count(&[1; 16], 7).map(|count| count.own), Some(2));
        assert_eq!(counts.count(&[1; 16], 8), None);
        counts.update([1; 16], 8, |count| count.own += 1);
        assert_eq!(counts.count(&[1; 16], 8).map(|count| count.own), Some(1));
        for index in 0..3 * u128::try_from(MAX_COUNTED).unwrap() {
            counts.update(index.to_be_bytes(), 8, |count| count.own += 1);
            assert!(counts.counts.borrow().len() <= MAX_COUNTED);
        }
    }
}
