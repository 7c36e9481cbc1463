//! How long the shared store keeps what.

use std::time::Duration;

use tokengate_core::Timestamp;
use tokengate_core::config::Config;
use tokengate_core::nonce::CLOCK_SKEW;

use super::client::StoreClient;
use crate::background::Background as _;
use crate::ports::Ports;

/// How long what is known of a fact is of use: as long as any gate may rest on it, and what clocks may differ by.
pub(crate) fn fact_ttl(config: &Config) -> Duration {
    let clocks = CLOCK_SKEW.saturating_mul(2);
    config.oldest_fact().saturating_add(clocks)
}

/// How long a mark is kept: until the block of the touch counts where it is read, and no fact before it does.
pub(crate) fn mark_ttl(config: &Config) -> Duration {
    fact_ttl(config).max(OBEYED)
}

/// How long a block that something is said to have happened at is waited for: longer than Ethereum and what settles on
/// it optimistically take to finalise one. The source may be mistaken.
pub(crate) const OBEYED: Duration = Duration::from_secs(30 * 60);

/// From when on no clock takes something for open that ends at `end`.
pub(super) fn kept_until(end: Timestamp) -> Timestamp {
    end.checked_add(CLOCK_SKEW.saturating_mul(2))
        .unwrap_or(Timestamp::MAX)
}

/// How long it is until `at`.
pub(super) fn until<P: Ports>(store: &StoreClient<P>, at: Timestamp) -> Duration {
    at.duration_since(store.ports().now())
        .try_into()
        .unwrap_or_default()
}
