//! Nonces and the ends of sessions in the shared store.

use std::time::Duration;

use tokengate_core::Timestamp;
use tokengate_core::nonce::PendingNonce;
use tokengate_core::sealed::Kind;
use tokengate_core::session::Session;
use tokengate_core::wallet::Wallet;

use super::client::StoreClient;
use super::expiry::{self, Entry};
use super::keys::{
    PREFIX, ended_key, epoch_key, epoch_keys, epoch_keys_ended_with, nonce_key, old_epoch_key,
};
use super::retention::{kept_until, until};
use crate::background::Background as _;
use crate::ports::{Ports, StoreError};

/// Whether a nonce has been counted already: then nothing else about its message needs to be asked. Only the count
/// itself says that it has not.
pub(crate) async fn is_spent<P: Ports>(
    store: &StoreClient<P>,
    nonce: &PendingNonce,
) -> Result<bool, StoreError> {
    let key = nonce_key(nonce);
    store
        .timed(store.kv().get(&key))
        .await
        .map(|count| count.is_some())
}

/// Counts the presentation of a nonce with a valid signature of `wallet`: how often it happened, this time included,
/// and the wallet's epoch.
pub(crate) async fn count_nonce<P: Ports>(
    store: &StoreClient<P>,
    nonce: &PendingNonce,
    wallet: Wallet,
) -> Result<(u64, u64), StoreError> {
    // The platform's counter cannot be raced: it blocks its whole instance. A store that does not answer a read in time
    // is not asked to count.
    let key = epoch_key(wallet);
    let epoch = store.kv().get_sealed(Kind::Epoch, &key);
    let epoch = store.timed(epoch).await?;
    let epoch = epoch.map_or(Ok(0), |bytes| read_epoch(&bytes))?;
    let count = store
        .claim(nonce_key(nonce), nonce.forgettable_at())
        .await?;
    Ok((count, epoch))
}

/// Marks a session as ended, until it would have ended by itself. Answers how often that was done, this time included:
/// only the first may let another session take its place.
pub(crate) async fn end<P: Ports>(
    store: &StoreClient<P>,
    session: &Session,
) -> Result<u64, StoreError> {
    let end = kept_until(session.sealed_end());
    store.claim(ended_key(session), end).await
}

/// Ends all sessions of a wallet: those of an earlier epoch are no longer open. A session that has started ends by `end`
/// at the latest, and the epoch is kept for as long.
pub(crate) async fn end_all<P: Ports>(
    store: &StoreClient<P>,
    wallet: Wallet,
    end: Timestamp,
) -> Result<(), StoreError> {
    // A fresh random epoch: a sign-in that still read the old one yields a revoked session.
    let random = store.ports().random();
    let [a, b, c, d, e, f, g, h, ..] = random;
    let epoch = [a, b, c, d, e, f, g, h];
    let at = kept_until(end);
    for key in epoch_keys_ended_with(wallet, store.config()) {
        let ttl = until(store, at);
        let set = store.kv().set_sealed(Kind::Epoch, &key, &epoch, ttl);
        store.timed(set).await?;
        // A later end of them all sets another one, which is kept for longer.
        expiry::schedule(store, Entry::Value(key, epoch), at);
    }
    Ok(())
}

/// The longest lifetime that sessions of this store were made with: a token may live for so long after its signature
/// again, where a lower lifetime was configured in between. Notes `absolute` where that is longer.
pub(crate) async fn longest_lifetime<P: Ports>(
    store: &StoreClient<P>,
    absolute: Duration,
) -> Result<Duration, StoreError> {
    if store.state.lifetime() >= absolute {
        return Ok(store.state.lifetime());
    }
    let key = format!("{PREFIX}:lifetime");
    let known = store.kv().get_sealed(Kind::Epoch, &key);
    let known = store.timed(known).await?;
    let known = known.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    let known = Duration::from_secs(known.map_or(0, u64::from_be_bytes));
    if known < absolute {
        let seconds = absolute.as_secs().to_be_bytes();
        let ttl = LONGEST.saturating_mul(2);
        store.put_sealed(Kind::Epoch, &key, &seconds, ttl).await?;
    }
    store.state.knows_lifetime(known.max(absolute));
    Ok(known.max(absolute))
}

/// The longest lifetime of sessions that a configuration may say.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Whether a session was ended, by itself or with all of one of its addresses.
pub(crate) async fn is_ended<P: Ports>(
    store: &StoreClient<P>,
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
        let kv = store.kv();
        let mut values = kv.get_many(&keys).await.into_iter().zip(keys);
        // A counter, which carries no tag: whatever is there says that the session was ended.
        if let Some((count, _)) = values.next()
            && count?.is_some()
        {
            return Ok(true);
        }
        let mut ended = false;
        for ((_, epoch), (value, key)) in members.iter().zip(values) {
            // Where none is kept, all sessions of an earlier one have ended by themselves.
            match kv.open(Kind::Epoch, key, value?) {
                Ok(Some(bytes)) => ended |= read_epoch(&bytes)? != *epoch,
                Ok(None) => {}
                // Written before values carried a tag, or forged: there is no session of before that it leaves open.
                Err(StoreError::Forged(_)) if old.iter().any(|old| old == key) => ended = true,
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    };
    store.timed(reads).await
}

/// A wallet's epoch, which is kept for a while after all its sessions have been ended together.
fn read_epoch(bytes: &[u8]) -> Result<u64, StoreError> {
    <[u8; 8]>::try_from(bytes)
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError::Failed("an epoch is not of 8 bytes".into()))
}
