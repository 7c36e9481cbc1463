//! ERC-20 (EIP-20): fungible tokens. `balanceOf` has the same form as ERC-721's and counts smallest units.

use alloy_sol_types::{SolCall, sol};

use super::DecodeError;
pub use super::erc721::{balance_of, decode_balance};

sol! {
    function decimals() external view returns (uint8);
    function symbol() external view returns (string);
}

/// The longest symbol that is shown, in characters.
const MAX_SYMBOL_LEN: usize = 24;

/// Calldata of `decimals()`, which EIP-20 leaves optional.
pub fn decimals() -> Vec<u8> {
    decimalsCall {}.abi_encode()
}

/// The decimal places in the answer to [`decimals`].
///
/// # Errors
/// [`DecodeError`], also for the empty answer of an address without code.
pub fn decode_decimals(returned: &[u8]) -> Result<u8, DecodeError> {
    decimalsCall::abi_decode_returns_validate(returned).map_err(|_| DecodeError)
}

/// Calldata of `symbol()`, which EIP-20 and EIP-721 leave optional.
pub fn symbol() -> Vec<u8> {
    symbolCall {}.abi_encode()
}

/// The symbol in the answer to [`symbol`], to be shown: a string, or 32 bytes as some old tokens have it. A contract can
/// answer anything, so that all but graphic ASCII is replaced, and what is long is cut.
///
/// # Errors
/// [`DecodeError`], also for the empty answer of an address without code.
pub fn decode_symbol(returned: &[u8]) -> Result<String, DecodeError> {
    let text = match <&[u8; 32]>::try_from(returned) {
        Ok(word) => {
            let end = word.iter().position(|byte| *byte == 0);
            let text = word.get(..end.unwrap_or(word.len())).unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        }
        Err(_) => symbolCall::abi_decode_returns(returned).map_err(|_| DecodeError)?,
    };
    let shown = |letter: char| {
        if letter.is_ascii_graphic() {
            letter
        } else {
            '?'
        }
    };
    Ok(text.chars().take(MAX_SYMBOL_LEN).map(shown).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_graphic_ascii_and_short_whatever_the_contract_answers() {
        let string = |text: &str| symbolCall::abi_encode_returns(&text.to_owned());
        let mut word = [0; 32];
        word[..3].copy_from_slice(b"MKR");
        for (returned, symbol) in [
            (string("HOLD"), "HOLD"),
            (word.to_vec(), "MKR"),
            (string("\u{1b}[2J\u{202e}€"), "?[2J??"),
            (string(&"x".repeat(1000)), "xxxxxxxxxxxxxxxxxxxxxxxx"),
        ] {
            assert_eq!(decode_symbol(&returned).as_deref(), Ok(symbol));
        }
        assert_eq!(decode_symbol(&[]), Err(DecodeError));
    }

    #[test]
    fn decimals_are_a_small_number_or_none() {
        let word = |last: u8, first: u8| {
            let mut word = [0; 32];
            (word[0], word[31]) = (first, last);
            decode_decimals(&word)
        };
        assert_eq!(word(18, 0), Ok(18));
        assert_eq!(word(18, 1), Err(DecodeError));
        assert_eq!(decode_decimals(&[]), Err(DecodeError));
    }
}
