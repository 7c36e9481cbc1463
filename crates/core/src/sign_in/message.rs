//! Sign-In with Ethereum messages (EIP-4361): a strict, borrowing parser and the one writer.
//!
//! The parser follows the ABNF of the EIP to the letter and keeps the text it was given: what is hashed for the
//! signature is that text, never a rendering of the parsed fields.

use std::fmt;

use iri_string::types::UriStr;
use jiff::Timestamp;

use crate::address::{Address, AddressError};
use crate::chain::ChainId;
use crate::nonce::CLOCK_SKEW;
use crate::rfc3339;

/// The longest message accepted, in bytes.
pub const MAX_MESSAGE_LEN: usize = 8 * 1024;
/// The most resources accepted in one message.
pub const MAX_RESOURCES: usize = 100;

/// A parsed message, borrowing from the exact text that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    text: &'a str,
    origin: &'a str,
    pub(crate) times: Times<'a>,
    /// The URI scheme of the origin, if the message names it.
    pub scheme: Option<&'a str>,
    /// RFC 3986 authority that asks for the sign-in.
    pub domain: &'a str,
    /// The account that signs.
    pub address: Address,
    /// The human-readable assertion.
    pub statement: Option<&'a str>,
    /// RFC 3986 URI of the subject of the signing.
    pub uri: &'a str,
    /// The chain the session is bound to.
    pub chain: ChainId,
    /// At least 8 alphanumeric characters.
    pub nonce: &'a str,
    /// When the message was made.
    pub issued_at: Timestamp,
    /// From when on it is no longer valid.
    pub expiration_time: Option<Timestamp>,
    /// From when on it is valid.
    pub not_before: Option<Timestamp>,
    /// A system-specific id: RFC 3986 `*pchar`.
    pub request_id: Option<&'a str>,
    /// RFC 3986 URIs to be resolved as part of the authentication.
    pub resources: Option<Vec<&'a str>>,
}

/// The times of a message, as its text has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times<'a> {
    pub(crate) issued_at: &'a str,
    pub(crate) expiration_time: Option<&'a str>,
    pub(crate) not_before: Option<&'a str>,
}

/// Where a message departs from the grammar of EIP-4361.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Longer than [`MAX_MESSAGE_LEN`].
    #[error("the message is longer than {MAX_MESSAGE_LEN} bytes")]
    TooLong,
    /// The first line does not ask for a sign-in.
    #[error("line 1: expected `<domain> wants you to sign in with your Ethereum account:`")]
    Preamble,
    /// The scheme is not RFC 3986's.
    #[error("line 1: the scheme is not a URI scheme")]
    Scheme,
    /// The domain is not an RFC 3986 authority.
    #[error("line 1: the domain is not an RFC 3986 authority")]
    Domain,
    /// The second line is not an address.
    #[error("line 2: {0}")]
    Address(#[from] AddressError),
    /// The statement is not framed by empty lines or has a character outside the grammar.
    #[error(
        "the statement must be one line of RFC 3986 characters and spaces between two empty lines"
    )]
    Statement,
    /// A field is missing, misplaced or malformed.
    #[error("expected `{label}` followed by {form}")]
    Field {
        /// The label of the expected field, as the message writes it.
        label: &'static str,
        /// What has to follow it.
        form: &'static str,
    },
    /// More than [`MAX_RESOURCES`].
    #[error("more than {MAX_RESOURCES} resources")]
    TooManyResources,
    /// Something follows the last field.
    #[error("unexpected text after the last field")]
    Trailing,
}

const PREAMBLE: &str = " wants you to sign in with your Ethereum account:";

impl<'a> Message<'a> {
    /// Parses a message by the ABNF of EIP-4361.
    ///
    /// # Errors
    /// [`ParseError`], naming the first place that departs from the grammar.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        if text.len() > MAX_MESSAGE_LEN {
            return Err(ParseError::TooLong);
        }
        let mut lines = Lines { rest: Some(text) };
        let origin = lines
            .next()
            .and_then(|line| line.strip_suffix(PREAMBLE))
            .ok_or(ParseError::Preamble)?;
        let (scheme, domain) = match origin.split_once("://") {
            Some((scheme, domain)) => (Some(scheme), domain),
            None => (None, origin),
        };
        if scheme.is_some_and(|scheme| !is_scheme(scheme)) {
            return Err(ParseError::Scheme);
        }
        if domain.is_empty()
            || iri_string::validate::authority::<iri_string::spec::UriSpec>(domain).is_err()
        {
            return Err(ParseError::Domain);
        }
        let address = lines.next().ok_or(AddressError::Shape)?.parse()?;
        let statement = statement(&mut lines)?;
        let uri = lines.field("URI: ", "an RFC 3986 URI", |text| {
            is_uri(text).then_some(text)
        })?;
        lines.field("Version: ", "1", |text| (text == "1").then_some(()))?;
        let chain = lines.field("Chain ID: ", "a decimal chain id", |text| {
            ChainId::from_decimal(text).ok()
        })?;
        let nonce = lines.field("Nonce: ", "at least 8 letters or digits", |text| {
            is_nonce(text).then_some(text)
        })?;
        let time = |text| rfc3339::parse(text).map(|time| (text, time));
        let (issued_at_text, issued_at) = lines.field("Issued At: ", DATE_TIME, time)?;
        let expiration_time = lines.optional("Expiration Time: ", DATE_TIME, time)?;
        let not_before = lines.optional("Not Before: ", DATE_TIME, time)?;
        let request_id = lines.optional("Request ID: ", "RFC 3986 path characters", |text| {
            is_pchars(text).then_some(text)
        })?;
        let resources = resources(&mut lines)?;
        if lines.rest.is_some() {
            return Err(ParseError::Trailing);
        }
        Ok(Self {
            text,
            origin,
            times: Times {
                issued_at: issued_at_text,
                expiration_time: expiration_time.map(|(text, _)| text),
                not_before: not_before.map(|(text, _)| text),
            },
            scheme,
            domain,
            address,
            statement,
            uri,
            chain,
            nonce,
            issued_at,
            expiration_time: expiration_time.map(|(_, time)| time),
            not_before: not_before.map(|(_, time)| time),
            request_id,
            resources,
        })
    }

    /// Whether `now` is past `Not Before` and short of `Expiration Time`, each give or take what clocks may differ.
    pub fn is_current(&self, now: Timestamp) -> bool {
        let over = |time: Timestamp| {
            time.checked_add(CLOCK_SKEW)
                .is_ok_and(|latest| now >= latest)
        };
        self.not_before.is_none_or(|time| begun(time, now))
            && !self.expiration_time.is_some_and(over)
    }

    /// Whether the message was issued by `now`, give or take what clocks may differ. The EIP leaves this to the service.
    pub fn is_issued(&self, now: Timestamp) -> bool {
        begun(self.issued_at, now)
    }

    /// The exact text that was parsed: the bytes the wallet signed.
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// Who asks, as the first line has it: the domain, after its scheme where that is named.
    pub const fn origin(&self) -> &'a str {
        self.origin
    }
}

/// What a service puts into a challenge; its [`fmt::Display`] is the message to sign.
#[derive(Clone, Debug)]
pub struct Challenge<'a> {
    /// RFC 3986 authority that asks for the sign-in.
    pub domain: &'a str,
    /// The account that shall sign.
    pub address: Address,
    /// One line for the person who signs.
    pub statement: &'a str,
    /// RFC 3986 URI of the subject of the signing.
    pub uri: &'a str,
    /// The chain the session will be bound to.
    pub chain: ChainId,
    /// At least 8 alphanumeric characters.
    pub nonce: &'a str,
    /// Now.
    pub issued_at: Timestamp,
    /// When the nonce expires.
    pub expiration_time: Timestamp,
}

impl fmt::Display for Challenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            address,
            statement,
            uri,
            chain,
            nonce,
            issued_at,
            expiration_time,
        } = self;
        write!(
            f,
            "{domain}{PREAMBLE}\n{address}\n\n{statement}\n\nURI: {uri}\nVersion: 1\nChain ID: {}\nNonce: {nonce}\nIssued At: {}\nExpiration Time: {}",
            chain.id(),
            rfc3339::format(*issued_at),
            rfc3339::format(*expiration_time),
        )
    }
}

/// Whether `text` can stand as a statement: `1*( reserved / unreserved / " " )`.
pub fn is_statement(text: &str) -> bool {
    text.bytes()
        .all(|b| b == b' ' || is_reserved(b) || is_unreserved(b))
}

fn begun(time: Timestamp, now: Timestamp) -> bool {
    time.checked_sub(CLOCK_SKEW)
        .is_ok_and(|earliest| now >= earliest)
}

struct Lines<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let (line, rest) = match rest.split_once('\n') {
            Some((line, rest)) => (line, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        Some(line)
    }
}

impl<'a> Lines<'a> {
    fn field<T>(
        &mut self,
        label: &'static str,
        form: &'static str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, ParseError> {
        self.next()
            .and_then(|line| line.strip_prefix(label))
            .and_then(read)
            .ok_or(ParseError::Field { label, form })
    }

    fn optional<T>(
        &mut self,
        label: &'static str,
        form: &'static str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, ParseError> {
        match self.rest {
            Some(rest) if rest.starts_with(label) => self.field(label, form, read).map(Some),
            _ => Ok(None),
        }
    }
}

fn statement<'a>(lines: &mut Lines<'a>) -> Result<Option<&'a str>, ParseError> {
    if lines.next() != Some("") {
        return Err(ParseError::Statement);
    }
    // Without a statement the second empty line follows at once. An empty statement is that line followed by another.
    let first = lines.next().ok_or(ParseError::Statement)?;
    if first.is_empty() {
        return match lines.rest {
            Some(rest) if rest.starts_with('\n') => {
                lines.next();
                Ok(Some(""))
            }
            _ => Ok(None),
        };
    }
    if !is_statement(first) || lines.next() != Some("") {
        return Err(ParseError::Statement);
    }
    Ok(Some(first))
}

fn resources<'a>(lines: &mut Lines<'a>) -> Result<Option<Vec<&'a str>>, ParseError> {
    const ERROR: ParseError = ParseError::Field {
        label: "Resources:",
        form: "lines of `- ` and an RFC 3986 URI",
    };
    match lines.rest {
        None => return Ok(None),
        Some(rest) if !rest.starts_with("Resources:") => return Ok(None),
        Some(_) => {}
    }
    if lines.next() != Some("Resources:") {
        return Err(ERROR);
    }
    let mut resources = Vec::new();
    for line in lines.by_ref() {
        if resources.len() == MAX_RESOURCES {
            return Err(ParseError::TooManyResources);
        }
        let uri = line
            .strip_prefix("- ")
            .filter(|uri| is_uri(uri))
            .ok_or(ERROR)?;
        resources.push(uri);
    }
    Ok(Some(resources))
}

const DATE_TIME: &str = "an RFC 3339 date-time";

fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn is_nonce(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// RFC 3986 `URI`. The EIP's published vectors also write the octets of an IPv4 address inside an IPv6 one with
/// leading zeros, which `dec-octet` has not.
fn is_uri(text: &str) -> bool {
    UriStr::new(text).is_ok()
        || without_leading_zeros(text).is_some_and(|text| UriStr::new(&text).is_ok())
}

fn without_leading_zeros(text: &str) -> Option<String> {
    let (before, rest) = text.split_once('[')?;
    let (literal, after) = rest.split_once(']')?;
    let (groups, address) = literal.rsplit_once(':')?;
    let shortened = |octet: &str| match octet.trim_start_matches('0') {
        "" if !octet.is_empty() && octet.len() <= 3 => "0".to_owned(),
        digits if octet.len() <= 3 => digits.to_owned(),
        _ => octet.to_owned(),
    };
    let octets: Vec<String> = address.split('.').map(shortened).collect();
    Some(format!("{before}[{groups}:{}]{after}", octets.join(".")))
}

fn is_pchars(text: &str) -> bool {
    !text.contains('/') && iri_string::validate::path::<iri_string::spec::UriSpec>(text).is_ok()
}

const fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

const fn is_reserved(b: u8) -> bool {
    matches!(
        b,
        b':' | b'/'
            | b'?'
            | b'#'
            | b'['
            | b']'
            | b'@'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b';'
            | b'='
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "gate.example wants you to sign in with your Ethereum account:\n0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\nOpen it.\n\nURI: https://gate.example/login\nVersion: 1\nChain ID: 31337\nNonce: a1b2c3d4e5f60718\nIssued At: 2026-01-02T03:04:05.000Z";

    #[test]
    fn a_challenge_is_parsed_as_it_was_written() {
        let parsed = Message::parse(MESSAGE).unwrap();
        let challenge = Challenge {
            domain: parsed.domain,
            address: parsed.address,
            statement: parsed.statement.unwrap(),
            uri: parsed.uri,
            chain: parsed.chain,
            nonce: parsed.nonce,
            issued_at: parsed.issued_at,
            expiration_time: parsed.issued_at + std::time::Duration::from_secs(300),
        };
        let text = challenge.to_string();
        assert_eq!(
            text,
            format!("{MESSAGE}\nExpiration Time: 2026-01-02T03:09:05.000Z")
        );
        assert_eq!(Message::parse(&text).unwrap().nonce, challenge.nonce);
    }

    #[test]
    fn nothing_may_precede_follow_or_repeat() {
        for text in [
            format!("{MESSAGE}\n"),
            format!(" {MESSAGE}"),
            format!("{MESSAGE}\nNonce: a1b2c3d4e5f60718"),
            MESSAGE.replace('\n', "\r\n"),
            format!("{MESSAGE}\nResources:\n"),
            format!("{MESSAGE}\nResources: - a:b"),
            MESSAGE.replace("Chain ID: 31337", "Chain ID: 031337"),
        ] {
            assert!(Message::parse(&text).is_err(), "{text:?}");
        }
        let long = format!("{MESSAGE}\nRequest ID: {}", "a".repeat(MAX_MESSAGE_LEN));
        assert_eq!(Message::parse(&long), Err(ParseError::TooLong));
    }
}
