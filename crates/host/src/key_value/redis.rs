//! The Redis backend: one multiplexed connection per runtime, made on first use and remade by itself. Every command
//! has a deadline, so an outage costs a caller a second and not its patience.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, ErrorKind, RedisError};

use super::{Error, MAX_LISTED_KEYS};
use crate::runtime_config::RedisUrl;

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How many keys a SCAN step looks at.
const SCAN_STEP: usize = 1000;

/// Compares and sets in one step: on a connection that requests share, WATCH would mix them up.
const COMPARE_AND_SWAP: &str = "local held = redis.call('GET', KEYS[1]) \
    if (ARGV[1] == '0' and held == false) or (ARGV[1] == '1' and held == ARGV[2]) then \
    redis.call('SET', KEYS[1], ARGV[3]) return 1 end return 0";

#[derive(Clone)]
pub(crate) struct Client(redis::Client);

impl Client {
    pub(super) fn new(url: &RedisUrl) -> Result<Self, RedisError> {
        redis::Client::open(url.0.as_str()).map(Self)
    }

    /// Connects on the first command, within the runtime that sends it.
    pub(super) fn connect(&self) -> Connection {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_number_of_retries(1);
        Connection(
            ConnectionManager::new_lazy_with_config(self.0.clone(), config)
                .map_err(|error| failed(&error)),
        )
    }
}

pub(crate) struct Connection(Result<ConnectionManager, Error>);

fn failed(error: &RedisError) -> Error {
    match error.kind() {
        // INCRBY on a value that is no number.
        ErrorKind::Server(redis::ServerErrorKind::ResponseError)
            if error.detail().is_some_and(|d| d.contains("integer")) =>
        {
            Error::NotACounter
        }
        _ => Error::Backend(error.to_string()),
    }
}

impl Connection {
    fn manager(&self) -> Result<ConnectionManager, Error> {
        self.0.clone()
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.manager()?
            .get(key)
            .await
            .map_err(|error| failed(&error))
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.manager()?
            .mget(keys)
            .await
            .map_err(|error| failed(&error))
    }

    pub(super) async fn set(&self, entries: &[(String, Vec<u8>)]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        self.manager()?
            .mset(entries)
            .await
            .map_err(|error| failed(&error))
    }

    pub(super) async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        self.manager()?
            .del(keys)
            .await
            .map_err(|error| failed(&error))
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, Error> {
        self.manager()?
            .exists(key)
            .await
            .map_err(|error| failed(&error))
    }

    /// By SCAN, in steps: KEYS would stop the server for everyone.
    pub(super) async fn keys(&self) -> Result<Vec<String>, Error> {
        let mut manager = self.manager()?;
        let mut keys = std::collections::BTreeSet::new();
        let mut cursor = 0_u64;
        loop {
            let (next, step): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("COUNT")
                .arg(SCAN_STEP)
                .query_async(&mut manager)
                .await
                .map_err(|error| failed(&error))?;
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
        self.manager()?
            .incr(key, delta)
            .await
            .map_err(|error| failed(&error))
    }

    pub(super) async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<bool, Error> {
        redis::cmd("EVAL")
            .arg(COMPARE_AND_SWAP)
            .arg(1)
            .arg(key)
            .arg(u8::from(expected.is_some()))
            .arg(expected.unwrap_or_default())
            .arg(value)
            .query_async(&mut self.manager()?)
            .await
            .map_err(|error| failed(&error))
    }
}
