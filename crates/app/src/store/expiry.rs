//! Forgetting what has no use any longer, where the store itself keeps everything for ever.
//!
//! What is to be forgotten is entered in a list for the ten minutes in which it becomes useless. Every instance writes a
//! list of its own, which one counter has numbered: so an entry costs a write and nothing is counted for it. Later work
//! behind responses works the lists off, oldest first, so the store holds what is still in use, and at most as much again
//! for as long as nobody writes.
//!
//! Facts are entered before they are written, and are not written if that fails: nothing that strangers can have read is
//! in the store without an entry. Every instance works off at least twice as many entries as it has written, so that
//! lists are shorter than they were however fast they are filled.

use std::time::Duration;

use futures_util::future::join_all;
use tokengate_core::Timestamp;
use tokengate_core::fact::Kept;
use tokengate_core::sealed;

use crate::kv::Store;
use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::store::{self, PREFIX};
use crate::timeout::within;

/// How long one list is for, in seconds.
const LIST_SECONDS: i64 = 600;
/// How often an instance looks at the lists.
const PAUSE: Duration = Duration::from_secs(10);
/// How many entries it works off at a time, at least, and how many at once: as many missing in a row are a list's end.
const BATCH: u64 = 512;
/// Of entries that it has written since the last time, so many times as many.
const LEAD: u64 = 2;
/// The most facts in one entry.
const FACTS_AT_ONCE: usize = 64;
/// How often an entry is tried that nothing waits for.
const TRIES: usize = 3;
const AT_ONCE: u64 = 16;
/// How long that may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Whatever is at a key.
    Key(String),
    /// What is at a key now, unless it has been replaced until then.
    Value(String, [u8; 8]),
    /// What is known of facts, unless they have been read again until then.
    Facts(Vec<String>),
}

impl Entry {
    /// The key; behind a space the value in hexadecimal; or `facts` and the keys.
    fn to_text(&self) -> String {
        match self {
            Self::Key(key) => key.clone(),
            Self::Value(key, value) => format!("{key} {:016x}", u64::from_be_bytes(*value)),
            Self::Facts(keys) => format!("{FACTS} {}", keys.join(" ")),
        }
    }

    /// Only keys of ours are entered; a store that says otherwise is not followed.
    fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let ours = |key: &str| Some(key.to_owned()).filter(|key| key.starts_with(PREFIX));
        Some(match (words.next()?, words.next()) {
            (FACTS, Some(first)) => Self::Facts(
                std::iter::once(first)
                    .chain(words)
                    .map(ours)
                    .collect::<Option<_>>()?,
            ),
            (key, Some(value)) => Self::Value(
                ours(key)?,
                u64::from_str_radix(value, 16).ok()?.to_be_bytes(),
            ),
            (key, None) => Self::Key(ours(key)?),
        })
    }
}

const FACTS: &str = "facts";

/// Enters facts that have no use from `at` on, before they are written.
///
/// # Errors
/// [`StoreError`]: then they must not be written.
pub(crate) async fn facts_before_they_are_written<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    names: &[String],
    at: Timestamp,
) -> Result<(), StoreError> {
    if context.store().expires() {
        return Ok(());
    }
    for names in names.chunks(FACTS_AT_ONCE) {
        let entry = Entry::Facts(names.to_vec());
        within(context.ports, limit, enter(context, &entry, at))
            .await
            .unwrap_or(Err(StoreError::Timeout))?;
    }
    Ok(())
}

/// Works lists off, if that is due. For work behind a response.
pub(crate) async fn sweep_if_due<P: Ports>(context: &Context<'_, P>) {
    let memory = context.service.memory();
    if context.store().expires() || !memory.is_forgetting_due(context.ports.elapsed(), PAUSE) {
        return;
    }
    let worked = within(context.ports, DEADLINE, work_off(context)).await;
    if !matches!(worked, Some(Ok(()))) {
        context.record.fault("expiring failed".into());
    }
}

/// Enters what has no use from `at` on, behind the response.
pub(crate) fn later<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    entry: Entry,
    at: Timestamp,
) {
    if context.store().expires() {
        return;
    }
    context.behind(async move |context: &Context<'_, P>| {
        let mut tries = 0;
        let entered = loop {
            let entered = within(context.ports, limit, enter(context, &entry, at)).await;
            tries += 1;
            if tries == TRIES || matches!(entered, Some(Ok(()))) {
                break entered;
            }
        };
        if !matches!(entered, Some(Ok(()))) {
            context.record.fault("scheduling expiry failed".into());
        }
        sweep_if_due(context).await;
    });
}

async fn enter<P: Ports>(
    context: &Context<'_, P>,
    entry: &Entry,
    at: Timestamp,
) -> Result<(), StoreError> {
    let store = context.store();
    // The list that ends after `at`.
    let list = at.as_second().div_euclid(LIST_SECONDS) + 1;
    let memory = context.service.memory();
    let own = match memory.list(list) {
        Some(own) => own,
        None => {
            let [a, b, c, d, e, f, g, h, ..] = context.ports.random();
            let own = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            let number = store.claim(&counter_key(list), DEADLINE).await?;
            let name = format!("{own:016x}");
            store
                .set(&register_key(list, number), name.as_bytes(), DEADLINE)
                .await?;
            let present = context.ports.now().as_second().div_euclid(LIST_SECONDS);
            memory.begin_list(list, own, present);
            own
        }
    };
    let number = memory.next_entry(list);
    let text = entry.to_text();
    let key = entry_key(list, own, number);
    store.set(&key, text.as_bytes(), DEADLINE).await?;
    memory.entry_written();
    Ok(())
}

/// How far the lists have been worked off: in this list, in its register, in the list of one instance.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Position {
    list: i64,
    register: u64,
    entry: u64,
}

/// Works off a batch of entries of lists that are over.
///
/// The position moves before what it passes is dropped. So an instance that finds nothing at a position knows whether
/// another one has been there: then the stored position has moved on, and this instance leaves the rest to the other.
/// Where it has not, nothing is there, and a list or register is over.
async fn work_off<P: Ports>(context: &Context<'_, P>) -> Result<(), StoreError> {
    let store = context.store();
    let present = context.ports.now().as_second().div_euclid(LIST_SECONDS);
    let mut left = BATCH.max(context.service.memory().entries_written() * LEAD);
    let Some(mut at) = Position::stored(&store).await? else {
        // The first ever: nothing was entered before now.
        return Position::beginning(present).write(&store).await;
    };
    while at.list < present && left > 0 {
        // Counting is the only way to read a counter that every store has.
        let counter = counter_key(at.list);
        let registered = store.claim(&counter, DEADLINE).await?.saturating_sub(1);
        while at.register <= registered && left > 0 {
            left = left.saturating_sub(AT_ONCE);
            let register = register_key(at.list, at.register);
            let own = store.get(&register).await?;
            let own = own.and_then(|own| {
                let own = std::str::from_utf8(&own).ok()?;
                u64::from_str_radix(own, 16).ok()
            });
            let numbers = at.entry..at.entry + AT_ONCE;
            let entries = match own {
                Some(own) => entries(&store, at.list, own, numbers).await?,
                None => Vec::new(),
            };
            if entries.is_empty() {
                if Position::stored(&store).await? != Some(at) {
                    return Ok(());
                }
                (at.register, at.entry) = (at.register + 1, 0);
                at.write(&store).await?;
                store.delete(&register).await?;
                continue;
            }
            let before = at;
            at.entry += AT_ONCE;
            at.write(&store).await?;
            let drops = entries
                .into_iter()
                .map(|(name, entry)| drop_entry(context, name, entry));
            let dropped: Result<Vec<()>, _> = join_all(drops).await.into_iter().collect();
            if let Err(error) = dropped {
                // What is left of them is found again, unless another instance has gone on from here.
                if Position::stored(&store).await? == Some(at) {
                    before.write(&store).await?;
                }
                return Err(error);
            }
        }
        if at.register > registered {
            at = Position::beginning(at.list + 1);
            at.write(&store).await?;
            store.delete(&counter).await?;
            left = left.saturating_sub(1);
        }
    }
    Ok(())
}

/// The entries of these numbers that are there, by their keys.
async fn entries<P: Ports>(
    store: &Store<'_, P>,
    list: i64,
    own: u64,
    numbers: std::ops::Range<u64>,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let names: Vec<_> = numbers.map(|number| entry_key(list, own, number)).collect();
    let keys: Vec<_> = names.iter().map(String::as_str).collect();
    let values = store.get_many(&keys).await;
    let mut entries = Vec::new();
    for (name, value) in names.into_iter().zip(values) {
        if let Some(entry) = value? {
            entries.push((name, entry));
        }
    }
    Ok(entries)
}

/// Forgets what an entry names, and then the entry.
async fn drop_entry<P: Ports>(
    context: &Context<'_, P>,
    name: String,
    entry: Vec<u8>,
) -> Result<(), StoreError> {
    let store = context.store();
    let mut outdated = Vec::new();
    match std::str::from_utf8(&entry).ok().and_then(Entry::from_text) {
        Some(Entry::Key(key)) => outdated.push(key),
        Some(Entry::Value(key, value)) => {
            let kept = store.get(&key).await?;
            // What is to be deleted need not be authentic: whoever could change that can delete it as well. Epochs of an
            // earlier edition had no tag.
            if kept.is_some_and(|kept| kept == value || sealed::unverified(&kept) == Some(&value)) {
                outdated.push(key);
            }
        }
        Some(Entry::Facts(keys)) => {
            let named: Vec<_> = keys.iter().map(String::as_str).collect();
            for (key, kept) in keys.iter().zip(store.get_many(&named).await) {
                if kept?.is_some_and(|bytes| is_useless(context, &bytes)) {
                    outdated.push(key.clone());
                }
            }
        }
        None => {}
    }
    for key in outdated {
        store.delete(&key).await?;
    }
    store.delete(&name).await
}

/// Whether what is kept in a fact's place is of no use to anybody. What is no fact of ours is not either.
fn is_useless<P: Ports>(context: &Context<'_, P>, bytes: &[u8]) -> bool {
    let kept = sealed::unverified(bytes).and_then(Kept::from_bytes);
    let Some((kept, config)) = kept.zip(context.service.config().ok()) else {
        return true;
    };
    let ttl = if kept.is_mark {
        store::mark_ttl(config)
    } else {
        store::fact_ttl(config)
    };
    let end = kept.since.checked_add(ttl);
    end.is_ok_and(|end| end < context.ports.now())
}

impl Position {
    const fn beginning(list: i64) -> Self {
        Self {
            list,
            register: 1,
            entry: 0,
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.split(':');
        let position = Self {
            list: parts.next()?.parse().ok()?,
            register: parts.next()?.parse().ok()?,
            entry: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(position)
    }

    async fn stored<P: Ports>(store: &Store<'_, P>) -> Result<Option<Self>, StoreError> {
        let position = store.get(&position_key()).await?;
        Ok(position.as_deref().and_then(Self::from_bytes))
    }

    async fn write<P: Ports>(self, store: &Store<'_, P>) -> Result<(), StoreError> {
        let Self {
            list,
            register,
            entry,
        } = self;
        let position = format!("{list}:{register}:{entry}");
        store
            .set(&position_key(), position.as_bytes(), DEADLINE)
            .await
    }
}

fn position_key() -> String {
    format!("{PREFIX}:forgotten")
}

fn counter_key(list: i64) -> String {
    format!("{PREFIX}:forget:{list}")
}

fn register_key(list: i64, number: u64) -> String {
    format!("{PREFIX}:forget:{list}:{number}")
}

fn entry_key(list: i64, own: u64, number: u64) -> String {
    format!("{PREFIX}:forget:{list}:{own:016x}:{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back_and_only_of_our_own_keys() {
        for entry in [
            Entry::Key("tg1:nonce:a".into()),
            Entry::Value("tg1:epoch:b".into(), [7; 8]),
            Entry::Facts(vec!["tg1:fact:c".into()]),
            Entry::Facts(vec!["tg1:fact:c".into(), "tg1:fact:d".into()]),
        ] {
            assert_eq!(Entry::from_text(&entry.to_text()), Some(entry));
        }
        for text in [
            "",
            "other:key",
            "other:key 0000000000000007",
            "tg1:epoch:b seven",
            "facts",
            "facts tg1:fact:c other:key",
        ] {
            assert_eq!(Entry::from_text(text), None, "{text}");
        }
    }
}
