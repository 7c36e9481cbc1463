//! Spans of time, by the service's clock.

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use crate::rfc3339;

/// A span of time, bounded on one side at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Window {
    /// From `from` on, and before `until`; unless that is always or never.
    pub fn new(from: Option<Timestamp>, until: Option<Timestamp>) -> Option<Self> {
        let spans = match (from, until) {
            (None, None) => false,
            (Some(from), Some(until)) => from < until,
            (Some(_), None) | (None, Some(_)) => true,
        };
        spans.then_some(Self { from, until })
    }

    /// Whether `time` is in it.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time < until)
    }

    pub(super) fn members(&self) -> Map<String, Json> {
        let mut members = Map::new();
        for (name, time) in [("from", self.from), ("until", self.until)] {
            if let Some(time) = time {
                members.insert(name.to_owned(), rfc3339::format(time).into());
            }
        }
        members
    }

    pub(super) fn needs(&self) -> String {
        let bounds = [("≥", self.from), ("<", self.until)];
        let bounds = bounds
            .into_iter()
            .filter_map(|(sign, time)| Some(format!("{sign} {}", rfc3339::format(time?))));
        format!("time {}", bounds.collect::<Vec<_>>().join(" and "))
    }
}
