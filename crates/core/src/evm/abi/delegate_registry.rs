//! The delegate registry of delegate.xyz, version 2: which account another one has named to act for it, and for what.

use alloy_sol_types::{SolCall, sol};

use super::DecodeError;
use crate::{Address, U256};

sol! {
    function checkDelegateForAll(address to, address from, bytes32 rights) external view returns (bool);
    function checkDelegateForContract(address to, address from, address contract_, bytes32 rights) external view returns (bool);
    function checkDelegateForERC721(address to, address from, address contract_, uint256 tokenId, bytes32 rights) external view returns (bool);
    function checkDelegateForERC20(address to, address from, address contract_, bytes32 rights) external view returns (uint256);
    function checkDelegateForERC1155(address to, address from, address contract_, uint256 tokenId, bytes32 rights) external view returns (uint256);
}

/// The address at which the registry is deployed on the chains that have it.
pub const CANONICAL: Address = Address::from_bytes([
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x44, 0x7e, 0x69, 0x65, 0x1d, 0x84, 0x1b, 0xd8, 0xd1,
    0x04, 0xbe, 0xd4, 0x93,
]);

/// What a delegation has to cover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything the vault has.
    All,
    /// All tokens of one contract.
    Contract(Address),
    /// One ERC-721 token.
    Erc721(Address, U256),
    /// An amount of an ERC-20 token.
    Erc20(Address),
    /// An amount of one ERC-1155 token kind.
    Erc1155(Address, U256),
}

/// The question whether `to` may act for `from`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delegation {
    /// The delegate.
    pub to: Address,
    /// The vault.
    pub from: Address,
    /// For what.
    pub scope: Scope,
    /// With which rights, or with all of them; zero asks for all.
    pub rights: [u8; 32],
}

impl Delegation {
    /// Calldata of the check. A wider delegation answers for a narrower one.
    pub fn calldata(&self) -> Vec<u8> {
        let (to, from, rights) = (
            self.to.into_alloy(),
            self.from.into_alloy(),
            self.rights.into(),
        );
        match &self.scope {
            Scope::All => checkDelegateForAllCall { to, from, rights }.abi_encode(),
            Scope::Contract(contract) => checkDelegateForContractCall {
                to,
                from,
                contract_: contract.into_alloy(),
                rights,
            }
            .abi_encode(),
            Scope::Erc721(contract, id) => checkDelegateForERC721Call {
                to,
                from,
                contract_: contract.into_alloy(),
                tokenId: *id,
                rights,
            }
            .abi_encode(),
            Scope::Erc20(contract) => checkDelegateForERC20Call {
                to,
                from,
                contract_: contract.into_alloy(),
                rights,
            }
            .abi_encode(),
            Scope::Erc1155(contract, id) => checkDelegateForERC1155Call {
                to,
                from,
                contract_: contract.into_alloy(),
                tokenId: *id,
                rights,
            }
            .abi_encode(),
        }
    }

    /// How much is delegated: of the whole, everything or nothing; of fungible tokens, so many.
    ///
    /// # Errors
    /// [`DecodeError`], also for the empty answer of a chain without the registry.
    pub fn decode(&self, returned: &[u8]) -> Result<U256, DecodeError> {
        let whole = |yes: bool| if yes { U256::MAX } else { U256::ZERO };
        match self.scope {
            Scope::All | Scope::Contract(_) | Scope::Erc721(..) => {
                checkDelegateForAllCall::abi_decode_returns_validate(returned).map(whole)
            }
            Scope::Erc20(_) | Scope::Erc1155(..) => {
                checkDelegateForERC20Call::abi_decode_returns_validate(returned)
            }
        }
        .map_err(|_| DecodeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_address_is_the_published_one() {
        assert_eq!(
            CANONICAL.to_string(),
            "0x00000000000000447e69651d841bD8D104Bed493"
        );
    }
}
