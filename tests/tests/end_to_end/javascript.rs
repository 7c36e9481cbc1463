//! Tests written in JavaScript, each file against a demo of its own: the page in a real browser, and the answers held
//! against the description of the API.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokengate_tests::demo::{Demo, OBJECTS, Ports};
use tokengate_tests::{artefact, root};
use tokio::process::Command;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(300);
const SETUP: &str = "scripts/setup --test";
/// 24 bytes of 7.
const EVENTS_SECRET: &str = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

#[tokio::test]
async fn the_page_works_in_a_browser() -> anyhow::Result<()> {
    artefact("/usr/bin/chromium", SETUP)?;
    passes("tests/browser/page.test.mjs").await
}

#[tokio::test]
async fn every_answer_is_as_the_description_says() -> anyhow::Result<()> {
    passes("tests/api/description.test.mjs").await
}

async fn passes(file: &str) -> anyhow::Result<()> {
    for package in ["ajv", "playwright-core", "viem"] {
        artefact(&format!("tests/node_modules/{package}/package.json"), SETUP)?;
    }
    let demo = Demo::with_events(Ports::free()?, EVENTS_SECRET).await?;
    let (_, _, hello) = OBJECTS[0];
    let run = Command::new("node")
        .args(["--test", "--test-reporter=tap", file])
        .current_dir(root())
        .env("TOKENGATE_URL", demo.service_url())
        .env("TOKENGATE_RPC_URL", demo.chain_url())
        .env("TOKENGATE_ADMIN_TOKEN", demo.admin_token())
        .env("TOKENGATE_HELLO", hello)
        .env("TOKENGATE_EVENTS_SECRET", EVENTS_SECRET)
        .kill_on_drop(true)
        .output();
    let run = timeout(PATIENCE, run)
        .await
        .with_context(|| format!("{file} did not end"))?
        .context("node")?;
    let said = String::from_utf8_lossy(&run.stdout);
    ensure!(
        run.status.success(),
        "{}: {said}{}",
        run.status,
        String::from_utf8_lossy(&run.stderr)
    );
    let count = |what: &str| -> anyhow::Result<u32> {
        let prefix = format!("# {what} ");
        let line = said.lines().find_map(|line| line.strip_prefix(&prefix));
        let count = line.with_context(|| format!("no count of `{what}`: {said}"))?;
        Ok(count.trim().parse()?)
    };
    let (tests, passed) = (count("tests")?, count("pass")?);
    // A file without tests, or with skipped ones, ends well too.
    ensure!(tests > 0 && passed == tests, "{said}");
    println!("{file}: {passed} tests passed");
    demo.stop().await
}
