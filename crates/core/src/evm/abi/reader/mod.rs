//! The reader: any number of reads in one `eth_call`, at one block, of which none can write, burn the others' gas or make
//! the answer long. Its code, and the format of request and answer, are those of `contracts/Reader.yul`.

use std::fmt;
use std::ops::Range;

use crate::block::{BlockId, ExecutionBlock};
use crate::fact::{Read, Unreadable, Value};
use crate::jsonrpc::Call;
use crate::{Address, ChainId, U256};

/// Code of the reader, in hexadecimal; `tests/contracts/build.mjs` makes it.
const CODE: &str = include_str!("../../../../contracts/Reader.hex");

/// Where the reader is while a state override lets it be there. Nobody has the key.
pub const ADDRESS: Address = Address::from_bytes(*b"tokengate reader at!");

/// The most bytes of creation code (EIP-3860), and of what it returns (EIP-170).
const MAX_INIT_CODE_LEN: usize = 49_152;
const MAX_CODE_LEN: usize = 24_576;

/// The gas that a byte of code is taken to cost where the configuration says nothing: 200 today, 1,530 by EIP-8037.
pub const DEPOSIT_GAS: u16 = 1_530;

/// The gas that a call of contracts names, more where it has more reads than this is enough for. It bounds the time that a
/// hostile contract can cost a node, whose own bound may be ten times as much.
pub const GAS: u64 = 30_000_000;
const GAS_PER_READ: u64 = 100_000;

/// The most bytes of a revert that are kept: a selector, and `Error(string)` of up to 96 characters.
const MAX_REVERT_LEN: usize = 164;

/// Bytes before the reads, in a request and in an answer, and before the bytes of one read in an answer.
const REQUEST_HEAD: usize = 16;
const ANSWER_HEAD: usize = 112;
const PART_HEAD: usize = 6;

const BALANCE: u8 = 0x01;
const DYNAMIC: u8 = 0x02;
const SAME_TARGET: u8 = 0x04;
const SAME_CALLDATA: u8 = 0x08;
const SLICED: u8 = 0x10;
const REVERT_WANTED: u8 = 0x20;

const SUCCESS: u8 = 0x01;
const SPENT: u8 = 0x02;
const WHOLE: u8 = 0x04;

/// How a chain's state is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By the reader, whose code a state override lends to [`ADDRESS`] while the call runs.
    Override,
    /// By the reader as creation code, in a call without a destination.
    Creation,
    /// By a reader that is deployed here.
    Deployed(Address),
    /// By a JSON-RPC call for each read.
    Calls,
}

/// As the configuration spells it.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Override => f.write_str("override"),
            Self::Creation => f.write_str("creation"),
            Self::Deployed(address) => address.fmt(f),
            Self::Calls => f.write_str("calls"),
        }
    }
}

/// How much one call may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Reads.
    pub reads: usize,
    /// Bytes of the request.
    pub request: usize,
    /// Bytes of the answer.
    pub answer: usize,
}

impl Limits {
    /// These, as far as `form` allows so much.
    #[must_use]
    pub fn of(self, form: Form) -> Self {
        match form {
            Form::Creation => Self {
                request: self.request.min(MAX_INIT_CODE_LEN - CODE.len() / 2),
                answer: self.answer.min(MAX_CODE_LEN),
                ..self
            },
            Form::Override | Form::Deployed(_) | Form::Calls => self,
        }
    }
}

/// Which of the bytes that a contract returns a read needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// So many bytes lead.
    pub(crate) skip: u16,
    /// So many are wanted; at most, where they are found by their offset.
    pub(crate) take: u16,
    /// Whether the word at `skip` is the offset of a `bytes` or `string`, which is wanted in its place.
    pub(crate) is_dynamic: bool,
}

impl Slice {
    /// The first word, and nothing else.
    pub(crate) const WORD: Self = Self {
        skip: 0,
        take: 32,
        is_dynamic: false,
    };
}

/// Why an answer is none of the reader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReaderError {
    /// Not the reader's answer: the node or the chain does not run such a call. Says nothing about the provider.
    #[error("the answer is not the reader's; see `reader`")]
    Unsupported,
    /// The reader's answer, of another chain.
    #[error("the provider serves another chain")]
    WrongChain,
}

/// One call of the reader: reads on a chain, and whether a known block is still part of it.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    chain: ChainId,
    reads: Vec<&'a Read>,
    known: Option<BlockId>,
}

/// What the reader answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// One for each read, in their order.
    pub outcomes: Vec<Outcome>,
    /// The block they were read at, as contracts see it; on an Orbit chain as ArbSys says.
    pub block: ExecutionBlock,
}

/// What became of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it gave.
    pub value: Result<Value, Unreadable>,
    /// Whether it used more than three quarters of its share of the gas: then it may have ended for want of gas, and is
    /// to be asked again alone before anything is concluded from it.
    pub is_spent: bool,
}

impl Outcome {
    /// What it gave, if it was asked alone: then there is no more gas to ask it with.
    pub fn alone(self) -> Result<Value, Unreadable> {
        self.value
            .and_then(|value| (!self.is_spent).then_some(value).ok_or(Unreadable))
    }
}

impl<'a> Reader<'a> {
    /// Prepares `reads` on `chain`. Of `known` it asks whether it is still part of the chain.
    pub const fn new(chain: ChainId, reads: Vec<&'a Read>, known: Option<BlockId>) -> Self {
        Self {
            chain,
            reads,
            known,
        }
    }

    /// The one `eth_call`; none for [`Form::Calls`]. A byte of code is taken to cost `deposit_gas`.
    pub fn call(&self, form: Form, deposit_gas: u16) -> Option<Call> {
        let reads = u64::try_from(self.reads.len()).unwrap_or(u64::MAX);
        let gas = GAS.max(GAS_PER_READ.saturating_mul(reads));
        let call = match form {
            Form::Override => Call::with_code(ADDRESS, code(), self.request(0)),
            Form::Creation => {
                let mut data = code();
                data.extend(self.request(deposit_gas));
                let deposit = u64::from(deposit_gas) * u64::from(self.longest_answer());
                return Some(Call::deployless(data).with_gas(gas.saturating_add(deposit)));
            }
            Form::Deployed(address) => Call::to(address, self.request(0)),
            Form::Calls => return None,
        };
        Some(call.with_gas(gas))
    }

    /// In bytes.
    fn longest_answer(&self) -> u32 {
        let parts = self.reads.iter().map(|read| answer_len(read));
        u32::try_from(ANSWER_HEAD + parts.sum::<usize>()).unwrap_or(u32::MAX)
    }

    fn request(&self, deposit_gas: u16) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut before = Before::default();
        for read in &self.reads {
            parts.extend(before.encode(read));
        }
        let answer = self.longest_answer();
        let count = u16::try_from(self.reads.len()).unwrap_or(u16::MAX);
        let known = self.known.map_or(0, |block| block.number);
        let mut request = Vec::with_capacity(REQUEST_HEAD + parts.len());
        request.extend(deposit_gas.to_be_bytes());
        request.extend(answer.to_be_bytes());
        request.extend(known.to_be_bytes());
        request.extend(count.to_be_bytes());
        request.extend(parts);
        request
    }

    /// Splits the answer into one outcome for each read, and the block.
    ///
    /// # Errors
    /// [`ReaderError`], if nothing in the answer can be believed.
    pub fn decode(&self, returned: &[u8]) -> Result<Answer, ReaderError> {
        let (chain, answer) = self.split(returned).ok_or(ReaderError::Unsupported)?;
        if chain == self.chain.id() {
            Ok(answer)
        } else {
            Err(ReaderError::WrongChain)
        }
    }

    fn split(&self, returned: &[u8]) -> Option<(u64, Answer)> {
        let mut rest = returned;
        let chain = U256::from_be_bytes(take::<32>(&mut rest)?);
        let number = u64::from_be_bytes(take(&mut rest)?);
        let timestamp = u64::from_be_bytes(take(&mut rest)?);
        let parent = take::<32>(&mut rest)?;
        let there = take::<32>(&mut rest)?;
        let mut outcomes = Vec::with_capacity(self.reads.len());
        for read in &self.reads {
            let [flags, a, b, c] = take(&mut rest)?;
            let size = u32::from_be_bytes([0, a, b, c]);
            let length = u16::from_be_bytes(take(&mut rest)?);
            let (bytes, others) = rest.split_at_checked(length.into())?;
            rest = others;
            if flags & !(SUCCESS | SPENT | WHOLE) != 0 {
                return None;
            }
            let value = match (flags & SUCCESS != 0, flags & WHOLE != 0) {
                (true, true) => read.decode_slice(usize::try_from(size).ok()?, bytes),
                (true, false) => Err(Unreadable),
                (false, _) => read.reverted(bytes),
            };
            outcomes.push(Outcome {
                value,
                is_spent: flags & SPENT != 0,
            });
        }
        if !rest.is_empty() {
            return None;
        }
        // Blocks too far back, or yet to come, have the hash zero: that says nothing.
        let is_told = |hash: &[u8; 32]| *hash != [0; 32];
        let before = number.checked_sub(1).filter(|_| is_told(&parent));
        let block = ExecutionBlock {
            number,
            timestamp,
            parent: before.map(|number| BlockId {
                number,
                hash: parent,
            }),
            reorged: self
                .known
                .is_some_and(|known| is_told(&there) && there != known.hash),
        };
        Some((u64::try_from(chain).ok()?, Answer { outcomes, block }))
    }
}

fn take<const LENGTH: usize>(rest: &mut &[u8]) -> Option<[u8; LENGTH]> {
    let (taken, others) = rest.split_first_chunk::<LENGTH>()?;
    *rest = others;
    Some(*taken)
}

fn code() -> Vec<u8> {
    // Committed by us, and held to its source by a test: it is hexadecimal.
    hex::decode(CODE.trim_ascii_end()).unwrap_or_default()
}

/// The target and the calldata of the reads before, which need not be said again.
#[derive(Default)]
struct Before {
    target: Option<Address>,
    calldata: Option<Vec<u8>>,
}

impl Before {
    fn encode(&mut self, read: &Read) -> Vec<u8> {
        let slice = read.slice();
        let (target, calldata) = match read.call() {
            Some((target, calldata)) => (target, Some(calldata)),
            None => (read.subject(), None),
        };
        let is_sliced = calldata.is_some() && (slice.skip, slice.take) != (0, 32);
        let is_same_target = self.target == Some(target);
        let is_same_calldata = calldata.is_some() && self.calldata == calldata;
        let kind = [
            (calldata.is_none(), BALANCE),
            (slice.is_dynamic, DYNAMIC),
            (is_same_target, SAME_TARGET),
            (is_same_calldata, SAME_CALLDATA),
            (is_sliced, SLICED),
            (read.is_revert_told(), REVERT_WANTED),
        ];
        let kind = kind.iter().filter(|(is_set, _)| *is_set);
        let mut part = vec![kind.fold(0, |kind, (_, flag)| kind | flag)];
        if !is_same_target {
            part.extend(target.as_bytes());
            self.target = Some(target);
        }
        if is_sliced {
            part.extend(slice.skip.to_be_bytes());
            part.extend(slice.take.to_be_bytes());
        }
        if let Some(calldata) = calldata.filter(|_| !is_same_calldata) {
            // As long as a configuration can make it, it is shorter than that.
            let length = u16::try_from(calldata.len()).unwrap_or(u16::MAX);
            part.extend(length.to_be_bytes());
            part.extend(&calldata);
            self.calldata = Some(calldata);
        }
        part
    }
}

/// The longest answer to a read.
fn answer_len(read: &Read) -> usize {
    let revert = if read.is_revert_told() {
        MAX_REVERT_LEN
    } else {
        0
    };
    PART_HEAD + usize::from(read.slice().take).max(revert)
}

/// The reads in as few pieces as these limits allow. What is too much by itself is a piece of its own.
pub fn pieces(reads: &[Read], limits: Limits) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let (mut before, mut request, mut answer) = (Before::default(), 0, 0);
    for (index, read) in reads.iter().enumerate() {
        let of_answer = answer_len(read);
        let of_request = before.encode(read).len();
        let fits = |piece: &&mut Range<usize>| {
            piece.len() < limits.reads
                && request + of_request <= limits.request
                && answer + of_answer <= limits.answer
        };
        if let Some(piece) = pieces.last_mut().filter(fits) {
            piece.end = index + 1;
            request += of_request;
        } else {
            pieces.push(index..index + 1);
            before = Before::default();
            (request, answer) = (REQUEST_HEAD + before.encode(read).len(), ANSWER_HEAD);
        }
        answer += of_answer;
    }
    pieces
}

#[cfg(test)]
mod tests;
