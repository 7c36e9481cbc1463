//! The page in a real browser: `tests/browser`, run over a demo of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokengate_tests::demo::{Demo, OBJECTS, Ports};
use tokengate_tests::service::free_port;
use tokengate_tests::{artefact, root};
use tokio::process::Command;
use tokio::time::timeout;

const CHROMIUM: &str = "/usr/bin/chromium";
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn the_page_works_in_a_browser() -> anyhow::Result<()> {
    ensure!(
        Path::new(CHROMIUM).exists(),
        "{CHROMIUM} is missing: run scripts/setup"
    );
    artefact(
        "tests/node_modules/playwright-core/package.json",
        "scripts/setup",
    )?;
    artefact("tests/node_modules/viem/package.json", "scripts/setup")?;

    let ports = Ports {
        chain: free_port()?,
        store: free_port()?,
        service: free_port()?,
    };
    let demo = Demo::start(ports).await?;
    let (_, _, hello) = OBJECTS[0];
    let run = Command::new("node")
        .args(["--test", "--test-reporter=tap", "page.test.mjs"])
        .current_dir(root().join("tests/browser"))
        .env(
            "TOKENGATE_URL",
            format!("http://127.0.0.1:{}", ports.service),
        )
        .env(
            "TOKENGATE_RPC_URL",
            format!("http://127.0.0.1:{}", ports.chain),
        )
        .env("TOKENGATE_HELLO", hello)
        .kill_on_drop(true)
        .output();
    let run = timeout(PATIENCE, run)
        .await
        .context("the browser tests did not end")?
        .context("node is missing: run scripts/setup")?;
    let said = String::from_utf8_lossy(&run.stdout);
    ensure!(
        run.status.success(),
        "{}: {said}{}",
        run.status,
        String::from_utf8_lossy(&run.stderr)
    );
    let count = |what: &str| -> anyhow::Result<u32> {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# {what} ")));
        Ok(line
            .with_context(|| format!("no count of {what} in {said}"))?
            .parse()?)
    };
    // A run that found no tests, or skipped some, also ends well.
    ensure!(
        count("pass")? > 0 && count("pass")? == count("tests")?,
        "{said}"
    );
    println!("{} browser tests passed", count("pass")?);
    demo.stop().await
}
