//! Who may speak for an account, and for how much of it.

use crate::merkle::Proof;
use crate::{Address, ChainId};

/// How an account was shown to be in the hands of whoever signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Control {
    /// By its own secp256k1 key: it is the same account on every chain.
    Key,
    /// By the contract at its address, on this chain. Another chain may have another contract, of somebody else, at
    /// the same address: there it proves nothing.
    Contract(ChainId),
}

/// An account that a session speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wallet {
    /// The account.
    pub address: Address,
    /// What was shown about it.
    pub control: Control,
}

impl Wallet {
    /// The account, held by its own key.
    pub const fn of_key(address: Address) -> Self {
        Self {
            address,
            control: Control::Key,
        }
    }

    /// Whether the account is held by its own key, so that it is the same one on every chain.
    pub fn is_of_key(&self) -> bool {
        self.control == Control::Key
    }

    /// Whether what the account has on `chain` is its signer's.
    pub fn counts_on(&self, chain: ChainId) -> bool {
        match self.control {
            Control::Key => true,
            Control::Contract(proven) => proven == chain,
        }
    }

    /// Whether this proof covers all that `other` does.
    pub fn covers(&self, other: &Self) -> bool {
        self.address == other.address
            && (self.control == Control::Key || self.control == other.control)
    }
}

/// Whose holdings a decision considers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holders {
    wallets: Vec<Wallet>,
    vault: Option<Address>,
    proof: Option<Proof>,
    is_named_only: bool,
}

impl Holders {
    /// The wallets of a session, and the vault that they claim to be delegates of, if any.
    pub fn new(wallets: impl IntoIterator<Item = Wallet>, vault: Option<Address>) -> Self {
        Self {
            wallets: wallets.into_iter().collect(),
            vault,
            proof: None,
            is_named_only: false,
        }
    }

    /// Wallets that somebody has named, and nobody has signed for: lists of addresses are not told of them.
    #[must_use]
    pub fn named_only(self) -> Self {
        Self {
            is_named_only: true,
            ..self
        }
    }

    /// Whether nobody has signed for the wallets.
    pub const fn is_named_only(&self) -> bool {
        self.is_named_only
    }

    /// The same wallets without their vault.
    #[must_use]
    pub fn without_vault(&self) -> Self {
        Self {
            vault: None,
            ..self.clone()
        }
    }

    /// With a proof that one of the wallets is on a list.
    pub fn with_proof(self, proof: Option<Proof>) -> Self {
        Self { proof, ..self }
    }

    /// The wallets.
    pub fn wallets(&self) -> &[Wallet] {
        &self.wallets
    }

    /// The account that may have delegated to one of them. Only a registry on chain can say so.
    pub const fn vault(&self) -> Option<Address> {
        self.vault
    }

    /// What came along to prove that one of them is on a list. Anybody can write anything into it.
    pub const fn proof(&self) -> Option<&Proof> {
        self.proof.as_ref()
    }
}
