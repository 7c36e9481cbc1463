//! What is remembered of a request: for its one log line and for `Server-Timing`.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde_json::{Map, Value};
use tokengate_core::rfc3339;
use tokengate_core::{Address, Timestamp};

use crate::limits::Quota;

/// Notes about one request, taken while it is served and written once.
#[derive(Debug, Default)]
pub struct Record {
    address: Cell<Option<Address>>,
    gate: RefCell<Option<String>>,
    tier: Cell<Option<&'static str>>,
    code: Cell<Option<&'static str>>,
    faults: RefCell<Vec<String>>,
    quota: Cell<Option<Quota>>,
    store: Cell<Duration>,
    chain: Cell<Duration>,
}

/// More faults than these say nothing new.
const MAX_FAULTS: usize = 8;

impl Record {
    /// Whose request it is.
    pub(crate) fn address(&self, address: Address) {
        self.address.set(Some(address));
    }

    /// Which gate decided.
    pub(crate) fn gate(&self, gate: &str) {
        self.gate.replace(Some(gate.to_owned()));
    }

    /// Which tier answered.
    pub(crate) fn tier(&self, tier: &'static str) {
        self.tier.set(Some(tier));
    }

    /// The code of the problem that was answered.
    pub(crate) fn code(&self, code: &'static str) {
        self.code.set(Some(code));
    }

    /// Something outside failed. The words must hold no secret: no URL of a provider, no token.
    pub(crate) fn fault(&self, fault: String) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < MAX_FAULTS {
            faults.push(fault);
        }
    }

    /// What has failed outside so far, in words for the operator.
    pub fn faults(&self) -> Vec<String> {
        self.faults.borrow().clone()
    }

    /// The state of a limit. Of several, the one that is nearer is told.
    pub(crate) fn quota(&self, quota: Quota) {
        if self.quota.get().is_none_or(|other| quota.is_nearer(&other)) {
            self.quota.set(Some(quota));
        }
    }

    /// What the client is told of its limits.
    pub(crate) fn quota_fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.quota
            .get()
            .into_iter()
            .flat_map(|quota| quota.fields())
    }

    /// Time spent waiting for the store.
    pub(crate) fn waited_for_store(&self, time: Duration) {
        self.store.set(self.store.get() + time);
    }

    /// Time spent waiting for chains.
    pub(crate) fn waited_for_chain(&self, time: Duration) {
        self.chain.set(self.chain.get() + time);
    }

    /// `Server-Timing` (W3C): the whole time and its parts, in milliseconds.
    pub(crate) fn server_timing(&self, total: Duration) -> String {
        let mut text = format!("total;dur={}", millis(total));
        for (name, time) in [("store", self.store.get()), ("chain", self.chain.get())] {
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
        if let Some(code) = self.code.get() {
            member("code", code.into());
        }
        if let Some(address) = self.address.get() {
            member("address", address.to_string().into());
        }
        if let Some(gate) = self.gate.borrow().as_deref() {
            member("gate", gate.into());
        }
        if let Some(tier) = self.tier.get() {
            member("tier", tier.into());
        }
        let faults = self.faults.borrow();
        if !faults.is_empty() {
            member("faults", faults.clone().into());
        }
        Value::Object(members).to_string()
    }
}

/// Milliseconds with three decimals, by integers: formatting floats would be 20 KB of every component.
fn millis(time: Duration) -> String {
    let micros = time.as_micros();
    format!("{}.{:03}", micros / 1000, micros % 1000)
}
