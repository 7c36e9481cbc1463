//! Prefetches facts before they are asked for: after a sign-in, and for a drop that an operator expects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokengate_core::config::{Config, Warm};
use tokengate_core::domain::Domain;
use tokengate_core::eip4361::Message;
use tokengate_core::fact::{FactKey, Facts, Known};
use tokengate_core::gate::Gate;
use tokengate_core::resource::Resource;
use tokengate_core::wallet::Holders;
use tokengate_core::{ChainId, cost};

use crate::background::Background as _;
use crate::cache::single_flight::FetchRequest;
use crate::decision::{self, FactReader};
use crate::http::problem::Problem;
use crate::ports::Ports;
use crate::rate_limit::Payer;
use crate::store;

/// How many facts are looked up, and read from one chain, at once.
const AT_ONCE: usize = 256;

/// What was warmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PrefetchReport {
    /// Facts that the gates rest on.
    pub(crate) wanted: usize,
    /// Of these, those that were in the store and have half of their time ahead of them.
    pub(crate) known: usize,
    /// Those that were read, to be kept.
    pub(crate) read: usize,
    /// Those that their contracts do not answer for.
    pub(crate) unreadable: usize,
    /// Those that no provider answered for.
    pub(crate) failed: usize,
}

/// The gates that a sign-in is for: those that the message's resources name, else all, as configured.
pub(crate) fn gates<'a>(
    config: &'a Config,
    domain: &Domain,
    message: &Message<'_>,
) -> Vec<&'a Gate> {
    let resources = message.resources.iter().flatten();
    let named: Vec<&Gate> = resources
        .filter_map(|uri| named(config, domain, uri))
        .collect();
    match config.cache.warm {
        Warm::Off => Vec::new(),
        Warm::All if named.is_empty() => config.gates().iter().collect(),
        Warm::All | Warm::Named => named,
    }
}

/// The gate that a URI of ours names, by itself or by something that it guards.
fn named<'a>(config: &'a Config, domain: &Domain, uri: &str) -> Option<&'a Gate> {
    let uri: http::Uri = uri.parse().ok()?;
    if !domain.is(uri.scheme_str(), uri.authority()?.as_str()) {
        return None;
    }
    if let Some(id) = uri.path().strip_prefix("/v1/gates/") {
        return config.gate(id);
    }
    let resource = uri.path().strip_prefix("/v1/content/")?;
    config.gate_for(&Resource::from_url_path(resource).ok()?)
}

/// Reads what `gates` rest on for each of `holders`, unless it is known and young. A payer is charged for it, and what
/// is not paid for is not read.
///
/// # Errors
/// [`Problem::TooManyRequests`].
pub(crate) async fn read<P: Ports>(
    reader: &FactReader<P>,
    gates: &[&Gate],
    holders: &[Holders],
    payer: Option<&Payer>,
) -> Result<PrefetchReport, Problem> {
    let most = payer.map_or(usize::MAX, |_| reader.config().limits.reads_per_decision);
    let mut report = PrefetchReport::default();
    // Facts that several providers agreed on are kept apart: each group is read as its gates will look for it.
    let mut groups: BTreeMap<usize, Vec<&Gate>> = BTreeMap::new();
    for gate in gates {
        groups.entry(gate.agreement).or_default().push(gate);
    }
    for (agreement, gates) in groups {
        let keys = keys(reader, &gates, holders, most);
        let wanted = keys.len();
        let young = gates.iter().map(|gate| gate.fresh / 2).min();
        let lacking = lacking(reader, agreement, keys, young.unwrap_or_default()).await?;
        report.wanted += wanted;
        report.known += wanted.saturating_sub(lacking.values().map(Vec::len).sum());
        for (chain, keys) in lacking {
            for keys in keys.chunks(AT_ONCE) {
                read_chain(reader, chain, agreement, keys, payer, &mut report).await?;
            }
        }
    }
    Ok(report)
}

/// What the gates rest on, but for holders that the configuration alone lets in. Of more than `most` facts, what the first gates
/// rest on.
fn keys<P: Ports>(
    reader: &FactReader<P>,
    gates: &[&Gate],
    holders: &[Holders],
    most: usize,
) -> BTreeSet<FactKey> {
    let (facts, now) = (Facts::default(), reader.ports().now());
    let mut keys = BTreeSet::new();
    for gate in gates {
        for holders in holders {
            if !gate.holds_by_configuration(holders, &facts.within(Duration::ZERO, now)) {
                let reads = gate.reads(holders);
                if cost::of(&keys).saturating_add(cost::of(&reads)) > most {
                    return keys;
                }
                keys.extend(reads);
            }
        }
    }
    keys
}

/// Those of `keys` that the store does not know, or has not read recently, by chain.
async fn lacking<P: Ports>(
    reader: &FactReader<P>,
    agreement: usize,
    keys: BTreeSet<FactKey>,
    young: Duration,
) -> Result<BTreeMap<ChainId, Vec<FactKey>>, Problem> {
    let mut lacking: BTreeMap<ChainId, Vec<FactKey>> = BTreeMap::new();
    let keys = Vec::from_iter(keys);
    for keys in keys.chunks(AT_ONCE) {
        let named: Vec<_> = keys.iter().collect();
        let known = store::facts(&reader.store, agreement, &named).await;
        let now = reader.ports().now();
        for (key, known) in keys.iter().zip(known) {
            let is_young =
                matches!(known, Ok(Some(Known::Fact(fact))) if fact.is_within(young, now));
            if !is_young {
                lacking.entry(key.chain).or_default().push(key.clone());
            }
        }
    }
    Ok(lacking)
}

/// Fetches facts of one chain, or joins the fetch that is in flight.
async fn read_chain<P: Ports>(
    reader: &FactReader<P>,
    chain: ChainId,
    agreement: usize,
    keys: &[FactKey],
    payer: Option<&Payer>,
    report: &mut PrefetchReport,
) -> Result<(), Problem> {
    let request = FetchRequest {
        chain,
        agreement,
        keys: keys.iter().cloned().collect(),
        floor: 0,
        known: BTreeMap::new(),
        of_vault: BTreeSet::new(),
    };
    let max_age = reader.config().deadlines.chain;
    let in_flight = &reader.facts.single_flight;
    let in_flight = match in_flight.join(&request, reader.ports().elapsed(), max_age) {
        Some(in_flight) => in_flight,
        None => {
            decision::charge(reader, payer, request.cost()).await?;
            decision::start_fetch(reader, request, reader.ports().now())
        }
    };
    let result = in_flight.result(reader.ports()).await;
    for error in &result.errors {
        reader.telemetry().error(error.clone());
    }
    let answers = result.answers.iter();
    let answers: Vec<_> = answers.filter(|(key, _)| keys.contains(key)).collect();
    report.failed += keys.len().saturating_sub(answers.len());
    for (_, answer) in answers {
        match answer {
            Ok(_) => report.read += 1,
            Err(_) => report.unreadable += 1,
        }
    }
    Ok(())
}
