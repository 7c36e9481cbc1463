//! A Redis server that keeps nothing.

use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::process::Process;

/// A running server.
pub struct Redis {
    _process: Process,
    _directory: TempDir,
    url: String,
}

impl Redis {
    /// Starts it on a free port of the loopback interface.
    pub async fn start() -> anyhow::Result<Self> {
        let program = crate::artefact("/usr/bin/redis-server", "scripts/setup --test")?;
        // Redis does not take port 0 for "any".
        let port = crate::service::free_port()?;
        let directory = tempfile::tempdir()?;
        let mut command = Command::new(program);
        command
            .arg("--port")
            .arg(port.to_string())
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(directory.path());
        let (process, ()) =
            Process::start("redis-server", command, Duration::from_secs(10), |line| {
                line.contains("Ready to accept connections").then_some(())
            })
            .await?;
        Ok(Self {
            _process: process,
            _directory: directory,
            url: format!("redis://127.0.0.1:{port}"),
        })
    }

    /// Its address as the runtime configuration takes it.
    pub fn url(&self) -> &str {
        &self.url
    }
}
