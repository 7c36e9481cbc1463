//! The lists of what is to expire that this instance writes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::interval::Interval;

/// The lists, by the interval that they are for.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    lists: RefCell<HashMap<i64, List>>,
    written: Cell<u64>,
    /// When expired entries were last swept.
    pub(super) swept: Interval,
}

#[derive(Clone, Copy, Debug)]
struct List {
    name: u64,
    entries: u64,
}

impl Lists {
    /// What this instance's own list of that number is called, if it has begun one.
    pub(super) fn name(&self, number: i64) -> Option<u64> {
        self.lists.borrow().get(&number).map(|list| list.name)
    }

    /// Begins a list. Those before `present` are over.
    pub(super) fn begin(&self, number: i64, name: u64, present: i64) {
        let mut lists = self.lists.borrow_mut();
        lists.retain(|other, _| *other >= present);
        lists.insert(number, List { name, entries: 0 });
    }

    /// The number of the next entry of a list.
    pub(super) fn next_entry(&self, number: i64) -> u64 {
        let mut lists = self.lists.borrow_mut();
        let Some(list) = lists.get_mut(&number) else {
            return 0;
        };
        list.entries += 1;
        list.entries - 1
    }

    /// Notes that an entry was written.
    pub(super) fn entry_written(&self) {
        self.written.set(self.written.get().saturating_add(1));
    }

    /// How many were written since this was last asked.
    pub(super) fn entries_written(&self) -> u64 {
        self.written.replace(0)
    }
}
