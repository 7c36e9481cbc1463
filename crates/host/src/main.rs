//! `tokengate`: serves a Spin application (`spin.toml`) on an embedded WebAssembly host: one process on one machine,
//! with the imports that Spin gives its guests. It knows nothing of any application.
#![deny(unsafe_code)]

mod access_log;
mod admission;
mod allowed_hosts;
mod application;
mod bindings;
mod cli;
mod compile_cache;
mod core;
mod document;
mod engine;
mod files;
mod guest;
mod imports;
mod key_value;
mod manifest;
mod outbound;
mod problem;
mod request;
mod routing;
mod runtime_config;
mod server;
mod startup;
mod stderr;
mod variables;
mod workers;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::application::{Application, Sources};
use crate::cli::{Cli, Command, Up};
use crate::stderr::Stderr;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let stderr = match Stderr::start() {
        Ok(stderr) => stderr,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    tracing_subscriber::fmt()
        .with_writer({
            let stderr = stderr.clone();
            move || stderr.clone()
        })
        .with_ansi(false)
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .init();
    let outcome = match cli.command {
        Command::Up(up) => serve(&up, &stderr),
        Command::Imports { file } => {
            imports::list(&file).and_then(|lines| Ok(io::stdout().write_all(lines.as_bytes())?))
        }
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stderr.say(format!("error: {error}\n"));
            ExitCode::FAILURE
        }
    };
    stderr.flush();
    code
}

fn serve(up: &Up, stderr: &Stderr) -> anyhow::Result<()> {
    // For Redis over TLS, which takes the process's provider; a second call finds it set, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let variables: Vec<_> = up
        .variables
        .iter()
        .map(|given| (given.name.clone(), given.value.clone()))
        .collect();
    let application = Application::load(
        &Sources {
            manifest: &up.from,
            variables: &variables,
            runtime_config: up.runtime_config_file.as_deref(),
            state_directory: up.state_dir.as_deref(),
            cache_directory: up.cache_dir.as_deref(),
        },
        up.instance_limits(),
    )?;
    server::serve(application, up.server_config(), stderr, |address| {
        let mut stdout = io::stdout().lock();
        // Whoever started us may have stopped reading; serving matters more.
        let _ = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush());
    })?;
    Ok(())
}
