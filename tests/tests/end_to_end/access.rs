//! Decisions: who gets a URL, who is told what is missing, and when the chain is asked.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};
use tokengate_tests::accounts::Registry;
use tokengate_tests::chain::{ERC20, ERC721, ERC1155};
use tokengate_tests::client::CHAIN;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};

/// Longer than the tests' facts are fresh, and than a refusal rests on one.
const NO_LONGER_FRESH: Duration = Duration::from_millis(3_300);

/// Ten thousand of them, and what is kept then, over simulated ports:
/// `ten_thousand_vaults_of_one_session_are_refused_before_the_chain_is_asked_and_none_is_kept`.
#[tokio::test]
async fn vaults_without_end_cost_the_chain_a_quota_and_nobody_else_anything() -> anyhow::Result<()>
{
    let world = World::with(
        |config| {
            config.limits = "per_client = \"1000000/1m\"\nper_session = \"80/1h\"";
            config.fresh = "1h";
            config.more = format!(
                "[[gate]]\nid = \"vaults\"\nresources = [\"media/vaults/**\"]\nmax_age = \"1h\"\ndelegation = {{}}\nrequire = {{ erc721 = {{ chain = \"{CHAIN}\", contract = \"{ERC721}\" }} }}\n"
            );
        },
        |settings| settings,
    )
    .await?;
    Registry::new(&world.chain).await?;
    let greedy = world.gate.sign_in(&Wallet::stranger()?).await?;
    let honest = world.gate.sign_in(&Wallet::owner()?).await?;
    world.provider.take();
    let mut limited = 0;
    for n in 1..=1_000 {
        let body = json!({ "resource": "media/vaults/a", "vault": format!("0x{n:040x}") });
        let reply = world.gate.access(&greedy, &body).await?;
        if reply.status == 429 {
            let problem = reply.problem(429)?;
            ensure!(problem["code"] == "too-many-requests", "{problem}");
            ensure!(reply.header("ratelimit").starts_with("\"session\";r=0;"));
            ensure!(reply.header("retry-after").parse::<u64>().is_ok());
            limited += 1;
        } else {
            reply.problem(403)?;
        }
    }
    // Four of the quota for each; instances know of each other what is more than a sixteenth, and an hour may end.
    ensure!(limited >= 900, "{limited} of 1000");
    let calls = world.provider.take().len();
    ensure!(calls <= 2 * (1_000 - limited), "{calls} calls of the chain");
    world.gate.ask(&honest, HELLO).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_wallet_without_the_token_is_told_what_it_lacks() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::stranger()?).await?;
    let problem = world.gate.ask(&token, HELLO).await?.problem(403)?;
    let unmet = problem["unmet"].as_array().context("no `unmet`")?;
    let expected = [
        ("erc721", ERC721, "1"),
        ("erc1155", ERC1155, "1"),
        ("erc20", ERC20, "1000000000000000000000"),
    ];
    ensure!(unmet.len() == expected.len(), "{problem}");
    for (leaf, (kind, contract, needs)) in unmet.iter().zip(expected) {
        ensure!(leaf["kind"] == kind, "{leaf}");
        ensure!(leaf["chain"] == CHAIN, "{leaf}");
        ensure!(leaf["contract"] == contract.to_checksum(None), "{leaf}");
        ensure!(leaf["has"] == "0", "{leaf}");
        ensure!(
            leaf["needs"]
                .as_str()
                .is_some_and(|text| text.ends_with(&format!("≥ {needs}"))),
            "{leaf}"
        );
    }
    ensure!(problem.get("url").is_none(), "{problem}");
    Ok(())
}

#[tokio::test]
async fn what_is_unmet_is_only_what_keeps_the_gate_closed() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    // With token 0 gone, the owner still has the pass, but 500 of 1,000 tokens.
    world
        .chain
        .transfer_token(0, Wallet::stranger()?.address())
        .await?;
    tokio::time::sleep(NO_LONGER_FRESH).await;
    let problem = world.gate.ask(&token, HELLO).await?.problem(403)?;
    let unmet = problem["unmet"].as_array().context("no `unmet`")?;
    let kinds: Vec<&Value> = unmet.iter().map(|leaf| &leaf["kind"]).collect();
    ensure!(kinds == ["erc721", "erc20"], "{problem}");
    ensure!(unmet[1]["has"] == "500000000000000000000", "{problem}");
    Ok(())
}

#[tokio::test]
async fn a_token_given_away_is_refused_once_its_fact_is_no_longer_fresh() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    world.gate.ask(&token, HELLO).await?.expect(200)?;
    world
        .chain
        .transfer_token(0, Wallet::stranger()?.address())
        .await?;
    tokio::time::sleep(NO_LONGER_FRESH).await;
    for _ in 0..5 {
        world.gate.ask(&token, HELLO).await?.problem(403)?;
    }
    let path = format!("/v1/content/{HELLO}");
    world.gate.get_as(&token, &path).await?.problem(403)?;
    Ok(())
}

#[tokio::test]
async fn a_new_owner_is_granted_within_seconds_of_a_refusal() -> anyhow::Result<()> {
    // A refusal must not outlive what it rests on, however long facts may grant.
    let world = World::with(|config| config.fresh = "1h", |settings| settings).await?;
    let stranger = Wallet::stranger()?;
    let token = world.gate.sign_in(&stranger).await?;
    world.gate.ask(&token, HELLO).await?.problem(403)?;
    world.chain.transfer_token(0, stranger.address()).await?;
    let transferred = Instant::now();
    loop {
        let reply = world.gate.ask(&token, HELLO).await?;
        if reply.status == 200 {
            break;
        }
        reply.problem(403)?;
        ensure!(
            transferred.elapsed() < Duration::from_secs(6),
            "still refused after {:?}",
            transferred.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn each_kind_of_token_opens_its_gate_and_its_loss_closes_it() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (owner, stranger) = (Wallet::owner()?, Wallet::stranger()?);
    let theirs = world.gate.sign_in(&stranger).await?;
    let ours = world.gate.sign_in(&owner).await?;
    let (pass, report) = ("media/pass/extra.txt", "media/holders/report.txt");
    for resource in [pass, report] {
        world.gate.ask(&ours, resource).await?.expect(200)?;
        world.gate.ask(&theirs, resource).await?.problem(403)?;
    }
    world.chain.transfer_pass(stranger.address()).await?;
    world.chain.transfer_tokens(450, stranger.address()).await?;
    tokio::time::sleep(NO_LONGER_FRESH).await;
    for resource in [pass, report] {
        world.gate.ask(&theirs, resource).await?.expect(200)?;
        world.gate.ask(&ours, resource).await?.problem(403)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_warm_decision_asks_no_provider() -> anyhow::Result<()> {
    let world = World::with(|config| config.fresh = "1m", |settings| settings).await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let first = world.gate.warm(&token, HELLO).await?;
    let block = first["basis"]["block"].clone();
    world.provider.take();
    for _ in 0..20 {
        let reply = world.gate.ask(&token, HELLO).await?;
        let grant = reply.expect(200)?;
        ensure!(
            grant["basis"]["tier"] == "memory" || grant["basis"]["tier"] == "store",
            "{grant}"
        );
        ensure!(grant["basis"]["block"] == block, "{grant}");
        ensure!(
            !reply.header("cache-status").is_empty(),
            "{:?}",
            reply.headers
        );
        ensure!(
            !reply.header("server-timing").is_empty(),
            "{:?}",
            reply.headers
        );
    }
    let asked = world.provider.take();
    ensure!(asked.is_empty(), "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn a_batch_is_decided_with_one_request_to_the_provider() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    // Whatever signing in prefetched is not what this asks about.
    tokio::time::sleep(NO_LONGER_FRESH).await;
    world.provider.take();

    let mut resources: Vec<Value> = (0..96)
        .map(|n| Value::from(format!("media/season-1/{n}.txt")))
        .collect();
    resources.push(json!({ "resource": "media/pass/extra.txt", "method": "HEAD" }));
    resources.push(json!({ "resource": "media/holders/report.txt", "disposition": "attachment" }));
    resources.push(json!("media/uncovered.txt"));
    resources.push(json!("media/season-1/../uncovered.txt"));
    let reply = world
        .gate
        .access(&token, &json!({ "resources": resources }))
        .await?
        .expect(200)?;
    let asked = world.provider.calls();
    ensure!(asked.len() == 1, "{} requests: {asked:?}", asked.len());

    let results = reply["results"].as_array().context("no results")?;
    ensure!(results.len() == resources.len(), "{reply}");
    for (n, result) in results.iter().take(96).enumerate() {
        let url = result["url"].as_str().context("no URL")?;
        ensure!(url.contains(&format!("/media/season-1/{n}.txt?")), "{url}");
        ensure!(result["gate"] == "season-1", "{result}");
    }
    ensure!(results[96]["method"] == "HEAD", "{}", results[96]);
    ensure!(results[97]["gate"] == "holders", "{}", results[97]);
    for result in &results[98..] {
        let status = &result["problem"]["status"];
        ensure!(status == 404 || status == 400 || status == 422, "{result}");
        ensure!(result.get("url").is_none(), "{result}");
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_refuses_and_grants_item_by_item() -> anyhow::Result<()> {
    let world = World::start().await?;
    world
        .chain
        .transfer_token(0, Wallet::stranger()?.address())
        .await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let reply = world
        .gate
        .access(
            &token,
            &json!({ "resources": [HELLO, "media/pass/extra.txt"] }),
        )
        .await?
        .expect(200)?;
    ensure!(reply["results"][0]["problem"]["status"] == 403, "{reply}");
    ensure!(
        reply["results"][0]["problem"]["unmet"].is_array(),
        "{reply}"
    );
    ensure!(reply["results"][1]["url"].is_string(), "{reply}");
    Ok(())
}

#[tokio::test]
async fn what_no_gate_covers_does_not_exist() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    for resource in [
        "media/uncovered.txt",
        "media/season-10/hello.txt",
        "media/season-1",
        "media/SEASON-1/hello.txt",
        "other/season-1/hello.txt",
    ] {
        world
            .gate
            .ask(&token, resource)
            .await?
            .problem(404)
            .context(resource)?;
        world
            .gate
            .get_as(&token, &format!("/v1/content/{resource}"))
            .await?
            .problem(404)
            .context(resource)?;
    }
    Ok(())
}

#[tokio::test]
async fn without_a_session_nothing_is_said() -> anyhow::Result<()> {
    let world = World::start().await?;
    for (method, path, body) in [
        (
            Method::POST,
            "/v1/access",
            json!({ "resource": HELLO }).to_string(),
        ),
        (
            Method::POST,
            "/v1/access",
            json!({ "resource": "media/uncovered.txt" }).to_string(),
        ),
        (
            Method::GET,
            "/v1/content/media/season-1/hello.txt",
            String::new(),
        ),
        (
            Method::GET,
            "/v1/content/media/uncovered.txt",
            String::new(),
        ),
    ] {
        let reply = world
            .gate
            .send(method, path, &[("content-type", "application/json")], body)
            .await?;
        reply.problem(401).context(path)?;
        ensure!(
            reply.header("www-authenticate").starts_with("Bearer"),
            "{:?}",
            reply.headers
        );
    }
    Ok(())
}
