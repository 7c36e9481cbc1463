//! Forgetting what has no use any longer: the store itself keeps everything for ever.
//!
//! What is to be forgotten is entered in a list for the ten minutes in which it becomes useless: one counter numbers
//! the entries, one key holds each. Later sign-ins work the lists off behind their responses, oldest first, so the
//! store holds what is still in use, and at most as much again for as long as nobody signs in.

use std::time::Duration;

use futures_util::future::join_all;
use tokengate_core::Timestamp;

use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::store::{PREFIX, within};

/// How long one list is for, in seconds.
const LIST_SECONDS: i64 = 600;
/// How often an instance looks at the lists.
const PAUSE: Duration = Duration::from_secs(10);
/// How many entries it works off at a time, and how many at once.
const BATCH: u64 = 512;
const AT_ONCE: u64 = 16;
/// How long that may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is to be forgotten.
pub(crate) enum Entry {
    /// Whatever is at a key.
    Key(String),
    /// What is at a key now, unless it has been replaced until then.
    Value(String, [u8; 8]),
}

impl Entry {
    /// The key, and behind a space the value in hexadecimal.
    fn to_text(&self) -> String {
        match self {
            Self::Key(key) => key.clone(),
            Self::Value(key, value) => format!("{key} {:016x}", u64::from_be_bytes(*value)),
        }
    }

    /// Only keys of ours are entered; a store that says otherwise is not followed.
    fn from_text(text: &str) -> Option<Self> {
        let (key, value) = match text.split_once(' ') {
            Some((key, value)) => (key, Some(u64::from_str_radix(value, 16).ok()?)),
            None => (text, None),
        };
        let key = Some(key).filter(|key| key.starts_with(PREFIX))?.to_owned();
        Some(match value {
            Some(value) => Self::Value(key, value.to_be_bytes()),
            None => Self::Key(key),
        })
    }
}

/// Enters what has no use from `at` on, behind the response.
pub(crate) fn later<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    entry: Entry,
    at: Timestamp,
) {
    let due = context
        .service
        .memory()
        .is_forgetting_due(context.ports.elapsed(), PAUSE);
    let ports = context.ports.clone();
    context.ports.spawn(async move {
        let entered = within(&ports, limit, enter(&ports, &entry, at)).await;
        if !matches!(entered, Some(Ok(()))) {
            ports.log(r#"{"event":"not-entered-for-forgetting"}"#);
        }
        if due {
            let worked = within(&ports, DEADLINE, work_off(&ports)).await;
            if !matches!(worked, Some(Ok(()))) {
                ports.log(r#"{"event":"forgetting-failed"}"#);
            }
        }
    });
}

async fn enter<P: Ports>(ports: &P, entry: &Entry, at: Timestamp) -> Result<(), StoreError> {
    // The list that ends after `at`.
    let list = at.as_second().div_euclid(LIST_SECONDS) + 1;
    let number = ports.increment(&counter_key(list)).await?;
    let text = entry.to_text();
    ports.set(&entry_key(list, number), text.as_bytes()).await
}

/// Works off a batch of entries of lists that are over. Two instances that do it at once do it twice, to no harm.
async fn work_off<P: Ports>(ports: &P) -> Result<(), StoreError> {
    let present = ports.now().as_second().div_euclid(LIST_SECONDS);
    let position = ports.get(&position_key()).await?;
    let Some((mut list, mut done)) = position.as_deref().and_then(read_position) else {
        // The first ever: nothing was entered before now.
        return write_position(ports, present, 0).await;
    };
    let mut left = BATCH;
    while list < present && left > 0 {
        // Counting is the only way to read a counter that every store has.
        let entries = ports.increment(&counter_key(list)).await?.saturating_sub(1);
        while done < entries && left > 0 {
            let until = entries.min(done + AT_ONCE.min(left));
            let outcomes =
                join_all((done + 1..=until).map(|number| drop_entry(ports, list, number)));
            outcomes.await.into_iter().collect::<Result<(), _>>()?;
            left -= until - done;
            done = until;
        }
        if done >= entries {
            ports.delete(&counter_key(list)).await?;
            (list, done) = (list + 1, 0);
            left = left.saturating_sub(1);
        }
    }
    write_position(ports, list, done).await
}

async fn drop_entry<P: Ports>(ports: &P, list: i64, number: u64) -> Result<(), StoreError> {
    let name = entry_key(list, number);
    if let Some(entry) = ports.get(&name).await? {
        let entry = std::str::from_utf8(&entry).ok().and_then(Entry::from_text);
        let outdated = match entry {
            Some(Entry::Key(key)) => Some(key),
            Some(Entry::Value(key, value)) => {
                let present = ports.get(&key).await?;
                Some(key).filter(|_| present.as_deref() == Some(&value))
            }
            None => None,
        };
        if let Some(key) = outdated {
            ports.delete(&key).await?;
        }
        ports.delete(&name).await?;
    }
    Ok(())
}

async fn write_position<P: Ports>(ports: &P, list: i64, done: u64) -> Result<(), StoreError> {
    let position = format!("{list}:{done}");
    ports.set(&position_key(), position.as_bytes()).await
}

fn read_position(bytes: &[u8]) -> Option<(i64, u64)> {
    let (list, done) = std::str::from_utf8(bytes).ok()?.split_once(':')?;
    Some((list.parse().ok()?, done.parse().ok()?))
}

fn position_key() -> String {
    format!("{PREFIX}:forgotten")
}

fn counter_key(list: i64) -> String {
    format!("{PREFIX}:forget:{list}")
}

fn entry_key(list: i64, number: u64) -> String {
    format!("{PREFIX}:forget:{list}:{number}")
}
