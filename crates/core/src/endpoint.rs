//! Endpoints: whether two URLs lead to the same server.

use std::net::IpAddr;

use url::{Host, Url};

/// The server that a URL leads to, whichever way the URL writes it: without scheme and user information, the host in lower
/// case and without a trailing dot, the ports of HTTP and HTTPS alike, all names of this machine as one.
///
/// Two names of one server in the DNS are not told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

/// What this machine is called here.
const LOCAL: &str = "localhost";

impl Authority {
    /// The authority of `url`; none without a host.
    pub fn of(url: &Url) -> Option<Self> {
        let host = match url.host()? {
            Host::Domain(name) => name.trim_end_matches('.').to_ascii_lowercase(),
            Host::Ipv4(address) => ip(address.into()),
            Host::Ipv6(address) => ip(address.to_canonical()),
        };
        let port = url
            .port_or_known_default()
            .filter(|port| !matches!(port, 80 | 443));
        Some(Self { host, port })
    }

    /// The host: a name or an address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, unless it is HTTP's or HTTPS's own.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it is this machine.
    pub fn is_local(&self) -> bool {
        self.host == LOCAL
    }
}

fn ip(address: IpAddr) -> String {
    if address.is_loopback() || address.is_unspecified() {
        LOCAL.to_owned()
    } else {
        address.to_string()
    }
}

/// Where a JSON-RPC endpoint is, without what may be a key of its caller: user information, query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    authority: Authority,
    path: Vec<Vec<u8>>,
}

impl Gateway {
    /// The gateway of `url`; none without a host.
    pub fn of(url: &Url) -> Option<Self> {
        let segments = url.path().split('/').filter(|segment| !segment.is_empty());
        Some(Self {
            authority: Authority::of(url)?,
            path: segments
                .map(|segment| percent_encoding::percent_decode_str(segment).collect())
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_gateway_are_the_same_and_other_paths_and_ports_are_not() {
        let gateway = |text: &str| Gateway::of(&text.parse().unwrap()).unwrap();
        for (a, b, same) in [
            (
                "https://rpc.example/v2",
                "https://RPC.example:443/v2/",
                true,
            ),
            ("https://rpc.example/v2", "http://rpc.example./v2", true),
            (
                "https://rpc.example/v2",
                "https://key:x@rpc.example//v2",
                true,
            ),
            (
                "https://rpc.example/v2?key=1",
                "https://rpc.example/v2?key=2",
                true,
            ),
            (
                "https://rpc.example/v2#a",
                "https://rpc.example/%76%32",
                true,
            ),
            ("https://rpc.example", "https://rpc%2Eexample/", true),
            ("http://127.0.0.1:8545", "http://LOCALHOST:8545/", true),
            ("http://127.0.0.1:8545", "http://[::1]:8545", true),
            ("http://0x7f.1:8545", "http://[::ffff:127.0.0.1]:8545", true),
            ("http://0.0.0.0:8545", "http://localhost.:8545", true),
            ("https://192.0.2.1/", "https://[::ffff:192.0.2.1]", true),
            ("https://rpc.example/v2", "https://rpc.example/v3", false),
            ("https://rpc.example/v2", "https://rpc.example/V2", false),
            (
                "https://rpc.example/v2",
                "https://rpc.example:8443/v2",
                false,
            ),
            ("https://rpc.example/v2", "https://rpc2.example/v2", false),
            ("http://127.0.0.1:8545", "http://127.0.0.1:8546", false),
        ] {
            assert_eq!(gateway(a) == gateway(b), same, "{a} {b}");
        }
    }
}
