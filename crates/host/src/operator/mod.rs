//! What an operator asks on the command line: `tokengate doctor`, `tokengate check`, `tokengate watch` and `tokengate warm`.
//!
//! This folder is the one part of the host that knows which application it serves, so it alone depends on
//! `tokengate-app` and `tokengate-core`. The first two read the manifest and the variables as `up` does, and ask by the use
//! cases of the application, over [`ports::Native`]; the others are clients of a running service. Nothing that serves
//! depends on it.

mod check;
mod contracts;
mod demo;
mod doctor;
mod ports;
mod service;
mod table;
mod warm;
mod watch;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokengate_app::doctor::Finding;
use tokio::task::LocalSet;

pub(crate) use check::check;
pub(crate) use contracts::look_at_contracts;
pub(crate) use doctor::doctor;
pub(crate) use warm::warm;
pub(crate) use watch::watch;

use self::demo::Demo;
use self::ports::Native;
use crate::application;
use crate::cli::Origin;
use crate::guest::ComponentSettings;
use crate::manifest::Manifest;
use crate::variables::Variables;

/// What a command found out, and the exit code that says it to scripts. A command that cannot even start fails instead,
/// which is [`CANNOT_START`].
pub(crate) struct Answer {
    /// For standard output.
    pub(crate) text: String,
    pub(crate) code: u8,
}

/// The exit code for a usage, manifest or configuration that is wrong, as clap has it.
pub(crate) const CANNOT_START: u8 = 2;

/// Where the components find their configuration: `/tokengate.toml`.
const CONFIG: &str = "tokengate.toml";

/// The application as its components see it, without a component running.
struct Installed {
    /// Those that the configuration is mounted into.
    components: Vec<ComponentSettings>,
    /// The configuration's text.
    config: String,
    /// Where its manifest is.
    manifest_directory: PathBuf,
    /// What the components call variables, and their values.
    variables: BTreeMap<String, String>,
    /// Where the components contradict each other.
    findings: Vec<Finding>,
}

impl Installed {
    /// The application of a demo, or else of a manifest.
    fn of(demo: Option<&Demo>, origin: &Origin) -> anyhow::Result<Self> {
        match demo {
            Some(demo) => Self::read(&demo.origin(origin)),
            None => Self::read(origin),
        }
    }

    fn read(origin: &Origin) -> anyhow::Result<Self> {
        let manifest = Manifest::read(&origin.from)?;
        let values = Variables::resolve(&manifest.variables, &origin.variables(), |name| {
            std::env::var_os(name)
        })?;
        let mounts = tempfile::Builder::new().prefix("tokengate-").tempdir()?;
        let mut settled = Vec::new();
        for (id, component) in &manifest.components {
            settled.push(application::settle(
                id,
                component,
                &manifest.directory,
                &values,
                mounts.path(),
            )?);
        }
        let (mut components, mut configs) = (Vec::new(), Vec::new());
        for component in settled {
            if let Some(path) = config_path(&component) {
                configs.push(read(&path)?);
                components.push(component);
            }
        }
        let mut configs = configs.into_iter();
        let config = configs.next().with_context(|| {
            format!(
                "{}: no component has {CONFIG}: mount it with `files` where it is needed",
                origin.from.display()
            )
        })?;
        let mut findings = Vec::new();
        if configs.any(|other| other != config) {
            findings.push(Finding::error(
                "several-configurations",
                format!(
                    "components have different files mounted as {CONFIG}; this is about the first"
                ),
                "mount the same file into all of them",
            ));
        }
        let mut variables = BTreeMap::new();
        for component in &components {
            for (name, value) in &component.variables.0 {
                let known = variables
                    .entry(name.clone())
                    .or_insert_with(|| value.clone());
                if known != value {
                    findings.push(Finding::error(
                        "several-values",
                        format!(
                            "component {} has another value of {name} than those before it",
                            component.id
                        ),
                        "give a variable of one name the same value in all components",
                    ));
                }
            }
        }
        Ok(Self {
            components,
            config,
            manifest_directory: manifest.directory,
            variables,
            findings,
        })
    }
}

fn config_path(component: &ComponentSettings) -> Option<PathBuf> {
    let path = component.root.as_ref()?.join(CONFIG);
    path.is_file().then_some(path)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| anyhow::anyhow!("{CONFIG} cannot be read: {error}"))
}

/// Runs what `work` makes of the platform to its end. Its futures stay on this thread.
fn run<T>(
    installed: &Installed,
    work: impl AsyncFnOnce(&Native) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    on_this_machine(&installed.config, &installed.variables, work)
}

/// The same, over a platform with this configuration and these variables.
fn on_this_machine<T>(
    config: &str,
    variables: &BTreeMap<String, String>,
    work: impl AsyncFnOnce(&Native) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(LocalSet::new().run_until(async {
        let native = Native::new(config, variables)?;
        work(&native).await
    }));
    // A name that is still being resolved is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Says what has come about so far on standard output, at once.
fn say(lines: &[String]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for line in lines {
        writeln!(stdout, "{line}")?;
    }
    stdout.flush()
}
