//! The contracts that gates name: whether they are there, and whether they are what the gates take them for.
//!
//! `balanceOf(address)` is the same function in ERC-20, ERC-721 and ERC-404, so that a gate over the wrong kind of token is
//! answered all the same: it opens for the least fraction of a token, or never.

mod named;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use tokengate_core::abi::{erc20, erc165};
use tokengate_core::config::Chain;
use tokengate_core::fact::{Read, Value};
use tokengate_core::jsonrpc::{self, Answer, BlockTag, Call, ReplyError, Request};
use tokengate_core::secret::Secret;
use tokengate_core::{Address, ChainId, U256};

use self::named::{Amount, Named, named};
use super::{Finding, MAX_REPLY_LEN};
use crate::ports::Ports;
use crate::state::Installation;
use crate::timeout::within;

/// The most calls in one JSON-RPC batch: what common providers take.
const MAX_BATCH: usize = 100;
/// The most requests for code in one: each answer may be 50 KB.
const MAX_CODES: usize = 8;
/// Calls at once, to a provider that takes no batches.
const AT_ONCE: usize = 8;
/// The decimal places of the chain's own currency: wei.
const ETHER: u8 = 18;
/// An amount without `decimals` below the thousandth part of one: 3 places.
const FAR_BELOW: u8 = 3;

/// What was found out about a contract that gates name. What was not found out is `None`.
#[derive(Clone, Debug, Serialize)]
pub struct ContractReport {
    /// Its chain.
    pub chain: ChainId,
    /// Where it is; the chain's own currency is none.
    pub contract: Option<Address>,
    /// What gates take it for: the name of the condition, or `delegation` for a delegate registry.
    pub kind: &'static str,
    /// The gates that name it so, in the order of the file.
    pub gates: Vec<String>,
    /// What it calls its tokens: graphic ASCII, whatever it answers.
    pub symbol: Option<String>,
    /// The decimal places of its amounts.
    pub decimals: Option<u8>,
    /// The amount that is demanded, in smallest units.
    pub at_least: Option<String>,
    /// The same in whole units, by what the contract says of its decimals.
    pub at_least_whole: Option<String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Looks at the contracts of a chain through the first of its providers that answers for the chain. `None`: none does.
pub(super) async fn examine<P: Ports>(
    installation: &Installation,
    ports: &P,
    chain: &Chain,
    deadline: Duration,
) -> Option<Vec<ContractReport>> {
    let named = named(installation.config(), chain.id);
    if named.is_empty() {
        return Some(Vec::new());
    }
    for url in installation.providers(chain.id) {
        let node = Node {
            ports,
            url,
            deadline,
        };
        if let Some(answers) = node.answers(chain.id, &named).await {
            let report = |(named, gates): (Named, Vec<String>)| answers.report(chain, named, gates);
            return Some(named.into_iter().map(report).collect());
        }
    }
    None
}

/// What a contract answered to a probe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Something that decisions can rest on.
    Answered,
    /// Nothing, with success: as an address without code does.
    Nothing,
    /// Something that is no answer, or a revert that is none.
    Unreadable,
    /// The node had no answer.
    Unknown,
}

/// What the contracts of a chain answered.
struct Answers {
    /// By contract and calldata.
    calls: BTreeMap<(Address, Vec<u8>), Result<Vec<u8>, ReplyError>>,
    /// Addresses without code.
    empty: BTreeSet<Address>,
}

struct Node<'a, P> {
    ports: &'a P,
    url: &'a Secret<String>,
    deadline: Duration,
}

impl<P: Ports> Node<'_, P> {
    /// What the contracts say; `None` from a provider that does not answer, or for another chain.
    async fn answers(&self, chain: ChainId, named: &[(Named, Vec<String>)]) -> Option<Answers> {
        let identity = self.ask(&[jsonrpc::eth_chain_id()]).await?.pop()?;
        if identity.ok()?.quantity().ok()? != chain.id() {
            return None;
        }
        let mut wanted = BTreeSet::new();
        for (named, _) in named {
            if let Some(contract) = named.contract {
                let about_it = [
                    erc165::supports_interface(erc165::ERC721),
                    erc165::supports_interface(erc165::ERC1155),
                    erc165::supports_interface(erc165::NONE),
                    erc20::decimals(),
                    erc20::symbol(),
                ];
                wanted.extend(about_it.map(|calldata| (contract, calldata)));
            }
            wanted.extend(named.probe.as_ref().and_then(Read::call));
        }
        let wanted: Vec<_> = wanted.into_iter().collect();
        let mut calls = BTreeMap::new();
        for part in wanted.chunks(MAX_BATCH) {
            let requests: Vec<_> = part
                .iter()
                .map(|(to, calldata)| {
                    jsonrpc::eth_call(&Call::to(*to, calldata.clone()), BlockTag::Latest)
                })
                .collect();
            let answers = self.ask(&requests).await?;
            let data = answers.into_iter().map(|answer| answer?.data());
            calls.extend(part.iter().cloned().zip(data));
        }
        let mut answers = Answers {
            calls,
            empty: BTreeSet::new(),
        };
        let silent: BTreeSet<_> = named
            .iter()
            .filter(|(named, _)| answers.probe(named) == Probe::Nothing)
            .filter_map(|(named, _)| named.contract)
            .collect();
        let silent: Vec<_> = silent.into_iter().collect();
        for part in silent.chunks(MAX_CODES) {
            let requests: Vec<_> = part.iter().copied().map(jsonrpc::eth_get_code).collect();
            let codes = self.ask(&requests).await?;
            for (address, code) in part.iter().zip(codes) {
                if code
                    .and_then(|code| code.data())
                    .is_ok_and(|code| code.is_empty())
                {
                    answers.empty.insert(*address);
                }
            }
        }
        Some(answers)
    }

    /// The answers to all requests: of one batch, or one by one where the provider takes none.
    async fn ask(&self, requests: &[Request]) -> Option<Vec<Result<Answer, ReplyError>>> {
        if requests.len() > 1
            && let Some(reply) = self.send(jsonrpc::batch(requests)).await
            && let Ok(answers) = jsonrpc::batched(&reply, requests.len())
        {
            return Some(answers);
        }
        let singly = requests.iter().map(|request| async move {
            let reply = self.send(request.to_body()).await?;
            Some(Answer::read(&reply))
        });
        let answers: Vec<_> = stream::iter(singly).buffered(AT_ONCE).collect().await;
        answers.into_iter().collect()
    }

    async fn send(&self, body: Vec<u8>) -> Option<Vec<u8>> {
        let call = self.ports.post(self.url.expose(), body, MAX_REPLY_LEN);
        let reply = within(self.ports, self.deadline, call).await?.ok()?;
        (reply.status == 200).then_some(reply.body)
    }
}

impl Answers {
    fn call(&self, contract: Address, calldata: Vec<u8>) -> Option<&[u8]> {
        let answer = self.calls.get(&(contract, calldata))?;
        answer.as_ref().ok().map(Vec::as_slice)
    }

    /// Whether it says that it has an interface. What says so of every interface says nothing.
    fn supports(&self, contract: Address, id: [u8; 4]) -> bool {
        let says = |id| {
            let answer = self.call(contract, erc165::supports_interface(id));
            answer.is_some_and(|answer| {
                erc165::decode_supports_interface(answer).is_ok_and(|supports| supports)
            })
        };
        says(id) && !says(erc165::NONE)
    }

    fn probe(&self, named: &Named) -> Probe {
        let Some(read) = &named.probe else {
            return Probe::Answered;
        };
        let is_readable = |value: Result<Value, _>| match value {
            Ok(_) => Probe::Answered,
            Err(_) => Probe::Unreadable,
        };
        match read.call().and_then(|call| self.calls.get(&call)) {
            Some(Ok(returned)) if returned.is_empty() => Probe::Nothing,
            Some(Ok(returned)) => is_readable(read.decode(returned)),
            Some(Err(ReplyError::Reverted(data))) => is_readable(read.reverted(data)),
            Some(Err(_)) | None => Probe::Unknown,
        }
    }

    fn report(&self, chain: &Chain, named: Named, gates: Vec<String>) -> ContractReport {
        let call = |calldata: Vec<u8>| self.call(named.contract?, calldata);
        let symbol = call(erc20::symbol()).and_then(|answer| erc20::decode_symbol(answer).ok());
        let decimals = match named.contract {
            None => Some(ETHER),
            Some(_) => {
                call(erc20::decimals()).and_then(|answer| erc20::decode_decimals(answer).ok())
            }
        };
        let whole = named.amount.zip(decimals);
        let findings = self.findings(chain.id, &named, &gates, decimals);
        ContractReport {
            chain: chain.id,
            contract: named.contract,
            kind: named.kind,
            gates,
            symbol,
            decimals,
            at_least: named.amount.map(|amount| amount.units.to_string()),
            at_least_whole: whole.map(|(amount, decimals)| in_whole_units(amount.units, decimals)),
            findings,
        }
    }

    fn findings(
        &self,
        chain: ChainId,
        named: &Named,
        gates: &[String],
        decimals: Option<u8>,
    ) -> Vec<Finding> {
        let correct = format!("correct the condition in {}", gates_named(gates));
        let Some(contract) = named.contract else {
            return amount(named.amount, decimals, &correct)
                .into_iter()
                .collect();
        };
        if self.empty.contains(&contract) {
            return vec![no_code(chain, contract, named.kind, gates)];
        }
        let (is_erc721, is_erc1155) = (
            self.supports(contract, erc165::ERC721),
            self.supports(contract, erc165::ERC1155),
        );
        let wrong = |is: &str| {
            let problem = format!("{contract} is no {} contract: {is}", named.kind);
            Finding::error("wrong-interface", problem, correct.clone())
        };
        let finding = match (named.kind, self.probe(named)) {
            ("erc721" | "erc4907", _) if is_erc1155 && !is_erc721 => {
                Some(wrong("it says that it is ERC-1155"))
            }
            ("erc1155", _) if is_erc721 && !is_erc1155 => Some(wrong("it says that it is ERC-721")),
            ("erc20", _) if is_erc1155 && !is_erc721 => Some(wrong("it says that it is ERC-1155")),
            // The account asked about may matter to a function of any kind, and to a registry that it has delegated nothing in.
            ("call", Probe::Unreadable) => Some(Finding::warning(
                "no-answer",
                format!(
                    "what {contract} answers about an account that has nothing is no answer: there is no verdict on such accounts"
                ),
                format!("see that the function is the contract's, or {correct}"),
            )),
            ("delegation", Probe::Unreadable | Probe::Nothing) => Some(Finding::warning(
                "no-registry",
                format!("{contract} is no delegate registry: no vault's delegate is let in"),
                format!(
                    "set `registry` in the `delegation` of {}, or remove that",
                    gates_named(gates)
                ),
            )),
            (kind, Probe::Unreadable | Probe::Nothing) => Some(Finding::error(
                "no-answer",
                format!("what {contract} answers is no answer of {kind}: there is never a verdict"),
                correct.clone(),
            )),
            ("erc721", _) => erc721(contract, named, is_erc721, decimals, &wrong),
            ("erc1155", Probe::Answered) if !is_erc1155 => Some(unconfirmed(contract, "ERC-1155")),
            ("erc20", _) if is_erc721 => Some(counted_by_token(contract, named, &wrong)),
            _ => None,
        };
        let of_amount = match named.kind {
            "erc20" if !is_erc721 && !is_erc1155 => amount(named.amount, decimals, &correct),
            _ => None,
        };
        finding.into_iter().chain(of_amount).collect()
    }
}

fn no_code(chain: ChainId, contract: Address, kind: &str, gates: &[String]) -> Finding {
    let gates = gates_named(gates);
    let code = "no-contract";
    let problem = format!("there is no contract at {contract} on {chain}");
    match kind {
        // It shuts out none but delegates.
        "delegation" => Finding::warning(
            code,
            format!("{problem}: no vault's delegate is let in"),
            format!("set `registry` in the `delegation` of {gates}, or remove that"),
        ),
        "erc6551_owner" => Finding::error(
            code,
            format!(
                "{problem}: the account is not deployed, so it has no owner that could be read"
            ),
            format!("deploy the account, or correct its address in {gates}"),
        ),
        _ => Finding::error(
            code,
            format!("{problem}: there is never a verdict"),
            format!("correct the address or the chain in {gates}"),
        ),
    }
}

/// ERC-721 is told by what it says of itself; decimals are what fungible tokens have.
fn erc721(
    contract: Address,
    named: &Named,
    is_erc721: bool,
    decimals: Option<u8>,
    wrong: &dyn Fn(&str) -> Finding,
) -> Option<Finding> {
    match decimals.filter(|decimals| *decimals > 0) {
        Some(decimals) if !is_erc721 => Some(wrong(&format!(
            "it has {decimals} decimals and does not say that it is ERC-721, so it opens for the least fraction of a token"
        ))),
        // Who owns a named token is one account, whatever else is counted in fractions.
        Some(decimals) if named.is_balance => Some(Finding::warning(
            "fractions",
            format!(
                "{contract} says that it is ERC-721 and has {decimals} decimals, as ERC-404: what it counts may be fractions of tokens"
            ),
            "name `token_ids`, or write an erc20 condition with `decimals`",
        )),
        _ if !is_erc721 => Some(unconfirmed(contract, "ERC-721")),
        _ => None,
    }
}

fn unconfirmed(contract: Address, standard: &str) -> Finding {
    Finding::warning(
        "unconfirmed-interface",
        format!("{contract} does not say that it is {standard} (ERC-165)"),
        "see that it is the contract that you mean; tokens from before ERC-165 do not say",
    )
}

/// ERC-721 named as ERC-20: its tokens are counted whole.
fn counted_by_token(contract: Address, named: &Named, wrong: &dyn Fn(&str) -> Finding) -> Finding {
    let written_with = named.amount.and_then(|amount| amount.written_with);
    if written_with.is_some_and(|decimals| decimals > 0) {
        return wrong(
            "it says that it is ERC-721, whose tokens have no decimals, so no account has so many",
        );
    }
    Finding::warning(
        "counts-tokens",
        format!("{contract} says that it is ERC-721: the amount is a number of tokens"),
        "write an erc721 condition",
    )
}

/// What is wrong with an amount, by the decimal places that it has.
fn amount(amount: Option<Amount>, decimals: Option<u8>, correct: &str) -> Option<Finding> {
    let amount = amount?;
    match (amount.written_with, decimals) {
        (Some(written), Some(decimals)) if written != usize::from(decimals) => {
            Some(Finding::error(
                "decimals",
                format!(
                    "the amount is written with {written} decimals and the token has {decimals}: it is {} in whole units",
                    in_whole_units(amount.units, decimals)
                ),
                format!("{correct}: write `decimals = {decimals}`"),
            ))
        }
        (Some(written), None) if written > 0 => Some(Finding::warning(
            "no-decimals",
            format!(
                "the amount is written with {written} decimals and the token does not say that it has any"
            ),
            "see that the amount is the one that you mean",
        )),
        (None, Some(decimals)) if is_far_below_one(amount.units, decimals) => {
            Some(Finding::warning(
                "small-amount",
                format!(
                    "the amount is in smallest units: {} is {} in whole ones",
                    amount.units,
                    in_whole_units(amount.units, decimals)
                ),
                format!("{correct}: add `decimals = {decimals}` if whole units are meant"),
            ))
        }
        _ => None,
    }
}

fn is_far_below_one(units: U256, decimals: u8) -> bool {
    let places = decimals.saturating_sub(FAR_BELOW);
    places > 0
        && U256::from(10)
            .checked_pow(U256::from(places))
            .is_none_or(|bound| units < bound)
}

/// A number of smallest units as one of whole units.
fn in_whole_units(units: U256, decimals: u8) -> String {
    let decimals = usize::from(decimals);
    let digits = format!("{:0>width$}", units.to_string(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

fn gates_named(gates: &[String]) -> String {
    match gates {
        [gate] => format!("gate {gate}"),
        gates => format!("gates {}", gates.join(", ")),
    }
}
