//! The copy of the sources in which mutations are made, and cargo in it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::set::{Package, Place, Target};

/// One test's time. The slowest takes some ten seconds; a mutation may never end.
const ONE_TEST: Duration = Duration::from_secs(120);
/// The time of all tests of one program.
const ALL_TESTS: Duration = Duration::from_secs(15 * 60);
/// The time that compiling takes at most.
const COMPILING: Duration = Duration::from_secs(45 * 60);

const KILL: i32 = 9;

/// How many failed tests are named.
const SHOWN: usize = 5;

/// How tests ended.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Tested {
    Passed,
    /// The names of tests that failed, or why the program ended.
    Failed(String),
    /// No test has that name.
    Absent,
    /// The end of the compiler's output.
    NotCompiled(String),
}

/// A copy of the working tree with a target directory of its own.
pub(crate) struct Copy {
    tree: PathBuf,
    target: PathBuf,
    files: BTreeSet<PathBuf>,
}

/// A compiled test program.
struct Program {
    path: PathBuf,
    package: PathBuf,
}

impl Copy {
    /// Brings the copy of `root` below `target` up to date. What has not changed keeps its times, so that cargo
    /// compiles no more than it has to.
    pub(crate) fn of(root: &Path, target: PathBuf) -> Result<Self> {
        let tree = target.join("tree");
        let files = tracked(root)?;
        for file in &files {
            let content = fs::read(root.join(file))
                .with_context(|| format!("{} cannot be read", file.display()))?;
            let copy = tree.join(file);
            if fs::read(&copy).is_ok_and(|known| known == content) {
                continue;
            }
            if let Some(folder) = copy.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&copy, content)?;
        }
        remove_others(&tree, Path::new(""), &files)?;
        Ok(Self {
            tree,
            target,
            files,
        })
    }

    /// Lends the copy what the host's tests need besides cargo: the guest that they serve.
    pub(crate) fn lend_guest(&self, root: &Path) -> Result<()> {
        let guests = root.join("target/wasm32-wasip2");
        ensure!(
            guests.join("release/tokengate_probe.wasm").exists(),
            "the host's tests serve a guest: run `scripts/build components` before"
        );
        let link = self.target.join("wasm32-wasip2");
        match symlink(guests.canonicalize()?, &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The files of the copy below any of `folders`.
    pub(crate) fn below(&self, folders: &[&str]) -> impl Iterator<Item = &PathBuf> {
        let folders: Vec<_> = folders.iter().map(PathBuf::from).collect();
        let files = self.files.iter();
        files.filter(move |file| folders.iter().any(|folder| file.starts_with(folder)))
    }

    pub(crate) fn tree(&self) -> &Path {
        &self.tree
    }

    /// Replaces a file's content; its time is that of now, also where what was there before comes back.
    pub(crate) fn write(&self, file: &Path, content: &str) -> Result<()> {
        fs::write(self.tree.join(file), content).with_context(|| file.display().to_string())
    }

    /// Compiles the program that has a test, and runs that test alone.
    pub(crate) fn one(&self, place: &Place, name: &str) -> Result<Tested> {
        let selection = match &place.target {
            Target::Unit if place.package == Package::Host => vec!["--bins"],
            Target::Unit => vec!["--lib"],
            Target::Integration(test) => vec!["--test", test],
        };
        // Each selection of packages has its own features of what they depend on, which compiles again for it. That
        // pays only for the unit tests of core, which would otherwise bring those of app along.
        let packages: &[Package] = match (place.package, &place.target) {
            (Package::Host, _) => &[Package::Host],
            (Package::Core, Target::Unit) => &[Package::Core],
            _ => &[Package::Core, Package::App],
        };
        let programs = match self.compile(packages, &selection)? {
            Ok(programs) => programs,
            Err(output) => return Ok(Tested::NotCompiled(output)),
        };
        let mut found = false;
        for program in &programs {
            for test in self.list(program)? {
                let rest = test.strip_suffix(name);
                if rest.is_none_or(|before| !before.is_empty() && !before.ends_with("::")) {
                    continue;
                }
                found = true;
                let arguments = ["--exact", &test];
                if let Tested::Failed(how) = self.test(program, &arguments, ONE_TEST)? {
                    return Ok(Tested::Failed(how));
                }
            }
        }
        Ok(if found {
            Tested::Passed
        } else {
            Tested::Absent
        })
    }

    /// Compiles and runs all tests of `packages`. Documentation's examples are left out: they show, and decide nothing.
    pub(crate) fn all(&self, packages: &[Package]) -> Result<Tested> {
        let programs = match self.compile(packages, &[])? {
            Ok(programs) => programs,
            Err(output) => return Ok(Tested::NotCompiled(output)),
        };
        ensure!(!programs.is_empty(), "cargo has compiled no tests");
        for program in &programs {
            if let Tested::Failed(how) = self.test(program, &[], ALL_TESTS)? {
                return Ok(Tested::Failed(how));
            }
        }
        Ok(Tested::Passed)
    }

    /// The end of what the last command wrote.
    pub(crate) fn output(&self) -> String {
        let output = fs::read_to_string(self.target.join("log")).unwrap_or_default();
        let lines: Vec<_> = output.lines().collect();
        lines
            .get(lines.len().saturating_sub(60)..)
            .unwrap_or_default()
            .join("\n")
    }

    fn compile(
        &self,
        packages: &[Package],
        selection: &[&str],
    ) -> Result<Result<Vec<Program>, String>> {
        let mut command = timed("cargo", COMPILING);
        command
            .args(["test", "--locked", "--profile", "mutate", "--no-run"])
            .args([
                "--color",
                "never",
                "--message-format",
                "json-render-diagnostics",
            ])
            .args(packages.iter().flat_map(|package| ["-p", package.name()]))
            .args(selection)
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_INCREMENTAL", "1");
        let messages = self.target.join("messages");
        let status = self
            .run(command, Some(File::create(&messages)?))?
            .context("the compiler has not ended in time")?;
        if !status.success() {
            return Ok(Err(self.output()));
        }
        let messages = fs::read_to_string(messages)?;
        let programs = messages.lines().filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let path = message.get("executable")?.as_str()?.into();
            let manifest = Path::new(message.get("manifest_path")?.as_str()?);
            message
                .pointer("/profile/test")?
                .as_bool()?
                .then(|| Program {
                    path,
                    package: manifest.parent().unwrap_or(manifest).into(),
                })
        });
        Ok(Ok(programs.collect()))
    }

    fn list(&self, program: &Program) -> Result<Vec<String>> {
        let output = Command::new(&program.path)
            .args(["--list", "--format", "terse"])
            .current_dir(&program.package)
            .output()?;
        ensure!(
            output.status.success(),
            "{} does not list its tests",
            program.path.display()
        );
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(String::from).collect())
    }

    fn test(&self, program: &Program, arguments: &[&str], time: Duration) -> Result<Tested> {
        let mut command = timed(&program.path, time);
        command
            .args(arguments)
            .current_dir(&program.package)
            .env("CARGO_MANIFEST_DIR", &program.package)
            .env("RUST_BACKTRACE", "0")
            // Random cases are for what was not thought of; these mutations were.
            .env("PROPTEST_CASES", "32")
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        let Some(status) = self.run(command, None)? else {
            return Ok(Tested::Failed(format!(
                "no end within {} s",
                time.as_secs()
            )));
        };
        if status.success() {
            return Ok(Tested::Passed);
        }
        let log = fs::read_to_string(self.target.join("log")).unwrap_or_default();
        let failed: Vec<_> = log
            .lines()
            .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
            .collect();
        Ok(Tested::Failed(match failed.as_slice() {
            // A program that aborts names no test.
            [] => status.to_string(),
            few if few.len() <= SHOWN => few.join(", "),
            many => {
                let shown: Vec<_> = many.iter().take(SHOWN).copied().collect();
                format!("{} and {} more", shown.join(", "), many.len() - SHOWN)
            }
        }))
    }

    /// Runs a command that [`timed`] made; none, if its time was over.
    fn run(&self, mut command: Command, stdout: Option<File>) -> Result<Option<ExitStatus>> {
        let log = File::create(self.target.join("log"))?;
        let stderr = log.try_clone()?;
        let status = command
            .stdin(Stdio::null())
            .stdout(stdout.unwrap_or(log))
            .stderr(stderr)
            .status()
            .context("timeout (of coreutils) does not start")?;
        Ok(Some(status).filter(|status| status.signal() != Some(KILL)))
    }
}

/// A command that is killed with all its children when its time is over, also where this program has ended before.
fn timed(program: impl AsRef<OsStr>, time: Duration) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", &time.as_secs().to_string()])
        .arg(program);
    command
}

/// What git knows of and what it has not been told to ignore, as it is in the working tree.
fn tracked(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let list = git(
        root,
        &[
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
    )?;
    let files = list.split('\0').filter(|name| !name.is_empty());
    // Links are none of the sources, and a file may be gone without git having been told.
    let files = files.map(PathBuf::from).filter(|file| {
        fs::symlink_metadata(root.join(file)).is_ok_and(|metadata| metadata.is_file())
    });
    Ok(files.collect())
}

/// What git answers.
pub(crate) fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root)
        .output()
        .context("git does not start")?;
    ensure!(
        output.status.success(),
        "git {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn remove_others(tree: &Path, folder: &Path, files: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(tree.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(tree, &path, files)?;
            // A folder of the workspace without its manifest is an error to cargo.
            if fs::read_dir(entry.path())?.next().is_none() {
                fs::remove_dir(entry.path())?;
            }
        } else if !files.contains(&path) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    fn copy(target: &Path) -> Copy {
        Copy {
            tree: target.into(),
            target: target.into(),
            files: BTreeSet::new(),
        }
    }

    #[test]
    fn a_command_is_killed_with_its_children_when_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let copy = copy(folder.path());
        let mut endless = timed("sh", Duration::from_secs(1));
        endless.args(["-c", "sleep 600 & echo $! >&2; wait"]);
        assert_eq!(copy.run(endless, None).unwrap(), None);
        let child = PathBuf::from("/proc")
            .join(copy.output().trim())
            .join("stat");
        let end = Instant::now() + Duration::from_secs(10);
        // It is a zombie until its new parent has waited for it.
        while fs::read_to_string(&child).is_ok_and(|state| !state.contains(") Z")) {
            assert!(Instant::now() < end, "the child goes on");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_failing_command_is_told_from_one_whose_time_was_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut failing = timed("sh", Duration::from_secs(60));
        failing.args(["-c", "exit 3"]);
        let status = copy(folder.path()).run(failing, None).unwrap().unwrap();
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn a_copy_follows_its_tree_and_leaves_what_has_not_changed_alone() {
        let (root, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, target) = (root.path(), target.path());
        git(root, &["init", "-q"]).unwrap();
        let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
        fs::create_dir(root.join("src")).unwrap();
        write("src/a", "1");
        write("src/b", "1");
        write(".gitignore", "ignored\n");
        write("ignored", "1");
        let copied = |name: &str| target.join("tree").join(name);
        Copy::of(root, target.into()).unwrap();
        assert!(copied("src/a").exists() && copied("src/b").exists());
        assert!(!copied("ignored").exists());
        let before = fs::metadata(copied("src/a")).unwrap().modified().unwrap();
        write("src/c", "2");
        fs::remove_file(root.join("src/b")).unwrap();
        fs::write(copied("src/mutated"), "3").unwrap();
        Copy::of(root, target.into()).unwrap();
        assert_eq!(
            fs::metadata(copied("src/a")).unwrap().modified().unwrap(),
            before
        );
        assert_eq!(fs::read_to_string(copied("src/c")).unwrap(), "2");
        assert!(!copied("src/b").exists() && !copied("src/mutated").exists());
    }
}
