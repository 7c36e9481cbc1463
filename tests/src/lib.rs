//! The harness of the end-to-end tests, the demo and the benchmark: a real chain, a real object store, a real Redis and
//! the real service, each on a port of its own, and each gone when its value is dropped.
//!
//! Nothing here stands in for a part that ships. What is missing is an error that names the script which makes it.

#![expect(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed here, by name, and they answer null for what they lack"
)]

pub mod accounts;
pub mod chain;
pub mod client;
pub mod config;
pub mod contracts;
pub mod delivery;
pub mod demo;
pub mod faulty;
pub mod process;
pub mod redis;
pub mod service;
pub mod store;
pub mod wallet;
pub mod world;

use std::path::{Path, PathBuf};

/// The root of the checkout.
///
/// # Panics
/// Never: this crate lies one level below the root.
pub fn root() -> &'static Path {
    #[expect(
        clippy::expect_used,
        reason = "the manifest directory always has a parent: this crate is tests/"
    )]
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the root")
}

/// A built file below the root, or an error that says which script makes it.
pub fn artefact(path: &str, made_by: &str) -> anyhow::Result<PathBuf> {
    let path = root().join(path);
    anyhow::ensure!(
        path.exists(),
        "{} is missing: run {made_by}",
        path.display()
    );
    Ok(path)
}
