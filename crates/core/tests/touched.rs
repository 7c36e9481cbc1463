//! Which facts a transfer outdates: all that it changes, under the keys that gates look up, and no others. What it changes
//! is told by a ledger that carries it out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokengate_core::config::Config;
use tokengate_core::fact::{FactKey, Read};
use tokengate_core::transfer::{Tokens, Transfer};
use tokengate_core::wallet::{Holders, Wallet};
use tokengate_core::{Address, ChainId, U256};

/// Few of each, so that they meet.
const ACCOUNTS: [u8; 5] = [0, 1, 2, 3, 4];
const CONTRACTS: [u8; 3] = [0xa1, 0xa2, 0xa3];
const CHAINS: [u64; 2] = [1, 10];

fn address(byte: u8) -> Address {
    Address::from_bytes([byte; 20])
}

fn chain(id: u64) -> ChainId {
    ChainId::new(id).unwrap()
}

/// Gates over these requirements, each beside a balance of ether, so that no new wallet gets in.
fn config(gates: &[Vec<String>]) -> Config {
    let mut text = r#"
[service]
domains = ["gate.example"]
session_ttl = "1h"
url_ttl = "5m"
[[chain]]
id = "eip155:1"
providers = ["{{ rpc_url }}"]
[[chain]]
id = "eip155:10"
providers = ["{{ rpc_url }}"]
[[bucket]]
id = "media"
endpoint = "http://127.0.0.1:9000"
region = "us-east-1"
addressing = "path"
credentials = "media"
"#
    .to_owned();
    for (index, leaves) in gates.iter().enumerate() {
        let ether = r#"{ native = { chain = "eip155:1", at_least = "1" } }"#;
        let leaves: BTreeSet<&str> = leaves.iter().map(String::as_str).chain([ether]).collect();
        let leaves: Vec<_> = leaves.into_iter().collect();
        let delegation = ["", "delegation = {}"][index % 2];
        text += &format!(
            "[[gate]]\nid = \"g{index}\"\nresources = [\"media/{index}/**\"]\nmax_age = \"5m\"\n{delegation}\nrequire = {{ all = [ {} ] }}\n",
            leaves.join(", ")
        );
    }
    Config::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A requirement over one of the contracts.
fn leaf() -> impl Strategy<Value = String> {
    let ids = vec(1..5u64, 1..4).prop_map(|ids| {
        let ids: BTreeSet<_> = ids.into_iter().collect();
        let ids: Vec<_> = ids.iter().map(|id| format!("\"{id}\"")).collect();
        ids.join(", ")
    });
    let account = select(vec![1_u8, 2, 3, 4]).prop_map(address);
    (select(CHAINS.to_vec()), select(CONTRACTS.to_vec()), ids, account, 0..10usize).prop_map(
        |(chain, contract, ids, account, kind)| {
            let at = format!("chain = \"eip155:{chain}\", contract = \"{}\"", address(contract));
            let call = |function: &str, args: &str, value: &str| {
                format!("{{ call = {{ {at}, function = \"{function}\", args = [{args}], compare = \"==\", value = \"{value}\" }} }}")
            };
            match kind {
                0 => format!("{{ erc721 = {{ {at} }} }}"),
                1 => format!("{{ erc721 = {{ {at}, token_ids = [{ids}] }} }}"),
                2 => format!("{{ erc1155 = {{ {at}, token_ids = [{ids}] }} }}"),
                3 => format!("{{ erc1155 = {{ {at}, token_ids = [{ids}], at_least = \"2\", each = true }} }}"),
                4 => format!("{{ erc20 = {{ {at}, at_least = \"1\" }} }}"),
                5 => format!("{{ erc4907 = {{ {at}, token_ids = [{ids}] }} }}"),
                6 => call("function tierOf(address a) view returns (uint256)", "\"$address\"", "3"),
                7 => call("function owner() view returns (address)", "", "$address"),
                8 => call("function isOpen() view returns (bool)", "", "true"),
                _ => format!("{{ erc6551_owner = {{ chain = \"eip155:{chain}\", account = \"{account}\" }} }}"),
            }
        },
    )
}

fn transfer() -> impl Strategy<Value = Transfer> {
    let tokens = prop_oneof![
        Just(Tokens::Amount),
        (1..5u64).prop_map(|id| Tokens::Token(U256::from(id))),
        (0..5u64, 0..5u64)
            .prop_map(|(first, more)| Tokens::Range(U256::from(first), U256::from(first + more))),
        vec(1..5u64, 0..4).prop_map(|ids| Tokens::Kinds(ids.into_iter().map(U256::from).collect())),
    ];
    let account = || select(ACCOUNTS.to_vec()).prop_map(address);
    let contract = select(CONTRACTS.to_vec()).prop_map(address);
    // From nobody to nobody nothing moves.
    let parties = (account(), account()).prop_filter("parties", |(from, to)| {
        (*from, *to) != (address(0), address(0))
    });
    (contract, parties, tokens).prop_map(|(contract, (from, to), tokens)| Transfer {
        contract,
        from,
        to,
        tokens,
        block: 7,
        removed: false,
    })
}

fn holders() -> impl Strategy<Value = Holders> {
    let account = || select(ACCOUNTS[1..].to_vec()).prop_map(address);
    (vec(account(), 1..3), prop::option::of(account())).prop_map(|(wallets, vault)| {
        let wallets: BTreeSet<_> = wallets.into_iter().collect();
        Holders::new(wallets.into_iter().map(Wallet::of_key), vault)
    })
}

/// What one contract keeps of all standards at once: how much anybody has by now, and what happened to each token.
#[derive(Default)]
struct Ledger {
    balances: BTreeMap<(Address, Option<U256>), i64>,
    tokens: BTreeMap<U256, Address>,
    /// What a function of it may tell: of an account, and of all.
    notes: BTreeMap<Address, u32>,
    transfers: u32,
}

impl Ledger {
    fn carry_out(&mut self, transfer: &Transfer) {
        let ids: Vec<Option<U256>> = match &transfer.tokens {
            // A contract that does not say which token it was may have meant any.
            Tokens::Amount => [None]
                .into_iter()
                .chain((1..5).map(|id| Some(U256::from(id))))
                .collect(),
            Tokens::Token(id) => vec![None, Some(*id)],
            Tokens::Range(first, last) => {
                let ids = (1..5_u64).map(U256::from);
                let ids = ids.filter(|id| (first..=last).contains(&id));
                [None].into_iter().chain(ids.map(Some)).collect()
            }
            Tokens::Kinds(ids) => [None]
                .into_iter()
                .chain(ids.iter().copied().map(Some))
                .collect(),
        };
        for id in ids {
            *self.balances.entry((transfer.from, id)).or_default() -= 1;
            *self.balances.entry((transfer.to, id)).or_default() += 1;
            if let Some(id) = id {
                self.tokens.insert(id, transfer.to);
            }
        }
        for party in [transfer.from, transfer.to] {
            *self.notes.entry(party).or_default() += 1;
        }
        self.transfers += 1;
    }

    fn balance(&self, owner: Address, id: Option<U256>) -> i64 {
        self.balances.get(&(owner, id)).copied().unwrap_or_default()
    }

    /// What the contract answers, as far as it is this one that is asked.
    fn answer(&self, read: &Read) -> String {
        match read {
            Read::Erc721Balance { owner, .. } | Read::Erc20Balance { owner, .. } => {
                self.balance(*owner, None).to_string()
            }
            Read::Erc721Owner { token_id, .. } | Read::Erc4907User { token_id, .. } => {
                format!("{:?}", self.tokens.get(token_id))
            }
            Read::Erc1155Balance { owner, id, .. } => self.balance(*owner, Some(*id)).to_string(),
            Read::Erc1155Balances { owner, ids, .. } => {
                let sum: i64 = ids.iter().map(|id| self.balance(*owner, Some(*id))).sum();
                sum.to_string()
            }
            Read::View { calldata, .. } => match account_in(calldata) {
                Some(account) => format!("{:?}", self.notes.get(&account)),
                None => self.transfers.to_string(),
            },
            Read::NativeBalance { .. } | Read::AccountOwner { .. } | Read::Delegation { .. } => {
                String::new()
            }
        }
    }
}

/// The account in the calldata of a function that takes one.
fn account_in(calldata: &[u8]) -> Option<Address> {
    let word = calldata.get(4..36)?;
    Some(Address::from_bytes(word[12..].try_into().unwrap()))
}

/// Whom and what a read is about.
fn about(read: &Read) -> (Option<Address>, Option<Address>) {
    match read {
        Read::Erc721Balance { contract, owner }
        | Read::Erc20Balance { contract, owner }
        | Read::Erc1155Balance {
            contract, owner, ..
        }
        | Read::Erc1155Balances {
            contract, owner, ..
        } => (Some(*contract), Some(*owner)),
        Read::Erc721Owner { contract, .. } | Read::Erc4907User { contract, .. } => {
            (Some(*contract), None)
        }
        Read::View {
            contract, calldata, ..
        } => (Some(*contract), account_in(calldata)),
        Read::NativeBalance { owner } => (None, Some(*owner)),
        Read::AccountOwner { account } => (Some(*account), None),
        Read::Delegation { registry, .. } => (Some(*registry), None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_transfer_touches_what_it_changes_and_nothing_of_others(
        gates in vec(vec(leaf(), 1..5), 1..4),
        earlier in vec(transfer(), 0..4),
        transfer in transfer(),
        on in select(CHAINS.to_vec()),
        holders in holders(),
    ) {
        let config = config(&gates);
        let touched = config.touched(chain(on), &transfer);
        let set: BTreeSet<&FactKey> = touched.iter().collect();
        prop_assert_eq!(set.len(), touched.len(), "each once");

        let mut ledger = Ledger::default();
        let same = |other: &&Transfer| other.contract == transfer.contract;
        earlier.iter().filter(same).for_each(|transfer| ledger.carry_out(transfer));
        let reads: BTreeSet<FactKey> = config.gates().iter().flat_map(|gate| gate.reads(&holders)).collect();
        let before: Vec<String> = reads.iter().map(|key| ledger.answer(&key.read)).collect();
        ledger.carry_out(&transfer);
        for (key, before) in reads.iter().zip(before) {
            let here = key.chain == chain(on) && about(&key.read).0 == Some(transfer.contract);
            let changed = here && ledger.answer(&key.read) != before;
            prop_assert!(!changed || set.contains(key), "{:?} is not touched by {:?}", key, transfer);
        }
        let parties: Vec<_> = transfer.parties().collect();
        for key in &touched {
            let (contract, account) = about(&key.read);
            prop_assert_eq!((key.chain, contract), (chain(on), Some(transfer.contract)), "{:?}", key);
            prop_assert!(account.is_none_or(|account| parties.contains(&account)), "{:?}", key);
        }
    }
}

/// Each kind of requirement of each kind of transfer, by name.
#[test]
fn each_requirement_is_touched_under_its_own_keys() {
    let at = format!("chain = \"eip155:1\", contract = \"{}\"", address(0xa1));
    let (from, to) = (address(1), address(2));
    let contract = address(0xa1);
    let transfer = |tokens| Transfer {
        contract,
        from,
        to,
        tokens,
        block: 7,
        removed: false,
    };
    let one = |id: u64| U256::from(id);
    let touched = |require: String, tokens| -> Vec<Read> {
        let config = config(&[vec![], vec![require]]);
        let keys = config.touched(chain(1), &transfer(tokens));
        assert!(
            config
                .touched(chain(10), &transfer(Tokens::Amount))
                .is_empty()
        );
        keys.into_iter().map(|key| key.read).collect()
    };
    let owners = |read: &dyn Fn(Address) -> Read| vec![read(from), read(to)];
    let token = |token_id| Read::Erc721Owner { contract, token_id };
    for tokens in [
        Tokens::Amount,
        Tokens::Token(one(3)),
        Tokens::Kinds(vec![one(3)]),
    ] {
        assert_eq!(
            touched(format!("{{ erc721 = {{ {at} }} }}"), tokens.clone()),
            owners(&|owner| Read::Erc721Balance { contract, owner })
        );
        assert_eq!(
            touched(
                format!("{{ erc20 = {{ {at}, at_least = \"1\" }} }}"),
                tokens
            ),
            owners(&|owner| Read::Erc20Balance { contract, owner })
        );
    }
    let listed = format!("{{ erc721 = {{ {at}, token_ids = [\"3\", \"4\"] }} }}");
    assert_eq!(
        touched(listed.clone(), Tokens::Token(one(3))),
        [token(one(3))]
    );
    assert_eq!(touched(listed.clone(), Tokens::Token(one(5))), []);
    let range = |first, last| Tokens::Range(one(first), one(last));
    assert_eq!(touched(listed.clone(), range(4, 5_000)), [token(one(4))]);
    assert_eq!(
        touched(listed.clone(), range(0, 4)),
        [token(one(3)), token(one(4))]
    );
    assert_eq!(touched(listed.clone(), range(5, 5_000)), []);
    assert_eq!(
        touched(listed, Tokens::Amount),
        [token(one(3)), token(one(4))],
        "it does not say which"
    );
    let rented = format!("{{ erc4907 = {{ {at}, token_ids = [\"3\"] }} }}");
    let user = Read::Erc4907User {
        contract,
        token_id: one(3),
    };
    assert_eq!(touched(rented, Tokens::Token(one(3))), [user]);
    // For a wallet the list, and for a vault each of its ids; of those, the ones that were transferred.
    let kinds = format!("{{ erc1155 = {{ {at}, token_ids = [\"3\", \"4\"] }} }}");
    let mut both = owners(&|owner| Read::Erc1155Balance {
        contract,
        owner,
        id: one(3),
    });
    both.extend(owners(&|owner| Read::Erc1155Balances {
        contract,
        owner,
        ids: vec![one(3), one(4)],
    }));
    assert_eq!(touched(kinds.clone(), Tokens::Kinds(vec![one(3)])), both);
    assert_eq!(touched(kinds, Tokens::Kinds(vec![one(5)])), []);
    // A call about an account is asked about two of them, and one about nobody once.
    let call = |function: &str, args: &str, value: &str| {
        format!(
            "{{ call = {{ {at}, function = \"{function}\", args = [{args}], compare = \"==\", value = \"{value}\" }} }}"
        )
    };
    let tier = call(
        "function tierOf(address a) view returns (uint256)",
        "\"$address\"",
        "3",
    );
    assert_eq!(touched(tier, Tokens::Amount).len(), 2);
    for of_all in [
        call("function isOpen() view returns (bool)", "", "true"),
        call("function owner() view returns (address)", "", "$address"),
    ] {
        assert_eq!(touched(of_all, Tokens::Amount).len(), 1);
    }
}
