//! What ships: the manifest gives each component what it needs and no more, and the components ask for nothing that is
//! one host's own.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};
use tokengate_tests::root;
use tokengate_tests::service::Settings;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, HELLO_TEXT, World};
use wasmparser::{Parser, Payload};

type Names = BTreeSet<String>;

fn names<const N: usize>(names: [&str; N]) -> Names {
    names.map(str::to_owned).into()
}

fn manifest() -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(root().join("spin.toml"))?;
    Ok(toml::from_str(&text)?)
}

fn components() -> anyhow::Result<Map<String, Value>> {
    let manifest = manifest()?;
    let components = manifest["component"].as_object();
    Ok(components.context("no components")?.clone())
}

/// The components of which `holds` is true.
fn those(holds: impl Fn(&Value) -> bool) -> anyhow::Result<Names> {
    let components = components()?.into_iter();
    Ok(components
        .filter(|(_, component)| holds(component))
        .map(|(name, _)| name)
        .collect())
}

/// Whether the component is given the application's variable, under whatever name.
fn sees(component: &Value, variable: &str) -> bool {
    let given = component["variables"].as_object().into_iter().flatten();
    let template = format!("{{{{ {variable} }}}}");
    let mut values = given.filter_map(|(_, value)| value.as_str());
    values.any(|value| value.contains(&template))
}

#[test]
fn only_what_mints_urls_sees_the_stores_credentials() -> anyhow::Result<()> {
    for variable in [
        "media_access_key_id",
        "media_secret_access_key",
        "media_session_token",
    ] {
        let those = those(|component| sees(component, variable))?;
        ensure!(
            those == names(["access", "content"]),
            "{variable}: {those:?}"
        );
    }
    Ok(())
}

#[test]
fn only_what_reads_chains_reaches_out_and_only_to_providers() -> anyhow::Result<()> {
    let readers = names(["access", "admin", "content", "gates", "health", "session"]);
    let those_out = those(|component| component.get("allowed_outbound_hosts").is_some())?;
    ensure!(those_out == readers, "{those_out:?}");
    for (name, component) in components()? {
        if let Some(hosts) = component.get("allowed_outbound_hosts") {
            ensure!(*hosts == json!(["{{ rpc_origin }}"]), "{name}: {hosts}");
        }
    }
    let those_in = those(|component| sees(component, "rpc_url"))?;
    ensure!(those_in == readers, "{those_in:?}");
    Ok(())
}

#[test]
fn only_what_knows_wallets_sees_the_services_keys() -> anyhow::Result<()> {
    let those = those(|component| sees(component, "service_keys"))?;
    ensure!(
        those == names(["access", "challenge", "content", "session"]),
        "{those:?}"
    );
    Ok(())
}

#[test]
fn whatever_has_the_store_and_nothing_else_sees_the_stores_keys() -> anyhow::Result<()> {
    let with_the_store = those(|component| component.get("key_value_stores").is_some())?;
    let those = those(|component| sees(component, "store_keys"))?;
    ensure!(those == with_the_store, "{those:?} {with_the_store:?}");
    ensure!(!those.contains("site"), "{those:?}");
    Ok(())
}

#[test]
fn only_what_takes_events_sees_what_they_are_signed_with() -> anyhow::Result<()> {
    let settings = Settings::new("", "http://127.0.0.1:1").events("0123456789abcdef")?;
    let manifest: Value = toml::from_str(&settings.manifest.context("no manifest")?)?;
    ensure!(manifest["variables"]["events_secret"]["secret"] == true);
    let components = manifest["component"].as_object();
    for (name, component) in components.context("no components")? {
        ensure!(
            sees(component, "events_secret") == (name == "events"),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn only_what_the_operator_asks_sees_the_operators_token() -> anyhow::Result<()> {
    let those = those(|component| sees(component, "admin_token"))?;
    ensure!(those == names(["admin"]), "{those:?}");
    let manifest = manifest()?;
    let token = &manifest["variables"]["admin_token"];
    // Without one there is nothing to guess.
    ensure!(*token == json!({"default": "", "secret": true}), "{token}");
    Ok(())
}

#[test]
fn secrets_are_marked_as_such_and_have_no_default() -> anyhow::Result<()> {
    let manifest = manifest()?;
    let variables = manifest["variables"].as_object().context("no variables")?;
    for secret in [
        "service_keys",
        "store_keys",
        "rpc_url",
        "media_secret_access_key",
    ] {
        ensure!(variables[secret]["secret"] == true, "{secret}");
        ensure!(variables[secret].get("default").is_none(), "{secret}");
    }
    Ok(())
}

#[test]
fn components_import_what_spin_gives_and_nothing_else() -> anyhow::Result<()> {
    let given = [
        // WASI 0.3, and 0.2 for Rust's standard library.
        "wasi:cli/",
        "wasi:clocks/",
        "wasi:filesystem/",
        "wasi:http/",
        "wasi:io/",
        "wasi:random/",
        "wasi:sockets/",
    ];
    let spins = names([
        "spin:key-value/key-value@3.0.0",
        "spin:redis/redis@3.0.0",
        "spin:variables/variables@3.0.0",
        "wasi:keyvalue/atomics@0.2.0-draft2",
        "wasi:keyvalue/store@0.2.0-draft2",
    ]);
    let mut with_a_store = Names::new();
    let mut seen = Names::new();
    for entry in std::fs::read_dir(root().join("components"))? {
        let name = entry?.file_name().into_string().ok().context("a name")?;
        let (imports, exports) = interfaces(&name)?;
        ensure!(
            exports
                .iter()
                .any(|export| export.starts_with("wasi:http/handler@0.3.")),
            "{name} exports {exports:?}"
        );
        for import in imports {
            let (_, version) = import.split_once('@').context("a version")?;
            let stable = version.starts_with("0.3.") || version.starts_with("0.2.");
            let standard = given.iter().any(|package| import.starts_with(package));
            ensure!(
                (standard && stable && !version.contains('-')) || spins.contains(&import),
                "{name} imports {import}"
            );
            if import.contains("key-value") || import.contains("keyvalue") {
                with_a_store.insert(name.clone());
            }
        }
        seen.insert(name);
    }
    ensure!(seen.len() == 10, "{seen:?}");
    ensure!(!with_a_store.contains("site"), "the page needs no store");
    Ok(())
}

/// The names of a component's own imports and exports.
fn interfaces(name: &str) -> anyhow::Result<(Names, Names)> {
    let path = tokengate_tests::artefact(
        &format!("target/wasm32-wasip2/release/tokengate_{name}.wasm"),
        "scripts/build",
    )?;
    let binary = std::fs::read(path)?;
    let (mut imports, mut exports, mut depth) = (Names::new(), Names::new(), 0);
    for payload in Parser::new(0).parse_all(&binary) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.insert(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.insert(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    ensure!(
        !imports.is_empty() && !exports.is_empty(),
        "{name} is no component"
    );
    Ok((imports, exports))
}

#[tokio::test]
async fn one_component_with_every_route_is_the_same_service() -> anyhow::Result<()> {
    let manifest = manifest()?;
    let variables = manifest["variables"].as_object().context("no variables")?;
    let lines = |of: &dyn Fn(&str) -> String| -> String {
        variables.keys().map(|name| of(name) + "\n").collect()
    };
    let declared = lines(&|name| format!("{name} = {{ default = \"\" }}"));
    let given = lines(&|name| format!("{name} = \"{{{{ {name} }}}}\""));
    let single = format!(
        r#"spin_manifest_version = 2
[application]
name = "tokengate"
[variables]
{declared}
[[trigger.http]]
route = "/..."
component = "all"
[component.all]
source = "target/wasm32-wasip2/release/tokengate_all.wasm"
files = ["tokengate.toml"]
key_value_stores = ["default"]
allowed_outbound_hosts = ["{{{{ rpc_origin }}}}"]
[component.all.variables]
{given}"#
    );
    let world = World::with(
        |_| (),
        |mut settings| {
            settings.manifest = Some(single);
            settings
        },
    )
    .await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    let grant = world.gate.ask(&token, HELLO).await?.expect(200)?;
    let object = world
        .http
        .get(grant["url"].as_str().context("no URL")?)
        .await?;
    ensure!(object.text() == HELLO_TEXT, "{}", object.text());
    let reply = world
        .gate
        .get_as(&token, &format!("/v1/content/{HELLO}"))
        .await?;
    ensure!(reply.status == 302, "{}", reply.text());
    let theirs = world.gate.sign_in(&Wallet::stranger()?).await?;
    world.gate.ask(&theirs, HELLO).await?.problem(403)?;
    for path in [
        "/",
        "/openapi.json",
        "/v1/gates",
        "/healthz/live",
        "/healthz/ready",
    ] {
        world.gate.get(path).await?.expect_status(200)?;
    }
    Ok(())
}
