//! What a presigned URL opens, and what it does not.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::Method;
use serde_json::json;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, HELLO_TEXT, World};
use url::Url;

async fn url(world: &World, token: &str, request: serde_json::Value) -> anyhow::Result<String> {
    let grant = world.gate.access(token, &request).await?.expect(200)?;
    Ok(grant["url"].as_str().context("no URL")?.to_owned())
}

fn parameter(url: &str, name: &str) -> anyhow::Result<String> {
    Url::parse(url)?
        .query_pairs()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .with_context(|| format!("no {name} in {url}"))
}

#[tokio::test]
async fn a_url_opens_one_object_by_one_method() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let url = url(&world, &token, json!({ "resource": HELLO })).await?;
    let object = world.http.get(&url).await?;
    ensure!(
        object.status == 200 && object.text() == HELLO_TEXT,
        "{}",
        object.text()
    );

    let swap = |from: &str, to: &str| {
        let changed = url.replacen(from, to, 1);
        assert_ne!(changed, url, "{from:?} is not in the URL");
        changed
    };
    let signature = parameter(&url, "X-Amz-Signature")?;
    let flipped = if signature.starts_with('0') { "1" } else { "0" }.to_owned() + &signature[1..];
    for changed in [
        swap("season-1/hello.txt", "season-1/other.txt"),
        swap("season-1/hello.txt", "uncovered.txt"),
        swap("season-1/hello.txt", "pass/extra.txt"),
        swap("season-1/hello.txt", ""),
        swap("/media/", "/other/"),
        swap(&signature, &flipped),
        swap("X-Amz-Expires=", "X-Amz-Expires=1"),
        format!("{url}&response-content-type=text%2Fhtml"),
        url.split('?').next().context("no path")?.to_owned(),
    ] {
        let reply = world.http.get(&changed).await?;
        ensure!(
            reply.status.is_client_error(),
            "{}: {changed}",
            reply.status
        );
        ensure!(!reply.text().contains("holder"), "{changed}");
    }
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::HEAD] {
        let reply = world.http.fetch(method.clone(), &url).await?;
        ensure!(reply.status.is_client_error(), "{method}: {}", reply.status);
    }
    let object = world.http.get(&url).await?;
    ensure!(
        object.text() == HELLO_TEXT,
        "a refused method changed the object"
    );
    Ok(())
}

#[tokio::test]
async fn a_url_for_head_is_for_head_alone() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let url = url(
        &world,
        &token,
        json!({ "resource": HELLO, "method": "HEAD" }),
    )
    .await?;
    let head = world.http.fetch(Method::HEAD, &url).await?;
    ensure!(head.status == 200, "{}", head.status);
    ensure!(
        head.header("content-length") == HELLO_TEXT.len().to_string(),
        "{:?}",
        head.headers
    );
    let reply = world.http.get(&url).await?;
    ensure!(reply.status == 403, "{}", reply.status);
    Ok(())
}

#[tokio::test]
async fn a_url_expires() -> anyhow::Result<()> {
    let world = World::with(|config| config.url_ttl = "4s", |settings| settings).await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let url = url(&world, &token, json!({ "resource": HELLO })).await?;
    ensure!(parameter(&url, "X-Amz-Expires")? == "4", "{url}");
    ensure!(world.http.get(&url).await?.status == 200);
    tokio::time::sleep(Duration::from_millis(5_200)).await;
    let reply = world.http.get(&url).await?;
    ensure!(reply.status == 403, "{}", reply.status);
    Ok(())
}

#[tokio::test]
async fn a_url_does_not_outlive_its_session() -> anyhow::Result<()> {
    let world = World::with(|config| config.session_ttl = "40s", |settings| settings).await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let url = url(&world, &token, json!({ "resource": HELLO })).await?;
    let expires: u64 = parameter(&url, "X-Amz-Expires")?.parse()?;
    ensure!((1..=40).contains(&expires), "{url}");
    Ok(())
}

#[tokio::test]
async fn a_disposition_is_signed_into_the_url() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let request = json!({ "resource": HELLO, "disposition": "attachment" });
    let url = url(&world, &token, request).await?;
    let disposition = parameter(&url, "response-content-disposition")?;
    ensure!(
        disposition.starts_with("attachment") && disposition.contains("hello.txt"),
        "{disposition}"
    );
    let object = world.http.get(&url).await?;
    ensure!(
        object.status == 200 && object.text() == HELLO_TEXT,
        "{}",
        object.text()
    );
    let changed = url.replacen("attachment", "inline", 1);
    ensure!(world.http.get(&changed).await?.status == 403);
    Ok(())
}

#[tokio::test]
async fn a_key_is_signed_as_it_is_stored() -> anyhow::Result<()> {
    let world = World::start().await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    for name in [
        "with space.txt",
        "plus+plus.txt",
        "100%25.txt",
        "ünïcödé 文件.txt",
        "a=b&c=d?e#f.txt",
        "(paren)'quote'!.txt",
        "deep/er/still.txt",
        "~tilde*.txt",
    ] {
        let key = format!("season-1/{name}");
        world.store.put(&key, "text/plain", name.to_owned()).await?;
        let request = json!({ "resource": format!("media/{key}") });
        let url = url(&world, &token, request).await.context(name)?;
        let object = world.http.get(&url).await?;
        ensure!(
            object.status == 200 && object.text() == name,
            "{name}: {url}: {}",
            object.text()
        );
    }
    Ok(())
}
