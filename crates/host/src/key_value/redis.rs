//! The Redis backend: the operations of a store as commands.

use redis::aio::ConnectionManager;
use redis::{AsyncCommands, RedisError, RedisResult};

use super::{Error, MAX_LISTED_KEYS};
use crate::redis_client::{self, is_not_a_counter};

/// How many keys a SCAN step looks at.
const SCAN_STEP: usize = 1000;

/// Compares and sets in one step: on a connection that requests share, WATCH would mix them up.
const COMPARE_AND_SWAP: &str = "local held = redis.call('GET', KEYS[1]) \
    if (ARGV[1] == '0' and held == false) or (ARGV[1] == '1' and held == ARGV[2]) then \
    redis.call('SET', KEYS[1], ARGV[3]) return 1 end return 0";

pub(crate) struct Connection(pub(super) redis_client::Connection);

fn failed(error: &RedisError) -> Error {
    if is_not_a_counter(error) {
        Error::NotACounter
    } else {
        Error::Backend(error.to_string())
    }
}

impl Connection {
    async fn run<T, F>(&self, command: impl FnOnce(ConnectionManager) -> F) -> Result<T, Error>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.0.run(command).await.map_err(|error| failed(&error))
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.run(|mut manager| async move { manager.get(key).await })
            .await
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.run(|mut manager| async move { manager.mget(keys).await })
            .await
    }

    pub(super) async fn set(&self, entries: &[(String, Vec<u8>)]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        self.run(|mut manager| async move { manager.mset(entries).await })
            .await
    }

    pub(super) async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        self.run(|mut manager| async move { manager.del(keys).await })
            .await
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, Error> {
        self.run(|mut manager| async move { manager.exists(key).await })
            .await
    }

    /// By SCAN, in steps: KEYS would stop the server for everyone.
    pub(super) async fn keys(&self) -> Result<Vec<String>, Error> {
        let mut keys = std::collections::BTreeSet::new();
        let mut cursor = 0_u64;
        loop {
            let (next, step): (u64, Vec<String>) = self
                .run(|mut manager| async move {
                    redis::cmd("SCAN")
                        .arg(cursor)
                        .arg("COUNT")
                        .arg(SCAN_STEP)
                        .query_async(&mut manager)
                        .await
                })
                .await?;
            // SCAN may return a key more than once.
            keys.extend(step);
            if keys.len() > MAX_LISTED_KEYS {
                return Err(Error::TooManyKeys);
            }
            if next == 0 {
                return Ok(keys.into_iter().collect());
            }
            cursor = next;
        }
    }

    /// INCRBY, whose counters are decimal text: what Spin keeps in Redis too.
    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.run(|mut manager| async move { manager.incr(key, delta).await })
            .await
    }

    pub(super) async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<bool, Error> {
        self.run(|mut manager| async move {
            redis::cmd("EVAL")
                .arg(COMPARE_AND_SWAP)
                .arg(1)
                .arg(key)
                .arg(u8::from(expected.is_some()))
                .arg(expected.unwrap_or_default())
                .arg(value)
                .query_async(&mut manager)
                .await
        })
        .await
    }
}
