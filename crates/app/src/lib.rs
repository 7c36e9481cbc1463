//! The use cases of Tokengate and the routes that offer them, over a narrow [`Ports`] trait.
//!
//! Nothing here names a platform: the same code runs in WebAssembly behind real ports and in a native test behind
//! simulated ones. Every call to the outside is raced against a deadline here, once, whatever the platform does.
#![forbid(unsafe_code)]

mod auth;
mod background;
mod cache;
mod chain;
mod context;
mod decision;
pub mod diagnostics;
mod http;
mod interval;
mod invalidation;
mod kv;
mod limits;
mod ports;
mod prefetch;
mod rate_limit;
mod route;
mod router;
pub mod routes;
pub mod state;
mod store;
mod telemetry;
mod timeout;
mod transfers;

pub use crate::http::problem::Problem;
pub use crate::http::{Request, Response};
pub use decision::explain::Explanation;
pub use diagnostics as doctor;
pub use ports::{CallError, Ports, RedisReply, Reply, StoreError};
pub use route::{MAX_BODY_LEN, Route, max_body_len};
pub use router::{STARTUP_PATH, rejected, serve};
pub use state::{LoadError, load};
pub use telemetry::Telemetry;
