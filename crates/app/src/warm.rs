//! Facts read before anybody asks for them: behind a sign-in, and for a drop that an operator expects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokengate_core::ChainId;
use tokengate_core::config::{Config, Warm};
use tokengate_core::domain::Domain;
use tokengate_core::eip4361::Message;
use tokengate_core::fact::{FactKey, Facts, Known};
use tokengate_core::gate::Gate;
use tokengate_core::resource::Resource;
use tokengate_core::wallet::Holders;

use crate::decide;
use crate::memory::flights::Course;
use crate::ports::Ports;
use crate::problem::Problem;
use crate::router::Context;
use crate::store;

/// How many facts are looked up, and read from one chain, at once.
const AT_ONCE: usize = 256;

/// What was warmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Facts that the gates rest on.
    pub(crate) wanted: usize,
    /// Of these, those that were in the store and have half of their time ahead of them.
    pub(crate) known: usize,
    /// Those that were read and kept.
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

/// Reads what `gates` rest on for each of `holders`, unless it is known and young.
///
/// # Errors
/// [`Problem::Misconfigured`], for a service that was loaded without its configuration.
pub(crate) async fn read<P: Ports>(
    context: &Context<'_, P>,
    gates: &[&Gate],
    holders: &[Holders],
) -> Result<Report, Problem> {
    let mut report = Report::default();
    // Facts that several providers agreed on are kept apart: each group is read as its gates will look for it.
    let mut groups: BTreeMap<usize, Vec<&Gate>> = BTreeMap::new();
    for gate in gates {
        groups.entry(gate.agreement).or_default().push(gate);
    }
    for (agreement, gates) in groups {
        let keys = keys(context, &gates, holders);
        let wanted = keys.len();
        let young = gates.iter().map(|gate| gate.fresh / 2).min();
        let lacking = lacking(context, agreement, keys, young.unwrap_or_default()).await?;
        report.wanted += wanted;
        report.known += wanted.saturating_sub(lacking.values().map(Vec::len).sum());
        for (chain, keys) in lacking {
            for keys in keys.chunks(AT_ONCE) {
                read_chain(context, chain, agreement, keys, &mut report).await;
            }
        }
    }
    Ok(report)
}

/// What the gates rest on, but for whom the configuration alone lets in.
fn keys<P: Ports>(
    context: &Context<'_, P>,
    gates: &[&Gate],
    holders: &[Holders],
) -> BTreeSet<FactKey> {
    let (facts, now) = (Facts::default(), context.ports.now());
    let mut keys = BTreeSet::new();
    for gate in gates {
        for holders in holders {
            if !gate.holds_by_configuration(holders, &facts.within(Duration::ZERO, now)) {
                keys.extend(gate.reads(holders));
            }
        }
    }
    keys
}

/// Those of `keys` that the store does not know, or not of late, by chain.
async fn lacking<P: Ports>(
    context: &Context<'_, P>,
    agreement: usize,
    keys: BTreeSet<FactKey>,
    young: Duration,
) -> Result<BTreeMap<ChainId, Vec<FactKey>>, Problem> {
    let limit = context.service.config()?.deadlines.store;
    let mut lacking: BTreeMap<ChainId, Vec<FactKey>> = BTreeMap::new();
    let keys = Vec::from_iter(keys);
    for keys in keys.chunks(AT_ONCE) {
        let named: Vec<_> = keys.iter().collect();
        let known = store::facts(context, limit, agreement, &named).await;
        let now = context.ports.now();
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

async fn read_chain<P: Ports>(
    context: &Context<'_, P>,
    chain: ChainId,
    agreement: usize,
    keys: &[FactKey],
    report: &mut Report,
) {
    let course = Course {
        chain,
        agreement,
        keys: keys.iter().cloned().collect(),
        floor: 0,
        known: BTreeMap::new(),
    };
    let landing = decide::land(context, course, context.ports.now()).await;
    for fault in landing.faults {
        context.record.fault(fault);
    }
    report.failed += keys.len().saturating_sub(landing.answers.len());
    let mut kept = Vec::new();
    for (key, answer) in landing.answers {
        match answer {
            Ok(fact) => kept.push((key, fact)),
            Err(_) => report.unreadable += 1,
        }
    }
    report.read += kept.len();
    if !kept.is_empty() {
        store::keep(context, agreement, kept).await;
    }
}
