//! Rate counts in a bounded store: a fixed number of slots for each policy, each with the counts of a few names.
//!
//! Which slot a name falls into depends on a key, so strangers cannot choose names that meet in one. A name that has
//! had to leave a full slot is remembered in the slot's floor, the count of every name without an entry: a count-min
//! sketch, which counts some names too high and none too low.

use crate::fingerprint::keyed_fingerprint;

/// Names of one slot that have counts of their own.
const ENTRIES: usize = 4;
const HEAD: usize = 8 + 4;
const ENTRY: usize = 8 + 4;

/// Where a name is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// One of 65,536.
    pub slot: u16,
    /// The name within its slot.
    pub tag: [u8; 8],
}

impl Place {
    /// Of a name, under a key that strangers do not have.
    pub fn of(key: &[u8; 32], policy: &str, name: &[u8; 16]) -> Self {
        let print = keyed_fingerprint(key, &[b"rate", policy.as_bytes(), name]);
        let [a, b, tag @ ..] = print;
        let [c, d, e, f, g, h, i, j, ..] = tag;
        Self {
            slot: u16::from_be_bytes([a, b]),
            tag: [c, d, e, f, g, h, i, j],
        }
    }
}

/// The counts of one slot in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The window's end, in seconds since the epoch.
    window: u64,
    floor: u32,
    entries: Vec<([u8; 8], u32)>,
}

impl Slot {
    /// An empty one.
    pub const fn new(window: u64) -> Self {
        Self {
            window,
            floor: 0,
            entries: Vec::new(),
        }
    }

    /// What the store keeps of `window`. `None` for a window after that: a clock that is behind must not write over it.
    /// What is of an earlier window, more than `length` later, or not understood counts nothing.
    pub fn from_bytes(bytes: &[u8], window: u64, length: u64) -> Option<Self> {
        let Some((slot, rest)) = Self::read(bytes) else {
            return Some(Self::new(window));
        };
        if rest.is_empty() && slot.window == window {
            Some(slot)
        } else if slot.window > window && slot.window <= window.saturating_add(length) {
            None
        } else {
            Some(Self::new(window))
        }
    }

    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (window, rest) = bytes.split_first_chunk::<8>()?;
        let (floor, rest) = rest.split_first_chunk::<4>()?;
        let (entries, rest) = rest.as_chunks::<ENTRY>();
        let entries = entries.iter().take(ENTRIES).filter_map(|entry| {
            let (tag, count) = entry.split_first_chunk::<8>()?;
            Some((*tag, u32::from_be_bytes(count.try_into().ok()?)))
        });
        let slot = Self {
            window: u64::from_be_bytes(*window),
            floor: u32::from_be_bytes(*floor),
            entries: entries.collect(),
        };
        Some((slot, rest))
    }

    /// As the store keeps it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + ENTRIES * ENTRY);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend(self.floor.to_be_bytes());
        for (tag, count) in &self.entries {
            bytes.extend(tag);
            bytes.extend(count.to_be_bytes());
        }
        bytes
    }

    /// How often the name was counted: at least as often as it was.
    pub fn count(&self, tag: &[u8; 8]) -> u32 {
        let entry = self.entries.iter().find(|(other, _)| other == tag);
        entry.map_or(self.floor, |(_, count)| *count)
    }

    /// The name was counted `total` times. Of a full slot the name that was counted least leaves.
    pub fn raise(&mut self, tag: [u8; 8], total: u32) {
        if let Some((_, count)) = self.entries.iter_mut().find(|(other, _)| *other == tag) {
            *count = total.max(*count);
            return;
        }
        let mut entry = (tag, total.max(self.floor));
        if self.entries.len() < ENTRIES {
            self.entries.push(entry);
            return;
        }
        if let Some(least) = self.entries.iter_mut().min_by_key(|(_, count)| *count)
            && least.1 < entry.1
        {
            std::mem::swap(least, &mut entry);
        }
        self.floor = self.floor.max(entry.1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: u64 = 1_800_000_060;

    proptest! {
        /// However many names fall into one slot, in whichever order: none of them lowers another one's count, and none
        /// is counted less often than it was.
        #[test]
        fn no_sequence_of_other_names_lowers_a_count(
            names in prop::collection::vec((0..12u8, 1..40u32), 1..200)
        ) {
            let mut slot = Slot::new(WINDOW);
            let mut truth = [0u32; 12];
            for (name, added) in names {
                let before: Vec<u32> = (0..12u8).map(|name| slot.count(&[name; 8])).collect();
                let tag = [name; 8];
                slot.raise(tag, slot.count(&tag) + added);
                truth[usize::from(name)] += added;
                let bytes = slot.to_bytes();
                prop_assert!(bytes.len() <= HEAD + ENTRIES * ENTRY);
                prop_assert_eq!(Slot::from_bytes(&bytes, WINDOW, 60), Some(slot.clone()));
                for other in 0..12u8 {
                    let count = slot.count(&[other; 8]);
                    prop_assert!(count >= before[usize::from(other)]);
                    prop_assert!(count >= truth[usize::from(other)]);
                }
            }
        }
    }

    #[test]
    fn a_name_falls_into_another_slot_under_another_key_or_policy() {
        let places: Vec<_> = [
            ([1; 32], "client"),
            ([2; 32], "client"),
            ([1; 32], "session"),
        ]
        .iter()
        .map(|(key, policy)| Place::of(key, policy, &[7; 16]))
        .collect();
        assert_ne!(places[0], places[1]);
        assert_ne!(places[0], places[2]);
        assert_eq!(places[0], Place::of(&[1; 32], "client", &[7; 16]));
    }

    #[test]
    fn a_slot_of_another_window_counts_nothing_and_a_later_one_is_not_written_over() {
        let mut slot = Slot::new(WINDOW);
        slot.raise([1; 8], 5);
        let bytes = slot.to_bytes();
        let read = |window| Slot::from_bytes(&bytes, window, 60);
        assert_eq!(read(WINDOW), Some(slot));
        assert_eq!(read(WINDOW + 60), Some(Slot::new(WINDOW + 60)));
        assert_eq!(read(WINDOW - 60), None);
        let far = WINDOW - 120;
        assert_eq!(read(far), Some(Slot::new(far)), "a clock that was wrong");
        for broken in [&b""[..], b"x", &[0; HEAD - 1], &[0; HEAD + 1]] {
            assert_eq!(
                Slot::from_bytes(broken, WINDOW, 60),
                Some(Slot::new(WINDOW)),
                "{broken:?}"
            );
        }
    }
}
