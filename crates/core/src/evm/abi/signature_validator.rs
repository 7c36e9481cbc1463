//! The signature validator: a contract that is never deployed. Its creation code, with the arguments behind it, runs in one
//! `eth_call` and answers instead of leaving code behind (ERC-6492, "off-chain validation").
//!
//! The same bytes run in two ways: without a destination, as creation code; and as the code of [`ADDRESS`], by a state
//! override. A call that carries authorizations needs a destination (EIP-7702), so there only the second one is possible.

use alloy_primitives::{Bytes, FixedBytes};
use alloy_sol_types::SolValue;

use super::DecodeError;
use super::erc1271::{Check, Verdict};
use crate::block::{BlockId, ExecutionBlock};
use crate::{Address, ChainId, U256};

/// Creation code of `contracts/SignatureValidator.sol`, in hexadecimal; `tests/contracts/build.mjs` makes it.
const CREATION_CODE: &str = include_str!("../../../contracts/SignatureValidator.hex");

/// Where the validator is put by a state override. Nothing is deployed there.
pub const ADDRESS: Address = Address::from_bytes(*b"tokengate validator ");

/// What may be done to an account that does not accept the signature as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparation<'a> {
    /// Nothing.
    None,
    /// If it has no code, this factory is called with this calldata, and has to return the account's address (ERC-6492).
    Factory(Address, &'a [u8]),
    /// If its code refuses, the account is called with this calldata (ERC-8010).
    Initialisation(&'a [u8]),
}

/// Creation code and arguments for `check`.
pub fn code(check: &Check<'_>, preparation: Preparation<'_>) -> Vec<u8> {
    let (factory, calldata) = match preparation {
        Preparation::None => (Address::from_bytes([0; 20]), &[][..]),
        Preparation::Factory(factory, calldata) => (factory, calldata),
        Preparation::Initialisation(calldata) => (Address::from_bytes([0; 20]), calldata),
    };
    let arguments = (
        check.account.into_alloy(),
        FixedBytes::from(check.hash),
        Bytes::copy_from_slice(check.signature),
        factory.into_alloy(),
        Bytes::copy_from_slice(calldata),
    );
    // Committed by us, and held to its source by a test: it is hexadecimal.
    let mut code = hex::decode(CREATION_CODE.trim_ascii_end()).unwrap_or_default();
    code.extend(arguments.abi_encode_params());
    code
}

/// The chain and the block in the answer, and the verdict.
///
/// # Errors
/// [`DecodeError`], for anything but the five words that the validator answers.
pub fn decode(returned: &[u8]) -> Result<(ChainId, ExecutionBlock, Verdict), DecodeError> {
    let (words, rest) = returned.as_chunks::<32>();
    let ([chain, number, timestamp, parent, verdict], []) = (words, rest) else {
        return Err(DecodeError);
    };
    let integer =
        |word: &[u8; 32]| u64::try_from(U256::from_be_bytes(*word)).map_err(|_| DecodeError);
    let chain = ChainId::new(integer(chain)?).ok_or(DecodeError)?;
    let number = integer(number)?;
    let verdict = match integer(verdict)? {
        0 => Verdict::NoCode,
        1 => Verdict::Accepted,
        2 => Verdict::Refused,
        3 => Verdict::Initialised,
        _ => return Err(DecodeError),
    };
    let block = ExecutionBlock {
        number,
        timestamp: integer(timestamp)?,
        parent: parent_of(number, *parent),
        reorged: false,
    };
    Ok((chain, block, verdict))
}

/// The block before the one of this number; none where the hash is the zero that stands for one out of reach.
pub(super) fn parent_of(number: u64, hash: [u8; 32]) -> Option<BlockId> {
    let number = number.checked_sub(1)?;
    (hash != [0; 32]).then_some(BlockId { number, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(words: [u64; 5]) -> Vec<u8> {
        words
            .map(|word| U256::from(word).to_be_bytes::<32>())
            .concat()
    }

    #[test]
    fn an_answer_of_five_words_is_chain_block_and_verdict() {
        let (chain, block, verdict) = decode(&answer([10, 100, 1_800_000_000, 99, 1])).unwrap();
        assert_eq!((chain.id(), verdict), (10, Verdict::Accepted));
        let parent = BlockId {
            number: 99,
            hash: U256::from(99).to_be_bytes(),
        };
        let expected = ExecutionBlock {
            number: 100,
            timestamp: 1_800_000_000,
            parent: Some(parent),
            reorged: false,
        };
        assert_eq!(block, expected);
        for (number, hash) in [(100, 0), (0, 0), (0, 9)] {
            let (_, block, _) = decode(&answer([10, number, 5, hash, 1])).unwrap();
            assert_eq!((block.number, block.parent), (number, None));
        }
    }

    #[test]
    fn an_answer_of_another_length_or_with_an_unknown_verdict_is_none() {
        let sound = answer([10, 100, 5, 99, 1]);
        let mut wide = sound.clone();
        wide[32] = 1;
        for returned in [
            &sound[..159],
            &[&sound[..], &[0]].concat(),
            &[&sound[..], &[0; 32]].concat(),
            &sound[..96],
            &[],
            &answer([10, 100, 5, 99, 4]),
            &answer([0, 100, 5, 99, 1]),
            &wide,
        ] {
            assert_eq!(
                decode(returned),
                Err(DecodeError),
                "{}",
                hex::encode(returned)
            );
        }
    }
}
