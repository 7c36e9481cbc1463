//! Transfers of tokens, as the logs of ERC-20, ERC-721, ERC-1155 and ERC-2309 contracts tell them.
//!
//! `topics[0]` says which event it is and not which of its arguments are indexed: contracts from before the standards index
//! none, or fewer than the standards have. Where the words of a log can be taken in more than one way, each of them is
//! told: invalidating a fact that did not change costs one read of the chain.

use alloy_sol_types::{SolEvent, SolValue};

use crate::{Address, U256};

/// The events of the standards. ERC-20 and ERC-721 share a name and types; ERC-721 indexes the token as well.
mod events {
    alloy_sol_types::sol! {
        event Transfer(address indexed from, address indexed to, uint256 value);
        event TransferSingle(address indexed operator, address indexed from, address indexed to, uint256 id, uint256 value);
        event TransferBatch(address indexed operator, address indexed from, address indexed to, uint256[] ids, uint256[] values);
        event ConsecutiveTransfer(uint256 indexed fromTokenId, uint256 toTokenId, address indexed fromAddress, address indexed toAddress);
    }
}

/// `topics[0]` of every log that [`Transfer::read`] understands.
pub const TOPICS: [[u8; 32]; 4] = [
    events::Transfer::SIGNATURE_HASH.0,
    events::TransferSingle::SIGNATURE_HASH.0,
    events::TransferBatch::SIGNATURE_HASH.0,
    events::ConsecutiveTransfer::SIGNATURE_HASH.0,
];
const TRANSFER: Word = TOPICS[0];
const SINGLE: Word = TOPICS[1];
const BATCH: Word = TOPICS[2];
const CONSECUTIVE: Word = TOPICS[3];

/// A log, as `eth_getLogs` and webhooks carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Who wrote it.
    pub address: Address,
    /// At most four words.
    pub topics: Vec<[u8; 32]>,
    /// What is not indexed.
    pub data: Vec<u8>,
    /// The number of its block.
    pub block: u64,
    /// Whether its block is no longer part of the chain.
    pub removed: bool,
}

/// A transfer of tokens of one contract from one account to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The token contract.
    pub contract: Address,
    /// Whose they were; the zero address where they were minted.
    pub from: Address,
    /// Whose they are; the zero address where they were burnt.
    pub to: Address,
    /// What was transferred.
    pub tokens: Tokens,
    /// The number of its block.
    pub block: u64,
    /// Whether it was undone: its block is no longer part of the chain.
    pub removed: bool,
}

/// What was transferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// An amount of an ERC-20 token.
    Amount,
    /// One ERC-721 token.
    Token(U256),
    /// The ERC-721 tokens from one id to another, both included (ERC-2309).
    Range(U256, U256),
    /// Amounts of these ERC-1155 kinds.
    Kinds(Vec<U256>),
}

impl Tokens {
    /// Whether the token or kind `id` may be among them.
    pub(crate) fn may_include(&self, id: &U256) -> bool {
        match self {
            // It says nothing of ids: old ERC-721 contracts do not index them.
            Self::Amount => true,
            Self::Token(token) => token == id,
            Self::Range(first, last) => (first..=last).contains(&id),
            Self::Kinds(ids) => ids.contains(id),
        }
    }

    /// What holding them in memory costs, in transfers of one token: at least 1.
    pub fn weight(&self) -> usize {
        match self {
            Self::Amount | Self::Token(_) | Self::Range(..) => 1,
            Self::Kinds(ids) => ids.len().max(1),
        }
    }
}

/// The log is of an event that transfers tokens, and its arguments cannot be read: any holding of its contract may have
/// changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the arguments of the transfer event cannot be read")]
pub struct UnreadableTransfer;

impl Transfer {
    /// The accounts whose holdings it changes: one, where tokens are minted, burnt or sent to their owner.
    pub fn parties(&self) -> impl Iterator<Item = Address> {
        let nobody = Address::from_bytes([0; 20]);
        let to = Some(self.to).filter(|to| *to != self.from);
        let parties = [Some(self.from), to].into_iter().flatten();
        parties.filter(move |party| *party != nobody)
    }

    /// The transfers that `log` tells of: none for an event that transfers no tokens, and two where its words have two
    /// meanings.
    ///
    /// # Errors
    /// [`UnreadableTransfer`].
    pub fn read(log: &Log) -> Result<Vec<Self>, UnreadableTransfer> {
        let Some((event, topics)) = log.topics.split_first() else {
            return Ok(Vec::new());
        };
        let meanings = match *event {
            TRANSFER => transfer(topics, &log.data),
            SINGLE => single(topics, &log.data),
            BATCH => batch(topics, &log.data),
            CONSECUTIVE => consecutive(topics, &log.data),
            _ => return Ok(Vec::new()),
        };
        let transfers: Vec<_> = meanings
            .into_iter()
            .flatten()
            .map(|(from, to, tokens)| Self {
                contract: log.address,
                from,
                to,
                tokens,
                block: log.block,
                removed: log.removed,
            })
            .collect();
        if transfers.is_empty() {
            Err(UnreadableTransfer)
        } else {
            Ok(transfers)
        }
    }
}

type Word = [u8; 32];

/// From whom to whom, and what.
type Meaning = Option<(Address, Address, Tokens)>;

/// `Transfer(address,address,uint256)`, with any of its arguments indexed. Indexed ones keep their order.
fn transfer(topics: &[Word], data: &[u8]) -> [Meaning; 2] {
    match (topics, words(data)) {
        ([from, to, id], _) => [meaning(from, to, Tokens::Token(number(id))), None],
        // ERC-20, and ERC-721 of before the standard; or the id and one party are indexed, and the word is the other
        // party, unless it is too small to be an account.
        ([one, other], [Some(word), ..]) => [
            meaning(one, other, Tokens::Amount),
            meaning(one, word, Tokens::Token(number(other)))
                .filter(|(_, account, _)| is_likely(account) || self::account(other).is_none()),
        ],
        // A party is indexed, whichever it is; or the id is.
        ([indexed], [Some(first), Some(second), ..]) => [
            meaning(indexed, first, Tokens::Token(number(second))),
            meaning(first, second, Tokens::Token(number(indexed))),
        ],
        ([], [Some(from), Some(to), Some(id), ..]) => {
            [meaning(from, to, Tokens::Token(number(id))), None]
        }
        _ => [None, None],
    }
}

/// `TransferSingle` of ERC-1155.
fn single(topics: &[Word], data: &[u8]) -> [Meaning; 2] {
    let kind = |id: &Word| Tokens::Kinds(vec![number(id)]);
    match (topics, words(data)) {
        ([_, from, to], [Some(id), Some(_), ..]) => [meaning(from, to, kind(id)), None],
        ([], [_, Some(from), Some(to), Some(id), Some(_)]) => [meaning(from, to, kind(id)), None],
        _ => [None, None],
    }
}

/// `TransferBatch` of ERC-1155.
fn batch(topics: &[Word], data: &[u8]) -> [Meaning; 2] {
    let read = || {
        let [_, from, to] = topics else {
            return None;
        };
        let lists = <(Vec<U256>, Vec<U256>)>::abi_decode_params_validate(data);
        let (ids, values) = lists.ok()?;
        (ids.len() == values.len())
            .then(|| meaning(from, to, Tokens::Kinds(ids)))
            .flatten()
    };
    [read(), None]
}

/// `ConsecutiveTransfer` of ERC-2309.
fn consecutive(topics: &[Word], data: &[u8]) -> [Meaning; 2] {
    let range = |first: &Word, last: &Word| {
        let (first, last) = (number(first), number(last));
        (first <= last).then_some(Tokens::Range(first, last))
    };
    let read = || match (topics, words(data)) {
        ([first, from, to], [Some(last), ..]) => meaning(from, to, range(first, last)?),
        ([], [Some(first), Some(last), Some(from), Some(to), ..]) => {
            meaning(from, to, range(first, last)?)
        }
        _ => None,
    };
    [read(), None]
}

fn meaning(from: &Word, to: &Word, tokens: Tokens) -> Meaning {
    Some((account(from)?, account(to)?, tokens))
}

/// The first words of ABI-encoded values of fixed size.
fn words(data: &[u8]) -> [Option<&Word>; 5] {
    let (words, _) = data.as_chunks();
    std::array::from_fn(|index| words.get(index))
}

const fn number(word: &Word) -> U256 {
    U256::from_be_bytes(*word)
}

/// The address in a word.
fn account(word: &Word) -> Option<Address> {
    let (zeros, address) = word.split_first_chunk::<12>()?;
    let address = <[u8; 20]>::try_from(address).ok()?;
    (*zeros == [0; 12]).then(|| Address::from_bytes(address))
}

/// Whether an address is more than a small number: no account is known by a key or a hash that begins with eight zero
/// bytes.
fn is_likely(address: &Address) -> bool {
    address.as_bytes().iter().take(8).any(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(byte: u8) -> [u8; 32] {
        let mut topic = [0; 32];
        topic[12..].fill(byte);
        topic
    }

    fn log(event: [u8; 32], topics: &[[u8; 32]], data: Vec<u8>) -> Log {
        Log {
            address: address(9),
            topics: [&[event], topics].concat(),
            data,
            block: 7,
            removed: false,
        }
    }

    const fn address(byte: u8) -> Address {
        Address::from_bytes([byte; 20])
    }

    fn word(value: u64) -> [u8; 32] {
        U256::from(value).to_be_bytes()
    }

    fn token(id: u64) -> Tokens {
        Tokens::Token(U256::from(id))
    }

    #[test]
    fn the_topics_are_those_of_the_standards() {
        let published = [
            "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
            "c3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62",
            "4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb",
            "deaa91b6123d068f5821d0fb0678463d1a8a6079fe8af5de3ce5e896dcf9133d",
        ];
        assert_eq!(TOPICS.map(hex::encode), published);
    }

    #[test]
    fn each_form_of_a_transfer_is_read() {
        let (operator, one, two) = (topic(5), topic(1), topic(2));
        let batch = (vec![U256::from(3), U256::from(4)], vec![U256::ONE; 2]);
        let kinds = |ids: &[u64]| Tokens::Kinds(ids.iter().copied().map(U256::from).collect());
        let range = Tokens::Range(U256::from(3), U256::from(9));
        for (event, topics, data, tokens) in [
            (0, vec![one, two], vec![word(5)], Tokens::Amount),
            (0, vec![one, two, word(6)], vec![], token(6)),
            (0, vec![], vec![one, two, word(6)], token(6)),
            (
                1,
                vec![operator, one, two],
                vec![word(3), word(1)],
                kinds(&[3]),
            ),
            (
                1,
                vec![],
                vec![operator, one, two, word(3), word(1)],
                kinds(&[3]),
            ),
            (3, vec![word(3), one, two], vec![word(9)], range.clone()),
            (3, vec![], vec![word(3), word(9), one, two], range),
        ] {
            let log = log(TOPICS[event], &topics, data.concat());
            let read = Transfer::read(&log).unwrap();
            let [read] = read.as_slice() else {
                panic!("{log:?} is {read:?}")
            };
            assert_eq!((read.from, read.to), (address(1), address(2)), "{log:?}");
            assert_eq!(
                (&read.tokens, read.contract, read.block),
                (&tokens, log.address, 7)
            );
        }
        let log = log(TOPICS[2], &[operator, one, two], batch.abi_encode_params());
        assert_eq!(Transfer::read(&log).unwrap()[0].tokens, kinds(&[3, 4]));
    }

    #[test]
    fn a_log_with_two_meanings_is_told_with_both() {
        let (one, two) = (topic(1), topic(2));
        let told = |topics: &[[u8; 32]], data: &[[u8; 32]]| -> Vec<(Address, Address, Tokens)> {
            let read = Transfer::read(&log(TOPICS[0], topics, data.concat())).unwrap();
            let told = read.into_iter();
            told.map(|transfer| (transfer.from, transfer.to, transfer.tokens))
                .collect()
        };
        let small = |value: u8| {
            let mut bytes = [0; 20];
            bytes[19] = value;
            Address::from_bytes(bytes)
        };
        // One party is indexed, the other and the id are data.
        let both = told(&[one], &[two, word(6)]);
        assert_eq!(both[0], (address(1), address(2), token(6)));
        // Or the id is indexed, which is a small number, and both parties are data.
        let both = told(&[word(6)], &[one, two]);
        assert!(
            both.contains(&(address(1), address(2), token(6))),
            "{both:?}"
        );
        // One party and the id are indexed, the other party is data.
        let both = told(&[one, word(6)], &[two]);
        assert!(
            both.contains(&(address(1), address(2), token(6))),
            "{both:?}"
        );
        assert_eq!(both[0], (address(1), small(6), Tokens::Amount));
        // An id that is no address has one meaning, and so has an amount that is none.
        assert_eq!(told(&[one, [0xff; 32]], &[two])[0].1, address(2));
        assert_eq!(told(&[one, two], &[word(6)]).len(), 1);
        assert_eq!(told(&[one, two], &[[0xff; 32]]).len(), 1);
    }

    #[test]
    fn the_zero_address_is_no_party_and_nobody_is_two() {
        let (nobody, one, two) = ([0; 32], topic(1), topic(2));
        for (from, to, parties) in [
            (one, two, vec![address(1), address(2)]),
            (nobody, two, vec![address(2)]),
            (one, nobody, vec![address(1)]),
            (one, one, vec![address(1)]),
            (nobody, nobody, Vec::new()),
        ] {
            let log = log(TOPICS[0], &[from, to], word(5).to_vec());
            let transfers = Transfer::read(&log).unwrap();
            assert_eq!(transfers[0].parties().collect::<Vec<_>>(), parties);
        }
    }

    #[test]
    fn other_events_are_no_transfers() {
        let (one, two) = (topic(1), topic(2));
        let other = log([0; 32], &[one, two], word(5).to_vec());
        assert_eq!(Transfer::read(&other), Ok(Vec::new()));
        let nameless = Log {
            topics: Vec::new(),
            ..other
        };
        assert_eq!(Transfer::read(&nameless), Ok(Vec::new()));
    }

    #[test]
    fn a_transfer_event_that_cannot_be_read_is_an_error() {
        let (one, two) = (topic(1), topic(2));
        let uneven = (vec![U256::from(3)], vec![U256::ONE; 2]);
        for log in [
            log(TOPICS[0], &[one], word(5).to_vec()),
            log(TOPICS[0], &[one, two], Vec::new()),
            log(TOPICS[0], &[], [one, two].concat()),
            log(TOPICS[0], &[[0xff; 32], two], word(5).to_vec()),
            log(TOPICS[0], &[[0xff; 32], two, one], Vec::new()),
            log(TOPICS[1], &[one, one, two], word(3).to_vec()),
            log(TOPICS[1], &[one, two], [word(3); 5].concat()),
            log(TOPICS[2], &[one, one, two], uneven.abi_encode_params()),
            log(TOPICS[2], &[one, one, two], vec![0xff; 64]),
            log(TOPICS[3], &[word(4), one, two], word(3).to_vec()),
            log(TOPICS[3], &[word(4), one], [word(5), two].concat()),
        ] {
            assert_eq!(Transfer::read(&log), Err(UnreadableTransfer), "{log:?}");
        }
    }

    #[test]
    fn a_range_has_its_ends_and_what_is_between() {
        let range = Tokens::Range(U256::from(3), U256::from(5));
        let includes = |id: u64| range.may_include(&U256::from(id));
        assert_eq!(
            [2, 3, 4, 5, 6].map(includes),
            [false, true, true, true, false]
        );
    }
}
