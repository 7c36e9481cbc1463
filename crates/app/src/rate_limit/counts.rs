//! Counts of this instance and of the shared store.

use std::time::Duration;

use tokengate_core::rate_count::{Place, Slot};

use super::RateLimiter;
use super::charge::Charge;
use crate::background::Background as _;
use crate::http::problem::Problem;
use crate::ports::{Ports, StoreError};
use crate::store::{self, PREFIX};
use crate::timeout::within;

impl<P: Ports> RateLimiter<P> {
    pub(super) async fn look_up(
        &self,
        charge: &Charge,
        window: u64,
        now: u64,
    ) -> Result<Seen, Problem> {
        if let Some(count) = self.counts.count(&charge.name, window) {
            return Ok(Seen {
                window,
                shared: count.shared,
                is_new: false,
            });
        }
        let shared = self.store.timed(self.shared(charge, window, now)).await;
        // A failure is noted by `timed`; it is no reason to refuse a request.
        let shared = shared.map_or(0, |found| found.count);
        self.counts.update(charge.name, window, |count| {
            count.shared = count.shared.max(shared)
        });
        Ok(Seen {
            window,
            shared,
            is_new: true,
        })
    }

    /// Adds this instance's count to the store's, in the background. Of two instances that write to a slot at once, the one
    /// that comes last is counted, and the other one when it next adds; a Redis spoken to directly counts both.
    pub(super) fn share(&self, charge: Charge, window: u64, now: u64) {
        let mut added = 0;
        self.counts.update(charge.name, window, |count| {
            added = std::mem::take(&mut count.own);
            count.shared = count.shared.saturating_add(added);
        });
        let limit = self.store.limit();
        self.in_background(async move |limiter: &RateLimiter<P>| {
            let added = within(
                limiter.store.ports(),
                limit,
                limiter.add(&charge, window, now, added),
            );
            if let Some(Ok(total)) = added.await {
                limiter.counts.update(charge.name, window, |count| {
                    count.shared = count.shared.max(total);
                });
            }
        });
    }

    /// What the store has counted in `window`.
    async fn shared(&self, charge: &Charge, window: u64, now: u64) -> Result<Found, StoreError> {
        let place = Place::of(
            &store::rate_key(&self.store).await?,
            charge.policy.name(),
            &charge.name,
        );
        let store = self.store.kv();
        if store.counts() {
            let count = store.counted(&counter_key(charge, place, window)).await?;
            return Ok(Found {
                count: u32::try_from(count).unwrap_or(u32::MAX),
                place,
                slot: None,
            });
        }
        let bytes = store.get(&slot_key(charge, place)).await?;
        let length = window.saturating_sub(now).max(charge.rate.window.as_secs());
        let slot = Slot::from_bytes(&bytes.unwrap_or_default(), window, length);
        Ok(Found {
            count: slot.as_ref().map_or(0, |slot| slot.count(&place.tag)),
            place,
            slot,
        })
    }

    /// Adds to what the store has counted, and answers the sum.
    async fn add(
        &self,
        charge: &Charge,
        window: u64,
        now: u64,
        added: u32,
    ) -> Result<u32, StoreError> {
        let store = self.store.kv();
        let ttl = Duration::from_secs(window.saturating_sub(now));
        let found = self.shared(charge, window, now).await?;
        if store.counts() {
            let key = counter_key(charge, found.place, window);
            let total = store.count(&key, added.into(), ttl).await?;
            return Ok(u32::try_from(total).unwrap_or(u32::MAX));
        }
        // What this instance knew was there once: another one that had not seen it wrote over it.
        let known = self.counts.count(&charge.name, window);
        let known = known.unwrap_or_default().shared;
        let total = found.count.saturating_add(added).max(known);
        if let Some(mut slot) = found.slot {
            slot.raise(found.place.tag, total);
            let key = slot_key(charge, found.place);
            store.set(&key, &slot.to_bytes(), ttl).await?;
        }
        Ok(total)
    }
}

/// What is known of a count in the present window.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) window: u64,
    /// As the store last said, this instance's included.
    pub(super) shared: u32,
    /// Whether this instance had not counted it before.
    pub(super) is_new: bool,
}

/// The end of the window that `seconds` falls into, in seconds since the epoch as well.
pub(super) fn window(seconds: u64, length: Duration) -> u64 {
    let length = length.as_secs().max(1);
    seconds - seconds % length + length
}

/// A count in the store.
struct Found {
    count: u32,
    place: Place,
    /// The slot that it is in; none, where each name has a counter of its own, or where a later window has it.
    slot: Option<Slot>,
}

/// One of 65,536 slots of a policy.
fn slot_key(charge: &Charge, place: Place) -> String {
    format!("{PREFIX}:rate:{}:{:04x}", charge.policy.name(), place.slot)
}

/// A counter of its own.
fn counter_key(charge: &Charge, place: Place, window: u64) -> String {
    let (policy, tag) = (charge.policy.name(), u64::from_be_bytes(place.tag));
    format!(
        "{PREFIX}:rate:{policy}:{:04x}{tag:016x}:{window}",
        place.slot
    )
}
