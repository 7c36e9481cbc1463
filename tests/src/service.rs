//! The service: the shipped components and manifest under the shipped host.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{Ended, Process};
use crate::store::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use crate::{artefact, root};

/// The tests' service keys: the first signs.
pub const SERVICE_KEYS: &str =
    "k1:8f5d0f7c1c1a4c0d9b3a6e2f7d8c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a";

/// The tests' store keys.
pub const STORE_KEYS: &str = "k1:3c9a51e07b6d42f8a1c4e7902b5d8f6340917263f5e8d1c0ab97463528190fde";

const BUILD: &str = "scripts/build";
/// A first start compiles every component; later ones load what that left in the cache.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to start the service.
#[derive(Clone)]
pub struct Settings {
    /// The text of `tokengate.toml`.
    pub config: String,
    /// Application variables.
    pub variables: Vec<(String, String)>,
    /// The text of a runtime configuration.
    pub runtime_config: Option<String>,
    /// The text of a manifest in place of the repository's.
    pub manifest: Option<String>,
    /// The port on the loopback interface; 0 takes any.
    pub port: u16,
    /// More arguments of the host.
    pub arguments: Vec<String>,
    /// Whether it looks at the contracts of its gates once it serves: calls that most tests do not count with.
    pub contract_check: bool,
}

impl Settings {
    /// The service over a provider and the tests' store.
    pub fn new(config: &str, rpc_url: &str) -> Self {
        let variables = [
            ("service_keys", SERVICE_KEYS),
            ("store_keys", STORE_KEYS),
            ("rpc_url", rpc_url),
            ("rpc_origin", rpc_url.trim_end_matches('/')),
            ("media_access_key_id", ACCESS_KEY_ID),
            ("media_secret_access_key", SECRET_ACCESS_KEY),
        ];
        Self {
            config: config.to_owned(),
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            runtime_config: None,
            manifest: None,
            port: 0,
            arguments: Vec::new(),
            contract_check: false,
        }
    }

    /// The service over further providers, for which `tokengate.toml` has the variables `rpc_url_2` and so on. The manifest
    /// is the repository's with those added, as an operator adds them.
    pub fn further_providers(mut self, urls: &[String]) -> anyhow::Result<Self> {
        let mut manifest = std::fs::read_to_string(root().join("spin.toml"))?;
        for (index, url) in urls.iter().enumerate() {
            let number = index + 2;
            for (line, more) in [
                (
                    "rpc_origin = { required = true }\n",
                    format!("rpc_url_{number} = {{ required = true, secret = true }}\n"),
                ),
                (
                    "rpc_url = \"{{ rpc_url }}\"\n",
                    format!("rpc_url_{number} = \"{{{{ rpc_url_{number} }}}}\"\n"),
                ),
            ] {
                anyhow::ensure!(manifest.contains(line), "spin.toml has no line {line}");
                manifest = manifest.replace(line, &format!("{line}{more}"));
            }
            let hosts = "allowed_outbound_hosts = [";
            let origin = url.trim_end_matches('/');
            manifest = manifest.replace(hosts, &format!("{hosts}\"{origin}\", "));
            self = self.variable(&format!("rpc_url_{number}"), url);
        }
        self.manifest = Some(manifest);
        Ok(self)
    }

    /// With what a source of events signs with, as the manifest's comments say.
    pub fn events(mut self, secret: &str) -> anyhow::Result<Self> {
        let manifest = match self.manifest {
            Some(text) => text,
            None => std::fs::read_to_string(root().join("spin.toml"))?,
        };
        let comments = manifest.matches("# events_secret").count();
        anyhow::ensure!(comments == 2, "spin.toml has {comments} such comments");
        self.manifest = Some(manifest.replace("# events_secret", "events_secret"));
        Ok(self.variable("events_secret", secret))
    }

    /// Sets a variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the host an option more.
    pub fn argument(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Leaves a variable unset.
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    /// Speaks to the Redis at `url` directly, as an operator sets that up: `tokengate.toml` has `redis = "{{ redis_url }}"`, and
    /// every component that has the store also has the variable and the host.
    pub fn direct_redis(mut self, url: &str) -> anyhow::Result<Self> {
        let mut manifest = match self.manifest.take() {
            Some(manifest) => manifest,
            None => std::fs::read_to_string(root().join("spin.toml"))?,
        };
        for (line, more) in [
            (
                "rpc_origin = { required = true }\n",
                "redis_url = { required = true, secret = true }\n",
            ),
            (
                "key_value_stores = [\"default\"]\n",
                "allowed_outbound_hosts = [\"REDIS\"]\n",
            ),
        ] {
            anyhow::ensure!(manifest.contains(line), "spin.toml has no line {line}");
            manifest = manifest.replace(line, &format!("{line}{more}"));
        }
        // A component that has hosts already has one more.
        let hosts = "allowed_outbound_hosts = [\"REDIS\"]\nallowed_outbound_hosts = [";
        let manifest = manifest
            .replace(hosts, "allowed_outbound_hosts = [\"REDIS\", ")
            .replace("REDIS", url);
        let mut lines = Vec::new();
        for line in manifest.lines() {
            lines.push(line.to_owned());
            let component = line.strip_prefix("[component.");
            let component = component.and_then(|rest| rest.strip_suffix(".variables]"));
            if component.is_some_and(|name| name != "site") {
                lines.push("redis_url = \"{{ redis_url }}\"".to_owned());
            }
        }
        self.manifest = Some(lines.join("\n") + "\n");
        Ok(self.variable("redis_url", url))
    }

    /// Keeps the key-value store in the Redis at `url`.
    pub fn redis(mut self, url: &str) -> Self {
        self.runtime_config = Some(format!(
            "[key_value_store.default]\ntype = \"redis\"\nurl = \"{url}\"\n"
        ));
        self
    }
}

/// A running service.
pub struct Service {
    process: Process,
    url: String,
    _directory: TempDir,
}

impl Service {
    /// Starts it and waits until it listens.
    pub async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let command = command(settings, &directory)?;
        let (process, url) = Process::start("tokengate", command, PATIENCE, |line| {
            line.strip_prefix("listening on ").map(str::to_owned)
        })
        .await?;
        Ok(Self {
            process,
            url,
            _directory: directory,
        })
    }

    /// Starts what must not start; answers how it ended and what it said.
    pub async fn start_in_vain(settings: &Settings) -> anyhow::Result<(ExitStatus, String)> {
        match Self::start(settings).await {
            Ok(_) => anyhow::bail!("it started"),
            Err(error) => {
                let ended: Ended = error.downcast()?;
                Ok((ended.status, ended.stderr))
            }
        }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All it has written to standard output and standard error.
    pub fn log(&self) -> String {
        format!("{}{}", self.process.stdout(), self.process.stderr())
    }

    /// Its process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Most resident memory that it has had since it started, in bytes (`VmHWM` of proc_pid_status(5)).
    ///
    /// # Errors
    /// If it has ended.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let id = self.id().context("the service has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(peak.context("no VmHWM")?.parse::<u64>()? << 10)
    }

    /// Ends it as an operator does and answers its exit status.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.stop(Duration::from_secs(30)).await
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> anyhow::Result<String> {
        let status = self.process.wait().await?;
        Ok(format!("tokengate: {status}\n{}", self.process.stderr()))
    }
}

/// Runs another command of the host over the application as `settings` install it; answers how it ended and what it
/// wrote.
pub async fn run(settings: &Settings, arguments: &[&str]) -> anyhow::Result<Output> {
    let directory = tempfile::tempdir()?;
    let mut command = installed(settings, &directory)?;
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(tokio::time::timeout(PATIENCE, command.output()).await??)
}

/// Starts `tokengate watch` over the service at `url`.
pub async fn watch(url: &str, token: &str) -> anyhow::Result<Process> {
    let mut command = Command::new(artefact("target/native/tokengate", BUILD)?);
    command
        .args(["watch", "--every", "1s", "--url", url])
        .env("TOKENGATE_ADMIN_TOKEN", token);
    let (process, ()) = Process::start("tokengate watch", command, PATIENCE, |line| {
        line.starts_with("watching ").then_some(())
    })
    .await?;
    Ok(process)
}

/// Runs `tokengate watch --once` over the service at `url`; answers how it ended and what it wrote.
pub async fn watch_once(url: &str, token: &str) -> anyhow::Result<Output> {
    let mut command = Command::new(artefact("target/native/tokengate", BUILD)?);
    command
        .args(["watch", "--once", "--url", url])
        .env("TOKENGATE_ADMIN_TOKEN", token)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(tokio::time::timeout(PATIENCE, command.output()).await??)
}

/// Runs `tokengate warm` over the service at `url` for the addresses that `list` names, with these further arguments;
/// answers how it ended and what it wrote.
pub async fn warm(url: &str, token: &str, list: &str, more: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(artefact("target/native/tokengate", BUILD)?);
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(&file, list)?;
    command
        .args(["warm", "--url", url, "--addresses"])
        .arg(file.path())
        .args(more)
        .env("TOKENGATE_ADMIN_TOKEN", token)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(tokio::time::timeout(PATIENCE, command.output()).await??)
}

/// A port of the loopback interface that nothing listens on now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// How the application is served.
fn command(settings: &Settings, directory: &TempDir) -> anyhow::Result<Command> {
    let place = |name: &str| -> PathBuf { directory.path().join(name) };
    let mut command = installed(settings, directory)?;
    command
        .arg("up")
        .arg("--from")
        .arg(place("spin.toml"))
        .arg("--listen")
        .arg(format!("127.0.0.1:{}", settings.port))
        .arg("--state-dir")
        .arg(place("state"))
        .arg("--cache-dir")
        .arg(root().join("target/precompiled"))
        .args(&settings.arguments);
    if !settings.contract_check {
        command.arg("--no-contract-check");
    }
    if let Some(text) = &settings.runtime_config {
        std::fs::write(place("runtime-config.toml"), text)?;
        command
            .arg("--runtime-config-file")
            .arg(place("runtime-config.toml"));
    }
    Ok(command)
}

/// The host, in a directory of its own with the application as it ships: unless the settings say otherwise, the manifest
/// is the repository's, byte for byte.
fn installed(settings: &Settings, directory: &TempDir) -> anyhow::Result<Command> {
    let host = artefact("target/native/tokengate", BUILD)?;
    artefact("target/wasm32-wasip2/release/tokengate_access.wasm", BUILD)?;
    let place = |name: &str| -> PathBuf { directory.path().join(name) };
    let manifest = match &settings.manifest {
        None => std::fs::read_to_string(root().join("spin.toml")).context("spin.toml")?,
        Some(text) => text.clone(),
    };
    std::fs::write(place("spin.toml"), manifest)?;
    std::fs::write(place("tokengate.toml"), &settings.config)?;
    symlink(root().join("target"), place("target"))?;

    let mut command = Command::new(host);
    command.current_dir(directory.path());
    // Only what the test says: a variable of the caller's environment must not decide a test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SPIN_VARIABLE_") {
            command.env_remove(name);
        }
    }
    for (name, value) in &settings.variables {
        command.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
    }
    Ok(command)
}
