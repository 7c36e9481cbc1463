//! `tokengate warm`: has a running service read what gates rest on, for many addresses, before they ask.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use serde_json::{Value, json};
use tokengate_app::routes::admin::MAX_ADDRESSES;
use tokengate_core::Address;
use tokengate_core::address::AddressError;

use super::ports::Native;
use super::service::{Failure, Service};
use super::table::count;
use super::{on_this_machine, say};
use crate::cli::Warm;
use crate::stderr::Stderr;

/// How often a batch is asked for.
const TRIES: u32 = 3;
/// The pause before the next try, where the service asks for none, and the longest.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the service says of a batch, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Report {
    addresses: usize,
    gates: usize,
    wanted: usize,
    known: usize,
    read: usize,
    unreadable: usize,
    failed: usize,
}

/// Warms, batch by batch. The exit code says whether there is nothing left to read.
pub(crate) fn warm(asked: &Warm, stderr: &Stderr) -> anyhow::Result<u8> {
    let addresses = listed(&asked.addresses)?;
    let service = Service::new(&asked.service, "/v1/admin/warm")?;
    on_this_machine("", &BTreeMap::new(), async |ports| {
        let (mut totals, mut done, mut is_whole) = (Report::default(), 0, true);
        for batch in addresses.chunks(MAX_ADDRESSES) {
            let (from, to) = (done + 1, done + batch.len());
            match read(ports, &service, &asked.gates, batch).await {
                Ok(report) => {
                    totals = totals.and(report);
                    say(&[totals.progress(to, addresses.len())])?;
                }
                Err(failure) => {
                    is_whole = false;
                    let is_lasting = matches!(failure, Failure::Lasting(_));
                    let text = failure.text();
                    stderr.say(format!("error: addresses {from} to {to}: {text}\n"));
                    if is_lasting {
                        break;
                    }
                }
            }
            done = to;
        }
        say(&[totals.sum(addresses.len())])?;
        is_whole &= totals.unreadable == 0 && totals.failed == 0;
        Ok(u8::from(!is_whole))
    })
}

/// The addresses that a file lists, or what comes in where it is `-`.
fn listed(file: &Path) -> anyhow::Result<Vec<Address>> {
    let (name, text) = match file.to_str() {
        Some("-") => ("standard input".into(), io::read_to_string(io::stdin())),
        _ => (file.display().to_string(), std::fs::read_to_string(file)),
    };
    let text = text.map_err(|error| anyhow!("{name} cannot be read: {error}"))?;
    parse(&text).map_err(|error| anyhow!("{name}: {error}"))
}

/// One address on each line, but for empty ones and those that begin with `#`.
fn parse(text: &str) -> anyhow::Result<Vec<Address>> {
    let mut addresses = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let address = line.parse();
            let address = address.map_err(|error: AddressError| anyhow!("line {number}: {error}"));
            addresses.push(address?);
        }
    }
    ensure!(!addresses.is_empty(), "there is no address in it");
    Ok(addresses)
}

/// What the service says of a batch, at the last try.
async fn read(
    ports: &Native,
    service: &Service,
    gates: &[String],
    addresses: &[Address],
) -> Result<Report, Failure> {
    let mut body = json!({"addresses": addresses});
    if let Some(members) = body.as_object_mut()
        && !gates.is_empty()
    {
        members.insert("gates".into(), gates.into());
    }
    let mut tries = 1;
    loop {
        match service.ask(ports, Some(&body), Report::parse).await {
            Err(Failure::Passing(_, pause)) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(pause.unwrap_or(PAUSE).min(LONGEST_PAUSE)).await;
            }
            outcome => return outcome,
        }
    }
}

impl Report {
    fn parse(answer: &Value) -> Option<Self> {
        let number = |of: &Value, name| usize::try_from(of.get(name)?.as_u64()?).ok();
        let facts = answer.get("facts")?;
        Some(Self {
            addresses: number(answer, "addresses")?,
            gates: number(answer, "gates")?,
            wanted: number(facts, "wanted")?,
            known: number(facts, "known")?,
            read: number(facts, "read")?,
            unreadable: number(facts, "unreadable")?,
            failed: number(facts, "failed")?,
        })
    }

    /// The two together; every batch is for the same gates.
    const fn and(self, other: Self) -> Self {
        Self {
            addresses: self.addresses.saturating_add(other.addresses),
            gates: other.gates,
            wanted: self.wanted.saturating_add(other.wanted),
            known: self.known.saturating_add(other.known),
            read: self.read.saturating_add(other.read),
            unreadable: self.unreadable.saturating_add(other.unreadable),
            failed: self.failed.saturating_add(other.failed),
        }
    }

    /// How far it is, and what came of it so far.
    fn progress(&self, done: usize, all: usize) -> String {
        let mut line = format!(
            "{done} of {}: {} read, {} known",
            count(all, "address"),
            count(self.read, "fact"),
            self.known
        );
        for (number, what) in [(self.unreadable, "unreadable"), (self.failed, "failed")] {
            if number > 0 {
                line.push_str(&format!(", {number} {what}"));
            }
        }
        line
    }

    /// All of it.
    fn sum(&self, all: usize) -> String {
        let of = match self.addresses {
            addresses if addresses == all => count(all, "address"),
            addresses => format!("{addresses} of {}", count(all, "address")),
        };
        format!(
            "{of}, {}: {} wanted, {} known, {} read, {} unreadable, {} failed",
            count(self.gates, "gate"),
            count(self.wanted, "fact"),
            self.known,
            self.read,
            self.unreadable,
            self.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_an_address_on_a_line_and_a_mistake_is_named_by_its_line() {
        let good = "# holders\n\n0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\r\n  0x70997970c51812dc3a010c7d01b50e0d17dc79c8  \n#0x12\n";
        let addresses = parse(good).unwrap();
        let texts: Vec<String> = addresses.iter().map(Address::to_string).collect();
        let expected = [
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        ];
        assert_eq!(texts, expected);
        for (bad, expected) in [
            ("# a\n0x12\n", "line 2: an address is 0x"),
            (
                "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                "line 1: the mixed-case",
            ),
            (
                "0x70997970c51812dc3a010c7d01b50e0d17dc79c8,1\n",
                "line 1: an address",
            ),
            ("", "there is no address"),
            ("# none\n", "there is no address"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn lines_say_how_far_it_is_and_the_last_one_all_of_it() {
        let facts =
            json!({"wanted": 1_000, "known": 100, "read": 900, "unreadable": 0, "failed": 0});
        let answer = json!({"gates": 2, "addresses": 500, "facts": facts});
        let first = Report::parse(&answer).unwrap();
        assert_eq!(
            first.progress(500, 12_000),
            "500 of 12000 addresses: 900 facts read, 100 known"
        );
        let facts = json!({"wanted": 6, "known": 0, "read": 1, "unreadable": 2, "failed": 3});
        let answer = json!({"gates": 2, "addresses": 3, "facts": facts});
        let all = first.and(Report::parse(&answer).unwrap());
        assert_eq!(
            all.progress(503, 503),
            "503 of 503 addresses: 901 facts read, 100 known, 2 unreadable, 3 failed"
        );
        assert_eq!(
            all.sum(503),
            "503 addresses, 2 gates: 1006 facts wanted, 100 known, 901 read, 2 unreadable, 3 failed"
        );
        assert!(
            first
                .sum(1_000)
                .starts_with("500 of 1000 addresses, 2 gates: ")
        );
        assert_eq!(Report::parse(&json!({"gates": 1, "addresses": 1})), None);
    }
}
