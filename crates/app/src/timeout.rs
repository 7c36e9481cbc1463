//! The limit on every call to the outside.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::ports::Ports;

/// Runs `call` for at most `limit`.
pub(crate) async fn within<P: Ports, T>(
    ports: &P,
    limit: Duration,
    call: impl Future<Output = T>,
) -> Option<T> {
    match select(pin!(call), pin!(ports.sleep(limit))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(((), _)) => None,
    }
}
