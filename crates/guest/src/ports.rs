//! The application's ports over Spin's interfaces.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use spin_sdk::wasip3::clocks::{monotonic_clock, system_clock};
use spin_sdk::wasip3::random::random;
use spin_sdk::wasip3::wit_stream;
use spin_sdk::wit_bindgen::spawn;
use spin_sdk::{key_value, redis, variables};
use tokengate_app::{CallError, Ports, RedisReply, Reply, StoreError};
use tokengate_core::Timestamp;

use self::bindings::wasi::keyvalue::{atomics, store as buckets};
use crate::http;

mod bindings {
    spin_sdk::wit_bindgen::generate!({
        inline: "
            package tokengate:guest;
            world counters {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
            }
        ",
        path: ["../../wit/deps/wasi-keyvalue@0.2.0-draft2"],
        world: "tokengate:guest/counters",
        runtime_path: "spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

/// Where `spin.toml` mounts the configuration.
const CONFIG_PATH: &str = "/tokengate.toml";
/// The store's label in `spin.toml`.
const STORE: &str = "default";

/// The platform. It holds nothing: what is kept is kept per instance.
#[derive(Clone, Copy, Debug)]
pub struct Spin;

thread_local! {
    static OPEN_STORE: RefCell<Option<Rc<key_value::Store>>> = const { RefCell::new(None) };
    static OPEN_BUCKET: RefCell<Option<Rc<buckets::Bucket>>> = const { RefCell::new(None) };
    static OPEN_REDIS: RefCell<BTreeMap<String, Rc<redis::Connection>>> =
        const { RefCell::new(BTreeMap::new()) };
}

impl Ports for Spin {
    fn now(&self) -> Timestamp {
        let now = system_clock::now();
        // The ABI gives less than a second of nanoseconds; a clock out of jiff's range reads as the epoch, before
        // which no token was issued and no fact was read.
        Timestamp::new(now.seconds, i32::try_from(now.nanoseconds).unwrap_or(0))
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(monotonic_clock::now())
    }

    fn random(&self) -> [u8; 16] {
        // `get-random-bytes` may return fewer bytes than asked for; `get-random-u64` is always whole.
        let [a, b] = [
            random::get_random_u64().to_le_bytes(),
            random::get_random_u64().to_le_bytes(),
        ];
        let mut bytes = [0; 16];
        for (byte, random) in bytes.iter_mut().zip(a.into_iter().chain(b)) {
            *byte = random;
        }
        bytes
    }

    async fn sleep(&self, duration: Duration) {
        monotonic_clock::wait_for(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        spawn(task);
    }

    fn wait(&self) -> (Box<dyn Any>, LocalBoxFuture<'static, ()>) {
        // A stream is a thing of the platform's, so its end reaches whichever task reads from it.
        let (writer, mut reader) = wit_stream::new::<u8>();
        let wait = async move {
            let _ = reader.read(Vec::with_capacity(1)).await;
        };
        (Box::new(writer), Box::pin(wait))
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let store = open().await?;
        reopened(store.get(key).await)
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let store = open().await?;
        reopened(store.set(key, value).await)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let store = open().await?;
        reopened(store.delete(key).await)
    }

    async fn increment(&self, key: &str) -> Result<u64, StoreError> {
        let failed = |error: buckets::Error| {
            OPEN_BUCKET.with(|open| open.take());
            StoreError::Failed(match error {
                buckets::Error::NoSuchStore => "no such store".into(),
                buckets::Error::AccessDenied => "access denied".into(),
                buckets::Error::Other(text) => text,
            })
        };
        let bucket = match OPEN_BUCKET.with(|open| open.borrow().clone()) {
            Some(bucket) => bucket,
            None => {
                let bucket = Rc::new(buckets::open(STORE).map_err(failed)?);
                OPEN_BUCKET.with(|open| open.replace(Some(bucket.clone())));
                bucket
            }
        };
        let count = atomics::increment(&bucket, key, 1).map_err(failed)?;
        // A negative count was never made by adding: it proves nothing.
        u64::try_from(count).map_err(|_| StoreError::Failed("the counter is negative".into()))
    }

    async fn redis(
        &self,
        url: &str,
        command: &str,
        arguments: &[&[u8]],
    ) -> Result<Vec<RedisReply>, StoreError> {
        let connection = open_redis(url)
            .await
            .map_err(|error| redis_failed(&error))?;
        let arguments = arguments
            .iter()
            .map(|argument| redis::RedisParameter::Binary(argument.to_vec()));
        match connection.execute(command, arguments).await {
            Ok(reply) => Ok(reply.into_iter().map(redis_reply).collect()),
            Err(error) => {
                close_redis(url, &connection);
                Err(redis_failed(&error))
            }
        }
    }

    async fn post(&self, url: &str, body: Vec<u8>, limit: usize) -> Result<Reply, CallError> {
        http::post(url, body, limit).await
    }

    fn config_text(&self) -> Result<String, String> {
        std::fs::read_to_string(CONFIG_PATH).map_err(|error| error.to_string())
    }

    async fn variable(&self, name: &str) -> Result<Option<String>, String> {
        match variables::get(name).await {
            Ok(value) => Ok(Some(value)),
            Err(variables::Error::Undefined(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn log(&self, line: &str) {
        // One write is one log record, and a log that cannot be written must not take the request with it.
        let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
    }
}

/// The open store: opening costs a round trip on some backends, so it is kept.
async fn open() -> Result<Rc<key_value::Store>, StoreError> {
    if let Some(store) = OPEN_STORE.with(|open| open.borrow().clone()) {
        return Ok(store);
    }
    let store = Rc::new(reopened(key_value::Store::open(STORE).await)?);
    OPEN_STORE.with(|open| open.replace(Some(store.clone())));
    Ok(store)
}

/// After a failure the next call opens the store again.
fn reopened<T>(outcome: Result<T, key_value::Error>) -> Result<T, StoreError> {
    outcome.map_err(|error| {
        OPEN_STORE.with(|open| open.take());
        StoreError::Failed(error.to_string())
    })
}

/// The open connection to the server at `url`, shared by the requests of this instance.
async fn open_redis(url: &str) -> Result<Rc<redis::Connection>, redis::Error> {
    if let Some(connection) = OPEN_REDIS.with(|open| open.borrow().get(url).cloned()) {
        return Ok(connection);
    }
    let connection = Rc::new(redis::Connection::open(url).await?);
    // Another request may have opened one meanwhile: that one is kept.
    Ok(OPEN_REDIS.with(|open| {
        let mut open = open.borrow_mut();
        open.entry(url.to_owned()).or_insert(connection).clone()
    }))
}

/// After a failure the next call opens the connection again, unless another did so already.
fn close_redis(url: &str, failed: &Rc<redis::Connection>) {
    OPEN_REDIS.with(|open| {
        let mut open = open.borrow_mut();
        if open.get(url).is_some_and(|kept| Rc::ptr_eq(kept, failed)) {
            open.remove(url);
        }
    });
}

/// The address is in none of the texts: it may hold a password.
fn redis_failed(error: &redis::Error) -> StoreError {
    StoreError::Failed(match error {
        redis::Error::InvalidAddress => {
            "no address of a Redis server that this component may connect to; see \
             allowed_outbound_hosts in spin.toml"
                .into()
        }
        redis::Error::TooManyConnections => "too many connections to Redis".into(),
        redis::Error::TypeError => "the value is of another type".into(),
        redis::Error::Other(text) => text.clone(),
    })
}

fn redis_reply(result: redis::RedisResult) -> RedisReply {
    match result {
        redis::RedisResult::Nil => RedisReply::Nil,
        redis::RedisResult::Status(text) => RedisReply::Status(text),
        redis::RedisResult::Int64(number) => RedisReply::Integer(number),
        redis::RedisResult::Binary(data) => RedisReply::Data(data),
    }
}
