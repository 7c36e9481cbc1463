//! What happens to a session between its beginning and its end, and what others try to do with it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};
use tokengate_tests::client::{CHAIN, Gate, Reply};
use tokengate_tests::config::DOMAIN;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};

/// A page of the service, as browsers say it.
const OURS: [(&str, &str); 2] = [
    ("origin", "https://gate.example"),
    ("sec-fetch-site", "same-origin"),
];
/// A page of somebody else.
const THEIRS: [(&str, &str); 2] = [
    ("origin", "https://evil.example"),
    ("sec-fetch-site", "cross-site"),
];

/// `POST /v1/session` with more members and header fields.
async fn sign_in(
    gate: &Gate,
    wallet: &Wallet,
    members: Value,
    headers: &[(&str, &str)],
) -> anyhow::Result<Reply> {
    let message = gate.challenge(wallet).await?;
    present(gate, wallet, &message, members, headers).await
}

/// A message, signed by `wallet`, with further members and header fields.
async fn present(
    gate: &Gate,
    wallet: &Wallet,
    message: &str,
    members: Value,
    headers: &[(&str, &str)],
) -> anyhow::Result<Reply> {
    let mut body = json!({ "message": message, "signature": wallet.personal_sign(message) });
    let (body_members, members) = (body.as_object_mut(), members.as_object().cloned());
    body_members
        .context("no object")?
        .extend(members.context("no object")?);
    let mut fields = vec![("content-type", "application/json")];
    fields.extend(headers);
    gate.send(Method::POST, "/v1/session", &fields, body.to_string())
        .await
}

/// A session in a cookie: `name=token`, as a browser sends it back.
async fn cookie(gate: &Gate, wallet: &Wallet, headers: &[(&str, &str)]) -> anyhow::Result<String> {
    let reply = sign_in(gate, wallet, json!({ "cookie": true }), headers).await?;
    let session = reply.expect(201)?;
    ensure!(
        session.get("token").is_none(),
        "a script can read the token"
    );
    let cookie = reply.header("set-cookie");
    let (pair, _) = cookie.split_once(';').context("no attributes")?;
    Ok(pair.to_owned())
}

async fn open(gate: &Gate, cookie: &str, headers: &[(&str, &str)]) -> anyhow::Result<Reply> {
    let mut fields = vec![("cookie", cookie), ("content-type", "application/json")];
    fields.extend(headers);
    let body = json!({ "resource": HELLO }).to_string();
    gate.send(Method::POST, "/v1/access", &fields, body).await
}

fn token(session: &Value) -> anyhow::Result<String> {
    Ok(session["token"].as_str().context("no token")?.to_owned())
}

fn addresses(session: &Value) -> anyhow::Result<Vec<String>> {
    let wallets = session["wallets"].as_array().context("no wallets")?;
    let address = |wallet: &Value| Some(wallet["address"].as_str()?.to_owned());
    wallets
        .iter()
        .map(|wallet| address(wallet).context("a wallet without address"))
        .collect()
}

/// A challenge that was fetched for no account in particular.
async fn unbound_challenge(gate: &Gate) -> anyhow::Result<Value> {
    let path = format!("/v1/challenge?chain={CHAIN}");
    gate.get(&path).await?.expect(200)
}

/// The message that a page makes of it for `wallet`.
fn written(challenge: &Value, wallet: &Wallet) -> anyhow::Result<String> {
    let text = |name: &str| challenge[name].as_str().context("a missing member");
    Ok(format!(
        "{} wants you to sign in with your Ethereum account:\n{}\n\n{}\n\nURI: {}\nVersion: 1\nChain ID: 31337\nNonce: {}\nIssued At: {}",
        text("domain")?,
        wallet.address(),
        text("statement")?,
        text("uri")?,
        text("nonce")?,
        text("issued_at")?,
    ))
}

#[tokio::test]
async fn a_cookie_opens_what_a_token_opens_and_no_script_reads_it() -> anyhow::Result<()> {
    let world = World::start().await?;
    let reply = sign_in(
        &world.gate,
        &Wallet::owner()?,
        json!({ "cookie": true }),
        &OURS,
    )
    .await?;
    let session = reply.expect(201)?;
    ensure!(session.get("token").is_none(), "{session}");
    let cookie = reply.header("set-cookie");
    let (pair, attributes) = cookie.split_once(';').context("no attributes")?;
    ensure!(pair.starts_with("__Host-tokengate="), "{cookie}");
    let attributes: Vec<&str> = attributes.split(';').map(str::trim).collect();
    for attribute in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        ensure!(attributes.contains(&attribute), "{attribute}: {cookie}");
    }
    ensure!(
        !attributes.iter().any(|a| a.starts_with("Domain")),
        "{cookie}"
    );
    let path = format!("/v1/content/{HELLO}");
    for method in [Method::GET, Method::HEAD] {
        let reply = world
            .gate
            .send(method, &path, &[("cookie", pair)], "")
            .await?;
        ensure!(reply.status.is_redirection(), "{}", reply.status);
    }
    open(&world.gate, pair, &OURS).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn no_other_site_acts_through_a_visitors_cookie() -> anyhow::Result<()> {
    let world = World::start().await?;
    let pair = cookie(&world.gate, &Wallet::owner()?, &OURS).await?;
    let forged: [&[(&str, &str)]; 8] = [
        &[],
        &THEIRS,
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://gate.example")],
        &[("origin", "https://gate.example.evil.example")],
        &[("sec-fetch-site", "same-site")],
        &[
            ("origin", "https://gate.example"),
            ("sec-fetch-site", "cross-site"),
        ],
    ];
    for headers in forged {
        let problem = open(&world.gate, &pair, headers).await?.problem(403)?;
        ensure!(problem["code"] == "cross-site", "{headers:?}: {problem}");
        for (method, path) in [
            (Method::DELETE, "/v1/session"),
            (Method::POST, "/v1/session/renew"),
        ] {
            let mut fields = vec![("cookie", pair.as_str())];
            fields.extend(headers);
            let reply = world.gate.send(method, path, &fields, "").await?;
            ensure!(reply.problem(403)?["code"] == "cross-site", "{path}");
        }
    }
    // Nor does it sign a visitor in as somebody else, whom it could then watch.
    let attacker = Wallet::stranger()?;
    let reply = sign_in(&world.gate, &attacker, json!({ "cookie": true }), &THEIRS).await?;
    ensure!(reply.problem(403)?["code"] == "cross-site");
    ensure!(reply.header("set-cookie").is_empty());
    open(&world.gate, &pair, &OURS).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_cookie_tossed_beside_ours_opens_nothing() -> anyhow::Result<()> {
    let world = World::start().await?;
    let victim = cookie(&world.gate, &Wallet::stranger()?, &OURS).await?;
    let attacker = cookie(&world.gate, &Wallet::owner()?, &OURS).await?;
    let other_name = attacker.replacen("__Host-tokengate", "tokengate", 1);
    let other_case = attacker.replacen("__Host-", "__host-", 1);
    for (cookies, status) in [
        (format!("{victim}; {attacker}"), 401),
        (format!("{attacker}; {victim}"), 401),
        (format!("{victim}; {victim}"), 401),
        // Under a name that a subdomain or plain HTTP may set, it is nobody's: the victim is judged as the victim.
        (format!("{other_name}; {victim}"), 403),
        (format!("{other_case}; {victim}"), 403),
        (other_name.clone(), 401),
        (other_case.clone(), 401),
    ] {
        open(&world.gate, &cookies, &OURS)
            .await?
            .problem(status)
            .with_context(|| cookies.clone())?;
    }
    // Nor does it keep its victim from signing in anew, alone.
    let both = format!("{victim}; {attacker}");
    let mut headers = vec![("cookie", both.as_str())];
    headers.extend(OURS);
    let wallet = Wallet::stranger()?;
    for more in [json!({}), json!({ "cookie": true })] {
        let session = sign_in(&world.gate, &wallet, more, &headers).await?;
        let session = session.expect(201)?;
        ensure!(addresses(&session)?.len() == 1, "{session}");
    }
    Ok(())
}

#[tokio::test]
async fn a_planted_session_gains_nothing_by_its_victims_sign_in() -> anyhow::Result<()> {
    let world = World::start().await?;
    // The attacker's own session, in the victim's browser.
    let planted = cookie(&world.gate, &Wallet::stranger()?, &OURS).await?;
    let mut headers = vec![("cookie", planted.as_str())];
    headers.extend(OURS);
    let victims = cookie(&world.gate, &Wallet::owner()?, &headers).await?;
    ensure!(victims != planted, "the planted session lives on");
    open(&world.gate, &victims, &OURS).await?.expect(200)?;
    let problem = open(&world.gate, &planted, &OURS).await?.problem(401)?;
    ensure!(problem["code"] == "revoked-session", "{problem}");
    Ok(())
}

#[tokio::test]
async fn a_stolen_nonce_serves_nobody_else_and_stays_good_for_its_owner() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (victim, thief) = (Wallet::owner()?, Wallet::stranger()?);
    let message = world.gate.challenge(&victim).await?;
    // The thief's own message with the nonce, properly signed.
    let own = message.replace(&victim.address().to_string(), &thief.address().to_string());
    let problem = world
        .gate
        .session(&own, &thief.personal_sign(&own))
        .await?
        .problem(401)?;
    ensure!(problem["code"] == "invalid-nonce", "{problem}");
    // The victim's message, signed by the thief, over and over: that must not use the nonce up.
    for _ in 0..20 {
        let problem = world
            .gate
            .session(&message, &thief.personal_sign(&message))
            .await?
            .problem(401)?;
        ensure!(problem["code"] == "signature-mismatch", "{problem}");
    }
    world
        .gate
        .session(&message, &victim.personal_sign(&message))
        .await?
        .expect(201)?;
    // One that was fetched for no account in particular is the first one's that signs in with it, as itself.
    let challenge = unbound_challenge(&world.gate).await?;
    let (first, late) = (written(&challenge, &thief)?, written(&challenge, &victim)?);
    let session = world
        .gate
        .session(&first, &thief.personal_sign(&first))
        .await?
        .expect(201)?;
    ensure!(addresses(&session)? == [thief.address().to_string()]);
    let problem = world
        .gate
        .session(&late, &victim.personal_sign(&late))
        .await?
        .problem(401)?;
    ensure!(problem["code"] == "nonce-reused", "{problem}");
    world.gate.sign_in(&victim).await?;
    Ok(())
}

/// To the second is tested by a clock that the tests set: `an_idle_session_expires_and_one_that_is_renewed_lasts_until_its_end`.
#[tokio::test]
async fn a_renewed_session_lasts_longer_and_is_the_same_one() -> anyhow::Result<()> {
    let world = World::with(
        |config| config.session_idle = Some("20m"),
        |settings| settings,
    )
    .await?;
    let first = sign_in(&world.gate, &Wallet::owner()?, json!({}), &[])
        .await?
        .expect(201)?;
    let idle = token(&first)?;
    // Times are kept to the second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let path = "/v1/session/renew";
    let reply = world.gate.bearing(Method::POST, &idle, path, "").await?;
    let renewed = reply.expect(200)?;
    for member in ["ends_at", "wallets", "address"] {
        ensure!(renewed[member] == first[member], "{member}: {renewed}");
    }
    let until = |session: &Value| session["expires_at"].as_str().map(str::to_owned);
    ensure!(until(&renewed) > until(&first), "{renewed}, {first}");
    let live = token(&renewed)?;
    for token in [&idle, &live] {
        world.gate.ask(token, HELLO).await?.expect(200)?;
    }
    let reply = world.gate.bearing(Method::DELETE, &live, "/v1/session", "");
    reply.await?.expect(204)?;
    for token in [&idle, &live] {
        let problem = world.gate.refused(token, HELLO).await?;
        ensure!(problem["code"] == "revoked-session", "{problem}");
    }
    Ok(())
}

#[tokio::test]
async fn all_sessions_of_an_address_end_at_once_and_it_signs_in_anew() -> anyhow::Result<()> {
    let world = World::start().await?;
    let owner = Wallet::owner()?;
    let (one, two) = (
        world.gate.sign_in(&owner).await?,
        world.gate.sign_in(&owner).await?,
    );
    let other = world.gate.sign_in(&Wallet::stranger()?).await?;
    world
        .gate
        .bearing(Method::DELETE, &one, "/v1/session?everywhere=true", "")
        .await?
        .expect(204)?;
    for ended in [&one, &two] {
        let problem = world.gate.refused(ended, HELLO).await?;
        ensure!(problem["code"] == "revoked-session", "{problem}");
    }
    world
        .gate
        .get_as(&other, "/v1/session")
        .await?
        .expect(200)?;
    let again = world.gate.sign_in(&owner).await?;
    world.gate.ask(&again, HELLO).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn wallets_are_linked_and_all_of_them_are_considered() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (owner, stranger) = (Wallet::owner()?, Wallet::stranger()?);
    let alone = world.gate.sign_in(&stranger).await?;
    world.gate.ask(&alone, HELLO).await?.problem(403)?;
    let bearer = format!("Bearer {alone}");
    let headers = [("authorization", bearer.as_str())];
    let apart = sign_in(&world.gate, &owner, json!({ "link": false }), &headers).await?;
    ensure!(addresses(&apart.expect(201)?)?.len() == 1);
    let linked = sign_in(&world.gate, &owner, json!({}), &headers)
        .await?
        .expect(201)?;
    let both = [owner.address(), stranger.address()].map(|address| address.to_string());
    ensure!(addresses(&linked)? == both, "{linked}");
    let together = token(&linked)?;
    world.gate.ask(&together, HELLO).await?.expect(200)?;
    let shown = world
        .gate
        .get_as(&together, "/v1/session")
        .await?
        .expect(200)?;
    ensure!(shown["wallets"] == linked["wallets"], "{shown}");
    // The session that it replaces is over, and a session that is over is linked to nothing.
    let problem = world.gate.refused(&alone, HELLO).await?;
    ensure!(problem["code"] == "revoked-session", "{problem}");
    sign_in(&world.gate, &owner, json!({}), &headers)
        .await?
        .problem(401)?;
    // Signing in once more with the same wallet lists it once.
    let bearer = format!("Bearer {together}");
    let headers = [("authorization", bearer.as_str())];
    let again = sign_in(&world.gate, &owner, json!({}), &headers)
        .await?
        .expect(201)?;
    ensure!(addresses(&again)? == both, "{again}");
    Ok(())
}

#[tokio::test]
async fn a_session_has_at_most_eight_wallets() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut bearer: Option<String> = None;
    for index in 0..9 {
        let wallet = Wallet::seeded(&format!("one of many: {index}"))?;
        let headers: Vec<(&str, &str)> = bearer
            .iter()
            .map(|bearer| ("authorization", bearer.as_str()))
            .collect();
        let message = world.gate.challenge(&wallet).await?;
        let reply = present(&world.gate, &wallet, &message, json!({}), &headers).await?;
        if index == 8 {
            let problem = reply.problem(422)?;
            ensure!(problem["code"] == "too-many-wallets", "{problem}");
            // Its signature is still good for a session of its own.
            let alone = json!({ "link": false });
            let reply = present(&world.gate, &wallet, &message, alone, &headers).await?;
            ensure!(addresses(&reply.expect(201)?)?.len() == 1);
        } else {
            let session = reply.expect(201)?;
            ensure!(addresses(&session)?.len() == index + 1, "{session}");
            bearer = Some(format!("Bearer {}", token(&session)?));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_challenge_can_be_fetched_before_the_wallet_is_known() -> anyhow::Result<()> {
    let world = World::start().await?;
    let challenge = unbound_challenge(&world.gate).await?;
    ensure!(challenge["message"].is_null(), "{challenge}");
    let wallet = Wallet::owner()?;
    let message = written(&challenge, &wallet)?;
    let signature = wallet.personal_sign(&message);
    world
        .gate
        .session(&message, &signature)
        .await?
        .expect(201)?;
    let problem = world
        .gate
        .session(&message, &signature)
        .await?
        .problem(401)?;
    ensure!(problem["code"] == "nonce-reused", "{problem}");
    Ok(())
}

#[tokio::test]
async fn a_scheme_and_a_port_count_as_pages_are_served() -> anyhow::Result<()> {
    let world = World::start().await?;
    let wallet = Wallet::owner()?;
    let message = world.gate.challenge(&wallet).await?;
    let first_line = format!("{DOMAIN} wants");
    for (origin, code) in [
        ("http://gate.example", "wrong-domain"),
        ("gate.example:80", "wrong-domain"),
        ("gate.example:8443", "wrong-domain"),
        ("user@gate.example", "wrong-domain"),
        ("https://gate.example:8443", "wrong-domain"),
    ] {
        let changed = message.replacen(&first_line, &format!("{origin} wants"), 1);
        let reply = world
            .gate
            .session(&changed, &wallet.personal_sign(&changed))
            .await?;
        ensure!(reply.problem(401)?["code"] == code, "{origin}");
    }
    for origin in [
        "https://gate.example",
        "gate.example:443",
        "GATE.example",
        "https://gate.example:443",
    ] {
        let message = world.gate.challenge(&wallet).await?;
        let changed = message.replacen(&first_line, &format!("{origin} wants"), 1);
        world
            .gate
            .session(&changed, &wallet.personal_sign(&changed))
            .await?
            .expect(201)
            .context(origin)?;
    }
    Ok(())
}

#[tokio::test]
async fn who_asks_too_often_waits_and_nobody_else() -> anyhow::Result<()> {
    let world = World::with(
        |config| {
            config.limits = "per_client = \"6/1h\"\nper_address = \"3/1h\"\nclient_ip_header = \"x-forwarded-for\"\nproxy_hops = 1";
        },
        |settings| settings,
    )
    .await?;
    #[expect(
        clippy::disallowed_methods,
        reason = "windows begin and end by the time of day"
    )]
    let into = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() % HOUR;
    // With the hour everybody's count starts anew: not in the middle of this.
    if HOUR - into <= 20 {
        tokio::time::sleep(Duration::from_secs(HOUR - into)).await;
    }
    let wallet = Wallet::owner()?;
    let path = format!("/v1/challenge?chain={CHAIN}");
    let with_address = format!("{path}&address={}", wallet.address());
    let ask = async |path: &str, client: &str| {
        let headers = [("x-forwarded-for", client)];
        world.gate.send(Method::GET, path, &headers, "").await
    };
    // How often a client is admitted before it is refused. What instances have not told each other yet may be more
    // than the quota, and is never less.
    let admitted = async |path: &str, client: &str, policy: &str, quota: usize| {
        for admitted in 0..4 * quota {
            let reply = ask(path, client).await?;
            let told = reply.header("ratelimit-policy");
            ensure!(told == format!("\"{policy}\";q={quota};w={HOUR}"), "{told}");
            let (left, reset) = left(&reply, policy)?;
            ensure!(
                left < quota && (1..=HOUR).contains(&reset),
                "{left}, {reset}"
            );
            if reply.status != 200 {
                ensure!(reply.problem(429)?["code"] == "too-many-requests");
                ensure!(left == 0 && reply.header("retry-after").parse() == Ok(reset));
                return Ok(admitted);
            }
        }
        anyhow::bail!("{client} is never refused")
    };
    ensure!(admitted(&path, "192.0.2.1", "client", 6).await? >= 6);
    // What a client claims itself stands left of what our proxy appended.
    let claiming = admitted(&path, "198.51.100.7, 192.0.2.1", "client", 6).await?;
    ensure!(claiming < 6, "{claiming}: by a claim it is another client");
    ask(&path, "192.0.2.1, 198.51.100.7").await?.expect(200)?;
    // One client asks too often for one account; the account's owner, elsewhere, is not locked out.
    let asked = admitted(&with_address, "203.0.113.5", "address", 3).await?;
    ensure!(asked >= 3, "{asked}");
    let challenge = ask(&with_address, "203.0.113.6").await?.expect(200)?;
    let message = challenge["message"].as_str().context("no message")?;
    let body = json!({ "message": message, "signature": wallet.personal_sign(message) });
    let headers = [
        ("x-forwarded-for", "203.0.113.6"),
        ("content-type", "application/json"),
    ];
    world
        .gate
        .send(Method::POST, "/v1/session", &headers, body.to_string())
        .await?
        .expect(201)?;
    Ok(())
}

const HOUR: u64 = 3600;

/// What `RateLimit` says of a policy: how many requests are left, and for how many seconds.
fn left(reply: &Reply, policy: &str) -> anyhow::Result<(usize, u64)> {
    let field = reply.header("ratelimit");
    let numbers = || {
        let rest = field.strip_prefix(&format!("\"{policy}\";r="))?;
        let (left, reset) = rest.split_once(";t=")?;
        Some((left.parse().ok()?, reset.parse().ok()?))
    };
    numbers().with_context(|| format!("{policy} is not told of: {field}"))
}
