//! JSON-RPC 2.0 requests to an Ethereum node and their replies.

mod logs;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::erc8010::Authorization;
use crate::{Address, U256};

pub use self::logs::logs;

/// Which state a call reads: an Ethereum block parameter (EIP-1898).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockTag {
    /// The head.
    Latest,
    /// The newest block safe from reorganisation under honest majority.
    Safe,
    /// The newest finalised block.
    Finalized,
    /// The block of this number.
    Number(u64),
    /// The block of this hash, as long as it is part of the chain.
    Hash([u8; 32]),
}

impl BlockTag {
    fn to_json(self) -> Value {
        match self {
            Self::Latest => "latest".into(),
            Self::Safe => "safe".into(),
            Self::Finalized => "finalized".into(),
            Self::Number(number) => format!("{number:#x}").into(),
            Self::Hash(hash) => {
                json!({"blockHash": prefixed(&hash), "requireCanonical": true})
            }
        }
    }
}

/// Why a reply is no result. Says which failures another provider may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not a JSON-RPC 2.0 reply to our request.
    #[error("not a JSON-RPC 2.0 reply to the request")]
    Malformed,
    /// The call ran and the contract reverted, with this data.
    #[error("the call reverted")]
    Reverted(Vec<u8>),
    /// The node reports an error. Its words are left out of ours: some nodes repeat the caller's key in them.
    #[error("the node reports error {code}")]
    Node {
        /// JSON-RPC error code.
        code: i64,
    },
}

impl ReplyError {
    /// Whether it is how a node says that so many requests are too many.
    pub const fn is_rate_limit(&self) -> bool {
        // EIP-1474 "limit exceeded", and what some providers use in its place.
        matches!(self, Self::Node { code: -32005 | 429 })
    }
}

/// One method and its parameters: what a provider is asked, alone or among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    method: &'static str,
    params: Value,
}

impl Request {
    fn to_json(&self, id: u64) -> Value {
        json!({"jsonrpc": "2.0", "id": id, "method": self.method, "params": self.params})
    }

    /// The body that asks this alone. The reply can only be to it.
    pub fn to_body(&self) -> Vec<u8> {
        self.to_json(ID).to_string().into_bytes()
    }
}

/// The id of a request that travels alone.
const ID: u64 = 1;

/// The body that asks all of `requests` at once (JSON-RPC 2.0 section 6).
pub fn batch(requests: &[Request]) -> Vec<u8> {
    let members = (ID..)
        .zip(requests)
        .map(|(id, request)| request.to_json(id));
    Value::from_iter(members).to_string().into_bytes()
}

fn prefixed(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// What `eth_call` runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    from: Option<Address>,
    to: Option<Address>,
    data: Vec<u8>,
    authorization: Option<Value>,
    gas: Option<u64>,
    /// Code that the destination has while the call runs, whatever is there.
    code: Option<Vec<u8>>,
}

/// Who asks. Some contracts take a call from the zero address, which is what nodes put where none is named, for a
/// rehearsal in which signatures need not be checked.
const CALLER: Address = Address::from_bytes(*b"tokengate sign-in ch");

impl Call {
    /// A call of the contract at `to`.
    pub const fn to(to: Address, data: Vec<u8>) -> Self {
        Self {
            from: Some(CALLER),
            to: Some(to),
            data,
            authorization: None,
            gas: None,
            code: None,
        }
    }

    /// A call of `code` at `address`, which need not be deployed: a state override set, the third parameter of `eth_call`
    /// in geth and what follows it. Neither EIP-3860 nor EIP-170 bounds it.
    pub const fn with_code(address: Address, code: Vec<u8>, data: Vec<u8>) -> Self {
        Self {
            from: Some(CALLER),
            to: Some(address),
            data,
            authorization: None,
            gas: None,
            code: Some(code),
        }
    }

    /// A run of creation code that answers with what it would leave as code.
    pub const fn deployless(data: Vec<u8>) -> Self {
        Self {
            from: Some(CALLER),
            to: None,
            data,
            authorization: None,
            gas: None,
            code: None,
        }
    }

    /// The same with so much gas, whatever the node allows: code of strangers must not use more of a node's time than that.
    #[must_use]
    pub const fn with_gas(mut self, gas: u64) -> Self {
        self.gas = Some(gas);
        self
    }

    /// The same, with a delegation in force while it runs (EIP-7702).
    #[must_use]
    pub fn authorized_by(mut self, authorization: &Authorization) -> Self {
        self.from = Some(CALLER);
        self.authorization = Some(authorization.to_json());
        self
    }
}

/// `eth_call`.
pub fn eth_call(call: &Call, block: BlockTag) -> Request {
    let mut transaction = json!({"data": prefixed(&call.data)});
    if let Some(members) = transaction.as_object_mut() {
        for (name, address) in [("from", call.from), ("to", call.to)] {
            if let Some(address) = address {
                members.insert(name.into(), address.to_lower_hex().into());
            }
        }
        if let Some(gas) = call.gas {
            members.insert("gas".into(), format!("{gas:#x}").into());
        }
        if let Some(authorization) = &call.authorization {
            members.insert("authorizationList".into(), json!([authorization]));
        }
    }
    let mut params = vec![transaction, block.to_json()];
    if let Some((to, code)) = call.to.zip(call.code.as_deref()) {
        params.push(json!({to.to_lower_hex(): {"code": prefixed(code)}}));
    }
    Request {
        method: "eth_call",
        params: params.into(),
    }
}

/// `eth_getBalance`.
pub fn eth_get_balance(owner: Address, block: BlockTag) -> Request {
    Request {
        method: "eth_getBalance",
        params: json!([owner.to_lower_hex(), block.to_json()]),
    }
}

/// `eth_chainId`.
pub fn eth_chain_id() -> Request {
    Request {
        method: "eth_chainId",
        params: json!([]),
    }
}

/// `eth_getBlockByNumber`, without the block's transactions.
pub fn eth_get_block_by_number(block: BlockTag) -> Request {
    Request {
        method: "eth_getBlockByNumber",
        params: json!([block.to_json(), false]),
    }
}

/// `eth_getTransactionCount`: an account's nonce.
pub fn eth_get_transaction_count(account: Address, block: BlockTag) -> Request {
    Request {
        method: "eth_getTransactionCount",
        params: json!([account.to_lower_hex(), block.to_json()]),
    }
}

/// `eth_getCode` in any state.
pub fn eth_get_code_at(account: Address, block: BlockTag) -> Request {
    Request {
        method: "eth_getCode",
        params: json!([account.to_lower_hex(), block.to_json()]),
    }
}

/// `eth_getCode` at the head.
pub fn eth_get_code(address: Address) -> Request {
    Request {
        method: "eth_getCode",
        params: json!([address.to_lower_hex(), BlockTag::Latest.to_json()]),
    }
}

/// `eth_getLogs`: what `addresses` wrote in the blocks from one number to another, both included, of which the first
/// topic is one of `topics`.
pub fn eth_get_logs(from: u64, to: u64, addresses: &[Address], topics: &[[u8; 32]]) -> Request {
    let addresses: Vec<_> = addresses.iter().map(Address::to_lower_hex).collect();
    let topics: Vec<_> = topics.iter().map(|topic| prefixed(topic)).collect();
    Request {
        method: "eth_getLogs",
        params: json!([{
            "fromBlock": BlockTag::Number(from).to_json(),
            "toBlock": BlockTag::Number(to).to_json(),
            "address": addresses,
            "topics": [topics],
        }]),
    }
}

/// A block's name and age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// When it was made, in seconds since the epoch.
    pub timestamp: u64,
}

/// A header, and the hash of the block before it where it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkedHeader {
    /// The block.
    pub header: Header,
    /// The hash of the one before it.
    pub parent: Option<[u8; 32]>,
}

#[derive(Deserialize)]
struct Reply<T> {
    jsonrpc: String,
    id: Value,
    #[serde(default = "Option::default")]
    result: Option<T>,
    #[serde(default)]
    error: Option<NodeError>,
}

#[derive(Deserialize)]
struct NodeError {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

impl From<NodeError> for ReplyError {
    fn from(error: NodeError) -> Self {
        // Code 3 is what nodes report a revert by; some say so in words alone.
        let reverted = error.code == 3 || error.message.starts_with("execution reverted");
        if !reverted {
            return Self::Node { code: error.code };
        }
        Self::Reverted(error.data.as_str().and_then(bytes).unwrap_or_default())
    }
}

fn result<T>(reply: Reply<T>, id: u64) -> Result<T, ReplyError> {
    if let Some(error) = reply.error {
        return Err(error.into());
    }
    if reply.jsonrpc != "2.0" || reply.id != json!(id) {
        return Err(ReplyError::Malformed);
    }
    reply.result.ok_or(ReplyError::Malformed)
}

fn alone<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ReplyError> {
    result(
        serde_json::from_slice(body).map_err(|_| ReplyError::Malformed)?,
        ID,
    )
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x")?).ok()
}

fn digits(text: &str) -> Option<&str> {
    text.strip_prefix("0x")
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(digits(text)?, 16).ok()
}

/// The results of a [`batch`] of `count` requests, in the order of the requests; providers may give them in another.
///
/// # Errors
/// [`ReplyError`], where the whole is no batch of exactly these replies: also of a provider that takes no batches.
pub fn batched(body: &[u8], count: usize) -> Result<Vec<Result<Answer, ReplyError>>, ReplyError> {
    let replies: Vec<Reply<Answer>> =
        serde_json::from_slice(body).map_err(|_| match alone::<Answer>(body) {
            Err(error) => error,
            Ok(_) => ReplyError::Malformed,
        })?;
    let mut ordered: Vec<Option<Reply<Answer>>> = Vec::new();
    ordered.resize_with(count, || None);
    for reply in replies {
        let slot = reply
            .id
            .as_u64()
            .and_then(|id| usize::try_from(id.checked_sub(ID)?).ok())
            .and_then(|index| ordered.get_mut(index))
            .ok_or(ReplyError::Malformed)?;
        if slot.replace(reply).is_some() {
            return Err(ReplyError::Malformed);
        }
    }
    (ID..)
        .zip(ordered)
        .map(|(id, reply)| Ok(result(reply.ok_or(ReplyError::Malformed)?, id)))
        .collect()
}

/// The result of one request, as the provider wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Answer(String);

impl Answer {
    /// The only result in a reply.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn read(body: &[u8]) -> Result<Self, ReplyError> {
        alone(body)
    }

    /// As DATA: `0x` and pairs of hexadecimal digits.
    ///
    /// # Errors
    /// [`ReplyError::Malformed`].
    pub fn data(&self) -> Result<Vec<u8>, ReplyError> {
        bytes(&self.0).ok_or(ReplyError::Malformed)
    }

    /// As QUANTITY (`0x` and hexadecimal digits) of at most 256 bits.
    ///
    /// # Errors
    /// [`ReplyError::Malformed`].
    pub fn amount(&self) -> Result<U256, ReplyError> {
        let digits = digits(&self.0).ok_or(ReplyError::Malformed)?;
        U256::from_str_radix(digits, 16).map_err(|_| ReplyError::Malformed)
    }

    /// As QUANTITY of at most 64 bits.
    ///
    /// # Errors
    /// [`ReplyError::Malformed`].
    pub fn quantity(&self) -> Result<u64, ReplyError> {
        number(&self.0).ok_or(ReplyError::Malformed)
    }
}

/// The block in a reply to [`eth_get_block_by_number`]; none where the node does not have it.
///
/// # Errors
/// [`ReplyError`].
pub fn header(body: &[u8]) -> Result<Option<Header>, ReplyError> {
    Ok(header_with_parent(body)?.map(|linked| linked.header))
}

/// The same, and the hash of the block before it, where the reply says it.
///
/// # Errors
/// [`ReplyError`].
pub fn header_with_parent(body: &[u8]) -> Result<Option<LinkedHeader>, ReplyError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Block {
        number: String,
        hash: String,
        timestamp: String,
        #[serde(default)]
        parent_hash: Option<String>,
    }
    let reply: Reply<Value> = serde_json::from_slice(body).map_err(|_| ReplyError::Malformed)?;
    let has_none = reply.error.is_none() && reply.result.is_none() && reply.jsonrpc == "2.0";
    if has_none && reply.id == json!(ID) {
        return Ok(None);
    }
    let block = serde_json::from_value::<Block>(result(reply, ID)?);
    let block = block.map_err(|_| ReplyError::Malformed)?;
    let read = || {
        let header = Header {
            number: number(&block.number)?,
            hash: bytes(&block.hash)?.try_into().ok()?,
            timestamp: number(&block.timestamp)?,
        };
        let parent = match &block.parent_hash {
            Some(hash) => Some(bytes(hash)?.try_into().ok()?),
            None => None,
        };
        Some(LinkedHeader { header, parent })
    };
    read().map(Some).ok_or(ReplyError::Malformed)
}

/// The bytes in a reply whose result is DATA (`0x` and pairs of hexadecimal digits).
///
/// # Errors
/// [`ReplyError`].
pub fn data(body: &[u8]) -> Result<Vec<u8>, ReplyError> {
    Answer::read(body)?.data()
}

/// The number in a reply whose result is a QUANTITY (`0x` and hexadecimal digits).
///
/// # Errors
/// [`ReplyError`], also for quantities beyond 64 bits.
pub fn quantity(body: &[u8]) -> Result<u64, ReplyError> {
    Answer::read(body)?.quantity()
}

#[cfg(test)]
mod tests;
