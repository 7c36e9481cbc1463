//! Accounts that are contracts, or have code, and sign in with what `isValidSignature` accepts (ERC-1271): deployed ones,
//! ones that are not deployed yet (ERC-6492), externally owned ones with code (EIP-7702), ones whose delegation is not
//! sent yet (ERC-8010); and the registry in which one account names another to act for it.

use alloy_primitives::{Address, B256, Bytes, U256, address, eip191_hash_message, hex, keccak256};
use alloy_sol_types::{SolCall, SolStruct, SolValue, eip712_domain, sol};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::chain::{CHAIN_ID, Chain, OWNER};
use crate::wallet::Wallet;

pub use crate::chain::DELEGATE_REGISTRY as REGISTRY;

/// The third development key's account, which only sends transactions: with the authority as their sender, the nonce of
/// an authorization would have to count the transaction that carries it.
const RELAYER: Address = address!("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");

/// The proxy factory of Safe 1.4.1 at its canonical address, which services know.
pub const SAFE_FACTORY: Address = address!("0x4e1DCf7AD4e460CfD30791CCC4F9c8a4f820ec67");
/// The factory of [`Counterfactual`] accounts, which a service has to be told of.
pub const FACTORY: Address = address!("0x0000000000000000000000000000000000649200");

const SAFE: &str = "@safe-global/safe-contracts/build/artifacts/contracts";

sol! {
    interface SafeSetup {
        function setup(
            address[] owners,
            uint256 threshold,
            address to,
            bytes data,
            address fallbackHandler,
            address paymentToken,
            uint256 payment,
            address paymentReceiver
        ) external;
    }
    interface SafeProxyFactory {
        function createProxyWithNonce(address singleton, bytes initializer, uint256 saltNonce) external returns (address proxy);
    }
    struct SafeMessage {
        bytes message;
    }
    interface SmartAccountFactory {
        function createAccount(address owner, bytes32 salt) external returns (address account);
        function getAddress(address owner, bytes32 salt) external view returns (address);
    }
    interface ForSale {
        function mint(address to, uint256 id) external;
        function ownerOf(uint256 id) external view returns (address);
        function accountOf(uint256 id) external view returns (address);
        function createAccount(uint256 id) external returns (address);
    }
    interface Buyer {
        function buyAndDeploy(address token, uint256 id, address to) external returns (address);
        function relay(address target, bytes data) external;
    }
    interface DelegatedAccount {
        function authoriseBySignature(address key, bytes signature) external;
    }
    interface DelegateRegistry {
        function delegateAll(address to, bytes32 rights, bool enable) external payable returns (bytes32);
        function delegateContract(address to, address contract_, bytes32 rights, bool enable) external payable returns (bytes32);
        function delegateERC721(address to, address contract_, uint256 tokenId, bytes32 rights, bool enable) external payable returns (bytes32);
        function delegateERC20(address to, address contract_, bytes32 rights, uint256 amount) external payable returns (bytes32);
        function delegateERC1155(address to, address contract_, uint256 tokenId, bytes32 rights, uint256 amount) external payable returns (bytes32);
    }
    struct AuthorizationTuple {
        uint256 chainId;
        address delegation;
        uint256 nonce;
        uint8 yParity;
        uint256 r;
        uint256 s;
    }
}

/// What `sign` makes of the EIP-191 hash of `message`, as `personal_sign` hands it over: with `0x` in front.
pub fn personal_sign(message: &str, sign: impl FnOnce(B256) -> Vec<u8>) -> String {
    hex::encode_prefixed(sign(eip191_hash_message(message)))
}

/// A Safe 1.4.1 behind its proxy, with the fallback handler that speaks ERC-1271.
pub struct Safe {
    address: Address,
    create: Vec<u8>,
}

impl Safe {
    /// Deploys a Safe of `owners`, `threshold` of whom sign, and the contracts that it needs.
    pub async fn deploy(
        chain: &Chain,
        owners: &[&Wallet],
        threshold: usize,
    ) -> anyhow::Result<Self> {
        let safe = Self::undeployed(chain, owners, threshold, None).await?;
        let data = hex::encode_prefixed(&safe.create);
        let from = OWNER.to_string();
        chain
            .send(json!({ "from": from, "to": SAFE_FACTORY.to_string(), "data": data }))
            .await?;
        Ok(safe)
    }

    /// The same without the Safe itself. While it is set up, it delegates a call to a contract, if one is named.
    pub async fn undeployed(
        chain: &Chain,
        owners: &[&Wallet],
        threshold: usize,
        delegated: Option<(Address, Vec<u8>)>,
    ) -> anyhow::Result<Self> {
        let singleton = chain
            .deploy_package(&format!("{SAFE}/Safe.sol/Safe.json"))
            .await?;
        let factory = chain
            .deploy_package(&format!(
                "{SAFE}/proxies/SafeProxyFactory.sol/SafeProxyFactory.json"
            ))
            .await?;
        let handler = chain
            .deploy_package(&format!(
                "{SAFE}/handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler.json"
            ))
            .await?;
        chain.copy_code(factory, SAFE_FACTORY).await?;
        let (to, data) = delegated.unwrap_or_default();
        let setup = SafeSetup::setupCall {
            owners: owners.iter().map(|owner| owner.address()).collect(),
            threshold: U256::from(threshold),
            to,
            data: data.into(),
            fallbackHandler: handler,
            paymentToken: Address::ZERO,
            payment: U256::ZERO,
            paymentReceiver: Address::ZERO,
        };
        let create = SafeProxyFactory::createProxyWithNonceCall {
            singleton,
            initializer: setup.abi_encode().into(),
            saltNonce: U256::ZERO,
        };
        Ok(Self {
            address: chain.read(SAFE_FACTORY, &create).await?,
            create: create.abi_encode(),
        })
    }

    /// Any signature with what deploys the Safe (ERC-6492).
    pub fn wrap(&self, signature: Vec<u8>) -> Vec<u8> {
        erc6492(SAFE_FACTORY, self.create.clone(), signature)
    }

    /// The proxy's address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// What the fallback handler accepts for `hash`: the `signers`' signatures over its SafeMessage (EIP-712), in the
    /// order of their addresses.
    pub fn sign(&self, hash: B256, signers: &[&Wallet]) -> Vec<u8> {
        let domain = eip712_domain! { chain_id: CHAIN_ID, verifying_contract: self.address, };
        let message = SafeMessage {
            message: hash.abi_encode().into(),
        };
        let hash = message.eip712_signing_hash(&domain);
        let mut signers = signers.to_vec();
        signers.sort_by_key(|signer| signer.address());
        signers
            .iter()
            .flat_map(|signer| signer.sign_hash(hash))
            .collect()
    }
}

/// A contract account with one owner, whose address is known before it is deployed.
pub struct Counterfactual<'a> {
    chain: &'a Chain,
    owner: &'a Wallet,
    factory: Address,
    create: SmartAccountFactory::createAccountCall,
    address: Address,
}

impl<'a> Counterfactual<'a> {
    /// Deploys a factory, and leaves the account that it makes of `owner` and `salt` undeployed.
    pub async fn new(chain: &'a Chain, owner: &'a Wallet, salt: B256) -> anyhow::Result<Self> {
        let factory = FACTORY;
        let deployed = chain.deploy_own("SmartAccountFactory").await?;
        chain.copy_code(deployed, factory).await?;
        let create = SmartAccountFactory::createAccountCall {
            owner: owner.address(),
            salt,
        };
        let address = SmartAccountFactory::getAddressCall {
            owner: create.owner,
            salt,
        };
        let address = chain.read(factory, &address).await?;
        Ok(Self {
            chain,
            owner,
            factory,
            create,
            address,
        })
    }

    /// Where the account lies, or will.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Deploys the account.
    pub async fn deploy(&self) -> anyhow::Result<()> {
        self.chain.transact(self.factory, &self.create).await
    }

    /// What the deployed account accepts for `hash`.
    pub fn sign(&self, hash: B256) -> Vec<u8> {
        self.owner.sign_hash(hash)
    }

    /// The same with what deploys the account (ERC-6492).
    pub fn sign_wrapped(&self, hash: B256) -> Vec<u8> {
        self.wrap(self.sign(hash))
    }

    /// Any signature with what deploys the account.
    pub fn wrap(&self, signature: Vec<u8>) -> Vec<u8> {
        erc6492(self.factory, self.create.abi_encode(), signature)
    }
}

/// The ERC-6492 wrapper: `abi.encode(factory, factoryCalldata, signature)` and the magic bytes.
pub fn erc6492(factory: Address, factory_calldata: Vec<u8>, signature: Vec<u8>) -> Vec<u8> {
    let parts = (
        factory,
        Bytes::from(factory_calldata),
        Bytes::from(signature),
    );
    let mut wrapped = parts.abi_encode_params();
    wrapped.extend([0x64, 0x92].repeat(16));
    wrapped
}

/// An externally owned account that has delegated to code (EIP-7702).
pub struct Delegated<'a> {
    wallet: &'a Wallet,
}

impl<'a> Delegated<'a> {
    /// Delegates `wallet`'s account to the code at `delegate`, in a transaction that somebody else sends. The zero address
    /// revokes (EIP-7702).
    pub async fn new(chain: &Chain, wallet: &'a Wallet, delegate: Address) -> anyhow::Result<Self> {
        let account = wallet.address().to_string();
        let nonce = chain
            .call("eth_getTransactionCount", json!([account, "latest"]))
            .await?;
        let nonce: U256 = nonce.as_str().context("no nonce")?.parse()?;
        let authorization = authorization(wallet, CHAIN_ID, delegate, nonce.to());
        chain
            .send(json!({
                "type": "0x4",
                "from": RELAYER.to_string(),
                "to": RELAYER.to_string(),
                "authorizationList": [authorization.to_json()],
            }))
            .await?;
        // An authorization that is not valid is skipped, and the transaction succeeds all the same.
        let code = chain
            .call("eth_getCode", json!([account, "latest"]))
            .await?;
        let expected = match delegate {
            Address::ZERO => "0x".to_owned(),
            delegate => format!("0xef0100{}", hex::encode(delegate)),
        };
        ensure!(
            code == expected,
            "{account} has not delegated to {delegate}: {code}"
        );
        Ok(Self { wallet })
    }

    /// The account's address.
    pub fn address(&self) -> Address {
        self.wallet.address()
    }

    /// The account's own signature over `hash`.
    pub fn sign(&self, hash: B256) -> Vec<u8> {
        self.wallet.sign_hash(hash)
    }

    /// Lets `key` sign for the account, whose code is that of `DelegatedAccount.sol`.
    pub async fn authorise(&self, chain: &Chain, key: Address) -> anyhow::Result<()> {
        let call = authorise_call(self.wallet, CHAIN_ID, key);
        chain.transact(self.address(), &call).await
    }
}

/// Calldata with which an account delegated to `DelegatedAccount.sol` lets `key` sign for it.
pub fn authorise_calldata(wallet: &Wallet, chain_id: u64, key: Address) -> Vec<u8> {
    authorise_call(wallet, chain_id, key).abi_encode()
}

fn authorise_call(
    wallet: &Wallet,
    chain_id: u64,
    key: Address,
) -> DelegatedAccount::authoriseBySignatureCall {
    let hash = keccak256((U256::from(chain_id), wallet.address(), key).abi_encode());
    DelegatedAccount::authoriseBySignatureCall {
        key,
        signature: wallet.sign_hash(hash).into(),
    }
}

/// A signed authorization tuple (EIP-7702).
pub struct Authorization {
    authority: Address,
    chain_id: u64,
    delegation: Address,
    nonce: u64,
    y_parity: u8,
    r: U256,
    s: U256,
}

/// `wallet`'s authorization to run the code at `delegation` for it; on every chain if `chain_id` is 0.
pub fn authorization(
    wallet: &Wallet,
    chain_id: u64,
    delegation: Address,
    nonce: u64,
) -> Authorization {
    let mut list = rlp_integer(chain_id);
    // A string of 20 bytes.
    list.push(0x80 + 20);
    list.extend(delegation);
    list.extend(rlp_integer(nonce));
    // Two integers of at most 9 bytes and an address of 21: always the short form of a list.
    let header = [0x05, 0xc0 + list.len() as u8];
    let signature = wallet.sign_hash(keccak256([&header, list.as_slice()].concat()));
    let (r, rest) = signature.split_at(32);
    let (s, v) = rest.split_at(32);
    Authorization {
        authority: wallet.address(),
        chain_id,
        delegation,
        nonce,
        y_parity: u8::from(v == [28]),
        r: U256::from_be_slice(r),
        s: U256::from_be_slice(s),
    }
}

/// RLP of an unsigned integer: no leading zeros, zero is the empty string, one byte below 0x80 is itself.
fn rlp_integer(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    match significant.as_slice() {
        [byte @ ..0x80] => vec![*byte],
        bytes => [&[0x80 + bytes.len() as u8], bytes].concat(),
    }
}

impl Authorization {
    /// The tuple as JSON-RPC has it.
    pub fn to_json(&self) -> Value {
        json!({
            "chainId": format!("{:#x}", self.chain_id),
            "address": self.delegation.to_string(),
            "nonce": format!("{:#x}", self.nonce),
            "yParity": format!("{:#x}", self.y_parity),
            "r": format!("{:#x}", self.r),
            "s": format!("{:#x}", self.s),
        })
    }
}

/// The ERC-8010 wrapper: a signature, the delegation of the account that made it, and a call of some contract, the account
/// itself by default, that initialises the delegated account.
pub fn erc8010(
    signature: &[u8],
    authorization: &Authorization,
    initialisation: Option<(Option<Address>, &[u8])>,
) -> Vec<u8> {
    let (to, data) = initialisation.unwrap_or_default();
    let tuple = AuthorizationTuple {
        chainId: U256::from(authorization.chain_id),
        delegation: authorization.delegation,
        nonce: U256::from(authorization.nonce),
        yParity: authorization.y_parity,
        r: authorization.r,
        s: authorization.s,
    };
    let to = to.unwrap_or(authorization.authority);
    let suffix = (tuple, to, Bytes::copy_from_slice(data)).abi_encode_params();
    [
        signature,
        &suffix,
        &U256::from(suffix.len()).to_be_bytes::<32>(),
        &[0x80, 0x10].repeat(16),
    ]
    .concat()
}

/// An account that belongs to whoever owns a token that anybody may buy, and somebody who has the money.
pub struct Market<'a> {
    chain: &'a Chain,
    token: Address,
    buyer: Address,
}

impl<'a> Market<'a> {
    /// Deploys both.
    pub async fn new(chain: &'a Chain) -> anyhow::Result<Self> {
        let token = chain.deploy_own("ForSale").await?;
        let buyer = chain.deploy_own("Buyer").await?;
        // 5 Ether.
        let money = json!([buyer.to_string(), "0x4563918244f40000"]);
        chain.call("anvil_setBalance", money).await?;
        Ok(Self {
            chain,
            token,
            buyer,
        })
    }

    /// Whom the buyer's money is spent by.
    pub fn buyer(&self) -> Address {
        self.buyer
    }

    /// Mints token `id` to an owner; its account, deployed or not.
    pub async fn account(
        &self,
        id: u64,
        owner: Address,
        deployed: bool,
    ) -> anyhow::Result<Address> {
        let id = U256::from(id);
        let mint = ForSale::mintCall { to: owner, id };
        self.chain.transact(self.token, &mint).await?;
        if deployed {
            let create = ForSale::createAccountCall { id };
            self.chain.transact(self.token, &create).await?;
        }
        self.chain
            .read(self.token, &ForSale::accountOfCall { id })
            .await
    }

    /// Who owns token `id`.
    pub async fn owner_of(&self, id: u64) -> anyhow::Result<Address> {
        let call = ForSale::ownerOfCall { id: U256::from(id) };
        self.chain.read(self.token, &call).await
    }

    /// Calldata with which the buyer buys a token for somebody and has its account deployed.
    pub fn buy_and_deploy(&self, id: u64, to: Address) -> Vec<u8> {
        let call = Buyer::buyAndDeployCall {
            token: self.token,
            id: U256::from(id),
            to,
        };
        call.abi_encode()
    }

    /// Calldata with which whoever delegates to the buyer's code has the buyer called.
    pub fn relay(&self, data: Vec<u8>) -> Vec<u8> {
        let call = Buyer::relayCall {
            target: self.buyer,
            data: data.into(),
        };
        call.abi_encode()
    }
}

/// The delegate registry, at its address.
pub struct Registry<'a> {
    chain: &'a Chain,
}

impl<'a> Registry<'a> {
    /// Puts it on a chain.
    pub async fn new(chain: &'a Chain) -> anyhow::Result<Self> {
        chain.put_delegate_registry().await?;
        Ok(Self { chain })
    }

    /// `from` names `to` to act for it in everything, or no longer.
    pub async fn delegate_all(
        &self,
        from: Address,
        to: Address,
        rights: B256,
        enable: bool,
    ) -> anyhow::Result<()> {
        let call = DelegateRegistry::delegateAllCall { to, rights, enable };
        self.chain.transact_as(from, REGISTRY, &call).await
    }

    /// `from` names `to` to act for it with all tokens of a contract, or no longer.
    pub async fn delegate_contract(
        &self,
        from: Address,
        to: Address,
        contract: Address,
        rights: B256,
        enable: bool,
    ) -> anyhow::Result<()> {
        let call = DelegateRegistry::delegateContractCall {
            to,
            contract_: contract,
            rights,
            enable,
        };
        self.chain.transact_as(from, REGISTRY, &call).await
    }

    /// `from` names `to` to act for it with one ERC-721 token, or no longer.
    pub async fn delegate_erc721(
        &self,
        from: Address,
        to: Address,
        contract: Address,
        token_id: U256,
        rights: B256,
        enable: bool,
    ) -> anyhow::Result<()> {
        let call = DelegateRegistry::delegateERC721Call {
            to,
            contract_: contract,
            tokenId: token_id,
            rights,
            enable,
        };
        self.chain.transact_as(from, REGISTRY, &call).await
    }

    /// `from` names `to` to act for it with an amount of an ERC-20 token; 0 takes it back.
    pub async fn delegate_erc20(
        &self,
        from: Address,
        to: Address,
        contract: Address,
        rights: B256,
        amount: U256,
    ) -> anyhow::Result<()> {
        let call = DelegateRegistry::delegateERC20Call {
            to,
            contract_: contract,
            rights,
            amount,
        };
        self.chain.transact_as(from, REGISTRY, &call).await
    }

    /// `from` names `to` to act for it with an amount of an ERC-1155 token kind; 0 takes it back.
    pub async fn delegate_erc1155(
        &self,
        from: Address,
        to: Address,
        contract: Address,
        token_id: U256,
        rights: B256,
        amount: U256,
    ) -> anyhow::Result<()> {
        let call = DelegateRegistry::delegateERC1155Call {
            to,
            contract_: contract,
            tokenId: token_id,
            rights,
            amount,
        };
        self.chain.transact_as(from, REGISTRY, &call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorizations_and_wrappers_agree_with_ox() {
        let path = crate::root().join("tests/vectors/erc8010/wrap.json");
        let vectors: Vec<Value> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(vectors.len(), 4);
        for vector in vectors {
            let text = |name: &str| vector[name].as_str();
            let wallet = Wallet::from_key(text("private_key").unwrap().parse().unwrap()).unwrap();
            let signature = wallet.sign_hash(text("hash").unwrap().parse().unwrap());
            assert_eq!(vector["signature"], hex::encode_prefixed(&signature));

            let authorization = authorization(
                &wallet,
                vector["chain_id"].as_u64().unwrap(),
                text("delegation").unwrap().parse().unwrap(),
                vector["nonce"].as_u64().unwrap(),
            );
            assert_eq!(
                vector["authorization"],
                json!({
                    "y_parity": authorization.y_parity,
                    "r": B256::from(authorization.r).to_string(),
                    "s": B256::from(authorization.s).to_string(),
                })
            );

            let to = text("to").map(|to| to.parse().unwrap());
            let data = text("data").map(|data| hex::decode(data).unwrap());
            let initialisation = data.as_deref().map(|data| (to, data));
            let wrapped = erc8010(&signature, &authorization, initialisation);
            assert_eq!(vector["wrapped"], hex::encode_prefixed(wrapped));
        }
    }
}
