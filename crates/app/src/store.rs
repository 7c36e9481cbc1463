//! The shared key-value store, with our prefix and a deadline on every call.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use tokengate_core::fact::{Fact, FactKey};

use crate::ports::{Ports, StoreError};
use crate::router::Context;

/// Before every key: stores are shared, and the number is the edition of the layout.
const PREFIX: &str = "tg1";

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

async fn timed<P: Ports, T>(
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

/// How often the nonce of this id was presented with a valid signature, this time included.
pub(crate) async fn count_nonce<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    id: &str,
) -> Result<u64, StoreError> {
    // The platform's counter cannot be raced: it blocks its whole instance. A store that does not answer a read in time
    // is not asked to count.
    timed(
        context,
        limit,
        context.ports.get(&format!("{PREFIX}:probe")),
    )
    .await?;
    timed(
        context,
        limit,
        context.ports.increment(&format!("{PREFIX}:nonce:{id}")),
    )
    .await
}

/// Marks a session as ended.
pub(crate) async fn revoke<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    session: &str,
) -> Result<(), StoreError> {
    timed(
        context,
        limit,
        context.ports.set(&revoked_key(session), b"1"),
    )
    .await
}

/// Whether a session was ended.
pub(crate) async fn is_revoked<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    session: &str,
) -> Result<bool, StoreError> {
    timed(context, limit, context.ports.get(&revoked_key(session)))
        .await
        .map(|mark| mark.is_some())
}

fn revoked_key(session: &str) -> String {
    format!("{PREFIX}:revoked:{session}")
}

fn fact_key(key: &FactKey) -> String {
    format!("{PREFIX}:fact:{}", key.store_key())
}

/// The facts that the store has. What fails, is late or is not understood is a miss.
pub(crate) async fn facts<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    keys: &[FactKey],
) -> Vec<Option<Fact>> {
    let read = |key: &FactKey| {
        let (name, read) = (fact_key(key), key.read.clone());
        async move {
            Ok(context
                .ports
                .get(&name)
                .await?
                .and_then(|bytes| Fact::from_bytes(&read, &bytes)))
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
pub(crate) fn keep<P: Ports>(ports: &P, limit: Duration, facts: Vec<(FactKey, Fact)>) {
    let task_ports = ports.clone();
    ports.spawn(async move {
        let ports = &task_ports;
        let write = |(key, fact): (FactKey, Fact)| async move {
            ports.set(&fact_key(&key), &fact.to_bytes()).await
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
