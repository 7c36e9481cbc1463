//! `POST /v1/events/{source}`: signed webhooks that tell of transfers and invalidate the facts that these change.

use std::collections::HashMap;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokengate_core::config::{Chain, Config};
use tokengate_core::sealed::Kind;
use tokengate_core::transfer::Transfer;
use tokengate_core::webhook::{self, Delivery, Key, Named, Verified};
use tokengate_core::{Timestamp, fingerprint};

use crate::background::Background as _;
use crate::cache::facts::FactCache;
use crate::chain::{self, ChainClient};
use crate::context::Context;
use crate::http::problem::Problem;
use crate::http::{Request, Response, json_response};
use crate::invalidation::{Invalidations, invalidate, touch_of};
use crate::ports::{Ports, StoreError};
use crate::route::Route;
use crate::state::Events;
use crate::store::{PREFIX, StoreClient};
use crate::telemetry::Telemetry;

/// How long a delivery is remembered that was seen to: vendors give up repeating one earlier.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P, Events>> {
    let route = Route::new("/v1/events/{source}").with_bodies_of(webhook::MAX_LEN);
    vec![route.on(Method::POST, receive)]
}

async fn receive<P: Ports>(
    context: &Context<P, Events>,
    request: &Request,
    name: &str,
) -> Result<Response, Problem> {
    let verified = match verify(&context.state.keys, request, name, context.ports.now()) {
        Ok(verified) => verified,
        Err(problem) => {
            // Only strangers are counted: a source may have much to tell.
            context.limiter().client(request).await?;
            return Err(problem);
        }
    };
    let malformed = |_| Problem::Body("The body is not what this source sends.".into());
    let delivery = verified.read().map_err(malformed)?;
    let (config, store) = (context.config(), context.store());
    let client = ChainClient::new(&context.state.chains, store.clone());
    let outcome = match chain_of(config, name, &delivery) {
        Ok(Some(chain)) => {
            attend(
                &store,
                &client,
                &context.state.facts.cache,
                name,
                chain,
                &delivery,
            )
            .await?
        }
        Ok(None) => DeliveryOutcome {
            ignored: Some("other-chain"),
            ..DeliveryOutcome::of(&delivery)
        },
        // What tries whether a new webhook works is about no chain, and has to be answered well.
        Err(_) if delivery.logs.is_empty() && delivery.skipped == 0 => DeliveryOutcome::default(),
        Err(problem) => {
            note(&context.telemetry, name, &delivery, "not taken");
            return Err(problem);
        }
    };
    if let Some(ignored) = outcome.ignored {
        note(&context.telemetry, name, &delivery, ignored);
    } else if outcome.skipped > 0 || outcome.unreadable > 0 {
        note(&context.telemetry, name, &delivery, "read in part");
    }
    Ok(json_response(StatusCode::OK, &outcome.document()))
}

fn verify<'a>(
    keys: &HashMap<String, Key>,
    request: &'a Request,
    name: &str,
    now: Timestamp,
) -> Result<Verified<'a>, Problem> {
    let key = keys.get(name).ok_or(Problem::UnknownSource)?;
    Ok(key.verify(request.headers(), request.body(), now)?)
}

/// The chain that the delivery is about, if the service and the source are for it. A name that is not known may be any
/// network's: block numbers of another chain would invalidate facts that they say nothing of.
fn chain_of<'a>(
    config: &'a Config,
    name: &str,
    delivery: &Delivery,
) -> Result<Option<&'a Chain>, Problem> {
    let own = config.source(name).and_then(|source| source.chain);
    let chain = match (&delivery.chain, own) {
        (Named::Chain(chain), _) => *chain,
        (Named::Nothing, Some(own)) => own,
        (Named::Nothing, None) => return Err(Problem::ChainNotNamed),
        (Named::Unknown(network), _) => return Err(Problem::UnknownNetwork(network.clone())),
    };
    let fits = own.is_none_or(|own| own == chain);
    Ok(config.chain(chain).filter(|_| fits))
}

/// Notes in the log what became of a delivery that invalidated less than it may have told.
fn note(telemetry: &Telemetry, name: &str, delivery: &Delivery, what: &str) {
    let about = match &delivery.chain {
        Named::Chain(chain) => format!(" about {chain}"),
        Named::Nothing => String::new(),
        Named::Unknown(network) => format!(" about the network {network}, which is not known"),
    };
    let (logs, skipped) = (delivery.logs.len(), delivery.skipped);
    telemetry.error(format!(
        "events {name}: a delivery{about}: {what}; {logs} logs, {skipped} skipped"
    ));
}

/// Invalidates the facts that the delivery's transfers change, once.
async fn attend<P: Ports>(
    store: &StoreClient<P>,
    client: &ChainClient<P>,
    cache: &FactCache,
    name: &str,
    chain: &Chain,
    delivery: &Delivery,
) -> Result<DeliveryOutcome, Problem> {
    let config = store.config();
    let now = store.ports().now();
    let mut outcome = DeliveryOutcome::of(delivery);
    let watched = config.watched(chain.id);
    if delivery
        .logs
        .iter()
        .any(|log| watched.contains(&log.address))
    {
        chain::pull(client).await;
    }
    let mut invalidations = Invalidations::default();
    for log in &delivery.logs {
        // A block that the chain cannot have come to would be waited for: what is said to have happened there invalidates
        // everything of before now.
        let undone = log.removed || !client.is_possible(chain, log.block);
        let touch = touch_of(log.block, undone, now);
        match Transfer::read(log) {
            Ok(transfers) => {
                outcome.transfers += usize::from(!transfers.is_empty());
                for transfer in &transfers {
                    invalidations.add(config, chain, transfer, touch);
                }
            }
            Err(_) => {
                outcome.unreadable += 1;
                if watched.contains(&log.address) {
                    invalidations.add_contract(chain, log.address, touch);
                }
            }
        }
    }
    outcome.contracts = invalidations.contracts();
    // Of what touches nothing there is nothing to remember.
    if invalidations.is_empty() {
        return Ok(outcome);
    }
    let key = delivery.id.as_ref().map(|id| {
        let id = u128::from_be_bytes(fingerprint(&[id.as_bytes()]));
        format!("{PREFIX}:event:{name}:{id:032x}")
    });
    if let Some(key) = &key {
        let seen = store.kv().get_sealed(Kind::Delivery, key);
        match store.timed(seen).await {
            Ok(Some(_)) => {
                outcome.contracts = 0;
                outcome.replayed = true;
                return Ok(outcome);
            }
            // Doing it once more changes nothing, and leaving it out would.
            Ok(None) | Err(StoreError::Forged(_)) => {}
            Err(StoreError::Timeout | StoreError::Failed(_)) => {
                return Err(Problem::StoreUnavailable);
            }
        }
    }
    outcome.invalidated = invalidate(store, cache, invalidations)
        .await
        .map_err(|_| Problem::StoreUnavailable)?;
    // Only now: a source repeats what was not answered, and must not find it remembered.
    if let Some(key) = key {
        let end = now.checked_add(REMEMBERED).unwrap_or(Timestamp::MAX);
        let set = store.set_sealed(Kind::Delivery, key, b"1", end);
        set.await.map_err(|_| Problem::StoreUnavailable)?;
    }
    Ok(outcome)
}

/// What came of a delivery.
#[derive(Clone, Copy, Default)]
struct DeliveryOutcome {
    logs: usize,
    transfers: usize,
    invalidated: usize,
    contracts: usize,
    skipped: usize,
    unreadable: usize,
    replayed: bool,
    ignored: Option<&'static str>,
}

impl DeliveryOutcome {
    fn of(delivery: &Delivery) -> Self {
        Self {
            logs: delivery.logs.len(),
            skipped: delivery.skipped,
            ..Self::default()
        }
    }

    fn document(self) -> Value {
        let mut document = json!({
            "logs": self.logs,
            "transfers": self.transfers,
            "outdated": self.invalidated,
            "skipped": self.skipped,
            "replayed": self.replayed,
        });
        if let Some(members) = document.as_object_mut() {
            for (name, count) in [
                ("contracts", self.contracts),
                ("unreadable", self.unreadable),
            ] {
                if count > 0 {
                    members.insert(name.into(), count.into());
                }
            }
            if let Some(reason) = self.ignored {
                members.insert("ignored".into(), reason.into());
            }
        }
        document
    }
}
