//! The page and the description of the API.

use anyhow::{Context, ensure};
use serde_json::Value;
use tokengate_tests::world::World;

#[tokio::test]
async fn the_page_and_the_description_are_served() -> anyhow::Result<()> {
    let world = World::start().await?;
    let page = world.gate.get("/").await?;
    ensure!(page.status == 200, "{}", page.status);
    ensure!(
        page.header("content-type").starts_with("text/html"),
        "{:?}",
        page.headers
    );
    ensure!(
        page.header("content-security-policy")
            .contains("default-src"),
        "{:?}",
        page.headers
    );

    let description = world.gate.get("/openapi.json").await?;
    let description = description.expect(200)?;
    ensure!(
        description["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1")),
        "{}",
        description["openapi"]
    );
    let paths = description["paths"].as_object().context("no paths")?;
    for path in [
        "/v1/challenge",
        "/v1/session",
        "/v1/access",
        "/v1/content/{resource}",
        "/v1/gates",
        "/v1/gates/{id}",
        "/v1/gates/{id}/check",
        "/v1/admin/warm",
        "/v1/admin/watch",
        "/healthz/live",
        "/healthz/ready",
    ] {
        ensure!(
            paths.get(path).is_some_and(Value::is_object),
            "{path} is not described"
        );
    }
    Ok(())
}
