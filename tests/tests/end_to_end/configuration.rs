//! A configuration that is wrong stops the start, and the message names the place and the mend.

use anyhow::{Context, ensure};
use tokengate_tests::chain::ERC721;
use tokengate_tests::config::Config;
use tokengate_tests::service::{SERVICE_KEYS, Service, Settings};

const ENDPOINT: &str = "http://127.0.0.1:9";

fn valid() -> String {
    Config::new(ENDPOINT).to_string()
}

/// Starts what must not start; its words must name the line in which `changed` differs, and hold `words`.
async fn must_not_start(what: &str, config: &str, line: usize, words: &str) -> anyhow::Result<()> {
    let settings = Settings::new(config, ENDPOINT);
    let (status, said) = Service::start_in_vain(&settings)
        .await
        .with_context(|| what.to_owned())?;
    ensure!(status.code() == Some(1), "{what}: {status}: {said}");
    let place = format!("tokengate.toml:{line}:");
    ensure!(
        said.contains(&place),
        "{what}: {place} is not named: {said}"
    );
    ensure!(
        said.contains(words),
        "{what}: {words:?} is not said: {said}"
    );
    Ok(())
}

#[tokio::test]
async fn each_class_of_mistake_is_named_with_its_place() -> anyhow::Result<()> {
    let valid = valid();
    // Where a text of the valid configuration stands, counted from 1.
    let line = |text: &str| -> anyhow::Result<usize> {
        let at = valid.find(text).with_context(|| text.to_owned())?;
        Ok(valid[..at].matches('\n').count() + 1)
    };
    let holders = valid
        .lines()
        .find(|line| line.starts_with("require = { erc20"))
        .context("no gate over the ERC-20 alone")?;
    let miscased = ERC721.to_string().replacen('F', "f", 1);
    let erc721 = ERC721.to_string();
    // What is wrong, what is replaced by what, what stands at the place that is named, and words of the message.
    let cases = [
        (
            "an unknown key",
            "url_ttl = \"5m\"",
            "url_tll = \"5m\"",
            "url_ttl",
            "url_tll",
        ),
        (
            "a duplicate gate",
            "id = \"pass\"",
            "id = \"season-1\"",
            "id = \"pass\"",
            "season-1",
        ),
        (
            "an empty requirement",
            holders,
            "require = { all = [] }",
            holders,
            "empty",
        ),
        (
            "a threshold of zero",
            "at_least = \"1\"",
            "at_least = \"0\"",
            "  { erc721",
            "zero",
        ),
        (
            "equal patterns that overlap",
            "media/pass/**",
            "media/season-1/**",
            "resources = [\"media/pass",
            "season-1",
        ),
        (
            "an unknown bucket",
            "media/pass/**",
            "tapes/pass/**",
            "resources = [\"media/pass",
            "tapes",
        ),
        (
            "an address that fails EIP-55",
            &erc721,
            &miscased,
            "  { erc721",
            &miscased,
        ),
        (
            "a duration that is none",
            "session_ttl = \"1h\"",
            "session_ttl = \"soon\"",
            "session_ttl",
            "soon",
        ),
        ("a broken table", "[service]", "[service", "[service]", ""),
    ];
    for (what, from, to, place, words) in cases {
        let config = valid.replacen(from, to, 1);
        ensure!(
            config != valid,
            "{what}: {from:?} is not in the configuration"
        );
        let line = line(place)?;
        must_not_start(what, &config, line, words).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_variable_that_cannot_be_resolved_is_named() -> anyhow::Result<()> {
    let config = valid().replacen("{{ rpc_url }}", "{{ no_such_variable }}", 1);
    let settings = Settings::new(&config, ENDPOINT);
    let (status, said) = Service::start_in_vain(&settings).await?;
    ensure!(status.code() == Some(1), "{status}: {said}");
    ensure!(
        said.contains("tokengate.toml:") && said.contains("no_such_variable"),
        "{said}"
    );

    for missing in [
        "service_keys",
        "store_keys",
        "rpc_url",
        "media_access_key_id",
        "media_secret_access_key",
    ] {
        let settings = Settings::new(&valid(), ENDPOINT).without(missing);
        let (status, said) = Service::start_in_vain(&settings).await?;
        ensure!(status.code() == Some(1), "{missing}: {status}: {said}");
        ensure!(said.contains(missing), "{missing}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn keys_that_protect_nothing_are_refused() -> anyhow::Result<()> {
    for keys in [
        "",
        "k1",
        "k1:",
        "k1:abcd",
        "k1:zz",
        ":8f5d0f7c1c1a4c0d9b3a6e2f7d8c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a",
        "k1:8f5d0f7c1c1a4c0d9b3a6e2f7d8c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a,k1:1f5d0f7c1c1a4c0d9b3a6e2f7d8c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a",
    ] {
        let settings = Settings::new(&valid(), ENDPOINT).variable("service_keys", keys);
        let (status, said) = Service::start_in_vain(&settings)
            .await
            .with_context(|| format!("{keys:?}"))?;
        ensure!(status.code() == Some(1), "{keys:?}: {status}: {said}");
        ensure!(said.contains("service_keys"), "{keys:?}: {said}");
        ensure!(
            !said.contains("8f5d0f7c"),
            "the key itself is printed: {said}"
        );
    }
    for keys in ["", "k1:abcd", SERVICE_KEYS] {
        let settings = Settings::new(&valid(), ENDPOINT).variable("store_keys", keys);
        let (status, said) = Service::start_in_vain(&settings).await?;
        ensure!(status.code() == Some(1), "{keys:?}: {status}: {said}");
        ensure!(said.contains("store_keys"), "{keys:?}: {said}");
        ensure!(!said.contains("8f5d0f7c"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_repositorys_own_configuration_starts() -> anyhow::Result<()> {
    let config = std::fs::read_to_string(tokengate_tests::root().join("tokengate.toml"))?;
    let mut service = Service::start(&Settings::new(&config, ENDPOINT)).await?;
    ensure!(service.stop().await?.success());
    Ok(())
}
