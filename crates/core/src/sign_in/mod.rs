//! Sign-in with Ethereum (EIP-4361): messages, nonces, verified signers, sessions and the keys that sign them.

pub mod admin_token;
pub mod domain;
pub mod keyring;
pub mod message;
pub mod nonce;
pub mod session;
pub mod verification;
pub mod wallet;
