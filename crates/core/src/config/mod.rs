//! `tokengate.toml`: what is gated, where it is stored, which chains decide.
//!
//! Reading the file is all or nothing: a key nobody knows, a gate that demands nothing, two patterns of which neither
//! is the more specific are errors that name the place and the mend. Endpoints may hold `{{ variable }}` placeholders,
//! which the platform resolves later and only for the functions that need them.

mod reading;
mod renamed;
mod requirement;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use crate::abi::delegate_registry;
use crate::abi::reader::{self, Form};
use crate::decimal;
use crate::domain::Domain;
use crate::eip4361;
use crate::erc6492;
use crate::fact::FactKey;
use crate::gate::{Gate, GateId};
use crate::jsonrpc::BlockTag;
use crate::leaf::{Delegates, Leaf};
use crate::network::Network;
use crate::pattern::Pattern;
use crate::presign::{self, Addressing};
use crate::provider::HeadLimits;
use crate::resource::{self, Resource};
use crate::session::Lifetime;
use crate::transfer::Transfer;
use crate::wallet::{Holders, Wallet};
use crate::webhook::Kind;
use crate::{Address, ChainId, cost};
use requirement::RawRequirement;

/// The longest configuration read, in bytes.
pub const MAX_LEN: usize = 1024 * 1024;

/// A whole, valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sign-in, sessions and URLs.
    pub service: Service,
    /// How long anything outside may take.
    pub deadlines: Deadlines,
    /// How often one client may ask.
    pub limits: Limits,
    /// What is kept of what chains said, where and for how long.
    pub cache: Cache,
    /// How transfers are followed.
    pub watch: Watch,
    chains: BTreeMap<ChainId, Chain>,
    buckets: HashMap<String, Bucket>,
    gates: Vec<Gate>,
    sources: BTreeMap<String, Source>,
    spaces: reading::Spaces,
}

/// Sign-in, sessions and URLs.
#[derive(Clone, Debug)]
pub struct Service {
    /// Authorities (`host[:port]`) for which a sign-in is accepted, at least one; the first is the default.
    pub domains: Vec<Domain>,
    /// What the person who signs reads: one line of RFC 3986 characters and spaces.
    pub statement: String,
    /// From challenge to session.
    pub challenge_ttl: Duration,
    /// From session to its end, and from renewal to renewal.
    pub session: Lifetime,
    /// From presigning to the end of the URL, never past the session's.
    pub url_ttl: Duration,
    /// A refusal rests on facts no older than this.
    pub deny_after: Duration,
    /// Whether typed data (EIP-712) signs in as well: wallets do not compare its domain with the page's.
    pub typed_data: bool,
}

/// How long anything outside may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// One call to the key-value store.
    pub store: Duration,
    /// One call to one provider.
    pub provider: Duration,
    /// All providers of a chain together.
    pub chain: Duration,
}

/// What is kept of what chains said, where and for how long.
#[derive(Clone, Debug)]
pub struct Cache {
    /// A Redis server that is spoken to directly, in place of the platform's key-value store.
    pub redis: Option<Template>,
    /// Keeps services apart that share a store: everything that this one stores is below it. 1 to 32 lower-case letters,
    /// digits, `-` and `_`.
    pub namespace: Option<String>,
    /// How long an instance believes its own memory before it asks the store again; zero: it never does.
    pub memory: Duration,
    /// What its memory of facts may take, in bytes.
    pub memory_bytes: usize,
    /// Whose facts are read behind a sign-in.
    pub warm: Warm,
    /// How often an instance reads facts ahead of their end.
    pub refresh: Option<Rate>,
}

/// Which gates' facts are read behind a sign-in, before anybody asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Warm {
    /// Those that the message's resources name; all, if it names none.
    All,
    /// Those that the message's resources name.
    Named,
    /// None.
    Off,
}

/// How often one client may ask for what costs most, and how it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Challenges, sign-ins, checks and readiness probes from one client's network address.
    pub per_client: Rate,
    /// Sign-ins of one account, and challenges for it from one client.
    pub per_address: Rate,
    /// What one session has read from chains: facts, and calls to a chain.
    pub per_session: Rate,
    /// The same of one client's network address, by all of its sessions.
    pub reads_per_client: Rate,
    /// The most facts that one decision rests on, at least 1.
    pub reads_per_decision: usize,
    /// Where the client's network address is read.
    pub client: ClientAddress,
}

/// How transfers are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The most blocks that a provider is asked about at once, at least 1.
    pub range: u64,
}

/// So many in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub quota: u32,
    /// Of how long, in whole seconds.
    pub window: Duration,
}

/// Where a client's network address is read. Anybody can write into a header that no proxy of ours rewrites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// The other end of the connection, as the platform says.
    Peer,
    /// The entry that the outermost of so many proxies of ours appended to this header.
    Forwarded {
        /// Its name.
        header: http::HeaderName,
        /// How many proxies append to it, at least 1.
        proxies: usize,
    },
}

/// A chain and how to read it.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Which one.
    pub id: ChainId,
    /// What people call it.
    pub name: String,
    /// JSON-RPC endpoints, in order of preference, at least one.
    pub providers: Vec<Template>,
    /// Which state is read.
    pub read_at: ReadAt,
    /// How it is read; where that is not said, each provider is asked what it can do.
    pub reader: Option<Form>,
    /// The gas that a byte of code is taken to cost where the reader runs as creation code.
    pub deposit_gas: u16,
    /// How many blocks a provider may be behind the others.
    pub tolerance: u64,
    /// How old the newest block may be.
    pub head_age: Option<Duration>,
    /// How many providers have to give the same answer, at least 1.
    pub agreement: usize,
    /// How much is asked in one call.
    pub batch: Batch,
    /// Factories that a signature may bring to deploy its account within the check (ERC-6492).
    pub factories: Vec<Address>,
}

/// How much a provider is asked in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Reads, at least 1: each costs gas.
    pub reads: usize,
    /// Bytes of the reader's request.
    pub bytes: usize,
}

/// Which state of a chain is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAt {
    /// A block that the node names.
    Tag(BlockTag),
    /// The block this many below the head.
    Confirmations(u64),
}

/// A bucket and how it is addressed.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Its name in resources.
    pub name: String,
    /// Its name at the store, where it differs.
    pub bucket: String,
    /// Base of its URLs.
    pub endpoint: Template,
    /// Region of the signature.
    pub region: String,
    /// How it stands in the URL.
    pub addressing: Addressing,
    /// Prefix of the variables with its credentials: `<credentials>_access_key_id` and so on.
    pub credentials: String,
}

/// Somebody who watches a chain and sends signed webhooks.
#[derive(Clone, Debug)]
pub struct Source {
    /// Whose format they have.
    pub kind: Kind,
    /// What signs them: from variables, never from the file alone.
    pub secret: Template,
    /// The chain that they are about, if they are about one.
    pub chain: Option<ChainId>,
}

/// A text with `{{ variable }}` placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    position: Position,
}

/// A place in the file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// What is wrong with a configuration, where, and how to mend it. Never holds the value of a variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {problem}; {mend}")]
pub struct ConfigError {
    /// Where.
    pub position: Position,
    /// What.
    pub problem: String,
    /// How to mend it.
    pub mend: String,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tokengate.toml:{}:{}", self.line, self.column)
    }
}

impl Chain {
    /// What bounds the numbers of its blocks.
    pub fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            tolerance: self.tolerance,
            block_time: Network::of(self.id)
                .map(|network| Duration::from_millis(network.block_time.into())),
        }
    }

    /// How far a safe or finalized block may be behind the newest one, on networks whose finality takes minutes.
    pub fn finality_age(&self) -> Option<Duration> {
        self.head_age.and_then(|_| Network::finality_age(self.id))
    }
}

impl Template {
    /// The names of the placeholders, in order.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        // Odd pieces lie between braces: `parse` made sure that they alternate.
        self.text.split(['{', '}']).skip(1).step_by(2)
    }

    /// The text with each placeholder replaced by `lookup` of its name, or the name that has no value.
    ///
    /// # Errors
    /// The first variable that `lookup` does not know.
    pub fn resolve(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut resolved = String::new();
        for (index, piece) in self.text.split(['{', '}']).enumerate() {
            if index % 2 == 0 {
                resolved.push_str(piece);
            } else {
                resolved.push_str(&lookup(piece).ok_or_else(|| piece.to_owned())?);
            }
        }
        Ok(resolved)
    }

    /// Where it stands.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// An error at this place.
    pub fn error(&self, problem: impl Into<String>, mend: impl Into<String>) -> ConfigError {
        ConfigError {
            position: self.position,
            problem: problem.into(),
            mend: mend.into(),
        }
    }
}

impl Config {
    /// Reads and validates the text of `tokengate.toml`.
    ///
    /// # Errors
    /// [`ConfigError`], for the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let place = Place { text };
        if text.len() > MAX_LEN {
            return Err(place.error(
                0..0,
                format!("the file is longer than {MAX_LEN} bytes"),
                "split the service",
            ));
        }
        if let Some(error) = renamed::find(&place) {
            return Err(error);
        }
        let raw: RawConfig = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            place.error(
                span,
                error.message().replace('\n', ", "),
                "see docs/reference/configuration.md",
            )
        })?;
        place.config(raw)
    }

    /// The chain, if it is configured.
    pub fn chain(&self, id: ChainId) -> Option<&Chain> {
        self.chains.get(&id)
    }

    /// All chains, by id.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.values()
    }

    /// How many providers of a chain have to agree on anything that more than one gate rests on: the most that the chain
    /// or a gate over it demands.
    pub fn agreement(&self, chain: ChainId) -> usize {
        let own = self.chain(chain).map_or(1, |chain| chain.agreement);
        let over = self
            .gates
            .iter()
            .filter(|gate| gate.require.chains().contains(&chain));
        over.map(|gate| gate.agreement).fold(own, usize::max)
    }

    /// How many providers gates have agree on facts: each number that a decision may be rested on, once.
    pub fn agreements(&self) -> BTreeSet<usize> {
        self.gates.iter().map(|gate| gate.agreement).collect()
    }

    /// The quorums that facts of `chain` are kept for, each once: for every number of [`Self::agreements`], the larger one
    /// of it and the chain's own.
    pub fn quorums(&self, chain: ChainId) -> BTreeSet<usize> {
        let own = self.chain(chain).map_or(1, |chain| chain.agreement);
        let gates = self.agreements().into_iter();
        gates.map(|agreement| agreement.max(own)).collect()
    }

    /// A fingerprint of how facts of `chain` are read where a gate demands that so many providers agree: 16 hexadecimal
    /// digits, of configuration alone. It is part of the key of every stored fact, so that nothing that was read in
    /// another way is taken for one. `None` for a chain or a number that is not configured.
    pub fn fact_space(&self, chain: ChainId, agreement: usize) -> Option<&str> {
        let own = self.chain(chain)?.agreement;
        self.spaces.of_facts(chain, agreement.max(own))
    }

    /// The same of `chain` for whatever quorum: part of the keys of what is stored about the chain itself.
    pub fn chain_space(&self, chain: ChainId) -> Option<&str> {
        self.spaces.of_chain(chain)
    }

    /// The contracts on `chain` that gates name: whose tokens may open or close one.
    pub fn watched(&self, chain: ChainId) -> BTreeSet<Address> {
        let leaves = self.gates.iter().flat_map(|gate| gate.require.leaves());
        leaves
            .filter(|leaf| leaf.chain() == Some(chain))
            .filter_map(Leaf::contract)
            .collect()
    }

    /// The age from which on no gate uses a fact.
    pub fn oldest_fact(&self) -> Duration {
        let ages = self.gates.iter().map(|gate| gate.fresh.max(gate.stale));
        ages.max().unwrap_or_default()
    }

    /// The bucket, if it is configured.
    pub fn bucket(&self, name: &str) -> Option<&Bucket> {
        self.buckets.get(name)
    }

    /// All buckets, in no order.
    pub fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.values()
    }

    /// All gates, in the order of the file.
    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }

    /// The gate of this name.
    pub fn gate(&self, id: &str) -> Option<&Gate> {
        self.gates.iter().find(|gate| gate.id.as_str() == id)
    }

    /// The source of this name.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.get(name)
    }

    /// All sources, by name.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources
            .iter()
            .map(|(name, source)| (name.as_str(), source))
    }

    /// The gate whose pattern covers `resource` most specifically. Without one the resource does not exist.
    pub fn gate_for(&self, resource: &Resource) -> Option<&Gate> {
        self.gates
            .iter()
            .filter_map(|gate| gate.pattern_for(resource).map(|pattern| (gate, pattern)))
            .min_by(|(_, a), (_, b)| a.specificity(b))
            .map(|(gate, _)| gate)
    }

    /// The facts of all gates that `transfer` on `chain` may change, each once, under the keys that the gates look them up
    /// by. A token-bound account's owner is not among them: no gate names the token that it hangs on.
    pub fn touched(&self, chain: ChainId, transfer: &Transfer) -> Vec<FactKey> {
        let mut keys = BTreeSet::new();
        for gate in &self.gates {
            gate.touched(chain, transfer, &mut keys);
        }
        keys.into_iter().collect()
    }

    /// Has `chain` read at the block of this number from now on, whatever the file says. Whether there is such a chain.
    /// Facts of it are kept apart from those that the file asks for.
    pub fn read_at_block(&mut self, chain: ChainId, block: u64) -> bool {
        let found = match self.chains.get_mut(&chain) {
            Some(chain) => {
                chain.read_at = ReadAt::Tag(BlockTag::Number(block));
                true
            }
            None => false,
        };
        self.spaces = reading::Spaces::new(&self.chains, &self.gates);
        found
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    service: RawService,
    #[serde(default)]
    timeouts: RawTimeouts,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    cache: RawCache,
    #[serde(default)]
    watch: RawWatch,
    #[serde(default)]
    chain: Vec<Spanned<RawChain>>,
    #[serde(default)]
    bucket: Vec<Spanned<RawBucket>>,
    #[serde(default)]
    gate: Vec<Spanned<RawGate>>,
    #[serde(default)]
    webhook: Vec<RawSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    domains: Spanned<Vec<Spanned<String>>>,
    statement: Option<Spanned<String>>,
    challenge_ttl: Option<Spanned<String>>,
    session_ttl: Spanned<String>,
    session_idle: Option<Spanned<String>>,
    url_ttl: Spanned<String>,
    deny_max_age: Option<Spanned<String>>,
    #[serde(default)]
    typed_data: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTimeouts {
    store: Option<Spanned<String>>,
    provider: Option<Spanned<String>>,
    chain: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    per_client: Option<Spanned<String>>,
    per_address: Option<Spanned<String>>,
    per_session: Option<Spanned<String>>,
    reads_per_client: Option<Spanned<String>>,
    reads_per_decision: Option<Spanned<usize>>,
    client_ip_header: Option<Spanned<String>>,
    proxy_hops: Option<Spanned<usize>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCache {
    redis: Option<Spanned<String>>,
    namespace: Option<Spanned<String>>,
    memory_ttl: Option<Spanned<String>>,
    memory_size: Option<Spanned<usize>>,
    prefetch: Option<Warm>,
    refresh_ahead: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWatch {
    range: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDelegation {
    rights: Option<Spanned<String>>,
    registry: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChain {
    id: Spanned<String>,
    providers: Spanned<Vec<Spanned<String>>>,
    name: Option<Spanned<String>>,
    block: Option<Spanned<String>>,
    confirmations: Option<Spanned<u64>>,
    reader: Option<Spanned<String>>,
    deposit_gas: Option<Spanned<u16>>,
    max_lag: Option<Spanned<u64>>,
    max_head_age: Option<Spanned<String>>,
    quorum: Option<Spanned<usize>>,
    batch: Option<RawBatch>,
    factories: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBatch {
    reads: Option<Spanned<usize>>,
    bytes: Option<Spanned<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBucket {
    id: Spanned<String>,
    name: Option<Spanned<String>>,
    endpoint: Spanned<String>,
    region: Spanned<String>,
    addressing: Addressing,
    credentials: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGate {
    id: Spanned<String>,
    resources: Spanned<Vec<Spanned<String>>>,
    max_age: Spanned<String>,
    stale_while_revalidate: Option<Spanned<String>>,
    quorum: Option<Spanned<usize>>,
    delegation: Option<RawDelegation>,
    require: Spanned<RawRequirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    id: Spanned<String>,
    provider: Spanned<String>,
    secret: Spanned<String>,
    chain: Option<Spanned<String>>,
}

/// More facts than these do not fit beside others into an instance's memory.
const MAX_READS_PER_DECISION: usize = 4_096;

const DEFAULT_STATEMENT: &str =
    "Sign in to open content for token holders. This costs nothing and sends no transaction.";

type Span = Range<usize>;

/// Rights as the registry has them: 32 bytes, a name from the left.
fn rights_word(text: &str) -> Option<[u8; 32]> {
    let mut word = [0; 32];
    if let Some(digits) = text.strip_prefix("0x") {
        hex::decode_to_slice(digits, &mut word).ok()?;
        return Some(word);
    }
    let named = (1..=31).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.: ".contains(&b));
    let (name, _) = word.split_at_mut_checked(text.len()).filter(|_| named)?;
    name.copy_from_slice(text.as_bytes());
    Some(word)
}

/// Turns spans of the text into places, and raw values into valid ones.
struct Place<'a> {
    text: &'a str,
}

impl Place<'_> {
    fn position(&self, span: &Span) -> Position {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }

    fn error(
        &self,
        span: Span,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            position: self.position(&span),
            problem: problem.into(),
            mend: mend.into(),
        }
    }

    fn config(&self, raw: RawConfig) -> Result<Config, ConfigError> {
        let service = self.service(raw.service)?;
        let deadlines = self.deadlines(raw.timeouts)?;
        let limits = self.limits(raw.limits)?;
        let cache = self.cache(raw.cache)?;
        let watch = self.watch(raw.watch)?;
        let mut chains = BTreeMap::new();
        for raw in raw.chain {
            let span = raw.span();
            let chain = self.chain(raw.into_inner())?;
            if let Some(twin) = chains.insert(chain.id, chain) {
                return Err(self.error(
                    span,
                    format!("chain {} is defined twice", twin.id),
                    "merge the two [[chain]] tables",
                ));
            }
        }
        let mut buckets = HashMap::new();
        for raw in raw.bucket {
            let span = raw.span();
            let bucket = self.bucket(raw.into_inner())?;
            let alias = |other: &&Bucket| {
                (&other.bucket, &other.endpoint.text) == (&bucket.bucket, &bucket.endpoint.text)
            };
            if let Some(other) = buckets
                .values()
                .find(alias)
                .filter(|other: &&Bucket| other.name != bucket.name)
            {
                return Err(self.error(
                    span,
                    format!("bucket {:?} is the same as {:?}", bucket.name, other.name),
                    "keep one of them: under two names an object would have two gates",
                ));
            }
            if let Some(twin) = buckets.insert(bucket.name.clone(), bucket) {
                return Err(self.error(
                    span,
                    format!("bucket {:?} is defined twice", twin.name),
                    "give one of them another id; `name` says what it is called at the store",
                ));
            }
        }
        let gates = self.gates(raw.gate, &chains, &buckets, &limits)?;
        let mut sources = BTreeMap::new();
        for raw in raw.webhook {
            let (name, span) = (raw.id.get_ref().clone(), raw.id.span());
            let source = self.source(raw, &chains)?;
            if sources.insert(name.clone(), source).is_some() {
                return Err(self.error(
                    span,
                    format!("webhook {name:?} is defined twice"),
                    "give one of them another id: it stands in the path that deliveries are sent to",
                ));
            }
        }
        let spaces = reading::Spaces::new(&chains, &gates);
        Ok(Config {
            service,
            deadlines,
            limits,
            cache,
            watch,
            chains,
            buckets,
            gates,
            sources,
            spaces,
        })
    }

    fn source(
        &self,
        raw: RawSource,
        chains: &BTreeMap<ChainId, Chain>,
    ) -> Result<Source, ConfigError> {
        if !is_source_name(raw.id.get_ref()) {
            return Err(self.error(
                raw.id.span(),
                format!("{:?} is no webhook id", raw.id.get_ref()),
                "use 1 to 64 letters, digits, `-` and `_`: it stands in the path",
            ));
        }
        let Some(kind) = Kind::parse(raw.provider.get_ref()) else {
            return Err(self.error(
                raw.provider.span(),
                format!("{:?} is no webhook provider", raw.provider.get_ref()),
                "write \"alchemy\", \"quicknode\", \"moralis\" or \"standard\"",
            ));
        };
        let secret_span = raw.secret.span();
        let secret = self.template(raw.secret)?;
        if secret.variables().next().is_none() {
            return Err(self.error(
                secret_span,
                // Not repeated: it may be the secret.
                "the secret is in the file",
                "write {{ variable }}, for example \"{{ alchemy_signing_key }}\", and set that",
            ));
        }
        let chain = match raw.chain {
            Some(raw) => {
                let chain = self.read::<ChainId>(&raw)?;
                if !chains.contains_key(&chain) {
                    return Err(self.error(
                        raw.span(),
                        format!("chain {chain} is not configured"),
                        format!("add a [[chain]] with id = \"{chain}\" or correct the id"),
                    ));
                }
                Some(chain)
            }
            None if !kind.names_chain() => {
                return Err(self.error(
                    raw.provider.span(),
                    "its deliveries do not say which chain they are about",
                    "add `chain`, for example \"eip155:1\"",
                ));
            }
            None => None,
        };
        Ok(Source {
            kind,
            secret,
            chain,
        })
    }

    fn service(&self, raw: RawService) -> Result<Service, ConfigError> {
        let domains_span = raw.domains.span();
        let mut domains = Vec::new();
        for raw in raw.domains.into_inner() {
            let domain = Domain::parse(raw.get_ref()).map_err(|error| {
                self.error(
                    raw.span(),
                    format!("{:?} is no domain", raw.get_ref()),
                    error.to_string(),
                )
            })?;
            if domains
                .iter()
                .any(|other: &Domain| other.is(None, domain.as_str()))
            {
                return Err(self.error(
                    raw.span(),
                    format!("domain {:?} stands twice", raw.get_ref()),
                    "remove one",
                ));
            }
            domains.push(domain);
        }
        if domains.is_empty() {
            return Err(self.error(
                domains_span,
                "no domain is accepted",
                "name at least one, for example [\"gate.example\"]",
            ));
        }
        let statement = match raw.statement {
            Some(statement)
                if statement.get_ref().is_empty()
                    || statement.get_ref().len() > 512
                    || !eip4361::is_statement(statement.get_ref()) =>
            {
                return Err(self.error(statement.span(), "the statement does not fit EIP-4361", "use one line of up to 512 ASCII letters, digits, spaces and -._~:/?#[]@!$&'()*+,;="));
            }
            Some(statement) => statement.into_inner(),
            None => DEFAULT_STATEMENT.to_owned(),
        };
        let day = Duration::from_secs(24 * 60 * 60);
        let second = Duration::from_secs(1);
        let absolute = self.duration(&raw.session_ttl, second, 365 * day)?;
        let idle = self.duration_or(raw.session_idle, absolute, second, absolute)?;
        Ok(Service {
            domains,
            statement,
            challenge_ttl: self.duration_or(
                raw.challenge_ttl,
                Duration::from_secs(300),
                second,
                day,
            )?,
            session: Lifetime { idle, absolute },
            url_ttl: self.duration(&raw.url_ttl, second, presign::MAX_TTL)?,
            deny_after: self.duration_or(
                raw.deny_max_age,
                Duration::from_secs(3),
                Duration::ZERO,
                Duration::from_secs(60),
            )?,
            typed_data: raw.typed_data,
        })
    }

    fn deadlines(&self, raw: RawTimeouts) -> Result<Deadlines, ConfigError> {
        let (least, most) = (Duration::from_millis(10), Duration::from_secs(60));
        Ok(Deadlines {
            store: self.duration_or(raw.store, Duration::from_millis(500), least, most)?,
            provider: self.duration_or(raw.provider, Duration::from_secs(3), least, most)?,
            chain: self.duration_or(raw.chain, Duration::from_secs(8), least, most)?,
        })
    }

    fn limits(&self, raw: RawLimits) -> Result<Limits, ConfigError> {
        let header = raw
            .client_ip_header
            .map(|name| {
                http::HeaderName::try_from(name.get_ref().as_str()).map_err(|_| {
                    self.error(
                        name.span(),
                        format!("{:?} is no header's name", name.get_ref()),
                        "write for example \"x-forwarded-for\"",
                    )
                })
            })
            .transpose()?;
        let client = match (header, raw.proxy_hops) {
            (None, None) => ClientAddress::Peer,
            (None, Some(proxies)) => {
                return Err(self.error(
                    proxies.span(),
                    "`proxy_hops` without `client_ip_header`",
                    "name the header to which the proxies append the client's address",
                ));
            }
            (Some(_), Some(proxies)) if !(1..=16).contains(proxies.get_ref()) => {
                return Err(self.error(
                    proxies.span(),
                    format!("{} proxies", proxies.get_ref()),
                    "write how many of your proxies append to the header, from 1 to 16",
                ));
            }
            (Some(header), proxies) => ClientAddress::Forwarded {
                header,
                proxies: proxies.map_or(1, Spanned::into_inner),
            },
        };
        let minute = |quota| Rate {
            quota,
            window: Duration::from_secs(60),
        };
        let reads_per_decision = match raw.reads_per_decision {
            Some(raw) if !(1..=MAX_READS_PER_DECISION).contains(raw.get_ref()) => {
                return Err(self.error(
                    raw.span(),
                    format!("{} is out of range", raw.get_ref()),
                    format!("write a number of facts from 1 to {MAX_READS_PER_DECISION}"),
                ));
            }
            raw => raw.map_or(1_024, Spanned::into_inner),
        };
        Ok(Limits {
            per_client: self.rate_or(raw.per_client, minute(120))?,
            per_address: self.rate_or(raw.per_address, minute(20))?,
            per_session: self.rate_or(raw.per_session, minute(1_200))?,
            reads_per_client: self.rate_or(raw.reads_per_client, minute(6_000))?,
            reads_per_decision,
            client,
        })
    }

    fn cache(&self, raw: RawCache) -> Result<Cache, ConfigError> {
        let second = Duration::from_secs(1);
        let bytes = raw.memory_size.map_or(Ok(4 << 20), |bytes| {
            if (65_536..=32 << 20).contains(bytes.get_ref()) {
                Ok(bytes.into_inner())
            } else {
                Err(self.error(
                    bytes.span(),
                    format!("{} bytes of memory", bytes.get_ref()),
                    "write a number from 65536 to 33554432",
                ))
            }
        })?;
        let refresh = match raw.refresh_ahead {
            Some(off) if off.get_ref() == "off" => None,
            rate => Some(self.rate_or(
                rate,
                Rate {
                    quota: 10,
                    window: second,
                },
            )?),
        };
        let namespace = match raw.namespace {
            Some(name) if !is_namespace(name.get_ref()) => {
                return Err(self.error(
                    name.span(),
                    format!("{:?} is no namespace", name.get_ref()),
                    "use 1 to 32 lower-case letters, digits, `-` and `_`, or leave it out",
                ));
            }
            name => name.map(Spanned::into_inner),
        };
        Ok(Cache {
            redis: raw.redis.map(|url| self.template(url)).transpose()?,
            namespace,
            memory: self.duration_or(raw.memory_ttl, second, Duration::ZERO, 60 * second)?,
            memory_bytes: bytes,
            warm: raw.prefetch.unwrap_or(Warm::All),
            refresh,
        })
    }

    fn watch(&self, raw: RawWatch) -> Result<Watch, ConfigError> {
        match raw.range {
            Some(raw) if !(1..=100_000).contains(raw.get_ref()) => Err(self.error(
                raw.span(),
                format!("{} is out of range", raw.get_ref()),
                "write a number of blocks from 1 to 100000",
            )),
            raw => Ok(Watch {
                range: raw.map_or(1_000, Spanned::into_inner),
            }),
        }
    }

    fn rate_or(&self, raw: Option<Spanned<String>>, default: Rate) -> Result<Rate, ConfigError> {
        let Some(raw) = raw else {
            return Ok(default);
        };
        let parts = raw.get_ref().split_once('/').map(|(quota, window)| {
            let quota = decimal::parse(quota).and_then(|quota| u32::try_from(quota).ok());
            (quota, window)
        });
        let Some((Some(quota @ 1..), window)) = parts else {
            return Err(self.error(
                raw.span(),
                format!("{:?} is no rate", raw.get_ref()),
                "write how many in how long, for example \"60/1m\"",
            ));
        };
        let window = Spanned::new(raw.span(), window.to_owned());
        let second = Duration::from_secs(1);
        Ok(Rate {
            quota,
            window: self.duration(&window, second, 3600 * second)?,
        })
    }

    fn delegation(&self, raw: RawDelegation) -> Result<Delegates, ConfigError> {
        let rights = raw.rights.map_or(Ok([0; 32]), |rights| {
            rights_word(rights.get_ref()).ok_or_else(|| {
                self.error(
                    rights.span(),
                    format!("{:?} names no rights", rights.get_ref()),
                    "write a name of 1 to 31 ASCII letters, digits, `-`, `_`, `.`, `:` or spaces, or 0x and 64 hexadecimal digits; leave it out to ask for full delegations",
                )
            })
        })?;
        let registry = raw
            .registry
            .map_or(Ok(delegate_registry::CANONICAL), |address| {
                self.read(&address)
            })?;
        Ok(Delegates { registry, rights })
    }

    fn chain(&self, raw: RawChain) -> Result<Chain, ConfigError> {
        let id = self.read::<ChainId>(&raw.id)?;
        let providers_span = raw.providers.span();
        let providers = raw
            .providers
            .into_inner()
            .into_iter()
            .map(|provider| self.template(provider))
            .collect::<Result<Vec<_>, _>>()?;
        if providers.is_empty() {
            return Err(self.error(
                providers_span,
                format!("chain {id} has no provider"),
                "name at least one JSON-RPC endpoint, for example [\"{{ rpc_url }}\"]",
            ));
        }
        let read_at = self.state(id, raw.block, raw.confirmations)?;
        let network = Network::of(id);
        let reader = match raw.reader {
            None => network.and_then(|network| network.reader),
            Some(form) => Some(match form.get_ref().as_str() {
                "override" => Form::Override,
                "creation" => Form::Creation,
                "calls" => Form::Calls,
                address if address.starts_with("0x") => Form::Deployed(self.read(&form)?),
                other => {
                    return Err(self.error(
                        form.span(),
                        format!("{other:?} names no way to read"),
                        "write \"override\", \"creation\", \"calls\" or the address of a deployed reader; or leave it out to find out by asking",
                    ));
                }
            }),
        };
        let name = match raw.name {
            Some(name) if !is_name(name.get_ref()) => {
                return Err(self.error(
                    name.span(),
                    format!("{:?} is no name", name.get_ref()),
                    "write 1 to 64 printable characters",
                ));
            }
            Some(name) => name.into_inner(),
            None => network.map_or_else(|| id.to_string(), |network| network.name.to_owned()),
        };
        let second = Duration::from_secs(1);
        let head_age = match raw.max_head_age {
            Some(none) if none.get_ref() == "none" => None,
            Some(age) => Some(self.duration(&age, second, 86_400 * second)?),
            None => Network::head_age(id),
        };
        let agreement = self.agreement(raw.quorum, providers.len())?;
        let limit = |raw: Option<Spanned<usize>>, default, least, most| match raw {
            Some(raw) if !(least..=most).contains(raw.get_ref()) => Err(self.error(
                raw.span(),
                format!("{} is out of range", raw.get_ref()),
                format!("write a number from {least} to {most}"),
            )),
            raw => Ok(raw.map_or(default, Spanned::into_inner)),
        };
        let RawBatch { reads, bytes } = raw.batch.unwrap_or(RawBatch {
            reads: None,
            bytes: None,
        });
        let factories = match raw.factories {
            Some(factories) => factories
                .iter()
                .map(|factory| self.read(factory))
                .collect::<Result<_, _>>()?,
            None => erc6492::well_known_factories(),
        };
        Ok(Chain {
            id,
            name,
            factories,
            providers,
            read_at,
            reader,
            deposit_gas: raw
                .deposit_gas
                .map_or(reader::DEPOSIT_GAS, Spanned::into_inner),
            tolerance: raw
                .max_lag
                .map_or_else(|| Network::tolerance(id), Spanned::into_inner),
            head_age,
            agreement,
            batch: Batch {
                reads: limit(reads, 400, 1, 5_000)?,
                bytes: limit(bytes, 128 * 1024, 1024, 4 * 1024 * 1024)?,
            },
        })
    }

    /// The state that a chain is read at.
    fn state(
        &self,
        chain: ChainId,
        block: Option<Spanned<String>>,
        confirmations: Option<Spanned<u64>>,
    ) -> Result<ReadAt, ConfigError> {
        let latest_alone = |span| {
            Err(self.error(
                span,
                format!("chain {chain} answers calls at its newest block only"),
                "write block = \"latest\", or leave it out",
            ))
        };
        let tag = match &block {
            None => BlockTag::Latest,
            Some(tag) => match tag.get_ref().as_str() {
                "latest" => BlockTag::Latest,
                _ if Network::knows_latest_alone(chain) => return latest_alone(tag.span()),
                "safe" => BlockTag::Safe,
                "finalized" => BlockTag::Finalized,
                _ => {
                    return Err(self.error(
                        tag.span(),
                        "`block` names no state",
                        "write \"latest\", \"safe\" or \"finalized\"; a number of blocks below the newest is `confirmations`",
                    ));
                }
            },
        };
        match confirmations {
            None => Ok(ReadAt::Tag(tag)),
            Some(raw) if Network::knows_latest_alone(chain) => latest_alone(raw.span()),
            Some(raw) if tag != BlockTag::Latest => Err(self.error(
                raw.span(),
                "`confirmations` beside a `block` that is not the newest",
                "leave one of them out: confirmations count from the newest block",
            )),
            Some(raw) if *raw.get_ref() > 10_000 => Err(self.error(
                raw.span(),
                format!("{} is out of range", raw.get_ref()),
                "write a number of confirmations from 0 to 10000",
            )),
            Some(raw) => Ok(ReadAt::Confirmations(raw.into_inner())),
        }
    }

    fn agreement(
        &self,
        raw: Option<Spanned<usize>>,
        providers: usize,
    ) -> Result<usize, ConfigError> {
        match raw {
            Some(raw) if !(1..=providers).contains(raw.get_ref()) => Err(self.error(
                raw.span(),
                format!("{} of {providers} providers cannot agree", raw.get_ref()),
                "write a number from 1 to that of the chain's providers, or name more providers",
            )),
            raw => Ok(raw.map_or(1, Spanned::into_inner)),
        }
    }

    fn bucket(&self, raw: RawBucket) -> Result<Bucket, ConfigError> {
        for name in [Some(&raw.id), raw.name.as_ref()].into_iter().flatten() {
            if !resource::is_bucket_name(name.get_ref()) {
                return Err(self.error(
                    name.span(),
                    format!("{:?} is no bucket name", name.get_ref()),
                    "use 1 to 63 lower-case letters, digits, dots and hyphens",
                ));
            }
        }
        if !is_variable_name(raw.credentials.get_ref()) {
            return Err(self.error(raw.credentials.span(), "`credentials` is no prefix of variable names", "use lower-case letters, digits and underscores, starting with a letter; the variables are <credentials>_access_key_id and <credentials>_secret_access_key"));
        }
        let region = raw.region.get_ref();
        if region.is_empty()
            || !region
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(self.error(
                raw.region.span(),
                format!("{region:?} is no region"),
                "write for example \"us-east-1\", or \"auto\"",
            ));
        }
        let endpoint_span = raw.endpoint.span();
        let endpoint = self.template(raw.endpoint)?;
        let literal = endpoint.variables().next().is_none();
        if literal
            && !endpoint
                .text
                .parse::<Url>()
                .is_ok_and(|url| presign::is_endpoint(&url))
        {
            return Err(self.error(endpoint_span, "the endpoint is not a base URL", "write a scheme and a host, for example \"https://s3.eu-central-1.amazonaws.com\", without a path"));
        }
        let name = raw.id.into_inner();
        Ok(Bucket {
            bucket: raw.name.map_or_else(|| name.clone(), Spanned::into_inner),
            name,
            endpoint,
            region: raw.region.into_inner(),
            addressing: raw.addressing,
            credentials: raw.credentials.into_inner(),
        })
    }

    fn gates(
        &self,
        raw: Vec<Spanned<RawGate>>,
        chains: &BTreeMap<ChainId, Chain>,
        buckets: &HashMap<String, Bucket>,
        limits: &Limits,
    ) -> Result<Vec<Gate>, ConfigError> {
        let mut gates: Vec<Gate> = Vec::new();
        for raw in raw {
            let raw = raw.into_inner();
            let id = GateId::parse(raw.id.get_ref()).map_err(|error| {
                self.error(
                    raw.id.span(),
                    format!("{:?} is no gate id", raw.id.get_ref()),
                    error.to_string(),
                )
            })?;
            if gates.iter().any(|gate| gate.id == id) {
                return Err(self.error(
                    raw.id.span(),
                    format!("gate {:?} is defined twice", id.as_str()),
                    "give one of them another id",
                ));
            }
            let resources_span = raw.resources.span();
            let mut resources: Vec<Pattern> = Vec::new();
            for text in raw.resources.into_inner() {
                let pattern = Pattern::parse(text.get_ref()).map_err(|error| {
                    self.error(
                        text.span(),
                        format!("{:?} is no pattern", text.get_ref()),
                        error.to_string(),
                    )
                })?;
                if !buckets.contains_key(pattern.bucket()) {
                    return Err(self.error(
                        text.span(),
                        format!(
                            "pattern {:?} is about the unknown bucket {:?}",
                            text.get_ref(),
                            pattern.bucket()
                        ),
                        "add a [[bucket]] of that name or correct the pattern",
                    ));
                }
                let twin = resources
                    .iter()
                    .filter(|other| **other == pattern)
                    .map(|other| (&id, other))
                    .chain(
                        gates
                            .iter()
                            .flat_map(|gate| gate.resources.iter().map(|other| (&gate.id, other)))
                            .filter(|(_, other)| pattern.conflicts(other)),
                    )
                    .next();
                if let Some((owner, other)) = twin {
                    return Err(self.error(
                        text.span(),
                        format!(
                            "pattern {:?} overlaps {:?} of gate {:?} and neither is more specific",
                            text.get_ref(),
                            other.to_string(),
                            owner.as_str()
                        ),
                        "make one of them more specific, or merge the gates",
                    ));
                }
                resources.push(pattern);
            }
            if resources.is_empty() {
                return Err(self.error(
                    resources_span,
                    format!("gate {:?} guards nothing", id.as_str()),
                    "name at least one pattern, for example [\"media/season-1/**\"]",
                ));
            }
            let most = Duration::from_secs(24 * 60 * 60);
            let fresh = self.duration(&raw.max_age, Duration::ZERO, most)?;
            let beyond = raw.stale_while_revalidate;
            let stale = match &beyond {
                Some(raw) => fresh + self.duration(raw, Duration::ZERO, most)?,
                None => fresh,
            };
            if let Some(raw) = beyond.filter(|_| stale > most) {
                return Err(self.error(
                    raw.span(),
                    "`max_age` and `stale_while_revalidate` are more than 24 hours together",
                    "a fact decides alone up to `max_age` and may still grant for `stale_while_revalidate` after that: make one of them shorter",
                ));
            }
            let require_span = raw.require.span();
            let require = self.requirement(raw.require, chains)?;
            if require.opens_for_nobody_in_particular() {
                return Err(self.error(
                    require_span.clone(),
                    format!(
                        "gate {:?} lets in a wallet that meets none of its conditions",
                        id.as_str()
                    ),
                    "demand something that a new wallet does not meet by itself, as it does `not`, a time, or a call that answers everybody the same",
                ));
            }
            // Of the chain with the fewest providers among those that the gate reads.
            let read = require.chains();
            let providers = chains.values().filter(|chain| read.contains(&chain.id));
            let providers = providers.map(|chain| chain.providers.len()).min();
            let agreement = self.agreement(raw.quorum, providers.unwrap_or(1))?;
            let gate = Gate {
                id,
                resources,
                fresh,
                stale,
                agreement,
                delegation: raw
                    .delegation
                    .map(|delegation| self.delegation(delegation))
                    .transpose()?,
                require,
            };
            let one = Wallet::of_key(Address::from_bytes([1; 20]));
            let reads = cost::of(&gate.reads(&Holders::new([one], None)));
            if reads > limits.reads_per_decision {
                return Err(self.error(
                    require_span,
                    format!(
                        "gate {:?} reads {reads} facts for one wallet, and a decision may read {}",
                        gate.id.as_str(),
                        limits.reads_per_decision
                    ),
                    "name fewer tokens, or raise `reads_per_decision` in [limits]",
                ));
            }
            gates.push(gate);
        }
        Ok(gates)
    }

    fn template(&self, raw: Spanned<String>) -> Result<Template, ConfigError> {
        let (span, text) = (raw.span(), raw.into_inner());
        let broken = || {
            self.error(
                span.clone(),
                // Not repeated: it may hold an API key.
                "a broken placeholder",
                "write {{ variable }}, in lower-case letters, digits and underscores",
            )
        };
        let (mut pieces, mut rest) = (String::new(), text.as_str());
        while let Some((before, after)) = rest.split_once('{') {
            let named = after
                .strip_prefix('{')
                .and_then(|rest| rest.split_once("}}"));
            let (name, after) = named.ok_or_else(broken)?;
            let name = name.trim_matches(' ');
            if before.contains('}') || !is_variable_name(name) {
                return Err(broken());
            }
            pieces.push_str(before);
            pieces.push_str(&format!("{{{name}}}"));
            rest = after;
        }
        if rest.contains('}') {
            return Err(broken());
        }
        pieces.push_str(rest);
        Ok(Template {
            text: pieces,
            position: self.position(&span),
        })
    }

    fn read<T>(&self, raw: &Spanned<String>) -> Result<T, ConfigError>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        raw.get_ref().parse().map_err(|error: T::Err| {
            self.error(
                raw.span(),
                format!("{:?} is not understood", raw.get_ref()),
                error.to_string(),
            )
        })
    }

    fn duration_or(
        &self,
        raw: Option<Spanned<String>>,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Result<Duration, ConfigError> {
        raw.map_or(Ok(default), |raw| self.duration(&raw, least, most))
    }

    fn duration(
        &self,
        raw: &Spanned<String>,
        least: Duration,
        most: Duration,
    ) -> Result<Duration, ConfigError> {
        let Some(duration) = duration(raw.get_ref()) else {
            return Err(self.error(
                raw.span(),
                format!("{:?} is no duration", raw.get_ref()),
                "write for example \"30s\", \"5m\", \"1h\", \"7d\" or \"500ms\"",
            ));
        };
        if duration < least || duration > most {
            return Err(self.error(
                raw.span(),
                format!("{:?} is out of range", raw.get_ref()),
                format!("write a duration from {least:?} to {most:?}"),
            ));
        }
        Ok(duration)
    }
}

/// A whole number and its unit: `ms`, `s`, `m`, `h` or `d`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(millis)
        .map(Duration::from_millis)
}

/// What can stand in a line of text.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// What can stand before keys of a store.
fn is_namespace(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

/// What can be a segment of a path as it is.
fn is_source_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// Spin's rule for variable names: lower-case snake_case, starting with a letter.
fn is_variable_name(text: &str) -> bool {
    // Spin's rule: what the platform cannot have is not asked for.
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('_')
        && !text.contains("__")
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = r#"
[service]
domains = ["localhost:3000", "gate.example"]
session_ttl = "1h"
url_ttl = "5m"

[[chain]]
id = "eip155:1"
providers = ["{{ eth_rpc_a }}", "https://{{ eth_host }}/v2/{{ eth_key }}"]
confirmations = 12

[[bucket]]
id = "media"
endpoint = "http://127.0.0.1:9000"
region = "us-east-1"
addressing = "path"
credentials = "media"

[[gate]]
id = "season-1"
resources = ["media/season-1/**"]
max_age = "5m"
stale_while_revalidate = "55m"
require = { any = [ { erc721 = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3", at_least = "1" } }, { at_least = { count = 2, of = [ { native = { chain = "eip155:1", at_least = "5" } }, { not = { erc20 = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3", at_least = "1" } } } ] } } ] }

[[gate]]
id = "poster"
resources = ["media/season-1/poster.jpg"]
max_age = "5m"
require = { erc1155 = { chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3", token_ids = ["7"] } }
"#;

    #[test]
    fn a_valid_file_is_read_whole() {
        let config = Config::parse(VALID).unwrap();
        let domains: Vec<&str> = config.service.domains.iter().map(Domain::as_str).collect();
        assert_eq!(domains, ["localhost:3000", "gate.example"]);
        let chain = config.chain(ChainId::new(1).unwrap()).unwrap();
        assert_eq!(chain.read_at, ReadAt::Confirmations(12));
        assert_eq!((chain.reader, chain.deposit_gas), (None, 1_530));
        assert_eq!(
            (chain.name.as_str(), chain.tolerance, chain.agreement),
            ("Ethereum", 3, 1)
        );
        assert_eq!(chain.head_age, Some(Duration::from_secs(300)));
        assert_eq!(
            config.gate("poster").unwrap().stale,
            Duration::from_secs(300),
            "without `stale_while_revalidate` nothing outlives `max_age`"
        );
    }

    #[test]
    fn a_chain_is_read_as_the_configuration_or_the_network_says() {
        let reader = |id: &str, key: &str| {
            let text = VALID
                .replace("eip155:1\"", &format!("{id}\""))
                .replace("confirmations = 12", key);
            let config = Config::parse(&text).unwrap();
            config.chain(id.parse().unwrap()).unwrap().reader
        };
        assert_eq!(reader("eip155:1", ""), None);
        assert_eq!(reader("eip155:324", ""), Some(Form::Calls), "ZKsync");
        let form = |text: &str| reader("eip155:324", &format!("reader = \"{text}\""));
        assert_eq!(form("override"), Some(Form::Override));
        assert_eq!(form("creation"), Some(Form::Creation));
        assert_eq!(form("calls"), Some(Form::Calls));
        let address = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
        assert_eq!(
            form(address),
            Some(Form::Deployed(address.parse().unwrap()))
        );
    }

    #[test]
    fn what_is_optional_is_read_or_has_its_default() {
        let config = |service: &str, limits: &str, gate: &str| {
            let text = VALID
                .replacen("url_ttl", &format!("{service}\nurl_ttl"), 1)
                .replacen("[[chain]]", &format!("{limits}\n[[chain]]"), 1)
                .replacen("stale", &format!("{gate}\nstale"), 1);
            Config::parse(&text).unwrap()
        };
        let delegation = |config: &Config| config.gate("season-1").unwrap().delegation.clone();
        let rate = |quota, seconds| Rate {
            quota,
            window: Duration::from_secs(seconds),
        };
        let hour = Duration::from_secs(3600);

        let default = config("", "", "");
        assert_eq!(default.watch, Watch { range: 1_000 });
        assert_eq!(default.cache.namespace, None);
        let named = config("", "[cache]\nnamespace = \"shop-2\"", "");
        assert_eq!(named.cache.namespace.as_deref(), Some("shop-2"));
        let watch = |range: &str| config("", &format!("[watch]\nrange = {range}"), "").watch;
        assert_eq!(watch("1"), Watch { range: 1 });
        let lifetime = default.service.session;
        assert_eq!((lifetime.idle, lifetime.absolute), (hour, hour));
        let limits = Limits {
            per_client: rate(120, 60),
            per_address: rate(20, 60),
            per_session: rate(1_200, 60),
            reads_per_client: rate(6_000, 60),
            reads_per_decision: 1_024,
            client: ClientAddress::Peer,
        };
        assert!(!default.service.typed_data);
        assert_eq!(default.limits, limits);
        assert_eq!(delegation(&default), None);

        let changed = config(
            "session_idle = \"20m\"\ntyped_data = true",
            "[limits]\nper_client = \"6/1h\"\nper_address = \"1/1s\"\nper_session = \"7/2s\"\nreads_per_client = \"8/3s\"\nreads_per_decision = 16\nclient_ip_header = \"X-Forwarded-For\"\nproxy_hops = 2",
            "delegation = { rights = \"acme\", registry = \"0x5fbdb2315678afecb367f032d93f642f64180aa3\" }",
        );
        let lifetime = changed.service.session;
        assert_eq!((lifetime.idle, lifetime.absolute), (hour / 3, hour));
        let forwarded = |proxies| ClientAddress::Forwarded {
            header: http::HeaderName::from_static("x-forwarded-for"),
            proxies,
        };
        let limits = Limits {
            per_client: rate(6, 3600),
            per_address: rate(1, 1),
            per_session: rate(7, 2),
            reads_per_client: rate(8, 3),
            reads_per_decision: 16,
            client: forwarded(2),
        };
        assert!(changed.service.typed_data);
        assert_eq!(changed.limits, limits);
        let mut rights = [0; 32];
        rights[..4].copy_from_slice(b"acme");
        let delegates = Delegates {
            registry: "0x5fbdb2315678afecb367f032d93f642f64180aa3"
                .parse()
                .unwrap(),
            rights,
        };
        assert_eq!(delegation(&changed), Some(delegates));

        // One proxy, unless it is said how many; without rights, full delegations; rights also as the registry has them.
        let one = config(
            "",
            "[limits]\nclient_ip_header = \"x-forwarded-for\"",
            "delegation = {}",
        );
        assert_eq!(one.limits.client, forwarded(1));
        let delegates = Delegates {
            registry: delegate_registry::CANONICAL,
            rights: [0; 32],
        };
        assert_eq!(delegation(&one), Some(delegates.clone()));
        let word = format!("delegation = {{ rights = \"0x{}\" }}", "5f".repeat(32));
        let rights = [0x5f; 32];
        let delegates = Delegates {
            rights,
            ..delegates
        };
        assert_eq!(delegation(&config("", "", &word)), Some(delegates));
    }

    #[test]
    fn contracts_of_gates_are_watched_on_their_own_chain_and_facts_age_with_the_gates() {
        let config = Config::parse(VALID).unwrap();
        let contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
            .parse()
            .unwrap();
        let watched = config.watched(ChainId::new(1).unwrap());
        assert_eq!(watched, BTreeSet::from([contract]));
        assert!(config.watched(ChainId::new(10).unwrap()).is_empty());
        assert_eq!(config.oldest_fact(), Duration::from_secs(3_600));
    }

    #[test]
    fn the_most_specific_gate_decides_and_the_rest_does_not_exist() {
        let config = Config::parse(VALID).unwrap();
        let gate_for = |text: &str| {
            config
                .gate_for(&Resource::parse(text).unwrap())
                .map(|gate| gate.id.as_str().to_owned())
        };
        assert_eq!(
            gate_for("media/season-1/ep1.mp4").as_deref(),
            Some("season-1")
        );
        assert_eq!(
            gate_for("media/season-1/poster.jpg").as_deref(),
            Some("poster")
        );
        assert_eq!(gate_for("media/season-2/ep1.mp4"), None);
    }

    #[test]
    fn templates_resolve_every_placeholder_or_name_the_missing_one() {
        let config = Config::parse(VALID).unwrap();
        let template = &config.chain(ChainId::new(1).unwrap()).unwrap().providers[1];
        assert_eq!(
            template.variables().collect::<Vec<_>>(),
            ["eth_host", "eth_key"]
        );
        assert_eq!(
            template.resolve(|name| Some(name.to_uppercase())),
            Ok("https://ETH_HOST/v2/ETH_KEY".into())
        );
        assert_eq!(
            template.resolve(|name| (name == "eth_host").then(String::new)),
            Err("eth_key".into())
        );
        assert_eq!(
            template.position(),
            Position {
                line: 9,
                column: 33
            }
        );
    }

    /// Each class of mistake: what is replaced in the valid file, by what, the line that is named, words of the message.
    #[test]
    fn every_mistake_is_named_with_its_place_and_its_mend() {
        let contract = r#""0x5fbdb2315678afecb367f032d93f642f64180aa3""#;
        let table = [
            (
                "url_ttl = \"5m\"",
                "url_ttl = \"5m\"\nurl_tll = \"5m\"",
                6,
                "unknown field `url_tll`",
            ),
            ("url_ttl = \"5m\"", "", 2, "missing field `url_ttl`"),
            ("[[bucket]]", "[[buckets]]", 12, "unknown field `buckets`"),
            (
                "confirmations = 12",
                "confirmations = 12\nreads_at = 12",
                11,
                "unknown field",
            ),
            (
                "count = 2",
                "count = 2, counts = 2",
                24,
                "unexpected keys in table: counts",
            ),
            (
                "at_least = \"5\"",
                "at_least = \"5\", least = \"5\"",
                24,
                "unknown field",
            ),
            ("id = \"poster\"", "id = \"season-1\"", 27, "defined twice"),
            ("id = \"poster\"", "id = \"a b\"", 27, "no gate id"),
            (
                "[[bucket]]",
                "[[chain]]\nid = \"eip155:1\"\nproviders = [\"{{ x }}\"]\n[[bucket]]",
                12,
                "defined twice",
            ),
            (
                "[[gate]]\nid = \"season-1\"",
                "[[bucket]]\nid = \"media\"\nendpoint = \"http://127.0.0.1:9000\"\nregion = \"r\"\naddressing = \"path\"\ncredentials = \"media\"\n[[gate]]\nid = \"season-1\"",
                19,
                "defined twice",
            ),
            (
                "{ erc1155 = { chain = \"eip155:1\", contract = \"0x5fbdb2315678afecb367f032d93f642f64180aa3\", token_ids = [\"7\"] } }",
                "{ all = [] }",
                30,
                "empty",
            ),
            ("token_ids = [\"7\"]", "token_ids = []", 30, "0 token ids"),
            (
                "token_ids = [\"7\"]",
                "token_ids = [\"7\", \"7\"]",
                30,
                "stands twice",
            ),
            (", token_ids = [\"7\"]", "", 30, "needs `token_ids`"),
            (
                "at_least = \"1\" } }, {",
                "at_least = \"0\" } }, {",
                24,
                "threshold of zero",
            ),
            (
                "at_least = \"1\" } }, {",
                "at_least = \"1.5\" } }, {",
                24,
                "no amount",
            ),
            (
                "at_least = \"1\" } }, {",
                "at_least = 1 } }, {",
                24,
                "invalid type",
            ),
            ("count = 2", "count = 3", 24, "always or never"),
            ("count = 2", "count = 0", 24, "always or never"),
            (
                "native = { chain = \"eip155:1\", at_least = \"5\" }",
                "native = { chain = \"eip155:1\" }",
                24,
                "needs `at_least`",
            ),
            (
                "native = { chain = \"eip155:1\", at_least = \"5\" }",
                "natives = { chain = \"eip155:1\", at_least = \"5\" }",
                24,
                "unknown variant `natives`",
            ),
            (
                "native = { chain = \"eip155:1\"",
                "native = { chain = \"eip155:2\"",
                24,
                "not configured",
            ),
            (
                contract,
                "\"0x5fbdb2315678afecb367f032d93f642f64180aA3\"",
                24,
                "not understood",
            ),
            (
                "media/season-1/poster.jpg",
                "media/season-1/**",
                28,
                "overlaps",
            ),
            (
                "media/season-1/poster.jpg",
                "medium/season-1/**",
                28,
                "unknown bucket",
            ),
            ("media/season-1/poster.jpg", "media/**/x", 28, "no pattern"),
            (
                "resources = [\"media/season-1/poster.jpg\"]",
                "resources = []",
                28,
                "guards nothing",
            ),
            (
                "stale_while_revalidate = \"55m\"",
                "stale_while_revalidate = \"24h\"",
                23,
                "more than 24 hours together",
            ),
            (
                "max_age = \"5m\"\nstale",
                "max_age = \"5 parsecs\"\nstale",
                22,
                "no duration",
            ),
            (
                "session_ttl = \"1h\"",
                "session_ttl = \"-1h\"",
                4,
                "no duration",
            ),
            ("url_ttl = \"5m\"", "url_ttl = \"8d\"", 5, "out of range"),
            (
                "\"localhost:3000\", \"gate.example\"",
                "",
                3,
                "no domain is accepted",
            ),
            (
                "\"gate.example\"",
                "\"https://gate.example\"",
                3,
                "no domain",
            ),
            ("\"gate.example\"", "\"localhost:3000\"", 3, "stands twice"),
            (
                "\"{{ eth_rpc_a }}\"",
                "\"{eth rpc}\"",
                9,
                "a broken placeholder",
            ),
            ("\"{{ eth_rpc_a }}\"", "\"eth}\"", 9, "a broken placeholder"),
            (
                "id = \"eip155:1\"\nproviders",
                "id = \"1\"\nproviders",
                8,
                "not understood",
            ),
            (
                "confirmations = 12",
                "block = \"newest\"",
                10,
                "names no state",
            ),
            (
                "confirmations = 12",
                "confirmations = 10001",
                10,
                "out of range",
            ),
            (
                "confirmations = 12",
                "confirmations = 12\nblock = \"safe\"",
                10,
                "beside a `block` that is not the newest",
            ),
            (
                "id = \"eip155:1\"",
                "id = \"eip155:728126428\"",
                10,
                "at its newest block only",
            ),
            (
                "confirmations = 12",
                "confirmations = -1",
                10,
                "invalid value",
            ),
            (
                "confirmations = 12",
                "quorum = 3",
                10,
                "providers cannot agree",
            ),
            (
                "confirmations = 12",
                "quorum = 0",
                10,
                "providers cannot agree",
            ),
            (
                "stale_while_revalidate = \"55m\"",
                "quorum = 3",
                23,
                "providers cannot agree",
            ),
            (
                "confirmations = 12",
                "multicall3 = \"none\"",
                10,
                "has another name now",
            ),
            (
                "confirmations = 12",
                "reader = \"no\"",
                10,
                "no way to read",
            ),
            (
                "confirmations = 12",
                "reader = \"0x12\"",
                10,
                "not understood",
            ),
            (
                "confirmations = 12",
                "deposit_gas = 65536",
                10,
                "invalid value",
            ),
            (
                "confirmations = 12",
                "max_head_age = \"0s\"",
                10,
                "out of range",
            ),
            ("confirmations = 12", "max_lag = -1", 10, "invalid value"),
            ("confirmations = 12", "name = \"\"", 10, "no name"),
            (
                "confirmations = 12",
                "batch = { reads = 0 }",
                10,
                "out of range",
            ),
            (
                "endpoint = \"http://127.0.0.1:9000\"",
                "endpoint = \"127.0.0.1:9000/x\"",
                14,
                "not a base URL",
            ),
            (
                "addressing = \"path\"",
                "addressing = \"paths\"",
                16,
                "unknown variant `paths`",
            ),
            (
                "credentials = \"media\"",
                "credentials = \"Media Key\"",
                17,
                "prefix of variable names",
            ),
            (
                "native = { chain = \"eip155:1\", at_least = \"5\" } }, {",
                "native = { chain = \"eip155:1\", at_least = \"5\" } }, { native = { chain = \"eip155:1\", at_least = \"5\" } }, {",
                24,
                "stands twice",
            ),
            (
                "require = { erc1155 = { chain = \"eip155:1\", contract = \"0x5fbdb2315678afecb367f032d93f642f64180aa3\", token_ids = [\"7\"] } }",
                "require = { not = { erc1155 = { chain = \"eip155:1\", contract = \"0x5fbdb2315678afecb367f032d93f642f64180aa3\", token_ids = [\"7\"] } } }",
                30,
                "meets none of its conditions",
            ),
            (
                "[[gate]]\nid = \"season-1\"",
                "[[bucket]]\nid = \"open\"\nname = \"media\"\nendpoint = \"http://127.0.0.1:9000\"\nregion = \"r\"\naddressing = \"path\"\ncredentials = \"media\"\n[[gate]]\nid = \"season-1\"",
                19,
                "is the same as",
            ),
            ("\"gate.example\"", "\"gate.example:99999\"", 3, "no domain"),
            ("\"gate.example\"", "\"*\"", 3, "no domain"),
            (
                "url_ttl = \"5m\"",
                "url_ttl = \"5m\"\nsession_idle = \"61m\"",
                6,
                "out of range",
            ),
            (
                "[[chain]]",
                "[watch]\nrange = 0\n[[chain]]",
                8,
                "out of range",
            ),
            (
                "[[chain]]",
                "[watch]\nrange = 100001\n[[chain]]",
                8,
                "out of range",
            ),
            (
                "[[chain]]",
                "[cache]\nnamespace = \"\"\n[[chain]]",
                8,
                "no namespace",
            ),
            (
                "[[chain]]",
                "[cache]\nnamespace = \"Two/services\"\n[[chain]]",
                8,
                "no namespace",
            ),
            (
                "[[chain]]",
                "[cache]\nnamespace = \"a-name-of-exactly-33-characters-__\"\n[[chain]]",
                8,
                "no namespace",
            ),
            (
                "[[chain]]",
                "[limits]\nreads_per_decision = 0\n[[chain]]",
                8,
                "out of range",
            ),
            (
                "[[chain]]",
                "[limits]\nreads_per_decision = 4097\n[[chain]]",
                8,
                "out of range",
            ),
            (
                "[[chain]]",
                "[limits]\nper_session = \"0/1m\"\n[[chain]]",
                8,
                "no rate",
            ),
            (
                "[[chain]]",
                "[limits]\nreads_per_client = \"5\"\n[[chain]]",
                8,
                "no rate",
            ),
            (
                "[[chain]]",
                "[limits]\nper_client = \"0/1m\"\n[[chain]]",
                8,
                "no rate",
            ),
            (
                "[[chain]]",
                "[limits]\nper_address = \"5\"\n[[chain]]",
                8,
                "no rate",
            ),
            (
                "[[chain]]",
                "[limits]\nper_address = \"x/1m\"\n[[chain]]",
                8,
                "no rate",
            ),
            (
                "[[chain]]",
                "[limits]\nper_client = \"4294967296/1m\"\n[[chain]]",
                8,
                "no rate",
            ),
            (
                "[[chain]]",
                "[limits]\nper_client = \"5/2h\"\n[[chain]]",
                8,
                "out of range",
            ),
            (
                "[[chain]]",
                "[limits]\nper_client = \"5/500ms\"\n[[chain]]",
                8,
                "out of range",
            ),
            (
                "[[chain]]",
                "[limits]\nper_client = \"5/m\"\n[[chain]]",
                8,
                "no duration",
            ),
            (
                "[[chain]]",
                "[limits]\nproxy_hops = 1\n[[chain]]",
                8,
                "`proxy_hops` without `client_ip_header`",
            ),
            (
                "[[chain]]",
                "[limits]\nclient_ip_header = \"x-forwarded-for\"\nproxy_hops = 0\n[[chain]]",
                9,
                "0 proxies",
            ),
            (
                "[[chain]]",
                "[limits]\nclient_ip_header = \"x-forwarded-for\"\nproxy_hops = 17\n[[chain]]",
                9,
                "17 proxies",
            ),
            (
                "[[chain]]",
                "[limits]\nclient_ip_header = \"forwarded for\"\n[[chain]]",
                8,
                "no header's name",
            ),
            (
                "stale_while_revalidate = \"55m\"",
                "stale_while_revalidate = \"55m\"\ndelegation = { rights = \"\" }",
                24,
                "names no rights",
            ),
            (
                "stale_while_revalidate = \"55m\"",
                "stale_while_revalidate = \"55m\"\ndelegation = { rights = \"a-name-of-exactly-32-characters-\" }",
                24,
                "names no rights",
            ),
            (
                "stale_while_revalidate = \"55m\"",
                "stale_while_revalidate = \"55m\"\ndelegation = { rights = \"0x5g\" }",
                24,
                "names no rights",
            ),
            (
                "stale_while_revalidate = \"55m\"",
                "stale_while_revalidate = \"55m\"\ndelegation = { registry = \"delegate.xyz\" }",
                24,
                "not understood",
            ),
            ("[service]", "[service", 2, ""),
        ];
        for (from, to, line, words) in table {
            let text = VALID.replacen(from, to, 1);
            assert_ne!(text, VALID, "{from}");
            let error = Config::parse(&text).unwrap_err();
            assert!(
                error.problem.contains(words) && !error.mend.is_empty(),
                "{to}: {error}"
            );
            assert_eq!(error.position.line, line, "{to}: {error}");
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("tokengate.toml:{line}:")),
                "{error}"
            );
        }
    }

    #[test]
    fn sources_are_read_and_their_mistakes_named() {
        let config = |events: &str| {
            let events = format!("[[webhook]]\n{events}\n[[chain]]");
            Config::parse(&VALID.replacen("[[chain]]", &events, 1))
        };
        let key = "secret = \"{{ k }}\"";
        let two = format!(
            "id = \"b_1\"\nprovider = \"alchemy\"\n{key}\n[[webhook]]\nid = \"a-2\"\nprovider = \"quicknode\"\n{key}\nchain = \"eip155:1\""
        );
        let config_of_two = config(&two).unwrap();
        let sources: Vec<_> = config_of_two
            .sources()
            .map(|(name, source)| (name, source.kind, source.chain))
            .collect();
        assert_eq!(
            sources,
            [
                ("a-2", Kind::QuickNode, ChainId::new(1)),
                ("b_1", Kind::Alchemy, None)
            ]
        );
        assert!(config_of_two.source("a-2").is_some() && config_of_two.source("a").is_none());

        let long = "x".repeat(65);
        for (source, kind, rest, line, words) in [
            ("a b", "alchemy", key, 8, "no webhook id"),
            ("", "alchemy", key, 8, "no webhook id"),
            (&long, "alchemy", key, 8, "no webhook id"),
            ("a", "infura", key, 9, "no webhook provider"),
            ("a", "alchemy", "secret = \"k\"", 10, "in the file"),
            ("a", "alchemy", "secret = \"{{ k\"", 10, "placeholder"),
            ("a", "quicknode", key, 9, "do not say which chain"),
            (
                "a",
                "moralis",
                "secret = \"{{ k }}\"\nchain = \"1\"",
                11,
                "not understood",
            ),
            (
                "a",
                "moralis",
                "secret = \"{{ k }}\"\nchain = \"eip155:2\"",
                11,
                "not configured",
            ),
            ("a", "moralis", "", 7, "missing field `secret`"),
            (
                "a",
                "moralis",
                "secret = \"{{ k }}\"\n[[webhook]]\nid = \"a\"\nprovider = \"alchemy\"\nsecret = \"{{ k }}\"",
                12,
                "defined twice",
            ),
        ] {
            let text = format!("id = \"{source}\"\nprovider = \"{kind}\"\n{rest}");
            let error = config(&text).unwrap_err();
            assert!(
                error.problem.contains(words) && !error.mend.is_empty(),
                "{text}: {error}"
            );
            assert_eq!(error.position.line, line, "{text}: {error}");
        }
    }

    #[test]
    fn a_gate_that_reads_more_for_one_wallet_than_a_decision_may_is_an_error() {
        let parse = |most: usize| {
            let ids: Vec<_> = (0..20).map(|id| format!("\"{id}\"")).collect();
            let text = VALID
                .replacen("[\"7\"]", &format!("[{}]", ids.join(",")), 1)
                .replacen(
                    "[[chain]]",
                    &format!("[limits]\nreads_per_decision = {most}\n[[chain]]"),
                    1,
                );
            Config::parse(&text)
        };
        assert!(parse(20).is_ok());
        let error = parse(19).unwrap_err();
        assert!(error.problem.contains("reads 20 facts"), "{error}");
    }
}
