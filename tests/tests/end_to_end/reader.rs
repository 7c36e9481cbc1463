//! How chains are read: the reader's code on a real node, in each of its forms, and what the service makes of providers that
//! cannot run it and of chains whose contracts see other block numbers.

use std::time::Duration;

use alloy_primitives::{Address, address};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokengate_core::abi::reader::{Answer, Form, Reader};
use tokengate_core::abi::view::{Element, Function};
use tokengate_core::fact::{Read, Unreadable, Value as FactValue};
use tokengate_core::jsonrpc::{self, BlockTag};
use tokengate_core::{ChainId, U256};
use tokengate_tests::chain::{CHAIN_ID, Chain, ERC721, ERC1155, OWNER};
use tokengate_tests::client::CHAIN;
use tokengate_tests::config::Config;
use tokengate_tests::contracts::{Contracts, STAKING};
use tokengate_tests::faulty::{Fault, Faulty};
use tokengate_tests::wallet::Wallet;
use tokengate_tests::world::{HELLO, World};

sol! {
    interface Buyable {
        function buy(address who) external;
    }
}

const MUTATING: Address = address!("0x0000000000000000000000000000000000000a01");
const BUYABLE: Address = address!("0x0000000000000000000000000000000000000b01");
const BOMB: Address = address!("0x0000000000000000000000000000000000000a02");
const BURNER: Address = address!("0x0000000000000000000000000000000000000a03");
const ARB_SYS: Address = address!("0x0000000000000000000000000000000000000064");
const READER: Address = address!("0x0000000000000000000000000000000000007ead");

fn ours(address: Address) -> tokengate_core::Address {
    tokengate_core::Address::from_bytes(address.into_array())
}

fn balance(contract: Address, owner: Address) -> Read {
    Read::Erc20Balance {
        contract: ours(contract),
        owner: ours(owner),
    }
}

/// A chain with the hostile contracts.
async fn hostile() -> anyhow::Result<Chain> {
    let chain = Chain::with_contracts(0).await?;
    for (name, at) in [
        ("Mutating", MUTATING),
        ("Buyable", BUYABLE),
        ("ReturndataBomb", BOMB),
        ("GasBurner", BURNER),
    ] {
        chain.put_own(name, at).await?;
    }
    // Slot 0 is the target.
    let target = BUYABLE.into_word().to_string();
    let slot = format!("{:#066x}", 0);
    chain
        .call(
            "anvil_setStorageAt",
            json!([MUTATING.to_string(), slot, target]),
        )
        .await?;
    Ok(chain)
}

/// What the reader answers in a form, with so much gas for all of it.
async fn read(
    chain: &Chain,
    form: Form,
    reads: &[Read],
    (gas, deposit): (u64, u16),
) -> anyhow::Result<Answer> {
    let id = ChainId::new(CHAIN_ID).context("a chain id")?;
    let reader = Reader::new(id, reads.iter().collect(), None);
    let call = reader.call(form, deposit).context("no call")?;
    let request = jsonrpc::eth_call(&call, BlockTag::Latest);
    let mut request: Value = serde_json::from_slice(&request.to_body())?;
    request["params"][0]["gas"] = format!("{gas:#x}").into();
    let answer = chain.call("eth_call", request["params"].take()).await?;
    let returned = hex::decode(
        answer
            .as_str()
            .and_then(|s| s.get(2..))
            .context("no answer")?,
    )?;
    Ok(reader.decode(&returned)?)
}

fn amount(value: u64) -> Result<FactValue, Unreadable> {
    Ok(FactValue::Amount(U256::from(value)))
}

#[tokio::test]
async fn every_form_of_the_reader_reads_the_same() -> anyhow::Result<()> {
    let chain = hostile().await?;
    let contracts = Contracts::new(&chain).await?;
    contracts.stake(OWNER, 7, "gold").await?;
    let tier = || -> anyhow::Result<(Vec<u8>, Element)> {
        let function = "function tierOf(address owner) view returns (uint256 points, string tier)";
        let function = Function::parse(function)?;
        let calldata = function
            .calldata(&["$address"])
            .map_err(|(_, error)| error)?;
        Ok((calldata.about(ours(OWNER)), function.element("tier")?))
    };
    let (calldata, element) = tier()?;
    let reads = [
        balance(ERC721, OWNER),
        Read::Erc721Owner {
            contract: ours(ERC721),
            token_id: U256::ZERO,
        },
        Read::Erc721Owner {
            contract: ours(ERC721),
            token_id: U256::from(999),
        },
        Read::NativeBalance {
            owner: ours(STAKING),
        },
        Read::Erc1155Balances {
            contract: ours(ERC1155),
            owner: ours(OWNER),
            ids: (0..256).map(U256::from).collect(),
        },
        Read::View {
            contract: ours(STAKING),
            calldata,
            element,
        },
        // Without code.
        balance(Address::repeat_byte(0xee), OWNER),
        balance(BOMB, OWNER),
    ];
    let deployed = chain.deploy_reader().await?;
    let block = chain
        .call("eth_getBlockByNumber", json!(["latest", false]))
        .await?;
    let mut first: Option<Answer> = None;
    for form in [
        Form::Override,
        Form::Creation,
        Form::Deployed(ours(deployed)),
    ] {
        let answer = read(&chain, form, &reads, (30_000_000, 200)).await?;
        let parent = answer.block.parent.context("no parent")?;
        ensure!(
            json!(format!("0x{}", hex::encode(parent.hash))) == block["parentHash"],
            "{form}: {parent:?}"
        );
        ensure!(
            json!(format!("{:#x}", answer.block.number)) == block["number"],
            "{form}"
        );
        ensure!(
            json!(format!("{:#x}", answer.block.timestamp)) == block["timestamp"],
            "{form}"
        );
        let values: Vec<_> = answer
            .outcomes
            .iter()
            .map(|outcome| &outcome.value)
            .collect();
        ensure!(*values[0] == amount(1), "{form}: {values:?}");
        ensure!(
            *values[1] == Ok(FactValue::Owner(ours(OWNER))),
            "{form}: {values:?}"
        );
        ensure!(*values[2] == Ok(FactValue::Nobody), "{form}: {values:?}");
        ensure!(*values[3] == amount(0), "{form}: {values:?}");
        ensure!(
            *values[4] == Ok(FactValue::Amounts(U256::ONE)),
            "{form}: {values:?}"
        );
        ensure!(
            format!("{:?}", values[5]).contains("Bytes"),
            "{form}: {values:?}"
        );
        ensure!(*values[6] == Err(Unreadable), "{form}: {values:?}");
        let known = first.get_or_insert_with(|| answer.clone());
        ensure!(known.outcomes[..7] == answer.outcomes[..7], "{form}");
    }
    Ok(())
}

#[tokio::test]
async fn hostile_contracts_cost_honest_reads_nothing() -> anyhow::Result<()> {
    let chain = hostile().await?;
    let holder = Address::repeat_byte(0x11);
    let mut reads = vec![
        balance(MUTATING, holder),
        balance(BOMB, holder),
        balance(BURNER, holder),
    ];
    reads.extend((0..150).map(|_| balance(BUYABLE, holder)));
    reads.push(balance(BURNER, holder));
    for form in [Form::Override, Form::Creation] {
        let answer = read(&chain, form, &reads, (30_000_000, 1_530)).await?;
        let honest = &answer.outcomes[3..153];
        // Nothing was bought by the one that was read first.
        ensure!(
            honest
                .iter()
                .all(|outcome| outcome.value == amount(0) && !outcome.is_spent),
            "{form}"
        );
        for burnt in [0, 2, 153] {
            let outcome = &answer.outcomes[burnt];
            ensure!(
                outcome.is_spent && outcome.value == Err(Unreadable),
                "{form}: {burnt}: {outcome:?}"
            );
        }
    }
    // Bought in earnest, it is there.
    let call =
        alloy_primitives::hex::encode_prefixed(Buyable::buyCall { who: holder }.abi_encode());
    let transaction = json!({"from": OWNER.to_string(), "to": BUYABLE.to_string(), "data": call});
    chain.send(transaction).await?;
    let answer = read(&chain, Form::Override, &reads, (30_000_000, 1_530)).await?;
    ensure!(
        answer.outcomes[3].value == amount(1),
        "{:?}",
        answer.outcomes[3]
    );
    Ok(())
}

#[tokio::test]
async fn two_hundred_and_thirty_burners_leave_the_gas_for_one_honest_read() -> anyhow::Result<()> {
    let chain = hostile().await?;
    let mut reads = vec![balance(BURNER, OWNER); 231];
    for place in [0, 115, 230] {
        reads[place] = balance(ERC721, OWNER);
        for form in [Form::Override, Form::Creation] {
            for deposit in [200, 1_530] {
                let answer = read(&chain, form, &reads, (10_000_000, deposit)).await;
                let answer = answer.with_context(|| format!("{form} at {deposit}"))?;
                ensure!(
                    answer.outcomes[place].value == amount(1),
                    "{form} at {deposit}: {place}"
                );
            }
        }
        reads[place] = balance(BURNER, OWNER);
    }
    Ok(())
}

/// What a first decision sees of the chain: the status, the block it rests on, and the calls that it took.
async fn decide(
    provider: Fault,
    chain: &'static str,
    prepare: impl AsyncFnOnce(&Chain) -> anyhow::Result<()>,
) -> anyhow::Result<(u64, u64, Vec<Value>)> {
    let configure = |config: &mut Config| {
        config.fresh = "0s";
        config.chain = chain.to_owned();
    };
    let world = World::with(configure, |settings| settings).await?;
    prepare(&world.chain).await?;
    world.provider.behave(provider).await?;
    let owner = world.gate.sign_in(&Wallet::owner()?).await?;
    let stranger = world.gate.sign_in(&Wallet::stranger()?).await?;
    world.provider.take();
    let grant = world.gate.ask(&owner, HELLO).await?.expect(200)?;
    let first = world.provider.take();
    world.gate.ask(&stranger, HELLO).await?.problem(403)?;
    world.provider.take();
    // What was found out is remembered.
    world.gate.ask(&owner, HELLO).await?.expect(200)?;
    let second = world.provider.take();
    ensure!(second.len() <= first.len(), "{first:?}, then {second:?}");
    let block = world.chain.call("eth_blockNumber", json!([])).await?;
    let block = block.as_str().and_then(|text| text.strip_prefix("0x"));
    let block = u64::from_str_radix(block.context("no number")?, 16)?;
    let based_on = grant["basis"]["block"].as_u64().context("no block")?;
    ensure!(
        !world.service.log().contains("not asked for a while"),
        "a breaker opened"
    );
    Ok((based_on, block, second))
}

async fn nothing(_: &Chain) -> anyhow::Result<()> {
    Ok(())
}

fn calls(requests: &[Value]) -> Vec<&Value> {
    let calls = requests.iter();
    calls
        .filter(|request| request["method"] == "eth_call")
        .collect()
}

#[tokio::test]
async fn a_provider_is_read_in_the_best_way_that_it_knows() -> anyhow::Result<()> {
    let lends = |call: &&Value| call["params"][2].is_object();
    let creates = |call: &&Value| call["params"][0]["to"].is_null();
    let (_, _, requests) = decide(Fault::None, "", nothing).await?;
    ensure!(
        requests.len() == 1 && calls(&requests).iter().all(lends),
        "{requests:?}"
    );
    for fault in [Fault::NoOverride] {
        let (_, _, requests) = decide(fault, "", nothing).await?;
        ensure!(
            requests.len() == 1 && calls(&requests).iter().all(creates),
            "{fault:?}: {requests:?}"
        );
    }
    for fault in [Fault::NoReader, Fault::EmptyReader] {
        let (based_on, block, requests) = decide(fault, "", nothing).await?;
        ensure!(based_on == block, "{fault:?}: {based_on} {block}");
        ensure!(calls(&requests).is_empty(), "{fault:?}: {requests:?}");
        ensure!(
            requests.iter().any(Value::is_array),
            "{fault:?}: {requests:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_deployed_reader_is_called_where_it_is() -> anyhow::Result<()> {
    let put = async |chain: &Chain| {
        let deployed = chain.deploy_reader().await?;
        let code = chain
            .call("eth_getCode", json!([deployed.to_string(), "latest"]))
            .await?;
        chain
            .set_code(READER, code.as_str().context("no code")?)
            .await
    };
    let key = "reader = \"0x0000000000000000000000000000000000007ead\"";
    let (_, _, requests) = decide(Fault::NoReader, key, put).await?;
    let [call] = requests.as_slice() else {
        anyhow::bail!("{requests:?}");
    };
    ensure!(
        call["params"][0]["to"] == "0x0000000000000000000000000000000000007ead",
        "{call}"
    );
    Ok(())
}

#[tokio::test]
async fn blocks_are_named_by_number_where_a_node_refuses_their_hash() -> anyhow::Result<()> {
    for code in [-32602, -32600, -32000] {
        for keys in ["batch = { reads = 1 }", "reader = \"calls\""] {
            let (based_on, block, _) = decide(Fault::NoHashes(code), keys, nothing).await?;
            ensure!(based_on == block, "{code}, {keys}: {based_on} {block}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn facts_bear_the_numbers_of_their_own_chain() -> anyhow::Result<()> {
    // An Orbit chain tells its contracts its own number by ArbSys: what the reader says of its block is proven once.
    let orbit = async |chain: &Chain| chain.put_own("OrbitSys", ARB_SYS).await;
    let (based_on, block, requests) = decide(Fault::Ahead(1_000), "", orbit).await?;
    ensure!(based_on == block + 1_000, "{based_on} {block}");
    ensure!(requests.len() == 1, "{requests:?}");
    ensure!(requests[0]["params"][1] == "latest", "{requests:?}");
    // Where contracts see another number and nothing tells the chain's own, a header names the block first.
    for keys in [
        "",
        "reader = \"creation\"",
        "reader = \"calls\"",
        "batch = { reads = 1 }",
    ] {
        let (based_on, block, requests) = decide(Fault::Ahead(1_000), keys, nothing).await?;
        ensure!(based_on == block + 1_000, "{keys}: {based_on} {block}");
        let is_pinned = |call: &&Value| call["params"][1]["blockHash"].is_string();
        ensure!(
            calls(&requests).iter().all(is_pinned),
            "{keys}: {requests:?}"
        );
    }
    Ok(())
}

/// A gate over one contract.
fn gate(name: &str, contract: Address) -> String {
    format!(
        "\n[[gate]]\nid = \"{name}\"\nresources = [\"media/{name}/**\"]\nmax_age = \"60s\"\nrequire = {{ erc20 = {{ chain = \"{CHAIN}\", contract = \"{contract}\", at_least = \"1\" }} }}\n"
    )
}

#[tokio::test]
async fn one_tenants_contract_changes_no_fact_of_another() -> anyhow::Result<()> {
    for keys in ["", "reader = \"creation\"", "reader = \"calls\""] {
        let configure = |config: &mut Config| {
            config.more = [gate("tenant-a", MUTATING), gate("tenant-b", BUYABLE)].concat();
            // Whoever signs in has all gates' facts read at once.
            config.cache = "prefetch = \"all\"";
            config.chain = keys.to_owned();
        };
        let world = World::with(configure, |settings| settings).await?;
        world.chain.put_own("Mutating", MUTATING).await?;
        world.chain.put_own("Buyable", BUYABLE).await?;
        let target = BUYABLE.into_word().to_string();
        let slot = format!("{:#066x}", 0);
        world
            .chain
            .call(
                "anvil_setStorageAt",
                json!([MUTATING.to_string(), slot, target]),
            )
            .await?;
        let stranger = world.gate.sign_in(&Wallet::stranger()?).await?;
        // Read behind the response.
        let known = || async {
            let reply = world.gate.ask(&stranger, "media/tenant-b/x").await?;
            anyhow::Ok((reply.status.as_u16(), reply.json()?))
        };
        for _ in 0..2 {
            let (status, refused) = known().await?;
            ensure!(
                status == 403 && refused["unmet"][0]["has"] == "0",
                "{keys}: {refused}"
            );
            let both = json!({"resources": ["media/tenant-a/x", "media/tenant-b/x"]});
            let results = world.gate.access(&stranger, &both).await?.expect(200)?;
            ensure!(
                results["results"][1]["problem"]["status"] == 403,
                "{keys}: {results}"
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn bombs_and_burners_of_one_tenant_keep_no_other_from_an_answer() -> anyhow::Result<()> {
    const HEAVY: Address = address!("0x0000000000000000000000000000000000000c01");
    let configure = |config: &mut Config| {
        let burners = (0..12).map(|n| gate(&format!("burner-{n}"), Address::repeat_byte(0xa0 + n)));
        let more = [gate("bomb", BOMB), gate("heavy", HEAVY), gate("b", ERC721)];
        config.more = burners.chain(more).collect();
    };
    let world = World::with(configure, |settings| settings).await?;
    for n in 0..12 {
        world
            .chain
            .put_own("GasBurner", Address::repeat_byte(0xa0 + n))
            .await?;
    }
    world.chain.put_own("ReturndataBomb", BOMB).await?;
    world.chain.put_own("HeavyToken", HEAVY).await?;
    let owner = world.gate.sign_in(&Wallet::owner()?).await?;
    let stranger = world.gate.sign_in(&Wallet::stranger()?).await?;
    let mut resources: Vec<String> = (0..12).map(|n| format!("media/burner-{n}/x")).collect();
    resources.extend(["bomb", "heavy", "b"].map(|name| format!("media/{name}/x")));
    let asked = json!({ "resources": resources });
    for (token, status) in [(&owner, 200), (&stranger, 403)] {
        let results = world.gate.access(token, &asked).await?.expect(200)?;
        let status_of = |n: usize| match &results["results"][n] {
            granted if granted["url"].is_string() => Some(200),
            refused => refused["problem"]["status"].as_u64(),
        };
        ensure!((0..12).all(|n| status_of(n) == Some(503)), "{results}");
        // An honest contract that takes more than its share of the gas is asked again alone.
        ensure!(status_of(13) == Some(200), "{results}");
        ensure!(status_of(14) == Some(status), "{results}");
    }
    Ok(())
}

#[tokio::test]
async fn an_error_for_a_moment_is_booked_on_no_contract() -> anyhow::Result<()> {
    let chain = Chain::with_contracts(0).await?;
    let provider = Faulty::start(chain.url()).await?;
    // Whoever fails whatever it is asked is passed over, and the next provider answers.
    let store = tokengate_tests::store::Store::start(0).await?;
    let mut config = Config::new(store.url());
    config.providers = 2;
    let healthy = Faulty::start(chain.url()).await?;
    let settings = tokengate_tests::service::Settings::new(&config.to_string(), &provider.url())
        .further_providers(&[healthy.url()])?;
    let service = tokengate_tests::service::Service::start(&settings).await?;
    let gate = tokengate_tests::client::Gate::new(service.url(), tokengate_tests::config::DOMAIN);
    provider.behave(Fault::Refuse("eth_call")).await?;
    let owner = gate.sign_in(&Wallet::owner()?).await?;
    let reply = gate.ask(&owner, HELLO).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    Ok(())
}
