//! Presigned URLs: AWS Signature Version 4 in the query string, for one method on one object.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusty_s3::actions::{GetObject, HeadObject, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};
use serde::Deserialize;
use url::Url;

use crate::gate::Granted;
use crate::resource::Resource;
use crate::secret::Secret;

/// The longest life that S3 gives a presigned URL: seven days.
pub const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The method that a URL is bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Method {
    /// `GetObject`.
    #[default]
    #[serde(rename = "GET")]
    Get,
    /// `HeadObject`.
    #[serde(rename = "HEAD")]
    Head,
}

impl Method {
    /// The HTTP method's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// How a browser shall treat what it downloads: `response-content-disposition` of `GetObject` (RFC 6266).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disposition {
    /// Save it, under the name of the object.
    Attachment,
    /// Show it.
    Inline,
}

/// How a bucket stands in the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// `https://endpoint/bucket/key`.
    Path,
    /// `https://bucket.endpoint/key`.
    VirtualHost,
}

/// Access key of a bucket. Redacted in `Debug`.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// Access key id.
    pub id: Secret<String>,
    /// Secret access key.
    pub secret: Secret<String>,
    /// Session token of temporary credentials.
    pub session_token: Option<Secret<String>>,
}

/// A bucket with the credentials to sign for it.
#[derive(Clone, Debug)]
pub struct Signer {
    bucket: Bucket,
    credentials: Secret<Credentials>,
}

/// Why no signer can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The endpoint is no base for object URLs.
    #[error(
        "the endpoint must be an http or https URL with a host and without path, query or credentials"
    )]
    Endpoint,
}

/// A URL that opens an object until it expires. Redacted in `Debug`: whoever has it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresignedUrl {
    /// The URL.
    pub url: Secret<String>,
    /// The method it is signed for.
    pub method: Method,
    /// When it stops working.
    pub expires_at: Timestamp,
}

impl Signer {
    /// A signer for the bucket `name` at `endpoint`.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn new(
        endpoint: &Url,
        addressing: Addressing,
        name: &str,
        region: &str,
        key: &AccessKey,
    ) -> Result<Self, SignerError> {
        if !is_endpoint(endpoint) {
            return Err(SignerError::Endpoint);
        }
        let style = match addressing {
            Addressing::Path => UrlStyle::Path,
            Addressing::VirtualHost => UrlStyle::VirtualHost,
        };
        let bucket = Bucket::new(endpoint.clone(), style, name.to_owned(), region.to_owned())
            .map_err(|_| SignerError::Endpoint)?;
        let (id, secret) = (key.id.expose().clone(), key.secret.expose().clone());
        let credentials = match &key.session_token {
            Some(token) => Credentials::new_with_token(id, secret, token.expose().clone()),
            None => Credentials::new(id, secret),
        };
        Ok(Self {
            bucket,
            credentials: Secret::new(credentials),
        })
    }

    /// Signs a URL for the resource that was granted. It expires `ttl` from `now`, counted in whole seconds.
    ///
    /// `None` where less than a second is left, which no URL can express.
    pub fn presign(
        &self,
        granted: &Granted,
        method: Method,
        disposition: Option<Disposition>,
        now: Timestamp,
        ttl: Duration,
    ) -> Option<PresignedUrl> {
        self.sign(granted.resource(), method, disposition, now, ttl)
    }

    /// Signs a GET of an object that nobody has made: its name is `random`. What the store says to it tells whether it
    /// accepts the credentials, and opens nothing.
    pub fn probe(&self, random: [u8; 16], now: Timestamp, ttl: Duration) -> Option<PresignedUrl> {
        let key = format!("probe/tokengate-probe-{}", hex::encode(random));
        let resource = Resource::parse(&key).ok()?;
        self.sign(&resource, Method::Get, None, now, ttl)
    }

    fn sign(
        &self,
        resource: &Resource,
        method: Method,
        disposition: Option<Disposition>,
        now: Timestamp,
        ttl: Duration,
    ) -> Option<PresignedUrl> {
        let ttl = Duration::from_secs(ttl.min(MAX_TTL).as_secs());
        if ttl.is_zero() {
            return None;
        }
        // The signature carries whole seconds; so must the promise.
        let signed_at = Timestamp::from_second(now.as_second()).ok()?;
        let credentials = Some(self.credentials.expose());
        let header =
            disposition.map(|disposition| content_disposition(disposition, resource.file_name()));
        let url = match method {
            Method::Get => {
                let mut action = GetObject::new(&self.bucket, credentials, resource.key());
                if let Some(header) = header {
                    action
                        .query_mut()
                        .insert("response-content-disposition", header);
                }
                action.sign_with_time(ttl, &signed_at)
            }
            // Nothing is shown or saved from a HEAD, and S3 documents the overrides for GET.
            Method::Head => HeadObject::new(&self.bucket, credentials, resource.key())
                .sign_with_time(ttl, &signed_at),
        };
        Some(PresignedUrl {
            url: Secret::new(url.into()),
            method,
            expires_at: signed_at.checked_add(ttl).ok()?,
        })
    }
}

/// Whether object URLs can be built on `url`.
pub fn is_endpoint(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// RFC 8187 section 3.2.1 `attr-char`: what stands unencoded in an extended parameter value.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// RFC 6266: the kind, and for a download its name, in ASCII for old readers and by RFC 8187 for all others.
fn content_disposition(disposition: Disposition, file_name: &str) -> Cow<'static, str> {
    match disposition {
        Disposition::Inline => "inline".into(),
        Disposition::Attachment => {
            let ascii: String = file_name
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ') {
                        c
                    } else {
                        '_'
                    }
                })
                .collect();
            let mut header = format!("attachment; filename=\"{ascii}\"");
            if ascii != file_name {
                // Writing to a string cannot fail.
                let _ = write!(
                    header,
                    "; filename*=UTF-8''{}",
                    utf8_percent_encode(file_name, NOT_ATTR_CHAR)
                );
            }
            header.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AccessKey {
        AccessKey {
            id: Secret::new("AKIAIOSFODNN7EXAMPLE".into()),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            session_token: None,
        }
    }

    fn signer(endpoint: &str, addressing: Addressing) -> Signer {
        Signer::new(
            &endpoint.parse().unwrap(),
            addressing,
            "examplebucket",
            "us-east-1",
            &key(),
        )
        .unwrap()
    }

    /// Fri, 24 May 2013 00:00:00 GMT, the date of the example in the S3 API reference.
    fn published_date() -> Timestamp {
        Timestamp::from_second(1_369_353_600).unwrap()
    }

    /// AWS's worked examples, as tests/vectors/README.md names them.
    #[test]
    fn the_published_examples_are_signed_to_the_letter() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/sigv4/aws.json")).unwrap();
        let presigned = vectors["presigned"].as_array().unwrap();
        assert!(!presigned.is_empty());
        for vector in presigned {
            let text = |member: &str| vector[member].as_str().unwrap();
            let addressing = serde_json::from_value(vector["addressing"].clone()).unwrap();
            let key = AccessKey {
                id: Secret::new(text("access_key_id").into()),
                secret: Secret::new(text("secret_access_key").into()),
                session_token: None,
            };
            let signer = Signer::new(
                &text("endpoint").parse().unwrap(),
                addressing,
                text("bucket"),
                text("region"),
                &key,
            )
            .unwrap();
            let resource = Resource::parse(&format!("{}/{}", text("bucket"), text("key"))).unwrap();
            let method = serde_json::from_value(vector["method"].clone()).unwrap();
            let ttl = Duration::from_secs(vector["expires"].as_u64().unwrap());
            let signed = signer
                .sign(&resource, method, None, text("time").parse().unwrap(), ttl)
                .unwrap();
            assert_eq!(signed.url.expose(), text("url"), "{}", text("name"));
        }
    }

    #[test]
    fn method_key_time_and_override_each_change_the_signature() {
        let signer = signer("http://127.0.0.1:9000", Addressing::Path);
        let (a, b) = (
            Resource::parse("examplebucket/a").unwrap(),
            Resource::parse("examplebucket/b").unwrap(),
        );
        let (now, ttl) = (published_date(), Duration::from_secs(60));
        let signature = |signed: Option<PresignedUrl>| {
            signed
                .unwrap()
                .url
                .expose()
                .rsplit_once("X-Amz-Signature=")
                .unwrap()
                .1
                .to_owned()
        };
        let mut signatures = vec![
            signature(signer.sign(&a, Method::Get, None, now, ttl)),
            signature(signer.sign(&a, Method::Head, None, now, ttl)),
            signature(signer.sign(&b, Method::Get, None, now, ttl)),
            signature(signer.sign(&a, Method::Get, Some(Disposition::Inline), now, ttl)),
            signature(signer.sign(&a, Method::Get, None, now + Duration::from_secs(1), ttl)),
            signature(signer.sign(&a, Method::Get, None, now, Duration::from_secs(61))),
        ];
        let count = signatures.len();
        signatures.sort();
        signatures.dedup();
        assert_eq!(signatures.len(), count);
    }

    #[test]
    fn a_life_is_whole_seconds_within_what_s3_allows() {
        let signer = signer("http://127.0.0.1:9000", Addressing::Path);
        let a = Resource::parse("examplebucket/a").unwrap();
        assert_eq!(
            signer.sign(
                &a,
                Method::Get,
                None,
                published_date(),
                Duration::from_millis(999)
            ),
            None
        );
        let late = published_date() + Duration::from_millis(900);
        let signed = signer
            .sign(&a, Method::Get, None, late, Duration::from_millis(1500))
            .unwrap();
        assert_eq!(signed.expires_at, published_date() + Duration::from_secs(1));
        let long = signer
            .sign(
                &a,
                Method::Get,
                None,
                published_date(),
                Duration::from_secs(u64::MAX),
            )
            .unwrap();
        assert!(long.url.expose().contains("X-Amz-Expires=604800&"));
    }

    #[test]
    fn keys_reach_the_url_as_the_one_object_they_name() {
        let signer = signer("http://127.0.0.1:9000", Addressing::Path);
        for (key, path) in [
            ("a b+c", "/examplebucket/a%20b%2Bc"),
            ("100%25", "/examplebucket/100%2525"),
            ("ü/x?y#z", "/examplebucket/%C3%BC/x%3Fy%23z"),
            ("%2e%2e/x", "/examplebucket/%252e%252e/x"),
        ] {
            let resource = Resource::parse(&format!("examplebucket/{key}")).unwrap();
            let signed = signer
                .sign(
                    &resource,
                    Method::Get,
                    None,
                    published_date(),
                    Duration::from_secs(60),
                )
                .unwrap();
            assert_eq!(
                signed.url.expose().split_once('?').unwrap().0,
                format!("http://127.0.0.1:9000{path}"),
                "{key}"
            );
        }
    }

    #[test]
    fn a_download_is_named_after_its_object() {
        assert_eq!(
            content_disposition(Disposition::Attachment, "ep 1.mp4"),
            "attachment; filename=\"ep 1.mp4\""
        );
        assert_eq!(
            content_disposition(Disposition::Attachment, "a\"b;ü"),
            "attachment; filename=\"a_b__\"; filename*=UTF-8''a%22b%3B%C3%BC"
        );
        assert_eq!(content_disposition(Disposition::Inline, "x"), "inline");
    }

    #[test]
    fn endpoints_that_could_hide_something_are_refused() {
        for endpoint in [
            "ftp://host",
            "https://host/path",
            "https://user@host",
            "https://host/?x",
            "data:text/plain,x",
        ] {
            assert_eq!(
                Signer::new(
                    &endpoint.parse().unwrap(),
                    Addressing::Path,
                    "b",
                    "r",
                    &key()
                )
                .unwrap_err(),
                SignerError::Endpoint,
                "{endpoint}"
            );
        }
        assert!(
            !format!("{:?}", signer("https://s3.amazonaws.com", Addressing::Path))
                .contains("EXAMPLEKEY")
        );
    }
}
