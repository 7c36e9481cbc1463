//! A development chain (anvil) and the contracts of the demo.

use std::time::Duration;

use alloy_primitives::{Address, Bytes as Data, U256, address, hex};
use alloy_sol_types::{SolCall, SolValue, sol};
use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::client::Http;
use crate::process::Process;
use crate::{artefact, root};

/// Where Multicall3 lies on every chain that has it.
pub const MULTICALL3: Address = address!("0xcA11bde05977b3631167028862bE2a173976CA11");
/// The demo's ERC-721: the first contract of the first development key.
pub const ERC721: Address = address!("0x5FbDB2315678afecb367f032d93F642f64180aa3");
/// The demo's ERC-1155: its second.
pub const ERC1155: Address = address!("0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512");
/// The demo's ERC-20: its third.
pub const ERC20: Address = address!("0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0");
/// The first development key's account: deploys everything and owns everything.
pub const OWNER: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
/// The id of the ERC-1155 token that the owner has one of.
pub const PASS: u64 = 7;

const SETUP: &str = "scripts/setup";

sol! {
    interface Erc721 {
        function mint(address to) external;
        function transferFrom(address from, address to, uint256 tokenId) external;
    }
    interface Erc1155 {
        function mint(address to, uint256 id, uint256 amount, bytes data) external;
        function safeTransferFrom(address from, address to, uint256 id, uint256 amount, bytes data) external;
    }
    interface Erc20 {
        function transfer(address to, uint256 amount) external returns (bool);
    }
}

/// A running chain.
pub struct Chain {
    process: Process,
    url: String,
    http: Http,
}

impl Chain {
    /// Starts an empty chain on `port` of the loopback interface; 0 takes any.
    pub async fn start(port: u16) -> anyhow::Result<Self> {
        let anvil = artefact(
            "tests/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil",
            SETUP,
        )?;
        let mut command = Command::new(anvil);
        command.args(["--host", "127.0.0.1", "--chain-id", "31337", "--port"]);
        command.arg(port.to_string());
        let (process, address) =
            Process::start("anvil", command, Duration::from_secs(30), |line| {
                line.strip_prefix("Listening on ").map(str::to_owned)
            })
            .await?;
        Ok(Self {
            process,
            url: format!("http://{address}"),
            http: Http::default(),
        })
    }

    /// Starts a chain with Multicall3 and the demo's contracts; the owner holds ERC-721 token 0, one ERC-1155 token 7 and
    /// 500 ERC-20 tokens of 18 decimals.
    pub async fn with_contracts(port: u16) -> anyhow::Result<Self> {
        let chain = Self::start(port).await?;
        let multicall = read_json(
            "tests/contracts/Multicall3.json",
            "tests/contracts/build.mjs",
        )?;
        chain
            .call(
                "anvil_setCode",
                json!([MULTICALL3.to_string(), multicall["runtime"]]),
            )
            .await?;

        let supply = U256::from(500) * U256::from(10).pow(U256::from(18));
        chain
            .deploy(
                "ERC721PresetMinterPauserAutoId",
                ("Season One", "SEASON", "https://gate.example/tokens/").abi_encode_params(),
                ERC721,
            )
            .await?;
        chain
            .deploy(
                "ERC1155PresetMinterPauser",
                ("https://gate.example/passes/{id}.json",).abi_encode_params(),
                ERC1155,
            )
            .await?;
        chain
            .deploy(
                "ERC20PresetFixedSupply",
                ("Holder", "HOLD", supply, OWNER).abi_encode_params(),
                ERC20,
            )
            .await?;
        chain
            .transact(ERC721, &Erc721::mintCall { to: OWNER })
            .await?;
        let pass = Erc1155::mintCall {
            to: OWNER,
            id: U256::from(PASS),
            amount: U256::ONE,
            data: Data::new(),
        };
        chain.transact(ERC1155, &pass).await?;
        Ok(chain)
    }

    /// Its JSON-RPC endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.process.stop(Duration::from_secs(5)).await.map(drop)
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> anyhow::Result<String> {
        let status = self.process.wait().await?;
        Ok(format!("anvil: {status}\n{}", self.process.stderr()))
    }

    /// Gives ERC-721 token `id` of the owner to `to`.
    pub async fn transfer_token(&self, id: u64, to: Address) -> anyhow::Result<()> {
        let call = Erc721::transferFromCall {
            from: OWNER,
            to,
            tokenId: U256::from(id),
        };
        self.transact(ERC721, &call).await
    }

    /// Gives the owner's ERC-1155 pass to `to`.
    pub async fn transfer_pass(&self, to: Address) -> anyhow::Result<()> {
        let call = Erc1155::safeTransferFromCall {
            from: OWNER,
            to,
            id: U256::from(PASS),
            amount: U256::ONE,
            data: Data::new(),
        };
        self.transact(ERC1155, &call).await
    }

    /// Gives `whole` ERC-20 tokens of the owner to `to`.
    pub async fn transfer_tokens(&self, whole: u64, to: Address) -> anyhow::Result<()> {
        let amount = U256::from(whole) * U256::from(10).pow(U256::from(18));
        self.transact(ERC20, &Erc20::transferCall { to, amount })
            .await
    }

    /// Calls a JSON-RPC method.
    pub async fn call(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = Request::post(&self.url)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let mut reply = self.http.send(request).await?.expect(200)?;
        ensure!(reply.get("error").is_none(), "{method}: {}", reply["error"]);
        Ok(reply["result"].take())
    }

    async fn transact(&self, to: Address, call: &impl SolCall) -> anyhow::Result<()> {
        let data = hex::encode_prefixed(call.abi_encode());
        self.send(json!({ "from": OWNER.to_string(), "to": to.to_string(), "data": data }))
            .await
            .map(drop)
    }

    async fn deploy(&self, name: &str, arguments: Vec<u8>, at: Address) -> anyhow::Result<()> {
        let path =
            format!("tests/node_modules/@openzeppelin/contracts/build/contracts/{name}.json");
        let artefact = read_json(&path, SETUP)?;
        let code = artefact["bytecode"]
            .as_str()
            .context("no bytecode in the artefact")?;
        let data = format!("{code}{}", hex::encode(arguments));
        let receipt = self
            .send(json!({ "from": OWNER.to_string(), "data": data }))
            .await?;
        let address: Address = receipt["contractAddress"]
            .as_str()
            .context("a deployment without an address")?
            .parse()?;
        ensure!(address == at, "{name} lies at {address}, not at {at}");
        Ok(())
    }

    async fn send(&self, transaction: Value) -> anyhow::Result<Value> {
        let hash = self
            .call("eth_sendTransaction", json!([transaction]))
            .await?;
        for _ in 0..200 {
            let receipt = self
                .call("eth_getTransactionReceipt", json!([hash]))
                .await?;
            if !receipt.is_null() {
                ensure!(receipt["status"] == "0x1", "reverted: {receipt}");
                return Ok(receipt);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("transaction {hash} is not mined")
    }
}

fn read_json(path: &str, made_by: &str) -> anyhow::Result<Value> {
    artefact(path, made_by)?;
    let text = std::fs::read_to_string(root().join(path))?;
    serde_json::from_str(&text).with_context(|| path.to_owned())
}
