//! What the use cases need from a platform, and nothing more.

use std::any::Any;
use std::future::Future;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokengate_core::Timestamp;
use tokengate_core::sealed::Kind;

/// The platform: clock, entropy, store, network, configuration, log.
///
/// Futures are not `Send`: a WebAssembly instance has one thread. Implementations need not impose deadlines; callers do.
pub trait Ports: Clone + 'static {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Time since a fixed moment, never going back.
    fn elapsed(&self) -> Duration;

    /// 16 bytes fit for keys and nonces.
    fn random(&self) -> [u8; 16];

    /// Ends after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;

    /// Runs `task` to its end in the background, after the response.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// A wait and what ends it, by being dropped: also where that happens while another request is served. Requests of an
    /// instance cannot wake each other in any other way.
    fn wait(&self) -> (Box<dyn Any>, LocalBoxFuture<'static, ()>);

    /// The value at `key`, if there is one.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>>;

    /// Sets the value at `key`.
    fn set(&self, key: &str, value: &[u8]) -> impl Future<Output = Result<(), StoreError>>;

    /// Removes the value or counter at `key`, if there is one.
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), StoreError>>;

    /// Adds 1 to the counter at `key`, atomically among all instances, and returns the new count.
    fn increment(&self, key: &str) -> impl Future<Output = Result<u64, StoreError>>;

    /// Sends one command to the Redis server at `url` and answers what it replied, element by element. The connection
    /// is kept.
    fn redis(
        &self,
        url: &str,
        command: &str,
        arguments: &[&[u8]],
    ) -> impl Future<Output = Result<Vec<RedisReply>, StoreError>>;

    /// POSTs a JSON body and reads at most `limit` bytes of the reply. Redirects are not followed.
    fn post(
        &self,
        url: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> impl Future<Output = Result<Reply, CallError>>;

    /// The text of `tokengate.toml`.
    ///
    /// # Errors
    /// Why it cannot be read, in words for the operator.
    fn config_text(&self) -> Result<String, String>;

    /// The value of a platform variable, or `None` if this component has none of that name.
    ///
    /// # Errors
    /// Why it cannot be told, in words for the operator.
    fn variable(&self, name: &str) -> impl Future<Output = Result<Option<String>, String>>;

    /// Writes one line to the log.
    fn log(&self, line: &str);
}

/// The key-value store did not do what was asked. Never a verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It did not answer in time.
    #[error("the store did not answer in time")]
    Timeout,
    /// It failed, in its own words.
    #[error("the store failed: {0}")]
    Failed(String),
    /// What it answered was not written by a holder of `store_keys`: neither the value nor its absence can be relied on.
    #[error(
        "a stored {} has no valid tag: it was not written by this service, or its key was removed from store_keys too early",
        .0.name()
    )]
    Forged(Kind),
}

/// An element of what a Redis server replied. Arrays are told as their elements, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisReply {
    /// There is no such value.
    Nil,
    /// Done, in a word such as `OK`.
    Status(String),
    /// A number.
    Integer(i64),
    /// A value.
    Data(Vec<u8>),
}

/// A reply to an outbound call.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The seconds in `Retry-After` (RFC 9110 section 10.2.3), if the reply has one in that form.
    pub retry_after: Option<u64>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// An outbound call had no whole reply. Another endpoint may have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It did not reply in time.
    #[error("no reply in time")]
    Timeout,
    /// The reply is longer than allowed.
    #[error("the reply is too long")]
    TooLong,
    /// The host's name has no address.
    #[error("the provider's name could not be resolved")]
    Dns,
    /// No server listens there, or it cannot be reached.
    #[error("the connection was refused")]
    Refused,
    /// The two ends could not agree, or the certificate is not to be trusted.
    #[error("TLS failed")]
    Tls,
    /// The connection ended before the reply was whole.
    #[error("the connection was closed before the reply was whole")]
    Closed,
    /// What came back is not HTTP.
    #[error("the reply is not HTTP")]
    Protocol,
    /// The platform does not let this component call the host.
    #[error("the platform does not allow the call; see allowed_outbound_hosts in spin.toml")]
    Denied,
    /// Anything else.
    #[error("the call failed")]
    Failed,
}
