//! What a decision costs the chains that it reads.

use crate::fact::{FactKey, Read};

/// How many facts `keys` stand for. A read of several token kinds is as many.
pub fn of<'a>(keys: impl IntoIterator<Item = &'a FactKey>) -> usize {
    let weights = keys.into_iter().map(|key| match &key.read {
        Read::Erc1155Balances { ids, .. } => ids.len(),
        Read::Erc721Balance { .. }
        | Read::Erc721Owner { .. }
        | Read::Erc1155Balance { .. }
        | Read::Erc20Balance { .. }
        | Read::NativeBalance { .. }
        | Read::Erc4907User { .. }
        | Read::AccountOwner { .. }
        | Read::View { .. }
        | Read::Delegation { .. } => 1,
    });
    weights.fold(0, usize::saturating_add)
}
