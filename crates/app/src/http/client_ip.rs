//! The network address of a request's client.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderName;
use tokengate_core::config::ClientAddress;

use super::Request;

/// The name of the peer's address in Spin's requests: the last field is Spin's own, whatever a client sent.
const PEER: HeaderName = HeaderName::from_static("spin-client-addr");

/// What proxies that know no `Forwarded` (RFC 7239) append to.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What stands for a client's network address: of IPv6 the /64 that one subscriber has. All whose address is not known
/// are one client.
pub(crate) fn client_address(request: &Request, place: &ClientAddress) -> Vec<u8> {
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

/// An address, with or without a port; of IPv6 also in brackets without one.
fn read_address(text: &str) -> Option<IpAddr> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
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
        assert_eq!(peer("[2001:db8::1]"), peer("2001:db8::1"));
        assert_ne!(peer("[2001:db8::1]"), peer("[2001:db8:0:1::1]"));
        for malformed in [
            "who knows",
            "[192.0.2.1]",
            "[2001:db8::1",
            "2001:db8::1]",
            "[]",
            "[[2001:db8::1]]",
            "[2001:db8::1]:",
            "[2001:db8::1]:99999",
        ] {
            let unknown = client(&[], &ClientAddress::Peer);
            assert_eq!(peer(malformed), unknown, "{malformed}");
        }
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
