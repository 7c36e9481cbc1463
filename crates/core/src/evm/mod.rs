//! What Ethereum and its proposals define: addresses, blocks, the ABI, JSON-RPC, signatures and Merkle proofs.

pub mod abi;
pub mod address;
pub mod block;
pub mod chain_id;
pub(crate) mod decimal;
pub mod eip191;
pub mod eip712;
pub mod erc6492;
pub mod erc8010;
pub mod jsonrpc;
pub mod merkle;
pub mod network;
pub mod signature;
