//! The demo of `scripts/up`, by the description that it keeps while it runs.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use url::Url;

use crate::cli::{self, Origin};
use crate::owned_path;

/// The longest description, in bytes. The demo's has less than 2 KiB.
const MAX_LEN: u64 = 64 * 1024;
/// Any permission for the group and for others.
const ANYTHING_FOR_OTHERS: u32 = 0o077;

/// Where a running demo is, and the values of its application variables.
pub(super) struct Demo {
    /// The service's base URL.
    pub(super) url: Url,
    /// The operator's token.
    pub(super) admin_token: String,
    /// The directory of its embedded stores.
    pub(super) state_directory: PathBuf,
    manifest: PathBuf,
    variables: BTreeMap<String, String>,
}

/// Why a description cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error(
        "{0} is missing: the demo writes it, so start scripts/up, and run this in the root of the checkout"
    )]
    Missing(PathBuf),
    #[error(
        "{0} is not this user's alone, and it holds keys: end the demo, remove the file and start scripts/up again"
    )]
    Exposed(PathBuf),
    #[error(
        "{0} is no description of a demo: end the demo, remove the file and start scripts/up again"
    )]
    Malformed(PathBuf),
    #[error("{0} cannot be read: {1}")]
    Io(PathBuf, #[source] io::Error),
}

impl Demo {
    /// Reads a description.
    ///
    /// # Errors
    /// [`DemoError`], if there is none, others may read or write it, or it is not what the demo writes.
    pub(super) fn read(path: &Path) -> Result<Self, DemoError> {
        let unreadable = |error| DemoError::Io(path.to_owned(), error);
        let file = owned_path::open(path).map_err(|error| match error {
            owned_path::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                DemoError::Missing(path.to_owned())
            }
            owned_path::Error::Io(error) => unreadable(error),
            owned_path::Error::NotOurs => DemoError::Exposed(path.to_owned()),
        })?;
        if file.metadata().map_err(unreadable)?.mode() & ANYTHING_FOR_OTHERS != 0 {
            return Err(DemoError::Exposed(path.to_owned()));
        }
        let mut text = String::new();
        let len = file.take(MAX_LEN + 1).read_to_string(&mut text);
        if len.map_err(unreadable)? as u64 > MAX_LEN {
            return Err(DemoError::Malformed(path.to_owned()));
        }
        Self::parse(&text).ok_or_else(|| DemoError::Malformed(path.to_owned()))
    }

    fn parse(text: &str) -> Option<Self> {
        let document: Map<String, Value> = serde_json::from_str(text).ok()?;
        let member = |name: &str| document.get(name).and_then(Value::as_str);
        let variables = document.get("variables")?.as_object()?.iter();
        let variables: BTreeMap<_, _> = variables
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect::<Option<_>>()?;
        Some(Self {
            url: cli::service(member("url")?).ok()?,
            admin_token: variables.get("admin_token")?.clone(),
            state_directory: member("state_directory")?.into(),
            manifest: member("manifest")?.into(),
            variables,
        })
    }

    /// The demo's application. Variables that the command line gives go before the demo's.
    pub(super) fn origin(&self, given: &Origin) -> Origin {
        given.over(&self.manifest, &self.variables)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DESCRIPTION: &str = r#"{
        "url": "http://127.0.0.1:3000",
        "manifest": "/demo/spin.toml",
        "state_directory": "/demo/state",
        "variables": {"admin_token": "t", "rpc_url": "http://127.0.0.1:8545"}
    }"#;

    fn file(directory: &Path, text: &str, mode: u32) -> PathBuf {
        let path = directory.join("demo.json");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_description_is_read_as_the_demo_writes_it() {
        let directory = tempfile::tempdir().unwrap();
        let demo = Demo::read(&file(directory.path(), DESCRIPTION, 0o600)).unwrap();
        assert_eq!(demo.url.as_str(), "http://127.0.0.1:3000/");
        assert_eq!(demo.admin_token, "t");
        assert_eq!(demo.manifest, Path::new("/demo/spin.toml"));
        assert_eq!(demo.variables.len(), 2);
    }

    #[test]
    fn a_missing_description_says_what_writes_it() {
        let directory = tempfile::tempdir().unwrap();
        let error = Demo::read(&directory.path().join("demo.json"))
            .err()
            .unwrap();
        assert!(matches!(error, DemoError::Missing(_)), "{error}");
        assert!(error.to_string().contains("scripts/up"), "{error}");
    }

    #[test]
    fn a_description_that_others_may_read_or_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o602, 0o620] {
            let error = Demo::read(&file(directory.path(), DESCRIPTION, mode)).err();
            assert!(matches!(error, Some(DemoError::Exposed(_))), "{mode:o}");
        }
    }

    #[test]
    fn a_description_that_is_too_long_or_lacks_a_member_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let long = format!("{DESCRIPTION}{}", " ".repeat(64 * 1024));
        let lacking = |name: &str| DESCRIPTION.replace(name, "other");
        for text in [
            String::new(),
            "[]".to_owned(),
            long,
            lacking("\"url\""),
            lacking("manifest"),
            lacking("state_directory"),
            lacking("variables"),
            lacking("admin_token"),
            DESCRIPTION.replace("http://127.0.0.1:3000", "ftp://elsewhere"),
        ] {
            let error = Demo::read(&file(directory.path(), &text, 0o600)).err();
            assert!(matches!(error, Some(DemoError::Malformed(_))), "{text}");
        }
    }
}
