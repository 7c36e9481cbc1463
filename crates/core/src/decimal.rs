//! Amounts and token ids as decimal strings.

use crate::U256;

/// Reads one or more ASCII digits as a 256-bit number.
pub(crate) fn parse(digits: &str) -> Option<U256> {
    let decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if decimal {
        U256::from_str_radix(digits, 10).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_up_to_256_bits_are_amounts() {
        assert_eq!(parse("007"), Some(U256::from(7)));
        assert_eq!(parse(&U256::MAX.to_string()), Some(U256::MAX));
        for text in [
            "",
            "-1",
            "+1",
            "1_0",
            "0x1",
            " 1",
            "1.0",
            "115792089237316195423570985008687907853269984665640564039457584007913129639936",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
