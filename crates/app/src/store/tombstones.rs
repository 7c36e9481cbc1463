//! Tombstones in the shared store: one key for each chain and contract, read together with the facts of that contract.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use tokengate_core::fact::{FactKey, Known, Touch};
use tokengate_core::sealed::Kind;
use tokengate_core::tombstone::Tombstone;
use tokengate_core::{Address, ChainId};

use super::client::StoreClient;
use super::expiry::{self, Entry};
use super::keys::PREFIX;
use super::lookup::LookupError;
use super::retention::{OBEYED, mark_ttl};
use crate::background::Background as _;
use crate::ports::{Ports, StoreError};

/// A contract on a chain.
pub(crate) type Contract = (ChainId, Address);

fn store_key((chain, contract): Contract) -> String {
    format!(
        "{PREFIX}:tombstone:{}",
        Tombstone::store_key(chain, contract)
    )
}

fn contract(key: &FactKey) -> Option<Contract> {
    Some((key.chain, key.read.contract()?))
}

/// The tombstones that facts consult: which keys to read along with theirs, and what the values mean for them.
pub(crate) struct Consulted(Vec<Contract>);

impl Consulted {
    /// Those of the contracts that `keys` are about.
    pub(crate) fn of(keys: &[&FactKey]) -> Self {
        let contracts: BTreeSet<_> = keys.iter().filter_map(|key| contract(key)).collect();
        Self(contracts.into_iter().collect())
    }

    /// The keys in the store.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|contract| store_key(*contract))
    }

    /// Applies the values at [`Self::names`] to what is known of `keys`. A tombstone that cannot be read is unknown, and
    /// so are the facts that consult it.
    pub(crate) fn apply(
        self,
        values: impl Iterator<Item = Result<Option<Vec<u8>>, StoreError>>,
        keys: &[&FactKey],
        known: &mut [Result<Option<Known>, LookupError>],
    ) -> Option<StoreError> {
        let mut why = None;
        let mut read = |value: Result<Option<Vec<u8>>, StoreError>| {
            let tombstone = value.and_then(|bytes| {
                let read = bytes.as_deref().map(Tombstone::from_bytes).transpose();
                read.map_err(|error| StoreError::Failed(error.to_string()))
            });
            tombstone.map_err(|error| {
                let unknown = match error {
                    StoreError::Forged(_) => LookupError::Forged,
                    _ => LookupError::Failed,
                };
                why = Some(error);
                unknown
            })
        };
        let mut values = values.map(&mut read);
        let mut tombstones = BTreeMap::new();
        for contract in self.0 {
            tombstones.insert(contract, values.next().unwrap_or(Err(LookupError::Failed)));
        }
        for (key, known) in keys.iter().zip(known) {
            match contract(key).and_then(|contract| tombstones.get(&contract)) {
                Some(Ok(Some(tombstone))) => {
                    if let Ok(known) = known {
                        *known = Some(tombstone.cover(known.take(), OBEYED));
                    }
                }
                Some(Err(unknown)) => *known = Err(*unknown),
                Some(Ok(None)) | None => {}
            }
        }
        why
    }
}

/// Writes the tombstones of contracts, each over what is there.
///
/// # Errors
/// [`StoreError`], if any could not be read or written.
pub(crate) async fn write<P: Ports>(
    store: &StoreClient<P>,
    contracts: &BTreeMap<Contract, Touch>,
) -> Result<(), StoreError> {
    if contracts.is_empty() {
        return Ok(());
    }
    let ttl = mark_ttl(store.config());
    let names: Vec<_> = contracts
        .keys()
        .map(|contract| store_key(*contract))
        .collect();
    let reads = async {
        let named: Vec<_> = names.iter().map(String::as_str).collect();
        let values = store.kv().get_many_sealed(Kind::Tombstone, &named).await;
        // What is not authentic is not understood: it invalidates everything of before now.
        let values = values.into_iter().map(|value| match value {
            Err(StoreError::Forged(_)) => Ok(Some(Vec::new())),
            value => value,
        });
        values.collect::<Result<Vec<_>, _>>()
    };
    let values = store.timed(reads).await?;
    let now = store.ports().now();
    let mut written = Vec::new();
    for ((touch, name), value) in contracts.values().zip(&names).zip(values) {
        let new = Tombstone {
            touch: *touch,
            at: now,
        };
        let tombstone = match value.as_deref().map(Tombstone::from_bytes) {
            Some(Ok(old)) => match old.merged(*touch, now, OBEYED) {
                Some(merged) => merged,
                // Known already, and obeyed for as long as it says.
                None => continue,
            },
            // What cannot be read invalidates everything of before now.
            Some(Err(error)) => {
                store.telemetry().error(error.to_string());
                let since = Some(touch.since.map_or(now, |since| since.max(now)));
                Tombstone {
                    touch: Touch { since, ..*touch },
                    ..new
                }
            }
            None => new,
        };
        written.push((name, tombstone.to_bytes()));
    }
    let kv = store.kv();
    let writes = async {
        let writes = written
            .iter()
            .map(|(name, bytes)| kv.set_sealed(Kind::Tombstone, name, bytes, ttl));
        let outcomes = join_all(writes).await;
        outcomes.into_iter().collect::<Result<Vec<()>, _>>()
    };
    store.timed(writes).await?;
    if let Ok(at) = now.checked_add(ttl) {
        for (name, _) in &written {
            expiry::schedule(store, Entry::Key((*name).clone()), at);
        }
    }
    Ok(())
}
