//! What a gate requires: its tree and its leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{Chain, ConfigError, Place, Span};
use crate::abi::view::{self, ACCOUNT, Function};
use crate::gate::{Count, Group, Requirement};
use crate::leaf::allowlist::Members;
use crate::leaf::call::{Comparison, Expected, Wording};
use crate::leaf::{Allowlist, Balance, Call, Holding, Leaf, Threshold, Window};
use crate::{Address, ChainId, U256, decimal, merkle, rfc3339};

const MAX_TOKEN_IDS: usize = 256;
const MAX_DEPTH: usize = 16;
const MAX_ADDRESSES: usize = 4096;
/// The most decimal places that fit: 10⁷⁷ is the greatest power of ten below 2²⁵⁶.
const MAX_DECIMALS: usize = 77;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RawRequirement {
    Any(Vec<Spanned<RawRequirement>>),
    All(Vec<Spanned<RawRequirement>>),
    Not(Box<Spanned<RawRequirement>>),
    AtLeast {
        count: Spanned<usize>,
        of: Vec<Spanned<RawRequirement>>,
    },
    Erc721(Box<RawLeaf>),
    Erc1155(Box<RawLeaf>),
    Erc20(Box<RawLeaf>),
    Native(Box<RawLeaf>),
    Erc4907(Box<RawLeaf>),
    Erc6551Owner(Box<RawLeaf>),
    Call(Box<RawLeaf>),
    Allowlist(Box<RawLeaf>),
    Time(Box<RawLeaf>),
}

/// Every key that a condition may have. One reader for all of them is tens of kilobytes less than one for each.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLeaf {
    chain: Option<Spanned<String>>,
    contract: Option<Spanned<String>>,
    account: Option<Spanned<String>>,
    at_least: Option<Spanned<String>>,
    decimals: Option<Spanned<usize>>,
    token_ids: Option<Spanned<Vec<Spanned<String>>>>,
    each: Option<Spanned<bool>>,
    function: Option<Spanned<String>>,
    args: Option<Spanned<Vec<Spanned<String>>>>,
    returns: Option<Spanned<RawReturns>>,
    compare: Option<Spanned<String>>,
    value: Option<Spanned<String>>,
    addresses: Option<Spanned<Vec<Spanned<String>>>>,
    merkle_root: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
    until: Option<Spanned<String>>,
}

impl RawLeaf {
    /// The keys that are there, and where.
    fn keys(&self) -> impl Iterator<Item = (&'static str, Span)> {
        let text = |key: &Option<Spanned<String>>| key.as_ref().map(Spanned::span);
        let texts = |key: &Option<Spanned<Vec<Spanned<String>>>>| key.as_ref().map(Spanned::span);
        [
            ("chain", text(&self.chain)),
            ("contract", text(&self.contract)),
            ("account", text(&self.account)),
            ("at_least", text(&self.at_least)),
            ("decimals", self.decimals.as_ref().map(Spanned::span)),
            ("token_ids", texts(&self.token_ids)),
            ("each", self.each.as_ref().map(Spanned::span)),
            ("function", text(&self.function)),
            ("args", texts(&self.args)),
            ("returns", self.returns.as_ref().map(Spanned::span)),
            ("compare", text(&self.compare)),
            ("value", text(&self.value)),
            ("addresses", texts(&self.addresses)),
            ("merkle_root", text(&self.merkle_root)),
            ("from", text(&self.from)),
            ("until", text(&self.until)),
        ]
        .into_iter()
        .filter_map(|(key, span)| Some((key, span?)))
    }
}

/// A name or an index.
struct RawReturns(String);

impl<'de> Deserialize<'de> for RawReturns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReturnsVisitor;

        impl Visitor<'_> for ReturnsVisitor {
            type Value = RawReturns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a returned value or its index")
            }

            fn visit_str<E>(self, name: &str) -> Result<RawReturns, E> {
                Ok(RawReturns(name.to_owned()))
            }

            fn visit_i64<E>(self, index: i64) -> Result<RawReturns, E> {
                Ok(RawReturns(index.to_string()))
            }
        }

        deserializer.deserialize_any(ReturnsVisitor)
    }
}

type Chains = BTreeMap<ChainId, Chain>;

/// Where in the tree a part stands.
#[derive(Clone, Copy)]
struct Site {
    depth: usize,
    /// Under an odd number of `not`.
    negated: bool,
}

impl Place<'_> {
    pub(super) fn requirement(
        &self,
        raw: Spanned<RawRequirement>,
        chains: &Chains,
    ) -> Result<Requirement, ConfigError> {
        let site = Site {
            depth: MAX_DEPTH,
            negated: false,
        };
        self.part(raw, chains, site)
    }

    fn part(
        &self,
        raw: Spanned<RawRequirement>,
        chains: &Chains,
        site: Site,
    ) -> Result<Requirement, ConfigError> {
        let span = raw.span();
        let Some(depth) = site.depth.checked_sub(1) else {
            return Err(self.error(
                span,
                format!("requirements are nested deeper than {MAX_DEPTH}"),
                "flatten the tree",
            ));
        };
        let site = Site { depth, ..site };
        let group = |parts: Vec<Spanned<RawRequirement>>| {
            let parts = parts
                .into_iter()
                .map(|part| self.part(part, chains, site))
                .collect::<Result<Vec<_>, _>>()?;
            let group = Group::new(parts).ok_or_else(|| self.error(span.clone(), "the requirement is empty", "name at least one condition: an empty one would hold for everybody or for nobody"))?;
            if group.repeats() {
                return Err(self.error(
                    span.clone(),
                    "a condition stands twice in one list",
                    "remove one: it would count twice",
                ));
            }
            Ok(group)
        };
        Ok(match raw.into_inner() {
            RawRequirement::Any(parts) => Requirement::Any(group(parts)?),
            RawRequirement::All(parts) => Requirement::All(group(parts)?),
            RawRequirement::Not(part) => {
                let negated = !site.negated;
                let part = self.part(*part, chains, Site { negated, ..site })?;
                Requirement::Not(Box::new(part))
            }
            RawRequirement::AtLeast { count, of } => {
                let group = group(of)?;
                let needed = Count::new(*count.get_ref(), &group).ok_or_else(|| {
                    self.error(
                        count.span(),
                        format!(
                            "{} of {} would always or never hold",
                            count.get_ref(),
                            group.len()
                        ),
                        format!("write a count from 1 to {}", group.len()),
                    )
                })?;
                Requirement::AtLeast(needed, group)
            }
            RawRequirement::Erc721(raw) => self.leaf(Kind::Erc721, *raw, span, chains, site)?,
            RawRequirement::Erc1155(raw) => self.leaf(Kind::Erc1155, *raw, span, chains, site)?,
            RawRequirement::Erc20(raw) => self.leaf(Kind::Erc20, *raw, span, chains, site)?,
            RawRequirement::Native(raw) => self.leaf(Kind::Native, *raw, span, chains, site)?,
            RawRequirement::Erc4907(raw) => self.leaf(Kind::Erc4907, *raw, span, chains, site)?,
            RawRequirement::Erc6551Owner(raw) => {
                self.leaf(Kind::Erc6551Owner, *raw, span, chains, site)?
            }
            RawRequirement::Call(raw) => self.leaf(Kind::Call, *raw, span, chains, site)?,
            RawRequirement::Allowlist(raw) => {
                self.leaf(Kind::Allowlist, *raw, span, chains, site)?
            }
            RawRequirement::Time(raw) => self.leaf(Kind::Time, *raw, span, chains, site)?,
        })
    }

    fn leaf(
        &self,
        kind: Kind,
        raw: RawLeaf,
        span: Span,
        chains: &Chains,
        site: Site,
    ) -> Result<Requirement, ConfigError> {
        for (key, span) in raw.keys() {
            if !kind.keys().contains(&key) {
                return Err(self.error(
                    span,
                    format!("{} has no `{key}`", kind.as_str()),
                    format!("remove `{key}`"),
                ));
            }
        }
        let leaf = Written {
            kind,
            raw,
            span,
            chains,
        };
        let leaf = match kind {
            Kind::Erc1155 | Kind::Erc721 | Kind::Erc20 | Kind::Native | Kind::Erc4907 => {
                return self.holdings(&leaf);
            }
            Kind::Erc6551Owner => Leaf::Balance(Balance {
                chain: self.chain_of(&leaf)?,
                at_least: Threshold::ONE,
                holding: Holding::Account(self.read(self.needed(
                    &leaf,
                    "account",
                    &leaf.raw.account,
                )?)?),
            }),
            Kind::Call => Leaf::Call(Box::new(self.call(&leaf)?)),
            Kind::Allowlist => Leaf::Allowlist(self.allowlist(&leaf, site.negated)?),
            Kind::Time => Leaf::Time(self.window(&leaf)?),
        };
        Ok(Requirement::Leaf(leaf))
    }

    /// What must be there.
    fn needed<'a, T>(
        &self,
        leaf: &Written<'_>,
        key: &str,
        value: &'a Option<T>,
    ) -> Result<&'a T, ConfigError> {
        value.as_ref().ok_or_else(|| {
            self.error(
                leaf.span.clone(),
                format!("{} needs `{key}`", leaf.kind.as_str()),
                match key {
                    "chain" => "write the id of its [[chain]]",
                    "token_ids" => "name the tokens that count, as decimal strings",
                    "function" => "write the function's signature",
                    "compare" => "write one of == != < <= > >=",
                    "value" => "write what the returned value is compared with",
                    _ => "write its address",
                },
            )
        })
    }

    fn chain_of(&self, leaf: &Written<'_>) -> Result<ChainId, ConfigError> {
        self.known_chain(self.needed(leaf, "chain", &leaf.raw.chain)?, leaf.chains)
    }

    fn known_chain(&self, raw: &Spanned<String>, chains: &Chains) -> Result<ChainId, ConfigError> {
        let chain = self.read::<ChainId>(raw)?;
        if !chains.contains_key(&chain) {
            return Err(self.error(
                raw.span(),
                format!("chain {chain} is not configured"),
                format!("add a [[chain]] with id = \"{chain}\""),
            ));
        }
        Ok(chain)
    }

    /// One balance, or with `each` all of one for each token id.
    fn holdings(&self, leaf: &Written<'_>) -> Result<Requirement, ConfigError> {
        let (kind, raw) = (leaf.kind, &leaf.raw);
        let chain = self.chain_of(leaf)?;
        let at_least = match (&raw.at_least, &raw.decimals, kind) {
            (Some(amount), Some(decimals), _) => self.decimal_amount(amount, decimals)?,
            (Some(amount), None, _) => self.amount(amount)?,
            (None, _, Kind::Erc20 | Kind::Native) => {
                return Err(self.error(
                    leaf.span.clone(),
                    format!("{} needs `at_least`", kind.as_str()),
                    "write the amount as a decimal string: in smallest units, or with `decimals` in whole ones",
                ));
            }
            (None, _, _) => U256::ONE,
        };
        let at_least_span = || {
            let amount = raw.at_least.as_ref();
            amount.map_or_else(|| leaf.span.clone(), Spanned::span)
        };
        let threshold = Threshold::new(at_least).ok_or_else(|| {
            self.error(
                at_least_span(),
                "a threshold of zero holds for everybody",
                "write at least \"1\"",
            )
        })?;
        let decimals = raw.decimals.as_ref().map(|places| *places.get_ref());
        let threshold = threshold.written_with(decimals);
        let balance = |holding| {
            Requirement::Leaf(Leaf::Balance(Balance {
                chain,
                at_least: threshold,
                holding,
            }))
        };
        if let Kind::Native = kind {
            return Ok(balance(Holding::Native));
        }
        let contract = self.read::<Address>(self.needed(leaf, "contract", &raw.contract)?)?;
        if let Kind::Erc20 = kind {
            return Ok(balance(Holding::Erc20 { contract }));
        }
        let token_ids = match (&raw.token_ids, kind) {
            (None, Kind::Erc721) => Vec::new(),
            (ids, _) => self.token_ids(self.needed(leaf, "token_ids", ids)?)?,
        };
        if let Kind::Erc1155 = kind {
            let each = raw.each.as_ref().is_some_and(|each| *each.get_ref());
            let of = |ids: &[U256]| {
                balance(Holding::Erc1155 {
                    contract,
                    token_ids: ids.to_vec(),
                })
            };
            let parts = if each && token_ids.len() > 1 {
                Group::new(token_ids.chunks(1).map(of).collect())
            } else {
                None
            };
            return Ok(parts.map_or_else(|| of(&token_ids), Requirement::All));
        }
        if !token_ids.is_empty() && at_least > U256::from(token_ids.len()) {
            return Err(self.error(
                at_least_span(),
                format!("nobody can have {at_least} of {} tokens", token_ids.len()),
                "lower `at_least` or name more tokens",
            ));
        }
        Ok(balance(if let Kind::Erc4907 = kind {
            Holding::Erc4907 {
                contract,
                token_ids,
            }
        } else {
            Holding::Erc721 {
                contract,
                token_ids,
            }
        }))
    }

    fn token_ids(&self, raw: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<U256>, ConfigError> {
        let bounds = raw
            .get_ref()
            .iter()
            .map(|text| Ok((text.span(), self.range(text)?)))
            .collect::<Result<Vec<_>, ConfigError>>()?;
        let more = |sum: U256, (_, (first, last)): &(Span, (U256, U256))| {
            sum.saturating_add(*last - *first).saturating_add(U256::ONE)
        };
        let count = bounds.iter().fold(U256::ZERO, more);
        if count.is_zero() || count > U256::from(MAX_TOKEN_IDS) {
            return Err(self.error(
                raw.span(),
                format!("{count} token ids"),
                format!(
                    "name 1 to {MAX_TOKEN_IDS}, or leave `token_ids` out where every token counts"
                ),
            ));
        }
        let mut read = Vec::new();
        for (span, (first, last)) in bounds {
            let following = |id: &U256| (*id < last).then(|| *id + U256::ONE);
            for id in std::iter::successors(Some(first), following) {
                if read.contains(&id) {
                    return Err(self.error(
                        span,
                        format!("token id {id} stands twice"),
                        "remove one: it would count twice",
                    ));
                }
                read.push(id);
            }
        }
        Ok(read)
    }

    /// The first and the last of a range; of a single id, both are it.
    fn range(&self, raw: &Spanned<String>) -> Result<(U256, U256), ConfigError> {
        let text = raw.get_ref();
        let Some((first, last)) = text.split_once('-') else {
            let id = self.amount(raw)?;
            return Ok((id, id));
        };
        decimal::parse(first)
            .zip(decimal::parse(last))
            .filter(|(first, last)| first <= last)
            .ok_or_else(|| {
                self.error(
                    raw.span(),
                    format!("{text:?} is no range"),
                    "write the first and the last token id, for example \"100-120\"",
                )
            })
    }

    fn amount(&self, raw: &Spanned<String>) -> Result<U256, ConfigError> {
        let digits = raw.get_ref();
        decimal::parse(digits).ok_or_else(|| {
            self.error(
                raw.span(),
                format!("{digits:?} is no amount"),
                "write a decimal string of at most 256 bits",
            )
        })
    }

    fn decimal_amount(
        &self,
        raw: &Spanned<String>,
        decimals: &Spanned<usize>,
    ) -> Result<U256, ConfigError> {
        let places = *decimals.get_ref();
        if places > MAX_DECIMALS {
            return Err(self.error(
                decimals.span(),
                format!("{places} decimals"),
                format!("write what the token's `decimals()` says, from 0 to {MAX_DECIMALS}"),
            ));
        }
        let text = raw.get_ref();
        decimal::parse_scaled(text, places).ok_or_else(|| {
            self.error(
                raw.span(),
                format!("{text:?} is no amount with {places} decimals"),
                format!("write digits with at most {places} behind a point, for example \"1.5\", and at most 256 bits in smallest units"),
            )
        })
    }

    fn call(&self, leaf: &Written<'_>) -> Result<Call, ConfigError> {
        let raw = &leaf.raw;
        let chain = self.chain_of(leaf)?;
        let contract = self.read::<Address>(self.needed(leaf, "contract", &raw.contract)?)?;
        let written = self.needed(leaf, "function", &raw.function)?;
        let signature = written.get_ref();
        let function = Function::parse(signature).map_err(|error| {
            self.error(
                written.span(),
                format!("{signature:?} is no view function"),
                error.to_string(),
            )
        })?;
        let args_span = raw
            .args
            .as_ref()
            .map_or_else(|| written.span(), Spanned::span);
        let args = raw.args.as_ref().map_or(&[][..], |args| args.get_ref());
        let texts: Vec<&str> = args.iter().map(|arg| arg.get_ref().as_str()).collect();
        let calldata = function.calldata(&texts).map_err(|(index, error)| {
            let arg = index.and_then(|index| args.get(index));
            let (span, problem) = arg.map_or_else(
                || (args_span, format!("{} arguments do not fit", args.len())),
                |arg| (arg.span(), format!("{:?} does not fit", arg.get_ref())),
            );
            self.error(
                span,
                format!("{problem} {}", function.name()),
                error.to_string(),
            )
        })?;
        let (which, which_span) = match &raw.returns {
            Some(returns) => (returns.get_ref().0.as_str(), returns.span()),
            None => ("0", written.span()),
        };
        let element = function.element(which).map_err(|error| {
            self.error(
                which_span,
                format!("{} returns no {which:?} to compare", function.name()),
                error.to_string(),
            )
        })?;
        let kind = element.kind();
        let sign = self.needed(leaf, "compare", &raw.compare)?;
        let compare = Comparison::parse(sign.get_ref()).ok_or_else(|| {
            self.error(
                sign.span(),
                format!("{:?} is no comparison", sign.get_ref()),
                "write one of == != < <= > >=",
            )
        })?;
        if compare.orders() && !kind.is_ordered() {
            return Err(self.error(
                sign.span(),
                format!("{kind} has no more and less"),
                "write == or !=",
            ));
        }
        let wanted = self.needed(leaf, "value", &raw.value)?;
        let value = wanted.get_ref();
        let expected = if kind == view::Kind::Address && value == ACCOUNT {
            Expected::Account
        } else {
            Expected::Value(kind.value(value).map_err(|error| {
                self.error(
                    wanted.span(),
                    format!("{value:?} is no {kind}"),
                    error.to_string(),
                )
            })?)
        };
        Ok(Call {
            chain,
            contract,
            calldata,
            element,
            compare,
            expected,
            wording: Wording {
                name: function.name().to_owned(),
                args: args.iter().map(|arg| arg.get_ref().clone()).collect(),
                function: signature.clone(),
                returns: which.to_owned(),
                value: value.clone(),
            },
        })
    }

    fn allowlist(&self, leaf: &Written<'_>, negated: bool) -> Result<Allowlist, ConfigError> {
        let chain = leaf.raw.chain.as_ref();
        let chain = chain
            .map(|chain| self.known_chain(chain, leaf.chains))
            .transpose()?;
        let members = match (&leaf.raw.addresses, &leaf.raw.merkle_root) {
            (Some(addresses), None) => Members::Addresses(self.addresses(addresses)?),
            (None, Some(root)) if negated => {
                return Err(self.error(
                    root.span(),
                    "a list with proofs under `not`",
                    "write its `addresses`: whoever is on it would leave out the proof",
                ));
            }
            (None, Some(root)) => {
                Members::Merkle(merkle::node(root.get_ref()).ok_or_else(|| {
                    self.error(
                        root.span(),
                        format!("{:?} is no Merkle root", root.get_ref()),
                        "write 0x and 64 hexadecimal digits",
                    )
                })?)
            }
            (None, None) | (Some(_), Some(_)) => {
                return Err(self.error(
                    leaf.span.clone(),
                    "an allowlist needs either `addresses` or `merkle_root`",
                    "write one of them",
                ));
            }
        };
        Ok(Allowlist { members, chain })
    }

    fn addresses(
        &self,
        raw: &Spanned<Vec<Spanned<String>>>,
    ) -> Result<BTreeSet<Address>, ConfigError> {
        let count = raw.get_ref().len();
        if count == 0 || count > MAX_ADDRESSES {
            return Err(self.error(
                raw.span(),
                format!("{count} addresses"),
                format!("name 1 to {MAX_ADDRESSES}, or write the `merkle_root` of a longer list"),
            ));
        }
        let mut addresses = BTreeSet::new();
        for text in raw.get_ref() {
            let address = self.read::<Address>(text)?;
            if !addresses.insert(address) {
                return Err(self.error(
                    text.span(),
                    format!("address {address} stands twice"),
                    "remove one",
                ));
            }
        }
        Ok(addresses)
    }

    fn window(&self, leaf: &Written<'_>) -> Result<Window, ConfigError> {
        let raw = &leaf.raw;
        let time = |raw: &Spanned<String>| {
            let text = raw.get_ref();
            rfc3339::parse(text)
                .filter(|_| text.ends_with('Z'))
                .ok_or_else(|| {
                    self.error(
                        raw.span(),
                        format!("{text:?} is no time in UTC"),
                        "write for example \"2026-12-01T00:00:00Z\"",
                    )
                })
        };
        let from = raw.from.as_ref().map(time).transpose()?;
        let until = raw.until.as_ref().map(time).transpose()?;
        Window::new(from, until).ok_or_else(|| {
            let (span, problem) = match raw.until.as_ref().filter(|_| from.is_some()) {
                Some(until) => (until.span(), "the time ends before it begins"),
                None => (leaf.span.clone(), "a time without bounds"),
            };
            self.error(
                span,
                problem,
                "write `from`, `until`, or both with `from` before `until`",
            )
        })
    }
}

/// A condition as it is written.
struct Written<'a> {
    kind: Kind,
    raw: RawLeaf,
    span: Span,
    chains: &'a Chains,
}

#[derive(Clone, Copy)]
enum Kind {
    Erc721,
    Erc1155,
    Erc20,
    Native,
    Erc4907,
    Erc6551Owner,
    Call,
    Allowlist,
    Time,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Erc721 => "erc721",
            Self::Erc1155 => "erc1155",
            Self::Erc20 => "erc20",
            Self::Native => "native",
            Self::Erc4907 => "erc4907",
            Self::Erc6551Owner => "erc6551_owner",
            Self::Call => "call",
            Self::Allowlist => "allowlist",
            Self::Time => "time",
        }
    }

    /// What may stand in it.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Erc721 | Self::Erc4907 => &["chain", "contract", "token_ids", "at_least"],
            Self::Erc1155 => &["chain", "contract", "token_ids", "at_least", "each"],
            Self::Erc20 => &["chain", "contract", "at_least", "decimals"],
            Self::Native => &["chain", "at_least", "decimals"],
            Self::Erc6551Owner => &["chain", "account"],
            Self::Call => &[
                "chain", "contract", "function", "args", "returns", "compare", "value",
            ],
            Self::Allowlist => &["addresses", "merkle_root", "chain"],
            Self::Time => &["from", "until"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const BEFORE: &str = r#"
[service]
domains = ["gate.example"]
session_ttl = "1h"
url_ttl = "5m"
[[chain]]
id = "eip155:1"
providers = ["{{ rpc_url }}"]
[[bucket]]
id = "media"
endpoint = "http://127.0.0.1:9000"
region = "us-east-1"
addressing = "path"
credentials = "media"
[[gate]]
id = "g"
resources = ["media/**"]
max_age = "5m"
require = "#;

    const AT: &str =
        r#"chain = "eip155:1", contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3""#;

    fn read(require: &str) -> Result<Requirement, ConfigError> {
        let text = format!("{BEFORE}{}\n", require.replace("AT", AT));
        let config = Config::parse(&text)?;
        Ok(config.gate("g").unwrap().require.clone())
    }

    fn call(members: &str) -> String {
        format!("{{ call = {{ AT, {members} }} }}")
    }

    #[test]
    fn every_mistake_is_named_with_its_place_and_its_mend() {
        let stake = r#"function = "function stakeOf(address who) view returns (uint256 amount, uint64 until, bool open, address by, uint8[] list)""#;
        let with = |members: &str| call(&format!("{stake}, {members}"));
        let compared = |members: &str| with(&format!(r#"args = ["$address"], {members}"#));
        let addresses = |count: u64| {
            let list: Vec<_> = (1..=count).map(|n| format!("\"0x{n:040x}\"")).collect();
            list.join(", ")
        };
        let long = format!("\"function {}() view returns (uint256)\"", "f".repeat(1024));
        let much = format!("\"[{}]\"", ["1"; 300].join(","));
        // What is required, what the error points at, words of the error.
        let table: Vec<(String, &str, &str)> = vec![
            // Token ids and amounts.
            (r#"{ erc721 = { AT, token_ids = ["1-257"] } }"#.into(), r#"["1-257""#, "257 token ids"),
            (r#"{ erc721 = { AT, token_ids = ["1-200", "301-357"] } }"#.into(), r#"["1-200""#, "257 token ids"),
            (r#"{ erc721 = { AT, token_ids = ["0-115792089237316195423570985008687907853269984665640564039457584007913129639935"] } }"#.into(), "[\"0-", "token ids"),
            (r#"{ erc721 = { AT, token_ids = ["1-5", "3"] } }"#.into(), r#""3""#, "token id 3 stands twice"),
            (r#"{ erc721 = { AT, token_ids = ["5-1"] } }"#.into(), r#""5-1""#, "no range"),
            (r#"{ erc721 = { AT, token_ids = ["1-"] } }"#.into(), r#""1-""#, "no range"),
            (r#"{ erc721 = { AT, token_ids = ["-1"] } }"#.into(), r#""-1""#, "no range"),
            (r#"{ erc721 = { AT, token_ids = ["1-2-3"] } }"#.into(), r#""1-2-3""#, "no range"),
            (r#"{ erc721 = { AT, token_ids = ["0x1-0x2"] } }"#.into(), r#""0x1-0x2""#, "no range"),
            (r#"{ erc721 = { AT, token_ids = ["one"] } }"#.into(), r#""one""#, "no amount"),
            (r#"{ erc721 = { AT, token_ids = ["1-2"], at_least = "3" } }"#.into(), r#""3""#, "nobody can have 3 of 2"),
            (r#"{ erc721 = { AT, each = true } }"#.into(), "true", "erc721 has no `each`"),
            (r#"{ erc721 = { AT, decimals = 1, at_least = "1" } }"#.into(), "1, at_least", "erc721 has no `decimals`"),
            (r#"{ erc721 = { chain = "eip155:1" } }"#.into(), "{ erc721", "erc721 needs `contract`"),
            (r#"{ erc1155 = { AT, token_ids = ["1"], decimals = 2 } }"#.into(), "2 }", "erc1155 has no `decimals`"),
            (r#"{ erc1155 = { AT, each = true } }"#.into(), "{ erc1155", "erc1155 needs `token_ids`"),
            (r#"{ erc1155 = { AT, token_ids = [], each = true } }"#.into(), "[]", "0 token ids"),
            (r#"{ erc20 = { AT, at_least = "1", each = true } }"#.into(), "true", "erc20 has no `each`"),
            (r#"{ erc20 = { AT, at_least = "1", token_ids = ["1"] } }"#.into(), "[", "erc20 has no `token_ids`"),
            (r#"{ erc20 = { AT, at_least = "1.5" } }"#.into(), r#""1.5""#, "no amount"),
            (r#"{ erc20 = { AT, at_least = "1.555", decimals = 2 } }"#.into(), r#""1.555""#, "no amount with 2 decimals"),
            (r#"{ erc20 = { AT, at_least = "1e5", decimals = 2 } }"#.into(), r#""1e5""#, "no amount with 2 decimals"),
            (r#"{ erc20 = { AT, at_least = "2", decimals = 77 } }"#.into(), r#""2""#, "no amount with 77 decimals"),
            (r#"{ erc20 = { AT, at_least = "1", decimals = 78 } }"#.into(), "78 }", "78 decimals"),
            (r#"{ erc20 = { AT, at_least = "0.0", decimals = 2 } }"#.into(), r#""0.0""#, "threshold of zero"),
            (r#"{ erc20 = { AT, decimals = 2 } }"#.into(), "{ erc20", "erc20 needs `at_least`"),
            (r#"{ native = { AT, at_least = "1" } }"#.into(), r#""0x5fb"#, "native has no `contract`"),
            (r#"{ native = { chain = "eip155:1", at_least = "0.0", decimals = 18 } }"#.into(), r#""0.0""#, "threshold of zero"),
            // Used tokens and accounts.
            (r#"{ erc4907 = { AT } }"#.into(), "{ erc4907", "erc4907 needs `token_ids`"),
            (r#"{ erc4907 = { AT, token_ids = ["1"], at_least = "2" } }"#.into(), r#""2""#, "nobody can have 2 of 1"),
            (r#"{ erc4907 = { chain = "eip155:1", token_ids = ["1"] } }"#.into(), "{ erc4907", "erc4907 needs `contract`"),
            (r#"{ erc6551_owner = { chain = "eip155:1" } }"#.into(), "{ erc6551_owner", "erc6551_owner needs `account`"),
            (r#"{ erc6551_owner = { chain = "eip155:2", account = "0x5fbdb2315678afecb367f032d93f642f64180aa3" } }"#.into(), r#""eip155:2""#, "not configured"),
            (r#"{ erc6551_owner = { chain = "eip155:1", account = "0x5fb" } }"#.into(), r#""0x5fb""#, "not understood"),
            // Calls.
            (call(r#"function = "stake of me", compare = ">", value = "1""#), r#""stake of me""#, "no view function"),
            (call(r#"function = "function f(uint7) view returns (bool)", compare = "==", value = "true""#), r#""function f(uint7)"#, "no view function"),
            (call(r#"function = "function f(address) returns (bool)", compare = "==", value = "true""#), r#""function f(address)"#, "no view function"),
            (call(r#"function = "function f(address) payable returns (bool)", compare = "==", value = "true""#), r#""function f(address)"#, "no view function"),
            (call(&format!(r#"function = {long}, compare = ">", value = "1""#)), r#""function fff"#, "no view function"),
            (call(r#"function = "function f() view", compare = ">", value = "1""#), r#""function f()"#, "returns no \"0\""),
            (call(r#"function = "function f(uint256[300] n) view returns (uint256)", args = ["MUCH"], compare = ">", value = "1""#).replace("\"MUCH\"", &much), "[\"[1,1", "1 arguments do not fit f"),
            (call(r#"function = "function f() view returns (uint256[1025] a, uint256 b)", returns = "b", compare = ">", value = "1""#), r#""b""#, "returns no \"b\""),
            (with(r#"compare = ">", value = "1""#), r#""function stakeOf"#, "0 arguments do not fit stakeOf"),
            (with(r#"args = ["$address", "1"], compare = ">", value = "1""#), r#"["$address", "1"]"#, "2 arguments do not fit stakeOf"),
            (with(r#"args = ["me"], compare = ">", value = "1""#), r#""me""#, "does not fit stakeOf"),
            (with(r#"args = ["0x5fbdb2315678afecb367f032d93f642f64180aA3"], compare = ">", value = "1""#), r#""0x5fbdb2315678afecb367f032d93f642f64180aA3"], compare"#, "does not fit stakeOf"),
            (call(r#"function = "function f(uint256 n) view returns (bool)", args = ["$address"], compare = "==", value = "true""#), r#""$address""#, "does not fit f"),
            (call(r#"function = "function f(bytes b) view returns (bool)", args = ["$address"], compare = "==", value = "true""#), r#""$address""#, "does not fit f"),
            (call(r#"function = "function f(address[] a) view returns (bool)", args = ["[$address, me]"], compare = "==", value = "true""#), r#""[$address, me]""#, "does not fit f"),
            (call(r#"function = "function f(uint8 n) view returns (bool)", args = ["256"], compare = "==", value = "true""#), r#""256""#, "does not fit f"),
            (compared(r#"returns = "sum", compare = ">", value = "1""#), r#""sum""#, "returns no \"sum\""),
            (compared(r#"returns = 5, compare = ">", value = "1""#), "5, compare", "returns no \"5\""),
            (compared(r#"returns = -1, compare = ">", value = "1""#), "-1, compare", "returns no \"-1\""),
            (compared(r#"returns = "+1", compare = ">", value = "1""#), r#""+1""#, "returns no \"+1\""),
            (compared(r#"returns = "list", compare = "==", value = "[]""#), r#""list""#, "returns no \"list\""),
            (compared(r#"compare = "=>", value = "1""#), r#""=>""#, "no comparison"),
            (compared(r#"returns = "open", compare = ">", value = "true""#), r#"">""#, "bool has no more and less"),
            (compared(r#"returns = "by", compare = "<=", value = "$address""#), r#""<=""#, "address has no more and less"),
            (compared(r#"returns = "until", compare = ">", value = "18446744073709551616""#), r#""18446744073709551616""#, "is no uint64"),
            (compared(r#"compare = ">", value = "-1""#), r#""-1""#, "is no uint256"),
            (compared(r#"compare = ">", value = "$address""#), r#""$address" } }"#, "is no uint256"),
            (compared(r#"returns = "open", compare = "==", value = "yes""#), r#""yes""#, "is no bool"),
            (compared(r#"returns = "by", compare = "==", value = "0x5fbdb2315678afecb367f032d93f642f64180aA3""#), r#""0x5fbdb2315678afecb367f032d93f642f64180aA3""#, "is no address"),
            (compared(r#"compare = ">""#), "{ call", "call needs `value`"),
            (compared(r#"compare = ">", value = "1", block = 5"#), "block", "unknown field `block`"),
            // Lists.
            (r#"{ allowlist = { contract = "0x5fb" } }"#.into(), r#""0x5fb""#, "allowlist has no `contract`"),
            (r#"{ time = { from = "2026-12-01T00:00:00Z", chain = "eip155:1" } }"#.into(), r#""eip155:1""#, "time has no `chain`"),
            (r#"{ erc721 = { contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3" } }"#.into(), "{ erc721", "erc721 needs `chain`"),
            (call(r#"function = "function f() view returns (bool)", value = "true""#), "{ call", "call needs `compare`"),
            (call(r#"compare = "==", value = "true""#), "{ call", "call needs `function`"),
            (r#"{ allowlist = {} }"#.into(), "{ allowlist", "either `addresses` or `merkle_root`"),
            (r#"{ allowlist = { addresses = [] } }"#.into(), "[]", "0 addresses"),
            (format!("{{ allowlist = {{ addresses = [{}] }} }}", addresses(4097)), "[\"0x", "4097 addresses"),
            (r#"{ allowlist = { addresses = ["0x5fb"] } }"#.into(), r#""0x5fb""#, "not understood"),
            (r#"{ allowlist = { addresses = ["0x5fbdb2315678afecb367f032d93f642f64180aa3", "0x5FBDB2315678AFECB367F032D93F642F64180AA3"] } }"#.into(), r#""0x5FBDB"#, "stands twice"),
            (r#"{ allowlist = { merkle_root = "0xabcd" } }"#.into(), r#""0xabcd""#, "no Merkle root"),
            (format!(r#"{{ allowlist = {{ addresses = [{}], merkle_root = "0x{}" }} }}"#, addresses(1), "ab".repeat(32)), "{ allowlist", "either `addresses` or `merkle_root`"),
            (format!(r#"{{ allowlist = {{ addresses = [{}], chain = "eip155:2" }} }}"#, addresses(1)), r#""eip155:2""#, "not configured"),
            (format!(r#"{{ all = [ {{ erc721 = {{ AT }} }}, {{ not = {{ any = [ {{ allowlist = {{ merkle_root = "0x{}" }} }} ] }} }} ] }}"#, "ab".repeat(32)), r#""0xabab"#, "a list with proofs under `not`"),
            // Times.
            (r#"{ time = {} }"#.into(), "{ time", "a time without bounds"),
            (r#"{ time = { from = "2026-12-01" } }"#.into(), r#""2026-12-01""#, "no time in UTC"),
            (r#"{ time = { from = "2026-12-01T00:00:00+01:00" } }"#.into(), r#""2026-12-01T"#, "no time in UTC"),
            (r#"{ time = { from = "2026-12-01T00:00:00Z", until = "2026-12-01T00:00:00Z" } }"#.into(), r#""2026-12-01T00:00:00Z" } }"#, "ends before it begins"),
            (r#"{ time = { until = "2026-12-01T00:00:00Z", form = "" } }"#.into(), "form", "unknown field `form`"),
        ];
        for (require, place, words) in table {
            let error = read(&require).unwrap_err();
            assert!(
                error.problem.contains(words) && !error.mend.is_empty(),
                "{require}: {error}"
            );
            let line = format!("require = {}", require.replace("AT", AT));
            let column = line
                .find(place)
                .map(|at| line.get(..at).unwrap().chars().count() + 1);
            assert_eq!(error.position.line, 19, "{require}: {error}");
            assert_eq!(Some(error.position.column), column, "{require}: {error}");
        }
    }

    #[test]
    fn what_a_new_wallet_meets_by_itself_is_no_gate() {
        let call = |returns: &str, args: &str, compare: &str, value: &str| {
            format!(
                r#"{{ call = {{ AT, function = "function f(address who) view returns ({returns} it)", args = ["{args}"], compare = "{compare}", value = "{value}" }} }}"#
            )
        };
        let about =
            |returns: &str, compare: &str, value: &str| call(returns, "$address", compare, value);
        let contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
        let global = || call("bool", contract, "==", "true");
        let time = || r#"{ time = { from = "2026-12-01T00:00:00Z" } }"#.to_owned();
        let token = || "{ erc721 = { AT } }".to_owned();
        let listed = || format!(r#"{{ allowlist = {{ addresses = ["{contract}"] }} }}"#);
        let merkle = || {
            format!(
                r#"{{ allowlist = {{ merkle_root = "0x{}" }} }}"#,
                "ab".repeat(32)
            )
        };
        let rented = || r#"{ erc4907 = { AT, token_ids = ["1"] } }"#.to_owned();
        let account =
            || format!(r#"{{ erc6551_owner = {{ chain = "eip155:1", account = "{contract}" }} }}"#);
        let not = |part: String| format!("{{ not = {part} }}");
        let of = |how: &str, parts: &[String]| format!("{{ {how} = [ {} ] }}", parts.join(", "));
        let two = |parts: &[String]| {
            format!(
                "{{ at_least = {{ count = 2, of = [ {} ] }} }}",
                parts.join(", ")
            )
        };
        let table = [
            (token(), false),
            (listed(), false),
            (merkle(), false),
            (rented(), false),
            (account(), false),
            (time(), true),
            (global(), true),
            (not(token()), true),
            (not(listed()), true),
            (not(rented()), true),
            (not(account()), true),
            (not(time()), true),
            (not(global()), true),
            (not(not(token())), false),
            (of("all", &[token(), time(), not(listed())]), false),
            (of("all", &[token(), global(), not(time())]), false),
            (of("all", &[listed(), time()]), false),
            (of("any", &[token(), time()]), true),
            (of("any", &[token(), not(global())]), true),
            (of("all", &[time(), not(time())]), true),
            (not(of("all", &[token(), time()])), true),
            (not(of("any", &[not(token()), time()])), false),
            (two(&[token(), listed(), time()]), false),
            (two(&[token(), time(), global()]), true),
            (not(two(&[not(token()), not(listed()), time()])), false),
            // A new wallet is answered zero, false, nobody, nothing.
            (about("uint256", ">=", "1"), false),
            (about("uint256", ">", "0"), false),
            (about("uint256", ">=", "0"), true),
            (about("uint256", "<", "5"), true),
            (about("uint256", "!=", "5"), true),
            (about("uint256", "==", "0"), true),
            (about("int256", ">", "-1"), true),
            (about("int256", "<=", "-1"), false),
            (about("bool", "==", "true"), false),
            (about("bool", "!=", "true"), true),
            (about("bool", "==", "false"), true),
            (about("address", "==", contract), false),
            (about("address", "!=", contract), true),
            (about("address", "==", "$address"), false),
            (about("address", "!=", "$address"), true),
            (
                about(
                    "address",
                    "!=",
                    "0x0000000000000000000000000000000000000000",
                ),
                false,
            ),
            (about("string", "==", "gold"), false),
            (about("string", "!=", "gold"), true),
            (about("bytes", "==", "0x"), true),
            (about("bytes4", "!=", "0x00000000"), false),
            (not(about("bool", "==", "true")), true),
            (not(about("bool", "==", "false")), false),
            (call("address", contract, "==", "$address"), false),
            (call("address", contract, "!=", "$address"), true),
        ];
        for (require, open) in table {
            match read(&require) {
                Ok(_) => assert!(!open, "{require}"),
                Err(error) => assert!(
                    open && error.problem.contains("meets none of its conditions"),
                    "{require}: {error}"
                ),
            }
        }
    }

    #[test]
    fn requirements_are_described_as_they_are_written() {
        let same = [
            r#"{"erc721":{"chain":"eip155:1","contract":"0x5FbDB2315678afecb367f032d93F642f64180aa3","token_ids":["10-100","200","201","7"],"at_least":"2"}}"#,
            r#"{"erc4907":{"chain":"eip155:1","contract":"0x5FbDB2315678afecb367f032d93F642f64180aa3","token_ids":["1-3"],"at_least":"1"}}"#,
            r#"{"erc6551_owner":{"chain":"eip155:1","account":"0x5FbDB2315678afecb367f032d93F642f64180aa3"}}"#,
            r#"{"call":{"chain":"eip155:1","contract":"0x5FbDB2315678afecb367f032d93F642f64180aa3","function":"function stakeOf(address) view returns (uint256 amount)","args":["$address"],"returns":"amount","compare":">=","value":"100"}}"#,
            r#"{"allowlist":{"merkle_root":"0xabababababababababababababababababababababababababababababababab","chain":"eip155:1"}}"#,
            r#"{"all":[{"native":{"chain":"eip155:1","at_least":"1"}},{"time":{"from":"2026-12-01T00:00:00.000Z","until":"2027-01-01T00:00:00.000Z"}}]}"#,
        ];
        for text in same {
            let json: serde_json::Value = serde_json::from_str(text).unwrap();
            // TOML's inline tables, of the same members.
            let toml = text.replace("\":", "\" = ");
            assert_eq!(read(&toml).unwrap().describe(), json, "{text}");
        }
        let described = |require: &str| read(require).unwrap().describe().to_string();
        assert_eq!(
            described(r#"{ erc20 = { AT, at_least = "1.5", decimals = 6 } }"#),
            described(r#"{ erc20 = { AT, at_least = "1500000" } }"#),
        );
        assert_eq!(
            described(r#"{ erc1155 = { AT, token_ids = ["1-2"], at_least = "3", each = true } }"#),
            described(
                r#"{ all = [ { erc1155 = { AT, token_ids = ["1"], at_least = "3" } }, { erc1155 = { AT, token_ids = ["2"], at_least = "3" } } ] }"#
            ),
        );
        assert_eq!(
            described(r#"{ erc1155 = { AT, token_ids = ["1"], each = true } }"#),
            described(r#"{ erc1155 = { AT, token_ids = ["1"] } }"#),
        );
        let listed = described(
            r#"{ allowlist = { addresses = ["0x5fbdb2315678afecb367f032d93f642f64180aa3"] } }"#,
        );
        assert_eq!(
            listed, r#"{"allowlist":{"addresses":1}}"#,
            "nobody else is told who is on it"
        );
    }
}
