//! `tokengate watch`: has a running service follow the transfers of gated tokens, again and again. It is a client of the
//! service, because the store belongs to the process that serves.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::on_this_machine;
use super::ports::Native;
use super::table::count;
use crate::cli::Watch;
use crate::stderr::Stderr;

/// Where the token is looked for. Never among the arguments, which every user of the machine can read.
const TOKEN_VARIABLE: &str = "TOKENGATE_ADMIN_TOKEN";
/// How long a round may take: longer than the service takes to give up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The pause while a chain is behind.
const SHORT_PAUSE: Duration = Duration::from_millis(100);
/// The longest answer that is read, in bytes.
const MAX_ANSWER_LEN: usize = 1024 * 1024;

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

/// Watches until a signal comes, or for a round. The exit code says whether the last round was whole.
pub(crate) fn watch(asked: &Watch, stderr: &Stderr) -> anyhow::Result<u8> {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, authorization(asked)?)]);
    let base = asked.url.as_str().trim_end_matches('/');
    let target = format!("{base}/v1/admin/watch");
    let pace = match asked.once {
        true => "once".to_owned(),
        false => format!("every {:?}", asked.every),
    };
    say(&[format!("watching {base} {pace}")])?;
    on_this_machine("", &BTreeMap::new(), async |ports| {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let rounds = async {
            let (mut failures, mut said) = (0, Vec::new());
            loop {
                let Outcome {
                    lines,
                    errors,
                    behind,
                } = round(ports, &target, &headers).await;
                say(&lines)?;
                // What goes on failing is said once.
                if errors != said {
                    for error in &errors {
                        stderr.say(format!("error: {error}\n"));
                    }
                }
                failures = if errors.is_empty() { 0 } else { failures + 1 };
                if asked.once {
                    return Ok(u8::from(failures > 0));
                }
                said = errors;
                tokio::time::sleep(pause(asked.every, failures, behind)).await;
            }
        };
        tokio::select! {
            code = rounds => code,
            _ = interrupt.recv() => Ok(0),
            _ = terminate.recv() => Ok(0),
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

fn authorization(asked: &Watch) -> anyhow::Result<HeaderValue> {
    let token = match &asked.token_file {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| anyhow::anyhow!("{} cannot be read: {error}", file.display()))?,
        None => std::env::var(TOKEN_VARIABLE).unwrap_or_default(),
    };
    let token = token.trim();
    ensure!(
        !token.is_empty(),
        "there is no token: give the value of the service's variable admin_token in {TOKEN_VARIABLE} or by --token-file"
    );
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .ok()
        .context("the token has characters that no header can carry")?;
    value.set_sensitive(true);
    Ok(value)
}

async fn round(ports: &Native, target: &str, headers: &HeaderMap) -> Outcome {
    let answer = ports.send(
        Method::POST,
        target,
        headers.clone(),
        Vec::new(),
        MAX_ANSWER_LEN,
    );
    let failed = |error: String| Outcome {
        errors: vec![error],
        ..Outcome::default()
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok((status, _, body))) => read(status, &body),
        Ok(Err(error)) => failed(format!("{error}; see that the service runs at {target}")),
        Err(_) => failed(format!("no answer in {PATIENCE:?}; see what {target} does")),
    }
}

fn read(status: StatusCode, body: &[u8]) -> Outcome {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut outcome = Outcome::default();
    let chains = answer.get("chains").and_then(Value::as_array);
    let Some(chains) = chains.filter(|_| status == StatusCode::OK) else {
        let detail = detail(&answer);
        let mend = match status {
            StatusCode::UNAUTHORIZED => {
                "give the value of the service's variable admin_token".to_owned()
            }
            StatusCode::NOT_FOUND => {
                "give the service a variable admin_token of at least 32 characters, and its URL here"
                    .to_owned()
            }
            _ => "the service's log says more".to_owned(),
        };
        outcome
            .errors
            .push(format!("{}: {detail}{mend}", status.as_u16()));
        return outcome;
    };
    for report in chains {
        let chain = report.get("chain").and_then(Value::as_str);
        let chain = chain.unwrap_or("a chain");
        match report.get("problem") {
            Some(problem) => outcome.errors.push(format!(
                "{chain}: {}the service's log says more",
                detail(problem)
            )),
            None => {
                outcome.behind |= number(report, "behind") > 0;
                outcome.lines.extend(line(chain, report));
            }
        }
    }
    outcome
}

/// What a problem document says, if it is one.
fn detail(problem: &Value) -> String {
    let detail = problem.get("detail").and_then(Value::as_str);
    detail.map_or_else(String::new, |detail| {
        // Of a service that need not be ours: nothing that a terminal would act upon.
        let detail: String = detail.chars().filter(|c| !c.is_control()).collect();
        format!("{}; ", detail.trim().trim_end_matches('.'))
    })
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
        counted("skipped", "block").map(|text| format!("{text} skipped")),
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

fn say(lines: &[String]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for line in lines {
        writeln!(stdout, "{line}")?;
    }
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_happened_and_nothing_where_nothing_did() {
        let report = |members: &Value| {
            let mut report = json!({"chain": "eip155:1", "from": 9, "to": 8, "head": 8, "behind": 0, "transfers": 0, "undone": 0, "outdated": 0, "skipped": 0, "dropped": 0});
            let all = report.as_object_mut().unwrap();
            all.extend(members.as_object().unwrap().clone());
            report
        };
        let quiet = report(&json!({}));
        let told = report(&json!({"from": 7, "transfers": 1, "outdated": 2}));
        let much = report(
            &json!({"from": 8, "undone": 2, "skipped": 1, "dropped": 3, "behind": 4, "head": 12}),
        );
        let failing = json!({"chain": "eip155:10", "problem": {"detail": "It could\n not."}});
        let body = json!({"chains": [quiet, told, much, failing]}).to_string();
        let expected = Outcome {
            lines: vec![
                "eip155:1 blocks 7 to 8: 1 transfer, 2 facts outdated".to_owned(),
                "eip155:1 block 8: 2 transfers undone, 1 block skipped, 3 transfers too many to be undone, 4 blocks behind".to_owned(),
            ],
            errors: vec!["eip155:10: It could not; the service's log says more".to_owned()],
            behind: true,
        };
        assert_eq!(read(StatusCode::OK, body.as_bytes()), expected);
    }

    #[test]
    fn an_error_says_what_to_do() {
        for (status, body, expected) in [
            (
                401,
                r#"{"detail":"This is not the admin token."}"#,
                "401: This is not the admin token; give the value",
            ),
            (404, "", "404: give the service a variable admin_token"),
            (503, "<html>", "503: the service's log says more"),
            (200, r#"{"chains":{}}"#, "200: the service's log says more"),
        ] {
            let outcome = read(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert!(outcome.lines.is_empty());
            assert!(
                outcome.errors.iter().all(|e| e.starts_with(expected)),
                "{outcome:?}"
            );
            assert_eq!(outcome.errors.len(), 1);
        }
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
