//! The keys of what the shared store holds.

use tokengate_core::config::Config;
use tokengate_core::fact::FactKey;
use tokengate_core::nonce::PendingNonce;
use tokengate_core::session::{Epochs, Member, Session};
use tokengate_core::wallet::{Control, Wallet};
use tokengate_core::{Address, ChainId};

/// Before every key: stores are shared, and the number is the edition of the layout.
pub(crate) const PREFIX: &str = "tg1";

/// Where something of this name is kept of a chain itself, apart for each way in which it is read.
pub(crate) fn chain_key(config: &Config, name: &str, chain: ChainId) -> String {
    let space = config.chain_space(chain).unwrap_or("-");
    format!("{PREFIX}:{name}:{space}:{}", chain.id())
}

/// Where a fact is kept that so many providers agreed on, or more where the chain demands it: one that was read in any
/// other way than this configuration reads it has another key.
pub(super) fn fact_key(config: &Config, key: &FactKey, agreement: usize) -> String {
    // Gates are of configured chains and agreements.
    let space = config.fact_space(key.chain, agreement).unwrap_or("-");
    format!("{PREFIX}:fact:{space}:{}", key.store_key())
}

pub(super) fn nonce_key(nonce: &PendingNonce) -> String {
    format!("{PREFIX}:nonce:{}", nonce.id())
}

pub(super) fn ended_key(session: &Session) -> String {
    format!("{PREFIX}:revoked:{}", session.id())
}

/// By address and control: a contract on another chain at the same address is another wallet.
pub(super) fn epoch_key(wallet: Wallet) -> String {
    let control = match wallet.control {
        Control::Key => "key".to_owned(),
        Control::Contract(chain) => chain.id().to_string(),
    };
    format!("{}:{control}", old_epoch_key(wallet.address))
}

/// By address alone: of sessions whose tokens are of version 2.
pub(super) fn old_epoch_key(address: Address) -> String {
    format!("{PREFIX}:epoch:{}", address.to_lower_hex())
}

/// Where a later epoch ends `member` of a session, and the epoch that it has. The epochs that members of version 2 have
/// are by address.
pub(super) fn epoch_keys(session: &Session, member: &Member) -> Vec<(String, u64)> {
    let mut keys = vec![(epoch_key(member.wallet), member.epoch)];
    if session.epochs() == Epochs::ByAddress {
        keys.push((old_epoch_key(member.wallet.address), member.epoch));
    }
    keys
}

/// Where the epoch is set that ends all sessions of `wallet`. An address's key speaks for the address on every chain.
pub(super) fn epoch_keys_ended_with(wallet: Wallet, config: &Config) -> Vec<String> {
    let mut keys = vec![epoch_key(wallet)];
    if wallet.is_of_key() {
        keys.push(old_epoch_key(wallet.address));
        keys.extend(config.chains().map(|chain| {
            epoch_key(Wallet {
                control: Control::Contract(chain.id),
                ..wallet
            })
        }));
    }
    keys
}
