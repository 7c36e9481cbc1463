//! `tokengate doctor`: what is wrong, before the first request finds out.

use serde_json::{Value, json};
use tokengate_app::doctor::{
    self, BucketReport, ChainReport, Finding, ProviderReport, Report, Severity,
};
use tokengate_app::{Needs, Service};
use tokengate_core::config::Config;

use super::table::{count, table};
use super::{Answer, Installed, run};
use crate::cli::Doctor;
use crate::guest::ComponentSettings;

/// The number of the shape of the JSON document.
const VERSION: u32 = 1;

pub(crate) fn doctor(asked: &Doctor) -> anyhow::Result<Answer> {
    let installed = Installed::read(&asked.origin)?;
    let (service, report) = run(&installed, async |ports| {
        let needs = Needs {
            config: true,
            keys: true,
            store: true,
            providers: true,
            storage: true,
            events: true,
            demo: false,
            admin: true,
        };
        let service = Service::load(ports, needs).await?;
        let report = doctor::examine(&service, ports).await;
        let report = report.map_err(|problem| anyhow::anyhow!("{}", problem.code()))?;
        Ok((service, report))
    })?;
    let config = service
        .config()
        .map_err(|problem| anyhow::anyhow!("{}", problem.code()))?;
    let mut findings = installed.findings.clone();
    findings.extend(unreachable(config, &installed));
    let examined = Examined {
        counts: [
            count(config.gates().len(), "gate"),
            count(config.chains().count(), "chain"),
            count(config.buckets().count(), "bucket"),
        ],
        components: installed
            .components
            .iter()
            .map(|component| component.id.as_str())
            .collect(),
        findings,
        report,
    };
    let failing = examined
        .all_findings()
        .any(|(_, finding)| finding.severity == Severity::Error);
    let text = if asked.json {
        format!("{}\n", examined.document(config, failing))
    } else {
        examined.text()
    };
    Ok(Answer {
        text,
        code: u8::from(failing),
    })
}

/// Providers that a component which reads chains may not call, or does not know.
fn unreachable(config: &Config, installed: &Installed) -> Vec<Finding> {
    let templates = || {
        config.chains().flat_map(|chain| {
            let numbered = chain.providers.iter().zip(1..);
            numbered
                .map(|(template, position)| (format!("{} provider {position}", chain.id), template))
        })
    };
    let reads_chains = |component: &&ComponentSettings| {
        templates().any(|(_, template)| {
            let mut names = template.variables().peekable();
            // An address that stands in the file itself is known to every component.
            names.peek().is_none() && !component.allowed_hosts.is_empty()
                || names.any(|name| component.variables.0.contains_key(name))
        })
    };
    let readers: Vec<_> = installed.components.iter().filter(reads_chains).collect();
    let mut findings = Vec::new();
    for (provider, template) in templates() {
        let lacks = |component: &&&ComponentSettings| {
            template
                .variables()
                .any(|name| !component.variables.0.contains_key(name))
        };
        let lacking: Vec<_> = readers
            .iter()
            .filter(lacks)
            .map(|component| component.id.as_str())
            .collect();
        if !lacking.is_empty() {
            let names: Vec<_> = template.variables().collect();
            findings.push(Finding::error(
                "unknown-provider",
                format!("{provider} is not known to {}", lacking.join(", ")),
                format!(
                    "give them the variable {} in spin.toml",
                    names.join(" and ")
                ),
            ));
        }
        let uri = template
            .resolve(|name| installed.variables.get(name).cloned())
            .ok()
            .and_then(|url| url.parse::<http::Uri>().ok());
        let denied: Vec<_> = readers
            .iter()
            .filter(|component| {
                !uri.as_ref()
                    .is_some_and(|uri| component.allowed_hosts.allow(uri))
            })
            .map(|component| component.id.as_str())
            .collect();
        if !denied.is_empty() {
            findings.push(Finding::error(
                "provider-not-allowed",
                format!("{provider} may not be called by {}", denied.join(", ")),
                "name its scheme://host[:port] in their allowed_outbound_hosts in spin.toml, or correct the variable that stands there",
            ));
        }
    }
    findings
}

struct Examined<'a> {
    counts: [String; 3],
    components: Vec<&'a str>,
    findings: Vec<Finding>,
    report: Report,
}

impl Examined<'_> {
    /// Each finding with what it is about.
    fn all_findings(&self) -> impl Iterator<Item = (String, &Finding)> {
        let config = self
            .findings
            .iter()
            .map(|finding| ("config".to_owned(), finding));
        let providers = self.report.chains.iter().flat_map(|chain| {
            chain.providers.iter().flat_map(|provider| {
                let name = format!(
                    "{} provider {} ({})",
                    chain.chain, provider.position, provider.host
                );
                provider
                    .findings
                    .iter()
                    .map(move |finding| (name.clone(), finding))
            })
        });
        let buckets = self.report.buckets.iter().flat_map(|bucket| {
            let name = format!("bucket {} ({})", bucket.bucket, bucket.host);
            bucket
                .findings
                .iter()
                .map(move |finding| (name.clone(), finding))
        });
        config.chain(providers).chain(buckets)
    }

    fn document(&self, config: &Config, failing: bool) -> Value {
        json!({
            "version": VERSION,
            "status": if failing { "failing" } else { "ok" },
            "config": {
                "gates": config.gates().len(),
                "chains": config.chains().count(),
                "buckets": config.buckets().count(),
                "components": self.components,
                "findings": self.findings,
            },
            "chains": self.report.chains,
            "buckets": self.report.buckets,
        })
    }

    fn text(&self) -> String {
        let head = ["CONFIG", "STATE", "READ BY"];
        let components = self.components.join(", ");
        let mut text = table(
            head,
            &[[self.counts.join(", "), state(&self.findings), components]],
        );
        if !self.report.chains.is_empty() {
            let head = [
                "CHAIN",
                "READ AT",
                "PROVIDER",
                "STATE",
                "HEAD",
                "LAG",
                "AGE",
                "LATENCY",
                "BATCH",
                "READER",
                "SAFE",
                "FINALIZED",
                "BY HASH",
                "ARCHIVE",
            ];
            let rows: Vec<_> = self.report.chains.iter().flat_map(provider_rows).collect();
            text.push_str(&format!("\n{}", table(head, &rows)));
        }
        if !self.report.buckets.is_empty() {
            let head = ["BUCKET", "HOST", "STATE", "ANSWER", "CLOCK", "LATENCY"];
            let rows: Vec<_> = self.report.buckets.iter().map(bucket_row).collect();
            text.push_str(&format!("\n{}", table(head, &rows)));
        }
        text.push('\n');
        let (mut errors, mut warnings) = (0, 0);
        for (subject, finding) in self.all_findings() {
            let severity = match finding.severity {
                Severity::Error => {
                    errors += 1;
                    "error"
                }
                Severity::Warning => {
                    warnings += 1;
                    "warning"
                }
            };
            let Finding { problem, mend, .. } = finding;
            text.push_str(&format!("{severity}: {subject}: {problem}\n  {mend}\n"));
        }
        text.push_str(&match (errors, warnings) {
            (0, 0) => "all well\n".to_owned(),
            (0, warnings) => format!("{}, nothing failing\n", count(warnings, "warning")),
            (errors, warnings) => {
                format!(
                    "{}, {}\n",
                    count(errors, "error"),
                    count(warnings, "warning")
                )
            }
        });
        text
    }
}

fn state(findings: &[Finding]) -> String {
    let worst = findings.iter().map(|finding| finding.severity).max();
    match worst {
        None => "ok",
        Some(Severity::Warning) => "warning",
        Some(Severity::Error) => "failing",
    }
    .to_owned()
}

/// What is not known is a dash.
fn cell<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

fn yes(value: Option<bool>) -> String {
    cell(value, |yes| if yes { "yes" } else { "no" }.to_owned())
}

fn time(micros: Option<u64>) -> String {
    cell(micros, |micros| {
        format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
    })
}

fn provider_rows(chain: &ChainReport) -> impl Iterator<Item = [String; 14]> {
    chain.providers.iter().map(|provider| {
        let ProviderReport {
            position,
            host,
            head,
            lag_blocks,
            head_age_seconds,
            ..
        } = provider;
        [
            chain.chain.to_string(),
            chain.read_at.clone(),
            format!("{position} {host}"),
            state(&provider.findings),
            cell(*head, |head| head.to_string()),
            cell(*lag_blocks, |lag| lag.to_string()),
            cell(*head_age_seconds, |age| format!("{age} s")),
            time(provider.latency_us),
            yes(provider.batch),
            cell(provider.reader.clone(), |reader| reader),
            yes(provider.safe),
            yes(provider.finalized),
            yes(provider.block_hash),
            yes(provider.archive),
        ]
    })
}

fn bucket_row(report: &BucketReport) -> [String; 6] {
    let code = report.answer.as_deref().unwrap_or_default();
    [
        report.bucket.clone(),
        report.host.clone(),
        state(&report.findings),
        cell(report.status, |status| {
            format!("{status} {code}").trim_end().to_owned()
        }),
        cell(report.clock_skew_seconds, |skew| format!("{skew:+} s")),
        time(report.latency_us),
    ]
}
