//! Leaves: conditions on one contract or one balance, and who may meet them.

use std::fmt;

use serde_json::{Value as Json, json};

use crate::abi::delegate_registry::{Delegation, Scope};
use crate::fact::{FactKey, Read, Value, View};
use crate::gate::Truth;
use crate::wallet::Holders;
use crate::{Address, ChainId, U256};

/// An amount that must be reached, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold(U256);

impl Threshold {
    /// The threshold, unless it is zero: everybody reaches zero.
    pub fn new(amount: U256) -> Option<Self> {
        if amount.is_zero() {
            None
        } else {
            Some(Self(amount))
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A condition on one contract or one balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The chain it is read on.
    pub chain: ChainId,
    /// How much is needed.
    pub at_least: Threshold,
    /// What is counted.
    pub holding: Holding,
}

/// What a leaf counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Tokens of an ERC-721 contract; with token ids, only those tokens.
    Erc721 {
        /// The token contract.
        contract: Address,
        /// Only these tokens count; empty: all do.
        token_ids: Vec<U256>,
    },
    /// The sum of the balances of ERC-1155 ids.
    Erc1155 {
        /// The token contract.
        contract: Address,
        /// The token kinds, at least one.
        token_ids: Vec<U256>,
    },
    /// Smallest units of an ERC-20 token.
    Erc20 {
        /// The token contract.
        contract: Address,
    },
    /// Wei of the chain's own currency.
    Native,
}

/// Which delegations a gate takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegates {
    /// The delegate registry.
    pub registry: Address,
    /// The rights that have to be delegated, or all; zero asks for all.
    pub rights: [u8; 32],
}

impl Delegates {
    /// As JSON.
    pub fn describe(&self) -> Json {
        json!({
            "registry": self.registry.to_string(),
            "rights": format!("0x{}", hex::encode(self.rights)),
        })
    }
}

/// Who is judged, and whether delegations count.
pub(crate) struct Subject<'a> {
    pub(crate) holders: &'a Holders,
    pub(crate) delegation: Option<&'a Delegates>,
}

/// One way to meet a leaf: by what `owner` has, as far as it is delegated to `delegate`, if it is not asked for itself.
struct Claim<'a> {
    owner: Address,
    delegate: Option<(Address, &'a Delegates)>,
}

/// A part of what is counted, and the read that says how much of it is delegated.
struct Portion {
    held: FactKey,
    delegated: Option<FactKey>,
}

impl Portion {
    /// How much of it counts, if the facts tell.
    fn value(&self, owner: Address, facts: &View<'_>) -> Option<U256> {
        let held = facts.fact(&self.held).map(|fact| match fact.value {
            Value::Amount(amount) | Value::Amounts(amount) => amount,
            Value::Owner(other) => U256::from(u8::from(other == owner)),
            Value::Nobody => U256::ZERO,
        });
        let Some(key) = &self.delegated else {
            return held;
        };
        let delegated = facts.fact(key).map(|fact| match fact.value {
            Value::Amount(amount) => amount,
            // No answer of a registry.
            Value::Amounts(_) | Value::Owner(_) | Value::Nobody => U256::ZERO,
        });
        match (held, delegated) {
            (Some(held), Some(delegated)) => Some(held.min(delegated)),
            (Some(none), None) | (None, Some(none)) if none.is_zero() => Some(none),
            _ => None,
        }
    }
}

impl Leaf {
    fn claims<'a>(&self, subject: &Subject<'a>) -> Vec<Claim<'a>> {
        let wallets = || {
            subject
                .holders
                .wallets()
                .iter()
                .filter(|wallet| wallet.counts_on(self.chain))
        };
        let own = wallets().map(|wallet| Claim {
            owner: wallet.address,
            delegate: None,
        });
        let vault = subject.holders.vault().zip(subject.delegation);
        let delegated = vault.into_iter().flat_map(|(vault, delegates)| {
            wallets().map(move |wallet| Claim {
                owner: vault,
                delegate: Some((wallet.address, delegates)),
            })
        });
        own.chain(delegated).collect()
    }

    fn portions(&self, claim: &Claim<'_>) -> Vec<Portion> {
        let owner = claim.owner;
        let key = |read| FactKey {
            chain: self.chain,
            read,
        };
        let portion = |read, scope| Portion {
            held: key(read),
            delegated: claim.delegate.map(|(to, delegates)| {
                key(Read::Delegation {
                    registry: delegates.registry,
                    delegation: Delegation {
                        to,
                        from: owner,
                        scope,
                        rights: delegates.rights,
                    },
                })
            }),
        };
        match &self.holding {
            Holding::Erc721 {
                contract,
                token_ids,
            } if token_ids.is_empty() => vec![portion(
                Read::Erc721Balance {
                    contract: *contract,
                    owner,
                },
                Scope::Contract(*contract),
            )],
            Holding::Erc721 {
                contract,
                token_ids,
            } => token_ids
                .iter()
                .map(|&token_id| {
                    portion(
                        Read::Erc721Owner {
                            contract: *contract,
                            token_id,
                        },
                        Scope::Erc721(*contract, token_id),
                    )
                })
                .collect(),
            // One's own tokens of several ids are one read. A delegation is of one id, so their sum would not tell.
            Holding::Erc1155 {
                contract,
                token_ids,
            } if token_ids.len() > 1 && claim.delegate.is_none() => vec![Portion {
                held: key(Read::Erc1155Balances {
                    contract: *contract,
                    owner,
                    ids: token_ids.clone(),
                }),
                delegated: None,
            }],
            Holding::Erc1155 {
                contract,
                token_ids,
            } => token_ids
                .iter()
                .map(|&id| {
                    portion(
                        Read::Erc1155Balance {
                            contract: *contract,
                            owner,
                            id,
                        },
                        Scope::Erc1155(*contract, id),
                    )
                })
                .collect(),
            Holding::Erc20 { contract } => vec![portion(
                Read::Erc20Balance {
                    contract: *contract,
                    owner,
                },
                Scope::Erc20(*contract),
            )],
            Holding::Native => vec![portion(Read::NativeBalance { owner }, Scope::All)],
        }
    }

    /// The reads that decide the leaf for `subject`.
    pub(crate) fn reads(&self, subject: &Subject<'_>) -> Vec<FactKey> {
        self.claims(subject)
            .iter()
            .flat_map(|claim| self.portions(claim))
            .flat_map(|portion| [Some(portion.held), portion.delegated])
            .flatten()
            .collect()
    }

    /// What each claim comes to as far as the facts tell, and whether they tell all of it.
    fn held<'a>(
        &'a self,
        subject: &Subject<'a>,
        facts: &'a View<'_>,
    ) -> impl Iterator<Item = (U256, bool)> + 'a {
        self.claims(subject).into_iter().map(move |claim| {
            let portions = self.portions(&claim);
            let values = portions.iter().map(|part| part.value(claim.owner, facts));
            values.fold((U256::ZERO, true), |(held, whole), value| match value {
                Some(value) => (held.saturating_add(value), whole),
                None => (held, false),
            })
        })
    }

    /// Whether the leaf holds: for one claim by itself. The sum of several wallets would count a token twice that
    /// moved from one to another between two reads.
    pub(crate) fn evaluate(&self, subject: &Subject<'_>, facts: &View<'_>) -> Truth {
        let mut truth = Truth::No;
        for (held, whole) in self.held(subject, facts) {
            if held >= self.at_least.0 {
                return Truth::Yes;
            }
            if !whole {
                truth = Truth::Unknown;
            }
        }
        truth
    }

    /// The most that one claim comes to; null where the facts do not tell.
    pub(crate) fn has(&self, subject: &Subject<'_>, facts: &View<'_>) -> Json {
        let held: Vec<_> = self.held(subject, facts).collect();
        let most = held.iter().map(|(held, _)| *held).max().unwrap_or_default();
        if held.iter().all(|(_, whole)| *whole) {
            most.to_string().into()
        } else {
            Json::Null
        }
    }

    const fn kind(&self) -> &'static str {
        match self.holding {
            Holding::Erc721 { .. } => "erc721",
            Holding::Erc1155 { .. } => "erc1155",
            Holding::Erc20 { .. } => "erc20",
            Holding::Native => "native",
        }
    }

    fn members(&self) -> serde_json::Map<String, Json> {
        let mut members = serde_json::Map::new();
        members.insert("chain".into(), self.chain.to_string().into());
        let (contract, token_ids): (Option<&Address>, &[U256]) = match &self.holding {
            Holding::Erc721 {
                contract,
                token_ids,
            }
            | Holding::Erc1155 {
                contract,
                token_ids,
            } => (Some(contract), token_ids),
            Holding::Erc20 { contract } => (Some(contract), &[]),
            Holding::Native => (None, &[]),
        };
        if let Some(contract) = contract {
            members.insert("contract".into(), contract.to_string().into());
        }
        if !token_ids.is_empty() {
            members.insert(
                "token_ids".into(),
                token_ids.iter().map(U256::to_string).collect(),
            );
        }
        members
    }

    pub(crate) fn describe(&self) -> Json {
        let mut members = self.members();
        members.insert("at_least".into(), self.at_least.to_string().into());
        json!({ self.kind(): members })
    }

    pub(crate) fn needs(&self) -> String {
        match &self.holding {
            Holding::Erc721 { token_ids, .. } if !token_ids.is_empty() => {
                format!("owned tokens ≥ {}", self.at_least)
            }
            _ => format!("balance ≥ {}", self.at_least),
        }
    }

    pub(crate) fn unmet(&self, wanted: bool, subject: &Subject<'_>, facts: &View<'_>) -> Json {
        let mut members = self.members();
        members.insert("kind".into(), self.kind().into());
        members.insert(
            "needs".into(),
            if wanted {
                self.needs()
            } else {
                format!("not {}", self.needs())
            }
            .into(),
        );
        members.insert("has".into(), self.has(subject, facts));
        Json::Object(members)
    }
}
