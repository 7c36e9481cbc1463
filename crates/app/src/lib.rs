//! The use cases of Tokengate and the routes that offer them, over a narrow [`Ports`] trait.
//!
//! Nothing here names a platform: the same code runs in WebAssembly behind real ports and in a native test behind
//! simulated ones. Every call to the outside is raced against a deadline here, once, whatever the platform does.
#![forbid(unsafe_code)]

mod auth;
mod backend;
mod chain;
mod decide;
pub mod doctor;
mod explain;
mod forget;
mod limits;
mod memory;
mod ports;
mod problem;
mod record;
mod request;
mod router;
pub mod routes;
mod service;
mod store;
mod tombstone;
mod touch;
mod warm;
mod watch;

pub use explain::{Explanation, explain};
pub use ports::{CallError, Ports, RedisReply, Reply, StoreError};
pub use problem::Problem;
pub use record::Record;
pub use router::{
    Context, Handler, MAX_BODY_LEN, Needs, Request, Response, Route, STARTUP_PATH, max_body_len,
    rejected, serve,
};
pub use service::{LoadError, Service};
