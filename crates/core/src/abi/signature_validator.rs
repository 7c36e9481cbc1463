//! The signature validator: a contract that is never deployed. Its creation code runs in one `eth_call` without a
//! destination, asks the account, and answers instead of leaving code behind (ERC-6492, "off-chain validation").

use alloy_primitives::{Bytes, FixedBytes};
use alloy_sol_types::{SolType, SolValue, sol_data};

use super::DecodeError;
use super::erc1271::{Check, Verdict};
use crate::{Address, ChainId, U256};

/// Creation code of `contracts/SignatureValidator.sol`, in hexadecimal; `tests/contracts/build.mjs` makes it.
const CREATION_CODE: &str = include_str!("../../contracts/SignatureValidator.hex");

/// Creation code and arguments for `check`, after a call of the factory if the account may still have to be deployed.
pub fn calldata(check: &Check<'_>, factory: Option<(Address, &[u8])>) -> Vec<u8> {
    let (factory, factory_calldata) = factory.unwrap_or((Address::from_bytes([0; 20]), &[]));
    let arguments = (
        check.account.into_alloy(),
        FixedBytes::from(check.hash),
        Bytes::copy_from_slice(check.signature),
        factory.into_alloy(),
        Bytes::copy_from_slice(factory_calldata),
    );
    // Committed by us, and held to its source by a test: it is hexadecimal.
    let mut data = hex::decode(CREATION_CODE.trim_ascii_end()).unwrap_or_default();
    data.extend(arguments.abi_encode_params());
    data
}

/// The verdict in the answer, and the chain that gave it.
///
/// # Errors
/// [`DecodeError`], for anything but the three words that the validator answers.
pub fn decode(returned: &[u8]) -> Result<(ChainId, Verdict), DecodeError> {
    type Answer = (sol_data::Uint<256>, sol_data::Uint<256>, sol_data::Uint<8>);
    let (chain, _block, verdict) =
        Answer::abi_decode_params_validate(returned).map_err(|_| DecodeError)?;
    let chain = chain_id(chain).ok_or(DecodeError)?;
    let verdict = match verdict {
        0 => Verdict::NoCode,
        1 => Verdict::Accepted,
        2 => Verdict::Refused,
        _ => return Err(DecodeError),
    };
    Ok((chain, verdict))
}

fn chain_id(word: U256) -> Option<ChainId> {
    u64::try_from(word).ok().and_then(ChainId::new)
}
