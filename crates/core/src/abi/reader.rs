//! The reader: any number of reads in one `eth_call`, at one block, of which none can write, burn the others' gas or make
//! the answer long. Its code, and the format of request and answer, are those of `contracts/Reader.yul`.

use std::fmt;
use std::ops::Range;

use crate::block::{BlockId, ExecutionBlock};
use crate::fact::{Read, Unreadable, Value};
use crate::jsonrpc::Call;
use crate::{Address, ChainId, U256};

/// Code of the reader, in hexadecimal; `tests/contracts/build.mjs` makes it.
const CODE: &str = include_str!("../../contracts/Reader.hex");

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
mod tests {
    use super::*;
    use crate::abi::view::{Function, Returned};
    use crate::jsonrpc::{self, BlockTag};
    use proptest::prelude::*;

    const OWNER: Address = Address::from_bytes([7; 20]);
    const CONTRACT: Address = Address::from_bytes([9; 20]);

    fn chain() -> ChainId {
        ChainId::new(31337).unwrap()
    }

    fn balance(contract: u8) -> Read {
        Read::Erc721Balance {
            contract: Address::from_bytes([contract; 20]),
            owner: OWNER,
        }
    }

    fn view(returns: &str, which: &str) -> Read {
        let function = format!("function f() view returns ({returns})");
        let function = Function::parse(&function).unwrap();
        Read::View {
            contract: CONTRACT,
            calldata: vec![1, 2, 3, 4],
            element: function.element(which).unwrap(),
        }
    }

    fn owner() -> Read {
        Read::Erc721Owner {
            contract: CONTRACT,
            token_id: U256::from(5),
        }
    }

    fn ids(count: u64) -> Read {
        Read::Erc1155Balances {
            contract: CONTRACT,
            owner: OWNER,
            ids: (0..count).map(U256::from).collect(),
        }
    }

    fn word(value: u64) -> Vec<u8> {
        U256::from(value).to_be_bytes::<32>().to_vec()
    }

    /// What leads an answer, at block 100 of `chain`.
    fn head(chain: u64, known: u8) -> Vec<u8> {
        let mut head = word(chain);
        head.extend(100_u64.to_be_bytes());
        head.extend(1_800_000_000_u64.to_be_bytes());
        head.extend([99; 32]);
        head.extend([known; 32]);
        head
    }

    fn part(flags: u8, size: u32, bytes: &[u8]) -> Vec<u8> {
        let mut part = vec![flags];
        part.extend(&size.to_be_bytes()[1..]);
        part.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        part.extend(bytes);
        part
    }

    fn decode(reads: &[Read], parts: &[Vec<u8>]) -> Result<Answer, ReaderError> {
        let reader = Reader::new(chain(), reads.iter().collect(), None);
        reader.decode(&[head(31337, 0), parts.concat()].concat())
    }

    fn request(reads: &[Read]) -> Vec<u8> {
        Reader::new(chain(), reads.iter().collect(), None).request(0)
    }

    #[test]
    fn the_code_is_hexadecimal_and_short() {
        assert!((1_000..1_200).contains(&code().len()), "{}", code().len());
    }

    #[test]
    fn nothing_in_the_code_can_write() {
        let code = code();
        let (mut at, mut static_calls) = (0, 0);
        while let Some(opcode) = code.get(at) {
            // SSTORE, TSTORE, LOG0 to LOG4, CREATE, CALL, CALLCODE, DELEGATECALL, CREATE2, SELFDESTRUCT.
            let writes = [0x55, 0x5d, 0xf0, 0xf1, 0xf2, 0xf4, 0xf5, 0xff];
            assert!(
                !writes.contains(opcode) && !(0xa0..=0xa4).contains(opcode),
                "{opcode:#x} at {at}"
            );
            static_calls += usize::from(*opcode == 0xfa);
            // What PUSH1 to PUSH32 push is data.
            at += match opcode {
                0x60..=0x7f => usize::from(opcode - 0x5e),
                _ => 1,
            };
        }
        assert_eq!(static_calls, 3, "of ArbSys twice, and of what is read");
    }

    #[test]
    fn what_used_up_its_gas_says_nothing_even_alone() {
        let outcome = |is_spent| Outcome {
            value: Ok(Value::Nobody),
            is_spent,
        };
        assert_eq!(outcome(false).alone(), Ok(Value::Nobody));
        assert_eq!(outcome(true).alone(), Err(Unreadable));
    }

    #[test]
    fn what_is_sent_for_facts_has_a_bound() {
        let facts = |count: u8| (1..=count).map(balance).collect::<Vec<_>>();
        // Of each contract its address; the calldata about the one owner once.
        for (count, most) in [(1, 75), (10, 264), (100, 2_154)] {
            let sent = request(&facts(count)).len();
            assert!(sent <= most, "{count} facts: {sent} bytes");
            println!(
                "{count} facts: {sent} bytes, and the code's {}",
                code().len()
            );
        }
    }

    #[test]
    fn a_request_says_nothing_twice() {
        let reads = [balance(9), balance(8), owner(), owner()];
        let request = request(&reads);
        let length = 16 + (1 + 20 + 2 + 36) + (1 + 20) + (1 + 20 + 2 + 36) + 1;
        assert_eq!(request.len(), length);
        assert_eq!(request[14..16], [0, 4]);
        let kinds = [request[16], request[75], request[96], request[155]];
        assert_eq!(
            kinds,
            [
                0,
                SAME_CALLDATA,
                REVERT_WANTED,
                SAME_TARGET | SAME_CALLDATA | REVERT_WANTED
            ]
        );
        let most = u32::from_be_bytes(request[2..6].try_into().unwrap());
        assert_eq!(most, 112 + 2 * 38 + 2 * 170);
    }

    #[test]
    fn each_form_carries_the_request_where_the_reader_looks_for_it() {
        let read = balance(9);
        let reader = Reader::new(chain(), vec![&read], None);
        let call = |form| reader.call(form, 1_530);
        let body = |form| {
            let request =
                crate::jsonrpc::eth_call(&call(form).unwrap(), crate::jsonrpc::BlockTag::Latest);
            serde_json::from_slice::<serde_json::Value>(&request.to_body()).unwrap()["params"]
                .clone()
        };
        let plain = format!("0x{}", hex::encode(reader.request(0)));
        let by_override = body(Form::Override);
        assert_eq!(by_override[0]["data"], plain);
        assert_eq!(by_override[0]["to"], ADDRESS.to_lower_hex());
        assert_eq!(
            by_override[2][ADDRESS.to_lower_hex()]["code"],
            format!("0x{}", CODE.trim_ascii_end())
        );
        let created = body(Form::Creation);
        assert!(created[0].get("to").is_none());
        assert_eq!(
            created[0]["data"],
            format!(
                "0x{}{}",
                CODE.trim_ascii_end(),
                hex::encode(reader.request(1_530))
            )
        );
        let deployed = body(Form::Deployed(CONTRACT));
        assert_eq!(
            (&deployed[0]["to"], &deployed[0]["data"]),
            (&CONTRACT.to_lower_hex().into(), &plain.into())
        );
        // Some contracts answer the zero address otherwise than anybody else.
        for params in [&by_override, &created, &deployed] {
            let from = params[0]["from"].as_str().unwrap();
            assert_ne!(from, Address::from_bytes([0; 20]).to_lower_hex());
        }
        assert_eq!(call(Form::Calls), None);
    }

    #[test]
    fn each_read_gets_its_own_outcome_at_one_block() {
        let reads = [
            balance(9),
            owner(),
            view("uint256, string", "1"),
            balance(8),
            balance(7),
        ];
        let reverted = hex::decode("7e273289").unwrap();
        let answer = decode(
            &reads,
            &[
                part(SUCCESS | WHOLE, 32, &word(2)),
                part(0, 4, &reverted),
                part(SUCCESS | WHOLE, 128, b"gold"),
                part(SPENT, 0, &[]),
                part(SUCCESS, 0, &[]),
            ],
        );
        let answer = answer.unwrap();
        let values: Vec<_> = answer
            .outcomes
            .iter()
            .map(|outcome| outcome.value.clone())
            .collect();
        assert_eq!(
            values,
            [
                Ok(Value::Amount(U256::from(2))),
                Ok(Value::Nobody),
                Ok(Value::Returned(Returned::Bytes(b"gold".to_vec()))),
                Err(Unreadable),
                Err(Unreadable),
            ]
        );
        let spent: Vec<_> = answer
            .outcomes
            .iter()
            .map(|outcome| outcome.is_spent)
            .collect();
        assert_eq!(spent, [false, false, false, true, false]);
        let parent = BlockId {
            number: 99,
            hash: [99; 32],
        };
        assert_eq!(
            answer.block,
            ExecutionBlock {
                number: 100,
                timestamp: 1_800_000_000,
                parent: Some(parent),
                reorged: false,
            }
        );
    }

    #[test]
    fn a_known_block_of_another_hash_is_a_reorg_and_one_out_of_reach_is_none() {
        let known = BlockId {
            number: 98,
            hash: [5; 32],
        };
        let reader = Reader::new(chain(), Vec::new(), Some(known));
        assert_eq!(reader.request(0)[6..14], 98_u64.to_be_bytes());
        for (there, reorged) in [(5, false), (6, true), (0, false)] {
            let answer = reader.decode(&head(31337, there)).unwrap();
            assert_eq!(answer.block.reorged, reorged, "{there}");
        }
    }

    #[test]
    fn a_list_of_256_ids_is_summed() {
        let read = ids(256);
        let mut returned = [word(32), word(256)].concat();
        returned.extend(word(3).repeat(256));
        let size = u32::try_from(returned.len()).unwrap();
        let answer = decode(
            std::slice::from_ref(&read),
            &[part(SUCCESS | WHOLE, size, &returned)],
        );
        assert_eq!(
            answer.unwrap().outcomes[0].value,
            Ok(Value::Amounts(U256::from(768)))
        );
        assert_eq!(read.slice().take, 64 + 256 * 32);
        let short = decode(&[read], &[part(SUCCESS | WHOLE, 64, &returned[..64])]);
        assert_eq!(short.unwrap().outcomes[0].value, Err(Unreadable));
    }

    #[test]
    fn a_value_in_an_answer_that_is_shorter_than_its_head_is_unreadable() {
        let read = view("uint256, uint256, uint256", "0");
        for (size, is_read) in [(96, true), (95, false), (32, false)] {
            let answer = decode(
                std::slice::from_ref(&read),
                &[part(SUCCESS | WHOLE, size, &word(7))],
            );
            assert_eq!(answer.unwrap().outcomes[0].value.is_ok(), is_read, "{size}");
        }
        let narrow = view("uint8", "0");
        let answer = decode(&[narrow], &[part(SUCCESS | WHOLE, 32, &word(256))]);
        assert_eq!(answer.unwrap().outcomes[0].value, Err(Unreadable));
    }

    #[test]
    fn another_chain_is_told_apart_from_what_is_no_answer() {
        let read = balance(9);
        let reader = Reader::new(chain(), vec![&read], None);
        let two = part(SUCCESS | WHOLE, 32, &word(2));
        let whole = [head(31337, 0), two.clone()].concat();
        assert!(reader.decode(&whole).is_ok());
        assert_eq!(
            reader.decode(&[head(1, 0), two.clone()].concat()),
            Err(ReaderError::WrongChain)
        );
        let longer = [whole.clone(), vec![0]].concat();
        let mut beyond = whole.clone();
        beyond[0] = 1;
        let mut odd = whole.clone();
        odd[112] = 0x80;
        for answer in [
            &[][..],
            &word(1),
            &whole[..whole.len() - 1],
            &longer,
            &beyond,
            &odd,
        ] {
            assert_eq!(reader.decode(answer), Err(ReaderError::Unsupported));
        }
    }

    #[test]
    fn every_call_names_its_gas_and_creation_code_what_its_answer_costs() {
        let gas = |reads: &[Read], form| {
            let reader = Reader::new(chain(), reads.iter().collect(), None);
            let call = reader.call(form, 1_000).unwrap();
            let body = jsonrpc::eth_call(&call, BlockTag::Latest).to_body();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let gas = body["params"][0]["gas"].as_str().unwrap();
            u64::from_str_radix(gas.strip_prefix("0x").unwrap(), 16).unwrap()
        };
        let many: Vec<_> = (0..400).map(|_| balance(9)).collect();
        let deployed = Form::Deployed(CONTRACT);
        for form in [Form::Override, deployed] {
            assert_eq!(gas(&[balance(9)], form), GAS);
            assert_eq!(gas(&many, form), 40_000_000);
        }
        let answer = u64::try_from(ANSWER_HEAD + PART_HEAD + 32).unwrap();
        assert_eq!(gas(&[balance(9)], Form::Creation), GAS + 1_000 * answer);
    }

    #[test]
    fn pieces_keep_within_each_bound() {
        let reads: Vec<_> = (0..1_000)
            .map(|id| Read::Erc721Owner {
                contract: CONTRACT,
                token_id: U256::from(id),
            })
            .collect();
        let limits = Limits {
            reads: 5_000,
            request: 128 * 1024,
            answer: usize::MAX,
        };
        assert_eq!(pieces(&reads, limits).len(), 1);
        let of_creation = pieces(&reads, limits.of(Form::Creation));
        assert_eq!(of_creation.len(), 7);
        for piece in &of_creation {
            let part = &reads[piece.clone()];
            let answer: usize = part.iter().map(answer_len).sum();
            assert!(ANSWER_HEAD + answer <= 24_576);
            assert!(code().len() + request(part).len() <= 49_152);
        }
        assert_eq!(
            of_creation.iter().map(|piece| piece.len()).sum::<usize>(),
            1_000
        );
        let by_count = pieces(
            &reads,
            Limits {
                reads: 400,
                ..limits
            },
        );
        assert_eq!(by_count, [0..400, 400..800, 800..1_000]);
        for piece in pieces(
            &reads,
            Limits {
                request: 1_024,
                ..limits
            },
        ) {
            assert!(request(&reads[piece]).len() <= 1_024);
        }
        // A list of 256 ids is more than such a request by itself.
        assert_eq!(
            pieces(
                &[ids(256), owner()],
                Limits {
                    request: 1_024,
                    ..limits
                }
            ),
            [0..1, 1..2]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..400), own in any::<bool>()) {
            let reads = [balance(9), owner(), ids(2), view("string", "0"), view("uint8", "0")];
            let reader = Reader::new(chain(), reads.iter().collect(), None);
            let bytes = if own { [head(31337, 0), bytes].concat() } else { bytes };
            if let Ok(answer) = reader.decode(&bytes) {
                prop_assert_eq!(answer.outcomes.len(), reads.len());
            }
        }

        #[test]
        fn outcomes_keep_their_order(values in proptest::collection::vec(any::<Option<u64>>(), 0..50)) {
            let reads: Vec<_> = (0..values.len()).map(|_| balance(9)).collect();
            let parts: Vec<_> = values.iter().map(|value| match value {
                Some(value) => part(SUCCESS | WHOLE, 32, &word(*value)),
                None => part(SPENT, 0, &[]),
            }).collect();
            let answer = decode(&reads, &parts).unwrap();
            for (outcome, value) in answer.outcomes.iter().zip(values) {
                let expected = value.map(|value| Value::Amount(U256::from(value))).ok_or(Unreadable);
                prop_assert_eq!((&outcome.value, outcome.is_spent), (&expected, expected.is_err()));
            }
        }
    }
}
