//! Rate limits on what costs most: how often one client or account may ask in a window of time, and how much one session
//! may have read from chains.
//!
//! Each instance counts for itself and, behind its responses, adds its count to the store's: no answer waits for a
//! write. What instances do not know of each other yet is the error: a client may get ahead by a sixteenth of its
//! quota for each instance that serves it. The store's counters are a fixed number of slots (see
//! [`tokengate_core::rate_count`]), so strangers cannot fill it; where it is Redis spoken to directly, each name has a
//! counter of its own that expires with its window, which is exact and atomic. A store that fails counts nobody out.

use std::time::Duration;

use http::header::FORWARDED;
use tokengate_core::Address;
use tokengate_core::config::{ClientAddress, Rate};
use tokengate_core::fingerprint;
use tokengate_core::rate_count::{Place, Slot};
use tokengate_core::session::Session;
use tokengate_core::wallet::{Control, Wallet};

use crate::http::Request;
use crate::http::client_ip::{X_FORWARDED_FOR, client_address};
use crate::http::problem::Problem;
use crate::http::rate_limit_fields::Quota;
use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::store::identity;
use crate::store::{PREFIX, timed};
use crate::timeout::within;

/// What is counted. Each policy has counts of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Requests of one client.
    Client,
    /// What is asked for one account.
    Address,
    /// What one session has read from chains.
    Session,
    /// What one client has read from chains.
    Reads,
    /// Wrong tokens of the operator's, of one client.
    Admin,
}

impl Policy {
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Address => "address",
            Self::Session => "session",
            Self::Reads => "reads",
            Self::Admin => "admin",
        }
    }

    /// Whether it counts requests, so that each is told what is left.
    const fn is_of_requests(self) -> bool {
        match self {
            Self::Client | Self::Address => true,
            Self::Session | Self::Reads | Self::Admin => false,
        }
    }
}

/// Counts a request of a client.
///
/// # Errors
/// [`Problem::TooManyRequests`].
pub(crate) async fn client<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
) -> Result<(), Problem> {
    let rate = context.service.config()?.limits.per_client;
    let client = Client::of(context, request)?;
    admit(context, &client.charges(Policy::Client, rate, 1)).await
}

/// Whether a client may try another token of the operator's: asked before the token is compared, so that the right one
/// is not found either by a client that has tried too many.
///
/// # Errors
/// [`Problem::TooManyRequests`].
pub(crate) async fn may_guess<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
) -> Result<(), Problem> {
    guesses(context, request, 0).await
}

/// Counts a wrong token of a client. Nothing is waited for between this and [`may_guess`].
///
/// # Errors
/// [`Problem::TooManyRequests`].
pub(crate) async fn wrong_guess<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
) -> Result<(), Problem> {
    guesses(context, request, 1).await
}

async fn guesses<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
    cost: u32,
) -> Result<(), Problem> {
    let rate = context.service.config()?.limits.per_client;
    let client = Client::of(context, request)?;
    admit(context, &client.charges(Policy::Admin, rate, cost)).await
}

/// Counts what a client asks for an account that it need not own: nobody can use up another one's quota.
///
/// # Errors
/// [`Problem::TooManyRequests`].
pub(crate) async fn client_and_address<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
    address: Address,
) -> Result<(), Problem> {
    let rate = context.service.config()?.limits.per_address;
    let client = Client::of(context, request)?;
    let name: [&[u8]; 3] = [b"asked", address.as_bytes(), &client.0];
    admit(context, &[Charge::new(Policy::Address, &name, rate, 1)]).await
}

/// Counts what a wallet has signed. A contract on another chain at the same address is another wallet.
///
/// # Errors
/// [`Problem::TooManyRequests`].
pub(crate) async fn wallet<P: Ports>(
    context: &Context<'_, P>,
    wallet: Wallet,
) -> Result<(), Problem> {
    let rate = context.service.config()?.limits.per_address;
    // No chain has the id 0.
    let chain = match wallet.control {
        Control::Key => 0,
        Control::Contract(chain) => chain.id(),
    };
    let name: [&[u8]; 3] = [b"signed", wallet.address.as_bytes(), &chain.to_be_bytes()];
    admit(context, &[Charge::new(Policy::Address, &name, rate, 1)]).await
}

/// Who pays for what a request has read from chains.
#[derive(Clone, Debug)]
pub(crate) struct Payer {
    session: Option<[u8; 16]>,
    client: Client,
}

impl Payer {
    /// The client of a request and its session, if it has one.
    ///
    /// # Errors
    /// [`Problem::Misconfigured`].
    pub(crate) fn of<P: Ports>(
        context: &Context<'_, P>,
        request: &Request,
        session: Option<&Session>,
    ) -> Result<Self, Problem> {
        Ok(Self {
            session: session.map(Session::id_bytes),
            client: Client::of(context, request)?,
        })
    }

    /// Charges a read of so many facts, counting the call to the chain as one more, before the chain is asked. The last
    /// one that is admitted may exceed the quota: it has to be possible to read whatever one decision needs.
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`].
    pub(crate) async fn charge<P: Ports>(
        &self,
        context: &Context<'_, P>,
        facts: usize,
    ) -> Result<(), Problem> {
        let limits = &context.service.config()?.limits;
        let cost = u32::try_from(facts).unwrap_or(u32::MAX);
        let mut charges = self
            .client
            .charges(Policy::Reads, limits.reads_per_client, cost);
        if let Some(id) = &self.session {
            charges.push(Charge::new(
                Policy::Session,
                &[id],
                limits.per_session,
                cost,
            ));
        }
        admit(context, &charges).await
    }
}

/// A client's network address, as far as it tells clients apart. All whose address is not known are one client.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Client(Vec<u8>);

/// A network of IPv6 that holds 65,536 of those that one subscriber has (a /48) has so many times a client's quota.
const SITE: u32 = 8;
/// The bytes of its prefix.
const SITE_LEN: usize = 6;
/// The bytes of an address of IPv6.
const IPV6_LEN: usize = 16;

impl Client {
    fn of<P: Ports>(context: &Context<'_, P>, request: &Request) -> Result<Self, Problem> {
        let place = &context.service.config()?.limits.client;
        let is_forwarded = || {
            let headers = request.headers();
            headers.contains_key(FORWARDED) || headers.contains_key(X_FORWARDED_FOR)
        };
        // Said once: to a service behind a proxy, all visitors are one client.
        if *place == ClientAddress::Peer
            && is_forwarded()
            && context.service.memory().is_first_forwarded()
        {
            context.record.fault(
                "a request was forwarded by a proxy, and limits count the proxy as the client: set client_header in [limits]".into(),
            );
        }
        Ok(Self(client_address(request, place)))
    }

    fn charges(&self, policy: Policy, rate: Rate, cost: u32) -> Vec<Charge> {
        let mut charges = vec![Charge::new(policy, &[&self.0], rate, cost)];
        if self.0.len() == IPV6_LEN
            && let Some(site) = self.0.get(..SITE_LEN)
        {
            let rate = Rate {
                quota: rate.quota.saturating_mul(SITE),
                ..rate
            };
            charges.push(Charge::new(policy, &[site], rate, cost));
        }
        charges
    }
}

/// What is counted under one name.
#[derive(Clone, Copy, Debug)]
struct Charge {
    policy: Policy,
    name: [u8; 16],
    rate: Rate,
    cost: u32,
}

impl Charge {
    fn new(policy: Policy, name: &[&[u8]], rate: Rate, cost: u32) -> Self {
        let mut parts = vec![policy.name().as_bytes()];
        parts.extend(name);
        Self {
            policy,
            name: fingerprint(&parts),
            rate,
            cost,
        }
    }
}

/// Admits what is charged for if none of the quotas is used up, and counts it to all of them.
async fn admit<P: Ports>(context: &Context<'_, P>, charges: &[Charge]) -> Result<(), Problem> {
    let seconds = u64::try_from(context.ports.now().as_second()).unwrap_or_default();
    let memory = context.service.memory();
    let mut looked_up = Vec::with_capacity(charges.len());
    for charge in charges {
        let window = window(seconds, charge.rate.window);
        looked_up.push(look_up(context, charge, window, seconds).await?);
    }
    // Nothing is waited for from here on: what is admitted is counted before the next request is looked at.
    let mut refused = None;
    for (charge, seen) in charges.iter().zip(&looked_up) {
        let used = memory
            .rates
            .count(&charge.name, seen.window)
            .map_or(seen.shared, |count| count.shared.saturating_add(count.own));
        let reset = seen.window.saturating_sub(seconds);
        let is_used_up = used >= charge.rate.quota;
        // What a request has read is told where there was too much of it: most read nothing.
        if is_used_up || charge.policy.is_of_requests() {
            context.record.quota(Quota {
                policy: charge.policy.name(),
                rate: charge.rate,
                remaining: charge
                    .rate
                    .quota
                    .saturating_sub(used.saturating_add(charge.cost)),
                reset,
            });
        }
        if is_used_up {
            refused = refused.max(Some(reset));
        }
    }
    if let Some(reset) = refused {
        return Err(Problem::TooManyRequests(reset));
    }
    for (charge, seen) in charges.iter().zip(&looked_up) {
        if charge.cost == 0 {
            continue;
        }
        let mut own = 0;
        memory.rates.update(charge.name, seen.window, |count| {
            count.shared = count.shared.max(seen.shared);
            count.own = count.own.saturating_add(charge.cost);
            own = count.own;
        });
        if seen.is_new || own >= charge.rate.quota.div_ceil(16) {
            share(context, *charge, seen.window, seconds);
        }
    }
    Ok(())
}

/// What is known of a count in the present window.
#[derive(Clone, Copy)]
struct Seen {
    window: u64,
    /// As the store last said, this instance's included.
    shared: u32,
    /// Whether this instance had not counted it before.
    is_new: bool,
}

async fn look_up<P: Ports>(
    context: &Context<'_, P>,
    charge: &Charge,
    window: u64,
    now: u64,
) -> Result<Seen, Problem> {
    let memory = context.service.memory();
    if let Some(count) = memory.rates.count(&charge.name, window) {
        return Ok(Seen {
            window,
            shared: count.shared,
            is_new: false,
        });
    }
    let limit = context.service.config()?.deadlines.store;
    let shared = timed(context, limit, shared(context, charge, window, now)).await;
    // A failure is noted by `timed`; it is no reason to turn somebody away.
    let shared = shared.map_or(0, |found| found.count);
    memory.rates.update(charge.name, window, |count| {
        count.shared = count.shared.max(shared)
    });
    Ok(Seen {
        window,
        shared,
        is_new: true,
    })
}

/// The end of the window that `seconds` falls into, in seconds since the epoch as well.
fn window(seconds: u64, length: Duration) -> u64 {
    let length = length.as_secs().max(1);
    seconds - seconds % length + length
}

/// Adds this instance's count to the store's, behind the response. Of two instances that write to a slot at once, the one
/// that comes last is counted, and the other one when it next adds; a Redis spoken to directly counts both.
fn share<P: Ports>(context: &Context<'_, P>, charge: Charge, window: u64, now: u64) {
    let mut added = 0;
    context
        .service
        .memory()
        .rates
        .update(charge.name, window, |count| {
            added = std::mem::take(&mut count.own);
            count.shared = count.shared.saturating_add(added);
        });
    let Ok(limit) = context
        .service
        .config()
        .map(|config| config.deadlines.store)
    else {
        return;
    };
    context.behind(async move |context: &Context<'_, P>| {
        let added = within(
            context.ports,
            limit,
            add(context, &charge, window, now, added),
        );
        if let Some(Ok(total)) = added.await {
            context
                .service
                .memory()
                .rates
                .update(charge.name, window, |count| {
                    count.shared = count.shared.max(total);
                });
        }
    });
}

/// A count in the store.
struct Found {
    count: u32,
    place: Place,
    /// The slot that it is in; none, where each name has a counter of its own, or where a later window has it.
    slot: Option<Slot>,
}

/// What the store has counted in `window`.
async fn shared<P: Ports>(
    context: &Context<'_, P>,
    charge: &Charge,
    window: u64,
    now: u64,
) -> Result<Found, StoreError> {
    let place = Place::of(
        &identity::rate_key(context).await?,
        charge.policy.name(),
        &charge.name,
    );
    let store = context.store();
    if store.expires() {
        let count = store.counted(&counter_key(charge, place, window)).await?;
        return Ok(Found {
            count: u32::try_from(count).unwrap_or(u32::MAX),
            place,
            slot: None,
        });
    }
    let bytes = store.get(&slot_key(charge, place)).await?;
    let length = window.saturating_sub(now).max(charge.rate.window.as_secs());
    let slot = Slot::from_bytes(&bytes.unwrap_or_default(), window, length);
    Ok(Found {
        count: slot.as_ref().map_or(0, |slot| slot.count(&place.tag)),
        place,
        slot,
    })
}

/// Adds to what the store has counted, and answers the sum.
async fn add<P: Ports>(
    context: &Context<'_, P>,
    charge: &Charge,
    window: u64,
    now: u64,
    added: u32,
) -> Result<u32, StoreError> {
    let store = context.store();
    let ttl = Duration::from_secs(window.saturating_sub(now));
    let found = shared(context, charge, window, now).await?;
    if store.expires() {
        let key = counter_key(charge, found.place, window);
        let total = store.count(&key, added.into(), ttl).await?;
        return Ok(u32::try_from(total).unwrap_or(u32::MAX));
    }
    // What this instance knew was there once: another one that had not seen it wrote over it.
    let known = context.service.memory().rates.count(&charge.name, window);
    let known = known.unwrap_or_default().shared;
    let total = found.count.saturating_add(added).max(known);
    if let Some(mut slot) = found.slot {
        slot.raise(found.place.tag, total);
        let key = slot_key(charge, found.place);
        store.set(&key, &slot.to_bytes(), ttl).await?;
    }
    Ok(total)
}

/// One of 65,536 slots of a policy.
fn slot_key(charge: &Charge, place: Place) -> String {
    format!("{PREFIX}:rate:{}:{:04x}", charge.policy.name(), place.slot)
}

/// A counter of its own.
fn counter_key(charge: &Charge, place: Place, window: u64) -> String {
    let (policy, tag) = (charge.policy.name(), u64::from_be_bytes(place.tag));
    format!(
        "{PREFIX}:rate:{policy}:{:04x}{tag:016x}:{window}",
        place.slot
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request {
        let mut request = http::Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(bytes::Bytes::new()).unwrap()
    }

    #[test]
    fn a_network_of_ipv6_has_a_quota_of_its_own_beside_those_of_its_clients() {
        let rate = Rate {
            quota: 120,
            window: Duration::from_secs(60),
        };
        let charges = |address: &str| {
            let fields = [("spin-client-addr", address)];
            Client(client_address(&request(&fields), &ClientAddress::Peer)).charges(
                Policy::Client,
                rate,
                1,
            )
        };
        let (one, other) = (
            charges("[2001:db8:7:1::1]:1"),
            charges("[2001:db8:7:2::1]:1"),
        );
        assert_ne!(one[0].name, other[0].name);
        assert_eq!(one[1].name, other[1].name, "of one /48");
        assert_eq!((one[0].rate.quota, one[1].rate.quota), (120, 960));
        assert_ne!(one[1].name, charges("[2001:db8:8:1::1]:1")[1].name);
        for alone in ["192.0.2.1:1", "who knows"] {
            assert_eq!(charges(alone).len(), 1, "{alone}");
        }
    }
}
