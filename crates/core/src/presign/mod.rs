//! Presigned URLs: AWS Signature Version 4 in the query string, for one method on one object.

mod location;
mod sigv4;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use url::Url;

pub use self::location::Location;
use self::sigv4::QuerySigner;
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

/// A bucket with the credentials to sign for it. It remembers what a day's URLs have in common.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Scheme and authority.
    origin: String,
    /// The path of the bucket, encoded, with a slash at either end.
    root: String,
    query: QuerySigner,
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
        let mut url = endpoint.clone();
        let root = match (addressing, endpoint.host_str()) {
            (Addressing::Path, _) => format!("/{}/", sigv4::uri_encode(name)),
            (Addressing::VirtualHost, host) => {
                url.set_host(host.map(|host| format!("{name}.{host}")).as_deref())
                    .map_err(|_| SignerError::Endpoint)?;
                "/".to_owned()
            }
        };
        // Without a port that is the scheme's own, and by `is_endpoint` without credentials: what a client sends as `host`.
        let host = url.authority();
        Ok(Self {
            origin: format!("{}://{host}", url.scheme()),
            root,
            query: QuerySigner::new(host, region, key),
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
        let disposition = match method {
            Method::Get => disposition
                .map(|disposition| content_disposition(disposition, resource.file_name())),
            // Nothing is shown or saved from a HEAD, and S3 documents the overrides for GET.
            Method::Head => None,
        };
        let mut path = self.root.clone();
        path.extend(sigv4::uri_encode_path(resource.key()));
        let query = self
            .query
            .query(method, &path, disposition.as_deref(), signed_at, ttl);
        Some(PresignedUrl {
            url: Secret::new([&self.origin, &path, "?", &query].concat()),
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
mod tests;
