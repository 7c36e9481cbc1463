//! Facts in the shared store.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokengate_core::fact::{Fact, FactKey, Known, Touch};
use tokengate_core::sealed::Kind;

use super::expiry::{self, Entry};
use super::keys::fact_key;
use super::retention::{OBEYED, fact_ttl, mark_ttl};
use super::timed;
use super::tombstones::Consulted;
use crate::chain;
use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::telemetry::Count;
use crate::timeout::within;

/// Why it is not known whether the store keeps anything of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It could not be looked up.
    Failed,
    /// There is something that nobody with our keys has written. It may stand where a tombstone was.
    Forged,
}

/// So many keys are looked up in time by any store that works: one that takes longer has fallen silent.
const FEW: usize = 16;

/// What the store knows of facts that so many providers agreed on, in view of the tombstones of their contracts. What is
/// authentic and not understood is nothing; of a tombstone, unknown.
pub(crate) async fn facts<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    agreement: usize,
    keys: &[&FactKey],
) -> Vec<Result<Option<Known>, Unknown>> {
    let memory = context.service.memory();
    let Ok(config) = context.service.config() else {
        return vec![Err(Unknown::Failed); keys.len()];
    };
    // Whoever has no keys asks chains for everything: that is no failure of the store.
    if !context.service.has_store_keys() {
        return vec![Ok(None); keys.len()];
    }
    if memory.store_is_silent(context.ports.elapsed()) {
        context.record.count(Count::Missed, keys.len());
        return vec![Err(Unknown::Failed); keys.len()];
    }
    let tombstones = Consulted::of(keys);
    let names = keys.iter().map(|key| fact_key(config, key, agreement));
    let names: Vec<_> = names.chain(tombstones.names()).collect();
    let all = async {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut known = Vec::with_capacity(keys.len());
        let (mut why, mut forged) = (None, None);
        let store = context.store();
        let mut values = store.get_many(&names).await.into_iter().zip(&names);
        for (key, (value, name)) in keys.iter().zip(values.by_ref()) {
            let value = value.and_then(|value| store.open(Kind::Fact, name, value));
            known.push(match value {
                Ok(bytes) => Ok(bytes.and_then(|bytes| Known::from_bytes(&key.read, &bytes))),
                Err(error @ StoreError::Forged(_)) => {
                    forged = Some(error);
                    Err(Unknown::Forged)
                }
                Err(error) => {
                    why = Some(error);
                    Err(Unknown::Failed)
                }
            });
        }
        let values = values
            .map(|(value, name)| value.and_then(|value| store.open(Kind::Tombstone, name, value)));
        let why = tombstones.apply(values, keys, &mut known).or(why);
        let missed = known.iter().filter(|known| known.is_err()).count();
        context.record.count(Count::Missed, missed);
        if let Some(error) = forged {
            context.record.fault(error.to_string());
        }
        match why {
            // All of them: it is the store that failed.
            Some(error) if missed == keys.len() => Err(error),
            Some(error) => {
                context.record.fault(error.to_string());
                Ok(known)
            }
            None => Ok(known),
        }
    };
    match timed(context, limit, all).await {
        Ok(known) => known,
        Err(error) => {
            if error == StoreError::Timeout {
                context.record.count(Count::Missed, keys.len());
                if keys.len() <= FEW {
                    memory.store_fell_silent(context.ports.elapsed());
                }
            }
            vec![Err(Unknown::Failed); keys.len()]
        }
    }
}

/// Keeps facts for others. A failure costs the next reader a call and nothing else. What is known to be outdated by then,
/// or older than what somebody else has kept, is not kept. Of `unproven`, which anybody can ask about any number of
/// accounts for, only what takes the place of a fact is kept.
pub(crate) async fn keep<P: Ports>(
    context: &Context<'_, P>,
    agreement: usize,
    facts: Vec<(FactKey, Fact)>,
    unproven: &BTreeSet<FactKey>,
) {
    let Ok(config) = context.service.config() else {
        return;
    };
    if !context.service.has_store_keys() {
        return;
    }
    let (limit, ttl) = (config.deadlines.store, fact_ttl(config));
    let keys: Vec<_> = facts.iter().map(|(key, _)| key).collect();
    let known = self::facts(context, limit, agreement, &keys).await;
    let write = async |key: &FactKey, fact: &Fact| {
        let (store, name) = (context.store(), fact_key(config, key, agreement));
        let bytes = fact.to_bytes();
        store.set_sealed(Kind::Fact, &name, &bytes, ttl).await
    };
    let writes = facts.iter().zip(known).filter_map(|((key, fact), known)| {
        let outdated = match known {
            // It may be: what could not be looked up is not written over.
            Err(Unknown::Failed) => true,
            // What nobody can believe is written over: absence would be, and it is no more than that.
            Err(Unknown::Forged) => false,
            Ok(Some(Known::Fact(other))) => {
                let is_of_use = other.is_within(ttl, context.ports.now());
                fact.contradicts(&other) && is_of_use && !chain::is_undone(context, key, &other)
            }
            Ok(Some(Known::Touched(touch, at))) => {
                let age = fact.read_at.duration_since(at);
                !touch.is_known_to(fact) && age.unsigned_abs() < OBEYED
            }
            Ok(None) => unproven.contains(key),
        };
        (!outdated).then_some((key, fact))
    });
    let writes: Vec<_> = writes.collect();
    if writes.is_empty() {
        return;
    }
    let names: Vec<_> = writes
        .iter()
        .map(|(key, _)| fact_key(config, key, agreement))
        .collect();
    let Ok(at) = context.ports.now().checked_add(ttl) else {
        return;
    };
    // First: what is not entered would stay in the store for good.
    let entered = expiry::facts_before_they_are_written(context, limit, &names, at).await;
    let written = match entered {
        Ok(()) => {
            let writes = writes.iter().map(|(key, fact)| write(key, fact));
            within(context.ports, limit, join_all(writes)).await
        }
        Err(_) => None,
    };
    if written.is_none_or(|outcomes| outcomes.iter().any(Result::is_err)) {
        context.record.fault("facts not kept".into());
    }
    expiry::sweep_if_due(context).await;
}

/// Drops a fact that its contract no longer answers for. A mark in its place stays.
pub(crate) async fn drop_fact<P: Ports>(context: &Context<'_, P>, agreement: usize, key: &FactKey) {
    let Ok(config) = context.service.config() else {
        return;
    };
    let (limit, store) = (config.deadlines.store, context.store());
    let known = facts(context, limit, agreement, &[key]).await;
    let name = fact_key(config, key, agreement);
    if matches!(known.as_slice(), [Ok(Some(Known::Fact(_)))])
        && !matches!(
            within(context.ports, limit, store.delete(&name)).await,
            Some(Ok(()))
        )
    {
        context.record.fault("a fact not forgotten".into());
    }
}

/// Marks facts as outdated, of all agreements; how many were there that did not know of it. With `ahead`, those that are
/// not there are marked as well: whoever reads them next may ask a node that does not know of it yet.
///
/// # Errors
/// [`StoreError`], if any of them could not be looked up or marked.
pub(crate) async fn outdate<P: Ports>(
    context: &Context<'_, P>,
    touches: &[(FactKey, Touch)],
    ahead: bool,
) -> Result<usize, StoreError> {
    let config = context.service.config();
    let config = config.map_err(|_| StoreError::Failed("no configuration".into()))?;
    let (limit, ttl) = (config.deadlines.store, mark_ttl(config));
    let mut outdated = 0;
    // Under every key that a lookup may have, each once: the chain's own quorum may make one of two.
    let kept: Vec<_> = touches
        .iter()
        .flat_map(|(key, touch)| {
            let quorums = config.quorums(key.chain).into_iter();
            quorums.map(move |quorum| (fact_key(config, key, quorum), key, touch))
        })
        .collect();
    for kept in kept.chunks(AT_ONCE) {
        let names: Vec<_> = kept.iter().map(|(name, ..)| name.as_str()).collect();
        let store = context.store();
        let reads = async {
            let values = store.get_many_sealed(Kind::Fact, &names).await;
            let known = values
                .into_iter()
                .zip(kept)
                .map(|(value, (_, key, _))| match value {
                    Ok(None) => Ok(Standing::Nothing),
                    Ok(Some(bytes)) => Ok(Known::from_bytes(&key.read, &bytes)
                        .map_or(Standing::Garbage, Standing::Known)),
                    Err(StoreError::Forged(_)) => Ok(Standing::Garbage),
                    Err(error) => Err(error),
                });
            known.collect::<Result<Vec<_>, _>>()
        };
        let known = timed(context, limit, reads).await?;
        let now = context.ports.now();
        let marks = kept
            .iter()
            .zip(known)
            .filter_map(|((name, _, touch), known)| {
                let touch = match known {
                    Standing::Nothing => return ahead.then(|| (name, touch.to_bytes(now))),
                    Standing::Known(Known::Fact(fact)) if touch.is_known_to(&fact) => return None,
                    Standing::Known(Known::Touched(other, _)) if other.and(**touch) == other => {
                        return None;
                    }
                    Standing::Known(Known::Touched(other, _)) => other.and(**touch),
                    Standing::Known(Known::Fact(_)) | Standing::Garbage => {
                        outdated += 1;
                        **touch
                    }
                };
                Some((name, touch.to_bytes(now)))
            });
        let marks: Vec<_> = marks.collect();
        let writes = marks
            .iter()
            .map(|(name, mark)| store.set_sealed(Kind::Fact, name, mark, ttl));
        let writes = async {
            let outcomes = join_all(writes).await;
            outcomes.into_iter().collect::<Result<Vec<()>, _>>()
        };
        timed(context, limit, writes).await?;
        if let Ok(at) = now.checked_add(ttl) {
            let marked = marks.iter().map(|(name, _)| (*name).clone()).collect();
            if !marks.is_empty() {
                expiry::later(context, limit, Entry::Facts(marked), at);
            }
        }
    }
    context.record.count(Count::Outdated, outdated);
    Ok(outdated)
}

/// What is found in a fact's place before it is marked.
enum Standing {
    /// Nothing.
    Nothing,
    /// What is authentic and understood.
    Known(Known),
    /// Anything else.
    Garbage,
}

/// How many facts are looked up at once to be marked.
const AT_ONCE: usize = 64;
