//! secp256k1 signatures as wallets send them, and the recovery of their signer.

use k256::ecdsa::{self, RecoveryId, VerifyingKey};

use crate::address::Address;

/// A recoverable secp256k1 signature in the one form this service accepts.
///
/// Read from 65 bytes `r ‖ s ‖ v` with `v` in {0, 1, 27, 28}, or from the 64 bytes of EIP-2098. `s` is in the lower
/// half of the group order (EIP-2 section 2): a signature has no second form that also passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoverableSignature {
    signature: ecdsa::Signature,
    recovery_id: RecoveryId,
}

/// Why bytes are not an acceptable signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not `0x` and hexadecimal digits.
    #[error("a signature is 0x followed by hexadecimal digits")]
    Hex,
    /// Longer than [`MAX_LEN`].
    #[error("a signature has at most {MAX_LEN} bytes")]
    TooLong,
    /// Ends with the mark of ERC-6492 or ERC-8010 and is not what they define.
    #[error("the signature ends with the mark of {0} and is not wrapped as it says")]
    Wrapper(&'static str),
    /// Neither 65 nor 64 bytes.
    #[error("a signature has 65 bytes, or 64 in the form of EIP-2098")]
    Length,
    /// `v` is not one of 0, 1, 27, 28.
    #[error("the last byte of a signature must be 0, 1, 27 or 28")]
    RecoveryByte,
    /// `r` or `s` is zero or not below the group order.
    #[error("the signature's r or s is out of range")]
    OutOfRange,
    /// `s` is in the upper half of the group order.
    #[error("the signature's s is in the upper half of the group order")]
    HighS,
    /// No public key corresponds to the signature.
    #[error("no key could have made this signature")]
    Unrecoverable,
}

/// The longest signature read, in bytes: of many owners, or by a passkey, or wrapped with what deploys the account.
pub const MAX_LEN: usize = 16 * 1024;

/// Half the order of secp256k1, rounded down: the greatest `s` allowed by EIP-2.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

impl RecoverableSignature {
    /// Reads the 65 or 64 bytes of one signature.
    ///
    /// # Errors
    /// [`SignatureError`], for everything that is not exactly one acceptable signature.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        match *bytes {
            [ref rs @ .., v] if rs.len() == 64 => {
                let [r, s] = halves(rs)?;
                let odd = match v {
                    0 | 27 => false,
                    1 | 28 => true,
                    _ => return Err(SignatureError::RecoveryByte),
                };
                Self::new(r, s, odd)
            }
            _ if bytes.len() == 64 => {
                let [r, mut s] = halves(bytes)?;
                // EIP-2098: the parity of y is the top bit of s.
                let odd = s[0] & 0x80 != 0;
                s[0] &= 0x7f;
                Self::new(r, s, odd)
            }
            _ => Err(SignatureError::Length),
        }
    }

    /// A signature of its parts; `odd` is the parity of y.
    ///
    /// # Errors
    /// [`SignatureError::OutOfRange`] and [`SignatureError::HighS`].
    pub fn new(r: [u8; 32], s: [u8; 32], odd: bool) -> Result<Self, SignatureError> {
        let signature =
            ecdsa::Signature::from_scalars(r, s).map_err(|_| SignatureError::OutOfRange)?;
        // Recovery itself takes both halves; the lower one must be demanded here.
        if s > HALF_ORDER {
            return Err(SignatureError::HighS);
        }
        Ok(Self {
            signature,
            recovery_id: RecoveryId::new(odd, false),
        })
    }

    /// The address whose key signed the 32-byte `hash`.
    ///
    /// # Errors
    /// [`SignatureError::Unrecoverable`] where `r` is no x-coordinate on the curve.
    pub fn recover(&self, hash: &[u8; 32]) -> Result<Address, SignatureError> {
        let key = VerifyingKey::recover_from_prehash(hash, &self.signature, self.recovery_id)
            .map_err(|_| SignatureError::Unrecoverable)?;
        let point = key.to_sec1_point(false);
        // SEC 1 section 2.3.3: 0x04 ‖ x ‖ y. The address is the last 20 bytes of keccak-256(x ‖ y).
        let coordinates = point
            .as_bytes()
            .get(1..)
            .ok_or(SignatureError::Unrecoverable)?;
        Ok(Address::from_alloy(
            alloy_primitives::Address::from_raw_public_key(coordinates),
        ))
    }
}

/// The bytes of a signature of any kind, from `0x` and hexadecimal digits. A contract may accept any bytes, also none.
///
/// # Errors
/// [`SignatureError::Hex`] and [`SignatureError::TooLong`].
pub fn bytes_from_hex(text: &str) -> Result<Vec<u8>, SignatureError> {
    let digits = text.strip_prefix("0x").ok_or(SignatureError::Hex)?;
    // Bounded before it is decoded.
    if digits.len() > 2 * MAX_LEN {
        return Err(SignatureError::TooLong);
    }
    hex::decode(digits).map_err(|_| SignatureError::Hex)
}

fn halves(bytes: &[u8]) -> Result<[[u8; 32]; 2], SignatureError> {
    let (r, rest) = bytes
        .split_first_chunk::<32>()
        .ok_or(SignatureError::Length)?;
    let s = rest.first_chunk::<32>().ok_or(SignatureError::Length)?;
    Ok([*r, *s])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;

    const HASH: &str = "f5fe4d8f1cdd3d4e9f22f727871768d3c050cbd105bf1c7de6bedf516ff85633";
    const R: &str = "458dd2a4edb59845b994dcdc6b439edf867110e1fa5104e8bf5e20064beaad50";
    const S: &str = "5a4c5422f60aa5cbcf7e730e6d6747519b1172c1d696d1d0edad9295270ef33c";
    const SIGNER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

    fn recover(text: &str) -> Result<Address, SignatureError> {
        let mut hash = [0; 32];
        hex::decode_to_slice(HASH, &mut hash).unwrap();
        RecoverableSignature::from_bytes(&bytes_from_hex(text)?)?.recover(&hash)
    }

    #[test]
    fn every_accepted_form_recovers_the_same_signer() {
        let signer = SIGNER.parse().unwrap();
        assert_eq!(recover(&format!("0x{R}{S}1b")), Ok(signer));
        assert_eq!(recover(&format!("0x{R}{S}00")), Ok(signer));
        assert_eq!(
            recover(&format!("0x{R}{S}")),
            Ok(signer),
            "EIP-2098 with even y"
        );
        assert_eq!(
            recover(&format!("0x{}{}1B", R.to_uppercase(), S.to_uppercase())),
            Ok(signer)
        );
        assert_ne!(recover(&format!("0x{R}{S}1c")), Ok(signer));
    }

    #[test]
    fn the_odd_compact_form_is_the_same_as_v_28() {
        let mut s = hex::decode(S).unwrap();
        s[0] |= 0x80;
        assert_eq!(
            recover(&format!("0x{R}{}", hex::encode(s))),
            recover(&format!("0x{R}{S}1c"))
        );
    }

    #[test]
    fn the_high_s_twin_of_a_valid_signature_is_refused() {
        let twin = U256::from_str_radix(ORDER, 16).unwrap() - U256::from_str_radix(S, 16).unwrap();
        assert_eq!(
            recover(&format!("0x{R}{twin:064x}1c")),
            Err(SignatureError::HighS)
        );
        let half = U256::from_be_bytes(HALF_ORDER);
        assert_eq!(half, U256::from_str_radix(ORDER, 16).unwrap() >> 1);
        let read = |s: U256| {
            let bytes = bytes_from_hex(&format!("0x{R}{s:064x}1b")).unwrap();
            RecoverableSignature::from_bytes(&bytes)
        };
        assert!(read(half).is_ok());
        assert_eq!(read(half + U256::ONE), Err(SignatureError::HighS));
    }

    #[test]
    fn other_recovery_bytes_are_refused() {
        for v in (2..=26).chain(29..=255u8) {
            assert_eq!(
                recover(&format!("0x{R}{S}{v:02x}")),
                Err(SignatureError::RecoveryByte),
                "{v}"
            );
        }
    }

    #[test]
    fn out_of_range_scalars_and_other_shapes_are_refused() {
        let zero = "00".repeat(32);
        assert_eq!(
            recover(&format!("0x{zero}{S}1b")),
            Err(SignatureError::OutOfRange)
        );
        assert_eq!(
            recover(&format!("0x{R}{zero}1b")),
            Err(SignatureError::OutOfRange)
        );
        assert_eq!(
            recover(&format!("0x{ORDER}{S}1b")),
            Err(SignatureError::OutOfRange)
        );
        assert_eq!(recover(&format!("{R}{S}1b")), Err(SignatureError::Hex));
        assert_eq!(recover(&format!("0x{R}{S}1g")), Err(SignatureError::Hex));
        assert_eq!(
            recover(&format!("0x{R}{S}1b00")),
            Err(SignatureError::Length)
        );
        assert_eq!(recover("0x"), Err(SignatureError::Length));
        assert_eq!(
            recover(&format!("0x{}", "ß".repeat(65))),
            Err(SignatureError::Hex)
        );
        assert_eq!(recover("0x123"), Err(SignatureError::Hex));
        assert_eq!(
            recover(&format!("0x{}", "00".repeat(MAX_LEN + 1))),
            Err(SignatureError::TooLong)
        );
    }
}
