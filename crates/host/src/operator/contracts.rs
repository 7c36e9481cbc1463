//! What `tokengate up` says of the contracts that gates name, in the log, once it serves: what `tokengate doctor` says of them.
//! It holds nothing up, and a provider that is down is no reason not to serve.

use std::time::Duration;

use tokengate_app::doctor::{self, ContractReport, Severity};
use tokengate_app::state::Installation;

use super::{Installed, run};
use crate::cli::Origin;

/// How long looking may take in all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at the contracts on a thread of its own, which ends by itself.
pub(crate) fn look_at_contracts(origin: &Origin) {
    let origin = origin.clone();
    let thread = std::thread::Builder::new().name("contracts".to_owned());
    if let Err(error) = thread.spawn(move || examine(&origin)) {
        tracing::warn!(%error, "the contracts that gates name are not looked at");
    }
}

fn examine(origin: &Origin) {
    // Any application can be served; one without our configuration names no contracts.
    let Ok(installed) = Installed::read(origin) else {
        return;
    };
    let looked_at = run(&installed, async |ports| {
        let work = async {
            let installed = Installation::load(ports).await?;
            let chains = doctor::contracts(&installed, ports).await;
            for (chain, reports) in installed.config().chains().zip(chains) {
                match reports {
                    Some(reports) => reports.iter().for_each(tell),
                    None => tracing::warn!(
                        chain = %chain.id,
                        "no provider answers about the contracts that gates name"
                    ),
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, work).await?
    });
    if let Err(error) = looked_at {
        tracing::warn!(%error, "the contracts that gates name could not be looked at");
    }
}

fn tell(report: &ContractReport) {
    for finding in &report.findings {
        let mend = &finding.help;
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        tracing::warn!(chain = %report.chain, severity, mend, "{}", finding.problem);
    }
}
