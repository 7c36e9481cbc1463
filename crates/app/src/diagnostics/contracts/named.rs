//! What gates name on a chain, and what they take it for.

use tokengate_core::abi::delegate_registry::{Delegation, Scope};
use tokengate_core::config::Config;
use tokengate_core::fact::Read;
use tokengate_core::leaf::{Holding, Leaf};
use tokengate_core::{Address, ChainId, U256};

/// An account that should hold nothing: each read is tried for it.
pub(super) const ACCOUNT: Address = Address::from_bytes([0x5a; 20]);
/// Contracts of one chain that are looked at; what is beyond is not, so that a report has an end.
const MAX_CONTRACTS: usize = 1024;

/// What gates take an address for.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) contract: Option<Address>,
    pub(super) kind: &'static str,
    /// How it is asked about [`ACCOUNT`].
    pub(super) probe: Option<Read>,
    /// Whether it is the number of tokens that counts, and not who owns some named ones.
    pub(super) is_balance: bool,
    pub(super) amount: Option<Amount>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) units: U256,
    /// The decimal places that the configuration writes it with.
    pub(super) written_with: Option<usize>,
}

/// What gates name on a chain, each with the gates that do, in the order of the file.
pub(super) fn named(config: &Config, chain: ChainId) -> Vec<(Named, Vec<String>)> {
    let mut all: Vec<(Named, Vec<String>)> = Vec::new();
    for gate in config.gates() {
        let leaves = gate.require.leaves();
        let mut found: Vec<_> = leaves
            .into_iter()
            .filter_map(|leaf| of_leaf(leaf, chain))
            .collect();
        let delegation = gate.delegation.as_ref();
        found.extend(
            delegation
                .filter(|_| !found.is_empty())
                .map(|delegates| Named {
                    contract: Some(delegates.registry),
                    kind: "delegation",
                    probe: Some(Read::Delegation {
                        registry: delegates.registry,
                        delegation: Delegation {
                            to: ACCOUNT,
                            from: ACCOUNT,
                            scope: Scope::All,
                            rights: delegates.rights,
                        },
                    }),
                    is_balance: false,
                    amount: None,
                }),
        );
        for one in found {
            let id = gate.id.to_string();
            if let Some((_, gates)) = all.iter_mut().find(|(known, _)| *known == one) {
                if gates.last() != Some(&id) {
                    gates.push(id);
                }
            } else if all.len() < MAX_CONTRACTS {
                all.push((one, vec![id]));
            }
        }
    }
    all
}

fn of_leaf(leaf: &Leaf, chain: ChainId) -> Option<Named> {
    match leaf {
        Leaf::Balance(balance) if balance.chain == chain => {
            let owner = ACCOUNT;
            let first = |ids: &[U256]| ids.first().copied();
            let (contract, probe) = match &balance.holding {
                Holding::Erc721 {
                    contract,
                    token_ids,
                } => {
                    let contract = *contract;
                    let probe = match first(token_ids) {
                        Some(token_id) => Read::Erc721Owner { contract, token_id },
                        None => Read::Erc721Balance { contract, owner },
                    };
                    (Some(contract), Some(probe))
                }
                Holding::Erc1155 {
                    contract,
                    token_ids,
                } => {
                    let (contract, id) = (*contract, first(token_ids)?);
                    let probe = Read::Erc1155Balance {
                        contract,
                        owner,
                        id,
                    };
                    (Some(contract), Some(probe))
                }
                Holding::Erc20 { contract } => {
                    let contract = *contract;
                    (Some(contract), Some(Read::Erc20Balance { contract, owner }))
                }
                Holding::Native => (None, None),
                Holding::Erc4907 {
                    contract,
                    token_ids,
                } => {
                    let (contract, token_id) = (*contract, first(token_ids)?);
                    (
                        Some(contract),
                        Some(Read::Erc4907User { contract, token_id }),
                    )
                }
                Holding::Account(account) => {
                    let account = *account;
                    (Some(account), Some(Read::AccountOwner { account }))
                }
            };
            let counts_units = matches!(balance.holding, Holding::Erc20 { .. } | Holding::Native);
            Some(Named {
                contract,
                kind: balance.kind(),
                is_balance: matches!(probe, Some(Read::Erc721Balance { .. })),
                probe,
                amount: counts_units.then_some(Amount {
                    units: balance.at_least.amount(),
                    written_with: balance.at_least.decimals(),
                }),
            })
        }
        Leaf::Call(call) if call.chain == chain => Some(Named {
            contract: Some(call.contract),
            kind: "call",
            probe: Some(Read::View {
                contract: call.contract,
                calldata: call.calldata.about(ACCOUNT),
                element: call.element,
            }),
            is_balance: false,
            amount: None,
        }),
        Leaf::Balance(_) | Leaf::Call(_) | Leaf::Allowlist(_) | Leaf::Time(_) => None,
    }
}
