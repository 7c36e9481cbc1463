//! The part of Spin's `runtime-config.toml` that this host serves: where each key-value store label keeps its data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::document::{Document, Located, Mistake, Table};
use crate::redis_client::RedisUrl;

/// The label that exists without being configured.
pub(crate) const DEFAULT_STORE: &str = "default";

/// What `[key_value_store.<label>]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyValueStore {
    /// `type = "spin"`: a file of this host.
    Embedded { path: PathBuf },
    /// `type = "redis"`
    Redis { url: RedisUrl },
}

/// Where embedded stores live: as the operator says, else beside the manifest.
pub(crate) fn state_directory(named: Option<&Path>, manifest_directory: &Path) -> PathBuf {
    named.map_or_else(
        || manifest_directory.join(".spin/tokengate"),
        Path::to_owned,
    )
}

/// The configured stores by label, among them always [`DEFAULT_STORE`].
pub(crate) fn key_value_stores(
    file: Option<&Path>,
    state_directory: &Path,
) -> Result<BTreeMap<String, KeyValueStore>, Mistake> {
    let mut stores = match file {
        Some(file) => {
            let directory = file.parent().unwrap_or(Path::new(""));
            parse(&Document::read(file)?, directory, state_directory)?
        }
        None => BTreeMap::new(),
    };
    stores
        .entry(DEFAULT_STORE.to_owned())
        .or_insert_with(|| KeyValueStore::Embedded {
            path: default_path(state_directory, DEFAULT_STORE),
        });
    Ok(stores)
}

fn parse(
    document: &Document,
    directory: &Path,
    state_directory: &Path,
) -> Result<BTreeMap<String, KeyValueStore>, Mistake> {
    let parsed = document.parse()?;
    let root = document.root(&parsed);
    let mut stores = BTreeMap::new();
    if let Some(item) = root.optional("key_value_store") {
        for (label, item) in item.table()?.named() {
            let store = parse_store(&label, item.table()?, directory, state_directory)?;
            stores.insert(label.value.to_owned(), store);
        }
    }
    root.finish(&[
        ("sqlite_database", "keep the data in a key-value store"),
        ("llm_compute", "call a model's HTTP interface instead"),
        (
            "variables_provider",
            "give variables with --variable or SPIN_VARIABLE_<NAME>",
        ),
        (
            "config_provider",
            "give variables with --variable or SPIN_VARIABLE_<NAME>",
        ),
        (
            "client_tls",
            "this host trusts the machine's certificate authorities",
        ),
        ("outbound_http", "connections are always pooled"),
        ("state_dir", "use --state-dir"),
    ])?;
    Ok(stores)
}

fn parse_store(
    label: &Located<&str>,
    table: Table<'_>,
    directory: &Path,
    state_directory: &Path,
) -> Result<KeyValueStore, Mistake> {
    let kind = table.required("type")?;
    let store = match kind.string()?.value.as_str() {
        "spin" => {
            let path = match table.optional("path") {
                Some(item) => directory.join(item.string()?.value),
                None if label
                    .value
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') =>
                {
                    default_path(state_directory, label.value)
                }
                None => {
                    return Err(label
                        .place
                        .mistake("a store with this label needs a `path`: add one"));
                }
            };
            KeyValueStore::Embedded { path }
        }
        "redis" => {
            let item = table.required("url")?;
            let url = RedisUrl::parse(&item.string()?.value)
                .ok_or_else(|| item.mistake("must be redis://host:port or rediss://host:port"))?;
            KeyValueStore::Redis { url }
        }
        other => {
            return Err(kind.mistake(format!("names the store `{other}`, which this host does not have: use \"spin\" or \"redis\"")));
        }
    };
    table.finish(&[])?;
    Ok(store)
}

fn default_path(state_directory: &Path, label: &str) -> PathBuf {
    state_directory.join(format!("{label}.redb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(text: &str) -> Result<BTreeMap<String, KeyValueStore>, String> {
        parse(
            &Document::new(Path::new("rc.toml"), text),
            Path::new("/app"),
            Path::new("/state"),
        )
        .map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn the_default_store_is_a_file_in_the_state_directory() {
        let stores = key_value_stores(None, Path::new("/state")).unwrap();
        assert_eq!(
            stores[DEFAULT_STORE],
            KeyValueStore::Embedded {
                path: "/state/default.redb".into()
            }
        );
    }

    #[test]
    fn both_types_are_read() {
        let stores = stores(
            "[key_value_store.default]\ntype = 'redis'\nurl = 'redis://:pw@localhost:6379'\n\
             [key_value_store.a]\ntype = 'spin'\n[key_value_store.b]\ntype = 'spin'\npath = 'x/b.db'\n",
        )
        .unwrap();
        assert_eq!(
            stores["a"],
            KeyValueStore::Embedded {
                path: "/state/a.redb".into()
            }
        );
        assert_eq!(
            stores["b"],
            KeyValueStore::Embedded {
                path: "/app/x/b.db".into()
            }
        );
        assert!(!format!("{:?}", stores["default"]).contains("pw"));
    }

    #[test]
    fn other_types_and_keys_are_refused() {
        for (text, says) in [
            (
                "[key_value_store.x]\ntype = 'azure_cosmos'\n",
                "rc.toml:2:8",
            ),
            (
                "[key_value_store.x]\ntype = 'redis'\nurl = 'http://h'\n",
                "rc.toml:3:7",
            ),
            (
                "[key_value_store.x]\ntype = 'redis'\n",
                "lacks the key `url`",
            ),
            (
                "[key_value_store.x]\ntype = 'spin'\nurl = 'h'\n",
                "unknown key `url`",
            ),
            (
                "[sqlite_database.default]\ntype = 'spin'\n",
                "not supported by this host",
            ),
            ("[nonsense]\n", "unknown key"),
        ] {
            assert!(stores(text).unwrap_err().contains(says), "{text}");
        }
    }
}
