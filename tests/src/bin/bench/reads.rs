//! What one call for the facts of a decision costs: by the service's reader and by Multicall3, in one run.

use std::time::{Duration, Instant};

use alloy_primitives::{Bytes as Data, U256};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokengate_core::abi::reader::{Form, Reader};
use tokengate_core::fact::Read;
use tokengate_core::jsonrpc::{self, BlockTag};
use tokengate_core::{Address, ChainId};
use tokengate_tests::chain::{CHAIN_ID, ERC721, MULTICALL3, OWNER};
use tokengate_tests::client::Http;
use tokengate_tests::world::World;

sol! {
    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }
    function aggregate3(Call3[] calls) external payable returns (bytes);
}

/// How often each is asked.
const ROUNDS: usize = 101;

/// What reads the block, the chain, the time and the parent's hash of Multicall3 itself.
const OWN: [[u8; 4]; 4] = [
    [0x42, 0xcb, 0xb1, 0x5c],
    [0x34, 0x08, 0xe4, 0x70],
    [0x0f, 0x28, 0xc9, 0x7d],
    [0x27, 0xe8, 0x6d, 0x6e],
];

fn contract(id: u64) -> Address {
    let mut bytes = [0xc0; 20];
    bytes[12..].copy_from_slice(&id.to_be_bytes());
    Address::from_bytes(bytes)
}

fn by_reader(reads: &[Read], form: Form) -> anyhow::Result<Vec<u8>> {
    let id = ChainId::new(CHAIN_ID).context("a chain id")?;
    let reader = Reader::new(id, reads.iter().collect(), None);
    let call = reader.call(form, 200).context("no call")?;
    Ok(jsonrpc::eth_call(&call, BlockTag::Latest).to_body())
}

fn by_multicall3(reads: &[Read]) -> Vec<u8> {
    let own = OWN.map(|selector| (MULTICALL3, selector.to_vec()));
    let reads = reads.iter().filter_map(|read| {
        let (target, data) = read.call()?;
        Some((alloy_primitives::Address::from(*target.as_bytes()), data))
    });
    let calls = own.into_iter().chain(reads).map(|(target, data)| Call3 {
        target,
        allowFailure: true,
        callData: Data::from(data),
    });
    let calls = aggregate3Call {
        calls: calls.collect(),
    };
    let data = alloy_primitives::hex::encode_prefixed(calls.abi_encode());
    let params = json!([{"to": MULTICALL3.to_string(), "data": data}, "latest"]);
    json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": params})
        .to_string()
        .into_bytes()
}

/// The median time of a call, and the bytes of its answer.
async fn ask(http: &Http, url: &str, body: &[u8]) -> anyhow::Result<(Duration, usize)> {
    let mut times = Vec::with_capacity(ROUNDS);
    let mut length = 0;
    for _ in 0..ROUNDS {
        let request = Request::post(url)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_vec())))?;
        let asked = Instant::now();
        let reply: Value = http.send(request).await?.expect(200)?;
        times.push(asked.elapsed());
        ensure!(reply.get("error").is_none(), "{reply}");
        let result = reply.get("result").and_then(Value::as_str);
        length = result.unwrap_or_default().len();
    }
    times.sort();
    Ok((times.get(ROUNDS / 2).copied().unwrap_or_default(), length))
}

pub(crate) async fn run(world: &World) -> anyhow::Result<()> {
    println!(
        "\n{:<28} {:>6} {:>10} {:>12} {:>9}",
        "facts read in one call", "facts", "sent B", "answered B", "p50 ms"
    );
    for count in [1_u64, 10, 100] {
        let reads = (0..count).map(|id| Read::Erc721Owner {
            contract: Address::from_bytes(ERC721.into_array()),
            token_id: U256::from(id),
        });
        // One owner's balances of as many contracts, as a decision asks for them.
        let balances = (0..count).map(|id| Read::Erc20Balance {
            contract: contract(id),
            owner: Address::from_bytes(OWNER.into_array()),
        });
        for (name, reads) in [
            ("owners", reads.collect::<Vec<_>>()),
            ("balances", balances.collect()),
        ] {
            for (way, body) in [
                ("Multicall3", by_multicall3(&reads)),
                ("reader, override", by_reader(&reads, Form::Override)?),
                ("reader, creation", by_reader(&reads, Form::Creation)?),
            ] {
                let (time, answered) = ask(&world.http, world.chain.url(), &body).await?;
                println!(
                    "{:<28} {count:>6} {:>10} {answered:>12} {:>9.2}",
                    format!("{name}, {way}"),
                    body.len(),
                    time.as_secs_f64() * 1_000.0
                );
            }
        }
    }
    Ok(())
}
