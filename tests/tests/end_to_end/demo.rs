//! The demo's walk-through, run as a person would who pastes it.

use anyhow::{Context, ensure};
use tokengate_tests::demo::{Demo, OBJECTS, PORTS, Ports};
use tokengate_tests::service::free_port;
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
