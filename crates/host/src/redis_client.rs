//! Connections to Redis: one multiplexed connection per runtime and server, made on first use and remade by itself.
//! Every command has a deadline, so an outage costs a caller a second and not its patience.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionAddr, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError};
use redis::{RedisResult, ServerErrorKind};

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long sent bytes may stay unacknowledged before the system ends the connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is silent before the system asks whether its peer still lives, and between two such questions.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. It may hold a password, so it is never
/// shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RedisUrl(String);

impl RedisUrl {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url = url::Url::parse(text).ok()?;
        // The client takes paths of local sockets, too, which is not what an address of a server may be.
        (matches!(url.scheme(), "redis" | "rediss") && url.host().is_some())
            .then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(..)")
    }
}

/// What a URL says of where the server is, without the rest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) scheme: &'static str,
    /// An IPv6 address stands in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

#[derive(Clone)]
pub(crate) struct Client(redis::Client);

impl Client {
    pub(crate) fn new(url: &RedisUrl) -> Result<Self, RedisError> {
        let settings = TcpSettings::default()
            .set_nodelay(true)
            .set_user_timeout(SEND_TIMEOUT)
            .set_keepalive(
                TcpKeepalive::new()
                    .with_time(KEEPALIVE)
                    .with_interval(KEEPALIVE),
            );
        let info = url.0.as_str().into_connection_info()?;
        // A server that does not know RESP3's HELLO repeats the password in its error.
        let login = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP2);
        let info = info.set_tcp_settings(settings).set_redis_settings(login);
        redis::Client::open(info).map(Self)
    }

    /// Where it connects to: not what a URL seems to say, but what the client read in it. None if that is no server
    /// of the network.
    pub(crate) fn server(&self) -> Option<Server> {
        let (scheme, host, port) = match self.0.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => ("redis", host, *port),
            ConnectionAddr::TcpTls { host, port, .. } => ("rediss", host, *port),
            _ => return None,
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        Some(Server { scheme, host, port })
    }

    /// Connects on the first command, within the runtime that sends it.
    pub(crate) fn connect(&self) -> Connection {
        Connection {
            client: self.clone(),
            current: Mutex::new(Current {
                number: 0,
                manager: self.manager(),
            }),
        }
    }

    fn manager(&self) -> RedisResult<ConnectionManager> {
        // Whoever calls has a deadline: a further try is the next caller's.
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_number_of_retries(0);
        ConnectionManager::new_lazy_with_config(self.0.clone(), config)
    }
}

pub(crate) struct Connection {
    client: Client,
    current: Mutex<Current>,
}

/// The connection in use, and how many went before it.
struct Current {
    number: u64,
    manager: RedisResult<ConnectionManager>,
}

impl Connection {
    /// Runs `command`. The manager would keep a connection whose peer fell silent, and what came of a connection that
    /// it tried to make; so after a command that the server did not answer, the next one gets a new connection.
    pub(crate) async fn run<T, F>(
        &self,
        command: impl FnOnce(ConnectionManager) -> F,
    ) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (number, manager) = {
            let current = self.current();
            (current.number, current.manager.clone()?)
        };
        let outcome = command(manager).await;
        let lost = |error: &RedisError| error.is_io_error() || error.is_unrecoverable_error();
        if outcome.as_ref().is_err_and(lost) {
            let mut current = self.current();
            // Of the commands that failed together, one replaces it.
            if current.number == number {
                *current = Current {
                    number: number + 1,
                    manager: self.client.manager(),
                };
            }
        }
        outcome
    }

    pub(crate) fn server(&self) -> Option<Server> {
        self.client.server()
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // Each change is one assignment, so the value is whole whatever panicked.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server answered that a value is not what the command works on.
pub(crate) fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE") || is_not_a_counter(error)
}

/// INCRBY on a value that is no number.
pub(crate) fn is_not_a_counter(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
        && error.detail().is_some_and(|d| d.contains("integer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Option<String> {
        let client = Client::new(&RedisUrl::parse(url)?).ok()?;
        Some(client.server()?.to_string())
    }

    #[test]
    fn a_servers_place_is_what_the_client_reads_in_the_url() {
        for (url, expected) in [
            ("redis://h", Some("redis://h:6379")),
            ("rediss://u:pw@h:1/2", Some("rediss://h:1")),
            ("redis://:pw@[::1]:7", Some("redis://[::1]:7")),
            ("redis://allowed:6379@other", Some("redis://other:6379")),
            ("redis://h/nodatabase", None),
            ("redis://", None),
            ("redis:///run/redis.sock", None),
            ("redis+unix:///run/redis.sock", None),
            ("unix:///run/redis.sock", None),
            ("valkey://h", None),
            ("http://h", None),
            ("h:6379", None),
            ("", None),
        ] {
            assert_eq!(server(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_url_does_not_show_its_password() {
        let url = RedisUrl::parse("redis://:pw@h").unwrap();
        assert!(!format!("{url:?}").contains("pw"));
    }
}
