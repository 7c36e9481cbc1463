//! What can be counted on a chain: tokens, coins, and accounts.

use std::fmt;

use serde_json::{Map, Value as Json};

use super::{Claim, Polarity, Subject, delegated};
use crate::abi::delegate_registry::Scope;
use crate::fact::{FactKey, Read, Value, View};
use crate::gate::Truth;
use crate::{Address, ChainId, U256};

/// An amount that must be reached, at least 1, in smallest units.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    amount: U256,
    decimals: Option<usize>,
}

impl Threshold {
    /// The least there is.
    pub const ONE: Self = Self {
        amount: U256::ONE,
        decimals: None,
    };

    /// The threshold, unless it is zero: everybody reaches zero.
    pub fn new(amount: U256) -> Option<Self> {
        let decimals = None;
        (!amount.is_zero()).then_some(Self { amount, decimals })
    }

    /// As the configuration writes it: in whole units of so many decimal places, or in smallest units.
    pub fn written_with(self, decimals: Option<usize>) -> Self {
        Self { decimals, ..self }
    }

    /// The amount in smallest units.
    pub const fn amount(&self) -> U256 {
        self.amount
    }

    /// The decimal places that the configuration writes it with, if it says so.
    pub const fn decimals(&self) -> Option<usize> {
        self.decimals
    }
}

/// How it is written makes no difference.
impl PartialEq for Threshold {
    fn eq(&self, other: &Self) -> bool {
        self.amount == other.amount
    }
}

impl Eq for Threshold {}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.amount, f)
    }
}

/// So many of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The chain it is read on.
    pub chain: ChainId,
    /// How much is needed.
    pub at_least: Threshold,
    /// What is counted.
    pub holding: Holding,
}

/// What is counted.
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
    /// Tokens of an ERC-4907 contract that the account may use now.
    Erc4907 {
        /// The token contract.
        contract: Address,
        /// The tokens that count, at least one.
        token_ids: Vec<U256>,
    },
    /// An ERC-6551 account: one or none.
    Account(Address),
}

/// A part of what is counted, and the read that says how much of it is delegated.
struct Portion {
    held: FactKey,
    delegated: Option<FactKey>,
}

impl Portion {
    /// How much of it counts, if the facts tell.
    fn value(&self, owner: Address, polarity: Polarity, facts: &View<'_>) -> Option<U256> {
        let held = facts.fact(&self.held).and_then(|fact| match fact.value {
            Value::Amount(amount) | Value::Amounts(amount) => Some(amount),
            Value::Owner(other) => Some(U256::from(u8::from(other == owner))),
            Value::Nobody => Some(U256::ZERO),
            // It may be that nobody has the token, or that the contract cannot say: a token that keeps out may be there.
            Value::Reverted => match polarity {
                Polarity::Admits => Some(U256::ZERO),
                Polarity::Excludes => None,
            },
            // No answer of these functions.
            Value::Returned(_) => None,
        });
        let Some(key) = &self.delegated else {
            return held;
        };
        let delegated = delegated(key, facts);
        match (held, delegated) {
            (Some(held), Some(delegated)) => Some(held.min(delegated)),
            (Some(none), None) | (None, Some(none)) if none.is_zero() => Some(none),
            _ => None,
        }
    }
}

impl Balance {
    fn portions(&self, claim: &Claim<'_>) -> Vec<Portion> {
        let owner = claim.owner;
        let key = |read| FactKey {
            chain: self.chain,
            read,
        };
        let portion = |read, scope| Portion {
            held: key(read),
            delegated: claim.delegation(self.chain, scope),
        };
        let each = |ids: &[U256], part: &dyn Fn(U256) -> (Read, Scope)| {
            let parts = ids.iter().map(|id| part(*id));
            parts.map(|(read, scope)| portion(read, scope)).collect()
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
            } => each(token_ids, &|token_id| {
                let read = Read::Erc721Owner {
                    contract: *contract,
                    token_id,
                };
                (read, Scope::Erc721(*contract, token_id))
            }),
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
            } => each(token_ids, &|id| {
                let read = Read::Erc1155Balance {
                    contract: *contract,
                    owner,
                    id,
                };
                (read, Scope::Erc1155(*contract, id))
            }),
            Holding::Erc20 { contract } => vec![portion(
                Read::Erc20Balance {
                    contract: *contract,
                    owner,
                },
                Scope::Erc20(*contract),
            )],
            Holding::Native => vec![portion(Read::NativeBalance { owner }, Scope::All)],
            Holding::Erc4907 {
                contract,
                token_ids,
            } => each(token_ids, &|token_id| {
                let read = Read::Erc4907User {
                    contract: *contract,
                    token_id,
                };
                (read, Scope::Erc721(*contract, token_id))
            }),
            Holding::Account(account) => vec![portion(
                Read::AccountOwner { account: *account },
                Scope::Contract(*account),
            )],
        }
    }

    pub(super) fn reads(&self, subject: &Subject<'_>, polarity: Polarity) -> Vec<FactKey> {
        subject
            .claims(self.chain, polarity)
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
        polarity: Polarity,
        facts: &'a View<'_>,
    ) -> impl Iterator<Item = (U256, bool)> + 'a {
        let claims = subject.claims(self.chain, polarity);
        claims.into_iter().map(move |claim| {
            let portions = self.portions(&claim);
            let values = portions
                .iter()
                .map(|part| part.value(claim.owner, polarity, facts));
            values.fold((U256::ZERO, true), |(held, whole), value| match value {
                Some(value) => (held.saturating_add(value), whole),
                None => (held, false),
            })
        })
    }

    /// Whether there is enough: by one claim alone. The sum of several wallets would count a token twice that
    /// moved from one to another between two reads.
    pub(super) fn evaluate(
        &self,
        subject: &Subject<'_>,
        polarity: Polarity,
        facts: &View<'_>,
    ) -> Truth {
        let mut truth = Truth::No;
        for (held, whole) in self.held(subject, polarity, facts) {
            if held >= self.at_least.amount {
                return Truth::Yes;
            }
            if !whole {
                truth = Truth::Unknown;
            }
        }
        truth
    }

    /// The most that one claim comes to; null where the facts do not tell.
    pub(super) fn has(&self, subject: &Subject<'_>, polarity: Polarity, facts: &View<'_>) -> Json {
        let held: Vec<_> = self.held(subject, polarity, facts).collect();
        let most = held.iter().map(|(held, _)| *held).max().unwrap_or_default();
        if held.iter().all(|(_, whole)| *whole) {
            most.to_string().into()
        } else {
            Json::Null
        }
    }

    /// The name of its kind in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self.holding {
            Holding::Erc721 { .. } => "erc721",
            Holding::Erc1155 { .. } => "erc1155",
            Holding::Erc20 { .. } => "erc20",
            Holding::Native => "native",
            Holding::Erc4907 { .. } => "erc4907",
            Holding::Account(_) => "erc6551_owner",
        }
    }

    pub(super) fn members(&self) -> Map<String, Json> {
        let mut members = Map::new();
        let mut text = |name: &str, value: String| members.insert(name.to_owned(), value.into());
        text("chain", self.chain.to_string());
        match &self.holding {
            Holding::Erc721 { contract, .. }
            | Holding::Erc1155 { contract, .. }
            | Holding::Erc20 { contract }
            | Holding::Erc4907 { contract, .. } => {
                text("contract", contract.to_string());
            }
            Holding::Account(account) => {
                text("account", account.to_string());
            }
            Holding::Native => {}
        }
        if let Holding::Erc721 { token_ids, .. }
        | Holding::Erc1155 { token_ids, .. }
        | Holding::Erc4907 { token_ids, .. } = &self.holding
            && !token_ids.is_empty()
        {
            members.insert("token_ids".into(), ranges(token_ids).into());
        }
        members
    }

    /// Adds how many are needed, where that is not always one.
    pub(super) fn demand(&self, members: &mut Map<String, Json>) {
        if !matches!(self.holding, Holding::Account(_)) {
            members.insert("at_least".into(), self.at_least.to_string().into());
        }
    }

    pub(super) fn needs(&self) -> String {
        match &self.holding {
            Holding::Erc721 { token_ids, .. } if !token_ids.is_empty() => {
                format!("owned tokens ≥ {}", self.at_least)
            }
            Holding::Erc4907 { .. } => format!("used tokens ≥ {}", self.at_least),
            Holding::Account(_) => format!("owned accounts ≥ {}", self.at_least),
            Holding::Erc721 { .. }
            | Holding::Erc1155 { .. }
            | Holding::Erc20 { .. }
            | Holding::Native => format!("balance ≥ {}", self.at_least),
        }
    }
}

/// Token ids as the configuration may write them: three and more in a row as a range.
fn ranges(ids: &[U256]) -> Vec<String> {
    let follows = |a: &U256, b: &U256| a.checked_add(U256::ONE) == Some(*b);
    ids.chunk_by(follows)
        .flat_map(|run| match run {
            [first, _, .., last] => vec![format!("{first}-{last}")],
            few => few.iter().map(U256::to_string).collect(),
        })
        .collect()
}
