//! What is written down, and what never is.

use anyhow::{Context, ensure};
use tokengate_tests::service::{SERVICE_KEYS, STORE_KEYS};
use tokengate_tests::store::SECRET_ACCESS_KEY;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};

#[tokio::test]
async fn no_secret_is_ever_logged() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let gate = world.gate.clone();
    let wallet = Wallet::owner()?;
    let message = gate.challenge(&wallet).await?;
    let signature = wallet.personal_sign(&message);
    let session = gate.session(&message, &signature).await?.expect(201)?;
    let token = session["token"].as_str().context("no token")?.to_owned();
    gate.session(&message, &signature).await?.problem(401)?;
    let grant = gate.ask(&token, HELLO).await?.expect(200)?;
    let url = grant["url"].as_str().context("no URL")?;
    let (_, presigned) = url.split_once("X-Amz-Signature=").context("no signature")?;
    gate.get_as(&token, &format!("/v1/content/{HELLO}")).await?;
    gate.ask(&format!("{token}x"), HELLO).await?.problem(401)?;
    gate.get_as(&token, &format!("/v1/content/{HELLO}?token={token}"))
        .await?;
    let stranger = gate.sign_in(&Wallet::stranger()?).await?;
    gate.ask(&stranger, HELLO).await?.problem(403)?;
    world
        .provider
        .behave(tokengate_tests::faulty::Fault::HangUp)
        .await?;
    gate.get("/healthz/ready").await?;

    ensure!(world.service.stop().await?.success());
    let log = world.service.log();
    ensure!(log.contains("/v1/access"), "requests are logged: {log}");
    let (_, service_key) = SERVICE_KEYS.split_once(':').context("no key")?;
    let (_, store_key) = STORE_KEYS.split_once(':').context("no key")?;
    let mut variables = world.settings.variables.iter();
    let rpc_url = variables.find(|(name, _)| name == "rpc_url");
    let (_, rpc_url) = rpc_url.context("no provider")?;
    for (what, secret) in [
        ("the service key", service_key),
        ("the key of what is stored", store_key),
        ("the store's secret", SECRET_ACCESS_KEY),
        ("a wallet's signature", signature.trim_start_matches("0x")),
        ("a session's token", token.as_str()),
        ("another session's token", stranger.as_str()),
        (
            "a URL's signature",
            presigned.split('&').next().unwrap_or(presigned),
        ),
        ("a provider's URL", rpc_url.as_str()),
    ] {
        ensure!(!secret.is_empty(), "{what} is empty");
        ensure!(!log.contains(secret), "{what} is in the log: {log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_stopped_service_ends_well() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    world.gate.get("/healthz/live").await?.expect(200)?;
    let status = world.service.stop().await?;
    ensure!(status.success(), "{status}: {}", world.service.log());
    Ok(())
}
