//! ERC-6492: signatures of accounts that are not deployed yet.

use alloy_sol_types::{SolValue, sol_data};

use crate::Address;
use crate::signature::SignatureError;

/// What the wrapped form ends with.
pub const MAGIC: [u8; 32] = [
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
];

/// A signature with what deploys the account that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// The contract that deploys the account.
    pub factory: Address,
    /// What it is called with.
    pub factory_calldata: Vec<u8>,
    /// The signature that the account itself takes.
    pub signature: Vec<u8>,
}

/// Unwraps `abi.encode(factory, factoryCalldata, signature) ‖ magic`; `None` without the magic.
///
/// # Errors
/// [`SignatureError::Wrapper`], for the magic behind anything else.
pub fn unwrap(bytes: &[u8]) -> Result<Option<Wrapped>, SignatureError> {
    const ERROR: SignatureError = SignatureError::Wrapper("ERC-6492");
    type Parts = (sol_data::Address, sol_data::Bytes, sol_data::Bytes);
    let Some(encoded) = bytes.strip_suffix(&MAGIC) else {
        return Ok(None);
    };
    let (factory, factory_calldata, signature) =
        <Parts as alloy_sol_types::SolType>::abi_decode_params_validate(encoded)
            .map_err(|_| ERROR)?;
    let factory = Address::from_alloy(factory);
    // Without a factory the wrapper says nothing, and the check takes the zero address for its absence.
    if factory == Address::from_bytes([0; 20]) {
        return Err(ERROR);
    }
    Ok(Some(Wrapped {
        factory,
        factory_calldata: factory_calldata.into(),
        signature: signature.into(),
    }))
}

impl Wrapped {
    /// The wrapped form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts = (
            self.factory.into_alloy(),
            alloy_primitives::Bytes::copy_from_slice(&self.factory_calldata),
            alloy_primitives::Bytes::copy_from_slice(&self.signature),
        );
        let mut bytes = parts.abi_encode_params();
        bytes.extend(MAGIC);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped() -> Wrapped {
        Wrapped {
            factory: Address::from_bytes([5; 20]),
            factory_calldata: vec![1, 2, 3],
            signature: vec![4; 65],
        }
    }

    #[test]
    fn the_mark_is_the_published_one() {
        assert_eq!(hex::encode(MAGIC), "6492".repeat(16));
    }

    #[test]
    fn what_is_wrapped_is_unwrapped() {
        assert_eq!(unwrap(&wrapped().to_bytes()), Ok(Some(wrapped())));
        assert_eq!(unwrap(&[4; 65]), Ok(None));
        assert_eq!(unwrap(&[]), Ok(None));
    }

    #[test]
    fn the_mark_behind_anything_else_is_refused() {
        let bytes = wrapped().to_bytes();
        let (encoded, _) = bytes.split_at(bytes.len() - 32);
        for end in 0..encoded.len() {
            let cut = [&encoded[..end], &MAGIC].concat();
            // Trailing zero padding may be missing without a change of meaning; everything else may not.
            if let Ok(found) = unwrap(&cut) {
                assert_eq!(found, Some(wrapped()), "{end}");
            }
        }
        let nobody = Wrapped {
            factory: Address::from_bytes([0; 20]),
            ..wrapped()
        };
        assert!(unwrap(&nobody.to_bytes()).is_err());
    }
}
