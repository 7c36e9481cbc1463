//! A bucket: whether its store takes the credentials, and whether the clocks agree.

use std::time::Duration;

use serde::Serialize;
use tokengate_core::config::Bucket;
use tokengate_core::presign::Signer;
use tokengate_core::secret::Secret;

use super::{Finding, PATIENCE, Page, Web, call_finding, host, seconds_between};
use crate::http::problem::Problem;
use crate::ports::CallError;
use crate::timeout::within;

/// The longest error document that is read.
const MAX_PAGE_LEN: usize = 64 * 1024;
/// For how long the probe's URL is signed: as long as clocks may differ.
const PROBE_TTL: Duration = Duration::from_secs(300);
/// S3 refuses what is signed with a clock that differs by 15 minutes. URLs of minutes suffer much earlier.
const SKEW_ERROR: u64 = 300;
const SKEW_WARNING: u64 = 30;

/// What was found out about a bucket.
#[derive(Clone, Debug, Serialize)]
pub struct BucketReport {
    /// Its name in the configuration.
    pub bucket: String,
    /// The host of its URLs.
    pub host: String,
    /// The status with which a signed request for an object that is not there was answered.
    pub status: Option<u16>,
    /// The error code of S3 in that answer.
    pub answer: Option<String>,
    /// Seconds by which the store's clock is ahead of ours.
    pub clock_skew_seconds: Option<i64>,
    /// How long the answer took, in microseconds.
    pub latency_us: Option<u64>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

pub(super) async fn examine<P: Web>(
    ports: &P,
    bucket: &Bucket,
    signer: &Signer,
) -> Result<BucketReport, Problem> {
    let signed = signer
        .probe(ports.random(), ports.now(), PROBE_TTL)
        .ok_or(Problem::Misconfigured)?;
    let unsigned = signed.url.expose().split('?').next().unwrap_or_default();
    let unsigned = Secret::new(unsigned.to_owned());
    let mut report = BucketReport {
        bucket: bucket.name.clone(),
        host: host(&signed.url),
        status: None,
        answer: None,
        clock_skew_seconds: None,
        latency_us: None,
        findings: Vec::new(),
    };
    let start = ports.elapsed();
    let page = match fetch(ports, &signed.url).await {
        Ok(page) => page,
        Err(error) => {
            let source = format!("the endpoint at {}", bucket.endpoint.position());
            report.findings = vec![call_finding(error, PATIENCE, &source)];
            return Ok(report);
        }
    };
    let took = ports.elapsed().saturating_sub(start);
    report.latency_us = Some(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    report.status = Some(page.status);
    report.answer = code(&page.body);
    report.clock_skew_seconds = page.date.map(|date| seconds_between(ports.now(), date));
    report.findings = clock(report.clock_skew_seconds).into_iter().collect();
    let clocks_agree = report.findings.is_empty();
    report.findings.extend(judge(
        page.status,
        report.answer.as_deref(),
        bucket,
        clocks_agree,
    ));
    // Only a store that understands signatures says anything by its answer to a request without one.
    if report.findings.is_empty() && is_absent(&fetch(ports, &unsigned).await) {
        report.findings.push(Finding::error(
            "public",
            "the store also answers unsigned requests: the bucket is open to everyone",
            "make the bucket private",
        ));
    }
    Ok(report)
}

async fn fetch<P: Web>(ports: &P, url: &Secret<String>) -> Result<Page, CallError> {
    within(ports, PATIENCE, ports.fetch(url, MAX_PAGE_LEN))
        .await
        .unwrap_or(Err(CallError::Timeout))
}

fn is_absent(page: &Result<Page, CallError>) -> bool {
    page.as_ref()
        .is_ok_and(|page| page.status == 404 && code(&page.body).as_deref() == Some("NoSuchKey"))
}

fn clock(skew: Option<i64>) -> Option<Finding> {
    let skew = skew?;
    let problem = format!(
        "this machine's clock is {} s {} the store's",
        skew.unsigned_abs(),
        if skew > 0 { "behind" } else { "ahead of" }
    );
    let help = "set the clock, for example with chrony or systemd-timesyncd";
    match skew.unsigned_abs() {
        SKEW_ERROR.. => Some(Finding::error("clock", problem, help)),
        SKEW_WARNING.. => Some(Finding::warning("clock", problem, help)),
        _ => None,
    }
}

/// What the answer to a request for an object that is not there says of the credentials and the bucket.
fn judge(
    status: u16,
    answer: Option<&str>,
    bucket: &Bucket,
    clocks_agree: bool,
) -> Option<Finding> {
    let prefix = &bucket.credentials;
    let finding = match (status, answer.unwrap_or_default()) {
        (404, "NoSuchKey") => return None,
        (404, "NoSuchBucket") => Finding::error(
            "no-such-bucket",
            format!("the store has no bucket {:?}", bucket.bucket),
            "create it, or name it as the store does with `bucket = \"…\"` under [[bucket]]",
        ),
        // NotSignedUp is what some stores say instead.
        (_, "InvalidAccessKeyId" | "NotSignedUp") => Finding::error(
            "access-key-id",
            "the store does not know the access key id",
            format!("set the variable {prefix}_access_key_id to one that this store has given out"),
        ),
        (_, "SignatureDoesNotMatch") => Finding::error(
            "secret-access-key",
            "the secret access key is not that of the access key id",
            format!(
                "set the variable {prefix}_secret_access_key to the one that was made with {prefix}_access_key_id; look for a lost or added character"
            ),
        ),
        (_, "InvalidToken" | "ExpiredToken" | "TokenRefreshRequired") => Finding::error(
            "session-token",
            "the session token is not valid, or not any more",
            format!(
                "renew {prefix}_access_key_id, {prefix}_secret_access_key and {prefix}_session_token together"
            ),
        ),
        (_, "RequestTimeTooSkewed") => Finding::error(
            "clock",
            "the store refuses signatures of this machine's time",
            "set the clock, for example with chrony or systemd-timesyncd",
        ),
        (
            301 | 307 | 400,
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "AuthorizationQueryParametersError",
        ) => Finding::error(
            "region",
            format!(
                "the store wants another region than {:?}, or another endpoint",
                bucket.region
            ),
            "set `region` and `endpoint` under [[bucket]] to those of the bucket",
        ),
        // What has expired or is not valid yet is denied in the same words.
        (403, "AccessDenied") if !clocks_agree => return None,
        // S3 hides from those who may not list a bucket which objects are there.
        (403, "AccessDenied") => Finding::warning(
            "cannot-tell",
            "the store knows the key and says AccessDenied to an object that is not there: the key may lack the right to list, which is fine, or to read, which is not",
            "see that the key's policy has s3:GetObject; with s3:ListBucket this check can tell",
        ),
        (200..=299, _) => Finding::error(
            "not-a-store",
            "an object that does not exist is answered with success: that is no object store",
            "set `endpoint` under [[bucket]] to the store's address",
        ),
        (404, "") => Finding::error(
            "not-a-store",
            "404 without an error code of S3: that is no object store, or the address of none of its buckets",
            "set `endpoint` and `addressing` under [[bucket]] to what the store's documentation says",
        ),
        (status, code) => Finding::error(
            "store-error",
            format!("the store answers {status} {code}")
                .trim_end()
                .to_owned(),
            "see the store's documentation for what that means",
        ),
    };
    Some(finding)
}

/// The code in an error document of S3: the element `Code`, if it looks like one.
fn code(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, after) = text.split_once("<Code>")?;
    let (code, _) = after.split_once("</Code>")?;
    let sound = (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    sound.then(|| code.to_owned())
}
