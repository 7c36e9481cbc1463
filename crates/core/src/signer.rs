//! The proof that an account signed a sign-in message, whatever kind of account it is.
//!
//! The account's own key can be checked here; a contract has to be asked, and only the chain knows which of the two an
//! account is. So a verification is one call, whose answer decides: an account with code is what its code says
//! (ERC-1271), never what a key says; one without code is its key. Wrapped signatures bring what makes the code
//! appear within the call: a factory (ERC-6492) or a delegation (ERC-8010).

use crate::abi::erc1271::{Check, Verdict};
use crate::abi::{multicall3, signature_validator};
use crate::address::Address;
use crate::chain::ChainId;
use crate::eip4361::Message;
use crate::erc8010::Authorization;
use crate::jsonrpc::Call;
use crate::signature::{RecoverableSignature, SignatureError};
use crate::wallet::{Control, Wallet};
use crate::{eip191, eip712, erc6492, erc8010};

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

/// Proof that the account named in a message signed exactly that message. Only [`Verification::conclude`] makes one.
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
    /// What the signature brings along does not delegate the account it speaks for.
    #[error("the delegation in the signature is not valid for this address on this chain")]
    NotDelegated,
}

/// The answer is not one that can be believed: not the validator's, or another chain's. Another provider may do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not the signature check's on this chain")]
pub struct Unbelievable;

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
        initialisation: Option<(Address, Vec<u8>)>,
    },
}

impl Verification {
    /// Reads `signature` over `message`; its wrapper is looked for first, as ERC-6492 demands.
    ///
    /// # Errors
    /// [`VerifyError`], where no answer of a chain could make it valid.
    pub fn new(
        message: &Message<'_>,
        scheme: Scheme,
        signature: Vec<u8>,
    ) -> Result<Self, VerifyError> {
        let hash = match scheme {
            Scheme::Eip191 => eip191::hash_message(message.text().as_bytes()),
            Scheme::Eip712 => eip712::hash_message(message),
        };
        let (form, signature) = if let Some(wrapped) = erc8010::unwrap(&signature)? {
            let signed_here = wrapped.authorization.is_for(message.chain)
                && wrapped.authorization.authority()? == message.address;
            if !signed_here {
                return Err(VerifyError::NotDelegated);
            }
            let form = Form::Delegated {
                authorization: wrapped.authorization,
                initialisation: wrapped.initialisation,
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
                if signer == message.address {
                    Ok(())
                } else {
                    Err(VerifyError::Mismatch)
                }
            });
        Ok(Self {
            account: message.address,
            chain: message.chain,
            hash,
            form,
            signature,
            key,
        })
    }

    /// The one call that decides, on a chain whose Multicall3 is at `multicall3`; none, where the signature brings a
    /// delegation and the chain has no Multicall3 to call.
    pub fn call(&self, multicall3: Option<Address>) -> Option<Call> {
        let check = Check {
            account: self.account,
            hash: self.hash,
            signature: &self.signature,
        };
        Some(match &self.form {
            Form::Plain => Call::deployless(signature_validator::calldata(&check, None)),
            Form::Counterfactual {
                factory,
                factory_calldata,
            } => Call::deployless(signature_validator::calldata(
                &check,
                Some((*factory, factory_calldata)),
            )),
            // A transaction that carries authorizations needs a destination (EIP-7702), so here the call goes to a contract.
            Form::Delegated {
                authorization,
                initialisation,
            } => {
                let multicall3 = multicall3?;
                let data = multicall3::check_signature(multicall3, &check, initialisation.as_ref());
                Call::to(multicall3, data).authorized_by(authorization)
            }
        })
    }

    /// Whose signature it is, by what the call answered.
    ///
    /// # Errors
    /// [`Unbelievable`] where the answer says nothing; inside, [`VerifyError`] where it says that nobody is signed in.
    pub fn conclude(
        &self,
        returned: &[u8],
    ) -> Result<Result<VerifiedSigner, VerifyError>, Unbelievable> {
        let (chain, verdict) = match self.form {
            Form::Plain | Form::Counterfactual { .. } => signature_validator::decode(returned),
            Form::Delegated { .. } => multicall3::decode_signature_check(returned),
        }
        .map_err(|_| Unbelievable)?;
        if chain != self.chain {
            return Err(Unbelievable);
        }
        Ok(self.judge(verdict).map(|control| VerifiedSigner {
            wallet: Wallet {
                address: self.account,
                control,
            },
            chain,
        }))
    }

    fn judge(&self, verdict: Verdict) -> Result<Control, VerifyError> {
        match (verdict, &self.form) {
            (Verdict::NoCode, Form::Plain) => self.key.map(|()| Control::Key),
            (Verdict::NoCode, Form::Counterfactual { .. }) => Err(VerifyError::NotDeployed),
            (Verdict::NoCode, Form::Delegated { .. }) => Err(VerifyError::NotDelegated),
            (Verdict::Refused, _) => Err(VerifyError::Refused),
            // The key of a delegated account is its owner on every chain; a contract speaks for its own only.
            (Verdict::Accepted, _) if self.key.is_ok() => Ok(Control::Key),
            (Verdict::Accepted, _) => Ok(Control::Contract(self.chain)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::U256;
    use k256::ecdsa::SigningKey;

    const MULTICALL3: Address = multicall3::CANONICAL;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_slice(&[byte; 32]).unwrap()
    }

    fn address(key: &SigningKey) -> Address {
        let point = key.verifying_key().to_sec1_point(false);
        Address::from_alloy(alloy_primitives::Address::from_raw_public_key(
            &point.as_bytes()[1..],
        ))
    }

    fn sign(key: &SigningKey, hash: &[u8; 32]) -> Vec<u8> {
        let (signature, recovery) = key.sign_prehash_recoverable(hash);
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + recovery.to_byte());
        bytes
    }

    fn text(account: Address) -> String {
        format!(
            "gate.example wants you to sign in with your Ethereum account:\n{account}\n\n\nURI: https://gate.example\nVersion: 1\nChain ID: 1\nNonce: a1b2c3d4e5f60718\nIssued At: 2026-01-02T03:04:05.000Z"
        )
    }

    /// What the validator answers on chain 1 or another.
    fn answer(chain: u64, verdict: u64) -> Vec<u8> {
        [chain, 100, verdict]
            .map(|word| U256::from(word).to_be_bytes::<32>())
            .concat()
    }

    #[test]
    fn without_code_the_key_decides_and_with_code_the_code() {
        let (mine, other) = (key(1), key(2));
        let text = text(address(&mine));
        let message = Message::parse(&text).unwrap();
        let hash = eip191::hash_message(text.as_bytes());
        let here = message.chain;
        let conclude = |signature: Vec<u8>, verdict| {
            Verification::new(&message, Scheme::Eip191, signature)
                .unwrap()
                .conclude(&answer(1, verdict))
                .unwrap()
                .map(|signer| signer.wallet().control)
        };
        let (by_key, by_other) = (sign(&mine, &hash), sign(&other, &hash));
        let by_rule = vec![1, 2, 3];
        for (signature, verdict, expected) in [
            (&by_key, 0, Ok(Control::Key)),
            (&by_other, 0, Err(VerifyError::Mismatch)),
            (
                &by_rule,
                0,
                Err(VerifyError::Signature(SignatureError::Length)),
            ),
            (&by_key, 1, Ok(Control::Key)),
            (&by_other, 1, Ok(Control::Contract(here))),
            (&by_rule, 1, Ok(Control::Contract(here))),
            // The key alone does not speak for an account with code.
            (&by_key, 2, Err(VerifyError::Refused)),
            (&by_other, 2, Err(VerifyError::Refused)),
        ] {
            assert_eq!(conclude(signature.clone(), verdict), expected);
        }
    }

    #[test]
    fn only_the_chains_own_answer_is_believed() {
        let mine = key(1);
        let text = text(address(&mine));
        let message = Message::parse(&text).unwrap();
        let signature = sign(&mine, &eip191::hash_message(text.as_bytes()));
        let verification = Verification::new(&message, Scheme::Eip191, signature).unwrap();
        for returned in [
            answer(2, 0),
            answer(2, 1),
            answer(1, 3),
            answer(0, 0),
            vec![],
            answer(1, 1)[..95].to_vec(),
            erc1271_word(),
        ] {
            assert_eq!(verification.conclude(&returned), Err(Unbelievable));
        }
    }

    fn erc1271_word() -> Vec<u8> {
        crate::abi::erc1271::ACCEPTED.to_vec()
    }

    #[test]
    fn any_change_of_the_message_is_another_message() {
        let mine = key(1);
        let text = text(address(&mine));
        for scheme in [Scheme::Eip191, Scheme::Eip712] {
            let message = Message::parse(&text).unwrap();
            let hash = match scheme {
                Scheme::Eip191 => eip191::hash_message(text.as_bytes()),
                Scheme::Eip712 => eip712::hash_message(&message),
            };
            let signature = sign(&mine, &hash);
            let check = |text: &str, scheme| {
                let message = Message::parse(text).unwrap();
                Verification::new(&message, scheme, signature.clone())
                    .unwrap()
                    .judge(Verdict::NoCode)
            };
            assert_eq!(check(&text, scheme), Ok(Control::Key));
            for (from, to) in [
                ("gate.example wants", "gate.examples wants"),
                ("gate.example wants", "https://gate.example wants"),
                ("\n\n\nURI", "\n\nOpen it.\n\nURI"),
                ("//gate.example", "//gate.example/"),
                ("Chain ID: 1", "Chain ID: 2"),
                ("a1b2c3d4e5f60718", "a1b2c3d4e5f60719"),
                ("04:05.000Z", "04:05.001Z"),
                (
                    "05.000Z",
                    "05.000Z\nExpiration Time: 2027-01-02T03:04:05.000Z",
                ),
                ("05.000Z", "05.000Z\nNot Before: 2026-01-02T03:04:05.000Z"),
                ("05.000Z", "05.000Z\nRequest ID: 1"),
                ("05.000Z", "05.000Z\nResources:\n- https://gate.example/a"),
            ] {
                let changed = text.replacen(from, to, 1);
                assert_ne!(changed, text, "{from}");
                assert_eq!(check(&changed, scheme), Err(VerifyError::Mismatch), "{to}");
            }
            let other = if scheme == Scheme::Eip191 {
                Scheme::Eip712
            } else {
                Scheme::Eip191
            };
            assert_eq!(check(&text, other), Err(VerifyError::Mismatch));
        }
    }

    #[test]
    fn a_factory_has_to_deploy_the_account_it_is_brought_for() {
        let mine = key(1);
        let text = text(Address::from_bytes([9; 20]));
        let message = Message::parse(&text).unwrap();
        let wrapped = erc6492::Wrapped {
            factory: Address::from_bytes([5; 20]),
            factory_calldata: vec![1, 2, 3],
            signature: sign(&mine, &eip191::hash_message(text.as_bytes())),
        };
        let verification = Verification::new(&message, Scheme::Eip191, wrapped.to_bytes()).unwrap();
        let conclude = |verdict| verification.conclude(&answer(1, verdict)).unwrap();
        assert_eq!(conclude(0), Err(VerifyError::NotDeployed));
        assert_eq!(conclude(2), Err(VerifyError::Refused));
        assert_eq!(
            conclude(1).unwrap().wallet().control,
            Control::Contract(message.chain)
        );
        assert_ne!(
            verification.call(Some(MULTICALL3)),
            Verification::new(&message, Scheme::Eip191, wrapped.signature)
                .unwrap()
                .call(Some(MULTICALL3))
        );
    }
}
