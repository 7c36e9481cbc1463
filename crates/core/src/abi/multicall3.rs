//! Multicall3: any number of reads in one `eth_call`, at one block.

use super::DecodeError;
use crate::block::{BlockId, ExecutionBlock};
use crate::fact::{Read, Unreadable, Value};
use crate::jsonrpc;
use crate::{Address, ChainId, U256};
use alloy_sol_types::abi::token::{DynSeqToken, PackedSeqToken, WordToken};
use alloy_sol_types::{SolCall, abi, sol};

sol! {
    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }

    struct CallResult {
        bool success;
        bytes returnData;
    }

    function aggregate3(Call3[] calls) external payable returns (CallResult[] returnData);
    function getBlockHash(uint256 blockNumber) external view returns (bytes32 blockHash);
    function getBlockNumber() external view returns (uint256 blockNumber);
    function getChainId() external view returns (uint256 chainid);
    function getCurrentBlockTimestamp() external view returns (uint256 timestamp);
    function getEthBalance(address addr) external view returns (uint256 balance);
    function getLastBlockHash() external view returns (bytes32 blockHash);
}

/// What `aggregate3` returns. Borrowed, not copied: the offsets in an answer may all lead to the same bytes.
type Results<'a> = DynSeqToken<(WordToken, PackedSeqToken<'a>)>;

/// The address at which Multicall3 is deployed on most chains.
pub const CANONICAL: Address = Address::from_bytes([
    0xca, 0x11, 0xbd, 0xe0, 0x59, 0x77, 0xb3, 0x63, 0x11, 0x67, 0x02, 0x88, 0x62, 0xbe, 0x2a, 0x17,
    0x39, 0x76, 0xca, 0x11,
]);

/// One `aggregate3` over the reads that a decision lacks on one chain.
///
/// Calls of its own lead: which chain and which block it is, so that no endpoint of another chain and none that has
/// fallen behind is believed; and the hash of a block seen before, so that a reorganisation is noticed.
#[derive(Clone, Debug)]
pub struct Aggregate {
    chain: ChainId,
    multicall3: Address,
    reads: Vec<Read>,
    known: Option<BlockId>,
}

/// Why an aggregate has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// The answer is not `aggregate3`'s: no Multicall3 at the configured address, or a node that is not synced.
    #[error("the answer is not Multicall3's; check `multicall3` and that the node is synced")]
    Answer,
    /// The endpoint serves another chain.
    #[error("the provider serves another chain")]
    WrongChain,
}

impl From<DecodeError> for AggregateError {
    fn from(_: DecodeError) -> Self {
        Self::Answer
    }
}

/// How many calls of its own an aggregate has, besides the one about a known block.
const OWN: usize = 4;

impl Aggregate {
    /// Prepares `reads` on `chain` through the Multicall3 at `multicall3`, and whether `known` is still part of the
    /// chain.
    pub const fn new(
        chain: ChainId,
        multicall3: Address,
        reads: Vec<Read>,
        known: Option<BlockId>,
    ) -> Self {
        Self {
            chain,
            multicall3,
            reads,
            known,
        }
    }

    /// The one `eth_call`.
    pub fn call(&self) -> jsonrpc::Call {
        jsonrpc::Call::to(self.multicall3, self.calldata())
    }

    fn calldata(&self) -> Vec<u8> {
        let own: [Vec<u8>; OWN] = [
            getBlockNumberCall {}.abi_encode(),
            getChainIdCall {}.abi_encode(),
            getCurrentBlockTimestampCall {}.abi_encode(),
            getLastBlockHashCall {}.abi_encode(),
        ];
        let known = self.known.map(|block| {
            getBlockHashCall {
                blockNumber: U256::from(block.number),
            }
            .abi_encode()
        });
        let own = own.into_iter().chain(known);
        let own = own.map(|data| part(self.multicall3, data));
        let reads = self.reads.iter().map(|read| {
            let (target, data) = read.call(self.multicall3);
            part(target, data)
        });
        aggregate3Call {
            calls: own.chain(reads).collect(),
        }
        .abi_encode()
    }

    /// Splits the answer into one value, or one unreadable contract, for each read, and the block it was read at.
    ///
    /// # Errors
    /// [`AggregateError`], if nothing in the answer can be believed.
    pub fn decode(
        &self,
        returned: &[u8],
    ) -> Result<(Vec<Result<Value, Unreadable>>, ExecutionBlock), AggregateError> {
        let (results,): (Results<'_>,) =
            abi::decode_params(returned).map_err(|_| AggregateError::Answer)?;
        let (own, rest) = results
            .0
            .split_first_chunk::<OWN>()
            .ok_or(AggregateError::Answer)?;
        let (known, answers) = rest
            .split_at_checked(usize::from(self.known.is_some()))
            .ok_or(AggregateError::Answer)?;
        if answers.len() != self.reads.len() {
            return Err(AggregateError::Answer);
        }
        let [number, chain, timestamp, parent] = own;
        let own_number = |part| own_number(part).ok_or(AggregateError::Answer);
        if own_number(chain)? != self.chain.id() {
            return Err(AggregateError::WrongChain);
        }
        let number = own_number(number)?;
        let hash = own_word(parent).ok_or(AggregateError::Answer)?;
        let seen = ExecutionBlock {
            number,
            timestamp: own_number(timestamp)?,
            parent: number.checked_sub(1).map(|number| BlockId { number, hash }),
            // Blocks too far back, or yet to come, have the hash zero: that says nothing.
            reorged: self.known.zip(known.first()).is_some_and(|(block, part)| {
                own_word(part).is_some_and(|hash| hash != [0; 32] && hash != block.hash)
            }),
        };
        let value = |(read, (success, data)): (&Read, &(WordToken, PackedSeqToken<'_>))| {
            if is_true(success) {
                read.decode(data.0)
            } else {
                read.reverted(data.0)
            }
        };
        Ok((self.reads.iter().zip(answers).map(value).collect(), seen))
    }
}

fn part(target: Address, data: Vec<u8>) -> Call3 {
    Call3 {
        target: target.into_alloy(),
        allowFailure: true,
        callData: data.into(),
    }
}

/// The word that a call of Multicall3's own answered.
fn own_word((success, data): &(WordToken, PackedSeqToken<'_>)) -> Option<[u8; 32]> {
    <[u8; 32]>::try_from(data.0)
        .ok()
        .filter(|_| is_true(success))
}

/// The same, as a number.
fn own_number(part: &(WordToken, PackedSeqToken<'_>)) -> Option<u64> {
    u64::try_from(U256::from_be_bytes(own_word(part)?)).ok()
}

/// ABI-encoded `true`; everything else is not taken for it.
fn is_true(word: &WordToken) -> bool {
    U256::from_be_bytes(word.0.0) == U256::ONE
}

/// Calldata of `getEthBalance(owner)`.
pub fn eth_balance(owner: Address) -> Vec<u8> {
    getEthBalanceCall {
        addr: owner.into_alloy(),
    }
    .abi_encode()
}

/// The balance in wei in the answer to [`eth_balance`].
///
/// # Errors
/// [`DecodeError`].
pub fn decode_eth_balance(returned: &[u8]) -> Result<U256, DecodeError> {
    getEthBalanceCall::abi_decode_returns_validate(returned).map_err(|_| DecodeError)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Address = Address::from_bytes([7; 20]);
    const CONTRACT: Address = Address::from_bytes([9; 20]);

    fn aggregate() -> Aggregate {
        let reads = vec![
            Read::Erc721Balance {
                contract: CONTRACT,
                owner: OWNER,
            },
            Read::Erc721Owner {
                contract: CONTRACT,
                token_id: U256::from(5),
            },
        ];
        Aggregate::new(ChainId::new(31337).unwrap(), CANONICAL, reads, None)
    }

    fn word(value: u64) -> CallResult {
        CallResult {
            success: true,
            returnData: U256::from(value).to_be_bytes::<32>().into(),
        }
    }

    fn answer(results: Vec<CallResult>) -> Vec<u8> {
        aggregate3Call::abi_encode_returns(&results)
    }

    /// What Multicall3 answers of itself, at block 100, before `rest`.
    fn own(chain: u64, rest: Vec<CallResult>) -> Vec<CallResult> {
        let own = [word(100), word(chain), word(1_800_000_000), word(99)];
        own.into_iter().chain(rest).collect()
    }

    fn hash(word: u64) -> [u8; 32] {
        U256::from(word).to_be_bytes()
    }

    #[test]
    fn the_canonical_address_is_the_published_one() {
        assert_eq!(
            CANONICAL.to_string(),
            "0xcA11bde05977b3631167028862bE2a173976CA11"
        );
    }

    #[test]
    fn calldata_leads_with_the_block_and_the_chain() {
        let call = aggregate3Call::abi_decode(&aggregate().calldata()).unwrap();
        let selectors: Vec<_> = call
            .calls
            .iter()
            .map(|call| hex::encode(&call.callData[..4]))
            .collect();
        // Selectors as published with the standards: getBlockNumber, getChainId, getCurrentBlockTimestamp,
        // getLastBlockHash, balanceOf, ownerOf.
        assert_eq!(
            selectors,
            [
                "42cbb15c", "3408e470", "0f28c97d", "27e86d6e", "70a08231", "6352211e"
            ]
        );
        assert!(call.calls.iter().all(|call| call.allowFailure));
    }

    #[test]
    fn each_read_gets_its_own_answer_at_one_block() {
        let reverted = CallResult {
            success: false,
            returnData: vec![0x08, 0xc3, 0x79, 0xa0].into(),
        };
        let (values, seen) = aggregate()
            .decode(&answer(own(31337, vec![word(2), reverted])))
            .unwrap();
        assert_eq!(
            values,
            [Ok(Value::Amount(U256::from(2))), Ok(Value::Nobody)]
        );
        let parent = BlockId {
            number: 99,
            hash: hash(99),
        };
        assert_eq!(
            seen,
            ExecutionBlock {
                number: 100,
                timestamp: 1_800_000_000,
                parent: Some(parent),
                reorged: false,
            }
        );
    }

    #[test]
    fn a_known_block_of_another_hash_is_a_reorganisation_and_one_out_of_reach_is_none() {
        let known = BlockId {
            number: 98,
            hash: hash(5),
        };
        let aggregate = Aggregate {
            known: Some(known),
            ..aggregate()
        };
        let call = aggregate3Call::abi_decode(&aggregate.calldata()).unwrap();
        assert_eq!(hex::encode(&call.calls[4].callData[..4]), "ee82ac5e");
        assert_eq!(call.calls[4].callData[4..], hash(98));
        for (there, reorganised) in [(5, false), (6, true), (0, false)] {
            let results = own(31337, vec![word(there), word(2), word(3)]);
            let (values, seen) = aggregate.decode(&answer(results)).unwrap();
            assert_eq!(values.len(), 2);
            assert_eq!(seen.reorged, reorganised, "{there}");
        }
    }

    #[test]
    fn an_address_without_code_is_unreadable_and_not_a_zero() {
        let empty = || CallResult {
            success: true,
            returnData: Vec::new().into(),
        };
        let (values, _) = aggregate()
            .decode(&answer(own(31337, vec![empty(), empty()])))
            .unwrap();
        assert_eq!(values, [Err(Unreadable), Err(Unreadable)]);
    }

    /// 4,000 offsets to one answer of 200 kB: 800 MB, if each were copied.
    #[test]
    fn offsets_that_share_bytes_cost_no_memory() {
        let word = |value: usize| U256::from(value).to_be_bytes::<32>();
        let (count, length) = (4_000, 200_000);
        let mut bomb = [word(32), word(count)].concat();
        bomb.extend(std::iter::repeat_n(word(count * 32), count).flatten());
        bomb.extend([word(1), word(64), word(length)].concat());
        bomb.resize(bomb.len() + length, 0);
        assert_eq!(aggregate().decode(&bomb), Err(AggregateError::Answer));
    }

    #[test]
    fn another_chain_an_empty_answer_and_a_short_one_are_not_believed() {
        let aggregate = aggregate();
        let decode = |results| aggregate.decode(&answer(results));
        assert_eq!(
            decode(own(1, vec![word(2), word(3)])),
            Err(AggregateError::WrongChain)
        );
        assert_eq!(aggregate.decode(&[]), Err(AggregateError::Answer));
        for results in [
            own(31337, vec![word(2)]),
            own(31337, vec![word(2), word(3), word(4)]),
            vec![word(100), word(31337)],
        ] {
            assert_eq!(decode(results), Err(AggregateError::Answer));
        }
        let mut tampered = answer(own(31337, vec![word(2), word(3)]));
        tampered.truncate(tampered.len() - 1);
        assert_eq!(aggregate.decode(&tampered), Err(AggregateError::Answer));
    }
}
