//! `scripts/up`: runs the demo until it is told to end.

use tokengate_demo::demo::{Demo, PORTS};
use tokio::signal::unix::{SignalKind, signal};

// One thread: children die with the thread that started them, and here that is the process.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
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
        demo = Demo::start(PORTS) => demo?,
        () = &mut stopped => return Ok(()),
    };
    println!("{}", demo.instructions());
    tokio::select! {
        () = stopped => demo.stop().await,
        last_words = demo.broken() => anyhow::bail!("a part of the demo ended by itself: {}", last_words?),
    }
}
