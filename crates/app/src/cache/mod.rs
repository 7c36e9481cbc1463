//! What an instance remembers between requests: no secret, and nothing of a request but what it counted for. Each part is
//! owned by what uses it.

pub(crate) mod facts;
pub(crate) mod probes;
pub(crate) mod provider_pools;
pub(crate) mod rate_counts;
pub(crate) mod sessions;
pub(crate) mod single_flight;
