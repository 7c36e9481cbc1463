//! The Redis backend: one multiplexed connection per runtime, made on first use and remade by itself. Every command
//! has a deadline, so an outage costs a caller a second and not its patience.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncCommands, ErrorKind, IntoConnectionInfo, RedisError, RedisResult};

use super::{Error, MAX_LISTED_KEYS};
use crate::runtime_config::RedisUrl;

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long sent bytes may stay unacknowledged before the system ends the connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is silent before the system asks whether its peer still lives, and between two such questions.
const KEEPALIVE: Duration = Duration::from_secs(15);
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
        let settings = TcpSettings::default()
            .set_nodelay(true)
            .set_user_timeout(SEND_TIMEOUT)
            .set_keepalive(
                TcpKeepalive::new()
                    .with_time(KEEPALIVE)
                    .with_interval(KEEPALIVE),
            );
        let info = url.0.as_str().into_connection_info()?;
        redis::Client::open(info.set_tcp_settings(settings)).map(Self)
    }

    /// Connects on the first command, within the runtime that sends it.
    pub(super) fn connect(&self) -> Connection {
        Connection {
            client: self.clone(),
            current: Mutex::new(Current {
                number: 0,
                manager: self.manager(),
            }),
        }
    }

    fn manager(&self) -> Result<ConnectionManager, Error> {
        // Whoever calls has a deadline: a further try is the next caller's.
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_number_of_retries(0);
        ConnectionManager::new_lazy_with_config(self.0.clone(), config)
            .map_err(|error| failed(&error))
    }
}

pub(crate) struct Connection {
    client: Client,
    current: Mutex<Current>,
}

/// The connection in use, and how many went before it.
struct Current {
    number: u64,
    manager: Result<ConnectionManager, Error>,
}

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
    /// Runs `command`. The manager replaces a connection that ends, but keeps one whose peer fell silent; so after a
    /// command that was not answered in time, the next one gets a new connection.
    async fn run<T, F>(&self, command: impl FnOnce(ConnectionManager) -> F) -> Result<T, Error>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (number, manager) = {
            let current = self.current();
            (current.number, current.manager.clone()?)
        };
        let outcome = command(manager).await;
        if outcome.as_ref().is_err_and(RedisError::is_timeout) {
            let mut current = self.current();
            // Of the commands that timed out together, one replaces it.
            if current.number == number {
                *current = Current {
                    number: number + 1,
                    manager: self.client.manager(),
                };
            }
        }
        outcome.map_err(|error| failed(&error))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // Each change is one assignment, so the value is whole whatever panicked.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
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
