//! What is wrong with providers and buckets, before the first request finds out: an operator's question.
//!
//! Nothing here decides who may have what. No report holds a URL, which may carry an API key, or a credential: a
//! provider is named by its chain, its place in the list and its host.

mod bucket;
mod contracts;
mod provider;

use std::future::Future;
use std::time::Duration;

use futures_util::future::{join_all, join3};
use serde::Serialize;
use tokengate_core::Timestamp;
use tokengate_core::secret::Secret;

pub use bucket::BucketReport;
pub use contracts::ContractReport;
pub use provider::{ChainReport, ProviderReport};

use crate::http::problem::Problem;
use crate::ports::{CallError, Ports};
use crate::state::{Installation, Signers};

/// A platform that can also read a page, which no function of the service does.
pub trait Web: Ports {
    /// GETs `url` and reads at most `limit` bytes of the reply. Redirects are not followed.
    fn fetch(
        &self,
        url: &Secret<String>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, CallError>>;
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    /// The time in `Date` (RFC 9110 section 6.6.1), if there is one.
    pub date: Option<Timestamp>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Requests are answered, but not as well as they could be.
    Warning,
    /// Requests fail, or would be decided wrongly.
    Error,
}

/// Something that is wrong, and how to correct it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name of its kind.
    pub code: &'static str,
    /// What is wrong.
    pub problem: String,
    /// How to correct it.
    #[serde(rename = "mend")]
    pub help: String,
}

impl Finding {
    /// Something that makes requests fail.
    pub fn error(code: &'static str, problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            problem: problem.into(),
            help: help.into(),
        }
    }

    /// Something to look after.
    pub fn warning(
        code: &'static str,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, problem, help)
        }
    }
}

/// All that was found out about what lies outside.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The chains, by id.
    pub chains: Vec<ChainReport>,
    /// The contracts that gates name, chain by chain.
    pub contracts: Vec<ContractReport>,
    /// The buckets, by name.
    pub buckets: Vec<BucketReport>,
}

/// The most that one call may take, whatever the configuration allows: an operator is waiting for the report.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest reply of a provider that is read: a block of many transactions names them all.
const MAX_REPLY_LEN: usize = 1024 * 1024;

/// Asks every provider and every bucket, all at once, and the contracts that gates name.
///
/// # Errors
/// [`Problem::Misconfigured`], if a probe of a bucket cannot be signed.
pub async fn examine<P: Web>(
    installation: &Installation,
    signers: &Signers,
    ports: &P,
) -> Result<Report, Problem> {
    let config = installation.config();
    let deadline = config.deadlines.provider.min(PATIENCE);
    let chains = config
        .chains()
        .map(|chain| provider::examine(installation, ports, chain, deadline));
    let buckets = signers
        .by_bucket()
        .map(|(bucket, signer)| bucket::examine(ports, bucket, signer));
    let contracts = contracts(installation, ports);
    let (chains, buckets, contracts) = join3(join_all(chains), join_all(buckets), contracts).await;
    Ok(Report {
        chains,
        contracts: contracts.into_iter().flatten().flatten().collect(),
        buckets: buckets.into_iter().collect::<Result<_, _>>()?,
    })
}

/// Looks at the contracts that gates name, chain by chain; `None` for a chain of which no provider answers.
pub async fn contracts<P: Ports>(
    installation: &Installation,
    ports: &P,
) -> Vec<Option<Vec<ContractReport>>> {
    let config = installation.config();
    let deadline = config.deadlines.provider.min(PATIENCE);
    let chains = config
        .chains()
        .map(|chain| contracts::examine(installation, ports, chain, deadline));
    join_all(chains).await
}

/// The host of a URL: all of it that may be shown.
fn host(url: &Secret<String>) -> String {
    url::Url::parse(url.expose())
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default()
}

/// How a call failed, with what may be done about it. `source` is where the called URL is written.
fn call_finding(error: CallError, deadline: Duration, source: &str) -> Finding {
    let (code, help) = match error {
        CallError::Timeout => (
            "timeout",
            format!("see that {source} names a server that is near and up"),
        ),
        CallError::TooLong | CallError::Protocol => (
            "not-http",
            format!("see that {source} has the right host, port and scheme"),
        ),
        CallError::Dns => ("dns", format!("correct the host's name in {source}")),
        CallError::Refused => (
            "refused",
            format!("see that {source} has the right host and port, and that it is up"),
        ),
        CallError::Tls => (
            "tls",
            format!(
                "see that {source} names the host as its certificate does, and that this machine trusts the authority that signed it"
            ),
        ),
        CallError::Closed | CallError::Failed => (
            "closed",
            format!("see that {source} has the right scheme and port, and that it is up"),
        ),
        CallError::Denied => (
            "denied",
            "name its origin in allowed_outbound_hosts in spin.toml".to_owned(),
        ),
    };
    let problem = match error {
        CallError::Timeout => format!("no reply within {} ms", deadline.as_millis()),
        CallError::Dns => "its host's name could not be resolved".to_owned(),
        other => other.to_string(),
    };
    Finding::error(code, problem, help)
}

/// Whole seconds from `from` to `to`, negative if it is the other way round.
fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    to.as_second().saturating_sub(from.as_second())
}
