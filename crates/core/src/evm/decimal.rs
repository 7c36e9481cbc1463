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

/// Reads a number with at most `places` digits behind its point as so many of its smallest units: with 2 places, `1.5`
/// is 150.
pub(crate) fn parse_scaled(text: &str, places: usize) -> Option<U256> {
    let (whole, fraction) = match text.split_once('.') {
        None => (text, ""),
        Some((_, "")) => return None,
        Some(parts) => parts,
    };
    let missing = places.checked_sub(fraction.len())?;
    parse(whole)?;
    parse(&format!("{whole}{fraction}{}", "0".repeat(missing)))
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

    #[test]
    fn decimal_amounts_are_whole_in_their_smallest_units() {
        for (text, places, units) in [
            ("1.5", 18, Some("1500000000000000000")),
            ("1.50", 2, Some("150")),
            ("0.01", 2, Some("1")),
            ("7", 0, Some("7")),
            ("7", 2, Some("700")),
            (
                "115792089237316195423570985008687907853269984665640564039457.584007913129639935",
                18,
                Some(
                    "115792089237316195423570985008687907853269984665640564039457584007913129639935",
                ),
            ),
            (
                "115792089237316195423570985008687907853269984665640564039457.584007913129639936",
                18,
                None,
            ),
            ("1.500", 2, None),
            ("1.5", 0, None),
            ("1.", 2, None),
            (".5", 2, None),
            ("1.5.5", 2, None),
            ("1,5", 2, None),
            ("1e2", 2, None),
            ("-1.5", 2, None),
            ("1.-5", 2, None),
            ("", 2, None),
        ] {
            let found = parse_scaled(text, places).map(|units| units.to_string());
            assert_eq!(found.as_deref(), units, "{text}");
        }
    }
}
