//! The proof that an account signed a sign-in message, whatever kind of account it is.
//!
//! A key that recovers to the account's address is proof by itself, on every chain and without asking one: only another
//! contract at that address could contradict it, and for a contract's address no key is known
//! (docs/adr/0001-what-a-recovered-key-proves.md). Everything else is a contract's to judge (ERC-1271), so a chain is
//! asked. Wrapped signatures bring what makes the contract's code appear within the call: a factory (ERC-6492) or a
//! delegation (ERC-8010).

use crate::abi::erc1271::{Check, Verdict};
use crate::abi::signature_validator::{self, Preparation};
use crate::abi::{DecodeError, multicall3_check};
use crate::address::Address;
use crate::block::ExecutionBlock;
use crate::chain::ChainId;
use crate::eip4361::Message;
use crate::erc8010::Authorization;
use crate::jsonrpc::Call;
use crate::signature::{RecoverableSignature, SignatureError};
use crate::wallet::{Control, Wallet};
use crate::{eip191, eip712, erc6492, erc8010};

/// The gas of one check. A strangers' contract decides how much is used, so it is bounded here and not left to each node:
/// nodes cap `eth_call` at 50,000,000 by default (geth, Erigon, reth), and some refuse more than their cap. What is
/// honest needs a fraction of it, also where signatures of passkeys are verified in Solidity (about 400,000) and where a
/// chain charges for the bytes of a call (Arbitrum).
pub const GAS: u64 = 30_000_000;

/// How the message was put to the wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `personal_sign`.
    #[default]
    Eip191,
    /// `eth_signTypedData_v4`.
    Eip712,
}

/// Proof that the account named in a message signed exactly that message. Only [`Verification::by_key`] and
/// [`Verification::conclude`] make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedSigner {
    wallet: Wallet,
    chain: ChainId,
}

impl VerifiedSigner {
    /// The account that signed, and what that shows.
    pub const fn wallet(&self) -> Wallet {
        self.wallet
    }

    /// The chain that the message names.
    pub const fn chain(&self) -> ChainId {
        self.chain
    }
}

/// Why a message is not shown to be signed by the account it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No contract of the account would ever be asked about it, and it is no signature of a key.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It was made by another key, or over another text.
    #[error("the signature was not made over this message by the address in it")]
    Mismatch,
    /// The account is a contract, and it does not take the signature for its own.
    #[error("the contract at the address does not accept the signature for this message")]
    Refused,
    /// What the signature brings along does not deploy the account it speaks for.
    #[error("the factory in the signature does not deploy an account at this address")]
    NotDeployed,
    /// A factory that the configuration does not allow, or a function of it whose effects the account's address does not
    /// commit to.
    #[error(
        "the factory {0} in the signature, or its function, is not one of this chain's `factories`; deploy the account and sign in again"
    )]
    UnlistedFactory(Address),
    /// What the signature brings along does not delegate the account it speaks for.
    #[error(
        "the delegation in the signature is not valid for this address on this chain with its present nonce"
    )]
    NotDelegated,
    /// No provider of the chain can be asked.
    #[error(transparent)]
    Uncheckable(#[from] Uncheckable),
}

/// What no provider of a chain can run, however often it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncheckable {
    /// The check of a contract account.
    #[error(
        "the signature is not by the key of the address, and this chain's providers cannot ask a contract about it; sign in with a key, or on another chain"
    )]
    Contract,
    /// The check of an account that is not deployed yet.
    #[error(
        "this chain's providers cannot check an account before it is deployed; deploy it and sign in again"
    )]
    Counterfactual,
    /// The check of a delegation that is not sent yet.
    #[error(
        "this chain's providers cannot check a delegation before it is sent; send it, or sign in with the account's own key"
    )]
    Delegation,
}

/// The answer is none to the check. Another way to ask, or another provider, may do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbelievable {
    /// It is not the validator's: the node does not run this form of the check.
    #[error("the answer is not the signature check's")]
    Form,
    /// It is another chain's.
    #[error("the answer to the signature check is another chain's")]
    WrongChain,
}

/// A signature over a message, read and not yet believed.
#[derive(Clone, Debug)]
pub struct Verification {
    account: Address,
    chain: ChainId,
    hash: [u8; 32],
    form: Form,
    signature: Vec<u8>,
    key: Result<(), VerifyError>,
}

/// What a signature brings along.
#[derive(Clone, Debug)]
enum Form {
    Plain,
    Counterfactual {
        factory: Address,
        factory_calldata: Vec<u8>,
    },
    Delegated {
        authorization: Authorization,
        /// A call of the account itself.
        initialisation: Option<Vec<u8>>,
    },
}

/// A way to have a node run the check. The first that the form of the signature allows is tried first; not every node
/// runs every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Creation code, in a call without a destination.
    Creation,
    /// The same code at a destination of ours, by a state override.
    Override,
    /// Multicall3, where it is deployed at its canonical address.
    Multicall3,
}

/// The account in the state that a check is made in, without what the check brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// Its nonce (`eth_getTransactionCount`).
    pub nonce: u64,
    /// Whether it has code (`eth_getCode`), a delegation included.
    pub has_code: bool,
}

/// What an answer says, not to be used before the block is believed that it was given at.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    block: ExecutionBlock,
    outcome: Result<VerifiedSigner, VerifyError>,
}

impl Evidence {
    /// The block that the check was run at, on the chain that the message names.
    pub const fn block(&self) -> &ExecutionBlock {
        &self.block
    }

    /// Whose signature it is, for a caller that believes the block.
    ///
    /// # Errors
    /// [`VerifyError`], where it is not the account's.
    pub const fn into_outcome(self) -> Result<VerifiedSigner, VerifyError> {
        self.outcome
    }
}

/// A check in this way.
fn call_in(way: Way, check: &Check<'_>, preparation: Preparation<'_>) -> Call {
    let call = match way {
        Way::Creation => Call::deployless(signature_validator::code(check, preparation)),
        Way::Override => Call::with_code(
            signature_validator::ADDRESS,
            signature_validator::code(check, preparation),
            Vec::new(),
        ),
        Way::Multicall3 => Call::to(multicall3_check::ADDRESS, multicall3_check::calldata(check)),
    };
    call.with_gas(GAS)
}

fn decode_in(way: Way, returned: &[u8]) -> Result<(ChainId, ExecutionBlock, Verdict), DecodeError> {
    match way {
        Way::Creation | Way::Override => signature_validator::decode(returned),
        Way::Multicall3 => multicall3_check::decode(returned),
    }
}

/// A check that finds out whether a provider runs checks in a way: of an account without code.
pub fn probe(way: Way) -> Call {
    let check = Check {
        account: Address::from_bytes(*b"tokengate no account"),
        hash: [0; 32],
        signature: &[],
    };
    call_in(way, &check, Preparation::None)
}

/// Whether this is what a provider of `chain` answers to [`probe`] if it runs checks in that way.
pub fn runs_checks(way: Way, chain: ChainId, returned: &[u8]) -> bool {
    matches!(decode_in(way, returned), Ok((served, _, Verdict::NoCode)) if served == chain)
}

impl Verification {
    /// Reads `signature` over `message`; its wrapper is looked for first, as ERC-6492 demands. `factories` may be called
    /// to deploy the account; what another one would do is not run.
    ///
    /// # Errors
    /// [`VerifyError`], where no answer of a chain could make it valid.
    pub fn new(
        message: &Message<'_>,
        scheme: Scheme,
        signature: Vec<u8>,
        factories: &[Address],
    ) -> Result<Self, VerifyError> {
        let hash = match scheme {
            Scheme::Eip191 => eip191::hash_message(message.text().as_bytes()),
            Scheme::Eip712 => eip712::hash_message(message),
        };
        let account = message.address;
        let (form, signature) = if let Some(wrapped) = erc8010::unwrap(&signature)? {
            // A call of anything but the account could change what its answer depends on.
            let initialisation = wrapped.initialisation.filter(|(to, _)| *to == account);
            let form = Form::Delegated {
                authorization: wrapped.authorization,
                initialisation: initialisation.map(|(_, data)| data),
            };
            (form, wrapped.signature)
        } else if let Some(wrapped) = erc6492::unwrap(&signature)? {
            let form = Form::Counterfactual {
                factory: wrapped.factory,
                factory_calldata: wrapped.factory_calldata,
            };
            (form, wrapped.signature)
        } else {
            (Form::Plain, signature)
        };
        let key = RecoverableSignature::from_bytes(&signature)
            .and_then(|signature| signature.recover(&hash))
            .map_err(VerifyError::Signature)
            .and_then(|signer| {
                if signer == account {
                    Ok(())
                } else {
                    Err(VerifyError::Mismatch)
                }
            });
        // What a key proves, nothing that the signature brings along can add to or take from.
        if key.is_err() {
            match &form {
                Form::Plain => {}
                Form::Counterfactual {
                    factory,
                    factory_calldata,
                } => {
                    if !erc6492::may_call(*factory, factory_calldata, factories) {
                        return Err(VerifyError::UnlistedFactory(*factory));
                    }
                }
                Form::Delegated { authorization, .. } => {
                    let signed_here = authorization.is_for(message.chain)
                        && authorization.authority()? == account;
                    if !signed_here {
                        return Err(VerifyError::NotDelegated);
                    }
                }
            }
        }
        Ok(Self {
            account,
            chain: message.chain,
            hash,
            form,
            signature,
            key,
        })
    }

    /// The account's own key made the signature: proof without asking a chain.
    pub fn by_key(&self) -> Option<VerifiedSigner> {
        self.key.is_ok().then_some(VerifiedSigner {
            wallet: Wallet::of_key(self.account),
            chain: self.chain,
        })
    }

    /// The ways to ask about it, the best first.
    pub const fn ways(&self) -> &'static [Way] {
        match self.form {
            Form::Plain => &[Way::Creation, Way::Override, Way::Multicall3],
            // Multicall3 would take the factory's word for nothing.
            Form::Counterfactual { .. } => &[Way::Creation, Way::Override],
            // A call that carries authorizations needs a destination (EIP-7702).
            Form::Delegated { .. } => &[Way::Override, Way::Multicall3],
        }
    }

    /// The call that asks.
    pub fn call(&self, way: Way) -> Call {
        let check = Check {
            account: self.account,
            hash: self.hash,
            signature: &self.signature,
        };
        let preparation = match &self.form {
            Form::Plain => Preparation::None,
            Form::Counterfactual {
                factory,
                factory_calldata,
            } => Preparation::Factory(*factory, factory_calldata),
            Form::Delegated { initialisation, .. } => initialisation
                .as_deref()
                .map_or(Preparation::None, Preparation::Initialisation),
        };
        let call = call_in(way, &check, preparation);
        match &self.form {
            Form::Delegated { authorization, .. } => call.authorized_by(authorization),
            Form::Plain | Form::Counterfactual { .. } => call,
        }
    }

    /// The account.
    pub const fn account(&self) -> Address {
        self.account
    }

    /// Whether the account's state has to be read beside the call: nodes are not trusted to skip a delegation whose nonce
    /// has passed.
    pub const fn needs_state(&self) -> bool {
        matches!(self.form, Form::Delegated { .. })
    }

    /// The same signature where its delegation was sent meanwhile, or another one: what the account's code says now.
    #[must_use]
    pub fn as_sent(&self, state: &AccountState) -> Option<Self> {
        match &self.form {
            Form::Delegated { authorization, .. }
                if state.has_code && state.nonce != authorization.nonce =>
            {
                Some(Self {
                    form: Form::Plain,
                    ..self.clone()
                })
            }
            _ => None,
        }
    }

    /// Why nobody is signed in where no provider runs the check in any way.
    pub const fn uncheckable(&self) -> VerifyError {
        VerifyError::Uncheckable(match self.form {
            Form::Plain => Uncheckable::Contract,
            Form::Counterfactual { .. } => Uncheckable::Counterfactual,
            Form::Delegated { .. } => Uncheckable::Delegation,
        })
    }

    /// Whose signature it is, by what the call answered that asked in this way, and by the account's state where that is
    /// needed.
    ///
    /// # Errors
    /// [`Unbelievable`] where the answer says nothing.
    pub fn conclude(
        &self,
        way: Way,
        returned: &[u8],
        state: Option<&AccountState>,
    ) -> Result<Evidence, Unbelievable> {
        let (chain, block, verdict) = decode_in(way, returned).map_err(|_| Unbelievable::Form)?;
        if chain != self.chain {
            return Err(Unbelievable::WrongChain);
        }
        let outcome = self.judge(verdict, state).map(|()| VerifiedSigner {
            wallet: Wallet {
                address: self.account,
                control: Control::Contract(chain),
            },
            chain,
        });
        Ok(Evidence { block, outcome })
    }

    /// That the account's contract speaks for it.
    fn judge(&self, verdict: Verdict, state: Option<&AccountState>) -> Result<(), VerifyError> {
        match &self.form {
            Form::Plain => match verdict {
                // Without a contract there is only the key.
                Verdict::NoCode => Err(self.key.err().unwrap_or(VerifyError::Refused)),
                Verdict::Accepted => Ok(()),
                Verdict::Refused | Verdict::Initialised => Err(VerifyError::Refused),
            },
            Form::Counterfactual { .. } => match verdict {
                Verdict::NoCode => Err(VerifyError::NotDeployed),
                Verdict::Accepted => Ok(()),
                Verdict::Refused | Verdict::Initialised => Err(VerifyError::Refused),
            },
            Form::Delegated {
                authorization,
                initialisation,
            } => {
                let state = state.filter(|state| state.nonce == authorization.nonce);
                let Some(state) = state else {
                    return Err(VerifyError::NotDelegated);
                };
                match verdict {
                    Verdict::NoCode => Err(VerifyError::NotDelegated),
                    Verdict::Accepted => Ok(()),
                    // An account that has code already was initialised as its key wanted it, or has still to be.
                    Verdict::Initialised if !state.has_code && initialisation.is_some() => Ok(()),
                    Verdict::Refused | Verdict::Initialised => Err(VerifyError::Refused),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
