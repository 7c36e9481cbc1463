//! The `tokengate.toml` of the tests: the demo's gates over a store and a chain on ports of their own.

use std::fmt;

use crate::chain::{ERC20, ERC721, ERC1155};
use crate::store::{BUCKET, REGION};

/// The domain that the tests' wallets sign in to.
pub const DOMAIN: &str = "gate.example";

/// What differs between tests. Its `Display` is the file.
#[derive(Clone)]
pub struct Config {
    /// The store's endpoint.
    pub endpoint: String,
    /// How long a fact decides alone.
    pub fresh: &'static str,
    /// How long after that it may still grant, while it is read again in the background.
    pub stale: Option<&'static str>,
    /// How long a session lasts.
    pub session_ttl: &'static str,
    /// How long a presigned URL lasts.
    pub url_ttl: &'static str,
    /// What stands in `[limits]`: by default, limits that no test reaches.
    pub limits: &'static str,
    /// What stands in `[cache]`: by default, nothing is read that nobody has asked for.
    pub cache: &'static str,
    /// How long a session lasts from renewal to renewal.
    pub session_idle: Option<&'static str>,
    /// How many providers the chain has.
    pub providers: usize,
    /// More keys of the chain's table.
    pub chain: String,
    /// What stands in `[timeouts]`.
    pub deadlines: &'static str,
    /// Whether typed data signs in.
    pub typed_data: bool,
    /// More sections, appended as they are.
    pub more: String,
}

impl Config {
    /// Facts of two seconds, sessions of an hour, URLs of five minutes.
    pub fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            fresh: "2s",
            stale: None,
            session_ttl: "1h",
            url_ttl: "5m",
            limits: "per_client = \"1000000/1m\"\nper_address = \"1000000/1m\"\nper_session = \"1000000/1m\"\nreads_per_client = \"1000000/1m\"",
            cache: "prefetch = \"off\"",
            session_idle: None,
            providers: 1,
            chain: String::new(),
            deadlines: "",
            typed_data: false,
            more: String::new(),
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            endpoint,
            fresh,
            stale,
            session_ttl,
            url_ttl,
            limits,
            cache,
            session_idle,
            providers,
            chain,
            deadlines,
            typed_data,
            more,
        } = self;
        let deadlines = match *deadlines {
            "" => String::new(),
            keys => format!("[timeouts]\n{keys}"),
        };
        let further = (2..=*providers).map(|number| format!(", \"{{{{ rpc_url_{number} }}}}\""));
        let further: String = further.collect();
        let session_idle = session_idle
            .map(|age| format!("\nsession_idle = \"{age}\""))
            .unwrap_or_default();
        let stale = stale
            .map(|time| format!("\nstale_while_revalidate = \"{time}\""))
            .unwrap_or_default();
        write!(
            f,
            r#"[service]
domains = ["{DOMAIN}"]
session_ttl = "{session_ttl}"{session_idle}
url_ttl = "{url_ttl}"
typed_data = {typed_data}

[limits]
{limits}

[cache]
{cache}

[[chain]]
id = "eip155:31337"
providers = ["{{{{ rpc_url }}}}"{further}]
{chain}

{deadlines}

[[bucket]]
id = "{BUCKET}"
endpoint = "{endpoint}"
region = "{REGION}"
addressing = "path"
credentials = "media"

[[gate]]
id = "season-1"
resources = ["media/season-1/**"]
max_age = "{fresh}"{stale}
require = {{ any = [
  {{ erc721 = {{ chain = "eip155:31337", contract = "{ERC721}", at_least = "1" }} }},
  {{ all = [
    {{ erc1155 = {{ chain = "eip155:31337", contract = "{ERC1155}", token_ids = ["7"], at_least = "1" }} }},
    {{ erc20 = {{ chain = "eip155:31337", contract = "{ERC20}", at_least = "1000000000000000000000" }} }},
  ] }},
] }}

[[gate]]
id = "pass"
resources = ["media/pass/**"]
max_age = "{fresh}"{stale}
require = {{ erc1155 = {{ chain = "eip155:31337", contract = "{ERC1155}", token_ids = ["7"], at_least = "1" }} }}

[[gate]]
id = "holders"
resources = ["media/holders/**"]
max_age = "{fresh}"{stale}
require = {{ erc20 = {{ chain = "eip155:31337", contract = "{ERC20}", at_least = "100000000000000000000" }} }}
{more}"#
        )
    }
}
