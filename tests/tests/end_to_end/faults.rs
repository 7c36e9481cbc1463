//! Providers fail in many ways. None of them is a yes, and none is a no.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokengate_tests::faulty::Fault;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};

#[tokio::test]
async fn no_answer_from_the_chain_is_no_verdict() -> anyhow::Result<()> {
    let world = World::with(|config| config.fresh = "1s", |settings| settings).await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    for mode in [
        Fault::HangUp,
        Fault::Truncated,
        Fault::Silent,
        Fault::Status(500),
        Fault::Status(429),
        Fault::Status(401),
        Fault::Html,
    ] {
        world.provider.behave(mode).await?;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let asked = Instant::now();
        let reply = world.gate.ask(&token, HELLO).await?;
        ensure!(
            asked.elapsed() < Duration::from_secs(15),
            "{mode:?}: unknown only after {:?}",
            asked.elapsed()
        );
        let problem = reply.problem(503).with_context(|| format!("{mode:?}"))?;
        ensure!(problem.get("url").is_none(), "{problem}");
        ensure!(
            reply.header("retry-after").parse::<u64>().is_ok(),
            "{mode:?}: {:?}",
            reply.headers
        );
        let reply = world
            .gate
            .get_as(&token, &format!("/v1/content/{HELLO}"))
            .await?;
        reply.problem(503).with_context(|| format!("{mode:?}"))?;

        world.provider.behave(Fault::None).await?;
        world
            .gate
            .ask(&token, HELLO)
            .await?
            .expect(200)
            .with_context(|| format!("after {mode:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_dead_chain_is_503_and_a_key_signs_in_all_the_same() -> anyhow::Result<()> {
    let world = World::start().await?;
    let World { chain, gate, .. } = world;
    let wallet = Wallet::owner()?;
    let token = gate.sign_in(&wallet).await?;
    chain.stop().await?;
    let reply = gate.ask(&token, HELLO).await?;
    reply.problem(503)?;
    ensure!(!reply.header("retry-after").is_empty());
    let message = gate.challenge(&wallet).await?;
    // Whether a contract accepts it, only the chain knows.
    let by_another = Wallet::stranger()?.personal_sign(&message);
    let reply = gate.session(&message, &by_another).await?;
    reply.problem(503)?;
    ensure!(!reply.header("retry-after").is_empty());
    gate.session(&message, &wallet.personal_sign(&message))
        .await?
        .expect(201)?;
    Ok(())
}

#[tokio::test]
async fn a_fresh_fact_decides_while_the_provider_is_away() -> anyhow::Result<()> {
    let world = World::with(|config| config.fresh = "5s", |settings| settings).await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    world.gate.warm(&token, HELLO).await?;
    world.provider.behave(Fault::HangUp).await?;
    world.gate.ask(&token, HELLO).await?.expect(200)?;
    tokio::time::sleep(Duration::from_millis(5_300)).await;
    // Without `stale_while_revalidate`, nothing outlives `max_age`.
    world.gate.ask(&token, HELLO).await?.problem(503)?;
    Ok(())
}

#[tokio::test]
async fn a_stale_fact_grants_up_to_its_end_and_never_refuses() -> anyhow::Result<()> {
    let world = World::with(
        |config| {
            config.fresh = "1s";
            config.stale = Some("7s");
        },
        |settings| settings,
    )
    .await?;
    let ours = world.gate.sign_in(&Wallet::owner()?).await?;
    let theirs = world.gate.sign_in(&Wallet::stranger()?).await?;
    world.gate.warm(&ours, HELLO).await?;
    world.gate.ask(&theirs, HELLO).await?.problem(403)?;
    world.provider.behave(Fault::HangUp).await?;
    tokio::time::sleep(Duration::from_millis(3_300)).await;
    world.gate.ask(&ours, HELLO).await?.expect(200)?;
    // A "no" that old is read again first, and nobody answers.
    world.gate.ask(&theirs, HELLO).await?.problem(503)?;
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    world.gate.ask(&ours, HELLO).await?.problem(503)?;
    Ok(())
}
