//! Transfers of tokens, as the logs of ERC-20, ERC-721 and ERC-1155 contracts tell them.

use alloy_sol_types::{SolEvent, SolValue};

use crate::{Address, U256};

/// The events of the standards. ERC-20 and ERC-721 share a name and types; ERC-721 indexes the token as well.
mod events {
    alloy_sol_types::sol! {
        event Transfer(address indexed from, address indexed to, uint256 value);
        event TransferSingle(address indexed operator, address indexed from, address indexed to, uint256 id, uint256 value);
        event TransferBatch(address indexed operator, address indexed from, address indexed to, uint256[] ids, uint256[] values);
    }
}

/// `topics[0]` of every log that [`Transfer::read`] understands.
pub const TOPICS: [[u8; 32]; 3] = [
    events::Transfer::SIGNATURE_HASH.0,
    events::TransferSingle::SIGNATURE_HASH.0,
    events::TransferBatch::SIGNATURE_HASH.0,
];

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
            Self::Kinds(ids) => ids.contains(id),
        }
    }
}

impl Transfer {
    /// The accounts whose holdings it changes: one, where tokens are minted, burnt or sent to their owner.
    pub fn parties(&self) -> impl Iterator<Item = Address> {
        let nobody = Address::from_bytes([0; 20]);
        let to = Some(self.to).filter(|to| *to != self.from);
        let parties = [Some(self.from), to].into_iter().flatten();
        parties.filter(move |party| *party != nobody)
    }

    /// The transfer that `log` tells of; `None` for any other log.
    pub fn read(log: &Log) -> Option<Self> {
        let (event, topics) = log.topics.split_first()?;
        let (from, to, tokens) = match (*event, topics) {
            (event, [from, to]) if event == events::Transfer::SIGNATURE_HASH => {
                U256::abi_decode_validate(&log.data).ok()?;
                (from, to, Tokens::Amount)
            }
            (event, [from, to, token]) if event == events::Transfer::SIGNATURE_HASH => {
                (from, to, Tokens::Token(U256::from_be_bytes(*token)))
            }
            (event, [_, from, to]) if event == events::TransferSingle::SIGNATURE_HASH => {
                let (id, _) = <(U256, U256)>::abi_decode_params_validate(&log.data).ok()?;
                (from, to, Tokens::Kinds(vec![id]))
            }
            (event, [_, from, to]) if event == events::TransferBatch::SIGNATURE_HASH => {
                let (ids, values) =
                    <(Vec<U256>, Vec<U256>)>::abi_decode_params_validate(&log.data).ok()?;
                (
                    from,
                    to,
                    Tokens::Kinds((ids.len() == values.len()).then_some(ids)?),
                )
            }
            _ => return None,
        };
        Some(Self {
            contract: log.address,
            from: account(from)?,
            to: account(to)?,
            tokens,
            block: log.block,
            removed: log.removed,
        })
    }
}

/// The address in a topic.
fn account(topic: &[u8; 32]) -> Option<Address> {
    let (zeros, address) = topic.split_first_chunk::<12>()?;
    let address = <[u8; 20]>::try_from(address).ok()?;
    (*zeros == [0; 12]).then(|| Address::from_bytes(address))
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
            address: Address::from_bytes([9; 20]),
            topics: [&[event], topics].concat(),
            data,
            block: 7,
            removed: false,
        }
    }

    fn word(value: u64) -> [u8; 32] {
        U256::from(value).to_be_bytes()
    }

    #[test]
    fn the_topics_are_those_of_the_standards() {
        let published = [
            "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
            "c3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62",
            "4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb",
        ];
        assert_eq!(TOPICS.map(hex::encode), published);
    }

    #[test]
    fn each_kind_of_transfer_is_read() {
        let (from, to) = (Address::from_bytes([1; 20]), Address::from_bytes([2; 20]));
        let (operator, one, two) = (topic(5), topic(1), topic(2));
        let batch = (vec![U256::from(3), U256::from(4)], vec![U256::ONE; 2]);
        for (log, tokens) in [
            (
                log(TOPICS[0], &[one, two], word(5).to_vec()),
                Tokens::Amount,
            ),
            (
                log(TOPICS[0], &[one, two, word(6)], Vec::new()),
                Tokens::Token(U256::from(6)),
            ),
            (
                log(
                    TOPICS[1],
                    &[operator, one, two],
                    [word(3), word(1)].concat(),
                ),
                Tokens::Kinds(vec![U256::from(3)]),
            ),
            (
                log(TOPICS[2], &[operator, one, two], batch.abi_encode_params()),
                Tokens::Kinds(vec![U256::from(3), U256::from(4)]),
            ),
        ] {
            let read = Transfer::read(&log).unwrap();
            assert_eq!((read.from, read.to, read.tokens), (from, to, tokens));
            assert_eq!((read.contract, read.block), (log.address, 7));
        }
    }

    #[test]
    fn the_zero_address_is_no_party_and_nobody_is_two() {
        let (nobody, one, two) = ([0; 32], topic(1), topic(2));
        let address = |byte| Address::from_bytes([byte; 20]);
        for (from, to, parties) in [
            (one, two, vec![address(1), address(2)]),
            (nobody, two, vec![address(2)]),
            (one, nobody, vec![address(1)]),
            (one, one, vec![address(1)]),
            (nobody, nobody, Vec::new()),
        ] {
            let log = log(TOPICS[0], &[from, to], word(5).to_vec());
            let transfer = Transfer::read(&log).unwrap();
            assert_eq!(transfer.parties().collect::<Vec<_>>(), parties);
        }
    }

    #[test]
    fn other_logs_are_no_transfers() {
        let (one, two) = (topic(1), topic(2));
        let uneven = (vec![U256::from(3)], vec![U256::ONE; 2]);
        for log in [
            log([0; 32], &[one, two], word(5).to_vec()),
            log(TOPICS[0], &[one], word(5).to_vec()),
            log(TOPICS[0], &[one, two], Vec::new()),
            log(TOPICS[0], &[[0xff; 32], two], word(5).to_vec()),
            log(TOPICS[1], &[one, one, two], word(3).to_vec()),
            log(TOPICS[2], &[one, one, two], uneven.abi_encode_params()),
            log(TOPICS[2], &[one, one, two], vec![0xff; 64]),
        ] {
            assert_eq!(Transfer::read(&log), None, "{log:?}");
        }
    }
}
