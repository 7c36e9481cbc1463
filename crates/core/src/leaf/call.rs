//! What a view function of any contract returns, compared with a value.

use serde_json::{Map, Value as Json};

use super::{Claim, Polarity, Subject, delegated};
use crate::abi::delegate_registry::Scope;
use crate::abi::view::{ACCOUNT, Calldata, Element, Returned};
use crate::fact::{FactKey, Read, Value, View};
use crate::gate::{Outlook, Truth};
use crate::wallet::Wallet;
use crate::{Address, ChainId};

/// A comparison of a returned value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The chain it is read on.
    pub chain: ChainId,
    /// Who is asked.
    pub contract: Address,
    /// What is asked.
    pub calldata: Calldata,
    /// Which of the returned values counts.
    pub element: Element,
    /// How it has to compare.
    pub compare: Comparison,
    /// With what.
    pub expected: Expected,
    /// The same in the words of the configuration.
    pub wording: Wording,
}

/// What a returned value is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This value.
    Value(Returned),
    /// The account in question.
    Account,
}

/// A call as the configuration writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wording {
    /// Its name.
    pub name: String,
    /// Its signature.
    pub function: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The name or the index of the value that counts.
    pub returns: String,
    /// What it is compared with.
    pub value: String,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    Other,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// The comparison that a configuration writes so.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "==" => Self::Equal,
            "!=" => Self::Other,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::More,
            ">=" => Self::AtLeast,
            _ => return None,
        })
    }

    /// Whether it takes more and less to mean something.
    pub const fn orders(self) -> bool {
        !matches!(self, Self::Equal | Self::Other)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Other => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }

    /// As people write it.
    const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Other => "≠",
            Self::Less => "<",
            Self::AtMost => "≤",
            Self::More => ">",
            Self::AtLeast => "≥",
        }
    }
}

impl Call {
    /// Whether it is the same for everybody.
    fn is_for_all(&self) -> bool {
        !self.calldata.names_account() && self.expected != Expected::Account
    }

    fn claims<'a>(&self, subject: &Subject<'a>, polarity: Polarity) -> Vec<Claim<'a>> {
        if self.is_for_all() {
            return vec![Claim {
                owner: Address::from_bytes([0; 20]),
                delegate: None,
            }];
        }
        let counted = if self.is_met_by_new_wallets() {
            polarity.not()
        } else {
            polarity
        };
        subject.claims(self.chain, counted)
    }

    /// Whether a wallet that did nothing yet meets it: where that lets in, the call is there to keep others out, as
    /// `isBanned(account) == false` is.
    fn is_met_by_new_wallets(&self) -> bool {
        self.outlook() == Outlook::ALWAYS
    }

    fn key(&self, account: Address) -> FactKey {
        FactKey {
            chain: self.chain,
            read: Read::View {
                contract: self.contract,
                calldata: self.calldata.about(account),
                element: self.element,
            },
        }
    }

    fn delegation(&self, claim: &Claim<'_>) -> Option<FactKey> {
        claim.delegation(self.chain, Scope::Contract(self.contract))
    }

    pub(super) fn reads(&self, subject: &Subject<'_>, polarity: Polarity) -> Vec<FactKey> {
        self.claims(subject, polarity)
            .iter()
            .flat_map(|claim| [Some(self.key(claim.owner)), self.delegation(claim)])
            .flatten()
            .collect()
    }

    /// Whether one account meets it. Of a call that a new wallet meets, whether all do: else a wallet that is kept out
    /// would get in beside a new one.
    pub(super) fn evaluate(
        &self,
        subject: &Subject<'_>,
        polarity: Polarity,
        facts: &View<'_>,
    ) -> Truth {
        let claims = self.claims(subject, polarity);
        let truths = claims.iter().map(|claim| self.truth(claim, facts));
        match polarity {
            Polarity::Admits if self.is_met_by_new_wallets() => truths.fold(Truth::Yes, Truth::and),
            // Under `not` it lets in whoever does not meet it: a wallet that is not proven here counts as a new one.
            Polarity::Excludes if self.is_met_by_new_wallets() => {
                let proven = |wallet: &Wallet| wallet.counts_on(self.chain);
                let all = subject.holders.wallets().iter().all(proven);
                truths.fold(Truth::from(!all), Truth::or)
            }
            Polarity::Admits | Polarity::Excludes => truths.fold(Truth::No, Truth::or),
        }
    }

    fn truth(&self, claim: &Claim<'_>, facts: &View<'_>) -> Truth {
        let holds = self
            .returned(claim.owner, facts)
            .map_or(Truth::Unknown, |value| {
                self.holds(value, claim.owner).into()
            });
        match self.delegation(claim) {
            None => holds,
            Some(key) => {
                let may = delegated(&key, facts)
                    .map_or(Truth::Unknown, |amount| (!amount.is_zero()).into());
                holds.and(may)
            }
        }
    }

    fn returned<'a>(&self, account: Address, facts: &View<'a>) -> Option<&'a Returned> {
        match &facts.fact(&self.key(account))?.value {
            Value::Returned(value) => Some(value),
            // No answer of a function.
            Value::Amount(_)
            | Value::Amounts(_)
            | Value::Owner(_)
            | Value::Nobody
            | Value::Reverted => None,
        }
    }

    fn holds(&self, value: &Returned, account: Address) -> bool {
        let own;
        let expected = match &self.expected {
            Expected::Value(value) => value,
            Expected::Account => {
                own = Returned::account(account);
                &own
            }
        };
        let order = self.element.kind().order(value, expected);
        match self.compare {
            Comparison::Equal => order.is_eq(),
            Comparison::Other => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::More => order.is_gt(),
            Comparison::AtLeast => order.is_ge(),
        }
    }

    /// A wallet that did nothing yet is taken to be answered what storage holds that nobody has written to.
    pub(super) fn outlook(&self) -> Outlook {
        if self.is_for_all() {
            return Outlook::EITHER;
        }
        // Any address that is not the zero address.
        let somebody = Address::from_bytes([1; 20]);
        if self.holds(&self.element.kind().zero(), somebody) {
            Outlook::ALWAYS
        } else {
            Outlook::NEVER
        }
    }

    /// What was answered: for the account that decides, or else for the first.
    pub(super) fn has(&self, subject: &Subject<'_>, polarity: Polarity, facts: &View<'_>) -> Json {
        let claims = self.claims(subject, polarity);
        let deciding = match polarity {
            Polarity::Admits if self.is_met_by_new_wallets() => Truth::No,
            Polarity::Admits | Polarity::Excludes => Truth::Yes,
        };
        let decides = |claim: &&Claim<'_>| self.truth(claim, facts) == deciding;
        claims
            .iter()
            .find(decides)
            .or_else(|| claims.first())
            .and_then(|claim| self.returned(claim.owner, facts))
            .map_or(Json::Null, |value| self.element.kind().text(value).into())
    }

    pub(super) fn members(&self) -> Map<String, Json> {
        let Wording { function, args, .. } = &self.wording;
        let mut members = Map::new();
        members.insert("chain".into(), self.chain.to_string().into());
        members.insert("contract".into(), self.contract.to_string().into());
        members.insert("function".into(), function.clone().into());
        members.insert("args".into(), args.clone().into());
        members
    }

    pub(super) fn demand(&self, members: &mut Map<String, Json>) {
        members.insert("returns".into(), self.wording.returns.clone().into());
        members.insert("compare".into(), self.compare.as_str().into());
        members.insert("value".into(), self.wording.value.clone().into());
    }

    pub(super) fn needs(&self) -> String {
        let Wording {
            name,
            returns,
            value,
            ..
        } = &self.wording;
        let value = if value == ACCOUNT {
            "the account"
        } else {
            value
        };
        format!("{name}.{returns} {} {value}", self.compare.sign())
    }
}
