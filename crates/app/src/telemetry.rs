//! Telemetry of a request: for its one log line and for `Server-Timing`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokengate_core::rfc3339;
use tokengate_core::{Address, Timestamp};

use crate::http::rate_limit_fields::Quota;

/// Notes about one request, or about one piece of work in the background: taken while it runs and written once. Clones
/// share them.
#[derive(Clone, Debug, Default)]
pub struct Telemetry(Rc<Notes>);

#[derive(Debug, Default)]
struct Notes {
    address: Cell<Option<Address>>,
    gate: RefCell<Option<String>>,
    tier: Cell<Option<&'static str>>,
    code: Cell<Option<&'static str>>,
    faults: RefCell<Vec<String>>,
    quota: Cell<Option<Quota>>,
    instance: Cell<Option<[u8; 4]>>,
    cache_status: RefCell<Option<String>>,
    counts: [Cell<u64>; Count::ALL.len()],
    store: Waits,
    chain: Waits,
    decision: Cell<Duration>,
}

/// Time spent waiting for something. Waits that overlap count once.
#[derive(Debug, Default)]
struct Waits {
    total: Cell<Duration>,
    /// How many there are now, and since when there are any.
    now: Cell<(u32, Duration)>,
}

impl Waits {
    fn begin(&self, elapsed: Duration) {
        let (count, since) = self.now.get();
        let since = if count == 0 { elapsed } else { since };
        self.now.set((count + 1, since));
    }

    fn end(&self, elapsed: Duration) {
        let (count, since) = self.now.get();
        self.now.set((count.saturating_sub(1), since));
        if count == 1 {
            let waited = elapsed.saturating_sub(since);
            self.total.set(self.total.get() + waited);
        }
    }
}

/// What is waited for outside.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outside {
    /// The shared store.
    Store,
    /// A chain.
    Chain,
}

/// What is counted of the tiers, request by request: the log's lines add up to what an operator wants to know.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// Facts found in memory.
    Memory,
    /// Facts found in the store.
    Store,
    /// Facts that a chain was asked for.
    Chain,
    /// Facts that were not at hand because the store failed.
    Missed,
    /// Decisions by stale facts, which are read again in the background.
    Stale,
    /// Fetches that other requests had begun.
    Coalesced,
    /// Fetches begun in the background.
    Refreshes,
    /// Facts that had to leave the memory for others.
    Evictions,
    /// Facts that were invalidated.
    Invalidated,
}

impl Count {
    const ALL: [Self; 9] = [
        Self::Memory,
        Self::Store,
        Self::Chain,
        Self::Missed,
        Self::Stale,
        Self::Coalesced,
        Self::Refreshes,
        Self::Evictions,
        Self::Invalidated,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Store => "store",
            Self::Chain => "chain",
            Self::Missed => "missed",
            Self::Stale => "stale",
            Self::Coalesced => "coalesced",
            Self::Refreshes => "refreshes",
            Self::Evictions => "evictions",
            Self::Invalidated => "outdated",
        }
    }
}

/// More faults than these say nothing new.
const MAX_FAULTS: usize = 8;

impl Telemetry {
    /// Which instance served it.
    pub(crate) fn instance(&self, name: [u8; 4]) {
        self.0.instance.set(Some(name));
    }

    /// Whose request it is.
    pub(crate) fn address(&self, address: Address) {
        self.0.address.set(Some(address));
    }

    /// Which gate decided.
    pub(crate) fn gate(&self, gate: &str) {
        self.0.gate.replace(Some(gate.to_owned()));
    }

    /// Which tier answered.
    pub(crate) fn tier(&self, tier: &'static str) {
        self.0.tier.set(Some(tier));
    }

    /// The code of the problem that was answered.
    pub(crate) fn code(&self, code: &'static str) {
        self.0.code.set(Some(code));
    }

    /// Something outside failed. The words must hold no secret: no URL of a provider, no token.
    pub(crate) fn error(&self, error: String) {
        let mut faults = self.0.faults.borrow_mut();
        if faults.len() < MAX_FAULTS {
            faults.push(error);
        }
    }

    /// What has failed outside so far, in words for the operator.
    pub fn errors(&self) -> Vec<String> {
        self.0.faults.borrow().clone()
    }

    /// The state of a limit. Of several, the one that is nearer is told.
    pub(crate) fn quota(&self, quota: Quota) {
        if self
            .0
            .quota
            .get()
            .is_none_or(|other| quota.is_nearer(&other))
        {
            self.0.quota.set(Some(quota));
        }
    }

    /// What the client is told of its limits.
    pub(crate) fn quota_fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0
            .quota
            .get()
            .into_iter()
            .flat_map(|quota| quota.fields())
    }

    /// Counts what a tier did.
    pub(crate) fn count(&self, what: Count, times: usize) {
        if let Some(count) = self.0.counts.get(what as usize) {
            count.set(count.get().saturating_add(times as u64));
        }
    }

    /// How the decision was come by: the member of `Cache-Status` (RFC 9211).
    pub(crate) fn cache_status(&self, status: String) {
        self.0.cache_status.replace(Some(status));
    }

    /// What was said of that.
    pub(crate) fn cache_status_field(&self) -> Option<String> {
        self.0.cache_status.borrow().clone()
    }

    /// A wait begins, at this time of the platform's.
    pub(crate) fn wait_begins(&self, what: Outside, elapsed: Duration) {
        self.waits(what).begin(elapsed);
    }

    /// A wait ends.
    pub(crate) fn wait_ends(&self, what: Outside, elapsed: Duration) {
        self.waits(what).end(elapsed);
    }

    fn waits(&self, what: Outside) -> &Waits {
        match what {
            Outside::Store => &self.0.store,
            Outside::Chain => &self.0.chain,
        }
    }

    /// How long it took from what was asked to a verdict, waits included.
    pub(crate) fn decided(&self, time: Duration) {
        self.0.decision.set(time);
    }

    /// `Server-Timing` (W3C): the whole time and its parts, in milliseconds.
    pub(crate) fn server_timing(&self, total: Duration) -> String {
        let mut text = format!("total;dur={}", millis(total));
        for (name, time) in [
            ("decision", self.0.decision.get()),
            ("store", self.0.store.total.get()),
            ("chain", self.0.chain.total.get()),
        ] {
            if !time.is_zero() {
                text.push_str(&format!(", {name};dur={}", millis(time)));
            }
        }
        text
    }

    /// The log line: JSON, without a line break.
    pub(crate) fn line(
        &self,
        now: Timestamp,
        method: &str,
        route: &str,
        status: u16,
        total: Duration,
    ) -> String {
        let mut members = Map::new();
        let mut member = |name: &str, value: Value| members.insert(name.to_owned(), value);
        member("time", rfc3339::format(now).into());
        member("method", method.into());
        member("route", route.into());
        member("status", status.into());
        member(
            "us",
            u64::try_from(total.as_micros()).unwrap_or(u64::MAX).into(),
        );
        if let Some(code) = self.0.code.get() {
            member("code", code.into());
        }
        if let Some(address) = self.0.address.get() {
            member("address", address.to_string().into());
        }
        if let Some(gate) = self.0.gate.borrow().as_deref() {
            member("gate", gate.into());
        }
        if let Some(tier) = self.0.tier.get() {
            member("tier", tier.into());
        }
        if let Some(counts) = self.counts() {
            member("cache", counts);
        }
        if let Some(name) = self.0.instance.get() {
            member(
                "instance",
                format!("{:08x}", u32::from_be_bytes(name)).into(),
            );
        }
        let faults = self.0.faults.borrow();
        if !faults.is_empty() {
            member("faults", faults.clone().into());
        }
        Value::Object(members).to_string()
    }
}

impl Telemetry {
    /// The log line of work in the background, if there is something to tell of it.
    pub(crate) fn background_line(&self, now: Timestamp) -> Option<String> {
        let (counts, faults) = (self.counts(), self.0.faults.borrow());
        if counts.is_none() && faults.is_empty() {
            return None;
        }
        let mut members = Map::new();
        members.insert("time".into(), rfc3339::format(now).into());
        members.insert("event".into(), "behind".into());
        if let Some(counts) = counts {
            members.insert("cache".into(), counts);
        }
        if !faults.is_empty() {
            members.insert("faults".into(), faults.clone().into());
        }
        Some(Value::Object(members).to_string())
    }

    fn counts(&self) -> Option<Value> {
        let counts = Count::ALL.iter().zip(&self.0.counts);
        let counts: Map<String, Value> = counts
            .filter(|(_, count)| count.get() > 0)
            .map(|(what, count)| (what.name().to_owned(), count.get().into()))
            .collect();
        (!counts.is_empty()).then_some(Value::Object(counts))
    }
}

/// Milliseconds with three decimals, by integers: formatting floats would be 20 KB of every component.
fn millis(time: Duration) -> String {
    let micros = time.as_micros();
    format!("{}.{:03}", micros / 1000, micros % 1000)
}
