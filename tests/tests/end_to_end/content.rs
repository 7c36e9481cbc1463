//! `/v1/content/…`: the decision as a redirect.

use anyhow::{Context, ensure};
use http::Method;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, HELLO_TEXT, World};

#[tokio::test]
async fn content_redirects_its_holder_to_the_object() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let path = format!("/v1/content/{HELLO}");
    let reply = world.gate.get_as(&token, &path).await?;
    ensure!(reply.status == 302, "{}: {}", reply.status, reply.text());
    ensure!(
        reply.header("cache-control").contains("no-store"),
        "{:?}",
        reply.headers
    );
    let object = world.http.get(reply.header("location")).await?;
    ensure!(
        object.status == 200 && object.text() == HELLO_TEXT,
        "{}",
        object.text()
    );
    Ok(())
}

#[tokio::test]
async fn head_redirects_to_a_url_for_head() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let path = format!("/v1/content/{HELLO}");
    let reply = world.gate.bearing(Method::HEAD, &token, &path, "").await?;
    ensure!(reply.status == 302, "{}", reply.status);
    ensure!(reply.body.is_empty());
    let location = reply.header("location");
    let head = world.http.fetch(Method::HEAD, location).await?;
    ensure!(head.status == 200, "{}", head.status);
    ensure!(world.http.get(location).await?.status == 403);
    Ok(())
}

#[tokio::test]
async fn content_is_closed_to_everyone_else() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::stranger()?).await?;
    let path = format!("/v1/content/{HELLO}");
    let reply = world.gate.get_as(&token, &path).await?;
    let problem = reply.problem(403)?;
    ensure!(problem["unmet"].is_array(), "{problem}");
    ensure!(reply.header("location").is_empty());
    let reply = world.gate.get(&path).await?;
    reply.problem(401)?;
    ensure!(reply.header("location").is_empty());
    // RFC 9110 §9.3.2: as GET, without content.
    let reply = world.gate.bearing(Method::HEAD, &token, &path, "").await?;
    ensure!(
        reply.status == 403 && reply.body.is_empty(),
        "{}",
        reply.status
    );
    Ok(())
}

#[tokio::test]
async fn a_path_is_decoded_once() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    world
        .store
        .put("season-1/a b%20c.txt", "text/plain", "once")
        .await?;
    let reply = world
        .gate
        .get_as(&token, "/v1/content/media/season-1/a%20b%2520c.txt")
        .await?;
    ensure!(reply.status == 302, "{}", reply.text());
    let object = world.http.get(reply.header("location")).await?;
    ensure!(object.text() == "once", "{}", object.text());
    Ok(())
}

#[tokio::test]
async fn names_that_two_readers_could_take_differently_open_nothing() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    for path in [
        "media/season-1/../uncovered.txt",
        "media/season-1/./hello.txt",
        "media/season-1//hello.txt",
        "media//season-1/hello.txt",
        "/media/season-1/hello.txt",
        "media/season-1/",
        "media/season-1/%2e%2e/uncovered.txt",
        "media/season-1/%2E%2E/uncovered.txt",
        "media/season-1%2Fhello.txt",
        "media/season-1%2fhello.txt",
        "media%2Fseason-1%2Fhello.txt",
        "media/season-1/..%2Funcovered.txt",
        "media/season-1/%5C..%5Cuncovered.txt",
        "media/season-1/hello.txt%00",
        "media/season-1/hello%0A.txt",
        "media/season-1/hello%7F.txt",
        "media/season-1/%FF.txt",
        "media/season-1/%C0%AE%C0%AE/uncovered.txt",
        "media/season-1/%zz.txt",
        "media/season-1/%2",
        "media",
        "",
        "MEDIA/season-1/hello.txt",
    ] {
        // Written raw: client libraries tidy such paths before they send them.
        let request = format!(
            "GET /v1/content/{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n",
            world.gate.domain()
        );
        let status = world
            .gate
            .send_raw(request.as_bytes())
            .await
            .context(path)?;
        ensure!(matches!(status, Some(400 | 404)), "{path}: {status:?}");
    }
    Ok(())
}
