//! The routes, one function of the service per file.

pub mod access;
pub mod admin;
pub mod challenge;
pub mod content;
pub mod events;
pub mod gates;
pub mod health;
pub mod session;
pub mod site;

pub use gates as ownership;

use crate::ports::Ports;
use crate::router::Route;

/// Every route, for hosts that run a single component.
pub fn all<P: Ports>() -> Vec<Route<P>> {
    [
        challenge::routes(),
        session::routes(),
        access::routes(),
        content::routes(),
        gates::routes(),
        events::routes(),
        admin::routes(),
        health::routes(),
        site::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
