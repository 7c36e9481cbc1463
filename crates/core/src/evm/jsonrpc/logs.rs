//! Replies to `eth_getLogs`, read one log at a time: what is held is one log and what the reader keeps of the others.

use std::cell::RefCell;
use std::fmt;
use std::ops::ControlFlow;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{ID, NodeError, Reply, ReplyError, bytes, number, result};
use crate::Address;
use crate::transfer::Log;

/// Hands the logs in a reply to [`eth_get_logs`](super::eth_get_logs) over, in the order of the reply, until `take` breaks
/// off; whether it did. Of a reply that turns out to be none some logs may have been handed over.
///
/// # Errors
/// [`ReplyError`], also where a single log is none: a list with a gap would pass for a whole one.
pub fn logs(
    body: &[u8],
    take: impl FnMut(Log) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ReplyError> {
    let reader = Reader {
        take: RefCell::new(take),
        stopped: RefCell::new(false),
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let reply = WholeReply(&reader).deserialize(&mut json);
    if *reader.stopped.borrow() {
        return Ok(ControlFlow::Break(()));
    }
    let reply = reply.map_err(|_| ReplyError::Malformed)?;
    json.end().map_err(|_| ReplyError::Malformed)?;
    result(reply, ID)?;
    Ok(ControlFlow::Continue(()))
}

struct Reader<F> {
    take: RefCell<F>,
    stopped: RefCell<bool>,
}

/// A reply whose result is handed over while it is read.
struct WholeReply<'a, F>(&'a Reader<F>);

impl<'de, F: FnMut(Log) -> ControlFlow<()>> DeserializeSeed<'de> for WholeReply<'_, F> {
    type Value = Reply<()>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Log) -> ControlFlow<()>> Visitor<'de> for WholeReply<'_, F> {
    type Value = Reply<()>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC reply")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut jsonrpc, mut id) = (String::new(), Value::Null);
        let (mut listed, mut error): (_, Option<NodeError>) = (None, None);
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "jsonrpc" => jsonrpc = members.next_value()?,
                "id" => id = members.next_value()?,
                "error" => error = members.next_value()?,
                "result" if listed.is_some() => return Err(A::Error::duplicate_field("result")),
                "result" => listed = members.next_value_seed(List(self.0))?,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Reply {
            jsonrpc,
            id,
            result: listed,
            error,
        })
    }
}

/// A list of logs, or null.
struct List<'a, F>(&'a Reader<F>);

impl<'de, F: FnMut(Log) -> ControlFlow<()>> DeserializeSeed<'de> for List<'_, F> {
    type Value = Option<()>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Log) -> ControlFlow<()>> Visitor<'de> for List<'_, F> {
    type Value = Option<()>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of logs")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while let Some(written) = list.next_element::<Written>()? {
            let log = written.read().ok_or_else(|| A::Error::custom("no log"))?;
            let Self(reader) = &self;
            if (reader.take.borrow_mut())(log).is_break() {
                reader.stopped.replace(true);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(Some(()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    address: Address,
    topics: Vec<String>,
    data: String,
    block_number: String,
    #[serde(default)]
    removed: bool,
}

impl Written {
    fn read(&self) -> Option<Log> {
        let topics = self.topics.iter();
        let topics = topics.map(|topic| bytes(topic)?.try_into().ok());
        let topics: Vec<[u8; 32]> = topics.collect::<Option<_>>()?;
        Some(Log {
            address: self.address,
            topics: Some(topics).filter(|topics| topics.len() <= 4)?,
            data: bytes(&self.data)?,
            block: number(&self.block_number)?,
            removed: self.removed,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(body: &[u8]) -> Result<Vec<Log>, ReplyError> {
        let mut read = Vec::new();
        let outcome = logs(body, |log| {
            read.push(log);
            ControlFlow::Continue(())
        });
        assert_ne!(outcome, Ok(ControlFlow::Break(())));
        outcome.map(|_| read)
    }

    #[test]
    fn logs_are_read_whole_or_not_at_all() {
        let written = json!({
            "address": format!("0x{}", "01".repeat(20)),
            "topics": [format!("0x{}", "0a".repeat(32)), format!("0x{}", "0b".repeat(32))],
            "data": "0x00ff",
            "blockNumber": "0x10",
            "blockHash": "0x", "logIndex": "0x0", "removed": false,
        });
        let body = |result: Value| json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
        let log = Log {
            address: Address::from_bytes([1; 20]),
            topics: vec![[10; 32], [11; 32]],
            data: vec![0, 255],
            block: 16,
            removed: false,
        };
        let read = all(body(json!([written, written])).as_bytes());
        assert_eq!(read, Ok(vec![log.clone(), log]));
        assert_eq!(all(body(json!([])).as_bytes()), Ok(Vec::new()));
        for (member, broken) in [
            ("address", json!("0x01")),
            ("address", Value::Null),
            ("topics", json!(["0x0a"])),
            ("topics", json!(vec![format!("0x{}", "0a".repeat(32)); 5])),
            ("topics", json!("0x")),
            ("data", json!("ff")),
            ("data", Value::Null),
            // Of a block that is not made yet.
            ("blockNumber", Value::Null),
            ("blockNumber", json!("16")),
            ("removed", json!("no")),
        ] {
            let mut other = written.clone();
            other[member] = broken;
            let read = all(body(json!([written, other])).as_bytes());
            assert_eq!(read, Err(ReplyError::Malformed), "{member}: {other}");
        }
        for broken in [Value::Null, json!({}), json!([null]), json!(["0x"])] {
            let read = all(body(broken.clone()).as_bytes());
            assert_eq!(read, Err(ReplyError::Malformed), "{broken}");
        }
        let refused =
            br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"range too large"}}"#;
        assert_eq!(all(refused), Err(ReplyError::Node { code: -32602 }));
    }

    #[test]
    fn reading_ends_where_the_reader_breaks_off_whatever_follows() {
        let written = json!({
            "address": format!("0x{}", "01".repeat(20)), "topics": [], "data": "0x", "blockNumber": "0x10",
        });
        let whole = json!({"jsonrpc": "2.0", "id": 1, "result": vec![written; 9]}).to_string();
        for body in [whole.as_bytes(), &whole.as_bytes()[..whole.len() - 20]] {
            let mut count = 0;
            let outcome = logs(body, |_| {
                count += 1;
                match count {
                    3 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            });
            assert_eq!((outcome, count), (Ok(ControlFlow::Break(())), 3));
        }
    }

    #[test]
    fn only_the_reply_to_the_request_is_one() {
        for broken in [
            r#"{"jsonrpc":"2.0","id":2,"result":[]}"#,
            r#"{"jsonrpc":"1.0","id":1,"result":[]}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[],"result":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[]}{}"#,
            r#"{"result":[]}"#,
            "[]",
            "",
        ] {
            assert_eq!(
                all(broken.as_bytes()),
                Err(ReplyError::Malformed),
                "{broken}"
            );
        }
    }
}
