//! `tokengate`: serves a Spin application (`spin.toml`) on an embedded WebAssembly host: one process on one machine,
//! with the imports that Spin gives its guests. What serves knows nothing of any application; what an operator asks
//! about this one is in [`operator`].
#![deny(unsafe_code)]

mod access_log;
mod admission;
mod allowed_hosts;
mod application;
mod bindings;
mod body;
mod cli;
mod clients;
mod compile_cache;
mod core;
mod document;
mod engine;
mod escape;
mod files;
mod guest;
mod imports;
mod key_value;
mod manifest;
mod operator;
mod outbound;
mod outbound_redis;
mod owned_path;
mod problem;
mod redis_client;
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
use crate::operator::{Answer, CANNOT_START};
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
    let (outcome, failure) = match cli.command {
        Command::Up(up) => (serve(&up, &stderr).map(|()| 0), 1),
        Command::Imports { file } => {
            let lines = imports::list(&file).map(|text| Answer { text, code: 0 });
            (lines.and_then(print), 1)
        }
        Command::Doctor(asked) => (operator::doctor(&asked).and_then(print), CANNOT_START),
        Command::Check(asked) => (operator::check(&asked).and_then(print), CANNOT_START),
        Command::Watch(asked) => (operator::watch(&asked, &stderr), CANNOT_START),
        Command::Warm(asked) => (operator::warm(&asked, &stderr), CANNOT_START),
    };
    let code = outcome.unwrap_or_else(|error| {
        stderr.say(format!("error: {error}\n"));
        failure
    });
    let code = ExitCode::from(code);
    stderr.flush();
    code
}

fn print(Answer { text, code }: Answer) -> anyhow::Result<u8> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(code)
}

fn serve(up: &Up, stderr: &Stderr) -> anyhow::Result<()> {
    // For Redis over TLS, which takes the process's provider; a second call finds it set, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let application = Application::load(
        &Sources {
            manifest: &up.origin.from,
            variables: &up.origin.variables(),
            runtime_config: up.stores.runtime_config_file.as_deref(),
            state_directory: up.stores.state_dir.as_deref(),
            cache_directory: up.cache_dir.as_deref(),
        },
        up.instance_limits(),
    )?;
    server::serve(application, up.server_config(), stderr, |address| {
        let mut stdout = io::stdout().lock();
        // Whoever started us may have stopped reading; serving matters more.
        let _ = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush());
        if !up.no_contract_check {
            operator::look_at_contracts(&up.origin);
        }
    })?;
    Ok(())
}
