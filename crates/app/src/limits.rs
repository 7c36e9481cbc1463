//! Limits that problems name.

/// The most resources in one request.
pub(crate) const MAX_RESOURCES: usize = 100;

/// The most addresses in one request.
pub const MAX_ADDRESSES: usize = 500;

/// So many poll rounds without progress are a chain that is not followed any longer.
pub(crate) const STUCK_ROUNDS: u64 = 3;
