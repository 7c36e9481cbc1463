//! The demo: a real chain (anvil), a real object store and the real service, each a value that ends its part when dropped.
//!
//! What is missing is an error that names the script which makes it.

#![expect(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed here, by name, and they answer null for what they lack"
)]

pub mod chain;
pub mod demo;
pub mod http;
pub mod process;
pub mod service;
pub mod store;

use std::path::{Path, PathBuf};

/// The root of the checkout.
///
/// # Panics
/// Never: this crate lies two levels below the root.
pub fn root() -> &'static Path {
    #[expect(
        clippy::expect_used,
        reason = "the manifest directory always has two above it: this crate is tests/demo/"
    )]
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("tests/demo/ lies two levels below the root")
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
