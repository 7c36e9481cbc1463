//! Providers of one chain, held against each other.

use tokengate_core::endpoint::Authority;
use tokengate_core::jsonrpc::Header;
use tokengate_core::secret::Secret;

use super::ProviderReport;
use crate::diagnostics::Finding;

/// A head so much older than the best provider's is worth a warning, or makes decisions wrong.
const LAG_WARNING: u64 = 60;
const LAG_ERROR: u64 = 600;

/// Providers of one host fail together, and agree with each other about what is wrong with it. On this machine, ports tell
/// servers apart.
pub(super) fn same_hosts(probed: &mut [(ProviderReport, Option<Header>)], urls: &[Secret<String>]) {
    let mut known: Vec<(usize, Authority)> = Vec::new();
    for ((report, _), url) in probed.iter_mut().zip(urls) {
        let Some(authority) = url::Url::parse(url.expose())
            .ok()
            .as_ref()
            .and_then(Authority::of)
        else {
            continue;
        };
        let same = |other: &Authority| {
            other.host() == authority.host()
                && (!authority.is_local() || other.port() == authority.port())
        };
        match known.iter().find(|(_, other)| same(other)) {
            Some((position, _)) => report.findings.push(Finding::warning(
                "same-host",
                format!("it has the same host as provider {position}: the two fail together, and together they prove no more than one"),
                "name a provider that is independent of it",
            )),
            None => known.push((report.position, authority)),
        }
    }
}

pub(super) fn compare(report: &mut ProviderReport, head: &Header, best: &Header) {
    let blocks = best.number.saturating_sub(head.number);
    let seconds = best.timestamp.saturating_sub(head.timestamp);
    report.lag_blocks = Some(blocks);
    if blocks > 0 && seconds >= LAG_WARNING {
        let problem = format!("{blocks} blocks and {seconds} s behind the chain's best provider");
        let help = "wait until it has caught up, or put a better one before it";
        report.findings.push(if seconds >= LAG_ERROR {
            Finding::error("lagging", problem, help)
        } else {
            Finding::warning("lagging", problem, help)
        });
    }
}
