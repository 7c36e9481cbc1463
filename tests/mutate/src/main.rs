//! Breaks one line of defence at a time, in a copy of the sources, and reports whether a test fails.
//!
//! The mutations are `tests/mutations/*.toml`. For each, the test that it names runs first, alone; only if that passes,
//! all tests of core and app (or of the host) run, to tell a mutation that nothing notices from one whose entry names
//! another test. `scripts/mutate --help` lists the options.

/// Writes a line at once: a run may be cut off, and who reads may be gone.
macro_rules! say {
    ($($text:tt)*) => {
        writeln!(io::stdout(), $($text)*)?
    };
}

mod record;
mod run;
mod set;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use crate::record::{Fingerprint, Record};
use crate::run::{Copy, Tested, git};
use crate::set::{Mutation, Package, Tests};

/// Breaks one line of defence at a time and reports whether a test fails.
///
/// Exit code 0: a test fails for each; 1: a mutation survived, is stale or does not compile; 2: nothing could be found
/// out.
#[derive(Parser)]
#[command(name = "scripts/mutate")]
struct Options {
    /// Only these mutations
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Only the K-th of N parts
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Only those of this file in tests/mutations
    #[arg(long, value_name = "FILE")]
    area: Option<String>,
    /// Only those whose entry, mutated file or named test has changed since this commit
    #[arg(long, value_name = "COMMIT")]
    changed: Option<String>,
    /// List them with what is known of each, and run nothing
    #[arg(long)]
    list: bool,
    /// Forget what earlier runs found
    #[arg(long)]
    again: bool,
}

/// The K-th of N parts, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shard {
    index: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let numbers = parts.and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Self { index, of }),
            _ => Err("two numbers as 2/5, the first not above the second".into()),
        }
    }
}

impl Shard {
    fn has(self, position: usize) -> bool {
        position % self.of == self.index - 1
    }
}

/// What became of a mutation.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Outcome {
    Killed,
    Survived,
    /// The entry has to be corrected: it fits nothing, does not compile, or another test notices.
    Stale,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutate: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let root = git(Path::new("."), &["rev-parse", "--show-toplevel"])?;
    let root = Path::new(root.trim_end());
    let tests = Tests::find(root)?;
    let chosen = choose(options, root, &tests)?;
    // Through a link, paths would differ from those that cargo says.
    let target = root.join("target/mutations");
    fs::create_dir_all(&target)?;
    let target = target.canonicalize()?;
    let lock = File::create(target.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("another run is under way in {}", target.display()),
        Err(error) => return Err(error).context("target/mutations/lock"),
    }
    let copy = Copy::of(root, target.clone())?;
    let record = Record::open(&target.join("results"), options.again)?;
    let mut session = Session {
        root,
        copy,
        record,
        tests,
    };
    if options.list {
        for mutation in &chosen {
            let state = match session.prepare(mutation) {
                Ok(prepared) => prepared.known.unwrap_or_else(|| "not run".into()),
                Err(error) => format!("STALE: {error:#}"),
            };
            say!("{}/{}: {state}", mutation.area, mutation.id);
        }
        return Ok(true);
    }
    session.run(&chosen)
}

/// The mutations that the options ask for, those of one file beside each other.
fn choose(options: &Options, root: &Path, tests: &Tests) -> Result<Vec<Mutation>> {
    let mut all = set::load(root)?;
    for id in &options.ids {
        ensure!(
            all.iter().any(|mutation| mutation.id == *id),
            "no mutation has the id {id}"
        );
    }
    if !options.ids.is_empty() {
        all.retain(|mutation| options.ids.contains(&mutation.id));
    }
    if let Some(area) = &options.area {
        let stem = Path::new(area).file_stem().unwrap_or_default();
        let stem = stem.to_string_lossy();
        ensure!(
            root.join(format!("tests/mutations/{stem}.toml")).exists(),
            "there is no tests/mutations/{stem}.toml"
        );
        all.retain(|mutation| mutation.area == stem);
    }
    if let Some(base) = &options.changed {
        let changes = Changes::since(root, base, &all)?;
        all.retain(|mutation| changes.concern(mutation, tests));
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some(shard) = options.shard {
        let mut position = 0..;
        all.retain(|_| position.next().is_some_and(|position| shard.has(position)));
    }
    all.sort_by(|a, b| (a.packages(), &a.file).cmp(&(b.packages(), &b.file)));
    Ok(all)
}

/// What differs from an earlier commit.
struct Changes {
    files: BTreeSet<PathBuf>,
    entries: BTreeMap<String, Mutation>,
}

impl Changes {
    fn since(root: &Path, base: &str, all: &[Mutation]) -> Result<Self> {
        let differing = git(root, &["diff", "--name-only", "-z", base, "--"])?;
        let others = git(root, &["ls-files", "-z", "--others", "--exclude-standard"])?;
        let names = differing.split('\0').chain(others.split('\0'));
        let areas: BTreeSet<_> = all.iter().map(|mutation| &mutation.area).collect();
        let mut entries = BTreeMap::new();
        for area in areas {
            // A file that was not there had no entries.
            let file = format!("{base}:tests/mutations/{area}.toml");
            if let Ok(text) = git(root, &["show", &file]) {
                let then = set::read(area, &text).unwrap_or_default();
                entries.extend(then.into_iter().map(|entry| (entry.id.clone(), entry)));
            }
        }
        Ok(Self {
            files: names.map(PathBuf::from).collect(),
            entries,
        })
    }

    fn concern(&self, mutation: &Mutation, tests: &Tests) -> bool {
        let files =
            std::iter::once(&mutation.file).chain(mutation.also.iter().map(|edit| &edit.file));
        let places = tests.places(mutation);
        self.entries.get(&mutation.id) != Some(mutation)
            || files.map(Path::new).any(|file| self.files.contains(file))
            || places.iter().any(|place| self.files.contains(&place.file))
    }
}

struct Session<'a> {
    root: &'a Path,
    copy: Copy,
    record: Record,
    tests: Tests,
}

/// A mutation that fits the sources.
struct Prepared {
    mutated: BTreeMap<PathBuf, String>,
    digest: String,
    known: Option<String>,
}

impl Session<'_> {
    fn run(&mut self, chosen: &[Mutation]) -> Result<bool> {
        let (mut left, mut counts) = (Vec::new(), [0, 0, 0]);
        let mut count = |outcome| {
            let [killed, survived, stale] = &mut counts;
            match outcome {
                Outcome::Killed => *killed += 1,
                Outcome::Survived => *survived += 1,
                Outcome::Stale => *stale += 1,
            }
        };
        for mutation in chosen {
            match self.prepare(mutation) {
                Ok(Prepared {
                    known: Some(known), ..
                }) => {
                    count(Outcome::Killed);
                    say!("{}: {known} (by an earlier run)", mutation.id);
                }
                Ok(prepared) => left.push((mutation, prepared)),
                Err(error) => {
                    count(Outcome::Stale);
                    say!("{}: STALE: {}: {error:#}", mutation.id, named(mutation));
                }
            }
        }
        let packages: BTreeSet<_> = left
            .iter()
            .flat_map(|(mutation, _)| mutation.packages())
            .copied()
            .collect();
        if packages.contains(&Package::Host) {
            self.copy.lend_guest(self.root)?;
        }
        self.without_mutations(&Vec::from_iter(packages))?;
        for (mutation, prepared) in left {
            let begun = Instant::now();
            let (outcome, finding) = self.mutate(mutation, &prepared)?;
            count(outcome);
            let seconds = begun.elapsed().as_secs_f64();
            say!("{}: {finding} ({seconds:.1} s)", mutation.id);
            // The others are looked at again: a test may have come that the digest does not know of.
            if outcome == Outcome::Killed {
                self.record.note(&mutation.id, &prepared.digest, &finding)?;
            }
        }
        let [killed, survived, stale] = counts;
        say!(
            "{} mutations: {killed} killed, {survived} survived, {stale} stale",
            chosen.len()
        );
        Ok(survived + stale == 0)
    }

    /// Applies an entry, and looks up what is known of exactly that content under exactly these tests.
    fn prepare(&self, mutation: &Mutation) -> Result<Prepared> {
        mutation.check(self.root, &self.tests)?;
        let mutated = mutation.apply(self.copy.tree())?;
        let mut fingerprint = Fingerprint::new();
        for (file, content) in &mutated {
            fingerprint.text(file.to_string_lossy().as_bytes());
            fingerprint.text(content.as_bytes());
        }
        fingerprint.text(mutation.killed_by.as_bytes());
        // What is noted is that this test failed: other tests may change.
        let places = self.tests.places(mutation);
        let mut files: BTreeSet<_> = places.iter().map(|place| place.file.clone()).collect();
        for package in mutation.packages() {
            let support = format!("{}/tests/support", package.folder());
            files.extend(self.copy.below(&[&support]).cloned());
        }
        files.retain(|file| !mutated.contains_key(file));
        fingerprint.files(self.copy.tree(), &files)?;
        let digest = fingerprint.hex();
        let known = self.record.known(&mutation.id, &digest).map(Into::into);
        Ok(Prepared {
            mutated,
            digest,
            known,
        })
    }

    /// Nothing can be said about mutations unless all tests pass without one.
    fn without_mutations(&mut self, packages: &[Package]) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        let mut fingerprint = Fingerprint::new();
        let names = packages.iter().map(|package| package.name());
        fingerprint.text(names.collect::<String>().as_bytes());
        fingerprint.files(
            self.copy.tree(),
            self.copy
                .below(&["crates", "tests/vectors", "Cargo.toml", "Cargo.lock"]),
        )?;
        let digest = fingerprint.hex();
        if self.record.known("-", &digest).is_some() {
            return Ok(());
        }
        let begun = Instant::now();
        match self.copy.all(packages)? {
            Tested::Passed => {
                let seconds = begun.elapsed().as_secs_f64();
                say!("without a mutation: all tests pass ({seconds:.1} s)");
                self.record.note("-", &digest, "passed")
            }
            Tested::NotCompiled(output) => bail!("without a mutation:\n{output}"),
            Tested::Failed(how) => {
                eprintln!("{}", self.copy.output());
                bail!("without a mutation: {how}")
            }
            Tested::Absent => bail!("without a mutation: no tests"),
        }
    }

    fn mutate(&self, mutation: &Mutation, prepared: &Prepared) -> Result<(Outcome, String)> {
        let mut originals = Vec::new();
        for file in prepared.mutated.keys() {
            originals.push((file, fs::read_to_string(self.copy.tree().join(file))?));
        }
        for (file, content) in &prepared.mutated {
            self.copy.write(file, content)?;
        }
        let judged = self.judge(mutation);
        for (file, original) in originals {
            self.copy.write(file, &original)?;
        }
        judged
    }

    fn judge(&self, mutation: &Mutation) -> Result<(Outcome, String)> {
        let stale =
            |why: String| Ok((Outcome::Stale, format!("STALE: {}: {why}", named(mutation))));
        let mut found = false;
        for place in self.tests.places(mutation) {
            match self.copy.one(place, &mutation.killed_by)? {
                Tested::Failed(how) => return Ok((Outcome::Killed, format!("killed by {how}"))),
                Tested::NotCompiled(output) => {
                    return stale(format!("it does not compile:\n{output}"));
                }
                Tested::Passed => found = true,
                Tested::Absent => {}
            }
        }
        if !found {
            return stale(format!("no test {} ran", mutation.killed_by));
        }
        match self.copy.all(mutation.packages())? {
            Tested::Failed(how) => stale(format!(
                "{} does not notice it; this does: {how}",
                mutation.killed_by
            )),
            Tested::NotCompiled(output) => stale(format!("it does not compile:\n{output}")),
            Tested::Passed | Tested::Absent => Ok((
                Outcome::Survived,
                format!("SURVIVED: {}: {}", named(mutation), mutation.invariant),
            )),
        }
    }
}

/// Where the entry is written.
fn named(mutation: &Mutation) -> String {
    format!("tests/mutations/{}.toml", mutation.area)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_disjoint_and_cover_everything() {
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"]
            .map(|text| text.parse().unwrap())
            .into();
        for position in 0..20 {
            let having = shards.iter().filter(|shard| shard.has(position)).count();
            assert_eq!(having, 1);
        }
        for text in ["0/3", "4/3", "1", "1/0", "a/b", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
