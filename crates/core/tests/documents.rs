//! What documents and examples show as a whole configuration is one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::path::{Path, PathBuf};

use tokengate_core::config::Config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below `directory` with this extension.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_whole_configuration_in_a_document_is_valid() {
    let mut documents = files(&root().join("docs"), "md");
    documents.push(root().join("README.md"));
    let mut checked = 0;
    for path in documents {
        let text = read(&path);
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("\n```").next().unwrap_or_default();
            if !block.contains("[service]") {
                continue;
            }
            if let Err(error) = Config::parse(block) {
                panic!("{}: {error}", path.display());
            }
            checked += 1;
        }
    }
    assert!(checked >= 2, "{checked}");
}

#[test]
fn every_example_and_the_demo_have_a_valid_configuration() {
    let mut examples = files(&root().join("examples"), "toml");
    examples.retain(|path| path.ends_with("tokengate.toml"));
    assert!(examples.len() >= 3, "{examples:?}");
    examples.push(root().join("tokengate.toml"));
    for path in examples {
        if let Err(error) = Config::parse(&read(&path)) {
            panic!("{}: {error}", path.display());
        }
    }
}
