//! The pure core of Tokengate: it parses, verifies, encodes, decides and signs, and it does nothing else.
//!
//! Nothing here performs I/O, reads a clock, draws random bytes, spawns a task or names a platform: time and entropy
//! are arguments, calls to a chain or a store are values that an outer layer carries out. Every type that stands for
//! a proof ([`signer::VerifiedSigner`], [`gate::Granted`]) can only be made by the check it is named after.
#![forbid(unsafe_code)]

pub mod config;
pub mod cost;
pub mod endpoint;
pub mod evm;
pub mod fact;
mod fingerprint;
pub mod gate;
pub mod leaf;
pub mod log_limits;
pub mod presign;
pub mod problem;
pub mod provider;
pub mod rate_count;
pub mod resource;
pub mod rfc3339;
pub mod sealed;
pub mod secret;
pub mod sign_in;
pub mod tombstone;
pub mod transfer;
pub mod watch;
pub mod webhook;

pub use alloy_primitives::U256;
pub use evm::address::Address;
pub use evm::chain_id::ChainId;
pub use fingerprint::{fingerprint, keyed_fingerprint};
pub use jiff::Timestamp;

// Paths of before the move.
pub(crate) use evm::decimal;
pub use evm::{
    abi, address, block, chain_id as chain, eip191, eip712, erc6492, erc8010, jsonrpc, merkle,
    network, signature,
};
pub use resource::pattern;
pub use sign_in::{
    admin_token as admin, domain, keyring as keys, message as eip4361, nonce, session,
    verification as signer, wallet,
};
