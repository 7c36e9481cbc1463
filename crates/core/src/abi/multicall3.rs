//! Multicall3, by which signatures of accounts are checked whose delegation is not sent yet: such a call needs a
//! destination.

use super::DecodeError;
use super::erc1271::{self, Check, Verdict};
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
    function getChainId() external view returns (uint256 chainid);
}

/// What `aggregate3` returns. Borrowed, not copied: the offsets in an answer may all lead to the same bytes.
type Results<'a> = DynSeqToken<(WordToken, PackedSeqToken<'a>)>;

/// The address at which Multicall3 is deployed on most chains.
pub const CANONICAL: Address = Address::from_bytes([
    0xca, 0x11, 0xbd, 0xe0, 0x59, 0x77, 0xb3, 0x63, 0x11, 0x67, 0x02, 0x88, 0x62, 0xbe, 0x2a, 0x17,
    0x39, 0x76, 0xca, 0x11,
]);

fn part(target: Address, data: Vec<u8>) -> Call3 {
    Call3 {
        target: target.into_alloy(),
        allowFailure: true,
        callData: data.into(),
    }
}

/// Calldata of one `aggregate3` that asks the contract at an account about a signature, after a call that may
/// initialise it; the chain's id leads.
pub fn check_signature(
    multicall3: Address,
    check: &Check<'_>,
    initialisation: Option<&(Address, Vec<u8>)>,
) -> Vec<u8> {
    let mut calls = vec![part(multicall3, getChainIdCall {}.abi_encode())];
    calls.extend(initialisation.map(|(to, data)| part(*to, data.clone())));
    calls.push(part(
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
    let chain = own_number(chain)
        .and_then(ChainId::new)
        .ok_or(DecodeError)?;
    let verdict = match answer.0 {
        // A call of an address without code succeeds and says nothing.
        [] if is_true(success) => Verdict::NoCode,
        // Exactly the word: what follows it could be anything.
        word if is_true(success) && word == erc1271::ACCEPTED => Verdict::Accepted,
        _ => Verdict::Refused,
    };
    Ok((chain, verdict))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_address_is_the_published_one() {
        assert_eq!(
            CANONICAL.to_string(),
            "0xcA11bde05977b3631167028862bE2a173976CA11"
        );
    }
}
