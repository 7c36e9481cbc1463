//! `allowed_outbound_hosts`: where a component may connect to. What no entry allows is denied.

use http::Uri;

use crate::document::{Located, Mistake};
use crate::variables::{Template, Variables};

/// The expanded entries of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// `None` allows every scheme.
    scheme: Option<String>,
    host: Host,
    port: Port,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    /// Every subdomain of this domain, at any depth; not the domain itself.
    SubdomainOf(String),
    Exactly(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Port {
    Any,
    Exactly(u16),
    /// From the first up to but not including the second.
    Range(u16, u16),
}

impl AllowedHosts {
    /// Messages show an entry as written, never expanded: a variable may be secret.
    pub(crate) fn resolve(
        entries: &[Located<Template>],
        variables: &Variables,
    ) -> Result<Self, Mistake> {
        entries
            .iter()
            .map(|entry| {
                Entry::parse(&variables.expand(entry)?).map_err(|why| {
                    entry.place.mistake(format!(
                        "`{}` in allowed_outbound_hosts {why}",
                        entry.value.source()
                    ))
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn allow(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return false;
        };
        let Some(port) = uri.port_u16().or_else(|| default_port(scheme)) else {
            return false;
        };
        self.allow_server(scheme, host, port)
    }

    /// The `host` that is an IPv6 address stands in brackets.
    pub(crate) fn allow_server(&self, scheme: &str, host: &str, port: u16) -> bool {
        let host = canonical(host);
        self.0.iter().any(|entry| entry.allows(scheme, &host, port))
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("has no scheme: write scheme://host or scheme://host:port".to_owned());
        };
        let scheme = match scheme {
            "*" => None,
            _ if scheme.starts_with(|c: char| c.is_ascii_lowercase())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c)) =>
            {
                Some(scheme.to_owned())
            }
            _ => return Err("has a scheme that is neither `*` nor a lower-case name".to_owned()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(
                "has a path: only scheme, host and port can be allowed, so remove it".to_owned(),
            );
        }
        if rest.contains('@') {
            return Err("has a user name: remove it".to_owned());
        }
        let (host, port) = match rest.rfind(':') {
            // The last colon of a bare IPv6 literal stands inside its brackets.
            Some(colon) if !rest.ends_with(']') => rest.split_at(colon),
            _ => (rest, ""),
        };
        let port = match port.strip_prefix(':') {
            Some("*") => Port::Any,
            Some(port) => parse_port(port)?,
            None => match scheme.as_deref() {
                Some(scheme) => Port::Exactly(
                    default_port(scheme)
                        .ok_or("has no port, and its scheme has no default one: add `:port`")?,
                ),
                None => return Err("has no port: with scheme `*`, add `:port` or `:*`".to_owned()),
            },
        };
        Ok(Self {
            scheme,
            host: Host::parse(host)?,
            port,
        })
    }

    fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.scheme
            .as_deref()
            .is_none_or(|allowed| allowed.eq_ignore_ascii_case(scheme))
            && match &self.host {
                Host::Any => true,
                Host::SubdomainOf(domain) => host
                    .strip_suffix(domain.as_str())
                    .is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
                Host::Exactly(allowed) => allowed == host,
            }
            && match self.port {
                Port::Any => true,
                Port::Exactly(allowed) => allowed == port,
                Port::Range(from, to) => (from..to).contains(&port),
            }
    }
}

impl Host {
    fn parse(host: &str) -> Result<Self, String> {
        if host == "*" {
            return Ok(Self::Any);
        }
        if host == "self" || host.ends_with(".alt") || host.ends_with(".spin.internal") {
            return Err(
                "means another component of the application, which this host does not route to: \
                        use the address that the application listens on"
                    .to_owned(),
            );
        }
        let (domain, subdomains) = match host.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (host, false),
        };
        let bracketed = domain.starts_with('[') && domain.ends_with(']');
        let plain = !domain.is_empty()
            && domain
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !domain.starts_with('.')
            && !domain.contains("..");
        if bracketed {
            domain
                .trim_matches(['[', ']'])
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| "has a host in brackets that is no IPv6 address".to_owned())?;
        } else if !plain {
            return Err("has no usable host: write a name, an address, `*` or `*.name`".to_owned());
        }
        let domain = canonical(domain);
        Ok(if subdomains {
            Self::SubdomainOf(domain)
        } else {
            Self::Exactly(domain)
        })
    }
}

fn parse_port(port: &str) -> Result<Port, String> {
    let number = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|number| *number != 0 && text.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(|| "has a port that is neither a number, a range `a..b` nor `*`".to_owned())
    };
    match port.split_once("..") {
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            if from < to {
                Ok(Port::Range(from, to))
            } else {
                Err("has an empty range of ports".to_owned())
            }
        }
        None => number(port).map(Port::Exactly),
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "redis" | "rediss" => Some(6379),
        "postgres" | "postgresql" => Some(5432),
        "mysql" => Some(3306),
        "mqtt" => Some(1883),
        _ => None,
    }
}

/// Host names are compared without regard to case and to the root's dot (RFC 9110 section 4.2.3, RFC 1034
/// section 3.1).
fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(entries: &[&str], uri: &str) -> bool {
        AllowedHosts(
            entries
                .iter()
                .map(|entry| Entry::parse(entry).unwrap())
                .collect(),
        )
        .allow(&uri.parse().unwrap())
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(!allowed(&[], "http://example.com/"));
    }

    #[test]
    fn scheme_host_and_port_must_all_match() {
        let entries = [
            "https://api.example.com",
            "http://127.0.0.1:8545",
            "http://[::1]:9000",
        ];
        for (uri, expected) in [
            ("https://api.example.com/x?y", true),
            ("https://API.EXAMPLE.com./", true),
            ("https://api.example.com:443/", true),
            ("https://api.example.com:8443/", false),
            ("http://api.example.com/", false),
            ("https://example.com/", false),
            ("https://evil-api.example.com/", false),
            ("https://api.example.com.evil.org/", false),
            ("http://127.0.0.1:8545/", true),
            ("http://127.0.0.1:8546/", false),
            ("http://127.0.0.1/", false),
            ("http://[::1]:9000/", true),
            ("http://user@127.0.0.1:8545/", true),
        ] {
            assert_eq!(allowed(&entries, uri), expected, "{uri}");
        }
    }

    #[test]
    fn wildcards_cover_what_they_say() {
        assert!(allowed(
            &["https://*.example.com"],
            "https://a.b.example.com/"
        ));
        assert!(!allowed(&["https://*.example.com"], "https://example.com/"));
        assert!(!allowed(
            &["https://*.example.com"],
            "https://aexample.com/"
        ));
        assert!(!allowed(
            &["https://*.example.com"],
            "https://.example.com/"
        ));
        assert!(allowed(&["*://example.com:*"], "http://example.com:1234/"));
        assert!(allowed(&["https://*:443"], "https://anything.org/"));
        assert!(!allowed(&["https://*"], "https://anything.org:444/"));
        assert!(allowed(&["http://h:8000..8010"], "http://h:8009/"));
        assert!(!allowed(&["http://h:8000..8010"], "http://h:8010/"));
    }

    #[test]
    fn malformed_entries_are_refused() {
        for entry in [
            "example.com",
            "https://example.com/path",
            "https://example.com?x",
            "https://u:p@example.com",
            "https://",
            "HTTP://example.com",
            "://example.com",
            "*://example.com",
            "ftp://example.com",
            "https://exa mple.com",
            "https://*.*.com",
            "https://a..b",
            "https://example.com:",
            "https://example.com:0",
            "https://example.com:+1",
            "https://example.com:70000",
            "https://example.com:9..8",
            "http://self",
            "http://other.spin.internal",
            "http://[nope]",
        ] {
            assert!(Entry::parse(entry).is_err(), "{entry}");
        }
        assert!(Entry::parse("https://example.com/").is_ok());
        assert!(Entry::parse("redis://127.0.0.1").is_ok());
    }
}
