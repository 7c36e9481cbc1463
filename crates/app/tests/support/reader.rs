//! The reader as a simulated provider runs it: written from the format in `core/contracts/Reader.yul`, apart from the code
//! that speaks it.

use serde_json::Value;

/// What creation code of the reader begins with.
const CODE: &str = include_str!("../../../core/contracts/Reader.hex");

/// A block as the reader tells of it.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) chain: u64,
    pub(crate) number: u64,
    pub(crate) timestamp: u64,
    /// The hash of the block before it.
    pub(crate) parent: [u8; 32],
    /// The hash of the block whose hash was asked for.
    pub(crate) known: [u8; 32],
}

/// One read.
pub(crate) struct Asked {
    pub(crate) target: String,
    /// None for the balance of the target.
    pub(crate) calldata: Option<Vec<u8>>,
    skip: usize,
    take: usize,
    is_dynamic: bool,
    is_revert_wanted: bool,
}

impl Asked {
    /// The function that is called; empty for a balance.
    pub(crate) fn selector(&self) -> String {
        let calldata = self.calldata.as_deref().unwrap_or_default();
        hex::encode(&calldata[..calldata.len().min(4)])
    }
}

/// What becomes of a read.
pub(crate) enum Outcome {
    Returned(Vec<u8>),
    Reverted(Vec<u8>),
    /// It burns all of its gas.
    Burnt,
}

pub(crate) fn word(value: u64) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&value.to_be_bytes());
    word
}

/// The request in the parameters of an `eth_call`, if it is one to the reader.
pub(crate) fn request(params: &Value) -> Option<Vec<Asked>> {
    let data = params[0]["data"].as_str()?.strip_prefix("0x")?;
    let lent = params[2].as_object().map(|accounts| {
        let account = &accounts[params[0]["to"].as_str().unwrap()];
        account["code"].as_str().unwrap()[2..] == *CODE.trim()
    });
    let data = match lent {
        Some(is_reader) => is_reader.then_some(data)?,
        None if params[0]["to"].is_null() => data.strip_prefix(CODE.trim())?,
        None => return None,
    };
    let data = hex::decode(data).unwrap();
    let mut rest = &data[14..];
    let mut take = |length: usize| {
        let (taken, others) = rest.split_at(length);
        rest = others;
        taken.to_vec()
    };
    let number = |bytes: Vec<u8>| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let count = number(take(2));
    let (mut target, mut calldata) = (String::new(), Vec::new());
    let asked = (0..count).map(|_| {
        let kind = take(1)[0];
        let has = |flag: u8| kind & flag != 0;
        if !has(0x04) {
            target = format!("0x{}", hex::encode(take(20)));
        }
        let (skip, length) = if has(0x10) {
            (number(take(2)), number(take(2)))
        } else {
            (0, 32)
        };
        if !has(0x01) && !has(0x08) {
            let length = number(take(2));
            calldata = take(length);
        }
        Asked {
            target: target.clone(),
            calldata: (!has(0x01)).then(|| calldata.clone()),
            skip,
            take: length,
            is_dynamic: has(0x02),
            is_revert_wanted: has(0x20),
        }
    });
    let asked = asked.collect();
    assert!(rest.is_empty(), "bytes behind the reads");
    Some(asked)
}

/// What the reader answers, in hexadecimal.
pub(crate) fn answer(
    block: Block,
    asked: &[Asked],
    mut outcome: impl FnMut(&Asked) -> Outcome,
) -> String {
    let mut answer = word(block.chain).to_vec();
    answer.extend(block.number.to_be_bytes());
    answer.extend(block.timestamp.to_be_bytes());
    answer.extend(block.parent);
    answer.extend(block.known);
    for read in asked {
        let (flags, size, bytes) = match outcome(read) {
            Outcome::Returned(data) => {
                let wanted = wanted(read, &data);
                let flags = 0x01 | if wanted.is_some() { 0x04 } else { 0 };
                (flags, data.len(), wanted.unwrap_or_default())
            }
            Outcome::Reverted(data) if read.is_revert_wanted => {
                let kept = data[..data.len().min(164)].to_vec();
                (0, data.len(), kept)
            }
            Outcome::Reverted(data) => (0, data.len(), Vec::new()),
            Outcome::Burnt => (0x02, 0, Vec::new()),
        };
        answer.push(flags);
        answer.extend(&u32::try_from(size).unwrap().to_be_bytes()[1..]);
        answer.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        answer.extend(bytes);
    }
    hex::encode(answer)
}

fn wanted(read: &Asked, data: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| {
        let bytes = data.get(at..)?.get(24..32)?;
        usize::try_from(u64::from_be_bytes(bytes.try_into().unwrap())).ok()
    };
    let (from, length) = if read.is_dynamic {
        let start = word(read.skip)?;
        (
            start + 32,
            word(start).filter(|length| *length <= read.take)?,
        )
    } else {
        (read.skip, read.take)
    };
    Some(data.get(from..)?.get(..length)?.to_vec())
}
