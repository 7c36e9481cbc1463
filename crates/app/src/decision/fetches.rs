//! Fetching what a decision lacks from the chains, or joining the fetches of others.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokengate_core::config::Config;
use tokengate_core::fact::{Fact, FactKey};

use super::fetch::{charge, fetch, start_fetch};
use super::reader::FactReader;
use super::tier::Tier;
use super::{Effort, Gathered};
use crate::background::Background as _;
use crate::cache::single_flight::{FetchRequest, InFlight};
use crate::http::problem::Problem;
use crate::ports::Ports;
use crate::telemetry::{Count, Outside};

/// With more fetches in flight than this, none begins in the background.
const MAX_BACKGROUND: usize = 16;

impl Gathered<'_> {
    /// Asks all chains at once. A chain without an answer leaves its facts unknown.
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`], before a chain is asked; [`Problem::ChainUnavailable`] while the instance is reading
    /// as much as it can.
    pub(super) async fn read<P: Ports>(
        &mut self,
        reader: &FactReader<P>,
        config: &Config,
        wanted: &BTreeSet<FactKey>,
        max_age: Duration,
    ) -> Result<(), Problem> {
        let begun = reader.ports().elapsed();
        let requests = self.requests(config, wanted);
        let requests: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let joined = self.join(reader, &request, begun, max_age);
                (request, joined)
            })
            .collect();
        let lacking = requests.iter().filter(|(_, joined)| joined.is_none());
        self.pay(reader, lacking.map(|(request, _)| request))
            .await?;
        let mut fetches = Vec::new();
        for (request, joined) in requests {
            if self.effort == Effort::EveryLeaf {
                // Explanations are public, for any address: what only they need is not kept.
                fetches.push(fetch(reader, request, self.now).map(Rc::new).left_future());
                continue;
            }
            // Another one may have begun it while the store was asked what this one has used.
            let joined = joined.or_else(|| self.join(reader, &request, begun, max_age));
            if joined.is_some() {
                reader.telemetry().count(Count::Coalesced, 1);
                self.fetched.get_or_insert_default().is_joined = true;
            } else {
                reader.telemetry().count(Count::Chain, request.keys.len());
            }
            let in_flight = joined.unwrap_or_else(|| start_fetch(reader, request, self.now));
            let ports = reader.ports();
            fetches.push(async move { in_flight.result(ports).await }.right_future());
        }
        reader.telemetry().wait_begins(Outside::Chain, begun);
        let results = join_all(fetches).await;
        reader
            .telemetry()
            .wait_ends(Outside::Chain, reader.ports().elapsed());
        let elapsed = reader.ports().elapsed();
        for result in results {
            for error in &result.errors {
                reader.telemetry().error(error.clone());
            }
            for (key, answer) in &result.answers {
                if !wanted.contains(key) {
                    continue;
                }
                match answer {
                    // The request that began the fetch may not have known what is known here.
                    Ok(fact)
                        if self.known(key).is_some_and(|known| {
                            fact.contradicts(known) && !reader.chain.is_reorged(key, known)
                        }) => {}
                    Ok(fact) => {
                        // Another read that has ended meanwhile may know a later block.
                        let held = reader.facts.cache.peek(self.agreement, key, elapsed);
                        let later = held.filter(|held| {
                            fact.contradicts(held) && !reader.chain.is_reorged(key, held)
                        });
                        self.tiers.insert(key.clone(), Tier::Chain);
                        self.facts
                            .insert(key.clone(), later.unwrap_or_else(|| fact.clone()));
                    }
                    // Neither a yes nor a no, and what was known before is not believed any longer.
                    Err(_) => self.facts.remove(key),
                }
            }
        }
        Ok(())
    }

    /// The fetch in flight that has what `request` wants, if there is one.
    fn join<P: Ports>(
        &self,
        reader: &FactReader<P>,
        request: &FetchRequest,
        now: Duration,
        max_age: Duration,
    ) -> Option<InFlight> {
        let alone = max_age.is_zero() || self.alone.contains(&request.chain);
        if alone || self.effort == Effort::EveryLeaf {
            return None;
        }
        reader.facts.single_flight.join(request, now, max_age)
    }

    /// Charges for reads that begin.
    async fn pay<P: Ports>(
        &self,
        reader: &FactReader<P>,
        requests: impl Iterator<Item = &FetchRequest>,
    ) -> Result<(), Problem> {
        let facts = requests
            .map(FetchRequest::cost)
            .fold(0, usize::saturating_add);
        charge(reader, self.payer.as_ref(), facts).await
    }

    /// Has facts fetched in the background, unless they are in flight or not paid for.
    pub(super) async fn refresh<P: Ports>(
        &self,
        reader: &FactReader<P>,
        config: &Config,
        wanted: BTreeSet<FactKey>,
    ) {
        if wanted.is_empty() {
            return;
        }
        for request in self.requests(config, &wanted) {
            let in_flight = &reader.facts.single_flight;
            let now = reader.ports().elapsed();
            if in_flight.count() < MAX_BACKGROUND
                && in_flight.join(&request, now, Duration::MAX).is_none()
                && self.pay(reader, std::iter::once(&request)).await.is_ok()
            {
                reader.telemetry().count(Count::Refreshes, 1);
                start_fetch(reader, request, self.now);
            }
        }
    }

    fn known(&self, key: &FactKey) -> Option<&Fact> {
        self.facts.within(Duration::MAX, self.now).fact(key)
    }

    /// What is wanted, chain by chain.
    fn requests(&self, config: &Config, wanted: &BTreeSet<FactKey>) -> Vec<FetchRequest> {
        let chains = config.chains().map(|chain| chain.id);
        chains
            .map(|chain| FetchRequest {
                chain,
                agreement: self.agreement,
                keys: wanted
                    .iter()
                    .filter(|key| key.chain == chain)
                    .cloned()
                    .collect(),
                floor: self.floors.get(&chain).copied().unwrap_or_default(),
                known: wanted
                    .iter()
                    .filter(|key| key.chain == chain)
                    .filter_map(|key| Some((key.clone(), self.known(key)?.clone())))
                    .collect(),
                of_vault: wanted
                    .iter()
                    .filter(|key| key.chain == chain && self.of_vault.contains(key))
                    .cloned()
                    .collect(),
            })
            .filter(|request| !request.keys.is_empty())
            .collect()
    }
}
