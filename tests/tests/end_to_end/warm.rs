//! Facts that are read before anybody asks for them: after `tokengate warm`, first requests ask no provider.

use std::process::Output;

use anyhow::ensure;
use tokengate_tests::faulty::Fault;
use tokengate_tests::service::warm;
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

/// The exit code, and what was said on standard output and standard error.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn three() -> anyhow::Result<[Wallet; 3]> {
    Ok([
        Wallet::owner()?,
        Wallet::stranger()?,
        Wallet::seeded("a third")?,
    ])
}

fn list(wallets: &[Wallet]) -> String {
    let lines = wallets
        .iter()
        .map(|wallet| format!("{}\n", wallet.address()));
    format!("# who comes\n\n{}", lines.collect::<String>())
}

#[tokio::test]
async fn after_it_first_decisions_ask_no_provider() -> anyhow::Result<()> {
    let world = world().await?;
    let wallets = three()?;
    let mut tokens = Vec::new();
    for wallet in &wallets {
        tokens.push(world.gate.sign_in(wallet).await?);
    }
    world.provider.take();

    let url = world.service.url();
    let (code, out, err) = said(&warm(url, TOKEN, &list(&wallets), &[]).await?);
    // Each of them has a balance at each of three contracts, which two gates may share.
    let expected = "3 of 3 addresses: 9 facts read, 0 known\n3 addresses, 3 gates: 9 facts wanted, 0 known, 9 read, 0 unreadable, 0 failed\n";
    ensure!(code == Some(0) && out == expected, "{code:?}: {out}{err}");
    let asked = calls(&world);
    ensure!(asked == 1, "{asked} calls for all of them");

    let resources = [HELLO, "media/pass/extra.txt", "media/holders/report.txt"];
    for (token, statuses) in tokens.iter().zip([[200; 3], [403; 3], [403; 3]]) {
        for (resource, status) in resources.iter().zip(statuses) {
            let reply = world.gate.ask(token, resource).await?;
            ensure!(reply.status == status, "{resource}: {}", reply.text());
        }
    }
    let asked = calls(&world);
    ensure!(asked == 0, "{asked} calls after it");

    let (code, out, err) = said(&warm(url, TOKEN, &list(&wallets), &["--gate", "pass"]).await?);
    let expected = "3 of 3 addresses: 0 facts read, 3 known\n3 addresses, 1 gate: 3 facts wanted, 3 known, 0 read, 0 unreadable, 0 failed\n";
    ensure!(code == Some(0) && out == expected, "{code:?}: {out}{err}");
    Ok(())
}

/// How often the state of the chain was read since the last time.
fn calls(world: &World) -> usize {
    let requests = world.provider.take();
    requests
        .iter()
        .filter(|request| request["method"] == "eth_call")
        .count()
}

#[tokio::test]
async fn what_fails_is_said_with_what_to_do() -> anyhow::Result<()> {
    let world = world().await?;
    let (url, good) = (world.service.url(), list(&three()?));
    let bad = format!("{good}0x12\n");
    let guess = "somebody else's guess at that token!";
    for (url, token, list, gate, code, words) in [
        (url, guess, &good, "pass", 1, "admin_token"),
        (url, TOKEN, &good, "nowhere", 1, "tokengate.toml"),
        (url, "", &good, "pass", 2, "TOKENGATE_ADMIN_TOKEN"),
        (url, TOKEN, &bad, "pass", 2, "line 6: an address is 0x"),
        ("127.0.0.1", TOKEN, &good, "pass", 2, "must be a URL"),
    ] {
        let output = warm(url, token, list, &["--gate", gate]).await?;
        let (ended, out, err) = said(&output);
        ensure!(ended == Some(code), "{ended:?}: {out}{err}");
        ensure!(err.contains(words), "{words}: {err}");
        ensure!(!err.contains(TOKEN) && !err.contains(guess), "{err}");
    }
    ensure!(calls(&world) == 0, "nobody was read for");

    world.provider.behave(Fault::Refused).await?;
    let (code, out, err) = said(&warm(url, TOKEN, &good, &[]).await?);
    ensure!(code == Some(1), "{code:?}: {out}{err}");
    ensure!(err.contains("addresses 1 to 3: 503: "), "{err}");
    ensure!(out.starts_with("0 of 3 addresses, "), "{out}");
    // It can be done again, once somebody answers.
    world.provider.behave(Fault::None).await?;
    let (code, out, err) = said(&warm(url, TOKEN, &good, &[]).await?);
    ensure!(code == Some(0), "{code:?}: {out}{err}");
    Ok(())
}
