//! Fetching facts from chains, in the background and once for all who want them.

use std::collections::BTreeSet;
use std::time::Duration;

use tokengate_core::Timestamp;
use tokengate_core::fact::{Fact, FactKey, Read, Value};

use super::reader::FactReader;
use crate::background::Background as _;
use crate::cache::single_flight::{FetchRequest, FetchResult, InFlight};
use crate::http::problem::Problem;
use crate::ports::Ports;
use crate::rate_limit::Payer;
use crate::telemetry::Telemetry;
use crate::{chain, store};

/// The most facts that an instance has in flight from chains: what it takes to ask for them and to read the answers has
/// to fit into its memory several times.
const MAX_IN_FLIGHT: usize = 8_192;

/// Charges a payer, if there is one, for fetching so many facts.
///
/// # Errors
/// [`Problem::TooManyRequests`]; [`Problem::ChainUnavailable`] while the instance is reading as much as it can.
pub(crate) async fn charge<P: Ports>(
    reader: &FactReader<P>,
    payer: Option<&Payer>,
    facts: usize,
) -> Result<(), Problem> {
    if facts == 0 {
        return Ok(());
    }
    let flying = reader.facts.single_flight.cost();
    if flying > 0 && flying.saturating_add(facts) > MAX_IN_FLIGHT {
        reader
            .telemetry()
            .error("as many fetches are in flight as fit into memory".into());
        return Err(Problem::ChainUnavailable);
    }
    match payer {
        Some(payer) => payer.charge(reader.limiter(), facts).await,
        None => Ok(()),
    }
}

/// Begins a fetch that other requests may join, in the background: it goes on to its end whether or not they wait.
pub(crate) fn start_fetch<P: Ports>(
    reader: &FactReader<P>,
    request: FetchRequest,
    now: Timestamp,
) -> InFlight {
    let begun = reader.ports().elapsed();
    let (id, in_flight) = reader.facts.single_flight.start(request.clone(), begun);
    let shared = in_flight.clone();
    reader.in_background(async move |reader: &FactReader<P>| {
        let agreement = request.agreement;
        // What waits for it goes on whatever becomes of this.
        let guard = reader.facts.single_flight.guard(id, shared);
        let result = fetch(reader, request.clone(), now).await;
        let doubt = result.doubt;
        let settled = settle(reader, &request, &result, begun);
        guard.set(result);
        keep(reader, agreement, settled).await;
        // It was believed before all providers had said how far the chain is, and one of them says now that it was behind.
        if let Some(doubt) = doubt
            && chain::is_refuted(&reader.chain, request.chain, doubt).await
        {
            let begun = reader.ports().elapsed();
            let result = fetch(reader, request.clone(), reader.ports().now()).await;
            for error in &result.errors {
                reader.telemetry().error(error.clone());
            }
            let settled = settle(reader, &request, &result, begun);
            keep(reader, agreement, settled).await;
        }
    });
    in_flight
}

/// What a fetch changes in the shared store: facts to be kept, and those that have to go.
struct Settled {
    kept: Vec<(FactKey, Fact)>,
    /// Vaults that are not shown to have named a delegate: a client can name any number of them.
    unproven: BTreeSet<FactKey>,
    dropped: Vec<FactKey>,
}

/// Puts what a fetch that began at `begun` has come to into the instance's memory.
fn settle<P: Ports>(
    reader: &FactReader<P>,
    request: &FetchRequest,
    result: &FetchResult,
    begun: Duration,
) -> Settled {
    let (memory, agreement) = (&reader.facts, request.agreement);
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    let unproven = if is_delegated(request, result) {
        BTreeSet::new()
    } else {
        request.of_vault.clone()
    };
    for (key, answer) in &result.answers {
        match answer {
            Ok(fact) => {
                if unproven.contains(key) {
                    memory.cache.remove(agreement, key);
                } else {
                    memory.cache.put(agreement, key, fact, begun);
                }
                kept.push((key.clone(), fact.clone()));
            }
            Err(_) => {
                memory.cache.remove(agreement, key);
                dropped.push(key.clone());
            }
        }
    }
    Settled {
        kept,
        unproven,
        dropped,
    }
}

/// Puts it into the shared store.
async fn keep<P: Ports>(reader: &FactReader<P>, agreement: usize, settled: Settled) {
    if !settled.kept.is_empty() {
        store::keep(
            &reader.store,
            agreement,
            settled.kept,
            &settled.unproven,
            |key, fact| reader.chain.is_reorged(key, fact),
        )
        .await;
    }
    for key in &settled.dropped {
        store::drop_fact(&reader.store, agreement, key).await;
    }
}

/// Whether the vault that part of the reads are about is shown to have named a delegate.
fn is_delegated(request: &FetchRequest, result: &FetchResult) -> bool {
    let mut answers = result.answers.iter();
    answers.any(|(key, answer)| {
        let names = matches!(key.read, Read::Delegation { .. }) && request.of_vault.contains(key);
        let is_zero = |fact: &Fact| matches!(fact.value, Value::Amount(amount) if amount.is_zero());
        names && answer.as_ref().is_ok_and(|fact| !is_zero(fact))
    })
}

/// What a chain says, and what failed on the way.
pub(crate) async fn fetch<P: Ports>(
    reader: &FactReader<P>,
    request: FetchRequest,
    now: Timestamp,
) -> FetchResult {
    let Some(chain) = reader.config().chain(request.chain) else {
        return FetchResult::default();
    };
    let reader = reader.with_telemetry(Telemetry::default());
    let reads: Vec<_> = request.keys.iter().map(|key| key.read.clone()).collect();
    let wanted = chain::Wanted {
        reads: &reads,
        agreement: request.agreement,
        floor: request.floor,
    };
    let (mut answers, doubt): (Vec<_>, _) =
        match chain::read(&reader.chain, chain, wanted, now).await {
            Ok(answered) => (
                request.keys.into_iter().zip(answered.facts).collect(),
                answered.doubt,
            ),
            Err(chain::ChainError) => (Vec::new(), None),
        };
    answers.retain(|(key, answer)| {
        let known = request.known.get(key);
        let known = known.filter(|known| !reader.chain.is_reorged(key, known));
        let older = matches!((answer, known), (Ok(fact), Some(known)) if fact.contradicts(known));
        if older {
            reader
                .telemetry()
                .error(format!("{}: an answer of before what is known", key.chain));
        }
        !older
    });
    let unreadable = answers.iter().filter_map(|(key, answer): &(FactKey, _)| {
        let error = answer.as_ref().err()?;
        Some(format!("{}: {error}", key.chain))
    });
    let errors = reader
        .telemetry()
        .errors()
        .into_iter()
        .chain(unreadable)
        .collect();
    FetchResult {
        answers,
        errors,
        doubt,
    }
}
