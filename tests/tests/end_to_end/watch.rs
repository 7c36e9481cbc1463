//! Revocation without a vendor: a transfer closes one gate and opens another as soon as it is followed, however fresh
//! the cached facts are.

use std::process::Output;
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::{Context, ensure};
use http::Method;
use serde_json::json;
use tokengate_tests::chain::ERC1155;
use tokengate_tests::client::{CHAIN, Gate};
use tokengate_tests::demo::{Demo, Ports};
use tokengate_tests::faulty::{BATCH_IDS, Fault};
use tokengate_tests::service::watch_once;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};

const TOKEN: &str = "an operator's token of 32 characters";

/// A service whose facts are fresh for ten minutes.
async fn world() -> anyhow::Result<World> {
    World::with(
        |config| config.fresh = "10m",
        |settings| settings.variable("admin_token", TOKEN),
    )
    .await
}

/// A round that has to go well; answers its lines but for the first.
async fn round(world: &World) -> anyhow::Result<Vec<String>> {
    let Output {
        status,
        stdout,
        stderr,
    } = watch_once(world.service.url(), TOKEN).await?;
    let (said, errors) = (
        String::from_utf8(stdout)?,
        String::from_utf8_lossy(&stderr).into_owned(),
    );
    ensure!(status.success(), "{status}: {said}{errors}");
    let (first, lines) = said.split_once('\n').context("nothing said")?;
    ensure!(
        first == format!("watching {} once", world.service.url()),
        "{first}"
    );
    // What an instance has in memory it believes for a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(lines.lines().map(str::to_owned).collect())
}

/// Waits until the chain's answer to a refused or granted request is cached, which is behind the response.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

async fn status(gate: &Gate, token: &str) -> anyhow::Result<u16> {
    let status = gate.ask(token, HELLO).await?.status.as_u16();
    settle().await;
    Ok(status)
}

#[tokio::test]
async fn a_transfer_closes_the_gate_for_one_and_opens_it_for_the_other() -> anyhow::Result<()> {
    let world = world().await?;
    let (owner, stranger) = (Wallet::owner()?, Wallet::stranger()?);
    let theirs = world.gate.sign_in(&owner).await?;
    let others = world.gate.sign_in(&stranger).await?;
    let lines = round(&world).await?;
    ensure!(
        lines.len() == 1
            && lines
                .iter()
                .all(|line| line.contains("all facts of 3 contracts")),
        "the first starts at the head, and what happened before is not known: {lines:?}"
    );
    ensure!(status(&world.gate, &theirs).await? == 200);
    ensure!(status(&world.gate, &others).await? == 403);

    world.chain.transfer_token(0, stranger.address()).await?;
    ensure!(
        status(&world.gate, &theirs).await? == 200,
        "the fact is fresh, and nobody says otherwise"
    );
    let lines = round(&world).await?;
    let [line] = lines.as_slice() else {
        anyhow::bail!("one line expected: {lines:?}")
    };
    ensure!(
        line.starts_with(&format!("{CHAIN} block "))
            && line.contains("1 transfer, 2 facts outdated"),
        "{line}"
    );
    ensure!(status(&world.gate, &theirs).await? == 403);
    ensure!(status(&world.gate, &others).await? == 200);
    ensure!(round(&world).await?.is_empty(), "it is told once");
    Ok(())
}

#[tokio::test]
async fn a_transfer_that_a_reorganisation_undoes_gives_its_owner_the_gate_back()
-> anyhow::Result<()> {
    let world = world().await?;
    let (owner, stranger) = (Wallet::owner()?, Wallet::stranger()?);
    let theirs = world.gate.sign_in(&owner).await?;
    let others = world.gate.sign_in(&stranger).await?;
    round(&world).await?;
    world.chain.transfer_token(0, stranger.address()).await?;
    world.chain.mine(2, 1).await?;
    round(&world).await?;
    ensure!(status(&world.gate, &theirs).await? == 403);
    ensure!(status(&world.gate, &others).await? == 200);

    world.chain.reorganise(3).await?;
    let lines = round(&world).await?;
    ensure!(
        lines.len() == 1 && lines.iter().all(|line| line.contains("1 transfer undone")),
        "{lines:?}"
    );
    ensure!(status(&world.gate, &others).await? == 403);
    ensure!(status(&world.gate, &theirs).await? == 200);
    Ok(())
}

/// What stands between a service and the transfer that it has to notice.
struct Backlog {
    /// Gates beside those that all tests have.
    more: String,
    /// What the owner holds and sells, and what it opens.
    sold: Sold,
    /// What each block lists besides.
    fault: Fault,
    /// How many transfers that is, at the least.
    transfers: u64,
}

#[derive(Clone, Copy)]
enum Sold {
    Token,
    Pass,
}

impl Sold {
    const fn opens(self) -> &'static str {
        match self {
            Self::Token => HELLO,
            Self::Pass => "media/pass/extra.txt",
        }
    }

    async fn to(self, world: &World, buyer: Address) -> anyhow::Result<()> {
        match self {
            Self::Token => world.chain.transfer_token(0, buyer).await,
            Self::Pass => world.chain.transfer_pass(buyer).await,
        }
    }
}

/// Sells what opens a gate in the midst of a hundred blocks, and follows transfers until all are known: each round has to
/// get on, no instance may reach 32 MiB, and the sale has to be noticed.
async fn is_followed(backlog: Backlog) -> anyhow::Result<()> {
    /// All instances that a round and a few requests take, with the host that they run in.
    const GROWTH: u64 = 64 << 20;
    let Backlog {
        more,
        sold,
        fault,
        transfers: expected,
    } = backlog;
    let world = World::with(
        |config| {
            config.fresh = "12h";
            config.deadlines = "provider = \"10s\"\nchain = \"20s\"";
            config.more = more;
        },
        |settings| {
            let settings = settings.variable("admin_token", TOKEN);
            settings.argument("--max-instance-memory", "32MiB")
        },
    )
    .await?;
    let (owner, stranger) = (Wallet::owner()?, Wallet::stranger()?);
    let theirs = world.gate.sign_in(&owner).await?;
    let status = async || -> anyhow::Result<u16> {
        let status = world.gate.ask(&theirs, sold.opens()).await?.status.as_u16();
        settle().await;
        Ok(status)
    };
    round(&world).await?;
    ensure!(status().await? == 200);
    world.chain.mine(49, 1).await?;
    sold.to(&world, stranger.address()).await?;
    let sale = world.chain.call("eth_blockNumber", json!([])).await?;
    let sale = sale.as_str().context("no number")?.trim_start_matches("0x");
    let sale = u64::from_str_radix(sale, 16)?;
    world.chain.mine(50, 1).await?;
    world.provider.behave(fault).await?;
    ensure!(status().await? == 200, "nothing says otherwise yet");
    let resident = world.service.peak_memory()?;

    let (mut transfers, mut before, mut rounds, mut refused) = (0, 0, 0, false);
    loop {
        let round = world
            .gate
            .bearing(Method::POST, TOKEN, "/v1/admin/watch", "");
        let answer = round.await?.expect(200)?;
        let report = &answer["chains"][0];
        let number = |name: &str| report[name].as_u64().with_context(|| answer.to_string());
        let to = number("to")?;
        ensure!(to > before, "no progress after block {before}: {answer}");
        transfers += number("transfers")?;
        (before, rounds) = (to, rounds + 1);
        if to >= sale && !refused {
            // What an instance has in memory it believes for a second.
            tokio::time::sleep(Duration::from_secs(1)).await;
            ensure!(status().await? == 403, "round {rounds}");
            refused = true;
        }
        if number("behind")? == 0 {
            break;
        }
    }
    ensure!(
        refused && transfers >= expected,
        "{transfers} transfers in {rounds} rounds"
    );
    let log = world.service.log();
    ensure!(!log.contains("an instance failed"), "{log}");
    let grown = world.service.peak_memory()? - resident;
    println!(
        "{transfers} transfers in {rounds} rounds; the service grew by {} KiB from {} KiB, no instance beyond 32 MiB",
        grown >> 10,
        resident >> 10
    );
    ensure!(grown < GROWTH, "grown by {grown} bytes");
    Ok(())
}

#[tokio::test]
async fn a_hundred_thousand_transfers_are_followed_round_by_round_in_bounded_memory()
-> anyhow::Result<()> {
    is_followed(Backlog {
        more: String::new(),
        sold: Sold::Token,
        fault: Fault::Dust(1_000),
        transfers: 100_000,
    })
    .await
}

/// Each batch changes 512 balances, and with a delegation what the two accounts' agents may use.
#[tokio::test]
async fn batches_of_256_ids_with_a_delegation_are_followed_in_bounded_memory() -> anyhow::Result<()>
{
    let ids: Vec<_> = (0..BATCH_IDS).map(|id| format!("\"{id}\"")).collect();
    let more = format!(
        "[[gate]]\nid = \"collection\"\nresources = [\"media/collection/**\"]\nmax_age = \"12h\"\ndelegation = {{}}\nrequire = {{ erc1155 = {{ chain = \"{CHAIN}\", contract = \"{ERC1155}\", token_ids = [{}], at_least = \"1\" }} }}\n",
        ids.join(", ")
    );
    is_followed(Backlog {
        more,
        sold: Sold::Pass,
        fault: Fault::Batches(4),
        transfers: 400,
    })
    .await
}

#[tokio::test]
async fn what_fails_is_said_with_what_to_do() -> anyhow::Result<()> {
    let world = world().await?;
    for (url, token, code, words) in [
        (
            world.service.url(),
            "somebody else's guess at that token!",
            1,
            "admin_token",
        ),
        (world.service.url(), "", 2, "TOKENGATE_ADMIN_TOKEN"),
        ("http://127.0.0.1:1", TOKEN, 1, "see that the service runs"),
        ("127.0.0.1", TOKEN, 2, "must be a URL"),
    ] {
        let output = watch_once(url, token).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(code),
            "{}: {said}",
            output.status
        );
        ensure!(said.contains(words), "{words}: {said}");
        ensure!(!said.contains(TOKEN) && !said.contains("guess"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_transfer_in_the_demo_closes_the_gate_within_seconds() -> anyhow::Result<()> {
    let demo = Demo::start(Ports::free()?).await?;
    let domain = demo.service_url().trim_start_matches("http://");
    let gate = Gate::new(demo.service_url(), domain);
    let theirs = gate.sign_in(&Wallet::owner()?).await?;
    gate.ask(&theirs, HELLO).await?.expect(200)?;
    // The demo's own rounds may not have begun yet, and the first one starts at the head.
    let round = gate.bearing(Method::POST, demo.admin_token(), "/v1/admin/watch", "");
    round.await?.expect(200)?;
    demo.give_token(Wallet::stranger()?.address()).await?;
    // Facts of the demo are fresh for five seconds.
    for _ in 0..40 {
        if gate.ask(&theirs, HELLO).await?.status == 403 {
            return demo.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the gate is still open")
}
