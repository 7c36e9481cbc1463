//! `spin:redis@3.0.0`: commands that guests send to Redis servers, those that the component's manifest entry allows.
//! Instances of one runtime share its connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use redis::{Cmd, ErrorKind, RedisError, Value};
use wasmtime::component::{Accessor, HasSelf, Linker, Resource};

use crate::bindings::spin::redis::redis as interface;
use crate::bindings::spin::redis::redis::{Error, RedisParameter, RedisResult};
use crate::guest::Guest;
use crate::redis_client::{Client, Connection, RedisUrl, is_wrong_type};

/// Connections of one runtime, to different servers or as different users.
const MAX_CONNECTIONS: usize = 64;
/// Open handles of one instance, over all its requests: as many as Spin gives.
const MAX_HANDLES: usize = 1024;
/// A command with its arguments, as it is sent.
const MAX_COMMAND_BYTES: usize = 4 << 20;
const MAX_REPLY_BYTES: usize = 16 << 20;
const MAX_REPLY_ELEMENTS: usize = 10_000;
/// What an argument adds to its bytes on the way: at most this much (`$<length>\r\n…\r\n`).
const ARGUMENT_FRAME: usize = 16;

/// Commands that change the connection they are sent on, or hold it until something happens. Others use it, too.
const NOT_SHARED: &[&str] = &[
    "ASKING",
    "AUTH",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "REPLCONF",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
];

/// The connections of one runtime.
#[derive(Default)]
pub(crate) struct Connections(Mutex<BTreeMap<RedisUrl, Arc<Connection>>>);

impl Connections {
    /// The connection for `url`. It is made on its first command, which must come from this runtime.
    fn to(&self, url: RedisUrl, client: &Client) -> Result<Arc<Connection>, Error> {
        // A panic between two steps would leave a map that is as good.
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connections.get(&url) {
            return Ok(connection.clone());
        }
        if connections.len() >= MAX_CONNECTIONS {
            connections.retain(|_, connection| Arc::strong_count(connection) > 1);
        }
        if connections.len() >= MAX_CONNECTIONS {
            return Err(Error::TooManyConnections);
        }
        client.warn_if_exposed();
        let connection = Arc::new(client.connect());
        connections.insert(url, connection.clone());
        Ok(connection)
    }
}

/// An open connection, as a guest holds it.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Handle(Arc<Connection>);

pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    interface::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

impl Guest {
    fn open_redis(&mut self, address: &str) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        let Some((url, client)) = RedisUrl::parse(address)
            .and_then(|url| Client::new(&url).ok().map(|client| (url, client)))
        else {
            return Ok(Err(Error::InvalidAddress));
        };
        let allowed = client.server().filter(|server| {
            let hosts = &self.component.allowed_hosts;
            let allowed = hosts.allow_server(server.scheme, &server.host, server.port);
            if !allowed {
                tracing::warn!(
                    component = self.component.id,
                    %server,
                    "outbound Redis denied: add it to the component's allowed_outbound_hosts"
                );
            }
            allowed
        });
        if allowed.is_none() {
            return Ok(Err(Error::InvalidAddress));
        }
        if self.redis_handles >= MAX_HANDLES {
            return Ok(Err(Error::TooManyConnections));
        }
        let connection = match self.core.redis.to(url, &client) {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error)),
        };
        let handle = self.table.push(Handle(connection))?;
        self.redis_handles += 1;
        Ok(Ok(handle))
    }
}

/// The command with its arguments, if it is one that may be sent.
fn command(name: &str, arguments: &[Vec<u8>]) -> Result<Cmd, Error> {
    let upper = name.to_ascii_uppercase();
    let is = |argument: &[u8], word: &str| argument.eq_ignore_ascii_case(word.as_bytes());
    let refused = match upper.as_str() {
        "XREAD" | "XREADGROUP" => arguments
            .iter()
            .take_while(|argument| !is(argument, "STREAMS"))
            .any(|argument| is(argument, "BLOCK")),
        "SCRIPT" => arguments.first().is_some_and(|first| is(first, "DEBUG")),
        upper => NOT_SHARED.contains(&upper),
    };
    if refused {
        return Err(Error::Other(format!(
            "{upper} changes or holds the connection, which others share"
        )));
    }
    let bytes = arguments
        .iter()
        .map(|argument| argument.len() + ARGUMENT_FRAME)
        .sum::<usize>();
    if name.len() + bytes > MAX_COMMAND_BYTES {
        return Err(Error::Other(format!(
            "a command has at most {MAX_COMMAND_BYTES} bytes"
        )));
    }
    let mut command = Cmd::with_capacity(arguments.len() + 1, bytes);
    command.arg(name).arg(arguments);
    Ok(command)
}

/// The elements of a reply in their order, however deep they stand in it: `spin:redis` knows no others.
#[derive(Default)]
struct Reply {
    elements: Vec<RedisResult>,
    bytes: usize,
}

impl Reply {
    fn read(value: Value) -> Result<Vec<RedisResult>, Error> {
        let mut reply = Self::default();
        reply.append(value)?;
        Ok(reply.elements)
    }

    fn append(&mut self, value: Value) -> Result<(), Error> {
        let (element, bytes) = match value {
            Value::Nil => (RedisResult::Nil, 0),
            Value::Int(number) => (RedisResult::Int64(number), 0),
            Value::Okay => (RedisResult::Status("OK".to_owned()), 2),
            Value::SimpleString(text) => {
                let bytes = text.len();
                (RedisResult::Status(text), bytes)
            }
            Value::BulkString(data) => {
                let bytes = data.len();
                (RedisResult::Binary(data), bytes)
            }
            Value::Array(values) => {
                return values.into_iter().try_for_each(|value| self.append(value));
            }
            // RESP3's, which no server was asked for.
            _ => return Err(Error::TypeError),
        };
        self.bytes += bytes;
        if self.bytes > MAX_REPLY_BYTES {
            return Err(Error::Other(format!(
                "a reply has at most {MAX_REPLY_BYTES} bytes"
            )));
        }
        if self.elements.len() == MAX_REPLY_ELEMENTS {
            return Err(Error::Other(format!(
                "a reply has at most {MAX_REPLY_ELEMENTS} elements"
            )));
        }
        self.elements.push(element);
        Ok(())
    }
}

/// What a guest is told; the host's own log says it, too, where it is not the answer to this one command.
fn told(connection: &Connection, error: &RedisError) -> Error {
    let reason = error.to_string();
    if !matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
        && let Some(server) = connection.server()
    {
        tracing::error!(%server, reason, "a Redis server failed");
    }
    Error::Other(reason)
}

/// Sends a command without holding the instance until the reply; until then the request does not count as computing.
async fn send<T: 'static>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    handle: &Resource<Handle>,
    name: &str,
    arguments: &[Vec<u8>],
    is_type_error: fn(&RedisError) -> bool,
) -> wasmtime::Result<Result<Vec<RedisResult>, Error>> {
    let (connection, turnstile) = accessor.with(|mut access| {
        let guest = access.get();
        let connection = guest.table.get(handle)?.0.clone();
        wasmtime::error::Ok((connection, guest.core.turnstile.clone()))
    })?;
    let command = match command(name, arguments) {
        Ok(command) => command,
        Err(error) => return Ok(Err(error)),
    };
    let aside = turnstile.aside();
    let outcome = connection
        .run(async |mut manager| command.query_async::<Value>(&mut manager).await)
        .await;
    drop(aside);
    Ok(match outcome {
        Ok(value) => Reply::read(value),
        Err(error) if is_type_error(&error) => Err(Error::TypeError),
        Err(error) => Err(told(&connection, &error)),
    })
}

/// Sends one of the commands that have a function of their own.
async fn ask<T: 'static>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    handle: &Resource<Handle>,
    name: &str,
    arguments: &[Vec<u8>],
) -> wasmtime::Result<Result<Vec<RedisResult>, Error>> {
    send(accessor, handle, name, arguments, is_wrong_type).await
}

/// The single element of a reply.
fn only(reply: Vec<RedisResult>) -> Result<RedisResult, Error> {
    let [element] = <[RedisResult; 1]>::try_from(reply).map_err(|_| Error::TypeError)?;
    Ok(element)
}

fn number(reply: Vec<RedisResult>) -> Result<i64, Error> {
    match only(reply)? {
        RedisResult::Int64(number) => Ok(number),
        _ => Err(Error::TypeError),
    }
}

fn count(reply: Vec<RedisResult>) -> Result<u32, Error> {
    u32::try_from(number(reply)?).map_err(|_| Error::TypeError)
}

fn value(reply: Vec<RedisResult>) -> Result<Option<Vec<u8>>, Error> {
    match only(reply)? {
        RedisResult::Nil => Ok(None),
        RedisResult::Binary(value) => Ok(Some(value)),
        _ => Err(Error::TypeError),
    }
}

fn texts(reply: Vec<RedisResult>) -> Result<Vec<String>, Error> {
    let text = |element| match element {
        RedisResult::Binary(data) => String::from_utf8(data).map_err(|_| Error::TypeError),
        _ => Err(Error::TypeError),
    };
    reply.into_iter().map(text).collect()
}

/// A key and what follows it, as arguments.
fn keyed(key: String, values: Vec<String>) -> Vec<Vec<u8>> {
    let arguments = std::iter::once(key).chain(values);
    arguments.map(String::into_bytes).collect()
}

impl interface::Host for Guest {}

impl interface::HostConnection for Guest {
    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.redis_handles -= 1;
        Ok(())
    }
}

impl<T: Send + 'static> interface::HostConnectionWithStore<T> for HasSelf<Guest> {
    /// Does not connect: the first command does, and tells what became of it.
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        accessor.with(|mut access| access.get().open_redis(&address))
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        channel: String,
        payload: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let arguments = [channel.into_bytes(), payload];
        let reply = ask(accessor, &handle, "PUBLISH", &arguments).await?;
        Ok(reply.map(drop))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let reply = ask(accessor, &handle, "GET", &[key.into_bytes()]).await?;
        Ok(reply.and_then(value))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let reply = ask(accessor, &handle, "SET", &[key.into_bytes(), value]).await?;
        Ok(reply.map(drop))
    }

    async fn incr(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        key: String,
    ) -> wasmtime::Result<Result<i64, Error>> {
        let reply = ask(accessor, &handle, "INCR", &[key.into_bytes()]).await?;
        Ok(reply.and_then(number))
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<u32, Error>> {
        let keys: Vec<_> = keys.into_iter().map(String::into_bytes).collect();
        let reply = ask(accessor, &handle, "DEL", &keys).await?;
        Ok(reply.and_then(count))
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        key: String,
        values: Vec<String>,
    ) -> wasmtime::Result<Result<u32, Error>> {
        let reply = ask(accessor, &handle, "SADD", &keyed(key, values)).await?;
        Ok(reply.and_then(count))
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        key: String,
    ) -> wasmtime::Result<Result<Vec<String>, Error>> {
        let reply = ask(accessor, &handle, "SMEMBERS", &[key.into_bytes()]).await?;
        Ok(reply.and_then(texts))
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        key: String,
        values: Vec<String>,
    ) -> wasmtime::Result<Result<u32, Error>> {
        let reply = ask(accessor, &handle, "SREM", &keyed(key, values)).await?;
        Ok(reply.and_then(count))
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> wasmtime::Result<Result<Vec<RedisResult>, Error>> {
        let bytes = |argument| match argument {
            RedisParameter::Int64(number) => number.to_string().into_bytes(),
            RedisParameter::Binary(data) => data,
        };
        let arguments: Vec<_> = arguments.into_iter().map(bytes).collect();
        // Whoever chose the command knows what to make of the server's own words.
        send(accessor, &handle, &command, &arguments, |_| false).await
    }
}
