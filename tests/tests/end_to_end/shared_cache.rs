//! Two hosts over one Redis are one service.

use anyhow::ensure;
use http::Method;
use tokengate_tests::client::Gate;
use tokengate_tests::config::DOMAIN;
use tokengate_tests::redis::Redis;
use tokengate_tests::service::Service;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, HELLO_TEXT, World};

use crate::sign_in::one_of_a_thousand;

struct Pair {
    world: World,
    _second: Service,
    other: Gate,
    _redis: Redis,
}

async fn pair() -> anyhow::Result<Pair> {
    let redis = Redis::start().await?;
    let url = redis.url().to_owned();
    let world = World::with(
        |config| config.fresh = "1m",
        |settings| settings.redis(&url),
    )
    .await?;
    let second = Service::start(&world.settings).await?;
    let other = Gate::new(second.url(), DOMAIN);
    world.provider.take();
    Ok(Pair {
        world,
        _second: second,
        other,
        _redis: redis,
    })
}

#[tokio::test]
async fn a_session_and_a_fact_of_one_host_serve_the_other() -> anyhow::Result<()> {
    let Pair { world, other, .. } = &pair().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    world.gate.warm(&token, HELLO).await?;
    world.provider.take();
    let grant = other.ask(&token, HELLO).await?.expect(200)?;
    ensure!(grant["basis"]["tier"] == "store", "{grant}");
    let asked = world.provider.take();
    ensure!(asked.is_empty(), "{asked:?}");
    let url = grant["url"].as_str().unwrap_or_default();
    ensure!(world.http.get(url).await?.text() == HELLO_TEXT);
    Ok(())
}

#[tokio::test]
async fn a_nonce_is_accepted_once_by_both_hosts_together() -> anyhow::Result<()> {
    let Pair { world, other, .. } = &pair().await?;
    let wallet = Wallet::owner()?;
    let message = world.gate.challenge(&wallet).await?;
    let signature = wallet.personal_sign(&message);
    one_of_a_thousand(&[&world.gate, other], &message, &signature).await
}

#[tokio::test]
async fn a_session_revoked_at_one_host_is_refused_at_the_other() -> anyhow::Result<()> {
    let Pair { world, other, .. } = &pair().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    world.gate.ask(&token, HELLO).await?.expect(200)?;
    other
        .bearing(Method::DELETE, &token, "/v1/session", "")
        .await?
        .expect(204)?;
    world.gate.refused(&token, HELLO).await?;
    Ok(())
}
