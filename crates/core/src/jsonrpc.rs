//! JSON-RPC 2.0 requests to an Ethereum node and their replies.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Address;
use crate::erc8010::Authorization;

/// Which state a call reads: an Ethereum block parameter.
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
}

impl BlockTag {
    fn to_json(self) -> Value {
        match self {
            Self::Latest => "latest".into(),
            Self::Safe => "safe".into(),
            Self::Finalized => "finalized".into(),
            Self::Number(number) => format!("{number:#x}").into(),
        }
    }
}

/// Why a reply is no result. Says which failures another provider may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not a JSON-RPC 2.0 reply to our request.
    #[error("not a JSON-RPC 2.0 reply to the request")]
    Malformed,
    /// The node reports an error. Its words are left out of ours: some nodes repeat the caller's key in them.
    #[error("the node reports error {code}")]
    Node {
        /// JSON-RPC error code.
        code: i64,
    },
}

/// The id of every request: each travels alone, so the reply can only be to it.
const ID: u64 = 1;

fn request(method: &str, params: &Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": ID, "method": method, "params": params})
        .to_string()
        .into_bytes()
}

/// What `eth_call` runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    from: Option<Address>,
    to: Option<Address>,
    data: Vec<u8>,
    authorization: Option<Value>,
}

/// Who asks about signatures. Some contracts take a call from the zero address, which is what nodes put where none is
/// named, for a rehearsal in which signatures need not be checked.
const CALLER: Address = Address::from_bytes(*b"tokengate sign-in ch");

impl Call {
    /// A call of the contract at `to`.
    pub const fn to(to: Address, data: Vec<u8>) -> Self {
        Self {
            from: None,
            to: Some(to),
            data,
            authorization: None,
        }
    }

    /// A run of creation code that answers with what it would leave as code.
    pub const fn deployless(data: Vec<u8>) -> Self {
        Self {
            from: Some(CALLER),
            to: None,
            data,
            authorization: None,
        }
    }

    /// The same, with a delegation in force while it runs (EIP-7702).
    #[must_use]
    pub fn authorized_by(mut self, authorization: &Authorization) -> Self {
        self.from = Some(CALLER);
        self.authorization = Some(authorization.to_json());
        self
    }
}

/// The body of an `eth_call`.
pub fn eth_call(call: &Call, block: BlockTag) -> Vec<u8> {
    let mut transaction = json!({"data": format!("0x{}", hex::encode(&call.data))});
    if let Some(members) = transaction.as_object_mut() {
        for (name, address) in [("from", call.from), ("to", call.to)] {
            if let Some(address) = address {
                members.insert(name.into(), address.to_lower_hex().into());
            }
        }
        if let Some(authorization) = &call.authorization {
            members.insert("authorizationList".into(), json!([authorization]));
        }
    }
    request("eth_call", &json!([transaction, block.to_json()]))
}

/// The body of an `eth_blockNumber`.
pub fn eth_block_number() -> Vec<u8> {
    request("eth_blockNumber", &json!([]))
}

/// The body of an `eth_chainId`.
pub fn eth_chain_id() -> Vec<u8> {
    request("eth_chainId", &json!([]))
}

#[derive(Deserialize)]
struct Reply {
    jsonrpc: String,
    id: Value,
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    error: Option<NodeError>,
}

#[derive(Deserialize)]
struct NodeError {
    code: i64,
}

fn result(body: &[u8]) -> Result<String, ReplyError> {
    let reply: Reply = serde_json::from_slice(body).map_err(|_| ReplyError::Malformed)?;
    if let Some(NodeError { code }) = reply.error {
        return Err(ReplyError::Node { code });
    }
    if reply.jsonrpc != "2.0" || reply.id != json!(ID) {
        return Err(ReplyError::Malformed);
    }
    reply.result.ok_or(ReplyError::Malformed)
}

/// The bytes in a reply whose result is DATA (`0x` and pairs of hexadecimal digits).
///
/// # Errors
/// [`ReplyError`].
pub fn data(body: &[u8]) -> Result<Vec<u8>, ReplyError> {
    let text = result(body)?;
    text.strip_prefix("0x")
        .and_then(|digits| hex::decode(digits).ok())
        .ok_or(ReplyError::Malformed)
}

/// The number in a reply whose result is a QUANTITY (`0x` and hexadecimal digits).
///
/// # Errors
/// [`ReplyError`], also for quantities beyond 64 bits.
pub fn quantity(body: &[u8]) -> Result<u64, ReplyError> {
    let text = result(body)?;
    let digits = text
        .strip_prefix("0x")
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or(ReplyError::Malformed)?;
    u64::from_str_radix(digits, 16).map_err(|_| ReplyError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_encoded_as_nodes_expect_them() {
        let body = |call| -> Value {
            serde_json::from_slice(&eth_call(&call, BlockTag::Number(255))).unwrap()
        };
        assert_eq!(
            body(Call::to(Address::from_bytes([1; 20]), vec![0xab, 0xcd])),
            json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{"to": "0x0101010101010101010101010101010101010101", "data": "0xabcd"}, "0xff"]})
        );
        // A check of a signature has a caller, so that no contract takes it for a rehearsal.
        assert_eq!(
            body(Call::deployless(vec![0xab]))["params"][0],
            json!({"from": CALLER.to_lower_hex(), "data": "0xab"})
        );
    }

    #[test]
    fn results_are_read() {
        assert_eq!(
            data(br#"{"jsonrpc":"2.0","id":1,"result":"0x00ff"}"#),
            Ok(vec![0, 255])
        );
        assert_eq!(
            data(br#"{"jsonrpc":"2.0","id":1,"result":"0x"}"#),
            Ok(vec![])
        );
        assert_eq!(
            quantity(br#"{"jsonrpc":"2.0","id":1,"result":"0x7a69","error":null}"#),
            Ok(31337)
        );
    }

    #[test]
    fn everything_else_is_no_result() {
        for body in [
            &b""[..],
            b"<html>",
            br#"{"jsonrpc":"2.0","id":1,"result":"0x00ff"#,
            br#"{"jsonrpc":"2.0","id":2,"result":"0x00"}"#,
            br#"{"jsonrpc":"2.0","id":"1","result":"0x00"}"#,
            br#"{"jsonrpc":"1.0","id":1,"result":"0x00"}"#,
            br#"{"jsonrpc":"2.0","id":1,"result":null}"#,
            br#"{"jsonrpc":"2.0","id":1,"result":0}"#,
            br#"{"jsonrpc":"2.0","id":1,"result":"00"}"#,
            br#"{"jsonrpc":"2.0","id":1,"result":"0x0"}"#,
            br#"{"jsonrpc":"2.0","id":1}"#,
            br#"[{"jsonrpc":"2.0","id":1,"result":"0x00"}]"#,
        ] {
            assert_eq!(
                data(body),
                Err(ReplyError::Malformed),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
        for result in ["0x", "7", "0x-1", "0x+1", "0x10000000000000000"] {
            assert_eq!(
                quantity(format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{result}"}}"#).as_bytes()),
                Err(ReplyError::Malformed),
                "{result}"
            );
        }
        let error =
            data(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"slow down"}}"#);
        assert_eq!(error, Err(ReplyError::Node { code: -32005 }));
    }
}
