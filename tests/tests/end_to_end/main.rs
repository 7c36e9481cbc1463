//! Tokengate from outside: the shipped components and manifest in the shipped host, over real sockets, against a real
//! chain and a store that checks signatures.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON values are indexed by name; a test that indexes anything else past its end fails, as it should"
)]

mod access;
mod accounts;
mod configuration;
mod content;
mod demo;
mod events;
mod faults;
mod gates;
mod input;
mod javascript;
mod logs;
mod manifest;
mod operator;
mod parts;
mod presigned;
mod providers;
mod reader;
mod requirements;
mod sessions;
mod shared_cache;
mod sign_in;
mod signers;
mod site;
mod tiers;
mod warm;
mod watch;
