//! The shared store: what this service keeps in it, under which keys and for how long.

mod client;
mod expiry;
mod facts;
mod identity;
mod keys;
mod lists;
mod lookup;
mod probe;
mod retention;
mod sessions;
mod state;
mod tombstones;

pub(crate) use self::client::StoreClient;
pub(crate) use self::facts::{drop_fact, facts, invalidate, keep};
pub(crate) use self::identity::{nonce_scope, rate_key};
pub(crate) use self::keys::{PREFIX, chain_key};
pub(crate) use self::lookup::LookupError;
pub(crate) use self::probe::probe;
pub(crate) use self::retention::fact_ttl;
pub(crate) use self::sessions::{count_nonce, end, end_all, is_ended, is_spent, longest_lifetime};
pub(crate) use self::state::StoreState;
pub(crate) use self::tombstones::{Contract, write as write_tombstones};
