//! AWS Signature Version 4 in the query string of `GetObject` and `HeadObject`.
//!
//! Source: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)" of the Amazon S3 API reference,
//! whose functions `UriEncode()` and `Hex()` are those here. What is the same for every URL is prepared once, and what is
//! the same for a day once a day: the signing key alone takes four HMACs, and a signature one.

use std::cell::RefCell;
use std::time::Duration;

use hmac::{Hmac, Mac};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::{AccessKey, Method};
use crate::keys::keyed;
use crate::secret::Secret;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";

/// `UriEncode()`: every byte but the unreserved characters of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `UriEncode()` of an object key, which keeps its slashes.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Encodes a name or a value of the query, or a segment of the path.
pub(super) fn uri_encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// Encodes an object key.
pub(super) fn uri_encode_path(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED_IN_PATH)
}

/// Signs queries for one host, region and access key. Redacted in `Debug`.
#[derive(Clone, Debug)]
pub(super) struct QuerySigner {
    /// HMAC keyed with `AWS4` and the secret access key, from which the keys of all days come.
    root: Secret<Hmac<Sha256>>,
    access_key_id: Secret<String>,
    region: String,
    /// The end of the query but for the override: the session token, if there is one, and the signed headers.
    tail: Secret<String>,
    /// The end of the canonical request: the only header signed is `host`, and the payload is not.
    headers: String,
    /// Of the day that was signed for last. Borrowed within [`Self::query`] alone, which calls nobody back.
    day: RefCell<Option<Day>>,
}

/// What is the same for all that is signed on a day of UTC.
#[derive(Clone, Debug)]
struct Day {
    date: Date,
    /// The query up to the hour of `X-Amz-Date`.
    query: Secret<String>,
    /// The string to sign up to the hour.
    string_to_sign: String,
    /// Date, region, service and `aws4_request`.
    scope: String,
    signing_key: Secret<Hmac<Sha256>>,
}

impl QuerySigner {
    /// A signer for `host`, with its port where that is not the scheme's own.
    pub(super) fn new(host: &str, region: &str, key: &AccessKey) -> Self {
        let mut tail = String::new();
        if let Some(token) = &key.session_token {
            tail.push_str("&X-Amz-Security-Token=");
            tail.extend(uri_encode(token.expose()));
        }
        tail.push_str("&X-Amz-SignedHeaders=host");
        let secret = format!("AWS4{}", key.secret.expose());
        Self {
            root: Secret::new(keyed(secret.as_bytes())),
            access_key_id: key.id.clone(),
            region: region.to_owned(),
            tail: Secret::new(tail),
            headers: format!("\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"),
            day: RefCell::new(None),
        }
    }

    /// The query, without `?`, with which `method` is allowed on the encoded `path` for `ttl` from `time`, both counted
    /// in whole seconds. `disposition` is the override `response-content-disposition`.
    pub(super) fn query(
        &self,
        method: Method,
        path: &str,
        disposition: Option<&str>,
        time: Timestamp,
        ttl: Duration,
    ) -> String {
        let time = Offset::UTC.to_datetime(time);
        let clock = clock(time);
        let mut cached = self.day.borrow_mut();
        let day = match &mut *cached {
            Some(day) if day.date == time.date() => day,
            other => other.insert(self.begin(time.date())),
        };

        // Sorted by name, as the canonical query string is: upper-case letters come first.
        let mut query = String::with_capacity(512);
        query.push_str(day.query.expose());
        push_ascii(&mut query, clock.as_flattened());
        query.push_str("Z&X-Amz-Expires=");
        query.push_str(&ttl.as_secs().to_string());
        query.push_str(self.tail.expose());
        if let Some(disposition) = disposition {
            query.push_str("&response-content-disposition=");
            query.extend(uri_encode(disposition));
        }

        let canonical_request = Sha256::new()
            .chain_update(method.as_str())
            .chain_update("\n")
            .chain_update(path)
            .chain_update("\n")
            .chain_update(&query)
            .chain_update(&self.headers)
            .finalize();
        let signature = (day.signing_key.expose().clone())
            .chain_update(&day.string_to_sign)
            .chain_update(clock.as_flattened())
            .chain_update("Z\n")
            .chain_update(&day.scope)
            .chain_update("\n")
            .chain_update(hex(canonical_request.into()).as_flattened())
            .finalize();
        query.push_str("&X-Amz-Signature=");
        push_ascii(
            &mut query,
            hex(signature.into_bytes().into()).as_flattened(),
        );
        query
    }

    fn begin(&self, date: Date) -> Day {
        let text = date.strftime("%Y%m%d").to_string();
        let scope = format!("{text}/{}/{SERVICE}/aws4_request", self.region);
        let credential = format!("{}/{scope}", self.access_key_id.expose());
        let query = format!(
            "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}&X-Amz-Date={text}T",
            uri_encode(&credential)
        );
        Day {
            date,
            query: Secret::new(query),
            string_to_sign: format!("{ALGORITHM}\n{text}T"),
            signing_key: Secret::new(signing_key(
                self.root.expose(),
                &text,
                &self.region,
                SERVICE,
            )),
            scope,
        }
    }
}

/// HMAC keyed with the signing key of a day, region and service.
fn signing_key(root: &Hmac<Sha256>, date: &str, region: &str, service: &str) -> Hmac<Sha256> {
    [date, region, service, "aws4_request"]
        .into_iter()
        .fold(root.clone(), |key, part| {
            keyed(&key.chain_update(part).finalize().into_bytes())
        })
}

/// The time of day in ISO 8601's basic format: two digits each of hour, minute and second.
fn clock(time: DateTime) -> [[u8; 2]; 3] {
    [time.hour(), time.minute(), time.second()].map(|number| {
        let number = number.unsigned_abs();
        [b'0' + number / 10, b'0' + number % 10]
    })
}

/// `Hex()`: two lower-case digits for every byte.
fn hex(bytes: [u8; 32]) -> [[u8; 2]; 32] {
    let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' - 10 + n };
    let mut text = [[0; 2]; 32];
    for (pair, byte) in text.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 0xf)];
    }
    text
}

fn push_ascii(text: &mut String, ascii: &[u8]) {
    text.extend(ascii.iter().copied().map(char::from));
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors(of: &str) -> Vec<Value> {
        let vectors: Value =
            serde_json::from_str(include_str!("../../../../tests/vectors/sigv4/aws.json")).unwrap();
        let vectors = vectors[of].as_array().unwrap().clone();
        assert!(!vectors.is_empty());
        vectors
    }

    fn derived(vector: &Value) -> Hmac<Sha256> {
        let text = |member: &str| vector[member].as_str().unwrap();
        let root = keyed(format!("AWS4{}", text("secret_access_key")).as_bytes());
        signing_key(&root, text("date"), text("region"), text("service"))
    }

    #[test]
    fn the_published_signing_keys_are_derived() {
        for vector in vectors("signing_keys") {
            let published = ::hex::decode(vector["signing_key"].as_str().unwrap()).unwrap();
            let tag = |key: Hmac<Sha256>| key.chain_update("any text").finalize();
            assert_eq!(tag(derived(&vector)), tag(keyed(&published)), "{vector}");
        }
    }

    #[test]
    fn the_published_strings_are_signed() {
        for vector in vectors("signatures") {
            let text = |member: &str| vector[member].as_str().unwrap();
            let signature = derived(&vector)
                .chain_update(text("string_to_sign"))
                .finalize();
            assert_eq!(
                ::hex::encode(signature.into_bytes()),
                text("signature"),
                "{}",
                text("name")
            );
        }
    }

    #[test]
    fn all_but_unreserved_characters_are_encoded() {
        for byte in 0..=0x7f_u8 {
            let character = char::from(byte);
            let text = character.to_string();
            let unreserved = character.is_ascii_alphanumeric() || "-._~".contains(character);
            let encoded = if unreserved {
                text.clone()
            } else {
                format!("%{byte:02X}")
            };
            assert_eq!(uri_encode(&text).to_string(), encoded);
            if byte != b'/' {
                assert_eq!(uri_encode_path(&text).to_string(), encoded);
            }
        }
        assert_eq!(uri_encode_path("a/ü").to_string(), "a/%C3%BC");
    }
}
