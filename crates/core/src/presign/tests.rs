use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rusty_s3::S3Action;

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
        serde_json::from_str(include_str!("../../../../tests/vectors/sigv4/aws.json")).unwrap();
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
fn a_signer_is_right_on_every_day_it_is_used_on() {
    let fresh = || signer("https://s3.amazonaws.com", Addressing::VirtualHost);
    let used = fresh();
    let a = Resource::parse("examplebucket/a").unwrap();
    for (time, scope) in [
        ("2013-05-23T23:59:59.999Z", "20130523"),
        ("2013-05-24T00:00:00Z", "20130524"),
        ("2013-05-24T23:59:59Z", "20130524"),
        ("2013-05-25T00:00:00Z", "20130525"),
        ("2013-05-24T12:00:00Z", "20130524"),
        ("2014-05-24T12:00:00Z", "20140524"),
    ] {
        let sign = |signer: &Signer| {
            signer.sign(
                &a,
                Method::Get,
                None,
                time.parse().unwrap(),
                Duration::from_secs(60),
            )
        };
        let signed = sign(&used).unwrap();
        assert!(
            signed.url.expose().contains(&format!(
                "%2F{scope}%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date={scope}T"
            )),
            "{time}"
        );
        assert_eq!(Some(&signed), sign(&fresh()).as_ref(), "{time}");
        assert_eq!(Some(signed), sign(&used.clone()), "{time}");
    }
}

/// The other side of the property below: the same URL by a library for S3.
struct Library {
    bucket: rusty_s3::Bucket,
    credentials: rusty_s3::Credentials,
}

impl Library {
    fn new(
        endpoint: &Url,
        addressing: Addressing,
        name: &str,
        region: &str,
        key: &AccessKey,
    ) -> Option<Self> {
        let style = match addressing {
            Addressing::Path => rusty_s3::UrlStyle::Path,
            Addressing::VirtualHost => rusty_s3::UrlStyle::VirtualHost,
        };
        let (id, secret) = (key.id.expose().clone(), key.secret.expose().clone());
        Some(Self {
            bucket: rusty_s3::Bucket::new(
                endpoint.clone(),
                style,
                name.to_owned(),
                region.to_owned(),
            )
            .ok()?,
            credentials: match &key.session_token {
                Some(token) => {
                    rusty_s3::Credentials::new_with_token(id, secret, token.expose().as_str())
                }
                None => rusty_s3::Credentials::new(id, secret),
            },
        })
    }

    fn sign(
        &self,
        resource: &Resource,
        method: Method,
        disposition: Option<Disposition>,
        now: Timestamp,
        ttl: Duration,
    ) -> String {
        let now = Timestamp::from_second(now.as_second()).unwrap();
        let credentials = Some(&self.credentials);
        let url = match method {
            Method::Get => {
                let mut action =
                    rusty_s3::actions::GetObject::new(&self.bucket, credentials, resource.key());
                if let Some(disposition) = disposition {
                    action.query_mut().insert(
                        "response-content-disposition",
                        content_disposition(disposition, resource.file_name()),
                    );
                }
                action.sign_with_time(ttl, &now)
            }
            Method::Head => {
                rusty_s3::actions::HeadObject::new(&self.bucket, credentials, resource.key())
                    .sign_with_time(ttl, &now)
            }
        };
        url.into()
    }
}

fn endpoints() -> impl Strategy<Value = Url> {
    let scheme = select(vec!["http", "https", "HTTPS"]);
    let host = prop_oneof![
        select(vec![
            "s3.amazonaws.com",
            "S3.Eu-Central-1.amazonaws.com",
            "s3.example.",
            "localhost",
            "127.0.0.1",
            "[::1]",
            "xn--mnchen-3ya.example",
        ])
        .prop_map(str::to_owned),
        "[a-z][a-z0-9]{0,9}(\\.[a-z]{2,9}){1,3}",
    ];
    let port = prop_oneof![
        select(vec!["", ":", ":80", ":443"]).prop_map(str::to_owned),
        (1_u16..).prop_map(|port| format!(":{port}")),
    ];
    (scheme, host, port)
        .prop_map(|(scheme, host, port)| format!("{scheme}://{host}{port}").parse().unwrap())
}

fn resources() -> impl Strategy<Value = Resource> {
    let segment = prop_oneof!["[ -~]{1,24}", "\\PC{1,24}", "[%.+/~ a2eF]{1,24}"];
    vec(segment, 1..4).prop_filter_map("no object key", |segments| {
        Resource::parse(&format!("media/{}", segments.join("/"))).ok()
    })
}

/// Of any time, and around the midnights of a few days.
fn times() -> impl Strategy<Value = Timestamp> {
    let midnight = (19_782_i64..19_785).prop_map(|day| day * 86_400);
    let second = prop_oneof![
        Timestamp::MIN.as_second()..Timestamp::MAX.as_second() - 604_800,
        (midnight.clone(), -1_i64..=1).prop_map(|(midnight, off)| midnight + off),
        (midnight, 0_i64..86_400).prop_map(|(midnight, second)| midnight + second),
    ];
    (second, 0_i32..1_000_000_000)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
}

fn access_keys() -> impl Strategy<Value = AccessKey> {
    // HMAC treats keys above its block of 64 bytes apart.
    let secret = prop_oneof!["[A-Za-z0-9/+]{40}", "\\PC{0,100}"];
    (
        prop_oneof!["[A-Z0-9]{20}", "\\PC{0,20}"],
        secret,
        option::of("\\PC{0,200}"),
    )
        .prop_map(|(id, secret, session_token)| AccessKey {
            id: Secret::new(id),
            secret: Secret::new(secret),
            session_token: session_token.map(Secret::new),
        })
}

proptest! {
    #[test]
    fn urls_are_those_of_a_library_for_s3(
        endpoint in endpoints(),
        addressing in select(vec![Addressing::Path, Addressing::VirtualHost]),
        name in "[a-z0-9][a-z0-9.-]{0,20}[a-z0-9]",
        region in prop_oneof!["[a-z]{2}-[a-z]{4,9}-[1-9]", "auto", "[A-Za-z0-9-]{1,20}"],
        key in access_keys(),
        requests in vec(
            (
                resources(),
                select(vec![Method::Get, Method::Head]),
                option::of(select(vec![Disposition::Attachment, Disposition::Inline])),
                times(),
                1_u64..=604_800,
            ),
            1..8,
        ),
    ) {
        let library = Library::new(&endpoint, addressing, &name, &region, &key);
        let signer = Signer::new(&endpoint, addressing, &name, &region, &key).ok();
        prop_assert_eq!(signer.is_some(), library.is_some());
        let Some((signer, library)) = signer.zip(library) else {
            return Ok(());
        };
        for (resource, method, disposition, now, ttl) in requests {
            let ttl = Duration::from_secs(ttl);
            let signed = signer.sign(&resource, method, disposition, now, ttl).unwrap();
            prop_assert_eq!(
                signed.url.expose(),
                &library.sign(&resource, method, disposition, now, ttl)
            );
        }
    }
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
}

#[test]
fn what_a_signer_knows_is_not_shown() {
    let key = AccessKey {
        session_token: Some(Secret::new("TOKENEXAMPLE".into())),
        ..key()
    };
    let endpoint = "https://s3.amazonaws.com".parse().unwrap();
    let signer = Signer::new(&endpoint, Addressing::Path, "b", "r", &key).unwrap();
    let a = Resource::parse("b/a").unwrap();
    let signed = signer.sign(
        &a,
        Method::Get,
        None,
        published_date(),
        Duration::from_secs(60),
    );
    let shown = format!("{signer:?} {signed:?}");
    assert!(!shown.contains("EXAMPLE"), "{shown}");
}
