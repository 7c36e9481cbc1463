//! The shared store, with our prefix and a limit on every call.

pub(crate) mod expiry;
mod facts;
pub(crate) mod identity;
mod keys;
mod probe;
mod retention;
mod sessions;
pub(crate) mod tombstones;

use std::future::Future;
use std::time::Duration;

pub(crate) use self::facts::{Unknown, drop_fact, facts, keep, outdate};
pub(crate) use self::keys::{PREFIX, chain_key};
pub(crate) use self::probe::probe;
pub(crate) use self::retention::{OBEYED, fact_ttl, mark_ttl};
pub(crate) use self::sessions::{count_nonce, end, end_all, is_ended, is_spent, longest_lifetime};
use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::telemetry::Outside;
use crate::timeout::within;

pub(crate) async fn timed<P: Ports, T>(
    context: &Context<'_, P>,
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let record = context.record;
    record.wait_begins(Outside::Store, context.ports.elapsed());
    let outcome = within(context.ports, limit, call)
        .await
        .unwrap_or(Err(StoreError::Timeout));
    record.wait_ends(Outside::Store, context.ports.elapsed());
    if let Err(error) = &outcome {
        context.record.fault(error.to_string());
    }
    outcome
}
