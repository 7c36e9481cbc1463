//! What is counted, and under which names.

use tokengate_core::config::Rate;
use tokengate_core::fingerprint;

/// What is counted. Each policy has counts of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
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
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Address => "address",
            Self::Session => "session",
            Self::Reads => "reads",
            Self::Admin => "admin",
        }
    }

    /// Whether it counts requests, so that each is told what is left.
    pub(super) const fn is_of_requests(self) -> bool {
        match self {
            Self::Client | Self::Address => true,
            Self::Session | Self::Reads | Self::Admin => false,
        }
    }
}

/// A client's network address, as far as it tells clients apart. All whose address is not known are one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client(pub(super) Vec<u8>);

/// A network of IPv6 that holds 65,536 of those that one subscriber has (a /48) has so many times a client's quota.
const SITE: u32 = 8;

/// The bytes of its prefix.
const SITE_LEN: usize = 6;

/// The bytes of an address of IPv6.
const IPV6_LEN: usize = 16;

impl Client {
    pub(super) fn charges(&self, policy: Policy, rate: Rate, cost: u32) -> Vec<Charge> {
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
pub(super) struct Charge {
    pub(super) policy: Policy,
    pub(super) name: [u8; 16],
    pub(super) rate: Rate,
    pub(super) cost: u32,
}

impl Charge {
    pub(super) fn new(policy: Policy, name: &[&[u8]], rate: Rate, cost: u32) -> Self {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokengate_core::config::ClientAddress;

    use super::*;
    use crate::http::Request;
    use crate::http::client_ip::client_address;

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
