//! `tokengate check`: what a gate says of an address and why, read from the chain now or at a past block.

use std::collections::BTreeSet;

use anyhow::{bail, ensure};
use serde_json::{Map, Value, json};
use tokengate_app::state::Installation;
use tokengate_app::{Explanation, Telemetry};
use tokengate_core::gate::{Gate, Truth};
use tokengate_core::wallet::{Holders, Wallet};
use tokengate_core::{ChainId, rfc3339};

use super::demo::Demo;
use super::{Answer, Installed, run};
use crate::cli::{AtBlock, Check};

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const UNKNOWN: u8 = 3;

pub(crate) fn check(asked: &Check) -> anyhow::Result<Answer> {
    let demo = asked.demo.demo.as_deref().map(Demo::read).transpose()?;
    let installed = Installed::of(demo.as_ref(), &asked.origin)?;
    run(&installed, async |ports| {
        let mut installed = Installation::load(ports).await?;
        let blocks = {
            let gate = find(&installed, &asked.gate)?;
            let chains = chains(gate, asked);
            at_blocks(&asked.blocks, &chains, &asked.gate)?
        };
        for (chain, block) in blocks {
            installed.read_at_block(chain, block);
        }
        let gate = find(&installed, &asked.gate)?;
        let telemetry = Telemetry::default();
        let explanation = installed
            .explain(ports, &telemetry, gate, holders(asked))
            .await
            .map_err(|problem| anyhow::anyhow!("{}", problem.code()))?;
        let faults = telemetry.errors();
        let text = if asked.json {
            format!("{}\n", document(asked, &explanation, &faults))
        } else {
            text(asked, gate, &explanation, &faults)
        };
        let code = match explanation.truth {
            Truth::Yes => OPEN,
            Truth::No => CLOSED,
            Truth::Unknown => UNKNOWN,
        };
        Ok(Answer { text, code })
    })
}

fn find<'a>(installed: &'a Installation, id: &str) -> anyhow::Result<&'a Gate> {
    let config = installed.config();
    if let Some(gate) = config.gate(id) {
        return Ok(gate);
    }
    let known: Vec<&str> = config.gates().iter().map(|gate| gate.id.as_str()).collect();
    bail!(
        "there is no gate {id:?}: tokengate.toml has {}",
        known.join(", ")
    )
}

/// Whom the question is about.
fn holders(asked: &Check) -> Holders {
    Holders::new([Wallet::of_key(asked.address)], asked.vault)
}

/// The chains that the gate reads.
fn chains(gate: &Gate, asked: &Check) -> BTreeSet<ChainId> {
    gate.reads(&holders(asked))
        .into_iter()
        .map(|key| key.chain)
        .collect()
}

/// Which chain is read at which block.
fn at_blocks(
    asked: &[AtBlock],
    chains: &BTreeSet<ChainId>,
    gate: &str,
) -> anyhow::Result<Vec<(ChainId, u64)>> {
    let list = || {
        let names: Vec<String> = chains.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    let mut blocks: Vec<(ChainId, u64)> = Vec::new();
    for &AtBlock { chain, number } in asked {
        let chain = match chain {
            Some(chain) => chain,
            None => {
                let mut only = chains.iter();
                match (only.next(), only.next()) {
                    (Some(chain), None) => *chain,
                    _ => {
                        let each: Vec<String> = chains
                            .iter()
                            .map(|chain| format!("--block {chain}={number}"))
                            .collect();
                        bail!(
                            "--block {number}: gate {gate:?} reads several chains, whose blocks have numbers of their own: write {}",
                            each.join(" ")
                        )
                    }
                }
            }
        };
        ensure!(
            chains.contains(&chain),
            "--block {chain}={number}: gate {gate:?} does not read that chain, but {}",
            list()
        );
        ensure!(
            blocks.iter().all(|(other, _)| *other != chain),
            "--block: {chain} is given two blocks; give it one"
        );
        blocks.push((chain, number));
    }
    Ok(blocks)
}

/// The members are those of `GET /v1/gates/{id}/check`, with the basis and what failed.
fn document(asked: &Check, explanation: &Explanation, faults: &[String]) -> Value {
    let granted = match explanation.truth {
        Truth::Yes => Some(true),
        Truth::No => Some(false),
        Truth::Unknown => None,
    };
    let basis: Vec<Value> = explanation
        .basis
        .iter()
        .map(|basis| json!({"chain": basis.chain, "block": basis.block, "fetched_at": rfc3339::format(basis.read_at)}))
        .collect();
    json!({
        "gate": asked.gate,
        "address": asked.address,
        "vault": asked.vault,
        "granted": granted,
        "explain": explanation.tree,
        "basis": basis,
        "faults": faults,
    })
}

fn text(asked: &Check, gate: &Gate, explanation: &Explanation, faults: &[String]) -> String {
    let Check { address, vault, .. } = asked;
    let verdict = match explanation.truth {
        Truth::Yes => "open",
        Truth::No => "closed",
        Truth::Unknown => "could not find out",
    };
    let mut text = format!("{}: {verdict} for {address}", gate.id);
    if let Some(vault) = vault {
        text.push_str(&format!(", vault {vault}"));
    }
    text.push('\n');
    draw(&explanation.tree, "", 1, &mut text);
    for basis in &explanation.basis {
        let time = rfc3339::format(basis.read_at);
        text.push_str(&format!(
            "block {} of {}, read {time}\n",
            basis.block, basis.chain
        ));
    }
    if vault.is_some() && gate.delegation.is_none() {
        text.push_str("note: this gate takes no delegations, so the vault counts for nothing\n");
    }
    for fault in faults {
        text.push_str(&format!("fault: {fault}\n"));
    }
    if explanation.truth == Truth::Unknown && !asked.blocks.is_empty() {
        text.push_str("note: a provider may not keep the state of that block; `tokengate doctor` says whether it is an archive\n");
    }
    text
}

const NOT: &str = "not ";

/// The tree, a condition per line. It is drawn from the JSON that everybody gets, so that both say the same.
fn draw(tree: &Value, label: &str, depth: usize, into: &mut String) {
    let indent = "  ".repeat(depth);
    let Some(members) = tree.as_object() else {
        return;
    };
    if let Some(needs) = members.get("needs").and_then(Value::as_str) {
        // The sign is that of the condition as it reads, its `not` included.
        let negated = label.matches(NOT).count() % 2 == 1;
        let sign = match members.get("met").and_then(Value::as_bool) {
            Some(met) if met != negated => '✓',
            Some(_) => '✗',
            None => '?',
        };
        let has = members.get("has").and_then(Value::as_str).unwrap_or("?");
        let what = leaf(members);
        into.push_str(&format!(
            "{indent}{sign} {label}{what}: needs {needs}, has {has}\n"
        ));
        return;
    }
    for (name, inner) in members {
        match (name.as_str(), inner) {
            ("not", inner) => draw(inner, &format!("{label}{NOT}"), depth, into),
            (_, Value::Array(parts)) => {
                into.push_str(&format!("{indent}{label}{name} of\n"));
                parts
                    .iter()
                    .for_each(|part| draw(part, "", depth + 1, into));
            }
            (name, Value::Object(group)) => {
                let count = group
                    .get("count")
                    .map(ToString::to_string)
                    .unwrap_or_default();
                into.push_str(&format!(
                    "{indent}{label}{} {count} of\n",
                    name.replace('_', " ")
                ));
                let parts = group.get("of").and_then(Value::as_array);
                parts
                    .into_iter()
                    .flatten()
                    .for_each(|part| draw(part, "", depth + 1, into));
            }
            _ => {}
        }
    }
}

/// What a leaf is about: its kind, and all that the configuration says of it but the threshold, which it needs.
fn leaf(members: &Map<String, Value>) -> String {
    let kind = members
        .iter()
        .find_map(|(kind, said)| Some((kind, said.as_object()?)));
    let Some((kind, said)) = kind else {
        return String::new();
    };
    let mut text = kind.clone();
    for (name, value) in said.iter().filter(|(name, _)| *name != "at_least") {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Array(list) => {
                let list: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                list.join(", ")
            }
            other => other.to_string(),
        };
        match name.as_str() {
            "contract" => text.push_str(&format!(" {value}")),
            "chain" => text.push_str(&format!(" on {value}")),
            name => text.push_str(&format!(", {} {value}", name.replace('_', " "))),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(id: u64) -> ChainId {
        ChainId::new(id).unwrap()
    }

    #[test]
    fn a_plain_block_is_of_the_only_chain() {
        let plain = [AtBlock {
            chain: None,
            number: 7,
        }];
        let one = BTreeSet::from([chain(1)]);
        assert_eq!(at_blocks(&plain, &one, "g").unwrap(), [(chain(1), 7)]);
        let two = BTreeSet::from([chain(1), chain(10)]);
        let error = at_blocks(&plain, &two, "g").unwrap_err().to_string();
        assert!(
            error.ends_with("write --block eip155:1=7 --block eip155:10=7"),
            "{error}"
        );
        let other = [AtBlock {
            chain: Some(chain(10)),
            number: 7,
        }];
        assert!(at_blocks(&other, &one, "g").is_err());
        assert_eq!(at_blocks(&other, &two, "g").unwrap(), [(chain(10), 7)]);
        let twice = [other[0], other[0]];
        assert!(at_blocks(&twice, &two, "g").is_err());
    }

    #[test]
    fn every_leaf_is_drawn_with_what_it_needs_and_what_is_there() {
        let leaf = |met: Value| json!({"erc1155": {"chain": "eip155:1", "contract": "0xab", "token_ids": ["7", "8"], "at_least": "1"}, "needs": "balance ≥ 1", "has": met.as_bool().map(|_| "0"), "met": met});
        let tree = json!({"any": [leaf(true.into()), {"at_least": {"count": 2, "of": [leaf(false.into()), {"not": leaf(Value::Null)}, {"not": leaf(false.into())}]}}]});
        let mut text = String::new();
        draw(&tree, "", 1, &mut text);
        let what = "erc1155 on eip155:1 0xab, token ids 7, 8: needs balance ≥ 1, has";
        assert_eq!(
            text,
            format!(
                "  any of\n    ✓ {what} 0\n    at least 2 of\n      ✗ {what} 0\n      ? not {what} ?\n      ✓ not {what} 0\n"
            )
        );
    }
}
