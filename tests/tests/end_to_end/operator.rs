//! What an operator asks on the command line: `tokengate doctor` and `tokengate check`, over a real chain and a real store.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokengate_tests::chain::{ERC20, ERC721, OWNER};
use tokengate_tests::faulty::Fault;
use tokengate_tests::service::{SERVICE_KEYS, STORE_KEYS, Settings, run};
use tokengate_tests::store::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::World;

/// A part of the provider's URL, as many providers have it.
const API_KEY: &str = "c0ffee-an-api-key";

/// A world whose provider's URL holds a key.
async fn world() -> anyhow::Result<World> {
    let mut world = World::start().await?;
    let url = format!("{}/v2/{API_KEY}", world.provider.url());
    world.settings = world.settings.variable("rpc_url", &url);
    Ok(world)
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{}{}", self.out, self.err))
    }

    fn expect(&self, code: i32, words: &[&str]) -> anyhow::Result<()> {
        let all = format!("{}{}", self.out, self.err);
        ensure!(
            self.code == Some(code),
            "{code} expected, got {:?}: {all}",
            self.code
        );
        for words in words {
            ensure!(all.contains(words), "{words:?} is not said: {all}");
        }
        Ok(())
    }
}

/// Runs a command; whatever it says, it says no secret.
async fn ask(settings: &Settings, arguments: &[&str]) -> anyhow::Result<Said> {
    let output = run(settings, arguments).await?;
    let said = Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    };
    let key = |keys: &'static str| keys.split(':').nth(1).context("a key");
    for secret in [
        API_KEY,
        key(SERVICE_KEYS)?,
        key(STORE_KEYS)?,
        SECRET_ACCESS_KEY,
        ACCESS_KEY_ID,
        "X-Amz-",
        "/v2/",
    ] {
        ensure!(
            !said.out.contains(secret) && !said.err.contains(secret),
            "{secret} is said: {}{}",
            said.out,
            said.err
        );
    }
    Ok(said)
}

#[tokio::test]
async fn a_healthy_world_is_well() -> anyhow::Result<()> {
    let world = world().await?;
    let said = ask(&world.settings, &["doctor"]).await?;
    said.expect(
        0,
        &[
            "all well",
            "3 gates, 1 chain, 1 bucket",
            "1 127.0.0.1",
            "404 NoSuchKey",
        ],
    )?;
    ensure!(
        said.err.is_empty() || !said.err.contains("error"),
        "{}",
        said.err
    );

    let said = ask(&world.settings, &["doctor", "--json"]).await?;
    said.expect(0, &[])?;
    let document = said.json()?;
    ensure!(
        document["version"] == 1 && document["status"] == "ok",
        "{document}"
    );
    ensure!(document["config"]["gates"] == 3, "{document}");
    let provider = &document["chains"][0]["providers"][0];
    ensure!(
        provider["chain_id"] == 31337 && provider["position"] == 1,
        "{provider}"
    );
    for ability in ["batch", "safe", "finalized", "block_hash", "archive"] {
        ensure!(provider[ability] == true, "{ability}: {provider}");
    }
    ensure!(provider["reader"] == "override", "{provider}");
    ensure!(
        provider["block_numbers"] == "own" && provider["signature_checks"] == "creation",
        "{provider}"
    );
    ensure!(provider["lag_blocks"] == 0, "{provider}");
    ensure!(
        document["buckets"][0]["answer"] == "NoSuchKey",
        "{document}"
    );
    let contracts = document["contracts"].as_array().context("no contracts")?;
    ensure!(contracts.len() == 4, "{document}");
    let holders = &contracts[3];
    ensure!(
        holders["symbol"] == "HOLD"
            && holders["decimals"] == 18
            && holders["at_least_whole"] == "100"
            && holders["gates"][0] == "holders",
        "{holders}"
    );
    Ok(())
}

#[tokio::test]
async fn a_store_that_others_may_read_or_write_is_named_and_left_as_it_is() -> anyhow::Result<()> {
    let world = world().await?;
    let parent = tempfile::tempdir()?;
    let (directory, file) = (parent.path().join("state"), "default.redb");
    std::fs::create_dir(&directory)?;
    std::fs::write(directory.join(file), "")?;
    for (directory_mode, file_mode, code, finding) in [
        (0o700, 0o600, 0, None),
        (0o750, 0o600, 0, Some(("readable-store", "chmod 700"))),
        (0o700, 0o644, 0, Some(("readable-store", "chmod 600"))),
        (0o777, 0o600, 1, Some(("writable-store", "chmod 700"))),
        (0o700, 0o620, 1, Some(("writable-store", "chmod 600"))),
    ] {
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        };
        set(&directory, directory_mode)?;
        set(&directory.join(file), file_mode)?;
        let path = directory.to_str().context("not UTF-8")?;
        let arguments = ["doctor", "--json", "--state-dir", path];
        let said = ask(&world.settings, &arguments).await?;
        said.expect(code, &[])?;
        let findings = &said.json()?["config"]["findings"];
        let found = findings.as_array().context("no findings")?;
        match finding {
            None => ensure!(found.is_empty(), "{findings}"),
            Some((code, mend)) => ensure!(
                found.len() == 1
                    && found[0]["code"] == code
                    && found[0]["mend"]
                        .as_str()
                        .is_some_and(|said| said.starts_with(mend)),
                "{directory_mode:o} {file_mode:o}: {findings}"
            ),
        }
        let mode = directory.join(file).metadata()?.permissions().mode() & 0o777;
        ensure!(mode == file_mode, "{mode:o}");
    }
    Ok(())
}

#[tokio::test]
async fn contracts_that_are_not_what_gates_take_them_for_are_named() -> anyhow::Result<()> {
    let world = world().await?;
    let chain = "chain = \"eip155:31337\"";
    let with = |require: &str| {
        let mut settings = world.settings.clone();
        settings.config.push_str(&format!(
            "\n[[gate]]\nid = \"wrong\"\nresources = [\"media/wrong/**\"]\nmax_age = \"5s\"\n{require}\n"
        ));
        settings
    };
    for (require, code, words) in [
        (
            format!("require = {{ erc721 = {{ {chain}, contract = \"{ERC20}\" }} }}"),
            1,
            "it has 18 decimals and does not say that it is ERC-721",
        ),
        (
            format!("require = {{ erc721 = {{ {chain}, contract = \"{OWNER}\" }} }}"),
            1,
            "there is no contract at",
        ),
        (
            format!(
                "require = {{ erc1155 = {{ {chain}, contract = \"{ERC721}\", token_ids = [\"0\"] }} }}"
            ),
            1,
            "it says that it is ERC-721",
        ),
        (
            format!(
                "require = {{ erc6551_owner = {{ {chain}, account = \"0x0000000000000000000000000000000000000000\" }} }}"
            ),
            1,
            "the account is not deployed",
        ),
        (
            format!(
                "require = {{ erc20 = {{ {chain}, contract = \"{ERC20}\", at_least = \"1.5\", decimals = 6 }} }}"
            ),
            1,
            "is written with 6 decimals and the token has 18",
        ),
        (
            format!(
                "require = {{ erc20 = {{ {chain}, contract = \"{ERC20}\", at_least = \"1\" }} }}"
            ),
            0,
            "1 is 0.000000000000000001 in whole ones",
        ),
        (
            format!(
                "delegation = {{}}\nrequire = {{ erc721 = {{ {chain}, contract = \"{ERC721}\" }} }}"
            ),
            0,
            "no vault's delegate is let in",
        ),
    ] {
        let said = ask(&with(&require), &["doctor"]).await?;
        said.expect(code, &[words, "wrong"])
            .with_context(|| require.clone())?;
        let json = ask(&with(&require), &["doctor", "--json"]).await?.json()?;
        ensure!(
            (json["status"] == "failing") == (code == 1),
            "{require}: {json}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_service_says_in_its_log_that_a_contract_is_not_there_and_serves() -> anyhow::Result<()> {
    let more = format!(
        "\n[[gate]]\nid = \"wrong\"\nresources = [\"media/wrong/**\"]\nmax_age = \"5s\"\nrequire = {{ erc721 = {{ chain = \"eip155:31337\", contract = \"{OWNER}\" }} }}\n"
    );
    let world = World::with(
        |config| config.more = more,
        |mut settings| {
            settings.contract_check = true;
            settings
        },
    )
    .await?;
    let said = format!("there is no contract at {OWNER} on eip155:31337");
    let told = async {
        while !world.service.log().contains(&said) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told)
        .await
        .with_context(|| world.service.log())?;
    world.gate.get("/healthz/live").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_secret_is() -> anyhow::Result<()> {
    let world = world().await?;
    let well = || world.settings.clone();
    let changed = |from: &str, to: &str| {
        let mut settings = well();
        assert!(settings.config.contains(from), "{from}");
        settings.config = settings.config.replace(from, to);
        settings
    };
    let chain = |line: &str| {
        let providers = "providers = [\"{{ rpc_url }}\"]";
        changed(providers, &format!("{providers}\n{line}"))
    };
    let faithful = Fault::None;
    let store = "bucket media (127.0.0.1)";
    let provider = "eip155:31337 provider 1 (127.0.0.1)";
    let cases: [(&str, Settings, Fault, [&str; 2]); 10] = [
        (
            "a wrong secret",
            well().variable("media_secret_access_key", "another"),
            faithful,
            [store, "media_secret_access_key"],
        ),
        (
            "a key that the store does not know",
            well().variable("media_access_key_id", "another"),
            faithful,
            [store, "media_access_key_id"],
        ),
        (
            "a wrong chain",
            changed("eip155:31337", "eip155:1"),
            faithful,
            [
                "eip155:1 provider 1 (127.0.0.1)",
                "serves chain 31337, not 1",
            ],
        ),
        (
            "a tag that the provider refuses",
            chain("block = \"safe\""),
            Fault::Refuse("\"safe\""),
            [provider, "block = \"safe\""],
        ),
        (
            "no reader",
            chain("reader = \"0x0000000000000000000000000000000000000bad\""),
            faithful,
            [provider, "the chain cannot be read: there is no contract"],
        ),
        (
            "a provider that hangs up",
            well(),
            Fault::HangUp,
            [provider, "closed"],
        ),
        (
            "a provider that says nothing",
            changed("[limits]", "[timeouts]\nprovider = \"500ms\"\n\n[limits]"),
            Fault::Silent,
            [provider, "no reply within 500 ms"],
        ),
        (
            "a provider that has no JSON",
            well(),
            Fault::Truncated,
            [provider, "not JSON-RPC"],
        ),
        (
            "a quota that is used up",
            well(),
            Fault::Status(429),
            [provider, "quota"],
        ),
        (
            "an origin that components may not call",
            well().variable("rpc_origin", "http://127.0.0.1:9"),
            faithful,
            [
                "config",
                "eip155:31337 provider 1 may not be called by access, admin, content, gates, health, session",
            ],
        ),
    ];
    for (what, settings, mode, words) in cases {
        world.provider.behave(mode).await?;
        let said = ask(&settings, &["doctor"]).await.context(what)?;
        said.expect(1, &words).context(what)?;
        ensure!(
            said.out.contains("1 error, 0 warnings"),
            "{what}: {}",
            said.out
        );
        let said = ask(&settings, &["doctor", "--json"]).await.context(what)?;
        said.expect(1, &[]).context(what)?;
        ensure!(said.json()?["status"] == "failing", "{what}: {}", said.out);
    }
    world.provider.behave(faithful).await?;
    ask(&well(), &["doctor"]).await?.expect(0, &["all well"])
}

#[tokio::test]
async fn components_that_contradict_each_other_are_named() -> anyhow::Result<()> {
    let world = world().await?;
    let shipped = std::fs::read_to_string(tokengate_tests::root().join("spin.toml"))?;
    let given = "rpc_url = \"{{ rpc_url }}\"";
    let (most, health) = shipped
        .split_once("[component.health.variables]")
        .context("no component health")?;
    // Two providers, of which health knows one and has another value for it; and another file for the site.
    let manifest = format!(
        "{}[component.health.variables]{}",
        most.replace(given, &format!("{given}\nrpc_b = \"{{{{ rpc_b }}}}\""))
            .replace("[variables]\n", "[variables]\nrpc_b = { required = true }\n"),
        health.replace(given, "rpc_url = \"http://127.0.0.1:9\"").replace(
            "[component.site]\n",
            "[component.site]\nfiles = [{ source = \"spin.toml\", destination = \"/tokengate.toml\" }]\n"
        )
    );
    let mut settings = world
        .settings
        .clone()
        .variable("rpc_b", &world.provider.url());
    settings.manifest = Some(manifest);
    settings.config = settings
        .config
        .replace("\"{{ rpc_url }}\"", "\"{{ rpc_url }}\", \"{{ rpc_b }}\"");
    let said = ask(&settings, &["doctor"]).await?;
    said.expect(
        1,
        &[
            "components have different files mounted as tokengate.toml",
            "component health has another value of rpc_url",
            "eip155:31337 provider 2 is not known to health",
            "3 errors, 1 warning",
        ],
    )
}

#[tokio::test]
async fn what_cannot_even_start_is_named_with_its_place() -> anyhow::Result<()> {
    let config = tokengate_tests::config::Config::new("http://127.0.0.1:9").to_string();
    let settings = Settings::new(&config, "http://127.0.0.1:9");
    let broken = config.replacen("url_ttl", "url_tll", 1);
    let unknown = config.replacen("{{ rpc_url }}", "{{ no_such_variable }}", 1);
    let stray = "stray = 1\n".to_owned();
    let mut bare = std::fs::read_to_string(tokengate_tests::root().join("spin.toml"))?;
    bare = bare.replace("files = [\"tokengate.toml\"]\n", "");
    let with = |config: &str| Settings {
        config: config.to_owned(),
        ..settings.clone()
    };
    let under = |manifest: String| Settings {
        manifest: Some(manifest),
        ..settings.clone()
    };
    let cases = [
        (with(&broken), "tokengate.toml:4:"),
        (with(&unknown), "no_such_variable"),
        (settings.clone().without("rpc_url"), "`rpc_url`"),
        (under(stray), "spin.toml:1:1"),
        (under(bare), "no component has tokengate.toml"),
    ];
    let owner = OWNER.to_string();
    for (settings, words) in &cases {
        for arguments in [vec!["doctor"], vec!["check", "season-1", &owner]] {
            let said = ask(settings, &arguments).await?;
            said.expect(2, &["error: ", words])?;
            ensure!(said.out.is_empty(), "{}", said.out);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_check_explains_what_is_decided_now_and_what_was_decided_then() -> anyhow::Result<()> {
    let world = world().await?;
    let (owner, stranger) = (OWNER.to_string(), Wallet::stranger()?.address());
    let check = async |address: &str, more: &[&str]| {
        let arguments = [&["check", "season-1", address], more].concat();
        ask(&world.settings, &arguments).await
    };
    let block = world
        .chain
        .call("eth_blockNumber", serde_json::json!([]))
        .await?;
    let block = block.as_str().context("no block")?.trim_start_matches("0x");
    let number = u64::from_str_radix(block, 16)?;
    let block = number.to_string();
    let rests_on = format!("block {block} of eip155:31337");

    let open = check(&owner, &[]).await?;
    let leaf = format!("✓ erc721 on eip155:31337 {ERC721}: needs balance ≥ 1, has 1");
    open.expect(0, &["season-1: open", &leaf, "✗ erc20", &rests_on])?;
    let closed = check(&stranger.to_string(), &[]).await?;
    closed.expect(
        1,
        &["season-1: closed", "✗ erc721", "needs balance ≥ 1, has 0"],
    )?;

    world.chain.transfer_token(0, stranger).await?;
    check(&owner, &[]).await?.expect(1, &["season-1: closed"])?;
    let then = check(&owner, &["--block", &block, "--json"]).await?;
    then.expect(0, &[])?;
    let then = then.json()?;
    ensure!(
        then["granted"] == true && then["gate"] == "season-1",
        "{then}"
    );
    ensure!(then["explain"]["any"][0]["has"] == "1", "{then}");
    ensure!(then["basis"][0]["block"] == number, "{then}");
    let named = format!("eip155:31337={block}");
    check(&stranger.to_string(), &["--block", &named])
        .await?
        .expect(1, &[&rests_on])?;
    // Before there was a contract, nobody could have said.
    check(&owner, &["--block", "0"])
        .await?
        .expect(3, &["could not find out", "? erc721"])
}

#[tokio::test]
async fn what_is_asked_wrongly_is_no_verdict_and_neither_is_silence() -> anyhow::Result<()> {
    let world = World::with(
        |config| {
            config.more = format!(
                r#"
[[chain]]
id = "eip155:10"
providers = ["{{{{ rpc_url }}}}"]

[[gate]]
id = "two"
resources = ["media/two/**"]
max_age = "1s"
require = {{ any = [ {{ native = {{ chain = "eip155:10", at_least = "1" }} }}, {{ erc721 = {{ chain = "eip155:31337", contract = "{ERC721}", at_least = "1" }} }} ] }}
"#
            )
        },
        |settings| settings,
    )
    .await?;
    let owner = OWNER.to_string();
    let cases: [(&[&str], &str); 6] = [
        (
            &["season-2", &owner],
            "there is no gate \"season-2\": tokengate.toml has season-1, pass, holders, two",
        ),
        (&["season-1", "0x01"], "0x01"),
        (
            &["season-1", &owner, "--block", "latest"],
            "must be a block's number",
        ),
        (
            &["season-1", &owner, "--block", "eip155:10=1"],
            "does not read that chain, but eip155:31337",
        ),
        (
            &["two", &owner, "--block", "1"],
            "write --block eip155:10=1 --block eip155:31337=1",
        ),
        (&["two"], "ADDRESS"),
    ];
    for (arguments, words) in cases {
        let arguments = [&["check"], arguments].concat();
        let said = ask(&world.settings, &arguments).await?;
        said.expect(2, &[words])
            .with_context(|| format!("{arguments:?}"))?;
        ensure!(said.out.is_empty(), "{}", said.out);
    }
    // One chain that does not answer leaves a leaf unknown; the other one decides.
    let said = ask(&world.settings, &["check", "two", &owner]).await?;
    said.expect(0, &["? native", "✓ erc721", "fault: eip155:10 provider 1"])?;

    world.provider.behave(Fault::HangUp).await?;
    let said = ask(&world.settings, &["check", "season-1", &owner]).await?;
    said.expect(
        3,
        &[
            "could not find out",
            "? erc721",
            "fault: eip155:31337 provider 1",
        ],
    )?;
    let said = ask(&world.settings, &["check", "season-1", &owner, "--json"]).await?;
    said.expect(3, &[])?;
    ensure!(said.json()?["granted"].is_null(), "{}", said.out);
    Ok(())
}
