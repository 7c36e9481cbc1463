//! Tombstones in the shared store: one key for each chain and contract, read together with the facts of that contract.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use tokengate_core::config::Config;
use tokengate_core::fact::{FactKey, Known, Touch};
use tokengate_core::sealed::Kind;
use tokengate_core::tombstone::Tombstone;
use tokengate_core::{Address, ChainId};

use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::store::expiry::{self, Entry};
use crate::store::{OBEYED, PREFIX, Unknown, mark_ttl, timed};

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
        known: &mut [Result<Option<Known>, Unknown>],
    ) -> Option<StoreError> {
        let mut why = None;
        let mut read = |value: Result<Option<Vec<u8>>, StoreError>| {
            let tombstone = value.and_then(|bytes| {
                let read = bytes.as_deref().map(Tombstone::from_bytes).transpose();
                read.map_err(|error| StoreError::Failed(error.to_string()))
            });
            tombstone.map_err(|error| {
                let unknown = match error {
                    StoreError::Forged(_) => Unknown::Forged,
                    _ => Unknown::Failed,
                };
                why = Some(error);
                unknown
            })
        };
        let mut values = values.map(&mut read);
        let mut tombstones = BTreeMap::new();
        for contract in self.0 {
            tombstones.insert(contract, values.next().unwrap_or(Err(Unknown::Failed)));
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
    context: &Context<'_, P>,
    config: &Config,
    contracts: &BTreeMap<Contract, Touch>,
) -> Result<(), StoreError> {
    if contracts.is_empty() {
        return Ok(());
    }
    let (limit, ttl) = (config.deadlines.store, mark_ttl(config));
    let names: Vec<_> = contracts
        .keys()
        .map(|contract| store_key(*contract))
        .collect();
    let reads = async {
        let named: Vec<_> = names.iter().map(String::as_str).collect();
        let store = context.store();
        let values = store.get_many_sealed(Kind::Tombstone, &named).await;
        // What is not authentic is not understood: it invalidates everything of before now.
        let values = values.into_iter().map(|value| match value {
            Err(StoreError::Forged(_)) => Ok(Some(Vec::new())),
            value => value,
        });
        values.collect::<Result<Vec<_>, _>>()
    };
    let values = timed(context, limit, reads).await?;
    let now = context.ports.now();
    let mut written = Vec::new();
    for ((touch, name), value) in contracts.values().zip(&names).zip(values) {
        let (new, old) = (
            Tombstone {
                touch: *touch,
                at: now,
            },
            value.as_deref().map(Tombstone::from_bytes),
        );
        let tombstone = match old {
            // Known already, and obeyed for as long as it says.
            Some(Ok(old)) if old.touch.and(*touch) == old.touch => continue,
            Some(Ok(old)) => new.and(old),
            // What cannot be read invalidates everything of before now.
            Some(Err(error)) => {
                context.record.fault(error.to_string());
                let since = Some(touch.since.map_or(now, |since| since.max(now)));
                Tombstone {
                    touch: Touch { since, ..*touch },
                    at: now,
                }
            }
            None => new,
        };
        written.push((name, tombstone.to_bytes()));
    }
    let store = context.store();
    let writes = async {
        let writes = written
            .iter()
            .map(|(name, bytes)| store.set_sealed(Kind::Tombstone, name, bytes, ttl));
        let outcomes = join_all(writes).await;
        outcomes.into_iter().collect::<Result<Vec<()>, _>>()
    };
    timed(context, limit, writes).await?;
    if let Ok(at) = now.checked_add(ttl) {
        for (name, _) in &written {
            expiry::later(context, limit, Entry::Key((*name).clone()), at);
        }
    }
    Ok(())
}
