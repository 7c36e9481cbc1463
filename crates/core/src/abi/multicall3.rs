//! Multicall3: any number of reads in one `eth_call`, at one block.

use alloy_sol_types::abi::token::{DynSeqToken, PackedSeqToken, WordToken};
use alloy_sol_types::{SolCall, abi, sol};
use jiff::Timestamp;

use super::DecodeError;
use super::erc1271::{self, Check, Verdict};
use crate::fact::{Fact, Read, Unreadable};
use crate::jsonrpc;
use crate::{Address, ChainId, U256};

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
    function getBlockNumber() external view returns (uint256 blockNumber);
    function getChainId() external view returns (uint256 chainid);
    function getEthBalance(address addr) external view returns (uint256 balance);
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
/// Two calls of its own lead: the block's number, so that every fact says where it was read, and the chain's id, so
/// that an endpoint of another chain is never believed.
#[derive(Clone, Debug)]
pub struct Aggregate {
    chain: ChainId,
    multicall3: Address,
    reads: Vec<Read>,
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

impl Aggregate {
    /// Prepares `reads` on `chain` through the Multicall3 at `multicall3`.
    pub const fn new(chain: ChainId, multicall3: Address, reads: Vec<Read>) -> Self {
        Self {
            chain,
            multicall3,
            reads,
        }
    }

    /// The reads, in the order of the answer.
    pub fn reads(&self) -> &[Read] {
        &self.reads
    }

    /// The one `eth_call`.
    pub fn call(&self) -> jsonrpc::Call {
        jsonrpc::Call::to(self.multicall3, self.calldata())
    }

    fn calldata(&self) -> Vec<u8> {
        let own = [
            getBlockNumberCall {}.abi_encode(),
            getChainIdCall {}.abi_encode(),
        ]
        .map(|data| self.part(self.multicall3, data));
        let reads = self.reads.iter().map(|read| {
            let (target, data) = read.call(self.multicall3);
            self.part(target, data)
        });
        aggregate3Call {
            calls: own.into_iter().chain(reads).collect(),
        }
        .abi_encode()
    }

    fn part(&self, target: Address, data: Vec<u8>) -> Call3 {
        Call3 {
            target: target.into_alloy(),
            allowFailure: true,
            callData: data.into(),
        }
    }

    /// Splits the answer into one fact, or one unreadable contract, for each read.
    ///
    /// # Errors
    /// [`AggregateError`], if nothing in the answer can be believed.
    pub fn decode(
        &self,
        returned: &[u8],
        now: Timestamp,
    ) -> Result<Vec<Result<Fact, Unreadable>>, AggregateError> {
        let (results,): (Results<'_>,) =
            abi::decode_params(returned).map_err(|_| AggregateError::Answer)?;
        let (block, chain, answers) = match results.0.as_slice() {
            [block, chain, answers @ ..] if answers.len() == self.reads.len() => {
                (block, chain, answers)
            }
            _ => return Err(AggregateError::Answer),
        };
        let block = own_word(block).ok_or(AggregateError::Answer)?;
        if own_word(chain).ok_or(AggregateError::Answer)? != self.chain.id() {
            return Err(AggregateError::WrongChain);
        }
        let fact = |(read, (success, data)): (&Read, &(WordToken, PackedSeqToken<'_>))| {
            let value = if is_true(success) {
                read.decode(data.0)
            } else {
                read.reverted(data.0)
            }?;
            Ok(Fact {
                value,
                block,
                read_at: now,
            })
        };
        Ok(self.reads.iter().zip(answers).map(fact).collect())
    }
}

/// Calldata of one `aggregate3` that asks the contract at an account about a signature, after a call that may
/// initialise it; the chain's id leads.
pub fn check_signature(
    multicall3: Address,
    check: &Check<'_>,
    initialisation: Option<&(Address, Vec<u8>)>,
) -> Vec<u8> {
    let call = |target: Address, data: Vec<u8>| Call3 {
        target: target.into_alloy(),
        allowFailure: true,
        callData: data.into(),
    };
    let mut calls = vec![call(multicall3, getChainIdCall {}.abi_encode())];
    calls.extend(initialisation.map(|(to, data)| call(*to, data.clone())));
    calls.push(call(
        check.account,
        erc1271::is_valid_signature(check.hash, check.signature),
    ));
    aggregate3Call { calls }.abi_encode()
}

/// The verdict in the answer to [`check_signature`], and the chain that gave it.
///
/// # Errors
/// [`DecodeError`], for anything but an answer of `aggregate3`.
pub fn decode_signature_check(returned: &[u8]) -> Result<(ChainId, Verdict), DecodeError> {
    let (results,): (Results<'_>,) = abi::decode_params(returned).map_err(|_| DecodeError)?;
    let [chain, .., (success, answer)] = results.0.as_slice() else {
        return Err(DecodeError);
    };
    let chain = own_word(chain).and_then(ChainId::new).ok_or(DecodeError)?;
    let verdict = match answer.0 {
        // A call of an address without code succeeds and says nothing.
        [] if is_true(success) => Verdict::NoCode,
        // Exactly the word: what follows it could be anything.
        word if is_true(success) && word == erc1271::ACCEPTED => Verdict::Accepted,
        _ => Verdict::Refused,
    };
    Ok((chain, verdict))
}

/// The number that a call of Multicall3's own answered.
fn own_word((success, data): &(WordToken, PackedSeqToken<'_>)) -> Option<u64> {
    let word = <[u8; 32]>::try_from(data.0)
        .ok()
        .filter(|_| is_true(success))?;
    u64::try_from(U256::from_be_bytes(word)).ok()
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
    use crate::fact::Value;

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
        Aggregate::new(ChainId::new(31337).unwrap(), CANONICAL, reads)
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

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
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
        // Selectors as published with the standards: getBlockNumber, getChainId, balanceOf, ownerOf.
        assert_eq!(selectors, ["42cbb15c", "3408e470", "70a08231", "6352211e"]);
        assert!(call.calls.iter().all(|call| call.allowFailure));
    }

    #[test]
    fn each_read_gets_its_own_answer_at_one_block() {
        let reverted = CallResult {
            success: false,
            returnData: vec![0x08, 0xc3, 0x79, 0xa0].into(),
        };
        let facts = aggregate()
            .decode(
                &answer(vec![word(100), word(31337), word(2), reverted]),
                now(),
            )
            .unwrap();
        assert_eq!(
            facts,
            [
                Ok(Fact {
                    value: Value::Amount(U256::from(2)),
                    block: 100,
                    read_at: now()
                }),
                Ok(Fact {
                    value: Value::Nobody,
                    block: 100,
                    read_at: now()
                })
            ]
        );
    }

    #[test]
    fn an_address_without_code_is_unreadable_and_not_a_zero() {
        let empty = || CallResult {
            success: true,
            returnData: Vec::new().into(),
        };
        let facts = aggregate()
            .decode(
                &answer(vec![word(100), word(31337), empty(), empty()]),
                now(),
            )
            .unwrap();
        assert_eq!(facts, [Err(Unreadable), Err(Unreadable)]);
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
        assert_eq!(
            aggregate().decode(&bomb, now()),
            Err(AggregateError::Answer)
        );
    }

    #[test]
    fn another_chain_an_empty_answer_and_a_short_one_are_not_believed() {
        let aggregate = aggregate();
        assert_eq!(
            aggregate.decode(&answer(vec![word(100), word(1), word(2), word(3)]), now()),
            Err(AggregateError::WrongChain)
        );
        assert_eq!(aggregate.decode(&[], now()), Err(AggregateError::Answer));
        assert_eq!(
            aggregate.decode(&answer(vec![word(100), word(31337), word(2)]), now()),
            Err(AggregateError::Answer)
        );
        let mut tampered = answer(vec![word(100), word(31337), word(2), word(3)]);
        tampered.truncate(tampered.len() - 1);
        assert_eq!(
            aggregate.decode(&tampered, now()),
            Err(AggregateError::Answer)
        );
    }
}
