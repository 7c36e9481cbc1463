//! A development chain (anvil) and the contracts of the demo.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, Bytes as Data, U256, address, hex};
use alloy_sol_types::{SolCall, SolValue, sol};
use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::http::Http;
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
/// Where the registry of delegate.xyz, version 2, lies on every chain that has it.
pub const DELEGATE_REGISTRY: Address = address!("0x00000000000000447e69651d841bD8D104Bed493");
/// The first development key's account: deploys everything and owns everything.
pub const OWNER: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
/// The id of the ERC-1155 token that the owner has one of.
pub const PASS: u64 = 7;
/// The chain's id.
pub const CHAIN_ID: u64 = 31337;

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
        Self::start_with(port, &[]).await
    }

    async fn start_with(port: u16, options: &[&str]) -> anyhow::Result<Self> {
        let anvil = artefact(
            "tests/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil",
            SETUP,
        )?;
        let mut command = Command::new(anvil);
        command.args(["--host", "127.0.0.1", "--chain-id", &CHAIN_ID.to_string()]);
        command.args(["--port", &port.to_string()]);
        command.args(options);
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
        chain.deploy_contracts().await?;
        Ok(chain)
    }

    /// The same, of a chain whose first block was made so long ago; time passes there as it does here.
    pub async fn with_contracts_since(age: Duration) -> anyhow::Result<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a chain's first block has a time of day"
        )]
        let start = SystemTime::now().duration_since(UNIX_EPOCH)? - age;
        let options = ["--timestamp", &start.as_secs().to_string()];
        let chain = Self::start_with(0, &options).await?;
        chain.deploy_contracts().await?;
        Ok(chain)
    }

    /// Makes `count` empty blocks, so many seconds apart.
    pub async fn mine(&self, count: u64, seconds: u64) -> anyhow::Result<()> {
        let params = json!([format!("{count:#x}"), format!("{seconds:#x}")]);
        self.call("anvil_mine", params).await.map(drop)
    }

    /// Replaces the newest `count` blocks by as many empty ones.
    pub async fn reorganise(&self, count: u64) -> anyhow::Result<()> {
        self.call("anvil_reorg", json!([count, []])).await.map(drop)
    }

    async fn deploy_contracts(&self) -> anyhow::Result<()> {
        self.set_code(MULTICALL3, &own_contract("Multicall3", "runtime")?)
            .await?;

        let supply = U256::from(500) * U256::from(10).pow(U256::from(18));
        self.deploy(
            "ERC721PresetMinterPauserAutoId",
            ("Season One", "SEASON", "https://gate.example/tokens/").abi_encode_params(),
            ERC721,
        )
        .await?;
        self.deploy(
            "ERC1155PresetMinterPauser",
            ("https://gate.example/passes/{id}.json",).abi_encode_params(),
            ERC1155,
        )
        .await?;
        self.deploy(
            "ERC20PresetFixedSupply",
            ("Holder", "HOLD", supply, OWNER).abi_encode_params(),
            ERC20,
        )
        .await?;
        self.transact(ERC721, &Erc721::mintCall { to: OWNER })
            .await?;
        let pass = Erc1155::mintCall {
            to: OWNER,
            id: U256::from(PASS),
            amount: U256::ONE,
            data: Data::new(),
        };
        self.transact(ERC1155, &pass).await
    }

    /// Puts the delegate registry where every chain has it.
    pub async fn put_delegate_registry(&self) -> anyhow::Result<()> {
        let code = own_contract("DelegateRegistry", "runtime")?;
        self.set_code(DELEGATE_REGISTRY, &code).await
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

    /// Mints the next ERC-721 token to `to`.
    pub async fn mint_token(&self, to: Address) -> anyhow::Result<()> {
        self.transact(ERC721, &Erc721::mintCall { to }).await
    }

    /// Gives ERC-721 token `id` of any account to `to`; the receipt.
    pub async fn sell_token(&self, id: u64, from: Address, to: Address) -> anyhow::Result<Value> {
        let call = Erc721::transferFromCall {
            from,
            to,
            tokenId: U256::from(id),
        };
        let from = from.to_string();
        self.call("anvil_impersonateAccount", json!([from])).await?;
        self.call("anvil_setBalance", json!([from, "0x1000000000000000"]))
            .await?;
        let data = hex::encode_prefixed(call.abi_encode());
        self.send(json!({ "from": from, "to": ERC721.to_string(), "data": data }))
            .await
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

    /// What `to` answers to `call`, at the latest block.
    pub async fn read<C: SolCall>(&self, to: Address, call: &C) -> anyhow::Result<C::Return> {
        let data = hex::encode_prefixed(call.abi_encode());
        let params = json!([{ "to": to.to_string(), "data": data }, "latest"]);
        let returned = self.call("eth_call", params).await?;
        let returned: Data = returned.as_str().context("no return data")?.parse()?;
        Ok(C::abi_decode_returns_validate(&returned)?)
    }

    /// Puts runtime code at an address.
    pub async fn set_code(&self, at: Address, code: &str) -> anyhow::Result<()> {
        self.call("anvil_setCode", json!([at.to_string(), code]))
            .await
            .map(drop)
    }

    /// Puts the runtime code of a contract of `tests/contracts` at an address.
    pub async fn put_own(&self, name: &str, at: Address) -> anyhow::Result<()> {
        self.set_code(at, &own_contract(name, "runtime")?).await
    }

    /// Deploys the service's reader as an operator would; its address.
    pub async fn deploy_reader(&self) -> anyhow::Result<Address> {
        let path = "crates/core/contracts/ReaderDeployment.hex";
        let code = std::fs::read_to_string(artefact(path, "tests/contracts/build.mjs")?)?;
        self.create(&format!("0x{}", code.trim()), &[]).await
    }

    /// Puts the code of one contract, which must not have any of its own storage or immutables, at another address too.
    pub async fn copy_code(&self, from: Address, to: Address) -> anyhow::Result<()> {
        let code = self
            .call("eth_getCode", json!([from.to_string(), "latest"]))
            .await?;
        self.set_code(to, code.as_str().context("no code")?).await
    }

    /// Deploys a contract of `tests/contracts`, one without constructor arguments.
    pub async fn deploy_own(&self, name: &str) -> anyhow::Result<Address> {
        self.create(&own_contract(name, "creation")?, &[]).await
    }

    /// Deploys a contract of an npm package, one without constructor arguments; `path` is that of its artefact.
    pub async fn deploy_package(&self, path: &str) -> anyhow::Result<Address> {
        self.create(&package_contract(path)?, &[]).await
    }

    /// Runs `call` as the owner's transaction.
    pub async fn transact(&self, to: Address, call: &impl SolCall) -> anyhow::Result<()> {
        let data = hex::encode_prefixed(call.abi_encode());
        self.send(json!({ "from": OWNER.to_string(), "to": to.to_string(), "data": data }))
            .await
            .map(drop)
    }

    /// Runs `call` as a transaction of any account, contracts included. Its balance stays as it was, because gates may ask
    /// for it.
    pub async fn transact_as(
        &self,
        from: Address,
        to: Address,
        call: &impl SolCall,
    ) -> anyhow::Result<()> {
        let from = from.to_string();
        let data = hex::encode_prefixed(call.abi_encode());
        let before = self.call("eth_getBalance", json!([from, "latest"])).await?;
        self.call("anvil_impersonateAccount", json!([from])).await?;
        // 2^60 Wei: an Ether and a bit, for gas.
        self.call("anvil_setBalance", json!([from, "0x1000000000000000"]))
            .await?;
        self.send(json!({ "from": from, "to": to.to_string(), "data": data }))
            .await?;
        self.call("anvil_setBalance", json!([from, before])).await?;
        self.call("anvil_stopImpersonatingAccount", json!([from]))
            .await
            .map(drop)
    }

    async fn deploy(&self, name: &str, arguments: Vec<u8>, at: Address) -> anyhow::Result<()> {
        let path = format!("@openzeppelin/contracts/build/contracts/{name}.json");
        let address = self.create(&package_contract(&path)?, &arguments).await?;
        ensure!(address == at, "{name} lies at {address}, not at {at}");
        Ok(())
    }

    async fn create(&self, code: &str, arguments: &[u8]) -> anyhow::Result<Address> {
        let data = format!("{code}{}", hex::encode(arguments));
        let receipt = self
            .send(json!({ "from": OWNER.to_string(), "data": data }))
            .await?;
        let address = receipt["contractAddress"]
            .as_str()
            .context("a deployment without an address")?;
        Ok(address.parse()?)
    }

    /// Sends a transaction of an account whose key the chain has, and waits for its receipt.
    pub async fn send(&self, transaction: Value) -> anyhow::Result<Value> {
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

/// Code of a contract that `tests/contracts/build.mjs` compiled: "creation" or "runtime".
pub fn own_contract(name: &str, code: &str) -> anyhow::Result<String> {
    let path = format!("tests/contracts/{name}.json");
    code_in(&path, "tests/contracts/build.mjs", code)
}

/// Creation code of a contract that an npm package has compiled.
fn package_contract(path: &str) -> anyhow::Result<String> {
    code_in(&format!("tests/node_modules/{path}"), SETUP, "bytecode")
}

fn code_in(path: &str, made_by: &str, field: &str) -> anyhow::Result<String> {
    let artefact = read_json(path, made_by)?;
    let code = artefact[field].as_str();
    Ok(code
        .with_context(|| format!("no {field} in {path}"))?
        .to_owned())
}

fn read_json(path: &str, made_by: &str) -> anyhow::Result<Value> {
    artefact(path, made_by)?;
    let text = std::fs::read_to_string(root().join(path))?;
    serde_json::from_str(&text).with_context(|| path.to_owned())
}
