//! Domains: for whom a person signs in (EIP-4361 `domain`), and which pages are theirs.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// An authority `host[:port]` for which sign-ins are accepted: in lower case, internationalised names by their A-labels.
///
/// Its pages are served over TLS, except on this machine, where browsers trust plain HTTP too (W3C Secure Contexts).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    text: String,
    host: String,
    port: Option<u16>,
}

/// A text that is no domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write host or host:port in lower case, an internationalised name by its A-labels (xn--…), without a scheme"
)]
pub struct DomainError;

impl Domain {
    /// Reads a domain.
    ///
    /// # Errors
    /// [`DomainError`].
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let (host, port) = split(text).ok_or(DomainError)?;
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let named = match literal {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => host.len() <= 253 && host.split('.').all(label),
        };
        if !named {
            return Err(DomainError);
        }
        Ok(Self {
            text: text.to_owned(),
            host: host.to_owned(),
            port,
        })
    }

    /// The domain as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme of its pages, unless they say otherwise.
    pub fn scheme(&self) -> &'static str {
        if self.is_on_this_machine() {
            "http"
        } else {
            "https"
        }
    }

    /// The URI of its origin.
    pub fn uri(&self) -> String {
        format!("{}://{self}", self.scheme())
    }

    /// Whether `authority`, under `scheme` or else its own, is this domain. A port that the scheme implies may be left
    /// out on either side; case does not matter; user information is nobody's.
    pub fn is(&self, scheme: Option<&str>, authority: &str) -> bool {
        let scheme = scheme.unwrap_or_else(|| self.scheme());
        let default_port = match scheme {
            "https" => 443,
            "http" if self.is_on_this_machine() => 80,
            _ => return false,
        };
        split(authority).is_some_and(|(host, port)| {
            host.eq_ignore_ascii_case(&self.host)
                && port.unwrap_or(default_port) == self.port.unwrap_or(default_port)
        })
    }

    /// Whether `origin`, `scheme://host[:port]` as browsers send it (RFC 6454 section 7), is this domain's.
    pub fn is_origin(&self, origin: &str) -> bool {
        origin
            .split_once("://")
            .is_some_and(|(scheme, authority)| self.is(Some(scheme), authority))
    }

    fn is_on_this_machine(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host == "[::1]"
            || self
                .host
                .parse::<Ipv4Addr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Host and port of an authority without user information.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let canonical = !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse().ok().filter(|_| canonical)?;
            Some((host, Some(port)))
        }
        _ => Some((authority, None)),
    }
    .filter(|(host, _)| !host.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_schemes_follow_what_pages_are_served_over() {
        let table = [
            ("gate.example", None, "gate.example", true),
            ("gate.example", None, "GATE.Example", true),
            ("gate.example", None, "gate.example:443", true),
            ("gate.example:443", Some("https"), "gate.example", true),
            ("gate.example", Some("http"), "gate.example", false),
            ("gate.example", Some("ftp"), "gate.example", false),
            ("gate.example", None, "gate.example:80", false),
            ("gate.example", None, "gate.example:8443", false),
            ("gate.example:8443", None, "gate.example:8443", true),
            ("gate.example:8443", None, "gate.example", false),
            ("gate.example", None, "sub.gate.example", false),
            ("gate.example", None, "gate.example.evil.example", false),
            ("gate.example", None, "gate.example@evil.example", false),
            ("gate.example", None, "evil@gate.example", false),
            ("gate.example", None, "gate.example:", false),
            ("gate.example", None, "gate.example:0443", false),
            ("localhost:3000", None, "localhost:3000", true),
            ("localhost:3000", Some("http"), "localhost:3000", true),
            ("localhost:3000", Some("https"), "localhost:3000", true),
            ("localhost", Some("http"), "localhost:80", true),
            ("127.0.0.1:3000", Some("http"), "127.0.0.1:3000", true),
            ("[::1]:3000", None, "[::1]:3000", true),
            ("[2001:db8::1]", None, "[2001:DB8::1]", true),
        ];
        for (domain, scheme, authority, same) in table {
            let parsed = Domain::parse(domain).unwrap();
            assert_eq!(
                parsed.is(scheme, authority),
                same,
                "{domain} {scheme:?} {authority}"
            );
        }
    }

    #[test]
    fn an_origin_names_its_scheme() {
        let domain = Domain::parse("gate.example").unwrap();
        assert!(domain.is_origin("https://gate.example"));
        for origin in [
            "null",
            "gate.example",
            "http://gate.example",
            "https://gate.example.evil.example",
            "https://",
            "",
        ] {
            assert!(!domain.is_origin(origin), "{origin}");
        }
    }
}
