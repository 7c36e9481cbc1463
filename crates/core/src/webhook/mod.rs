//! Webhooks of those who watch chains: who sent a delivery, and which logs it holds.
//!
//! A [`Key`] checks a delivery's signature over its raw bytes, in constant time; only what passed is read, and what is
//! read is no more than logs. One file per source names the documentation that it follows.

mod alchemy;
mod moralis;
mod networks;
mod quicknode;
mod standard;

use std::borrow::Cow;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value as Json;
use sha2::Sha256;

use crate::secret::Secret;
use crate::transfer::Log;
use crate::{Address, ChainId};

/// The longest body of a delivery that is read, in bytes.
pub const MAX_LEN: usize = 1024 * 1024;

/// How far a signed time may be from the present: the tolerance of the Standard Webhooks libraries.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// The longest name of a delivery that is remembered, in bytes.
const MAX_ID_LEN: usize = 256;

/// The shortest key, in bytes.
const MIN_KEY_LEN: usize = 16;

/// Whose format a source's deliveries have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Alchemy Notify.
    Alchemy,
    /// QuickNode Streams and Webhooks.
    QuickNode,
    /// Moralis Streams.
    Moralis,
    /// The Standard Webhooks specification, for anybody else.
    Standard,
}

impl Kind {
    /// The kind that a configuration writes so.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "alchemy" => Self::Alchemy,
            "quicknode" => Self::QuickNode,
            "moralis" => Self::Moralis,
            "standard" => Self::Standard,
            _ => return None,
        })
    }

    /// Whether its deliveries say which chain they are about.
    pub const fn names_chain(self) -> bool {
        !matches!(self, Self::QuickNode)
    }
}

/// What a source signs with.
#[derive(Clone, Debug)]
pub struct Key {
    kind: Kind,
    bytes: Secret<Vec<u8>>,
}

/// Why a text is no key. Never holds any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Short enough to be guessed, or not set.
    #[error("it is shorter than {MIN_KEY_LEN} bytes")]
    Short,
    /// Not as the Standard Webhooks specification writes keys.
    #[error("it is not whsec_ and base64")]
    Shape,
}

/// Why a delivery is not believed to be its source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// A header field of the signature is missing or stands twice.
    #[error("the delivery is not signed as this source signs")]
    Unsigned,
    /// The signature is not of this key over these bytes.
    #[error("the signature is not of this source over this delivery")]
    Forged,
    /// The signed time is more than [`TOLERANCE`] away.
    #[error("the delivery was not signed in the last minutes")]
    Untimely,
}

/// The body does not have the shape of its source's deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not what this source sends")]
pub struct Malformed;

/// The body of a delivery that its source signed. Only [`Key::verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified<'a> {
    kind: Kind,
    id: Option<Cow<'a, str>>,
    body: &'a [u8],
}

/// How a delivery names the chain that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// It does not.
    Nothing,
    /// By its id, or by a name that is known.
    Chain(ChainId),
    /// By a name that is not known: at most 64 characters, all of them printable ASCII.
    Unknown(String),
}

impl Named {
    /// A name that is not known, fit for a log: what is not printable ASCII is escaped.
    fn unknown(name: &str) -> Self {
        const MAX: usize = 64;
        let escaped = name.chars().flat_map(char::escape_default);
        Self::Unknown(escaped.take(MAX).collect())
    }
}

impl From<Option<ChainId>> for Named {
    fn from(chain: Option<ChainId>) -> Self {
        chain.map_or(Self::Nothing, Self::Chain)
    }
}

/// What a delivery tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its name, of at most 256 bytes: the same when it is sent again.
    pub id: Option<String>,
    /// The chain that it is about.
    pub chain: Named,
    /// Its logs, in their order.
    pub logs: Vec<Log>,
    /// How many entries hold no log that can be read.
    pub skipped: usize,
}

impl Key {
    /// The key in the words of a source of this kind.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(kind: Kind, text: &Secret<String>) -> Result<Self, KeyError> {
        let text = text.expose();
        let bytes = match kind {
            Kind::Alchemy | Kind::QuickNode | Kind::Moralis => text.clone().into_bytes(),
            Kind::Standard => text
                .strip_prefix("whsec_")
                .and_then(|base64| Base64::decode_vec(base64).ok())
                .ok_or(KeyError::Shape)?,
        };
        if bytes.len() < MIN_KEY_LEN {
            return Err(KeyError::Short);
        }
        Ok(Self {
            kind,
            bytes: Secret::new(bytes),
        })
    }

    /// Checks that this key signed `body`, and where times are signed, that it did so at about `now`.
    ///
    /// # Errors
    /// [`Unverified`].
    pub fn verify<'a>(
        &self,
        headers: &'a HeaderMap,
        body: &'a [u8],
        now: Timestamp,
    ) -> Result<Verified<'a>, Unverified> {
        let id = match self.kind {
            Kind::Alchemy => alchemy::verify(self, headers, body)?.map(Cow::Borrowed),
            Kind::QuickNode => quicknode::verify(self, headers, body, now)?.map(Cow::Borrowed),
            Kind::Moralis => Some(Cow::Owned(moralis::verify(self, headers, body)?)),
            Kind::Standard => standard::verify(self, headers, body, now)?.map(Cow::Borrowed),
        };
        Ok(Verified {
            kind: self.kind,
            id,
            body,
        })
    }

    /// Whether `tag` is the HMAC-SHA-256 of the concatenation of `parts`.
    fn signed(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        let Ok(mut state) = Hmac::<Sha256>::new_from_slice(self.bytes.expose()) else {
            // HMAC takes keys of any length (RFC 2104 section 2).
            return false;
        };
        for part in parts {
            state.update(part);
        }
        state.verify_slice(tag).is_ok()
    }
}

impl Verified<'_> {
    /// Reads the logs.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(&self) -> Result<Delivery, Malformed> {
        let body: Json = serde_json::from_slice(self.body).map_err(|_| Malformed)?;
        let mut delivery = match self.kind {
            Kind::Alchemy => alchemy::read(&body)?,
            Kind::QuickNode => quicknode::read(&body)?,
            Kind::Moralis => moralis::read(&body)?,
            Kind::Standard => standard::read(&body)?,
        };
        if let Some(id) = &self.id {
            delivery.id = Some(id.clone().into_owned());
        }
        delivery.id = delivery
            .id
            .filter(|id| (1..=MAX_ID_LEN).contains(&id.len()));
        Ok(delivery)
    }
}

impl Delivery {
    fn new(chain: impl Into<Named>) -> Self {
        Self {
            id: None,
            chain: chain.into(),
            logs: Vec::new(),
            skipped: 0,
        }
    }

    fn take(&mut self, log: Option<Log>) {
        match log {
            Some(log) => self.logs.push(log),
            None => self.skipped += 1,
        }
    }
}

/// The only field of this name.
fn field<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Unverified> {
    let mut fields = headers.get_all(name).iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => field.to_str().map_err(|_| Unverified::Unsigned),
        _ => Err(Unverified::Unsigned),
    }
}

/// A tag in hexadecimal; what is none is nobody's.
fn tag(hex: &str) -> Result<[u8; 32], Unverified> {
    let mut tag = [0; 32];
    hex::decode_to_slice(hex, &mut tag).map_err(|_| Unverified::Forged)?;
    Ok(tag)
}

/// Compares in constant time.
fn same(a: [u8; 32], b: [u8; 32]) -> bool {
    CtOutput::<Sha256>::new(a.into()) == CtOutput::new(b.into())
}

/// Whether `seconds` since the epoch, in decimal digits, are at about `now`.
fn timely(seconds: &str, now: Timestamp) -> Result<(), Unverified> {
    let canonical = !seconds.starts_with('0') && seconds.bytes().all(|byte| byte.is_ascii_digit());
    Some(seconds)
        .filter(|_| canonical)
        .and_then(|seconds| Timestamp::from_second(seconds.parse().ok()?).ok())
        .filter(|then| now.duration_since(*then).unsigned_abs() <= TOLERANCE)
        .map(|_| ())
        .ok_or(Unverified::Untimely)
}

/// A log as `eth_getLogs` returns it.
fn log(entry: &Json) -> Option<Log> {
    log_of(entry, entry.get("address")?, None)
}

/// A log of `contract`; where it does not say its block, that is `block`.
fn log_of(entry: &Json, contract: &Json, block: Option<u64>) -> Option<Log> {
    let topics = entry.get("topics")?.as_array()?;
    if topics.len() > 4 {
        return None;
    }
    Some(Log {
        address: address(contract)?,
        topics: topics.iter().map(word).collect::<Option<_>>()?,
        data: data(entry.get("data"))?,
        block: match entry.get("blockNumber") {
            None | Some(Json::Null) => block?,
            Some(number) => quantity(number)?,
        },
        removed: removed(entry)?,
    })
}

fn address(value: &Json) -> Option<Address> {
    value.as_str()?.parse().ok()
}

fn word(value: &Json) -> Option<[u8; 32]> {
    let mut word = [0; 32];
    hex::decode_to_slice(value.as_str()?.strip_prefix("0x")?, &mut word).ok()?;
    Some(word)
}

fn data(value: Option<&Json>) -> Option<Vec<u8>> {
    match value {
        None | Some(Json::Null) => Some(Vec::new()),
        Some(value) => hex::decode(value.as_str()?.strip_prefix("0x")?).ok(),
    }
}

fn removed(entry: &Json) -> Option<bool> {
    match entry.get("removed") {
        None | Some(Json::Null) => Some(false),
        Some(removed) => removed.as_bool(),
    }
}

/// A number: as itself, in decimal digits, or in hexadecimal ones after `0x`.
fn quantity(value: &Json) -> Option<u64> {
    match value {
        Json::Number(number) => number.as_u64(),
        Json::String(text) => match text.strip_prefix("0x") {
            // The parser of numbers would take a sign.
            Some(digits) if digits.starts_with('+') => None,
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => crate::decimal::parse(text)?.try_into().ok(),
        },
        _ => None,
    }
}
