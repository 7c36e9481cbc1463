//! Rate limits on what costs most: how often one client or account may ask in a window of time.
//!
//! Each instance counts for itself and, behind its responses, adds its count to the store's: no answer waits for a
//! write. What instances do not know of each other yet is the error: a client may get ahead by a sixteenth of its
//! quota for each instance that serves it. The store's counters are a fixed number of slots, so strangers cannot fill it.
//! A store that fails counts nobody out.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::HeaderName;
use tokengate_core::config::{ClientAddress, Rate};
use tokengate_core::{Address, fingerprint};

use crate::backend::Store;
use crate::memory::Count;
use crate::ports::{Ports, StoreError};
use crate::problem::Problem;
use crate::router::{Context, Request};
use crate::store::{PREFIX, timed, within};

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Policy {
    /// Requests of one client.
    Client,
    /// What is asked for one account.
    Address,
}

impl Policy {
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Address => "address",
        }
    }
}

/// The state of a limit, for the header fields that tell the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    policy: &'static str,
    rate: Rate,
    remaining: u32,
    reset: u64,
}

impl Quota {
    /// Whether less is left of it than of `other`.
    pub(crate) const fn is_nearer(&self, other: &Self) -> bool {
        self.remaining < other.remaining
    }

    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
    pub(crate) fn fields(&self) -> [(&'static str, String); 2] {
        let Self {
            policy,
            rate,
            remaining,
            reset,
        } = self;
        let window = rate.window.as_secs();
        [
            (
                "ratelimit-policy",
                format!("\"{policy}\";q={};w={window}", rate.quota),
            ),
            ("ratelimit", format!("\"{policy}\";r={remaining};t={reset}")),
        ]
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
    let limits = &context.service.config()?.limits;
    let client = client_address(request, &limits.client);
    let name: [&[u8]; 2] = [b"client", &client];
    admit(context, Policy::Client, &name, limits.per_client).await
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
    let limits = &context.service.config()?.limits;
    let client = client_address(request, &limits.client);
    let name: [&[u8]; 3] = [b"asked", address.as_bytes(), &client];
    admit(context, Policy::Address, &name, limits.per_address).await
}

/// Counts what an account has signed.
///
/// # Errors
/// [`Problem::TooManyRequests`].
pub(crate) async fn address<P: Ports>(
    context: &Context<'_, P>,
    address: Address,
) -> Result<(), Problem> {
    let rate = context.service.config()?.limits.per_address;
    let name: [&[u8]; 2] = [b"signed", address.as_bytes()];
    admit(context, Policy::Address, &name, rate).await
}

async fn admit<P: Ports>(
    context: &Context<'_, P>,
    policy: Policy,
    name: &[&[u8]],
    rate: Rate,
) -> Result<(), Problem> {
    let config = context.service.config()?;
    let name = fingerprint(name);
    let seconds = u64::try_from(context.ports.now().as_second()).unwrap_or_default();
    let window = window(seconds, rate.window);
    let reset = window - seconds;
    let memory = context.service.memory();
    let limit = config.deadlines.store;
    let seen = memory.count(&name, window);
    if seen.is_none() {
        let shared = timed(context, limit, shared(&context.store(), &name, window)).await;
        // A failure is noted by `timed`; it is no reason to turn somebody away.
        let shared = shared.unwrap_or(0);
        memory.update(name, window, seconds, |count| {
            count.shared = count.shared.max(shared)
        });
    }
    let Count { shared, own, .. } = memory.count(&name, window).unwrap_or_default();
    let used = shared.saturating_add(own);
    let quota = Quota {
        policy: policy.name(),
        rate,
        remaining: rate.quota.saturating_sub(used.saturating_add(1)),
        reset,
    };
    context.record.quota(quota);
    if used >= rate.quota {
        return Err(Problem::TooManyRequests(reset));
    }
    memory.update(name, window, seconds, |count| count.own += 1);
    if seen.is_none() || own + 1 >= rate.quota.div_ceil(16) {
        share(context, limit, name, window, seconds);
    }
    Ok(())
}

/// The end of the window that `seconds` falls into, in seconds since the epoch as well.
fn window(seconds: u64, length: Duration) -> u64 {
    let length = length.as_secs().max(1);
    seconds - seconds % length + length
}

/// Adds this instance's count to the store's, behind the response. Of two instances that do it at once, the one that
/// comes last is counted, and the other one when it next adds.
fn share<P: Ports>(
    context: &Context<'_, P>,
    limit: Duration,
    name: [u8; 16],
    window: u64,
    now: u64,
) {
    let mut added = 0;
    context.service.memory().update(name, window, now, |count| {
        added = std::mem::take(&mut count.own);
        count.shared = count.shared.saturating_add(added);
    });
    context.behind(async move |context: &Context<'_, P>| {
        let (memory, store) = (context.service.memory(), context.store());
        let shared = within(context.ports, limit, async {
            let total = shared(&store, &name, window).await?.saturating_add(added);
            // What this instance knew was there once: somebody who had not seen it wrote over it.
            let known = memory.count(&name, window).unwrap_or_default().shared;
            let total = total.max(known);
            let mut value = Vec::with_capacity(28);
            value.extend(name);
            value.extend(window.to_be_bytes());
            value.extend(total.to_be_bytes());
            let ttl = Duration::from_secs(window.saturating_sub(now));
            store.set(&slot_key(&name), &value, ttl).await?;
            Ok::<u32, StoreError>(total)
        });
        if let Some(Ok(total)) = shared.await {
            memory.update(name, window, now, |count| {
                count.shared = count.shared.max(total)
            });
        }
    });
}

/// What the store has counted under `name` in `window`. Another name in its slot means that it was not there of late.
async fn shared<P: Ports>(
    store: &Store<'_, P>,
    name: &[u8; 16],
    window: u64,
) -> Result<u32, StoreError> {
    let value = store.get(&slot_key(name)).await?.unwrap_or_default();
    let count = value
        .strip_prefix(name)
        .and_then(|value| value.strip_prefix(&window.to_be_bytes()))
        .and_then(|count| <[u8; 4]>::try_from(count).ok());
    Ok(count.map_or(0, u32::from_be_bytes))
}

/// One of 65,536 slots. Who shares one with somebody takes the other's count away, and nobody's right.
fn slot_key(name: &[u8; 16]) -> String {
    let [first, second, ..] = name;
    format!("{PREFIX}:rate:{first:02x}{second:02x}")
}

/// The name of the peer's address in Spin's requests: the last field is Spin's own, whatever a client sent.
const PEER: HeaderName = HeaderName::from_static("spin-client-addr");

/// What stands for a client's network address: of IPv6 the /64 that one subscriber has. All whose address is not known
/// are one client.
fn client_address(request: &Request, place: &ClientAddress) -> Vec<u8> {
    let address = match place {
        ClientAddress::Peer => {
            // What a client sent under this name may stand before what the platform added.
            let peer = request.headers().get_all(PEER).iter().next_back();
            let peer = peer.and_then(|peer| peer.to_str().ok());
            peer.and_then(read_address)
        }
        ClientAddress::Forwarded { header, proxies } => {
            let fields = request.headers().get_all(header).iter();
            // In the order in which they were appended, each field's entries following the last one's.
            let entries: Vec<&str> = fields
                .flat_map(|field| field.to_str().unwrap_or_default().split(','))
                .collect();
            let place = entries.len().checked_sub(*proxies);
            place
                .and_then(|place| entries.get(place))
                .and_then(|entry| read_address(entry.trim()))
        }
    };
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => address.octets().to_vec(),
        Some(IpAddr::V6(address)) => {
            let prefix = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
            prefix.octets().to_vec()
        }
        None => Vec::new(),
    }
}

/// An address, with or without a port.
fn read_address(text: &str) -> Option<IpAddr> {
    let address = text.parse::<SocketAddr>().map(|socket| socket.ip());
    address.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(fields: &[(&str, &str)], place: &ClientAddress) -> Vec<u8> {
        let mut request = http::Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        client_address(&request.body(bytes::Bytes::new()).unwrap(), place)
    }

    #[test]
    fn a_client_is_its_address_and_in_ipv6_its_network() {
        let peer = |address| client(&[("spin-client-addr", address)], &ClientAddress::Peer);
        assert_eq!(peer("192.0.2.1:1234"), [192, 0, 2, 1]);
        assert_eq!(peer("192.0.2.1"), peer("[::ffff:192.0.2.1]:9"));
        assert_eq!(peer("[2001:db8::1]:1"), peer("[2001:db8::ffff:2]:2"));
        assert_ne!(peer("[2001:db8::1]:1"), peer("[2001:db8:0:1::1]:1"));
        assert_eq!(peer("who knows"), client(&[], &ClientAddress::Peer));
        let twice = [
            ("spin-client-addr", "198.51.100.7:1"),
            ("spin-client-addr", "192.0.2.1:1234"),
        ];
        assert_eq!(client(&twice, &ClientAddress::Peer), [192, 0, 2, 1]);
    }

    #[test]
    fn only_what_our_own_proxies_appended_is_believed() {
        let place = |proxies| ClientAddress::Forwarded {
            header: HeaderName::from_static("x-forwarded-for"),
            proxies,
        };
        let fields = [
            ("spin-client-addr", "10.0.0.1:1"),
            ("x-forwarded-for", "192.0.2.9, 192.0.2.1"),
            ("x-forwarded-for", "10.0.0.2"),
        ];
        assert_eq!(client(&fields, &place(1)), [10, 0, 0, 2]);
        assert_eq!(client(&fields, &place(2)), [192, 0, 2, 1]);
        let unknown = Vec::<u8>::new();
        assert_eq!(client(&fields, &place(4)), unknown, "fewer than there are");
        assert_eq!(client(&fields[..1], &place(1)), unknown);
    }
}
