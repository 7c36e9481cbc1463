//! A store's identity: 32 random bytes, made once for each store and shared by all instances that use it.
//!
//! Two stores have two identities, so what one of them has counted cannot pass for what the other one has: nonces are
//! bound to [`nonce_scope`]. The bytes are known to the service alone, so no client can tell which counter a name
//! falls into: [`rate_key`] is the one place that says what rate counts are keyed with.

use std::time::Duration;

use tokengate_core::keyed_fingerprint;

use super::client::StoreClient;
use super::keys::PREFIX;
use crate::background::Background as _;
use crate::kv::Kv;
use crate::ports::{Ports, StoreError};

/// How long an instance uses what it knows before it reads it again: a store may have been emptied meanwhile, and until all
/// instances know that, challenges of the one are not those of the other.
const CONFIRMED: Duration = Duration::from_secs(1);

/// How often an identity that another instance is making is looked for, and how long between two looks.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Where a claim counts up, one claim in so many makes the identity: the instance that had the first may have ended.
const TAKE_OVER: u64 = 16;
/// Where a claim expires, after so long.
const CLAIM: Duration = Duration::from_secs(10);

/// An identity has no end: a century, in the words of stores that want one.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What nonces are bound to that this store counts.
///
/// # Errors
/// [`StoreError`], if the identity is not known yet and the store does not tell.
pub(crate) async fn nonce_scope<P: Ports>(store: &StoreClient<P>) -> Result<[u8; 16], StoreError> {
    let secret = secret(store).await?;
    Ok(keyed_fingerprint(&secret, &[b"nonces"]))
}

/// The key that places rate counts.
///
/// # Errors
/// [`StoreError`], if the identity is not known yet and the store does not tell.
pub(crate) async fn rate_key<P: Ports>(store: &StoreClient<P>) -> Result<[u8; 32], StoreError> {
    secret(store).await
}

async fn secret<P: Ports>(store: &StoreClient<P>) -> Result<[u8; 32], StoreError> {
    let known = store.state.identity();
    if let Some((secret, at)) = known
        && store.ports().elapsed().saturating_sub(at) < CONFIRMED
    {
        return Ok(secret);
    }
    let found = store.timed(establish(store)).await;
    // What was known is used on while the store fails, and not looked for at every request.
    let secret = found.or_else(|error| known.map(|(secret, _)| secret).ok_or(error))?;
    store.state.identify(secret, store.ports().elapsed());
    Ok(secret)
}

/// The identity that the store keeps; where it keeps none, one is made.
async fn establish<P: Ports>(store: &StoreClient<P>) -> Result<[u8; 32], StoreError> {
    let (kv, key) = (store.kv(), identity_key());
    if let Some(secret) = read(&kv, &key).await? {
        return Ok(secret);
    }
    let claims = kv.claim(&format!("{key}:claim"), CLAIM).await?;
    for _ in 0..LOOKS {
        if let Some(secret) = read(&kv, &key).await? {
            return Ok(secret);
        }
        if claims % TAKE_OVER == 1 {
            let (first, second) = (store.ports().random(), store.ports().random());
            let secret = [first, second].concat();
            kv.set(&key, &secret, FOREVER).await?;
        } else {
            store.ports().sleep(PAUSE).await;
        }
    }
    Err(StoreError::Failed("its identity is being made".into()))
}

async fn read<P: Ports>(kv: &Kv<'_, P>, key: &str) -> Result<Option<[u8; 32]>, StoreError> {
    let Some(bytes) = kv.get(key).await? else {
        return Ok(None);
    };
    let secret = <[u8; 32]>::try_from(bytes);
    secret
        .map(Some)
        .map_err(|_| StoreError::Failed("its identity is not of 32 bytes".into()))
}

fn identity_key() -> String {
    format!("{PREFIX}:store")
}
