//! What an operator asks a node about itself: requests that no decision makes, and strict readers of their replies.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{BlockTag, Call, ReplyError, eth_chain_id, request};
use crate::Address;

/// What is read of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// When it was made: seconds since the epoch.
    pub timestamp: u64,
}

/// The body of an `eth_getBlockByNumber`, without the block's transactions.
pub fn eth_get_block_by_number(block: BlockTag) -> Vec<u8> {
    request("eth_getBlockByNumber", &json!([block.to_json(), false]))
}

/// The body of an `eth_getCode` at the head.
pub fn eth_get_code(address: Address) -> Vec<u8> {
    let address = address.to_lower_hex();
    request("eth_getCode", &json!([address, BlockTag::Latest.to_json()]))
}

/// The body of an `eth_call` at the block of this hash (EIP-1898). Of `call` the contract and its calldata are sent.
pub fn eth_call_at_hash(call: &Call, hash: &[u8; 32]) -> Vec<u8> {
    let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    let to = call.to.map(|to| to.to_lower_hex());
    let transaction = json!({"to": to, "data": hex(&call.data)});
    request("eth_call", &json!([transaction, {"blockHash": hex(hash)}]))
}

/// Two `eth_chainId` in one body (JSON-RPC 2.0, section 6).
pub fn batch() -> Vec<u8> {
    let one = eth_chain_id();
    [b"[", one.as_slice(), b",", one.as_slice(), b"]"].concat()
}

/// Whether `body` answers a [`batch`] of two as a batch.
pub fn is_batch(body: &[u8]) -> bool {
    serde_json::from_slice::<Vec<Reply>>(body).is_ok_and(|replies| {
        replies.len() == 2 && replies.into_iter().all(|one| one.read().is_ok())
    })
}

/// The block in a reply to [`eth_get_block_by_number`]; `None` is a block that the node does not have.
///
/// # Errors
/// [`ReplyError`].
pub fn block(body: &[u8]) -> Result<Option<Block>, ReplyError> {
    #[derive(Deserialize)]
    struct Header {
        number: String,
        hash: String,
        timestamp: String,
    }

    let reply: Reply = serde_json::from_slice(body).map_err(|_| ReplyError::Malformed)?;
    let result = reply.read()?;
    if result.is_null() {
        return Ok(None);
    }
    let header: Header = serde_json::from_value(result).map_err(|_| ReplyError::Malformed)?;
    let mut hash = [0; 32];
    let digits = header.hash.strip_prefix("0x").unwrap_or_default();
    hex::decode_to_slice(digits, &mut hash).map_err(|_| ReplyError::Malformed)?;
    Ok(Some(Block {
        number: number(&header.number)?,
        hash,
        timestamp: number(&header.timestamp)?,
    }))
}

#[derive(Deserialize)]
struct Reply {
    jsonrpc: String,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: i64,
}

impl Reply {
    fn read(self) -> Result<Value, ReplyError> {
        match self.error {
            Some(Failure { code }) => Err(ReplyError::Node { code }),
            None if self.jsonrpc == "2.0" => Ok(self.result),
            None => Err(ReplyError::Malformed),
        }
    }
}

fn number(text: &str) -> Result<u64, ReplyError> {
    let digits = text
        .strip_prefix("0x")
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()));
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(ReplyError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_nodes_expect_them() {
        let read = |body: Vec<u8>| serde_json::from_slice::<Value>(&body).unwrap();
        let block = read(eth_get_block_by_number(BlockTag::Safe));
        assert_eq!(block["method"], "eth_getBlockByNumber");
        assert_eq!(block["params"], json!(["safe", false]));
        let call = Call::to(Address::from_bytes([1; 20]), vec![0xab]);
        let by_hash = read(eth_call_at_hash(&call, &[7; 32]));
        assert_eq!(
            by_hash["params"][1],
            json!({"blockHash": format!("0x{}", "07".repeat(32))})
        );
        assert_eq!(by_hash["params"][0]["data"], "0xab");
        assert_eq!(read(batch()).as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_block_is_read_with_its_number_hash_and_time() {
        let hash = format!("0x{}", "07".repeat(32));
        let reply = |result: Value| {
            json!({"jsonrpc": "2.0", "id": 1, "result": result})
                .to_string()
                .into_bytes()
        };
        let whole = json!({"number": "0x10", "hash": hash, "timestamp": "0x6000", "extra": []});
        assert_eq!(
            block(&reply(whole)),
            Ok(Some(Block {
                number: 16,
                hash: [7; 32],
                timestamp: 0x6000
            }))
        );
        assert_eq!(block(&reply(Value::Null)), Ok(None));
        for broken in [
            json!({}),
            json!("0x10"),
            json!({"number": 16, "hash": hash, "timestamp": "0x6000"}),
            json!({"number": "0x10", "hash": "0x07", "timestamp": "0x6000"}),
            json!({"number": "0x10", "hash": hash, "timestamp": "0x10000000000000000"}),
        ] {
            assert_eq!(
                block(&reply(broken.clone())),
                Err(ReplyError::Malformed),
                "{broken}"
            );
        }
        assert_eq!(
            block(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no tag"}}"#),
            Err(ReplyError::Node { code: -32602 })
        );
    }

    #[test]
    fn a_batch_is_answered_by_as_many_results() {
        let one = r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#;
        assert!(is_batch(format!("[{one},{one}]").as_bytes()));
        let refused = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"no"}}"#;
        for body in [
            one.to_owned(),
            format!("[{one}]"),
            format!("[{one},{refused}]"),
            refused.to_owned(),
            "[]".to_owned(),
        ] {
            assert!(!is_batch(body.as_bytes()), "{body}");
        }
    }
}
