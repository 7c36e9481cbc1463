//! ERC-8010: signatures of accounts that have signed their delegation (EIP-7702) and not sent it yet.

use alloy_primitives::keccak256;
use alloy_sol_types::{SolType, sol_data};

use crate::signature::{RecoverableSignature, SignatureError};
use crate::{Address, ChainId, U256};

/// What the wrapped form ends with.
pub const MAGIC: [u8; 32] = [
    0x80, 0x10, 0x80, 0x10, 0x80, 0x10, 0x80, 0x10, 0x80, 0x10, 0x80, 0x10, 0x80, 0x10, 0x80, 0x10,
    0x80, 0x10, 0x80, 0x10, 0x80, 0x10, 0x80, 0x10, 0x80, 0x10, 0x80, 0x10, 0x80, 0x10, 0x80, 0x10,
];

/// A signature with the authorization that gives the account the code to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// The delegation that the account's key signed.
    pub authorization: Authorization,
    /// A call that initialises the delegated account, if it needs one.
    pub initialisation: Option<(Address, Vec<u8>)>,
    /// The signature that the account's new code takes.
    pub signature: Vec<u8>,
}

/// An authorization tuple of EIP-7702: "run the code at this address for me".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// On this chain only, or on every one: 0.
    pub chain: u64,
    /// Whose code.
    pub delegation: Address,
    /// The account's nonce at which it is valid.
    pub nonce: u64,
    odd: bool,
    r: [u8; 32],
    s: [u8; 32],
}

impl Authorization {
    /// Whether it is valid on `chain`.
    pub const fn is_for(&self, chain: ChainId) -> bool {
        self.chain == 0 || self.chain == chain.id()
    }

    /// The account whose key signed it: over keccak-256 of `0x05 ‖ rlp([chain_id, address, nonce])`.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn authority(&self) -> Result<Address, SignatureError> {
        let mut list = Vec::new();
        rlp_integer(self.chain, &mut list);
        list.push(0x80 + 20);
        list.extend(self.delegation.as_bytes());
        rlp_integer(self.nonce, &mut list);
        // Two integers of at most 9 bytes and an address of 21: always the short form of a list.
        let header = 0xc0 + u8::try_from(list.len()).unwrap_or(0x37);
        let hash = keccak256([&[0x05, header], list.as_slice()].concat());
        RecoverableSignature::new(self.r, self.s, self.odd)?.recover(&hash.0)
    }

    /// The tuple as JSON-RPC has it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let word = |word: &[u8; 32]| format!("{:#x}", U256::from_be_bytes(*word));
        serde_json::json!({
            "chainId": format!("{:#x}", self.chain),
            "address": self.delegation.to_lower_hex(),
            "nonce": format!("{:#x}", self.nonce),
            "yParity": if self.odd { "0x1" } else { "0x0" },
            "r": word(&self.r),
            "s": word(&self.s),
        })
    }
}

/// RLP of an unsigned integer: no leading zeros, zero is the empty string.
fn rlp_integer(value: u64, into: &mut Vec<u8>) {
    match value {
        0 => into.push(0x80),
        1..=0x7f => into.extend(u8::try_from(value)),
        _ => {
            let bytes = value.to_be_bytes();
            let significant = bytes.iter().skip_while(|byte| **byte == 0);
            into.extend(u8::try_from(significant.clone().count()).map(|length| 0x80 + length));
            into.extend(significant);
        }
    }
}

/// Unwraps `signature ‖ abi.encode(authorization, to, data) ‖ length ‖ magic`; `None` without the magic.
///
/// # Errors
/// [`SignatureError::Wrapper`], for the magic behind anything else.
pub fn unwrap(bytes: &[u8]) -> Result<Option<Wrapped>, SignatureError> {
    let Some(rest) = bytes.strip_suffix(&MAGIC) else {
        return Ok(None);
    };
    read(rest)
        .map(Some)
        .ok_or(SignatureError::Wrapper("ERC-8010"))
}

fn read(bytes: &[u8]) -> Option<Wrapped> {
    type Tuple = (
        sol_data::Uint<256>,
        sol_data::Address,
        sol_data::Uint<256>,
        sol_data::Uint<8>,
        sol_data::Uint<256>,
        sol_data::Uint<256>,
    );
    type Suffix = (Tuple, sol_data::Address, sol_data::Bytes);
    let (rest, length) = bytes.split_last_chunk::<32>()?;
    let length = usize::try_from(U256::from_be_bytes(*length)).ok()?;
    let (signature, suffix) = rest.split_at_checked(rest.len().checked_sub(length)?)?;
    let ((chain, delegation, nonce, parity, r, s), to, data) =
        Suffix::abi_decode_params_validate(suffix).ok()?;
    let authorization = Authorization {
        chain: u64::try_from(chain).ok()?,
        delegation: Address::from_alloy(delegation),
        nonce: u64::try_from(nonce).ok()?,
        odd: match parity {
            0 => false,
            1 => true,
            _ => return None,
        },
        r: r.to_be_bytes(),
        s: s.to_be_bytes(),
    };
    Some(Wrapped {
        authorization,
        initialisation: (!data.is_empty()).then(|| (Address::from_alloy(to), data.into())),
        signature: signature.to_vec(),
    })
}
