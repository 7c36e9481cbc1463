//! The demo's walk-through, run as a person would who pastes it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, ensure};
use tokengate_tests::chain::OWNER;
use tokengate_tests::client::Http;
use tokengate_tests::demo::{Demo, OBJECTS, Options, PORTS, Ports};
use tokengate_tests::service::free_port;
use tokengate_tests::{artefact, root};
use tokio::net::TcpListener;
use tokio::process::Command;

#[tokio::test]
async fn the_walk_through_ends_with_bytes_and_with_refusals() -> anyhow::Result<()> {
    let ports = Ports::free()?;
    let demo = Demo::start(ports).await?;
    let pasted = Command::new("bash")
        .arg("-euo")
        .arg("pipefail")
        .arg("-c")
        .arg(demo.walk_through())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8(pasted.stdout)?;
    ensure!(
        pasted.status.success(),
        "{}: {said}{}",
        pasted.status,
        String::from_utf8_lossy(&pasted.stderr)
    );
    let (_, _, hello) = OBJECTS[0];
    let lines: Vec<&str> = said.lines().collect();
    let [granted, bytes, refused, gave, closed, back] = lines.as_slice() else {
        anyhow::bail!("six lines expected: {said}")
    };
    ensure!(granted.contains("X-Amz-Signature="), "{granted}");
    ensure!(*bytes == hello.trim_end(), "{bytes}");
    for refusal in [refused, closed] {
        let refusal: serde_json::Value = serde_json::from_str(refusal).context("not JSON")?;
        ensure!(refusal["status"] == 403, "{refusal}");
        ensure!(refusal["unmet"][0]["kind"] == "erc721", "{refusal}");
    }
    for transaction in [gave, back] {
        ensure!(transaction.contains("\"result\":\"0x"), "{transaction}");
    }
    demo.stop().await?;
    // Nothing is left behind.
    ports.check()
}

/// Runs the host with these words and `--demo`.
async fn ask(description: &Path, words: &[&str]) -> anyhow::Result<Output> {
    let output = Command::new(artefact("target/native/tokengate", "scripts/build")?)
        .args(words)
        .arg(format!("--demo={}", description.display()))
        .env_remove("TOKENGATE_ADMIN_TOKEN")
        .kill_on_drop(true)
        .output();
    Ok(tokio::time::timeout(std::time::Duration::from_secs(60), output).await??)
}

#[tokio::test]
async fn operator_commands_find_a_running_demo_by_its_description() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let description = directory.path().join("state/demo.json");
    let missing = ask(&description, &["doctor"]).await?;
    let said = String::from_utf8_lossy(&missing.stderr);
    ensure!(missing.status.code() == Some(2), "{}", missing.status);
    ensure!(said.contains("start scripts/up"), "{said}");

    let demo = Demo::start_with(&Options {
        description: Some(description.clone()),
        ..Options::new(Ports::free()?)
    })
    .await?;
    let mode = std::fs::metadata(&description)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    ensure!(demo.instructions().contains("--demo"));
    let owner = OWNER.to_string();
    let addresses = directory.path().join("addresses");
    std::fs::write(&addresses, &owner)?;
    let addresses = addresses.to_str().context("a path that is no text")?;
    for (words, expected) in [
        (&["doctor"][..], "season-1"),
        (&["check", "season-1", &owner], "open"),
        (&["watch", "--once"], "watching http://127.0.0.1:"),
        (&["warm", "--addresses", addresses], "1 address"),
    ] {
        let output = ask(&description, words).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() && said.contains(expected),
            "{words:?}: {}: {said}{complained}",
            output.status
        );
    }
    demo.stop().await?;
    ensure!(!description.exists(), "the description is left behind");
    Ok(())
}

#[tokio::test]
async fn the_demo_serves_another_configuration() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("another.toml");
    let own = std::fs::read_to_string(root().join("tokengate.toml"))?;
    std::fs::write(
        &config,
        own.replace("id = \"season-1\"", "id = \"another\""),
    )?;
    let options = Options {
        config: Some(config.clone()),
        ..Options::new(Ports::free()?)
    };
    let demo = Demo::start_with(&options).await?;
    let gates = Http::default()
        .get(&format!("{}/v1/gates", demo.service_url()))
        .await?
        .expect(200)?;
    ensure!(gates["gates"][0]["gate"] == "another", "{gates}");
    // The walk-through is about the repository's configuration.
    ensure!(!demo.instructions().contains("curl"));
    demo.stop().await?;

    std::fs::remove_file(&config)?;
    let error = Demo::start_with(&options).await.err();
    let error = error.context("there is no such file")?.to_string();
    ensure!(error.contains("another.toml"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_named_before_anything_starts() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0").await?;
    let port = taken.local_addr()?.port();
    let ports = Ports {
        chain: free_port()?,
        store: port,
        service: free_port()?,
    };
    let error = ports
        .check()
        .err()
        .context("the port is taken")?
        .to_string();
    ensure!(
        error.contains(&port.to_string()) && error.contains("in use"),
        "{error}"
    );
    let error = Demo::start(ports)
        .await
        .err()
        .context("the port is taken")?;
    ensure!(error.to_string().contains("in use"), "{error}");
    ensure!(
        std::net::TcpStream::connect(("127.0.0.1", ports.chain)).is_err(),
        "the chain was started all the same"
    );
    Ok(())
}

#[test]
fn the_demo_listens_where_its_documents_say() {
    assert_eq!(
        (PORTS.chain, PORTS.store, PORTS.service),
        (8545, 9000, 3000)
    );
}
