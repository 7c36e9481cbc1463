//! A signature check by Multicall3 at its canonical address, for nodes that run neither creation code without a destination
//! nor code of a state override. Nothing can be prepared that way: an account is asked as it is.

use alloy_sol_types::abi::token::{DynSeqToken, PackedSeqToken, WordToken};
use alloy_sol_types::{SolCall, abi, sol};

use super::DecodeError;
use super::erc1271::{self, Check, Verdict};
use super::signature_validator::parent_of;
use crate::block::ExecutionBlock;
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
    function getCurrentBlockTimestamp() external view returns (uint256 timestamp);
    function getLastBlockHash() external view returns (bytes32 blockHash);
    function arbBlockNumber() external view returns (uint256 number);
}

/// Where Multicall3 is deployed on most chains (mds1/multicall3, README).
pub const ADDRESS: Address = Address::from_bytes([
    0xca, 0x11, 0xbd, 0xe0, 0x59, 0x77, 0xb3, 0x63, 0x11, 0x67, 0x02, 0x88, 0x62, 0xbe, 0x2a, 0x17,
    0x39, 0x76, 0xca, 0x11,
]);

/// ArbSys of Arbitrum and Orbit chains, where contracts see another chain's block number.
const ARB_SYS: Address = Address::from_bytes([
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x64,
]);

/// What `aggregate3` returns. Borrowed, not copied: the offsets in an answer may all lead to the same bytes.
type Results<'a> = DynSeqToken<(WordToken, PackedSeqToken<'a>)>;

/// Calldata of one `aggregate3` that asks the contract at an account about a signature, after which block it is.
pub fn calldata(check: &Check<'_>) -> Vec<u8> {
    let part = |target: Address, data: Vec<u8>| Call3 {
        target: target.into_alloy(),
        allowFailure: true,
        callData: data.into(),
    };
    let calls = vec![
        part(ADDRESS, getChainIdCall {}.abi_encode()),
        part(ADDRESS, getBlockNumberCall {}.abi_encode()),
        part(ADDRESS, getCurrentBlockTimestampCall {}.abi_encode()),
        part(ADDRESS, getLastBlockHashCall {}.abi_encode()),
        part(
            check.account,
            erc1271::is_valid_signature(check.hash, check.signature),
        ),
        // Last: a precompiled contract that has this address on another chain may burn all gas that it is given.
        part(ARB_SYS, arbBlockNumberCall {}.abi_encode()),
    ];
    aggregate3Call { calls }.abi_encode()
}

/// The chain and the block in the answer to [`calldata`], and the verdict.
///
/// # Errors
/// [`DecodeError`], for anything but an answer of `aggregate3` to exactly these calls.
pub fn decode(returned: &[u8]) -> Result<(ChainId, ExecutionBlock, Verdict), DecodeError> {
    let (results,): (Results<'_>,) = abi::decode_params(returned).map_err(|_| DecodeError)?;
    let [chain, number, timestamp, parent, account, arb_sys] = results.0.as_slice() else {
        return Err(DecodeError);
    };
    let integer = |part| {
        let word = word(part)?;
        u64::try_from(U256::from_be_bytes(word)).ok()
    };
    let own = |part| integer(part).ok_or(DecodeError);
    let chain = ChainId::new(own(chain)?).ok_or(DecodeError)?;
    let (number, parent) = match integer(arb_sys) {
        // Multicall3 knows another chain's hashes there.
        Some(number) => (number, None),
        None => {
            let number = own(number)?;
            (number, parent_of(number, word(parent).ok_or(DecodeError)?))
        }
    };
    let block = ExecutionBlock {
        number,
        timestamp: own(timestamp)?,
        parent,
        reorged: false,
    };
    let (success, answer) = account;
    let verdict = match answer.0 {
        // A call of an address without code succeeds and says nothing.
        [] if is_true(success) => Verdict::NoCode,
        // Exactly the word: what follows it could be anything.
        word if is_true(success) && word == erc1271::ACCEPTED => Verdict::Accepted,
        _ => Verdict::Refused,
    };
    Ok((chain, block, verdict))
}

/// The word that a call answered.
fn word((success, data): &(WordToken, PackedSeqToken<'_>)) -> Option<[u8; 32]> {
    <[u8; 32]>::try_from(data.0)
        .ok()
        .filter(|_| is_true(success))
}

/// ABI-encoded `true`; everything else is not taken for it.
fn is_true(word: &WordToken) -> bool {
    U256::from_be_bytes(word.0.0) == U256::ONE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockId;

    fn word_of(value: u64) -> (bool, Vec<u8>) {
        (true, U256::from(value).to_be_bytes::<32>().to_vec())
    }

    fn answer(parts: Vec<(bool, Vec<u8>)>) -> Vec<u8> {
        let results: Vec<_> = parts
            .into_iter()
            .map(|(success, data)| CallResult {
                success,
                returnData: data.into(),
            })
            .collect();
        aggregate3Call::abi_encode_returns(&results)
    }

    fn parts(arb_sys: (bool, Vec<u8>), account: (bool, Vec<u8>)) -> Vec<(bool, Vec<u8>)> {
        vec![
            word_of(10),
            word_of(100),
            word_of(1_800_000_000),
            word_of(99),
            account,
            arb_sys,
        ]
    }

    #[test]
    fn the_address_is_the_published_one() {
        assert_eq!(
            ADDRESS.to_string(),
            "0xcA11bde05977b3631167028862bE2a173976CA11"
        );
    }

    #[test]
    fn only_exactly_the_magic_value_is_accepted() {
        let accepted = erc1271::ACCEPTED.to_vec();
        for (account, expected) in [
            ((true, vec![]), Verdict::NoCode),
            ((true, accepted.clone()), Verdict::Accepted),
            ((false, accepted.clone()), Verdict::Refused),
            ((false, vec![]), Verdict::Refused),
            ((true, [&accepted[..], &[0]].concat()), Verdict::Refused),
            ((true, accepted[..31].to_vec()), Verdict::Refused),
        ] {
            let (chain, block, verdict) = decode(&answer(parts((true, vec![]), account))).unwrap();
            assert_eq!((chain.id(), block.number, verdict), (10, 100, expected));
            let parent = BlockId {
                number: 99,
                hash: U256::from(99).to_be_bytes(),
            };
            assert_eq!(block.parent, Some(parent));
        }
    }

    #[test]
    fn where_arb_sys_answers_its_number_is_the_blocks_and_the_parent_is_unknown() {
        let answer = answer(parts(word_of(7_000), (true, vec![])));
        let (_, block, _) = decode(&answer).unwrap();
        assert_eq!((block.number, block.parent), (7_000, None));
    }

    #[test]
    fn an_answer_to_other_calls_is_none() {
        let sound = parts((true, vec![]), (true, vec![]));
        let mut failed = sound.clone();
        failed[0].0 = false;
        let longer = [sound.clone(), vec![word_of(1)]].concat();
        for results in [sound[..5].to_vec(), longer, failed, vec![]] {
            assert_eq!(decode(&answer(results)), Err(DecodeError));
        }
        assert_eq!(decode(&[]), Err(DecodeError));
    }
}
