//! The shared key-value store, with our prefix and a deadline on every call.

pub(crate) mod expiry;
pub(crate) mod identity;
pub(crate) mod tombstones;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use tokengate_core::config::Config;
use tokengate_core::fact::{Fact, FactKey, Known, Touch};
use tokengate_core::nonce::{CLOCK_SKEW, PendingNonce};
use tokengate_core::sealed::Kind;
use tokengate_core::session::{Epochs, Member, Session};
use tokengate_core::wallet::{Control, Wallet};
use tokengate_core::{Address, ChainId, Timestamp};

use crate::cache::sessions;
use crate::chain;
use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::store::expiry::Entry;
use crate::store::tombstones::Consulted;
use crate::telemetry::{Count, Outside};
use crate::timeout::within;

/// Before every key: stores are shared, and the number is the edition of the layout.
pub(crate) const PREFIX: &str = "tg1";

pub(crate) async fn timed<P: Ports, T>(
    context: &Context<'_, P>,
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let record = context.record;
    record.wait_begins(Outside::Store, context.ports.elapsed());
    let outcome = within(context.ports, limit, call)
        .await
        .unwrap_or(Err(StoreError::Timeout));
    record.wait_ends(Outside::Store, context.ports.elapsed());
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
    let key = nonce_key(nonce);
    timed(context, limit, context.store().get(&key))
        .await
        .map(|count| count.is_some())
}

/// Counts the presentation of a nonce with a valid signature of `wallet`: how often it happened, this time included,
/// and the wallet's epoch.
pub(crate) async fn count_nonce<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    nonce: &PendingNonce,
    wallet: Wallet,
) -> Result<(u64, u64), StoreError> {
    // The platform's counter cannot be raced: it blocks its whole instance. A store that does not answer a read in time
    // is not asked to count.
    let key = epoch_key(wallet);
    let store = context.store();
    let epoch = timed(context, limit, store.get_sealed(Kind::Epoch, &key)).await?;
    let epoch = epoch.map_or(Ok(0), |bytes| read_epoch(&bytes))?;
    let (key, at) = (nonce_key(nonce), nonce.forgettable_at());
    let claim = context.store();
    let claim = claim.claim(&key, until(context, at));
    let count = timed(context, limit, claim).await?;
    if count == 1 {
        expiry::later(context, limit, Entry::Key(key), at);
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
    let (key, at) = (ended_key(session), forgettable(session.sealed_end()));
    let claim = context.store();
    let claim = claim.claim(&key, until(context, at));
    let count = timed(context, limit, claim).await?;
    let memory = context.service.memory();
    memory
        .sessions
        .put(session.id_bytes(), sessions::Standing::Ended);
    if count == 1 {
        expiry::later(context, limit, Entry::Key(key), at);
    }
    Ok(count)
}

/// Ends all sessions of a wallet: those of an earlier epoch are no longer open. A session that has started ends by `end`
/// at the latest, and the epoch is kept for as long.
pub(crate) async fn end_all<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    wallet: Wallet,
    end: Timestamp,
) -> Result<(), StoreError> {
    let config = context.service.config();
    let config = config.map_err(|_| StoreError::Failed("no configuration".into()))?;
    // A number that no session has: whoever reads the old one after this signs in to a session that is not open.
    let random = context.ports.random();
    let [a, b, c, d, e, f, g, h, ..] = random;
    let epoch = [a, b, c, d, e, f, g, h];
    let (store, at) = (context.store(), forgettable(end));
    for key in epoch_keys_ended_with(wallet, config) {
        let set = store.set_sealed(Kind::Epoch, &key, &epoch, until(context, at));
        timed(context, limit, set).await?;
        // A later end of them all sets another one, which is kept for longer.
        expiry::later(context, limit, Entry::Value(key, epoch), at);
    }
    Ok(())
}

/// The longest lifetime that sessions of this store were made with: a token may live for so long after its signature
/// again, where a lower lifetime was configured in between. Notes `absolute` where that is longer.
pub(crate) async fn longest_lifetime<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    absolute: Duration,
) -> Result<Duration, StoreError> {
    let memory = context.service.memory();
    if memory.lifetime() >= absolute {
        return Ok(memory.lifetime());
    }
    let (store, key) = (context.store(), format!("{PREFIX}:lifetime"));
    let known = timed(context, limit, store.get_sealed(Kind::Epoch, &key)).await?;
    let known = known.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    let known = Duration::from_secs(known.map_or(0, u64::from_be_bytes));
    if known < absolute {
        let seconds = absolute.as_secs().to_be_bytes();
        timed(
            context,
            limit,
            store.set_sealed(Kind::Epoch, &key, &seconds, LONGEST.saturating_mul(2)),
        )
        .await?;
    }
    memory.knows_lifetime(known.max(absolute));
    Ok(known.max(absolute))
}

/// The longest lifetime of sessions that a configuration may say.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Whether a session was ended, by itself or with all of one of its addresses.
pub(crate) async fn is_ended<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    session: &Session,
) -> Result<bool, StoreError> {
    let members: Vec<_> = session
        .members()
        .iter()
        .flat_map(|member| epoch_keys(session, member))
        .collect();
    let keys: Vec<String> = std::iter::once(ended_key(session))
        .chain(members.iter().map(|(key, _)| key.clone()))
        .collect();
    let wallets = session.members().iter().map(|member| member.wallet);
    let old: Vec<_> = wallets
        .map(|wallet| old_epoch_key(wallet.address))
        .collect();
    let reads = async {
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let store = context.store();
        let mut values = store.get_many(&keys).await.into_iter().zip(keys);
        // A counter, which carries no tag: whatever is there says that the session was ended.
        if let Some((count, _)) = values.next()
            && count?.is_some()
        {
            return Ok(true);
        }
        let mut ended = false;
        for ((_, epoch), (value, key)) in members.iter().zip(values) {
            // Where none is kept, all sessions of an earlier one have ended by themselves.
            match store.open(Kind::Epoch, key, value?) {
                Ok(Some(bytes)) => ended |= read_epoch(&bytes)? != *epoch,
                Ok(None) => {}
                // Written before values carried a tag, or forged: there is no session of before that it leaves open.
                Err(StoreError::Forged(_)) if old.iter().any(|old| old == key) => ended = true,
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    };
    timed(context, limit, reads).await
}

/// A wallet's epoch, which is kept for a while after all its sessions have been ended together.
fn read_epoch(bytes: &[u8]) -> Result<u64, StoreError> {
    <[u8; 8]>::try_from(bytes)
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError::Failed("an epoch is not of 8 bytes".into()))
}

/// How long it is until `at`.
fn until<P: Ports>(context: &Context<'_, P>, at: Timestamp) -> Duration {
    at.duration_since(context.ports.now())
        .try_into()
        .unwrap_or_default()
}

fn nonce_key(nonce: &PendingNonce) -> String {
    format!("{PREFIX}:nonce:{}", nonce.id())
}

fn ended_key(session: &Session) -> String {
    format!("{PREFIX}:revoked:{}", session.id())
}

/// By address and control: a contract on another chain at the same address is another wallet.
fn epoch_key(wallet: Wallet) -> String {
    let control = match wallet.control {
        Control::Key => "key".to_owned(),
        Control::Contract(chain) => chain.id().to_string(),
    };
    format!("{}:{control}", old_epoch_key(wallet.address))
}

/// By address alone: of sessions whose tokens are of version 2.
fn old_epoch_key(address: Address) -> String {
    format!("{PREFIX}:epoch:{}", address.to_lower_hex())
}

/// Where a later epoch ends `member` of a session, and the epoch that it has. The epochs that members of version 2 have
/// are by address.
fn epoch_keys(session: &Session, member: &Member) -> Vec<(String, u64)> {
    let mut keys = vec![(epoch_key(member.wallet), member.epoch)];
    if session.epochs() == Epochs::ByAddress {
        keys.push((old_epoch_key(member.wallet.address), member.epoch));
    }
    keys
}

/// Where the epoch is set that ends all sessions of `wallet`. An address's key speaks for the address on every chain.
fn epoch_keys_ended_with(wallet: Wallet, config: &Config) -> Vec<String> {
    let mut keys = vec![epoch_key(wallet)];
    if wallet.is_of_key() {
        keys.push(old_epoch_key(wallet.address));
        keys.extend(config.chains().map(|chain| {
            epoch_key(Wallet {
                control: Control::Contract(chain.id),
                ..wallet
            })
        }));
    }
    keys
}

/// From when on no clock takes something for open that ends at `end`.
fn forgettable(end: Timestamp) -> Timestamp {
    end.checked_add(CLOCK_SKEW.saturating_mul(2))
        .unwrap_or(Timestamp::MAX)
}

/// Where a fact is kept that so many providers agreed on, or more where the chain demands it: one that was read in any
/// other way than this configuration reads it has another key.
fn fact_key(config: &Config, key: &FactKey, agreement: usize) -> String {
    // Gates are of configured chains and agreements.
    let space = config.fact_space(key.chain, agreement).unwrap_or("-");
    format!("{PREFIX}:fact:{space}:{}", key.store_key())
}

/// Where something of this name is kept of a chain itself, apart for each way in which it is read.
pub(crate) fn chain_key(config: &Config, name: &str, chain: ChainId) -> String {
    let space = config.chain_space(chain).unwrap_or("-");
    format!("{PREFIX}:{name}:{space}:{}", chain.id())
}

/// How long what is known of a fact is of use: as long as any gate may rest on it, and what clocks may differ by.
pub(crate) fn fact_ttl(config: &Config) -> Duration {
    let clocks = CLOCK_SKEW.saturating_mul(2);
    config.oldest_fact().saturating_add(clocks)
}

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

/// How long a mark is kept: until the block of the touch counts where it is read, and no fact before it does.
pub(crate) fn mark_ttl(config: &Config) -> Duration {
    fact_ttl(config).max(OBEYED)
}

/// How long a block that something is said to have happened at is waited for: longer than Ethereum and what settles on
/// it optimistically take to finalise one. Whoever said so may be mistaken.
pub(crate) const OBEYED: Duration = Duration::from_secs(30 * 60);

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

/// How long a probe is kept.
const PROBE: Duration = Duration::from_secs(60);

/// Whether the store takes and gives back a value.
pub(crate) async fn probe<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
) -> Result<(), StoreError> {
    let key = format!("{PREFIX}:probe");
    let round_trip = async {
        let store = context.store();
        store.set(&key, b"1", PROBE).await?;
        match store.get(&key).await? {
            Some(value) if value == b"1" => Ok(()),
            _ => Err(StoreError::Failed(
                "a value that was set is not there".into(),
            )),
        }
    };
    timed(context, limit, round_trip).await
}
