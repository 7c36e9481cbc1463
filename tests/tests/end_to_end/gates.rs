//! Gates described and explained; health.

use anyhow::{Context, ensure};
use serde_json::json;
use tokengate_tests::chain::{ERC20, ERC721, ERC1155, OWNER};
use tokengate_tests::client::CHAIN;
use tokengate_tests::faulty::Fault;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::World;

#[tokio::test]
async fn gates_are_described_as_configured() -> anyhow::Result<()> {
    let world = World::start().await?;
    let gates = world.gate.get("/v1/gates").await?.expect(200)?;
    let gates = gates["gates"].as_array().context("no gates")?;
    let ids: Vec<_> = gates.iter().map(|gate| &gate["gate"]).collect();
    ensure!(ids == ["season-1", "pass", "holders"], "{ids:?}");

    let gate = world.gate.get("/v1/gates/season-1").await?.expect(200)?;
    ensure!(gate["resources"] == json!(["media/season-1/**"]), "{gate}");
    let leaf = |contract: alloy_primitives::Address, at_least: &str| json!({ "chain": CHAIN, "contract": contract.to_checksum(None), "at_least": at_least });
    let mut pass = leaf(ERC1155, "1");
    pass["token_ids"] = json!(["7"]);
    let expected = json!({ "any": [
        { "erc721": leaf(ERC721, "1") },
        { "all": [
            { "erc1155": pass },
            { "erc20": leaf(ERC20, "1000000000000000000000") },
        ] },
    ] });
    ensure!(gate["require"] == expected, "{gate}");
    world.gate.get("/v1/gates/season-2").await?.problem(404)?;
    world
        .gate
        .get(&format!("/v1/gates/season-2/check?address={OWNER}"))
        .await?
        .problem(404)?;
    Ok(())
}

#[tokio::test]
async fn a_check_explains_the_decision_leaf_by_leaf() -> anyhow::Result<()> {
    let world = World::start().await?;
    let check = |address: String| {
        let gate = world.gate.clone();
        async move {
            gate.get(&format!("/v1/gates/season-1/check?address={address}"))
                .await?
                .expect(200)
        }
    };
    let granted = check(OWNER.to_string()).await?;
    ensure!(granted["gate"] == "season-1", "{granted}");
    ensure!(granted["granted"] == true, "{granted}");
    let leaves = &granted["explain"]["any"];
    ensure!(
        leaves[0]["met"] == true && leaves[0]["has"] == "1",
        "{granted}"
    );
    let arm = &leaves[1]["all"];
    ensure!(arm[0]["met"] == true && arm[0]["has"] == "1", "{granted}");
    ensure!(
        arm[1]["met"] == false && arm[1]["has"] == "500000000000000000000",
        "{granted}"
    );

    // Any case will do, where it claims no checksum.
    let stranger = Wallet::stranger()?.address().to_string().to_lowercase();
    let refused = check(stranger).await?;
    ensure!(refused["granted"] == false, "{refused}");
    ensure!(refused["explain"]["any"][0]["has"] == "0", "{refused}");
    Ok(())
}

#[tokio::test]
async fn readiness_follows_the_provider_and_liveness_does_not() -> anyhow::Result<()> {
    let world = World::start().await?;
    let live = world.gate.get("/healthz/live").await?.expect(200)?;
    ensure!(live["status"] == "ok", "{live}");
    let ready = world.gate.get("/healthz/ready").await?.expect(200)?;
    ensure!(ready["status"] == "ok", "{ready}");
    ensure!(ready["checks"].is_object(), "{ready}");

    world.provider.behave(Fault::HangUp).await?;
    let ready = world.gate.get("/healthz/ready").await?.expect(503)?;
    ensure!(ready["status"] == "failing", "{ready}");
    world.gate.get("/healthz/live").await?.expect(200)?;

    world.provider.behave(Fault::None).await?;
    world.gate.get("/healthz/ready").await?.expect(200)?;
    Ok(())
}
