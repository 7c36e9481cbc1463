use super::*;
use crate::abi::delegate_registry::{self, Delegation, Scope};
use crate::fact::{Fact, Facts, Read, Value};
use crate::leaf::{Balance, Holding, Threshold};
use crate::wallet::Control;
use crate::{Address, U256};
use proptest::prelude::*;

const WALLET: Address = Address::from_bytes([7; 20]);
const OTHER: Address = Address::from_bytes([8; 20]);

fn held_by(addresses: &[Address]) -> Holders {
    Holders::new(addresses.iter().copied().map(Wallet::of_key), None)
}

fn subject(holders: &Holders) -> Subject<'_> {
    Subject {
        holders,
        delegation: None,
    }
}

fn contract(n: u8) -> Address {
    Address::from_bytes([n; 20])
}

fn chain() -> ChainId {
    ChainId::new(1).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn erc20(n: u8, at_least: u64) -> Requirement {
    Requirement::Leaf(Leaf::Balance(Balance {
        chain: chain(),
        at_least: Threshold::new(U256::from(at_least)).unwrap(),
        holding: Holding::Erc20 {
            contract: contract(n),
        },
    }))
}

fn group(parts: Vec<Requirement>) -> Group {
    Group::new(parts).unwrap()
}

fn facts(balances: &[(u8, u64)]) -> Facts {
    let mut facts = Facts::default();
    for (n, balance) in balances {
        let key = FactKey {
            chain: chain(),
            read: Read::Erc20Balance {
                contract: contract(*n),
                owner: WALLET,
            },
        };
        facts.insert(
            key,
            Fact {
                value: Value::Amount(U256::from(*balance)),
                block: 1,
                read_at: now(),
            },
        );
    }
    facts
}

fn evaluate(requirement: &Requirement, facts: &Facts) -> Truth {
    requirement.evaluate(
        &subject(&held_by(&[WALLET])),
        &facts.within(Duration::from_secs(60), now()),
    )
}

#[test]
fn a_leaf_holds_from_its_threshold_on_and_is_unknown_without_a_fact() {
    let leaf = erc20(1, 10);
    assert_eq!(evaluate(&leaf, &facts(&[(1, 10)])), Truth::Yes);
    assert_eq!(evaluate(&leaf, &facts(&[(1, 9)])), Truth::No);
    assert_eq!(evaluate(&leaf, &facts(&[])), Truth::Unknown);
    assert_eq!(
        evaluate(&Requirement::Not(Box::new(leaf)), &facts(&[])),
        Truth::Unknown,
        "an unknown never becomes a yes"
    );
}

#[test]
fn another_wallets_balance_counts_for_nothing() {
    assert_eq!(
        erc20(1, 1).evaluate(
            &subject(&held_by(&[OTHER])),
            &facts(&[(1, 10)]).within(Duration::from_secs(60), now())
        ),
        Truth::Unknown
    );
}

#[test]
fn one_of_the_wallets_has_to_hold_it_all() {
    let balance = |owner, amount: u64| {
        let key = FactKey {
            chain: chain(),
            read: Read::Erc20Balance {
                contract: contract(1),
                owner,
            },
        };
        let fact = Fact {
            value: Value::Amount(U256::from(amount)),
            block: 1,
            read_at: now(),
        };
        (key, fact)
    };
    let both = held_by(&[WALLET, OTHER]);
    let evaluate = |at_least, mine, others: Option<u64>| {
        let mut facts = Facts::default();
        for (key, fact) in [
            Some(balance(WALLET, mine)),
            others.map(|amount| balance(OTHER, amount)),
        ]
        .into_iter()
        .flatten()
        {
            facts.insert(key, fact);
        }
        erc20(1, at_least).evaluate(
            &subject(&both),
            &facts.within(Duration::from_secs(60), now()),
        )
    };
    assert_eq!(evaluate(5, 0, Some(5)), Truth::Yes);
    assert_eq!(evaluate(5, 5, None), Truth::Yes, "one suffices");
    assert_eq!(evaluate(5, 4, None), Truth::Unknown);
    assert_eq!(
        evaluate(5, 3, Some(3)),
        Truth::No,
        "the same coins, moved between two reads, would count twice"
    );
}

#[test]
fn a_contracts_word_counts_on_its_own_chain_only() {
    let by_contract = |id| {
        Holders::new(
            [Wallet {
                address: WALLET,
                control: Control::Contract(ChainId::new(id).unwrap()),
            }],
            None,
        )
    };
    let facts = facts(&[(1, 10)]);
    let view = facts.within(Duration::from_secs(60), now());
    let (here, elsewhere) = (by_contract(1), by_contract(2));
    assert_eq!(erc20(1, 1).evaluate(&subject(&here), &view), Truth::Yes);
    assert_eq!(erc20(1, 1).evaluate(&subject(&elsewhere), &view), Truth::No);
    assert!(gate(erc20(1, 1)).reads(&elsewhere).is_empty());
}

const VAULT: Address = Address::from_bytes([6; 20]);
const RIGHTS: [u8; 32] = [3; 32];

/// A gate that takes vaults, and what decides about [`VAULT`] when [`WALLET`] asks.
fn vault_gate(holding: Holding, at_least: u64) -> (Gate, Holders) {
    let gate = Gate {
        delegation: Some(Delegates {
            registry: delegate_registry::CANONICAL,
            rights: RIGHTS,
        }),
        ..gate(Requirement::Leaf(Leaf::Balance(Balance {
            chain: chain(),
            at_least: Threshold::new(U256::from(at_least)).unwrap(),
            holding,
        })))
    };
    (gate, Holders::new([Wallet::of_key(WALLET)], Some(VAULT)))
}

/// What the registry is asked.
fn delegation(scope: Scope) -> Read {
    Read::Delegation {
        registry: delegate_registry::CANONICAL,
        delegation: Delegation {
            to: WALLET,
            from: VAULT,
            scope,
            rights: RIGHTS,
        },
    }
}

/// The verdict by those facts that there are; every one of them has to be asked for.
fn verdict(gate: &Gate, holders: &Holders, known: Vec<(Read, Option<Value>)>) -> Truth {
    let asked = gate.reads(holders);
    let mut facts = Facts::default();
    for (read, value) in known {
        let key = FactKey {
            chain: chain(),
            read,
        };
        assert!(asked.contains(&key), "nobody asks for {key:?}");
        if let Some(value) = value {
            let fact = Fact {
                value,
                block: 1,
                read_at: now(),
            };
            facts.insert(key, fact);
        }
    }
    gate.evaluate(holders, &facts.within(gate.fresh, now()))
}

fn amount(amount: u64) -> Value {
    Value::Amount(U256::from(amount))
}

#[test]
fn who_is_kept_out_is_not_let_in_through_a_delegate() {
    let token = contract(1);
    let (mut gate, holders) = vault_gate(Holding::Erc20 { contract: token }, 5);
    let banned = Requirement::Not(Box::new(erc20(2, 1)));
    gate.require = Requirement::All(group(vec![gate.require, banned]));
    let balance = |n, owner| Read::Erc20Balance {
        contract: contract(n),
        owner,
    };
    let asked = gate.reads(&holders);
    let about_the_vault = |read| {
        let chain = chain();
        asked.contains(&FactKey { chain, read })
    };
    assert!(!about_the_vault(balance(1, VAULT)));
    let known = |mine| {
        vec![
            (balance(1, WALLET), Some(amount(mine))),
            (balance(2, WALLET), Some(amount(0))),
        ]
    };
    assert_eq!(verdict(&gate, &holders, known(0)), Truth::No);
    assert_eq!(verdict(&gate, &holders, known(5)), Truth::Yes, "by itself");
}

#[test]
fn a_vaults_coins_count_as_far_as_they_are_delegated() {
    let token = contract(1);
    let (mut gate, holders) = vault_gate(Holding::Erc20 { contract: token }, 5);
    assert_eq!(gate.reads(&holders).len(), 3);
    let balance = |owner| Read::Erc20Balance {
        contract: token,
        owner,
    };
    for (mine, vault, allowed, truth) in [
        (0, Some(9), Some(9), Truth::Yes),
        (0, Some(9), Some(4), Truth::No),
        (0, Some(4), Some(9), Truth::No),
        (5, None, None, Truth::Yes),
        (0, Some(9), None, Truth::Unknown),
        (0, None, Some(9), Truth::Unknown),
        (0, None, Some(0), Truth::No),
    ] {
        let known = vec![
            (balance(WALLET), Some(amount(mine))),
            (balance(VAULT), vault.map(amount)),
            (delegation(Scope::Erc20(token)), allowed.map(amount)),
        ];
        let found = verdict(&gate, &holders, known);
        assert_eq!(found, truth, "{mine} {vault:?} {allowed:?}");
    }
    gate.delegation = None;
    assert_eq!(gate.reads(&holders).len(), 1, "not every gate takes vaults");
}

#[test]
fn a_vaults_named_tokens_count_where_each_itself_is_delegated() {
    let token = contract(1);
    let ids = [7, 8].map(U256::from);
    let holding = Holding::Erc721 {
        contract: token,
        token_ids: ids.to_vec(),
    };
    let (yes, no) = (Some(Value::Amount(U256::MAX)), Some(amount(0)));
    let owned_by = |owner| Some(Value::Owner(owner));
    let (vaults, others) = (owned_by(VAULT), owned_by(OTHER));
    for (at_least, owners, allowed, truth) in [
        (1, [&vaults, &others], [&yes, &no], Truth::Yes),
        (1, [&vaults, &others], [&no, &yes], Truth::No),
        (1, [&vaults, &vaults], [&no, &yes], Truth::Yes),
        (2, [&vaults, &vaults], [&no, &yes], Truth::No),
        (2, [&vaults, &vaults], [&yes, &yes], Truth::Yes),
        (1, [&vaults, &others], [&None, &yes], Truth::Unknown),
        (1, [&others, &others], [&None, &None], Truth::No),
        (1, [&None, &others], [&yes, &yes], Truth::Unknown),
        // What the wallet has itself needs no delegation, and does not add up with what the vault has.
        (1, [&owned_by(WALLET), &others], [&no, &no], Truth::Yes),
        (2, [&owned_by(WALLET), &vaults], [&yes, &yes], Truth::No),
    ] {
        let (gate, holders) = vault_gate(holding.clone(), at_least);
        let owner = |token_id| Read::Erc721Owner {
            contract: token,
            token_id,
        };
        let delegated = |id| delegation(Scope::Erc721(token, id));
        let known = vec![
            (owner(ids[0]), owners[0].clone()),
            (owner(ids[1]), owners[1].clone()),
            (delegated(ids[0]), allowed[0].clone()),
            (delegated(ids[1]), allowed[1].clone()),
        ];
        let found = verdict(&gate, &holders, known);
        assert_eq!(found, truth, "{at_least} of {owners:?}, {allowed:?}");
    }
}

#[test]
fn a_vaults_tokens_of_several_ids_count_as_far_as_each_id_is_delegated() {
    let token = contract(1);
    let ids = [7, 8].map(U256::from);
    let holding = Holding::Erc1155 {
        contract: token,
        token_ids: ids.to_vec(),
    };
    let (gate, holders) = vault_gate(holding, 5);
    assert_eq!(gate.reads(&holders).len(), 5, "one's own are one read");
    for (mine, held, allowed, truth) in [
        (0, [Some(3), Some(4)], [Some(3), Some(2)], Truth::Yes),
        (0, [Some(3), Some(4)], [Some(9), Some(1)], Truth::No),
        (0, [Some(9), Some(0)], [Some(4), Some(9)], Truth::No),
        (0, [Some(5), None], [Some(5), None], Truth::Yes),
        (0, [Some(4), Some(9)], [Some(9), None], Truth::Unknown),
        (0, [Some(4), None], [Some(9), Some(0)], Truth::No),
        (5, [None, None], [None, None], Truth::Yes),
        (4, [Some(1), Some(0)], [Some(1), Some(0)], Truth::No),
    ] {
        let own = Read::Erc1155Balances {
            contract: token,
            owner: WALLET,
            ids: ids.to_vec(),
        };
        let balance = |id| Read::Erc1155Balance {
            contract: token,
            owner: VAULT,
            id,
        };
        let delegated = |id| delegation(Scope::Erc1155(token, id));
        let known = vec![
            (own, Some(Value::Amounts(U256::from(mine)))),
            (balance(ids[0]), held[0].map(amount)),
            (balance(ids[1]), held[1].map(amount)),
            (delegated(ids[0]), allowed[0].map(amount)),
            (delegated(ids[1]), allowed[1].map(amount)),
        ];
        let found = verdict(&gate, &holders, known);
        assert_eq!(found, truth, "{mine} {held:?} {allowed:?}");
    }
}

#[test]
fn trees_follow_kleenes_tables() {
    let (yes, no, unknown) = (erc20(1, 1), erc20(2, 1), erc20(3, 1));
    let facts = facts(&[(1, 1), (2, 0)]);
    let any = |parts: &[&Requirement]| {
        evaluate(
            &Requirement::Any(group(parts.iter().map(|part| (*part).clone()).collect())),
            &facts,
        )
    };
    let all = |parts: &[&Requirement]| {
        evaluate(
            &Requirement::All(group(parts.iter().map(|part| (*part).clone()).collect())),
            &facts,
        )
    };
    assert_eq!(any(&[&no, &unknown, &yes]), Truth::Yes);
    assert_eq!(any(&[&no, &unknown]), Truth::Unknown);
    assert_eq!(any(&[&no, &no]), Truth::No);
    assert_eq!(all(&[&yes, &unknown, &no]), Truth::No);
    assert_eq!(all(&[&yes, &unknown]), Truth::Unknown);
    assert_eq!(all(&[&yes, &yes]), Truth::Yes);
    let two_of = |parts: Vec<Requirement>| {
        let group = group(parts);
        evaluate(
            &Requirement::AtLeast(Count::new(2, &group).unwrap(), group),
            &facts,
        )
    };
    assert_eq!(
        two_of(vec![yes.clone(), yes.clone(), no.clone()]),
        Truth::Yes
    );
    assert_eq!(
        two_of(vec![yes.clone(), unknown, no.clone()]),
        Truth::Unknown
    );
    assert_eq!(two_of(vec![yes, no.clone(), no]), Truth::No);
}

#[test]
fn trees_that_demand_nothing_cannot_be_built() {
    assert_eq!(Group::new(vec![]), None);
    assert_eq!(Threshold::new(U256::ZERO), None);
    let group = group(vec![erc20(1, 1)]);
    assert_eq!((Count::new(0, &group), Count::new(2, &group)), (None, None));
}

#[test]
fn named_tokens_count_only_for_their_owner() {
    let ids = [1, 2, 3].map(U256::from);
    let leaf = Balance {
        chain: chain(),
        at_least: Threshold::new(U256::from(1)).unwrap(),
        holding: Holding::Erc721 {
            contract: contract(1),
            token_ids: ids.to_vec(),
        },
    };
    let key = |id| FactKey {
        chain: chain(),
        read: Read::Erc721Owner {
            contract: contract(1),
            token_id: id,
        },
    };
    let mut facts = Facts::default();
    facts.insert(
        key(ids[0]),
        Fact {
            value: Value::Owner(OTHER),
            block: 1,
            read_at: now(),
        },
    );
    facts.insert(
        key(ids[1]),
        Fact {
            value: Value::Nobody,
            block: 1,
            read_at: now(),
        },
    );
    let requirement = Requirement::Leaf(Leaf::Balance(leaf));
    assert_eq!(evaluate(&requirement, &facts), Truth::Unknown);
    facts.insert(
        key(ids[2]),
        Fact {
            value: Value::Owner(OTHER),
            block: 1,
            read_at: now(),
        },
    );
    assert_eq!(evaluate(&requirement, &facts), Truth::No);
    facts.insert(
        key(ids[2]),
        Fact {
            value: Value::Owner(WALLET),
            block: 2,
            read_at: now(),
        },
    );
    assert_eq!(evaluate(&requirement, &facts), Truth::Yes);
}

fn gate(require: Requirement) -> Gate {
    Gate {
        id: GateId::parse("g").unwrap(),
        resources: vec![Pattern::parse("media/a/**").unwrap()],
        fresh: Duration::from_secs(60),
        stale: Duration::from_secs(60),
        agreement: 1,
        delegation: None,
        require,
    }
}

#[test]
fn a_gate_grants_only_what_it_guards_and_says_on_what() {
    let gate = gate(erc20(1, 1));
    let held = facts(&[(1, 1)]);
    let view = held.within(gate.fresh, now());
    match gate.decide(
        &held_by(&[WALLET]),
        &Resource::parse("media/a/x").unwrap(),
        &view,
    ) {
        Decision::Granted(granted) => assert_eq!(
            (
                granted.basis().map(|basis| basis.block),
                granted.resource().key()
            ),
            (Some(1), "a/x")
        ),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        gate.decide(
            &held_by(&[WALLET]),
            &Resource::parse("media/b/x").unwrap(),
            &view
        ),
        Decision::Denied
    ));
    let later = held.within(gate.fresh, now() + Duration::from_secs(61));
    assert!(
        matches!(
            gate.decide(
                &held_by(&[WALLET]),
                &Resource::parse("media/a/x").unwrap(),
                &later
            ),
            Decision::Unknown
        ),
        "too old to decide"
    );
}

#[test]
fn a_refusal_names_what_is_missing() {
    let requirement = Requirement::Any(group(vec![
        erc20(1, 5),
        Requirement::All(group(vec![
            erc20(2, 1),
            Requirement::Not(Box::new(erc20(3, 2))),
        ])),
    ]));
    let held = facts(&[(1, 4), (2, 1), (3, 2)]);
    let view = held.within(Duration::from_secs(60), now());
    assert_eq!(
        Json::from(requirement.unmet(&subject(&held_by(&[WALLET])), &view)),
        json!([
            {"kind": "erc20", "chain": "eip155:1", "contract": contract(1), "needs": "balance ≥ 5", "has": "4"},
            {"kind": "erc20", "chain": "eip155:1", "contract": contract(3), "needs": "not balance ≥ 2", "has": "2"},
        ])
    );
    assert_eq!(
        requirement.explain(&subject(&held_by(&[WALLET])), &view)["any"][0],
        json!({"erc20": {"chain": "eip155:1", "contract": contract(1), "at_least": "5"}, "needs": "balance ≥ 5", "has": "4", "met": false})
    );
}

/// Any tree over the ERC-20 contracts 1 to 4.
fn tree() -> impl Strategy<Value = Requirement> {
    let leaf = (1..5u8, 1..4u64).prop_map(|(n, at_least)| erc20(n, at_least));
    leaf.prop_recursive(3, 16, 4, |inner| {
        let parts = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            parts
                .clone()
                .prop_map(|parts| Requirement::Any(group(parts))),
            parts
                .clone()
                .prop_map(|parts| Requirement::All(group(parts))),
            inner.prop_map(|part| Requirement::Not(Box::new(part))),
            (parts, 0..4usize).prop_map(|(parts, extra)| {
                let group = group(parts);
                Requirement::AtLeast(Count(1 + extra % group.len()), group)
            }),
        ]
    })
}

proptest! {
    /// What is decided without a fact stays decided whatever that fact turns out to be.
    #[test]
    fn a_verdict_from_part_of_the_facts_is_never_overturned(tree in tree(), balances in prop::collection::vec(0..4u64, 4), known in prop::collection::vec(any::<bool>(), 4)) {
        let all: Vec<_> = (1..5u8).zip(balances).collect();
        let some: Vec<_> = all.iter().zip(known).filter(|(_, known)| *known).map(|(pair, _)| *pair).collect();
        let complete = evaluate(&tree, &facts(&all));
        prop_assert_ne!(complete, Truth::Unknown);
        let partial = evaluate(&tree, &facts(&some));
        prop_assert!(partial == Truth::Unknown || partial == complete);
    }
}
