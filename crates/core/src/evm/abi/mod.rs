//! Contract interfaces and the calls made to them, one file per standard.

pub mod delegate_registry;
pub mod erc1155;
pub mod erc1271;
pub mod erc165;
pub mod erc20;
pub mod erc4907;
pub mod erc6551;
pub mod erc721;
pub mod multicall3_check;
pub mod reader;
pub mod revert;
pub mod signature_validator;
pub mod view;

/// Bytes that a contract returned and that are no answer to the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the contract's answer is not ABI-encoded as its standard says")]
pub struct DecodeError;
