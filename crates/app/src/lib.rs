//! The use cases of Tokengate and the routes that offer them, over a narrow [`Ports`] trait.
//!
//! Nothing here names a platform: the same code runs in WebAssembly behind real ports and in a native test behind
//! simulated ones. Every call to the outside is raced against a deadline here, once, whatever the platform does.
#![forbid(unsafe_code)]

mod auth;
mod cache;
mod chain;
mod decision;
pub mod diagnostics;
mod http;
mod invalidation;
mod kv;
mod ports;
mod prefetch;
mod rate_limit;
mod router;
pub mod routes;
mod state;
mod store;
mod telemetry;
mod timeout;
mod transfers;

pub use crate::http::problem::Problem;
pub use crate::http::{Request, Response};
pub use decision::explain::{Explanation, explain};
pub use diagnostics as doctor;
pub use ports::{CallError, Ports, RedisReply, Reply, StoreError};
pub use router::{
    Context, Handler, MAX_BODY_LEN, Needs, Route, STARTUP_PATH, max_body_len, rejected, serve,
};
pub use state::{LoadError, Service};
pub use telemetry::Record;
