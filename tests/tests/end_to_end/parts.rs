//! What the other tests rely on: that the parts they are measured against do check.

use anyhow::ensure;
use serde_json::json;
use tokengate_tests::chain::{Chain, ERC721, OWNER};
use tokengate_tests::client::Http;
use tokengate_tests::store::Store;

#[tokio::test]
async fn the_store_serves_nothing_without_a_signature() -> anyhow::Result<()> {
    let store = Store::start(0).await?;
    store.put("a/b.txt", "text/plain", "secret").await?;
    let reply = Http::default()
        .get(&format!("{}/media/a/b.txt", store.url()))
        .await?;
    ensure!(reply.status == 403, "{}", reply.status);
    ensure!(!reply.text().contains("secret"));
    Ok(())
}

#[tokio::test]
async fn the_chain_knows_the_owner_of_token_0() -> anyhow::Result<()> {
    let chain = Chain::with_contracts(0).await?;
    // ownerOf(0)
    let call =
        json!([{ "to": ERC721.to_string(), "data": format!("0x6352211e{:064x}", 0) }, "latest"]);
    let owner = chain.call("eth_call", call).await?;
    ensure!(owner == format!("0x{:0>64}", hex::encode(OWNER)), "{owner}");
    Ok(())
}
