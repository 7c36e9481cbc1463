//! A Redis server that keeps nothing.

use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::Process;

/// A server, which can be ended, made to hang, and brought back.
pub struct Redis {
    process: Option<Process>,
    directory: TempDir,
    port: u16,
    url: String,
}

impl Redis {
    /// Starts it on a free port of the loopback interface.
    pub async fn start() -> anyhow::Result<Self> {
        // Redis does not take port 0 for "any".
        let port = crate::service::free_port()?;
        let mut redis = Self {
            process: None,
            directory: tempfile::tempdir()?,
            port,
            url: format!("redis://127.0.0.1:{port}"),
        };
        redis.restart().await?;
        Ok(redis)
    }

    /// Its address as the runtime configuration takes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts it again, empty, where it was.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let program = crate::artefact("/usr/bin/redis-server", "scripts/setup --test")?;
        self.process = None;
        let mut command = Command::new(program);
        command
            .arg("--port")
            .arg(self.port.to_string())
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(self.directory.path());
        let (process, ()) =
            Process::start("redis-server", command, Duration::from_secs(10), |line| {
                line.contains("Ready to accept connections").then_some(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Has it keep its connections and answer nothing.
    pub fn hang(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Has it go on.
    pub fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// A client of it.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let client = redis::Client::open(self.url.as_str())?;
        Ok(Client(client.get_multiplexed_async_connection().await?))
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.process.as_ref().and_then(Process::id);
        let id = id.and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(Pid::from_raw).context("it is not running")?;
        Ok(kill_process(id, signal)?)
    }
}

/// A client that sends any command.
pub struct Client(redis::aio::MultiplexedConnection);

impl Client {
    /// What the server replies.
    pub async fn query<T: redis::FromRedisValue>(
        &mut self,
        command: &str,
        arguments: &[&str],
    ) -> anyhow::Result<T> {
        let mut command = redis::cmd(command);
        command.arg(arguments);
        Ok(command.query_async(&mut self.0).await?)
    }
}
