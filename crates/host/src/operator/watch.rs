//! `tokengate watch`: has a running service follow the transfers of gated tokens, again and again. It is a client of the
//! service, because the store belongs to the process that serves.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::ports::Native;
use super::service::{LOG, Service, detail};
use super::table::count;
use super::{on_this_machine, say};
use crate::cli::Watch;
use crate::stderr::Stderr;

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The pause while a chain is behind.
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// What a round came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// What happened, a line for each chain.
    lines: Vec<String>,
    /// What failed, with what to do.
    errors: Vec<String>,
    /// Whether there is more to read at once.
    behind: bool,
}

/// So many rounds in a row that were not whole are said, and are in the exit code.
const STUCK: u32 = 3;

/// Watches until a signal comes, or for a round. The exit code says whether the last round was whole, or until a signal,
/// whether one of the last few was.
pub(crate) fn watch(asked: &Watch, stderr: &Stderr) -> anyhow::Result<u8> {
    let service = Service::new(&asked.service, "/v1/admin/watch")?;
    let pace = match asked.once {
        true => "once".to_owned(),
        false => format!("every {:?}", asked.every),
    };
    let failures = Cell::new(0_u32);
    on_this_machine("", &BTreeMap::new(), async |ports| {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Said once a signal ends it well.
        say(&[format!("watching {} {pace}", service.base())])?;
        let rounds = async {
            let mut said = Vec::new();
            loop {
                let Outcome {
                    lines,
                    errors,
                    behind,
                } = round(ports, &service).await;
                say(&lines)?;
                // What goes on failing is said once.
                if errors != said {
                    for error in &errors {
                        stderr.say(format!("error: {error}\n"));
                    }
                }
                failures.set(match errors.is_empty() {
                    true => 0,
                    false => failures.get().saturating_add(1),
                });
                if failures.get() == STUCK {
                    stderr.say(format!("error: {STUCK} rounds in a row were not whole: transfers are not followed, and a token that was sold opens its gate for as long as `max_age` and `stale_while_revalidate` allow{LOG}\n"));
                }
                if asked.once {
                    return Ok(u8::from(failures.get() > 0));
                }
                said = errors;
                tokio::time::sleep(pause(asked.every, failures.get(), behind)).await;
            }
        };
        tokio::select! {
            code = rounds => code,
            _ = interrupt.recv() => Ok(u8::from(failures.get() >= STUCK)),
            _ = terminate.recv() => Ok(u8::from(failures.get() >= STUCK)),
        }
    })
}

fn pause(every: Duration, failures: u32, behind: bool) -> Duration {
    match failures {
        0 if behind => every.min(SHORT_PAUSE),
        0 => every,
        _ => {
            let longer = every.saturating_mul(1 << failures.min(16));
            longer.min(LONGEST_PAUSE).max(every)
        }
    }
}

async fn round(ports: &Native, service: &Service) -> Outcome {
    let chains = |answer: &Value| answer.get("chains")?.as_array().cloned();
    match service.ask(ports, None, chains).await {
        Ok(chains) => read(&chains),
        Err(failure) => Outcome {
            errors: vec![failure.text()],
            ..Outcome::default()
        },
    }
}

fn read(chains: &[Value]) -> Outcome {
    let mut outcome = Outcome::default();
    for report in chains {
        let chain = report.get("chain").and_then(Value::as_str);
        let chain = chain.unwrap_or("a chain");
        match report.get("problem") {
            Some(problem) => {
                let error = format!("{chain}: {}{LOG}", detail(problem));
                outcome.errors.push(error);
            }
            None => {
                outcome.behind |= number(report, "behind") > 0;
                outcome.lines.extend(line(chain, report));
            }
        }
    }
    outcome
}

fn number(report: &Value, name: &str) -> u64 {
    report.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// What happened on a chain, if anything did.
fn line(chain: &str, report: &Value) -> Option<String> {
    let number = |name| number(report, name);
    let counted = |name, what| {
        let number = usize::try_from(number(name)).unwrap_or(usize::MAX);
        (number > 0).then(|| count(number, what))
    };
    let parts = [
        counted("transfers", "transfer"),
        counted("undone", "transfer").map(|text| format!("{text} undone")),
        counted("outdated", "fact").map(|text| format!("{text} outdated")),
        counted("contracts", "contract").map(|text| format!("all facts of {text} outdated")),
        counted("skipped", "block").map(|text| format!("{text} skipped")),
        counted("unreadable", "transfer").map(|text| format!("{text} not readable")),
        counted("dropped", "transfer").map(|text| format!("{text} too many to be undone")),
        counted("behind", "block").map(|text| format!("{text} behind")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let blocks = match (number("from"), number("to")) {
        (from, to) if from < to => format!("blocks {from} to {to}"),
        (_, to) => format!("block {to}"),
    };
    (!parts.is_empty()).then(|| format!("{chain} {blocks}: {}", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_happened_and_nothing_where_nothing_did() {
        let report = |members: &Value| {
            let mut report = json!({"chain": "eip155:1", "from": 9, "to": 8, "head": 8, "behind": 0, "transfers": 0, "undone": 0, "outdated": 0, "contracts": 0, "skipped": 0, "unreadable": 0, "dropped": 0});
            let all = report.as_object_mut().unwrap();
            all.extend(members.as_object().unwrap().clone());
            report
        };
        let quiet = report(&json!({}));
        let told = report(&json!({"from": 7, "transfers": 1, "outdated": 2}));
        let much = report(
            &json!({"from": 8, "undone": 2, "contracts": 1, "skipped": 1, "unreadable": 1, "dropped": 3, "behind": 4, "head": 12}),
        );
        let failing = json!({"chain": "eip155:10", "problem": {"detail": "It could\n not."}});
        let chains = [quiet, told, much, failing];
        let expected = Outcome {
            lines: vec![
                "eip155:1 blocks 7 to 8: 1 transfer, 2 facts outdated".to_owned(),
                "eip155:1 block 8: 2 transfers undone, all facts of 1 contract outdated, 1 block skipped, 1 transfer not readable, 3 transfers too many to be undone, 4 blocks behind".to_owned(),
            ],
            errors: vec!["eip155:10: It could not; the service's log says more".to_owned()],
            behind: true,
        };
        assert_eq!(read(&chains), expected);
    }

    #[test]
    fn failures_are_waited_out_longer_and_longer_and_a_chain_that_is_behind_is_not() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(seconds(2), 0, false), seconds(2));
        assert_eq!(pause(seconds(2), 0, true), SHORT_PAUSE);
        assert_eq!(pause(seconds(2), 1, true), seconds(4));
        assert_eq!(pause(seconds(2), 4, false), seconds(30));
        assert_eq!(pause(seconds(2), 1_000, false), seconds(30));
        assert_eq!(pause(seconds(60), 3, false), seconds(60));
    }
}
