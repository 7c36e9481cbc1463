//! Leaves: single conditions, and who may meet them.

pub mod allowlist;
pub mod balance;
pub mod call;
pub mod window;

use serde_json::{Map, Value as Json, json};

use crate::abi::delegate_registry::{Delegation, Scope};
use crate::fact::{FactKey, Read, Value, View};
use crate::gate::{Outlook, Truth};
use crate::wallet::{Holders, Wallet};
use crate::{Address, ChainId, U256};

pub use allowlist::Allowlist;
pub use balance::{Balance, Holding, Threshold};
pub use call::Call;
pub use window::Window;

/// A single condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Enough of something on a chain.
    Balance(Balance),
    /// What a view function of a contract returns.
    Call(Box<Call>),
    /// To be on a list.
    Allowlist(Allowlist),
    /// A span of time.
    Time(Window),
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

/// Which way a leaf counts in its tree: `not` changes it, groups do not.
///
/// A wallet that was proven on another chain may be somebody else's here. Whether it counts depends on what it would do:
/// what lets in rests on proven wallets, what keeps out takes each wallet of the session by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polarity {
    /// Under an even number of `not`: where the leaf holds, it lets in.
    Admits,
    /// Under an odd number of `not`: where the leaf holds, it keeps out.
    Excludes,
}

impl Polarity {
    /// The polarity below a `not`.
    pub(crate) const fn not(self) -> Self {
        match self {
            Self::Admits => Self::Excludes,
            Self::Excludes => Self::Admits,
        }
    }
}

/// One way to meet a leaf: by what `owner` has, as far as it is delegated to `delegate`, if it is not asked for itself.
struct Claim<'a> {
    owner: Address,
    delegate: Option<(Address, &'a Delegates)>,
}

impl<'a> Subject<'a> {
    /// The ways to meet a leaf on `chain`: by each wallet that counts there, and by the vault as its delegate. For what
    /// keeps out, every wallet counts.
    fn claims(&self, chain: ChainId, polarity: Polarity) -> Vec<Claim<'a>> {
        let wallets = || {
            let counts = move |wallet: &&Wallet| match polarity {
                Polarity::Admits => wallet.counts_on(chain),
                Polarity::Excludes => true,
            };
            self.holders.wallets().iter().filter(counts)
        };
        let own = wallets().map(|wallet| Claim {
            owner: wallet.address,
            delegate: None,
        });
        let vault = self.holders.vault().zip(self.delegation);
        let delegated = vault.into_iter().flat_map(|(vault, delegates)| {
            wallets().map(move |wallet| Claim {
                owner: vault,
                delegate: Some((wallet.address, delegates)),
            })
        });
        own.chain(delegated).collect()
    }
}

impl Claim<'_> {
    /// The read that says how much of `scope` is delegated, if the claim needs it to be.
    fn delegation(&self, chain: ChainId, scope: Scope) -> Option<FactKey> {
        self.delegate.map(|(to, delegates)| FactKey {
            chain,
            read: Read::Delegation {
                registry: delegates.registry,
                delegation: Delegation {
                    to,
                    from: self.owner,
                    scope,
                    rights: delegates.rights,
                },
            },
        })
    }
}

/// How much is delegated, if the facts tell.
fn delegated(key: &FactKey, facts: &View<'_>) -> Option<U256> {
    facts.fact(key).map(|fact| match fact.value {
        Value::Amount(amount) => amount,
        // No answer of a registry.
        Value::Amounts(_)
        | Value::Owner(_)
        | Value::Nobody
        | Value::Reverted
        | Value::Returned(_) => U256::ZERO,
    })
}

impl Leaf {
    /// The chain that is asked, if one is.
    pub(crate) const fn chain(&self) -> Option<ChainId> {
        match self {
            Self::Balance(balance) => Some(balance.chain),
            Self::Call(call) => Some(call.chain),
            Self::Allowlist(_) | Self::Time(_) => None,
        }
    }

    /// The contract whose tokens it is about, or that is called. Accounts of tokens and lists are none.
    pub(crate) const fn contract(&self) -> Option<Address> {
        match self {
            Self::Balance(balance) => match &balance.holding {
                Holding::Erc721 { contract, .. }
                | Holding::Erc1155 { contract, .. }
                | Holding::Erc20 { contract }
                | Holding::Erc4907 { contract, .. } => Some(*contract),
                Holding::Native | Holding::Account(_) => None,
            },
            Self::Call(call) => Some(call.contract),
            Self::Allowlist(_) | Self::Time(_) => None,
        }
    }

    /// Whether a chain has to be asked. What does not need one rests on the configuration and the time alone.
    pub(crate) const fn rests_on_facts(&self) -> bool {
        match self {
            Self::Balance(_) | Self::Call(_) => true,
            Self::Allowlist(_) | Self::Time(_) => false,
        }
    }

    /// The reads that decide the leaf for `subject`.
    pub(crate) fn reads(&self, subject: &Subject<'_>, polarity: Polarity) -> Vec<FactKey> {
        match self {
            Self::Balance(balance) => balance.reads(subject, polarity),
            Self::Call(call) => call.reads(subject, polarity),
            Self::Allowlist(_) | Self::Time(_) => Vec::new(),
        }
    }

    /// Whether the leaf holds: for one wallet by itself, or for its vault. A call that a new wallet meets holds only for
    /// all wallets.
    pub(crate) fn evaluate(
        &self,
        subject: &Subject<'_>,
        polarity: Polarity,
        facts: &View<'_>,
    ) -> Truth {
        match self {
            Self::Balance(balance) => balance.evaluate(subject, polarity, facts),
            Self::Call(call) => call.evaluate(subject, polarity, facts),
            Self::Allowlist(list) => list.truth(subject.holders, polarity),
            Self::Time(window) => window.contains(facts.now()).into(),
        }
    }

    /// What it may come to for a wallet that has nothing.
    pub(crate) fn outlook(&self) -> Outlook {
        match self {
            // Also of tokens that it uses, and of accounts: a new wallet has none.
            Self::Balance(_) | Self::Allowlist(_) => Outlook::NEVER,
            Self::Call(call) => call.outlook(),
            Self::Time(_) => Outlook::EITHER,
        }
    }

    /// Whether it holds for a wallet that has nothing, and keeps others out.
    pub(crate) fn excludes(&self) -> bool {
        let outlook = self.outlook();
        outlook.may_hold && !outlook.may_fail
    }

    /// What is at hand of what it needs; null where the facts do not tell.
    pub(crate) fn has(&self, subject: &Subject<'_>, polarity: Polarity, facts: &View<'_>) -> Json {
        match self {
            Self::Balance(balance) => balance.has(subject, polarity, facts),
            Self::Call(call) => call.has(subject, polarity, facts),
            Self::Allowlist(list) => list.has(subject.holders, polarity).into(),
            Self::Time(_) => crate::rfc3339::format(facts.now()).into(),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Balance(balance) => balance.kind(),
            Self::Call(_) => "call",
            Self::Allowlist(_) => "allowlist",
            Self::Time(_) => "time",
        }
    }

    /// What it is about, without how much of it is needed.
    fn members(&self) -> Map<String, Json> {
        match self {
            Self::Balance(balance) => balance.members(),
            Self::Call(call) => call.members(),
            Self::Allowlist(list) => list.members(),
            Self::Time(window) => window.members(),
        }
    }

    /// The leaf as JSON, in the shape of the configuration.
    pub(crate) fn describe(&self) -> Json {
        let mut members = self.members();
        match self {
            Self::Balance(balance) => balance.demand(&mut members),
            Self::Call(call) => call.demand(&mut members),
            Self::Allowlist(_) | Self::Time(_) => {}
        }
        json!({ self.kind(): members })
    }

    pub(crate) fn needs(&self) -> String {
        match self {
            Self::Balance(balance) => balance.needs(),
            Self::Call(call) => call.needs(),
            Self::Allowlist(_) => "to be on the list".to_owned(),
            Self::Time(window) => window.needs(),
        }
    }

    /// Why the leaf stands in the way: it fails where it should let in, or holds where it keeps out.
    pub(crate) fn unmet(
        &self,
        subject: &Subject<'_>,
        polarity: Polarity,
        facts: &View<'_>,
    ) -> Json {
        let mut members = self.members();
        members.insert("kind".into(), self.kind().into());
        members.insert(
            "needs".into(),
            match polarity {
                Polarity::Admits => self.needs(),
                Polarity::Excludes => format!("not {}", self.needs()),
            }
            .into(),
        );
        members.insert("has".into(), self.has(subject, polarity, facts));
        Json::Object(members)
    }
}
