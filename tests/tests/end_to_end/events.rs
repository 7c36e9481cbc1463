//! Signed webhooks: what a chain's logs tell outdates what the service knows, at once.

use std::time::Duration;

use alloy_primitives::keccak256;
use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};
use tokengate_tests::chain::ERC1155;
use tokengate_tests::client::Reply;
use tokengate_tests::service::{Service, Settings};
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::World;

const SECRET: &str = "a-signing-key-of-the-tests";
const SOURCE: &str = r#"
[[webhook]]
id = "stream"
provider = "moralis"
secret = "{{ events_secret }}"
"#;
/// Behind the gate of the ERC-1155 pass.
const EXTRA: &str = "media/pass/extra.txt";

/// What an instance has in memory it believes for a second.
const MEMORY: Duration = Duration::from_secs(1);

/// A service that keeps facts for an hour and takes events.
async fn world() -> anyhow::Result<World> {
    let mut settings = Ok(());
    let world = World::with(
        |config| {
            config.fresh = "1h";
            config.more.push_str(SOURCE);
        },
        |plain| match plain.clone().events(SECRET) {
            Ok(with_events) => with_events,
            Err(error) => {
                settings = Err(error);
                plain
            }
        },
    )
    .await?;
    settings?;
    Ok(world)
}

async fn deliver(world: &World, body: &str, secret: &str) -> anyhow::Result<Reply> {
    let signature = keccak256([body, secret].concat()).to_string();
    let headers = [
        ("content-type", "application/json"),
        ("x-signature", signature.as_str()),
    ];
    let path = "/v1/events/stream";
    world
        .gate
        .send(Method::POST, path, &headers, body.to_owned())
        .await
}

/// What Moralis makes of the newest log of the pass's contract.
async fn newest_log(world: &World) -> anyhow::Result<Value> {
    let asked = json!([{ "fromBlock": "0x0", "address": ERC1155.to_string() }]);
    let logs = world.chain.call("eth_getLogs", asked).await?;
    let log = logs.as_array().and_then(|logs| logs.last());
    let log = log.context("no log")?;
    let mut entry = json!({ "address": log["address"], "data": log["data"] });
    for (index, topic) in log["topics"].as_array().into_iter().flatten().enumerate() {
        entry[format!("topic{index}")] = topic.clone();
    }
    Ok(json!({ "chainId": "0x7a69", "block": { "number": log["blockNumber"] }, "logs": [entry] }))
}

#[tokio::test]
async fn a_transfer_that_a_webhook_tells_of_closes_and_opens_the_gate_at_once() -> anyhow::Result<()>
{
    let world = world().await?;
    let (owner, stranger) = (Wallet::owner()?, Wallet::stranger()?);
    let token = world.gate.sign_in(&owner).await?;
    world.gate.warm(&token, EXTRA).await?;
    world.chain.transfer_pass(stranger.address()).await?;
    // Nobody has told the service.
    let grant = world.gate.ask(&token, EXTRA).await?.expect(200)?;
    ensure!(grant["basis"]["tier"] != "chain", "{grant}");

    let body = newest_log(&world).await?.to_string();
    let forged = deliver(&world, &body, "another-signing-key").await?;
    ensure!(forged.problem(401)?["code"] == "invalid-signature");
    world.gate.ask(&token, EXTRA).await?.expect(200)?;

    let answer = deliver(&world, &body, SECRET).await?.expect(200)?;
    // The owner's balance was known; the stranger's was not.
    let expected =
        json!({ "logs": 1, "transfers": 1, "outdated": 1, "skipped": 0, "replayed": false });
    ensure!(answer == expected, "{answer}");
    tokio::time::sleep(MEMORY).await;
    world.gate.ask(&token, EXTRA).await?.problem(403)?;
    let theirs = world.gate.sign_in(&stranger).await?;
    let grant = world.gate.warm(&theirs, EXTRA).await?;
    ensure!(grant["basis"]["block"].is_u64(), "{grant}");

    let answer = deliver(&world, &body, SECRET).await?.expect(200)?;
    ensure!(answer["replayed"] == true, "{answer}");
    world.provider.take();
    world.gate.ask(&theirs, EXTRA).await?.expect(200)?;
    let asked = world.provider.take();
    ensure!(asked.is_empty(), "what was read later stays: {asked:?}");
    let log = world.service.log();
    ensure!(!log.contains(SECRET) && !log.contains("topic1"), "{log}");
    Ok(())
}

#[tokio::test]
async fn deliveries_are_longer_than_other_bodies_and_bounded() -> anyhow::Result<()> {
    let world = world().await?;
    let padded = |len: usize| {
        let body = r#"{"chainId":"0x7a69","logs":[]}"#;
        format!("{body}{}", " ".repeat(len - body.len()))
    };
    for len in [64 * 1024 + 1, 1024 * 1024] {
        let reply = deliver(&world, &padded(len), SECRET).await?;
        reply.expect_status(200).context(len)?;
    }
    let other = world
        .gate
        .send(
            Method::POST,
            "/v1/access",
            &[("content-type", "application/json")],
            padded(64 * 1024 + 1),
        )
        .await?;
    other.problem(413)?;
    // Answered by its length alone, before any of it is sent.
    let head = format!(
        "POST /v1/events/stream HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        world.gate.domain(),
        1024 * 1024 + 1
    );
    let status = world.gate.send_raw(head.as_bytes()).await?;
    ensure!(status == Some(413), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn a_source_without_its_secret_is_no_start() -> anyhow::Result<()> {
    let world = world().await?;
    for (settings, words) in [
        (
            world.settings.clone().variable("events_secret", "short"),
            "shorter than 16 bytes",
        ),
        (
            Settings {
                manifest: None,
                ..world.settings.clone()
            },
            "events_secret",
        ),
    ] {
        let (status, said) = Service::start_in_vain(&settings).await?;
        ensure!(!status.success() && said.contains(words), "{said}");
        ensure!(said.contains("tokengate.toml:"), "{said}");
    }
    Ok(())
}
