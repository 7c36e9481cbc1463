//! `scripts/up`: runs the demo until SIGINT, SIGTERM or SIGHUP.

use std::path::PathBuf;

use clap::Parser;
use tokengate_demo::demo::{DESCRIPTION, Demo, Options, PORTS};
use tokengate_demo::root;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a local chain, a local object store and the service over them
#[derive(Parser)]
struct Arguments {
    /// A configuration in place of the repository's tokengate.toml. The chain is eip155:31337 with the provider
    /// {{ rpc_url }}, the bucket is media at http://127.0.0.1:9000 with the credentials media
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

// One thread: children die with the thread that started them, and here that is the process.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { config } = Arguments::parse();
    let options = Options {
        config,
        description: Some(root().join(DESCRIPTION)),
        ..Options::new(PORTS)
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let stopped = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    tokio::pin!(stopped);

    let mut demo = tokio::select! {
        demo = Demo::start_with(&options) => demo?,
        () = &mut stopped => return Ok(()),
    };
    println!("{}", demo.instructions());
    tokio::select! {
        () = stopped => demo.stop().await,
        last_words = demo.broken() => anyhow::bail!("a part of the demo exited unexpectedly: {}", last_words?),
    }
}
