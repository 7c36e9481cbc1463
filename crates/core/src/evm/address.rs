//! Account and contract addresses with their EIP-55 checksum.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A 20-byte account or contract address.
///
/// Written with its EIP-55 checksum; read in any case, except that mixed case must carry a correct checksum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(alloy_primitives::Address);

/// Why a string is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `0x` followed by 40 hexadecimal digits.
    #[error("an address is 0x followed by 40 hexadecimal digits")]
    Shape,
    /// Mixed case whose checksum is wrong (EIP-55).
    #[error(
        "the mixed-case address fails its EIP-55 checksum; write it in lower case or correct it"
    )]
    Checksum,
}

impl Address {
    /// The address made of these 20 bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(alloy_primitives::Address::new(bytes))
    }

    /// The 20 bytes.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0.0.0
    }

    /// Lower-case hexadecimal with `0x`: the form used in store keys.
    pub fn to_lower_hex(&self) -> String {
        format!("{:#x}", self.0)
    }

    pub(crate) const fn from_alloy(address: alloy_primitives::Address) -> Self {
        Self(address)
    }

    pub(crate) const fn into_alloy(self) -> alloy_primitives::Address {
        self.0
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let digits = text.strip_prefix("0x").ok_or(AddressError::Shape)?;
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| AddressError::Shape)?;
        let address = Self::from_bytes(bytes);
        let lower = digits.bytes().any(|b| b.is_ascii_lowercase());
        let upper = digits.bytes().any(|b| b.is_ascii_uppercase());
        if lower && upper && address.to_string() != text {
            return Err(AddressError::Checksum);
        }
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_checksum_buffer(None).as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum examples of EIP-55, section "Test Cases".
    const EIP55: [&str; 8] = [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    #[test]
    fn the_examples_of_eip55_are_read_and_written_back() {
        for text in EIP55 {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn one_case_needs_no_checksum_and_mixed_case_does() {
        let text = EIP55[4];
        let digits = &text[2..];
        let address: Address = text.parse().unwrap();
        assert_eq!(format!("0x{}", digits.to_lowercase()).parse(), Ok(address));
        assert_eq!(format!("0x{}", digits.to_uppercase()).parse(), Ok(address));
        let wrong = text.replacen('a', "A", 1);
        assert_eq!(wrong.parse::<Address>(), Err(AddressError::Checksum));
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "",
            "0x",
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0X5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
            "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beae",
            "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaedd",
            "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beagd",
        ] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Shape), "{text}");
        }
    }
}
