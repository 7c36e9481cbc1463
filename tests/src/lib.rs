//! The harness of the end-to-end tests, the demo and the benchmark: a real chain, a real object store, a real Redis and
//! the real service, each on a port of its own, and each gone when its value is dropped.
//!
//! Nothing here stands in for a part that ships. What is missing is an error that names the script which makes it.

#![expect(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed here, by name, and they answer null for what they lack"
)]

pub mod accounts;
pub mod client;
pub mod config;
pub mod contracts;
pub mod delivery;
pub mod faulty;
pub mod redis;
pub mod wallet;
pub mod world;

pub use tokengate_demo::{artefact, chain, demo, process, root, service, store};
