//! Child processes that cannot outlive their owner.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// What a child wrote, kept whole.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<String>>);

impl Log {
    /// All that has been written so far.
    pub fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn push(&self, line: &str) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(line);
        text.push('\n');
    }
}

/// A running child. Dropping it kills it; so does the death of the thread that started it, however that comes about.
pub struct Process {
    name: String,
    child: Child,
    stdout: Log,
    stderr: Log,
}

impl Process {
    /// Starts `command` and waits until a line of its standard output is one that `ready` takes.
    ///
    /// # Errors
    /// When the program does not start, ends first, or is not ready after `patience`.
    pub async fn start<T>(
        name: &str,
        mut command: Command,
        patience: Duration,
        mut ready: impl FnMut(&str) -> Option<T>,
    ) -> anyhow::Result<(Self, T)> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C in a terminal reaches a whole process group; the owner decides the order in which its children end.
            .process_group(0);
        // SAFETY: the closure runs between fork and exec and makes one prctl call, which allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("{name} does not start"))?;

        let (lines, mut seen) = mpsc::unbounded_channel();
        let (stdout, stderr) = (Log::default(), Log::default());
        let out = child.stdout.take().context("stdout is piped")?;
        let err = child.stderr.take().context("stderr is piped")?;
        tokio::spawn(copy(out, stdout.clone(), Some(lines)));
        tokio::spawn(copy(err, stderr.clone(), None));
        let mut process = Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        };

        let found = tokio::time::timeout(patience, async {
            while let Some(line) = seen.recv().await {
                if let Some(found) = ready(&line) {
                    return Some(found);
                }
            }
            None
        })
        .await;
        match found {
            Ok(Some(found)) => Ok((process, found)),
            Ok(None) => {
                let status = process.child.wait().await?;
                // What it wrote last may still be in the pipe.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(Ended {
                    name: process.name.clone(),
                    status,
                    stdout: process.stdout.text(),
                    stderr: process.stderr.text(),
                }
                .into())
            }
            Err(_) => bail!(
                "{name} is not ready after {patience:?}:\n{}{}",
                process.stdout.text(),
                process.stderr.text()
            ),
        }
    }

    /// What it wrote to standard output.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote to standard error.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Its process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Asks it to end (SIGTERM) and waits; after `patience` it is killed and that is an error.
    pub async fn stop(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)?;
        }
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                self.child.kill().await?;
                bail!("{} did not end within {patience:?} of SIGTERM", self.name)
            }
        }
    }
}

/// A child that ended before it was ready.
#[derive(Debug)]
pub struct Ended {
    /// Which child.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            status,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "{name} ended before it was ready: {status}\n{stdout}{stderr}"
        )
    }
}

impl std::error::Error for Ended {}

async fn copy(from: impl AsyncRead + Unpin, to: Log, lines: Option<mpsc::UnboundedSender<String>>) {
    let mut reader = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = reader.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        to.push(&line);
        if let Some(lines) = &lines {
            // The receiver is gone once the child is ready; its output is still drained, or it would block.
            let _ = lines.send(line);
        }
    }
}
