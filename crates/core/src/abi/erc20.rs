//! ERC-20 (EIP-20): fungible tokens. `balanceOf` has the same form as ERC-721's and counts smallest units.

pub use super::erc721::{balance_of, decode_balance};
