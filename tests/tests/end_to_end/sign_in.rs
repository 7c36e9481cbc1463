//! From a challenge to a session, and everything that must not make one.

use std::time::Duration;

use alloy_primitives::{U256, hex, uint};
use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use http::Method;
use serde_json::json;
use tokengate_tests::client::{CHAIN, Gate};
use tokengate_tests::config::DOMAIN;
use tokengate_tests::service::{SERVICE_KEYS, Service};
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, HELLO_TEXT, World};

/// The order of secp256k1's group (SEC 2 §2.4.1).
const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

#[tokio::test]
async fn a_signature_becomes_the_objects_bytes() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let grant = world.gate.ask(&token, HELLO).await?.expect(200)?;
    ensure!(grant["gate"] == "season-1", "{grant}");
    ensure!(grant["method"] == "GET", "{grant}");
    ensure!(grant["basis"]["chain"] == CHAIN, "{grant}");
    ensure!(grant["basis"]["block"].is_u64(), "{grant}");
    let url = grant["url"].as_str().context("no URL")?;
    let object = world.http.get(url).await?;
    ensure!(object.status == 200, "{}", object.text());
    ensure!(object.text() == HELLO_TEXT);
    Ok(())
}

#[tokio::test]
async fn a_session_says_whose_it_is_and_when_it_ends() -> anyhow::Result<()> {
    let world = World::start().await?;
    let wallet = Wallet::owner()?;
    let message = world.gate.challenge(&wallet).await?;
    ensure!(
        message.starts_with(&format!(
            "{DOMAIN} wants you to sign in with your Ethereum account:\n{}\n",
            wallet.address()
        )),
        "{message}"
    );
    let reply = world
        .gate
        .session(&message, &wallet.personal_sign(&message))
        .await?;
    ensure!(reply.header("cache-control") == "no-store");
    ensure!(reply.header("set-cookie").is_empty(), "an unasked cookie");
    let session = reply.expect(201)?;
    ensure!(session["token_type"] == "Bearer", "{session}");
    ensure!(
        session["address"] == wallet.address().to_checksum(None),
        "{session}"
    );
    ensure!(session["chain"] == CHAIN, "{session}");
    ensure!(
        session["expires_at"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z')),
        "{session}"
    );
    Ok(())
}

#[tokio::test]
async fn a_nonce_is_accepted_once() -> anyhow::Result<()> {
    let world = World::start().await?;
    let wallet = Wallet::owner()?;
    let message = world.gate.challenge(&wallet).await?;
    let signature = wallet.personal_sign(&message);
    world
        .gate
        .session(&message, &signature)
        .await?
        .expect(201)?;
    for _ in 0..3 {
        world
            .gate
            .session(&message, &signature)
            .await?
            .problem(401)?;
    }
    Ok(())
}

#[tokio::test]
async fn of_a_thousand_concurrent_replays_one_is_accepted() -> anyhow::Result<()> {
    let world = World::start().await?;
    let wallet = Wallet::owner()?;
    let message = world.gate.challenge(&wallet).await?;
    let signature = wallet.personal_sign(&message);
    one_of_a_thousand(&[&world.gate], &message, &signature).await
}

/// Posts the same session a thousand times at once, over the gates in turn; exactly one may be accepted.
pub(crate) async fn one_of_a_thousand(
    gates: &[&Gate],
    message: &str,
    signature: &str,
) -> anyhow::Result<()> {
    let replies = try_join_all(
        gates
            .iter()
            .cycle()
            .take(1000)
            .map(|gate| gate.session(message, signature)),
    )
    .await?;
    let mut accepted = 0;
    for reply in replies {
        if reply.status == 201 {
            accepted += 1;
        } else {
            let problem = reply.problem(401)?;
            ensure!(problem["code"] == "nonce-reused", "{problem}");
        }
    }
    ensure!(accepted == 1, "{accepted} of 1000 were accepted");
    Ok(())
}

#[tokio::test]
async fn only_the_message_that_was_given_signs_in() -> anyhow::Result<()> {
    let world = World::start().await?;
    let wallet = Wallet::owner()?;
    let stranger = Wallet::stranger()?;
    let message = world.gate.challenge(&wallet).await?;
    let nonce = line(&message, "Nonce: ")?;
    let expires = line(&message, "Expiration Time: ")?;
    let mut twisted: Vec<char> = nonce.chars().collect();
    let last = twisted.last_mut().context("an empty nonce")?;
    *last = if *last == '0' { '1' } else { '0' };
    let twisted: String = twisted.into_iter().collect();

    let changes = [
        (
            "another domain",
            message.replacen(DOMAIN, "evil.example", 1),
        ),
        (
            "another domain throughout",
            message.replace(DOMAIN, "evil.example"),
        ),
        (
            "a longer domain",
            message.replacen(DOMAIN, "gate.example.evil.example", 1),
        ),
        (
            "another address",
            message.replace(
                &wallet.address().to_string(),
                &stranger.address().to_string(),
            ),
        ),
        (
            "another chain",
            message.replace("Chain ID: 31337", "Chain ID: 1"),
        ),
        (
            "another version",
            message.replace("Version: 1", "Version: 2"),
        ),
        ("a changed nonce", message.replace(nonce, &twisted)),
        (
            "an invented nonce",
            message.replace(nonce, "a1b2c3d4e5f60718"),
        ),
        (
            "an expired message",
            message.replace(expires, "2020-01-01T00:00:00Z"),
        ),
        (
            "a message not yet valid",
            message.replace(
                &format!("Expiration Time: {expires}"),
                &format!("Expiration Time: {expires}\nNot Before: 2099-01-01T00:00:00Z"),
            ),
        ),
        (
            "a line at the end",
            format!("{message}\nResources:\n- https://evil.example/"),
        ),
        ("a line feed at the end", format!("{message}\n")),
        ("carriage returns", message.replace('\n', "\r\n")),
    ];
    for (what, changed) in changes {
        ensure!(changed != message, "{what}: the message has no such part");
        // Under the signature of the message as it was given: never. (Its own signature is the next question.)
        let reply = world
            .gate
            .session(&changed, &wallet.personal_sign(&message))
            .await?;
        ensure!(
            refused(reply.status.as_u16()),
            "{what}, unsigned: {}",
            reply.text()
        );
        // Signed as it is: what remains are the checks of its content.
        if what == "a line at the end" {
            // EIP-4361 leaves it to the wallet what else it signs; nothing in our message forbids more resources.
            continue;
        }
        let reply = world
            .gate
            .session(&changed, &wallet.personal_sign(&changed))
            .await?;
        ensure!(
            refused(reply.status.as_u16()),
            "{what}, signed: {} {}",
            reply.status,
            reply.text()
        );
    }
    // No attempt above spent the nonce: only its owner's signature does.
    world
        .gate
        .session(&message, &wallet.personal_sign(&message))
        .await?
        .expect(201)?;
    Ok(())
}

#[tokio::test]
async fn only_the_wallets_own_signature_signs_in() -> anyhow::Result<()> {
    let world = World::start().await?;
    let wallet = Wallet::owner()?;
    let message = world.gate.challenge(&wallet).await?;
    let signature = wallet.personal_sign(&message);
    let bytes = hex::decode(&signature)?;
    let (rs, v) = bytes.split_at(64);
    let (r, s) = rs.split_at(32);

    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = bytes.clone();
        change(&mut changed);
        hex::encode_prefixed(changed)
    };
    // The same point by its other s: malleable, so EIP-2 forbids it.
    let high_s = (ORDER - U256::from_be_slice(s)).to_be_bytes::<32>();
    let high_s = hex::encode_prefixed([r, &high_s, &[55 - v[0]]].concat());
    let cases = [
        (
            "another wallet's",
            Wallet::stranger()?.personal_sign(&message),
        ),
        ("of another message", wallet.personal_sign("something else")),
        ("with a flipped bit in r", with(&|b| b[3] ^= 1)),
        ("with a flipped bit in s", with(&|b| b[40] ^= 1)),
        ("with the other v", with(&|b| b[64] = 55 - b[64])),
        ("with v = 29", with(&|b| b[64] = 29)),
        ("with v = 2", with(&|b| b[64] = 2)),
        ("with v of EIP-155", with(&|b| b[64] += 8)),
        ("with high s", high_s),
        ("of zero r", with(&|b| b[..32].fill(0))),
        ("of zero s", with(&|b| b[32..64].fill(0))),
        ("of r past the order", with(&|b| b[..32].fill(0xff))),
        ("of zeros", with(&|b| b.fill(0))),
        ("one byte short of compact", with(&|b| b.truncate(63))),
        ("one byte too long", with(&|b| b.push(27))),
        ("empty", "0x".to_owned()),
        ("empty text", String::new()),
        ("without 0x", hex::encode(&bytes)),
        ("not hexadecimal", "0xzz".repeat(33)),
        ("half a byte", format!("{signature}1")),
        ("far too long", format!("0x{}", "00".repeat(20_000))),
    ];
    for (what, changed) in cases {
        let reply = world.gate.session(&message, &changed).await?;
        ensure!(
            refused(reply.status.as_u16()),
            "a signature {what}: {} {}",
            reply.status,
            reply.text()
        );
    }
    // No attempt above spent the nonce.
    world
        .gate
        .session(&message, &signature)
        .await?
        .expect(201)?;
    Ok(())
}

#[tokio::test]
async fn every_lawful_form_of_a_signature_signs_in() -> anyhow::Result<()> {
    let world = World::start().await?;
    let wallet = Wallet::owner()?;
    type Form = fn(&mut Vec<u8>);
    let forms: [(&str, Form); 3] = [
        ("v in {27, 28}", |_| ()),
        ("v in {0, 1}", |bytes| bytes[64] -= 27),
        // EIP-2098: y parity in the highest bit of s, which low s leaves free.
        ("compact", |bytes| {
            let parity = bytes[64] - 27;
            bytes[32] |= parity << 7;
            bytes.truncate(64);
        }),
    ];
    for (what, form) in forms {
        // Four messages each, so that both parities come up.
        for _ in 0..4 {
            let message = world.gate.challenge(&wallet).await?;
            let mut bytes = hex::decode(wallet.personal_sign(&message))?;
            form(&mut bytes);
            world
                .gate
                .session(&message, &hex::encode_prefixed(bytes))
                .await?
                .expect(201)
                .context(what)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_token_that_was_not_minted_here_is_refused() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let mut forged = vec![
        String::new(),
        "x".to_owned(),
        "null".to_owned(),
        ".".repeat(8),
        "A".repeat(token.len()),
        "A".repeat(8_000),
        format!("{token}A"),
        format!("{token}="),
        token[..token.len() - 1].to_owned(),
        token[1..].to_owned(),
        token.to_uppercase(),
    ];
    for at in (0..token.len()).step_by(3) {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'B' { b'C' } else { b'B' };
        forged.push(String::from_utf8(changed)?);
    }
    for forged in forged {
        if forged == token {
            continue;
        }
        let reply = world.gate.ask(&forged, HELLO).await?;
        reply.problem(401).with_context(|| forged.clone())?;
        ensure!(
            reply.header("www-authenticate").starts_with("Bearer"),
            "{:?}",
            reply.headers
        );
    }
    for scheme in ["Basic dTpw", "Bearer", "bearer", "Token abc", ""] {
        let reply = world
            .gate
            .send(
                Method::POST,
                "/v1/access",
                &[
                    ("authorization", scheme),
                    ("content-type", "application/json"),
                ],
                json!({ "resource": HELLO }).to_string(),
            )
            .await?;
        reply.problem(401).context(scheme)?;
    }
    // RFC 9110 §11.1: the scheme's name is case-insensitive.
    let reply = world
        .gate
        .send(
            Method::POST,
            "/v1/access",
            &[
                ("authorization", &format!("bEaReR {token}")),
                ("content-type", "application/json"),
            ],
            json!({ "resource": HELLO }).to_string(),
        )
        .await?;
    reply.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_revoked_session_is_refused() -> anyhow::Result<()> {
    let world = World::start().await?;
    let wallet = Wallet::owner()?;
    let token = world.gate.sign_in(&wallet).await?;
    let other = world.gate.sign_in(&wallet).await?;
    world.gate.ask(&token, HELLO).await?.expect(200)?;
    world
        .gate
        .bearing(Method::DELETE, &token, "/v1/session", "")
        .await?
        .expect(204)?;
    world.gate.refused(&token, HELLO).await?;
    // Nobody else has asked for longer than for a second either.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..5 {
        world.gate.ask(&token, HELLO).await?.problem(401)?;
    }
    world
        .gate
        .get_as(&token, &format!("/v1/content/{HELLO}"))
        .await?
        .problem(401)?;
    // The wallet's other session is none of its business.
    world.gate.ask(&other, HELLO).await?.expect(200)?;
    world
        .gate
        .send(Method::DELETE, "/v1/session", &[], "")
        .await?
        .problem(401)?;
    Ok(())
}

#[tokio::test]
async fn a_session_ends_when_it_said() -> anyhow::Result<()> {
    let world = World::with(|config| config.session_ttl = "5s", |settings| settings).await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    world.gate.ask(&token, HELLO).await?.expect(200)?;
    tokio::time::sleep(Duration::from_millis(6_200)).await;
    world.gate.ask(&token, HELLO).await?.problem(401)?;
    Ok(())
}

#[tokio::test]
async fn a_session_outlives_the_rotation_of_keys_but_not_its_key() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let new_key = format!("k2:{}", "5a".repeat(32));

    let settings = world.settings.clone();
    let rotated = settings
        .clone()
        .variable("service_keys", &format!("{new_key},{SERVICE_KEYS}"));
    let service = Service::start(&rotated).await?;
    Gate::new(service.url(), DOMAIN)
        .ask(&token, HELLO)
        .await?
        .expect(200)?;

    let replaced = settings.variable("service_keys", &new_key);
    let service = Service::start(&replaced).await?;
    Gate::new(service.url(), DOMAIN)
        .ask(&token, HELLO)
        .await?
        .problem(401)?;
    Ok(())
}

/// Refused because of who or what it says it is; never as a failure of the service.
fn refused(status: u16) -> bool {
    matches!(status, 400 | 401 | 413 | 422)
}

fn line<'a>(message: &'a str, name: &str) -> anyhow::Result<&'a str> {
    message
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no line {name:?} in {message:?}"))
}
