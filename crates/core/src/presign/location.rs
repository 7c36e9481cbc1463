//! Where a bucket is: whether two buckets of a configuration share objects.

use url::Url;

use super::Addressing;
use crate::endpoint::Authority;

/// Where a bucket is, whichever way it is addressed. Region and credentials say nothing about that.
#[derive(Clone, Debug)]
pub struct Location {
    host: String,
    /// As a virtual host: the same name for both ways to address the bucket.
    bucket: String,
    port: Option<u16>,
    addressing: Addressing,
}

impl Location {
    /// The location of the bucket `name` at `endpoint`; none without a host.
    pub fn new(endpoint: &Url, addressing: Addressing, name: &str) -> Option<Self> {
        let authority = Authority::of(endpoint)?;
        let host = store(authority.host());
        Some(Self {
            bucket: format!("{name}.{host}"),
            host,
            port: authority.port(),
            addressing,
        })
    }

    /// Whether an object of one is also an object of the other: they are the same bucket, or the endpoint of one is the
    /// other as a virtual host, so that its buckets are folders of the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_in = |one: &Self, whole: &Self| {
            one.addressing == Addressing::Path && one.host == whole.bucket
        };
        self.port == other.port
            && (self.bucket == other.bucket || is_in(self, other) || is_in(other, self))
    }
}

/// The host of a store: of Amazon S3, in which a bucket's name is unique in all regions of a partition, one for all of its
/// endpoints (regional, dual-stack, FIPS, accelerated, of a VPC).
fn store(host: &str) -> String {
    let (name, china) = match host.strip_suffix(".amazonaws.com.cn") {
        Some(name) => (name, true),
        None => match host.strip_suffix(".amazonaws.com") {
            Some(name) => (name, false),
            None => return host.to_owned(),
        },
    };
    let mut bucket = Vec::new();
    let mut labels = name.split('.');
    // The last label that may be the service's: a bucket may be called so, too.
    let service = |label: &str| label == "s3" || label.starts_with("s3-");
    let Some(at) = name
        .split('.')
        .enumerate()
        .filter(|(_, label)| service(label))
        .last()
    else {
        return host.to_owned();
    };
    for label in labels.by_ref().take(at.0) {
        bucket.push(label);
        if label.starts_with("vpce-") {
            bucket.clear();
        }
    }
    let partition = if china {
        "cn"
    } else if labels.any(|label| label.contains("us-gov")) {
        "us-gov"
    } else {
        "aws"
    };
    bucket.extend(["s3", partition]);
    bucket.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_bucket_overlap_and_other_buckets_do_not() {
        let (path, host) = (Addressing::Path, Addressing::VirtualHost);
        let location = |(endpoint, addressing, name): (&str, Addressing, &str)| {
            Location::new(&endpoint.parse().unwrap(), addressing, name).unwrap()
        };
        let s3 = ("https://s3.example", path, "media");
        let aws = ("https://s3.eu-central-1.amazonaws.com", path, "media");
        for (a, b, overlap) in [
            (s3, ("https://S3.EXAMPLE", path, "media"), true),
            (s3, ("https://s3.example:443/", path, "media"), true),
            (s3, ("http://s3.example./", path, "media"), true),
            (s3, ("https://s3%2Eexample", host, "media"), true),
            (s3, ("https://s3.example", host, "media"), true),
            (s3, ("https://s3.example", path, "other"), false),
            (s3, ("https://s3.example:9000", path, "media"), false),
            (s3, ("https://s4.example", path, "media"), false),
            (
                ("http://localhost:9000", path, "media"),
                ("http://LOCALHOST:9000", path, "media"),
                true,
            ),
            (
                ("http://127.0.0.1:9000", path, "media"),
                ("http://localhost:9000", path, "media"),
                true,
            ),
            // A bucket's virtual host as the endpoint: what follows is the begin of a key.
            (s3, ("https://media.s3.example", path, "a"), true),
            (s3, ("https://media.s3.example", host, "a"), false),
            (s3, ("https://a.media.s3.example", path, "b"), false),
            // Names with dots.
            (
                ("https://s3.example", host, "x.media"),
                ("https://media.s3.example", host, "x"),
                true,
            ),
            (aws, ("https://s3.amazonaws.com", host, "media"), true),
            (
                aws,
                (
                    "https://s3.dualstack.eu-central-1.amazonaws.com",
                    host,
                    "media",
                ),
                true,
            ),
            (
                aws,
                ("https://s3-eu-central-1.amazonaws.com", path, "media"),
                true,
            ),
            (
                aws,
                ("https://s3-accelerate.amazonaws.com", host, "media"),
                true,
            ),
            (
                aws,
                (
                    "https://bucket.vpce-1a2b-3c.s3.eu-central-1.vpce.amazonaws.com",
                    path,
                    "media",
                ),
                true,
            ),
            (
                aws,
                ("https://s3.eu-central-1.amazonaws.com", path, "s3"),
                false,
            ),
            (aws, ("https://media.s3.amazonaws.com", path, "a"), true),
            (
                aws,
                ("https://s3.cn-north-1.amazonaws.com.cn", path, "media"),
                false,
            ),
            (
                aws,
                ("https://s3.us-gov-west-1.amazonaws.com", path, "media"),
                false,
            ),
        ] {
            assert_eq!(location(a).overlaps(&location(b)), overlap, "{a:?} {b:?}");
            assert_eq!(location(b).overlaps(&location(a)), overlap, "{b:?} {a:?}");
        }
    }
}
