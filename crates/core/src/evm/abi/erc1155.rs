//! ERC-1155 (EIP-1155): many token kinds in one contract.

use alloy_sol_types::{SolCall, sol};

use super::DecodeError;
use crate::{Address, U256};

sol! {
    function balanceOf(address account, uint256 id) external view returns (uint256);
    function balanceOfBatch(address[] accounts, uint256[] ids) external view returns (uint256[]);
}

/// Calldata of `balanceOf(account, id)`.
pub fn balance_of(account: Address, id: U256) -> Vec<u8> {
    balanceOfCall {
        account: account.into_alloy(),
        id,
    }
    .abi_encode()
}

/// The balance in the answer to [`balance_of`].
///
/// # Errors
/// [`DecodeError`], also for the empty answer of an address without code.
pub fn decode_balance(returned: &[u8]) -> Result<U256, DecodeError> {
    balanceOfCall::abi_decode_returns_validate(returned).map_err(|_| DecodeError)
}

/// Calldata of `balanceOfBatch`, asking one account for every id.
pub fn balance_of_batch(account: Address, ids: &[U256]) -> Vec<u8> {
    balanceOfBatchCall {
        accounts: vec![account.into_alloy(); ids.len()],
        ids: ids.to_vec(),
    }
    .abi_encode()
}

/// The balances in the answer to [`balance_of_batch`], one for each of `count` ids.
///
/// # Errors
/// [`DecodeError`], also for another number of balances than was asked for.
pub fn decode_balances(returned: &[u8], count: usize) -> Result<Vec<U256>, DecodeError> {
    let balances =
        balanceOfBatchCall::abi_decode_returns_validate(returned).map_err(|_| DecodeError)?;
    if balances.len() == count {
        Ok(balances)
    } else {
        Err(DecodeError)
    }
}
