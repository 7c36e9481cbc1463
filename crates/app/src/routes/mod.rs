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

use crate::ports::Ports;
use crate::route::Route;
use crate::state::All;

/// Every route, for hosts that run a single component.
pub fn all<P: Ports>() -> Vec<Route<P, All>> {
    fn of<P: Ports, S: 'static>(
        routes: Vec<Route<P, S>>,
        part: fn(&All) -> S,
    ) -> Vec<Route<P, All>> {
        routes.into_iter().map(|route| route.within(part)).collect()
    }
    [
        of(challenge::routes(), All::challenge),
        of(session::routes(), All::sign_in),
        of(access::routes(), All::access),
        of(content::routes(), All::access),
        of(gates::routes(), All::chains),
        of(events::routes(), All::events),
        of(admin::routes(), All::admin),
        of(health::routes(), All::chains),
        of(site::routes(), All::site),
    ]
    .into_iter()
    .flatten()
    .collect()
}
