//! The shared store, by either of its adapters: the platform's key-value store, which works on every backend and keeps
//! everything, or Redis itself, where one round trip reads all keys and values expire.

use std::borrow::Cow;
use std::time::Duration;

use futures_util::future::join_all;
use tokengate_core::sealed::{Kind, StoreKeys};
use tokengate_core::secret::Secret;

use crate::ports::{Ports, RedisReply, StoreError};

/// So many keys are asked for at once, where each is a call of its own.
const AT_ONCE: usize = 64;

/// Which of them, and what values are authenticated with.
#[derive(Debug)]
pub(crate) enum Backend {
    /// None: an operator's command reads chains alone. Nothing is found, nothing is kept, and nothing can be claimed.
    Absent,
    /// `spin:key-value` and `wasi:keyvalue/atomics`.
    KeyValue(StoreKeys),
    /// The Redis server at this URL, by `spin:redis`.
    Redis(Secret<String>, StoreKeys),
}

/// The store, while it is asked.
#[derive(Debug)]
pub(crate) struct Kv<'a, P> {
    pub(crate) ports: &'a P,
    pub(crate) backend: &'a Backend,
    /// What stands before every key, where services share the store and nothing in it.
    pub(crate) namespace: Option<&'a str>,
}

impl<P> Clone for Kv<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Kv<'_, P> {}

impl<'a, P: Ports> Kv<'a, P> {
    /// Whether what is set with a time to live needs no expiry of ours.
    pub(crate) const fn expires(self) -> bool {
        matches!(self.backend, Backend::Redis(..) | Backend::Absent)
    }

    /// Whether counters can be added to, and each name has one of its own.
    pub(crate) const fn counts(self) -> bool {
        matches!(self.backend, Backend::Redis(..))
    }

    pub(crate) async fn get(self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let [value] = self.get_all([key]).await?;
        Ok(value)
    }

    /// The key as the store knows it.
    fn name<'k>(self, key: &'k str) -> Cow<'k, str> {
        match self.namespace {
            Some(namespace) => Cow::Owned(format!("{namespace}/{key}")),
            None => Cow::Borrowed(key),
        }
    }

    fn keys(self) -> Result<&'a StoreKeys, StoreError> {
        match self.backend {
            Backend::KeyValue(keys) | Backend::Redis(_, keys) => Ok(keys),
            Backend::Absent => Err(absent()),
        }
    }

    /// What was sealed in the value that was got at `key`.
    ///
    /// # Errors
    /// [`StoreError::Forged`], if it was not sealed for this kind and key.
    pub(crate) fn open(
        self,
        kind: Kind,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(sealed) = value else {
            return Ok(None);
        };
        let opened = self.keys()?.open(kind, &self.name(key), &sealed);
        let value = opened.map_err(|_| StoreError::Forged(kind))?;
        Ok(Some(value.to_vec()))
    }

    /// The authentic value at `key`, if there is any value.
    ///
    /// # Errors
    /// [`StoreError::Forged`], if it was written without the keys: where absence opens something, it must not be taken
    /// for absence.
    pub(crate) async fn get_sealed(
        self,
        kind: Kind,
        key: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.get(key).await?;
        self.open(kind, key, value)
    }

    /// The authentic values at all keys, in their order. One that fails leaves the others.
    pub(crate) async fn get_many_sealed(
        self,
        kind: Kind,
        keys: &[&str],
    ) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        let values = self.get_many(keys).await.into_iter().zip(keys);
        values
            .map(|(value, key)| self.open(kind, key, value?))
            .collect()
    }

    /// Sets the value at `key` with a tag that binds it to the kind and the key, for `ttl`.
    pub(crate) async fn set_sealed(
        self,
        kind: Kind,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        if matches!(self.backend, Backend::Absent) {
            return Ok(());
        }
        let sealed = self.keys()?.seal(kind, &self.name(key), value);
        self.set(key, &sealed, ttl).await
    }

    /// The values at so many keys.
    pub(crate) async fn get_all<const N: usize>(
        self,
        keys: [&str; N],
    ) -> Result<[Option<Vec<u8>>; N], StoreError> {
        let values = self.get_many(&keys).await;
        let values: Vec<_> = values.into_iter().collect::<Result<_, _>>()?;
        <[_; N]>::try_from(values).map_err(|_| malformed())
    }

    /// The values at all keys, in their order; at once, where the store can do that. One that fails leaves the others.
    pub(crate) async fn get_many(self, keys: &[&str]) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        let keys: Vec<_> = keys.iter().map(|key| self.name(key)).collect();
        match self.backend {
            Backend::Absent => vec![Ok(None); keys.len()],
            Backend::KeyValue(_) => {
                let mut values = Vec::with_capacity(keys.len());
                for keys in keys.chunks(AT_ONCE) {
                    values.extend(join_all(keys.iter().map(|key| self.ports.get(key))).await);
                }
                values
            }
            Backend::Redis(..) if keys.is_empty() => Vec::new(),
            Backend::Redis(..) => {
                let arguments: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
                let values = self.redis("MGET", &arguments).await.and_then(|replies| {
                    let values: Vec<_> = replies.into_iter().map(value).collect();
                    Some(values)
                        .filter(|values| values.len() == keys.len())
                        .ok_or_else(malformed)
                });
                values.unwrap_or_else(|error| vec![Err(error); keys.len()])
            }
        }
    }

    /// Sets the value at `key`. It is of use for `ttl`, a store that can forgets it after that.
    pub(crate) async fn set(
        self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let key = &*self.name(key);
        match self.backend {
            Backend::Absent => Ok(()),
            Backend::KeyValue(_) => self.ports.set(key, value).await,
            Backend::Redis(..) => {
                let seconds = seconds(ttl);
                let arguments: [&[u8]; 4] = [key.as_bytes(), value, b"EX", seconds.as_bytes()];
                self.redis("SET", &arguments).await.map(drop)
            }
        }
    }

    /// Removes what is at `key`, if there is anything.
    pub(crate) async fn delete(self, key: &str) -> Result<(), StoreError> {
        let key = &*self.name(key);
        match self.backend {
            Backend::Absent => Ok(()),
            Backend::KeyValue(_) => self.ports.delete(key).await,
            Backend::Redis(..) => self.redis("DEL", &[key.as_bytes()]).await.map(drop),
        }
    }

    /// Counts a claim to `key`, atomically among all instances: 1 for the first within `ttl`, which has it, and more for
    /// every other.
    pub(crate) async fn claim(self, key: &str, ttl: Duration) -> Result<u64, StoreError> {
        let key = &*self.name(key);
        match self.backend {
            Backend::Absent => Err(absent()),
            Backend::KeyValue(_) => self.ports.increment(key).await,
            Backend::Redis(..) => {
                let seconds = seconds(ttl);
                let arguments: [&[u8]; 5] =
                    [key.as_bytes(), b"1", b"NX", b"EX", seconds.as_bytes()];
                let replies = self.redis("SET", &arguments).await?;
                match replies.as_slice() {
                    [RedisReply::Status(status)] if status == "OK" => Ok(1),
                    [RedisReply::Nil] => Ok(2),
                    _ => Err(malformed()),
                }
            }
        }
    }

    /// How far the counter at `key` has come, where counters can be read.
    pub(crate) async fn counted(self, key: &str) -> Result<u64, StoreError> {
        let Some(bytes) = self.get(key).await? else {
            return Ok(0);
        };
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        text.parse().map_err(|_| malformed())
    }

    /// Adds to the counter at `key`, atomically among all instances, and answers how far it has come. It expires after
    /// `ttl`. Only Redis can.
    pub(crate) async fn count(
        self,
        key: &str,
        added: u64,
        ttl: Duration,
    ) -> Result<u64, StoreError> {
        let (seconds, added) = (seconds(ttl), added.to_string());
        // First: a counter is never there without its end.
        let begin: [&[u8]; 5] = [key.as_bytes(), b"0", b"NX", b"EX", seconds.as_bytes()];
        self.redis("SET", &begin).await?;
        let arguments: [&[u8]; 2] = [key.as_bytes(), added.as_bytes()];
        let replies = self.redis("INCRBY", &arguments).await?;
        match replies.as_slice() {
            [RedisReply::Integer(count)] => Ok(count.unsigned_abs()),
            _ => Err(malformed()),
        }
    }

    async fn redis(
        self,
        command: &str,
        arguments: &[&[u8]],
    ) -> Result<Vec<RedisReply>, StoreError> {
        match self.backend {
            Backend::Redis(url, _) => self.ports.redis(url.expose(), command, arguments).await,
            Backend::KeyValue(_) | Backend::Absent => {
                Err(StoreError::Failed("there is no Redis".into()))
            }
        }
    }
}

/// A value in a reply of Redis.
fn value(reply: RedisReply) -> Result<Option<Vec<u8>>, StoreError> {
    match reply {
        RedisReply::Nil => Ok(None),
        RedisReply::Data(bytes) => Ok(Some(bytes)),
        RedisReply::Status(_) | RedisReply::Integer(_) => Err(malformed()),
    }
}

fn absent() -> StoreError {
    StoreError::Failed("there is no store".into())
}

fn malformed() -> StoreError {
    StoreError::Failed("an answer of the store is not what was asked for".into())
}

/// Whole seconds, at least one, as Redis takes them.
fn seconds(ttl: Duration) -> String {
    ttl.as_secs().max(1).to_string()
}
