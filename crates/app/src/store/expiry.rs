//! Expiry for stores that have none: what has no use any longer is swept.
//!
//! What is to expire is entered in a list for the ten minutes in which it becomes useless. Every instance writes a
//! list of its own, which one counter has numbered: so an entry costs a write and nothing is counted for it. Later work
//! in the background sweeps the lists, oldest first, so the store holds what is still in use, and at most as much again
//! while there are no writes.
//!
//! Facts are entered before they are written, and are not written if that fails: nothing that strangers can have read is
//! in the store without an entry. Every instance sweeps at least twice as many entries as it has written, so that
//! lists are shorter than they were however fast they are filled.

use std::time::Duration;

use futures_util::future::join_all;
use tokengate_core::Timestamp;
use tokengate_core::fact::Kept;
use tokengate_core::sealed;

use super::client::StoreClient;
use super::keys::PREFIX;
use super::retention::{fact_ttl, mark_ttl, until};
use crate::background::Background as _;
use crate::kv::Kv;
use crate::ports::{Ports, StoreError};
use crate::timeout::within;

/// How long one list is for, in seconds.
const LIST_SECONDS: i64 = 600;
/// How often an instance sweeps.
const PAUSE: Duration = Duration::from_secs(10);
/// How many entries it sweeps at a time, at least, and how many at once: as many missing in a row are a list's end.
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

/// What is to expire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
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

/// Schedules the expiry of facts that have no use from `at` on, before they are written.
///
/// # Errors
/// [`StoreError`]: then they must not be written.
pub(super) async fn schedule_facts<P: Ports>(
    store: &StoreClient<P>,
    names: &[String],
    at: Timestamp,
) -> Result<(), StoreError> {
    if store.kv().expires() {
        return Ok(());
    }
    for names in names.chunks(FACTS_AT_ONCE) {
        let entry = Entry::Facts(names.to_vec());
        within(store.ports(), store.limit(), write_entry(store, &entry, at))
            .await
            .unwrap_or(Err(StoreError::Timeout))?;
    }
    Ok(())
}

/// What is kept for a time, also where the store itself keeps everything.
impl<P: Ports> StoreClient<P> {
    /// Sets the value at `key` with a tag, until `end`.
    pub(crate) async fn set_sealed(
        &self,
        kind: sealed::Kind,
        key: String,
        value: &[u8],
        end: Timestamp,
    ) -> Result<(), StoreError> {
        let ttl = until(self, end);
        self.put_sealed(kind, &key, value, ttl).await?;
        schedule(self, Entry::Key(key), end);
        Ok(())
    }

    /// The same for a key that is set again and again, or one of a fixed number: nothing sweeps it, and only a store that
    /// expires by itself forgets it after `ttl`.
    pub(crate) async fn put_sealed(
        &self,
        kind: sealed::Kind,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let set = self.kv().set_sealed(kind, key, value, ttl);
        self.timed(set).await
    }

    /// Counts a claim to `key`, atomically among all instances, until `end`: 1 for the first, which has it, and more for
    /// every other.
    pub(crate) async fn claim(&self, key: String, end: Timestamp) -> Result<u64, StoreError> {
        let ttl = until(self, end);
        let count = self.timed(self.kv().claim(&key, ttl)).await?;
        if count == 1 {
            schedule(self, Entry::Key(key), end);
        }
        Ok(count)
    }
}

/// Sweeps expired entries, if that is due. For work in the background.
pub(super) async fn sweep_if_due<P: Ports>(store: &StoreClient<P>) {
    let elapsed = store.ports().elapsed();
    if store.kv().expires() || !store.state.expiry.swept.is_due(elapsed, PAUSE) {
        return;
    }
    let worked = within(store.ports(), DEADLINE, sweep(store)).await;
    if !matches!(worked, Some(Ok(()))) {
        store.telemetry().error("expiring failed".into());
    }
}

/// Schedules the expiry of what has no use from `at` on, in the background.
pub(super) fn schedule<P: Ports>(store: &StoreClient<P>, entry: Entry, at: Timestamp) {
    if store.kv().expires() {
        return;
    }
    store.in_background(async move |store: &StoreClient<P>| {
        let mut tries = 0;
        let entered = loop {
            let entered =
                within(store.ports(), store.limit(), write_entry(store, &entry, at)).await;
            tries += 1;
            if tries == TRIES || matches!(entered, Some(Ok(()))) {
                break entered;
            }
        };
        if !matches!(entered, Some(Ok(()))) {
            store.telemetry().error("scheduling expiry failed".into());
        }
        sweep_if_due(store).await;
    });
}

async fn write_entry<P: Ports>(
    store: &StoreClient<P>,
    entry: &Entry,
    at: Timestamp,
) -> Result<(), StoreError> {
    let kv = store.kv();
    // The list that ends after `at`.
    let list = at.as_second().div_euclid(LIST_SECONDS) + 1;
    let lists = &store.state.expiry;
    let own = match lists.name(list) {
        Some(own) => own,
        None => {
            let [a, b, c, d, e, f, g, h, ..] = store.ports().random();
            let own = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            let number = kv.claim(&counter_key(list), DEADLINE).await?;
            let name = format!("{own:016x}");
            let register = register_key(list, number);
            kv.set(&register, name.as_bytes(), DEADLINE).await?;
            let present = store.ports().now().as_second().div_euclid(LIST_SECONDS);
            lists.begin(list, own, present);
            own
        }
    };
    let number = lists.next_entry(list);
    let text = entry.to_text();
    let key = entry_key(list, own, number);
    kv.set(&key, text.as_bytes(), DEADLINE).await?;
    lists.entry_written();
    Ok(())
}

/// How far the lists have been swept: in this list, in its register, in the list of one instance.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Position {
    list: i64,
    register: u64,
    entry: u64,
}

/// Sweeps a batch of entries of lists that are over.
///
/// The position moves before what it passes is dropped. So an instance that finds nothing at a position knows whether
/// another one has been there: then the stored position has moved on, and this instance leaves the rest to the other.
/// Where it has not, nothing is there, and a list or register is over.
async fn sweep<P: Ports>(store: &StoreClient<P>) -> Result<(), StoreError> {
    let kv = store.kv();
    let present = store.ports().now().as_second().div_euclid(LIST_SECONDS);
    let mut left = BATCH.max(store.state.expiry.entries_written() * LEAD);
    let Some(mut at) = Position::stored(&kv).await? else {
        // The first ever: nothing was entered before now.
        return Position::beginning(present).write(&kv).await;
    };
    while at.list < present && left > 0 {
        // Counting is the only way to read a counter that every store has.
        let counter = counter_key(at.list);
        let registered = kv.claim(&counter, DEADLINE).await?.saturating_sub(1);
        while at.register <= registered && left > 0 {
            left = left.saturating_sub(AT_ONCE);
            let register = register_key(at.list, at.register);
            let own = kv.get(&register).await?;
            let own = own.and_then(|own| {
                let own = std::str::from_utf8(&own).ok()?;
                u64::from_str_radix(own, 16).ok()
            });
            let numbers = at.entry..at.entry + AT_ONCE;
            let entries = match own {
                Some(own) => entries(&kv, at.list, own, numbers).await?,
                None => Vec::new(),
            };
            if entries.is_empty() {
                if Position::stored(&kv).await? != Some(at) {
                    return Ok(());
                }
                (at.register, at.entry) = (at.register + 1, 0);
                at.write(&kv).await?;
                kv.delete(&register).await?;
                continue;
            }
            let before = at;
            at.entry += AT_ONCE;
            at.write(&kv).await?;
            let drops = entries
                .into_iter()
                .map(|(name, entry)| drop_entry(store, name, entry));
            let dropped: Result<Vec<()>, _> = join_all(drops).await.into_iter().collect();
            if let Err(error) = dropped {
                // What is left of them is found again, unless another instance has gone on from here.
                if Position::stored(&kv).await? == Some(at) {
                    before.write(&kv).await?;
                }
                return Err(error);
            }
        }
        if at.register > registered {
            at = Position::beginning(at.list + 1);
            at.write(&kv).await?;
            kv.delete(&counter).await?;
            left = left.saturating_sub(1);
        }
    }
    Ok(())
}

/// The entries of these numbers that are there, by their keys.
async fn entries<P: Ports>(
    kv: &Kv<'_, P>,
    list: i64,
    own: u64,
    numbers: std::ops::Range<u64>,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let names: Vec<_> = numbers.map(|number| entry_key(list, own, number)).collect();
    let keys: Vec<_> = names.iter().map(String::as_str).collect();
    let values = kv.get_many(&keys).await;
    let mut entries = Vec::new();
    for (name, value) in names.into_iter().zip(values) {
        if let Some(entry) = value? {
            entries.push((name, entry));
        }
    }
    Ok(entries)
}

/// Deletes what an entry names, and then the entry.
async fn drop_entry<P: Ports>(
    store: &StoreClient<P>,
    name: String,
    entry: Vec<u8>,
) -> Result<(), StoreError> {
    let kv = store.kv();
    let mut expired = Vec::new();
    match std::str::from_utf8(&entry).ok().and_then(Entry::from_text) {
        Some(Entry::Key(key)) => expired.push(key),
        Some(Entry::Value(key, value)) => {
            let kept = kv.get(&key).await?;
            // What is to be deleted need not be authentic: what can change it can delete it as well. Epochs of an
            // earlier edition had no tag.
            if kept.is_some_and(|kept| kept == value || sealed::unverified(&kept) == Some(&value)) {
                expired.push(key);
            }
        }
        Some(Entry::Facts(keys)) => {
            let named: Vec<_> = keys.iter().map(String::as_str).collect();
            for (key, kept) in keys.iter().zip(kv.get_many(&named).await) {
                if kept?.is_some_and(|bytes| is_expired(store, &bytes)) {
                    expired.push(key.clone());
                }
            }
        }
        None => {}
    }
    for key in expired {
        kv.delete(&key).await?;
    }
    kv.delete(&name).await
}

/// Whether what is kept in a fact's place is of no use any longer, or no fact of ours.
fn is_expired<P: Ports>(store: &StoreClient<P>, bytes: &[u8]) -> bool {
    let kept = sealed::unverified(bytes).and_then(Kept::from_bytes);
    let Some(kept) = kept else {
        return true;
    };
    let config = store.config();
    let ttl = if kept.is_mark {
        mark_ttl(config)
    } else {
        fact_ttl(config)
    };
    let end = kept.since.checked_add(ttl);
    end.is_ok_and(|end| end < store.ports().now())
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

    async fn stored<P: Ports>(kv: &Kv<'_, P>) -> Result<Option<Self>, StoreError> {
        let position = kv.get(&position_key()).await?;
        Ok(position.as_deref().and_then(Self::from_bytes))
    }

    async fn write<P: Ports>(self, kv: &Kv<'_, P>) -> Result<(), StoreError> {
        let Self {
            list,
            register,
            entry,
        } = self;
        let position = format!("{list}:{register}:{entry}");
        kv.set(&position_key(), position.as_bytes(), DEADLINE).await
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
