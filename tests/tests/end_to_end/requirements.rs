//! What a gate can demand besides tokens and coins, over contracts that say so, and in the finer ways of the old kinds.

use alloy_primitives::{Address, hex};
use alloy_sol_types::{Revert, SolError as _, SolValue as _};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokengate_tests::accounts::{Registry, Safe, personal_sign};
use tokengate_tests::chain::{CHAIN_ID, Chain, ERC20, ERC721, ERC1155};
use tokengate_tests::client::{CHAIN, Gate};
use tokengate_tests::config::{Config, DOMAIN};
use tokengate_tests::contracts::{ACCOUNT, Contracts, RENTABLE, STAKING};
use tokengate_tests::faulty::{Fault, Faulty};
use tokengate_tests::service::{Service, Settings};
use tokengate_tests::store::Store;
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::World;

/// Long after these tests.
const NEVER: u64 = 4_000_000_000;

/// A service with these gates, each over the folder of its name, with facts of no age.
async fn world(gates: &[(&str, String)]) -> anyhow::Result<World> {
    let gates: Vec<String> = gates
        .iter()
        .map(|(name, require)| {
            format!(
                "\n[[gate]]\nid = \"{name}\"\nresources = [\"media/{name}/**\"]\nmax_age = \"0s\"\ndelegation = {{}}\nrequire = {require}\n"
            )
        })
        .collect();
    World::with(|config| config.more = gates.concat(), |settings| settings).await
}

/// The status for a resource behind a gate, and the answer.
async fn ask(gate: &Gate, token: &str, name: &str) -> anyhow::Result<(u16, Value)> {
    let reply = gate.ask(token, &format!("media/{name}/x")).await?;
    Ok((reply.status.as_u16(), reply.json()?))
}

async fn expect(gate: &Gate, token: &str, name: &str, status: u16) -> anyhow::Result<Value> {
    let (found, answer) = ask(gate, token, name).await?;
    ensure!(found == status, "{name}: {found} {answer}");
    Ok(answer)
}

#[tokio::test]
async fn a_rented_token_opens_for_its_user_while_the_rent_lasts() -> anyhow::Result<()> {
    let require = format!(
        r#"{{ erc4907 = {{ chain = "{CHAIN}", contract = "{RENTABLE}", token_ids = ["1-3"] }} }}"#
    );
    let world = world(&[("rent", require)]).await?;
    let (owner, stranger) = (Wallet::owner()?, Wallet::stranger()?);
    let token = world.gate.sign_in(&stranger).await?;
    // Nothing lies there yet, which is no answer.
    expect(&world.gate, &token, "rent", 503).await?;
    let contracts = Contracts::new(&world.chain).await?;
    expect(&world.gate, &token, "rent", 403).await?;
    contracts.rent(4, stranger.address(), NEVER).await?;
    contracts.rent(2, owner.address(), NEVER).await?;
    let refused = expect(&world.gate, &token, "rent", 403).await?;
    ensure!(refused["unmet"][0]["has"] == "0", "{refused}");
    contracts.rent(2, stranger.address(), NEVER).await?;
    world.provider.take();
    let granted = expect(&world.gate, &token, "rent", 200).await?;
    ensure!(granted["basis"]["chain"] == CHAIN, "{granted}");
    ensure!(
        world.provider.calls().len() == 1,
        "one call for three tokens"
    );
    contracts.rent(2, stranger.address(), 1).await?;
    expect(&world.gate, &token, "rent", 403).await?;
    // Whoever uses a token may name a delegate for it.
    contracts.rent(2, owner.address(), NEVER).await?;
    let registry = Registry::new(&world.chain).await?;
    registry
        .delegate_all(
            owner.address(),
            stranger.address(),
            alloy_primitives::B256::ZERO,
            true,
        )
        .await?;
    let body = json!({"resource": "media/rent/x", "vault": owner.address().to_string()});
    world.gate.access(&token, &body).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_token_bound_account_opens_for_whoever_owns_its_token() -> anyhow::Result<()> {
    let require =
        format!(r#"{{ erc6551_owner = {{ chain = "{CHAIN}", account = "{ACCOUNT}" }} }}"#);
    let world = world(&[("account", require)]).await?;
    let (owner, stranger) = (Wallet::owner()?, Wallet::stranger()?);
    let own = world.gate.sign_in(&owner).await?;
    let other = world.gate.sign_in(&stranger).await?;
    expect(&world.gate, &own, "account", 503).await?;
    let contracts = Contracts::new(&world.chain).await?;
    // Of a token on another chain the account can name no owner.
    contracts.bind(1, ERC721, 0).await?;
    expect(&world.gate, &own, "account", 403).await?;
    contracts.bind(CHAIN_ID, ERC721, 0).await?;
    expect(&world.gate, &own, "account", 200).await?;
    expect(&world.gate, &other, "account", 403).await?;
    world.chain.transfer_token(0, stranger.address()).await?;
    expect(&world.gate, &own, "account", 403).await?;
    expect(&world.gate, &other, "account", 200).await?;
    // Of a token that does not exist the account is nobody's: it reverts as the token does.
    contracts.bind(CHAIN_ID, ERC721, 5).await?;
    expect(&world.gate, &other, "account", 403).await?;
    Ok(())
}

#[tokio::test]
async fn view_functions_decide_by_what_they_return() -> anyhow::Result<()> {
    let stranger = Wallet::stranger()?;
    let call = |function: &str, more: &str| {
        format!(
            r#"{{ call = {{ chain = "{CHAIN}", contract = "{STAKING}", function = "{function}", {more} }} }}"#
        )
    };
    let stake = call(
        "function stakeOf(address owner) view returns (uint256 amount, uint64 until)",
        r#"args = ["$address"], returns = "amount", compare = ">=", value = "100""#,
    );
    let tier = call(
        "function tierOf(address) view returns (uint256 points, string tier)",
        r#"args = ["$address"], returns = 1, compare = "==", value = "gold""#,
    );
    let total = call(
        "function total(address[] owners, uint256 least) view returns (uint256)",
        &format!(
            r#"args = ["[$address, {}]", "10"], compare = ">", value = "100""#,
            Address::repeat_byte(9)
        ),
    );
    let open = call(
        "function open() view returns (bool)",
        r#"compare = "==", value = "true""#,
    );
    let token = format!(r#"{{ erc721 = {{ chain = "{CHAIN}", contract = "{ERC721}" }} }}"#);
    let world = world(&[
        ("stake", stake),
        ("tier", tier),
        ("total", total),
        ("open", format!("{{ all = [ {token}, {open} ] }}")),
    ])
    .await?;
    let contracts = Contracts::new(&world.chain).await?;
    let own = world.gate.sign_in(&Wallet::owner()?).await?;
    let other = world.gate.sign_in(&stranger).await?;
    for name in ["stake", "tier", "total"] {
        expect(&world.gate, &other, name, 403).await?;
    }
    contracts.stake(stranger.address(), 99, "silver").await?;
    let refused = expect(&world.gate, &other, "stake", 403).await?;
    ensure!(refused["unmet"][0]["has"] == "99", "{refused}");
    let refused = expect(&world.gate, &other, "tier", 403).await?;
    ensure!(refused["unmet"][0]["has"] == "silver", "{refused}");
    expect(&world.gate, &other, "total", 403).await?;
    contracts.stake(Address::repeat_byte(9), 10, "").await?;
    expect(&world.gate, &other, "total", 200).await?;
    contracts.stake(stranger.address(), 100, "gold").await?;
    for name in ["stake", "tier"] {
        let granted = expect(&world.gate, &other, name, 200).await?;
        ensure!(granted["basis"]["tier"] == "chain", "{granted}");
        expect(&world.gate, &own, name, 403).await?;
    }
    // A revert is no answer, whatever was answered before.
    contracts.switch(false, true).await?;
    expect(&world.gate, &other, "stake", 503).await?;
    expect(&world.gate, &own, "stake", 503).await?;
    // What is the same for all opens to those who have the rest.
    expect(&world.gate, &own, "open", 403).await?;
    contracts.switch(true, false).await?;
    expect(&world.gate, &own, "open", 200).await?;
    expect(&world.gate, &other, "open", 403).await?;
    Ok(())
}

#[tokio::test]
async fn lists_and_times_ask_no_chain() -> anyhow::Result<()> {
    let (owner, stranger) = (Wallet::owner()?, Wallet::stranger()?);
    let trees: Value = serde_json::from_str(&std::fs::read_to_string(
        tokengate_tests::root().join("tests/vectors/merkle/addresses.json"),
    )?)?;
    let tree = &trees[4];
    let root = tree["root"].as_str().context("no root")?;
    let list = format!(
        r#"{{ allowlist = {{ addresses = ["{}"] }} }}"#,
        owner.address()
    );
    let time = |bounds: &str| format!("{{ all = [ {list}, {{ time = {{ {bounds} }} }} ] }}");
    let world = world(&[
        ("list", list.clone()),
        (
            "proof",
            format!(r#"{{ allowlist = {{ merkle_root = "{root}" }} }}"#),
        ),
        (
            "now",
            time(r#"from = "2020-01-01T00:00:00Z", until = "2090-01-01T00:00:00Z""#),
        ),
        ("past", time(r#"until = "2020-01-01T00:00:00Z""#)),
        ("future", time(r#"from = "2090-01-01T00:00:00Z""#)),
    ])
    .await?;
    let own = world.gate.sign_in(&owner).await?;
    let other = world.gate.sign_in(&stranger).await?;
    world.provider.take();
    for (token, name, status) in [
        (&own, "list", 200),
        (&other, "list", 403),
        (&own, "now", 200),
        (&other, "now", 403),
        (&own, "past", 403),
        (&own, "future", 403),
        (&own, "proof", 403),
    ] {
        let answer = expect(&world.gate, token, name, status).await?;
        let basis = answer.get("basis");
        ensure!(status != 200 || basis == Some(&Value::Null), "{answer}");
    }
    // Both are in the tree, each with its own proof.
    let members = tree["members"].as_array().context("no members")?;
    let [first, second, ..] = members.as_slice() else {
        anyhow::bail!("no members");
    };
    for (token, proof, status) in [
        (&own, &first["proof"], 200),
        (&other, &second["proof"], 200),
        (&own, &second["proof"], 403),
        (&other, &json!([]), 403),
        (&other, &json!(["0x12"]), 400),
    ] {
        let body = json!({"resource": "media/proof/x", "proof": proof});
        let reply = world.gate.access(token, &body).await?;
        ensure!(reply.status == status, "{}", reply.text());
        let nodes = proof.as_array().context("no proof")?;
        let nodes: Vec<&str> = nodes.iter().filter_map(Value::as_str).collect();
        let path = format!("/v1/content/media/proof/x?proof={}", nodes.join(","));
        let reply = world.gate.get_as(token, &path).await?;
        let expected = if status == 200 { 302 } else { status };
        ensure!(reply.status == expected, "{path}: {}", reply.text());
    }
    ensure!(world.provider.take().is_empty(), "a chain was asked");
    // Who is on a list of addresses is told of no address that has not signed in.
    let safe = Safe::deploy(&world.chain, &[&owner], 1).await?;
    for address in [safe.address(), owner.address()] {
        let check = format!("/v1/gates/list/check?address={address}");
        let check = world.gate.get(&check).await?.expect(200)?;
        ensure!(check["granted"].is_null(), "{check}");
        ensure!(check["explain"]["met"].is_null(), "{check}");
    }
    Ok(())
}

#[tokio::test]
async fn amounts_have_decimals_and_ids_come_in_ranges_and_one_by_one() -> anyhow::Result<()> {
    let at = |contract: Address| format!(r#"chain = "{CHAIN}", contract = "{contract}""#);
    let world = world(&[
        (
            "exact",
            format!(
                r#"{{ erc20 = {{ {}, at_least = "500.0", decimals = 18 }} }}"#,
                at(ERC20)
            ),
        ),
        (
            "more",
            format!(
                r#"{{ erc20 = {{ {}, at_least = "500.000000000000000001", decimals = 18 }} }}"#,
                at(ERC20)
            ),
        ),
        (
            "range",
            format!(
                r#"{{ erc721 = {{ {}, token_ids = ["0-255"] }} }}"#,
                at(ERC721)
            ),
        ),
        (
            "sum",
            format!(
                r#"{{ erc1155 = {{ {}, token_ids = ["6-8"] }} }}"#,
                at(ERC1155)
            ),
        ),
        (
            "each",
            format!(
                r#"{{ erc1155 = {{ {}, token_ids = ["6-8"], each = true }} }}"#,
                at(ERC1155)
            ),
        ),
    ])
    .await?;
    let token = world.gate.sign_in(&Wallet::owner()?).await?;
    expect(&world.gate, &token, "exact", 200).await?;
    expect(&world.gate, &token, "more", 403).await?;
    expect(&world.gate, &token, "sum", 200).await?;
    let refused = expect(&world.gate, &token, "each", 403).await?;
    let unmet = refused["unmet"].as_array().context("no `unmet`")?;
    let ids: Vec<&Value> = unmet.iter().map(|leaf| &leaf["token_ids"]).collect();
    ensure!(ids == [&json!(["6"]), &json!(["8"])], "{refused}");
    world.provider.take();
    expect(&world.gate, &token, "range", 200).await?;
    ensure!(world.provider.calls().len() == 1, "one call for 256 tokens");
    let other = world.gate.sign_in(&Wallet::stranger()?).await?;
    let refused = expect(&world.gate, &other, "range", 403).await?;
    ensure!(
        refused["unmet"][0]["token_ids"] == json!(["0-255"]),
        "{refused}"
    );
    Ok(())
}

#[tokio::test]
async fn a_contract_wallet_is_kept_out_for_what_its_address_has_on_another_chain()
-> anyhow::Result<()> {
    let (chain, store) =
        futures_util::future::try_join(Chain::with_contracts(0), Store::start(0)).await?;
    let provider = Faulty::start(chain.url()).await?;
    // The same state under another chain's id.
    let other = Faulty::of_chain(chain.url(), Some(10)).await?;
    let mut config = Config::new(store.url());
    config.more = format!(
        r#"
[[chain]]
id = "eip155:10"
providers = ["{{{{ rpc_url_2 }}}}"]

[[gate]]
id = "clean"
resources = ["media/clean/**"]
max_age = "0s"
require = {{ all = [
  {{ erc721 = {{ chain = "{CHAIN}", contract = "{ERC721}" }} }},
  {{ not = {{ erc1155 = {{ chain = "eip155:10", contract = "{ERC1155}", token_ids = ["7"] }} }} }},
] }}
"#
    );
    let settings =
        Settings::new(&config.to_string(), &provider.url()).further_providers(&[other.url()])?;
    let service = Service::start(&settings).await?;
    let gate = Gate::new(service.url(), DOMAIN);
    let owner = Wallet::owner()?;
    let safe = Safe::deploy(&chain, &[&owner], 1).await?;
    chain.transfer_token(0, safe.address()).await?;
    let path = format!("/v1/challenge?address={}&chain={CHAIN}", safe.address());
    let challenge = gate.get(&path).await?.expect(200)?;
    let message = challenge["message"].as_str().context("no message")?;
    let signature = personal_sign(message, |hash| safe.sign(hash, &[&owner]));
    let session = gate.session(message, &signature).await?.expect(201)?;
    let token = session["token"].as_str().context("no token")?;
    let check = format!("/v1/gates/clean/check?address={}", safe.address());
    expect(&gate, token, "clean", 200).await?;
    let public = gate.get(&check).await?.expect(200)?;
    ensure!(public["granted"] == true, "{public}");
    chain.transfer_pass(safe.address()).await?;
    let refused = expect(&gate, token, "clean", 403).await?;
    ensure!(refused["unmet"][0]["kind"] == "erc1155", "{refused}");
    let public = gate.get(&check).await?.expect(200)?;
    ensure!(public["granted"] == false, "{public}");
    // What keeps out has to be known.
    other.behave(Fault::HangUp).await?;
    expect(&gate, token, "clean", 503).await?;
    Ok(())
}

/// Code that answers every call with `data`: with success, or by a revert.
fn always(reverts: bool, data: &[u8]) -> anyhow::Result<String> {
    let length = u8::try_from(data.len())?;
    let end = if reverts { 0xfd } else { 0xf3 };
    // PUSH1 length PUSH1 12 PUSH1 0 CODECOPY PUSH1 length PUSH1 0 RETURN or REVERT
    let code = [
        0x60, length, 0x60, 12, 0x60, 0, 0x39, 0x60, length, 0x60, 0, end,
    ];
    Ok(hex::encode_prefixed([&code, data].concat()))
}

#[tokio::test]
async fn a_token_that_reverts_refuses_where_it_lets_in_and_opens_nothing_where_it_keeps_out()
-> anyhow::Result<()> {
    let list = Address::repeat_byte(0x1e);
    let token =
        format!("erc721 = {{ chain = \"{CHAIN}\", contract = \"{list}\", token_ids = [\"7\"] }}");
    let pass = format!("erc721 = {{ chain = \"{CHAIN}\", contract = \"{ERC721}\" }}");
    let world = world(&[
        ("listed", format!("{{ {token} }}")),
        (
            "banned",
            format!("{{ all = [ {{ {pass} }}, {{ not = {{ {token} }} }} ] }}"),
        ),
    ])
    .await?;
    let owner = Wallet::owner()?;
    let session = world.gate.sign_in(&owner).await?;
    let reason = |text: &str| Revert::from(text).abi_encode();
    for (reverts, data, listed, banned) in [
        (false, owner.address().abi_encode(), 200, 403),
        (false, Address::repeat_byte(9).abi_encode(), 403, 200),
        // ERC721NonexistentToken(uint256)
        (true, vec![0x7e, 0x27, 0x32, 0x89], 403, 200),
        (true, reason("NOT_MINTED"), 403, 200),
        (true, reason("not today"), 403, 503),
        (true, Vec::new(), 403, 503),
        (true, reason("Pausable: paused"), 503, 503),
        // EnforcedPause()
        (true, vec![0xd9, 0x3c, 0x06, 0x65], 503, 503),
        (false, Vec::new(), 503, 503),
    ] {
        let code = always(reverts, &data)?;
        world.chain.set_code(list, &code).await?;
        for (name, status) in [("listed", listed), ("banned", banned)] {
            expect(&world.gate, &session, name, status)
                .await
                .with_context(|| code.clone())?;
        }
    }
    Ok(())
}
