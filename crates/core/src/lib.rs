//! The pure core of Tokengate: it parses, verifies, encodes, decides and signs, and it does nothing else.
//!
//! Nothing here performs I/O, reads a clock, draws random bytes, spawns a task or names a platform: time and entropy
//! are arguments, calls to a chain or a store are values that an outer layer carries out. Every type that stands for
//! a proof ([`signer::VerifiedSigner`], [`gate::Granted`]) can only be made by the check it is named after.
#![forbid(unsafe_code)]

pub mod abi;
pub mod address;
pub mod admin;
pub mod block;
pub mod chain;
pub mod config;
mod decimal;
pub mod domain;
pub mod eip191;
pub mod eip4361;
pub mod eip712;
pub mod erc6492;
pub mod erc8010;
pub mod fact;
mod fingerprint;
pub mod gate;
pub mod jsonrpc;
pub mod keys;
pub mod leaf;
pub mod log_limits;
pub mod merkle;
pub mod network;
pub mod nonce;
pub mod pattern;
pub mod presign;
pub mod provider;
pub mod resource;
pub mod rfc3339;
pub mod sealed;
pub mod secret;
pub mod session;
pub mod signature;
pub mod signer;
pub mod tombstone;
pub mod transfer;
pub mod wallet;
pub mod watch;
pub mod webhook;

pub use address::Address;
pub use alloy_primitives::U256;
pub use chain::ChainId;
pub use fingerprint::fingerprint;
pub use jiff::Timestamp;
