//! Key-value stores: the labels of the application, the backends behind them, and the interfaces that guests use.

mod embedded;
pub(crate) mod interfaces;
mod redis;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use embedded::Embedded;
pub(crate) use interfaces::add_to_linker;

use crate::redis_client::Client;
use crate::runtime_config::KeyValueStore;

/// Longer keys are refused: no backend is made for them.
const MAX_KEY_BYTES: usize = 4 << 10;
/// Larger values are refused: one guest must not fill the store or the host's memory.
const MAX_VALUE_BYTES: usize = 4 << 20;
/// A listing ends with an error beyond this many keys.
const MAX_LISTED_KEYS: usize = 100_000;

/// More keys in one call are refused, and so are answers of more bytes.
const MAX_MANY_KEYS: usize = 1000;
const MAX_MANY_BYTES: usize = 16 << 20;
/// How many of them are asked of Redis at once.
const MANY_STEP: usize = 64;

#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("a key has at most {MAX_KEY_BYTES} bytes")]
    KeyTooLong,
    #[error("a value has at most {MAX_VALUE_BYTES} bytes")]
    ValueTooLarge,
    #[error("the store has more than {MAX_LISTED_KEYS} keys")]
    TooManyKeys,
    #[error("one call reads at most {MAX_MANY_KEYS} keys")]
    TooManyAtOnce,
    #[error("values of more than {MAX_MANY_BYTES} bytes at once")]
    TooManyValues,
    #[error("the value is not a counter")]
    NotACounter,
    #[error("the counter is at its limit")]
    CounterOverflow,
    #[error("the store is closed")]
    Closed,
    #[error("{0}")]
    Backend(String),
}

/// A store that can be shared by every thread, or the means to open one per thread.
#[derive(Clone)]
pub(crate) enum Source {
    Embedded(Embedded),
    Redis(Box<Client>),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    #[error("the Redis store `{label}`: {reason}")]
    Redis { label: String, reason: String },
}

impl Source {
    pub(crate) fn open(label: &str, config: &KeyValueStore) -> Result<Self, OpenError> {
        Ok(match config {
            KeyValueStore::Embedded { path } => Self::Embedded(Embedded::open(path)?),
            KeyValueStore::Redis { url } => {
                let client = Client::new(url).map_err(|error| OpenError::Redis {
                    label: label.to_owned(),
                    reason: error.to_string(),
                })?;
                client.warn_if_exposed();
                Self::Redis(Box::new(client))
            }
        })
    }

    /// Must be called within the runtime that will use the store: a Redis connection lives there.
    fn connect(&self) -> Store {
        match self {
            Self::Embedded(embedded) => Store::Embedded(embedded.clone()),
            Self::Redis(client) => Store::Redis(Box::new(redis::Connection(client.connect()))),
        }
    }
}

/// Every store of the application, usable within one runtime.
pub(crate) struct Stores(BTreeMap<String, Arc<Store>>);

impl Stores {
    pub(crate) fn connect(sources: &BTreeMap<String, Source>) -> Self {
        Self(
            sources
                .iter()
                .map(|(label, source)| (label.clone(), Arc::new(source.connect())))
                .collect(),
        )
    }

    fn get(&self, label: &str) -> Option<&Arc<Store>> {
        self.0.get(label)
    }
}

/// One store.
pub(crate) enum Store {
    Embedded(Embedded),
    Redis(Box<redis::Connection>),
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.len() > MAX_KEY_BYTES {
        Err(Error::KeyTooLong)
    } else {
        Ok(())
    }
}

fn check_value(value: &[u8]) -> Result<(), Error> {
    if value.len() > MAX_VALUE_BYTES {
        Err(Error::ValueTooLarge)
    } else {
        Ok(())
    }
}

impl Store {
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        check_key(key)?;
        match self {
            Self::Embedded(store) => store.get(key),
            Self::Redis(store) => store.get(key).await,
        }
    }

    pub(crate) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        if keys.len() > MAX_MANY_KEYS {
            return Err(Error::TooManyAtOnce);
        }
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut left = MAX_MANY_BYTES;
        let mut within = |value: &Option<Vec<u8>>| {
            let bytes = value.as_ref().map_or(0, Vec::len);
            left = left.checked_sub(bytes).ok_or(Error::TooManyValues)?;
            Ok(())
        };
        let mut values = Vec::with_capacity(keys.len());
        match self {
            Self::Embedded(store) => {
                for key in keys {
                    let value = store.get(key)?;
                    within(&value)?;
                    values.push(value);
                }
            }
            Self::Redis(store) => {
                // In steps, for what exceeds the bound has been read by the time it is seen.
                for keys in keys.chunks(MANY_STEP) {
                    let step = store.get_many(keys).await?;
                    step.iter().try_for_each(&mut within)?;
                    values.extend(step);
                }
            }
        }
        Ok(values)
    }

    pub(crate) async fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.set_many(vec![(key, value)]).await
    }

    pub(crate) async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        for (key, value) in &entries {
            check_key(key)?;
            check_value(value)?;
        }
        match self {
            Self::Embedded(store) => store.set(entries).await,
            Self::Redis(store) => store.set(&entries).await,
        }
    }

    pub(crate) async fn delete(&self, keys: Vec<String>) -> Result<(), Error> {
        keys.iter().try_for_each(|key| check_key(key))?;
        match self {
            Self::Embedded(store) => store.delete(keys).await,
            Self::Redis(store) => store.delete(&keys).await,
        }
    }

    pub(crate) async fn exists(&self, key: &str) -> Result<bool, Error> {
        check_key(key)?;
        match self {
            Self::Embedded(store) => Ok(store.get(key)?.is_some()),
            Self::Redis(store) => store.exists(key).await,
        }
    }

    pub(crate) async fn keys(&self) -> Result<Vec<String>, Error> {
        match self {
            Self::Embedded(store) => store.keys(),
            Self::Redis(store) => store.keys().await,
        }
    }

    /// Adds `delta` to the counter at `key`, which starts at zero, and returns its new value. Two callers never get
    /// the same step of a counter.
    pub(crate) async fn increment(&self, key: String, delta: i64) -> Result<i64, Error> {
        check_key(&key)?;
        match self {
            Self::Embedded(store) => store.increment(key, delta).await,
            Self::Redis(store) => store.increment(&key, delta).await,
        }
    }

    /// Sets `key` if it still holds `expected`; says whether it did.
    pub(crate) async fn compare_and_swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, Error> {
        check_key(&key)?;
        check_value(&value)?;
        match self {
            Self::Embedded(store) => store.compare_and_swap(key, expected, value).await,
            Self::Redis(store) => {
                store
                    .compare_and_swap(&key, expected.as_deref(), &value)
                    .await
            }
        }
    }

    /// Whether calls leave the host, so that a request making one waits rather than computes.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::Redis(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reading_many_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::Embedded(Embedded::open(&directory.path().join("s.redb")).unwrap());
        store
            .set("large".to_owned(), vec![0; MAX_VALUE_BYTES])
            .await
            .unwrap();
        let keys = |count| vec!["large".to_owned(); count];
        let fitting = MAX_MANY_BYTES / MAX_VALUE_BYTES;
        assert_eq!(store.get_many(&keys(fitting)).await.unwrap().len(), fitting);
        assert!(matches!(
            store.get_many(&keys(fitting + 1)).await,
            Err(Error::TooManyValues)
        ));
        let none = vec!["none".to_owned(); MAX_MANY_KEYS + 1];
        assert!(matches!(
            store.get_many(&none).await,
            Err(Error::TooManyAtOnce)
        ));
        assert_eq!(
            store.get_many(&none[1..]).await.unwrap().len(),
            MAX_MANY_KEYS
        );
    }
}
