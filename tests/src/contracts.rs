//! What gates can ask besides tokens and coins: rented tokens, token-bound accounts, stakes. Each contract lies at an
//! address that a configuration can name before the chain has started.

use alloy_primitives::{Address, U256, address};
use alloy_sol_types::sol;

use crate::chain::{Chain, own_contract};

/// Tokens with users beside their owners (ERC-4907).
pub const RENTABLE: Address = address!("0x0000000000000000000000000000000000490700");
/// An account that belongs to a token (ERC-6551).
pub const ACCOUNT: Address = address!("0x0000000000000000000000000000000000655100");
/// Stakes, tiers and switches.
pub const STAKING: Address = address!("0x0000000000000000000000000000000000571a00");

sol! {
    interface RentableToken {
        function setUser(uint256 tokenId, address user, uint64 expires) external;
    }
    interface TokenBoundAccount {
        function bind(uint256 chainId, address tokenContract, uint256 tokenId) external;
    }
    interface Staking {
        function set(address owner, uint256 amount, uint64 until, string tier) external;
        function setSwitches(bool open, bool paused) external;
    }
}

/// The contracts on a chain.
pub struct Contracts<'a> {
    chain: &'a Chain,
}

impl<'a> Contracts<'a> {
    /// Puts them there.
    pub async fn new(chain: &'a Chain) -> anyhow::Result<Self> {
        for (name, at) in [
            ("RentableToken", RENTABLE),
            ("TokenBoundAccount", ACCOUNT),
            ("Staking", STAKING),
        ] {
            chain.set_code(at, &own_contract(name, "runtime")?).await?;
        }
        Ok(Self { chain })
    }

    /// Lets `user` use a token until `expires`, in seconds since 1970.
    pub async fn rent(&self, token: u64, user: Address, expires: u64) -> anyhow::Result<()> {
        let call = RentableToken::setUserCall {
            tokenId: U256::from(token),
            user,
            expires,
        };
        self.chain.transact(RENTABLE, &call).await
    }

    /// Makes the account that of a token on the chain of this id.
    pub async fn bind(&self, chain: u64, contract: Address, token: u64) -> anyhow::Result<()> {
        let call = TokenBoundAccount::bindCall {
            chainId: U256::from(chain),
            tokenContract: contract,
            tokenId: U256::from(token),
        };
        self.chain.transact(ACCOUNT, &call).await
    }

    /// Sets an account's stake and its tier.
    pub async fn stake(&self, owner: Address, amount: u64, tier: &str) -> anyhow::Result<()> {
        let call = Staking::setCall {
            owner,
            amount: U256::from(amount),
            until: 1,
            tier: tier.to_owned(),
        };
        self.chain.transact(STAKING, &call).await
    }

    /// Opens the staking contract to everybody, and makes it revert when it is asked for stakes.
    pub async fn switch(&self, open: bool, paused: bool) -> anyhow::Result<()> {
        let call = Staking::setSwitchesCall { open, paused };
        self.chain.transact(STAKING, &call).await
    }
}
