//! `tokengate doctor`: what is wrong, before the first request finds out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokengate_app::doctor::{
    self, BucketReport, ChainReport, ContractReport, Finding, ProviderReport, Report, Severity,
};
use tokengate_app::load;
use tokengate_app::state::{All, Installation, Signers};
use tokengate_core::config::Config;

use super::demo::Demo;
use super::table::{count, table};
use super::{Answer, Installed, run};
use crate::cli::Doctor;
use crate::guest::ComponentSettings;
use crate::owned_path::{self, Exposure};
use crate::runtime_config::{self, KeyValueStore};

/// The number of the shape of the JSON document.
const VERSION: u32 = 1;

pub(crate) fn doctor(asked: &Doctor) -> anyhow::Result<Answer> {
    let demo = asked.demo.demo.as_deref().map(Demo::read).transpose()?;
    let installed = Installed::of(demo.as_ref(), &asked.origin)?;
    let (loaded, report) = run(&installed, async |ports| {
        // Every component's variables, also those that nothing below needs.
        load::<All>(ports).await?;
        let loaded = Installation::load(ports).await?;
        let signers = Signers::load(ports, &loaded).await?;
        let report = doctor::examine(&loaded, &signers, ports).await;
        let report = report.map_err(|problem| anyhow::anyhow!("{}", problem.code()))?;
        Ok((loaded, report))
    })?;
    let config = loaded.config();
    let mut findings = installed.findings.clone();
    findings.extend(unreachable(config, &installed));
    let demo_state = demo.as_ref().map(|demo| demo.state_directory.as_path());
    findings.extend(exposed(&stores(asked, demo_state, &installed)?)?);
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

/// The files of the embedded stores that `tokengate up` would open.
fn stores(
    asked: &Doctor,
    demo_state: Option<&Path>,
    installed: &Installed,
) -> anyhow::Result<Vec<PathBuf>> {
    let directory = runtime_config::state_directory(
        asked.stores.state_dir.as_deref().or(demo_state),
        &installed.manifest_directory,
    );
    let file = asked.stores.runtime_config_file.as_deref();
    let stores = runtime_config::key_value_stores(file, &directory)?;
    let paths = stores.into_values().filter_map(|store| match store {
        KeyValueStore::Embedded { path } => Some(path),
        KeyValueStore::Redis { .. } => None,
    });
    Ok(paths.collect())
}

/// Stores, and the directories that they are in, which other users of this machine may read or write.
fn exposed(stores: &[PathBuf]) -> anyhow::Result<Vec<Finding>> {
    let directories = stores.iter().filter_map(|store| store.parent());
    let directories: BTreeSet<_> = directories.collect();
    let files = stores.iter().map(|store| (store.as_path(), "600"));
    let paths = directories.into_iter().map(|path| (path, "700"));
    let mut findings = Vec::new();
    for (path, mode) in paths.chain(files) {
        let shown = path.display();
        let exposure = owned_path::exposure(path);
        let exposure = exposure.with_context(|| format!("{shown} cannot be looked at"))?;
        let mend = format!("chmod {mode} {shown}, and chown if others own it");
        match exposure {
            Some(Exposure::Readable) => findings.push(Finding::warning(
                "readable-store",
                format!("others on this machine may read {shown}, where the key-value store is: which wallets have signed in, and what they hold"),
                mend,
            )),
            Some(Exposure::Writable) => findings.push(Finding::error(
                "writable-store",
                format!("others own or may write {shown}, where the key-value store is, or it is a link: `tokengate up` refuses it"),
                mend,
            )),
            Some(Exposure::Private) | None => {}
        }
    }
    Ok(findings)
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
        let contracts = self.report.contracts.iter().flat_map(|report| {
            let what = report.contract.map_or_else(
                || "native amount".to_owned(),
                |contract| format!("{} {contract}", report.kind),
            );
            let name = format!("{what} on {}", report.chain);
            let findings = report.findings.iter();
            findings.map(move |finding| (name.clone(), finding))
        });
        let buckets = self.report.buckets.iter().flat_map(|bucket| {
            let name = format!("bucket {} ({})", bucket.bucket, bucket.host);
            bucket
                .findings
                .iter()
                .map(move |finding| (name.clone(), finding))
        });
        config.chain(providers).chain(contracts).chain(buckets)
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
            "contracts": self.report.contracts,
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
        if !self.report.contracts.is_empty() {
            let head = [
                "CHAIN", "CONTRACT", "NAMED AS", "BY", "STATE", "SYMBOL", "DECIMALS", "AT LEAST",
            ];
            let rows: Vec<_> = self.report.contracts.iter().map(contract_row).collect();
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
            let Finding { problem, help, .. } = finding;
            text.push_str(&format!("{severity}: {subject}: {problem}\n  {help}\n"));
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

/// Gates that a row names; how many more there are it only says.
const SHOWN: usize = 3;

fn contract_row(report: &ContractReport) -> [String; 8] {
    let shown = report.gates.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    let gates = match report.gates.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    };
    let whole = report.at_least_whole.as_ref();
    [
        report.chain.to_string(),
        cell(report.contract, |contract| contract.to_string()),
        report.kind.to_owned(),
        gates,
        state(&report.findings),
        report.symbol.clone().unwrap_or_else(|| "-".to_owned()),
        cell(report.decimals, |decimals| decimals.to_string()),
        cell(whole.or(report.at_least.as_ref()), String::clone),
    ]
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
