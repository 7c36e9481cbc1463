//! Looking facts up: in this instance's cache, then in the shared store.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join;
use tokengate_core::fact::{Fact, FactKey, Known};

use super::Gathered;
use super::reader::FactReader;
use super::tier::Tier;
use crate::background::Background as _;
use crate::http::problem::Problem;
use crate::ports::Ports;
use crate::telemetry::Count;
use crate::{chain, store};

/// A node that has not seen a block is behind for so long at the most after the block was told of: the source may be
/// mistaken.
const FLOOR_FOR: Duration = Duration::from_secs(30);

impl Gathered<'_> {
    /// Looks up `keys`. What is found may be too old.
    pub(super) async fn look_up<P: Ports>(
        &mut self,
        reader: &FactReader<P>,
        keys: BTreeSet<FactKey>,
    ) -> Result<(), Problem> {
        let config = reader.config();
        let memory = &reader.facts;
        let asked = reader.ports().elapsed();
        let is_reorged = |key: &FactKey, fact: &Fact| reader.chain.is_reorged(key, fact);
        let mut lacking = Vec::new();
        for key in keys {
            match memory.cache.get(self.agreement, &key, asked) {
                Some(fact) if !is_reorged(&key, &fact) => {
                    reader.telemetry().count(Count::Memory, 1);
                    self.tiers.insert(key.clone(), Tier::Memory);
                    self.facts.insert(key, fact);
                }
                _ => lacking.push(key),
            }
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let lacking: Vec<_> = lacking.iter().collect();
        let known = store::facts(&reader.store, self.agreement, &lacking);
        let (known, ()) = join(known, chain::pull(&reader.chain)).await;
        for (key, known) in lacking.into_iter().zip(known) {
            match known {
                // One that no gate may rest on any longer must not contradict what is read now either.
                Ok(Some(Known::Fact(fact)))
                    if !is_reorged(key, &fact)
                        && fact.is_within(store::fact_ttl(config), self.now) =>
                {
                    reader.telemetry().count(Count::Store, 1);
                    memory.cache.put(self.agreement, key, &fact, asked);
                    self.tiers.insert(key.clone(), Tier::Store);
                    self.facts.insert(key.clone(), fact);
                }
                Ok(Some(Known::Touched(touch, at))) => {
                    memory.cache.remove(self.agreement, key);
                    let age = self.now.duration_since(at).unsigned_abs();
                    // A read that is under way has begun within the time that one takes. Tombstones stay for longer.
                    if touch.since.is_some() && age <= FLOOR_FOR.max(config.deadlines.chain * 2) {
                        self.alone.insert(key.chain);
                    }
                    if age <= FLOOR_FOR {
                        let floor = self.floors.entry(key.chain).or_default();
                        *floor = touch.block.max(*floor);
                    }
                }
                Ok(Some(Known::Fact(_)) | None) => memory.cache.remove(self.agreement, key),
                Err(store::LookupError::Failed) => {}
                // A tombstone may have stood there: only what is read from now on is believed.
                Err(store::LookupError::Forged) => {
                    memory.cache.remove(self.agreement, key);
                    self.alone.insert(key.chain);
                }
            }
        }
        Ok(())
    }
}
