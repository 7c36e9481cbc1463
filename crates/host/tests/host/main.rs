//! The host as its users meet it: the real binary and a real guest, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may fail their test"
)]

mod bodies;
mod connections;
mod files;
mod harness;
mod instances;
mod key_value;
mod outbound;
mod outbound_redis;
mod redis_server;
mod routing;
mod shutdown;
mod startup;
mod variables;
