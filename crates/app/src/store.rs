//! The shared key-value store, with our prefix and a deadline on every call.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join, join_all, select};
use tokengate_core::fact::{Fact, FactKey};
use tokengate_core::nonce::{CLOCK_SKEW, PendingNonce};
use tokengate_core::session::Session;
use tokengate_core::{Address, Timestamp};

use crate::chain;
use crate::forget::{self, Entry};
use crate::ports::{Ports, StoreError};
use crate::router::Context;

/// Before every key: stores are shared, and the number is the edition of the layout.
pub(crate) const PREFIX: &str = "tg1";

/// Runs `call` for at most `limit`.
pub(crate) async fn within<P: Ports, T>(
    ports: &P,
    limit: Duration,
    call: impl Future<Output = T>,
) -> Option<T> {
    match select(pin!(call), pin!(ports.sleep(limit))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(((), _)) => None,
    }
}

pub(crate) async fn timed<P: Ports, T>(
    context: &Context<'_, P>,
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let start = context.ports.elapsed();
    let outcome = within(context.ports, limit, call)
        .await
        .unwrap_or(Err(StoreError::Timeout));
    context
        .record
        .waited_for_store(context.ports.elapsed().saturating_sub(start));
    if let Err(error) = &outcome {
        context.record.fault(error.to_string());
    }
    outcome
}

/// Whether a nonce has been counted already: then nothing else about its message needs to be asked. Only the count
/// itself says that it has not.
pub(crate) async fn is_spent<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    nonce: &PendingNonce,
) -> Result<bool, StoreError> {
    timed(context, limit, context.ports.get(&nonce_key(nonce)))
        .await
        .map(|count| count.is_some())
}

/// Counts the presentation of a nonce with a valid signature of `address`: how often it happened, this time included,
/// and the address's epoch.
pub(crate) async fn count_nonce<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    nonce: &PendingNonce,
    address: Address,
) -> Result<(u64, u64), StoreError> {
    // The platform's counter cannot be raced: it blocks its whole instance. A store that does not answer a read in time
    // is not asked to count.
    let epoch = timed(context, limit, epoch(context.ports, address))
        .await?
        .unwrap_or(0);
    let key = nonce_key(nonce);
    let count = timed(context, limit, context.ports.increment(&key)).await?;
    if count == 1 {
        forget::later(context, limit, Entry::Key(key), nonce.forgettable_at());
    }
    Ok((count, epoch))
}

/// Marks a session as ended, until it would have ended by itself. Answers how often that was done, this time included:
/// only the first may let another session take its place.
pub(crate) async fn end<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    session: &Session,
) -> Result<u64, StoreError> {
    let key = ended_key(session);
    let count = timed(context, limit, context.ports.increment(&key)).await?;
    if count == 1 {
        let at = forgettable(session.ends_at());
        forget::later(context, limit, Entry::Key(key), at);
    }
    Ok(count)
}

/// Ends all sessions of an address: those of an earlier epoch are no longer open. A session that starts now ends by
/// `until` at the latest, and the epoch is kept for as long.
pub(crate) async fn end_all<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    address: Address,
    until: Timestamp,
) -> Result<(), StoreError> {
    let key = epoch_key(address);
    // A number that no session has: whoever reads the old one after this signs in to a session that is not open.
    let random = context.ports.random();
    let [a, b, c, d, e, f, g, h, ..] = random;
    let epoch = [a, b, c, d, e, f, g, h];
    timed(context, limit, context.ports.set(&key, &epoch)).await?;
    // Whoever ends them all once more before then sets another one, which is kept for longer.
    let entry = Entry::Value(key, epoch);
    forget::later(context, limit, entry, forgettable(until));
    Ok(())
}

/// Whether a session was ended, by itself or with all of one of its addresses.
pub(crate) async fn is_ended<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    session: &Session,
) -> Result<bool, StoreError> {
    let reads = async {
        let key = ended_key(session);
        let mark = context.ports.get(&key);
        let epochs = join_all(session.members().iter().map(async |member| {
            // Where none is kept, all sessions of an earlier one have ended by themselves.
            let epoch = epoch(context.ports, member.wallet.address).await?;
            Ok::<bool, StoreError>(epoch.is_some_and(|epoch| epoch != member.epoch))
        }));
        let (mark, epochs) = join(mark, epochs).await;
        let mut ended = mark?.is_some();
        for outdated in epochs {
            ended |= outdated?;
        }
        Ok(ended)
    };
    timed(context, limit, reads).await
}

/// The epoch of an address, if all its sessions have been ended together of late.
async fn epoch<P: Ports>(ports: &P, address: Address) -> Result<Option<u64>, StoreError> {
    match ports.get(&epoch_key(address)).await? {
        None => Ok(None),
        Some(bytes) => <[u8; 8]>::try_from(bytes)
            .map(|bytes| Some(u64::from_be_bytes(bytes)))
            .map_err(|_| StoreError::Failed("an epoch is not of 8 bytes".into())),
    }
}

fn nonce_key(nonce: &PendingNonce) -> String {
    format!("{PREFIX}:nonce:{}", nonce.id())
}

fn ended_key(session: &Session) -> String {
    format!("{PREFIX}:revoked:{}", session.id())
}

fn epoch_key(address: Address) -> String {
    format!("{PREFIX}:epoch:{}", address.to_lower_hex())
}

/// From when on no clock takes something for open that ends at `end`.
fn forgettable(end: Timestamp) -> Timestamp {
    end.checked_add(CLOCK_SKEW.saturating_mul(2))
        .unwrap_or(Timestamp::MAX)
}

/// Facts that several providers agreed on have keys of their own: one that a single provider said is none of them.
pub(crate) fn fact_key(key: &FactKey, agreement: usize) -> String {
    match agreement {
        1 => format!("{PREFIX}:fact:{}", key.store_key()),
        _ => format!("{PREFIX}:fact{agreement}:{}", key.store_key()),
    }
}

/// The facts that the store has and so many providers agreed on. What fails, is late, is not understood or was read at a
/// block that has been replaced since is a miss.
pub(crate) async fn facts<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    agreement: usize,
    keys: &[FactKey],
) -> Vec<Option<Fact>> {
    let read = |key: &FactKey| {
        let (name, read) = (fact_key(key, agreement), key.read.clone());
        let reorganisation = chain::reorganisation(context, key.chain);
        async move {
            let fact = context.ports.get(&name).await?;
            let fact = fact.and_then(|bytes| Fact::from_bytes(&read, &bytes));
            let undone = |fact: &Fact| {
                reorganisation
                    .is_some_and(|reorganisation| reorganisation.undoes(fact.block, fact.read_at))
            };
            Ok(fact.filter(|fact| !undone(fact)))
        }
    };
    let all = async {
        let outcomes: Vec<Result<Option<Fact>, StoreError>> = join_all(keys.iter().map(read)).await;
        for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            context.record.fault(error.to_string());
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.ok().flatten())
            .collect())
    };
    timed(context, limit, all)
        .await
        .unwrap_or_else(|_| vec![None; keys.len()])
}

/// Keeps facts for others, behind the response. A failure costs the next reader a call and nothing else.
pub(crate) fn keep<P: Ports>(
    ports: &P,
    limit: Duration,
    agreement: usize,
    facts: Vec<(FactKey, Fact)>,
) {
    let task_ports = ports.clone();
    ports.spawn(async move {
        let ports = &task_ports;
        let write = |(key, fact): (FactKey, Fact)| async move {
            ports
                .set(&fact_key(&key, agreement), &fact.to_bytes())
                .await
        };
        let written = within(ports, limit, join_all(facts.into_iter().map(write))).await;
        let failed = written.is_none_or(|outcomes| outcomes.iter().any(Result::is_err));
        if failed {
            ports.log(r#"{"event":"facts-not-kept"}"#);
        }
    });
}

/// Whether the store takes and gives back a value.
pub(crate) async fn probe<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
) -> Result<(), StoreError> {
    let key = format!("{PREFIX}:probe");
    let round_trip = async {
        context.ports.set(&key, b"1").await?;
        match context.ports.get(&key).await? {
            Some(value) if value == b"1" => Ok(()),
            _ => Err(StoreError::Failed(
                "a value that was set is not there".into(),
            )),
        }
    };
    timed(context, limit, round_trip).await
}
