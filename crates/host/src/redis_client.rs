//! Connections to Redis: one multiplexed connection per runtime and server, made on first use and remade by itself.
//! Every command has a deadline, so an outage costs a caller a second and not its patience.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
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
/// Servers of which a warning is remembered, so that it is given once. Guests reach few: those that are allowed them.
const MAX_WARNED: usize = 1024;

static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

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

/// Why what is kept in a Redis server could be read or changed on its way, or by anyone who reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exposure {
    /// Neither a password nor TLS.
    Open,
    /// TLS without a password.
    NoPassword,
    /// A password that crosses the network in the clear.
    NoTls,
}

impl Exposure {
    /// `None` for a server on this machine, or one with both TLS and a password.
    fn of(server: &Server, password: bool) -> Option<Self> {
        if is_loopback(&server.host) {
            return None;
        }
        match (server.scheme == "rediss", password) {
            (true, true) => None,
            (true, false) => Some(Self::NoPassword),
            (false, true) => Some(Self::NoTls),
            (false, false) => Some(Self::Open),
        }
    }

    fn warning(self) -> &'static str {
        match self {
            Self::Open => {
                "a Redis server beyond this machine is used without TLS and without a password: whoever reaches it or the network between can open gates; give it both (rediss://:password@host)"
            }
            Self::NoPassword => {
                "a Redis server beyond this machine is used without a password: whoever reaches it can open gates; set one (rediss://:password@host)"
            }
            Self::NoTls => {
                "a Redis server beyond this machine is used without TLS: its password and what gates rest on cross the network in the clear; use rediss://"
            }
        }
    }
}

/// Whether a host is this machine: a loopback address (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3) or a name that
/// must resolve to one (RFC 6761 section 6.3).
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
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

    /// Warns, once for each server in the life of the process, if others could read or change what is kept there.
    pub(crate) fn warn_if_exposed(&self) {
        let password = self.0.get_connection_info().redis_settings().password();
        let password = password.is_some_and(|password| !password.is_empty());
        let Some((server, exposure)) = self
            .server()
            .and_then(|server| Exposure::of(&server, password).map(|exposure| (server, exposure)))
        else {
            return;
        };
        let is_new = {
            // An insertion that panicked leaves a set that is as good.
            let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
            warned.len() < MAX_WARNED && warned.insert(server.to_string())
        };
        if is_new {
            tracing::warn!(%server, "{}", exposure.warning());
        }
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
    fn a_server_beyond_this_machine_needs_tls_and_a_password() {
        for (url, expected) in [
            ("redis://h", Some(Exposure::Open)),
            ("redis://user@10.0.0.7", Some(Exposure::Open)),
            ("redis://:pw@h:1", Some(Exposure::NoTls)),
            ("redis://u:pw@[2001:db8::1]", Some(Exposure::NoTls)),
            ("rediss://h", Some(Exposure::NoPassword)),
            ("rediss://:pw@h", None),
            ("redis://127.0.0.1", None),
            ("redis://127.8.9.10:7", None),
            ("redis://[::1]", None),
            ("redis://[::ffff:127.0.0.1]", None),
            ("redis://localhost", None),
            ("redis://LOCALHOST.", None),
            ("redis://redis.localhost", None),
            // What merely looks like this machine.
            ("redis://localhost.example", Some(Exposure::Open)),
            ("redis://127.0.0.1.example", Some(Exposure::Open)),
            ("redis://notlocalhost", Some(Exposure::Open)),
            ("redis://127.0.0.1@h", Some(Exposure::Open)),
        ] {
            let client = Client::new(&RedisUrl::parse(url).unwrap()).unwrap();
            let password = client.0.get_connection_info().redis_settings().password();
            let server = client.server().unwrap();
            assert_eq!(Exposure::of(&server, password.is_some()), expected, "{url}");
        }
    }

    #[test]
    fn a_url_does_not_show_its_password() {
        let url = RedisUrl::parse("redis://:pw@h").unwrap();
        assert!(!format!("{url:?}").contains("pw"));
    }
}
