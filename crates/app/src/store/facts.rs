//! Facts in the shared store.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tokengate_core::fact::{Fact, FactKey, Known, Touch};
use tokengate_core::sealed::Kind;
use tokengate_core::tombstone::Tombstone;

use super::client::StoreClient;
use super::expiry::{self, Entry};
use super::keys::fact_key;
use super::lookup::LookupError;
use super::retention::{OBEYED, fact_ttl, mark_ttl};
use super::tombstones::Consulted;
use crate::background::Background as _;
use crate::ports::{Ports, StoreError};
use crate::telemetry::Count;
use crate::timeout::within;

/// So many keys are looked up in time by any store that works: one that takes longer has fallen silent.
const FEW: usize = 16;

/// What the store knows of facts that so many providers agreed on, in view of the tombstones of their contracts. What is
/// authentic and not understood is nothing; of a tombstone, unknown.
pub(crate) async fn facts<P: Ports>(
    store: &StoreClient<P>,
    agreement: usize,
    keys: &[&FactKey],
) -> Vec<Result<Option<Known>, LookupError>> {
    let config = store.config();
    if store.is_silent() {
        store.telemetry().count(Count::Missed, keys.len());
        return vec![Err(LookupError::Failed); keys.len()];
    }
    let tombstones = Consulted::of(keys);
    let names = keys.iter().map(|key| fact_key(config, key, agreement));
    let names: Vec<_> = names.chain(tombstones.names()).collect();
    let all = async {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut known = Vec::with_capacity(keys.len());
        let (mut why, mut forged) = (None, None);
        let kv = store.kv();
        let mut values = kv.get_many(&names).await.into_iter().zip(&names);
        for (key, (value, name)) in keys.iter().zip(values.by_ref()) {
            let value = value.and_then(|value| kv.open(Kind::Fact, name, value));
            known.push(match value {
                Ok(bytes) => Ok(bytes.and_then(|bytes| Known::from_bytes(&key.read, &bytes))),
                Err(error @ StoreError::Forged(_)) => {
                    forged = Some(error);
                    Err(LookupError::Forged)
                }
                Err(error) => {
                    why = Some(error);
                    Err(LookupError::Failed)
                }
            });
        }
        let values = values
            .map(|(value, name)| value.and_then(|value| kv.open(Kind::Tombstone, name, value)));
        let why = tombstones.apply(values, keys, &mut known).or(why);
        let missed = known.iter().filter(|known| known.is_err()).count();
        store.telemetry().count(Count::Missed, missed);
        if let Some(error) = forged {
            store.telemetry().error(error.to_string());
        }
        match why {
            // All of them: it is the store that failed.
            Some(error) if missed == keys.len() => Err(error),
            Some(error) => {
                store.telemetry().error(error.to_string());
                Ok(known)
            }
            None => Ok(known),
        }
    };
    match store.timed(all).await {
        Ok(known) => known,
        Err(error) => {
            if error == StoreError::Timeout {
                store.telemetry().count(Count::Missed, keys.len());
                if keys.len() <= FEW {
                    store.fell_silent();
                }
            }
            vec![Err(LookupError::Failed); keys.len()]
        }
    }
}

/// Keeps facts for other instances. A failure costs the next reader a call and nothing else. What is known to be invalid by
/// then, or older than what is kept already, is not kept. Of `unproven`, which a client can ask for about any number of
/// accounts, only what takes the place of a fact is kept.
pub(crate) async fn keep<P: Ports>(
    store: &StoreClient<P>,
    agreement: usize,
    facts: Vec<(FactKey, Fact)>,
    unproven: &BTreeSet<FactKey>,
    is_reorged: impl Fn(&FactKey, &Fact) -> bool,
) {
    let config = store.config();
    let ttl = fact_ttl(config);
    let keys: Vec<_> = facts.iter().map(|(key, _)| key).collect();
    let known = self::facts(store, agreement, &keys).await;
    let write = async |key: &FactKey, fact: &Fact| {
        let name = fact_key(config, key, agreement);
        let bytes = fact.to_bytes();
        store.kv().set_sealed(Kind::Fact, &name, &bytes, ttl).await
    };
    let writes = facts.iter().zip(known).filter_map(|((key, fact), known)| {
        let is_superseded = match known {
            // It may be: what could not be looked up is not written over.
            Err(LookupError::Failed) => true,
            // What is not authentic is written over, as absence would be.
            Err(LookupError::Forged) => false,
            Ok(Some(Known::Fact(other))) => {
                let is_of_use = other.is_within(ttl, store.ports().now());
                fact.contradicts(&other) && is_of_use && !is_reorged(key, &other)
            }
            Ok(Some(Known::Touched(touch, at))) => {
                let age = fact.read_at.duration_since(at);
                !touch.is_known_to(fact) && age.unsigned_abs() < OBEYED
            }
            Ok(None) => unproven.contains(key),
        };
        (!is_superseded).then_some((key, fact))
    });
    let writes: Vec<_> = writes.collect();
    if writes.is_empty() {
        return;
    }
    let names: Vec<_> = writes
        .iter()
        .map(|(key, _)| fact_key(config, key, agreement))
        .collect();
    let Ok(at) = store.ports().now().checked_add(ttl) else {
        return;
    };
    // First: what is not entered would stay in the store for good.
    let entered = expiry::schedule_facts(store, &names, at).await;
    let written = match entered {
        Ok(()) => {
            let writes = writes.iter().map(|(key, fact)| write(key, fact));
            within(store.ports(), store.limit(), join_all(writes)).await
        }
        Err(_) => None,
    };
    if written.is_none_or(|outcomes| outcomes.iter().any(Result::is_err)) {
        store.telemetry().error("facts not kept".into());
    }
    expiry::sweep_if_due(store).await;
}

/// Drops a fact that its contract no longer answers for. A mark in its place stays.
pub(crate) async fn drop_fact<P: Ports>(store: &StoreClient<P>, agreement: usize, key: &FactKey) {
    let known = facts(store, agreement, &[key]).await;
    let name = fact_key(store.config(), key, agreement);
    if matches!(known.as_slice(), [Ok(Some(Known::Fact(_)))])
        && !matches!(
            within(store.ports(), store.limit(), store.kv().delete(&name)).await,
            Some(Ok(()))
        )
    {
        store.telemetry().error("a fact not forgotten".into());
    }
}

/// Invalidates facts, of all quorums; how many were there that did not know of it. With `ahead`, those that are not there
/// are marked as well: the next read may ask a node that does not know of it yet.
///
/// # Errors
/// [`StoreError`], if any of them could not be looked up or marked.
pub(crate) async fn invalidate<P: Ports>(
    store: &StoreClient<P>,
    touches: &[(FactKey, Touch)],
    ahead: bool,
) -> Result<usize, StoreError> {
    let config = store.config();
    let ttl = mark_ttl(config);
    let mut invalidated = 0;
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
        let kv = store.kv();
        let reads = async {
            let values = kv.get_many_sealed(Kind::Fact, &names).await;
            let known = values
                .into_iter()
                .zip(kept)
                .map(|(value, (_, key, _))| match value {
                    Ok(None) => Ok(InPlace::Nothing),
                    Ok(Some(bytes)) => Ok(Known::from_bytes(&key.read, &bytes)
                        .map_or(InPlace::Garbage, InPlace::Known)),
                    Err(StoreError::Forged(_)) => Ok(InPlace::Garbage),
                    Err(error) => Err(error),
                });
            known.collect::<Result<Vec<_>, _>>()
        };
        let known = store.timed(reads).await?;
        let now = store.ports().now();
        let marks = kept
            .iter()
            .zip(known)
            .filter_map(|((name, _, touch), known)| {
                let touch = match known {
                    InPlace::Nothing => return ahead.then(|| (name, touch.to_bytes(now))),
                    InPlace::Known(Known::Fact(fact)) if touch.is_known_to(&fact) => return None,
                    InPlace::Known(Known::Touched(other, at)) => {
                        let other = Tombstone { touch: other, at };
                        other.merged(**touch, now, OBEYED)?.touch
                    }
                    InPlace::Known(Known::Fact(_)) | InPlace::Garbage => {
                        invalidated += 1;
                        **touch
                    }
                };
                Some((name, touch.to_bytes(now)))
            });
        let marks: Vec<_> = marks.collect();
        let writes = marks
            .iter()
            .map(|(name, mark)| kv.set_sealed(Kind::Fact, name, mark, ttl));
        let writes = async {
            let outcomes = join_all(writes).await;
            outcomes.into_iter().collect::<Result<Vec<()>, _>>()
        };
        store.timed(writes).await?;
        if let Ok(at) = now.checked_add(ttl) {
            let marked = marks.iter().map(|(name, _)| (*name).clone()).collect();
            if !marks.is_empty() {
                expiry::schedule(store, Entry::Facts(marked), at);
            }
        }
    }
    store.telemetry().count(Count::Invalidated, invalidated);
    Ok(invalidated)
}

/// What is found in a fact's place before it is marked.
enum InPlace {
    /// Nothing.
    Nothing,
    /// What is authentic and understood.
    Known(Known),
    /// Anything else.
    Garbage,
}

/// How many facts are looked up at once to be marked.
const AT_ONCE: usize = 64;
