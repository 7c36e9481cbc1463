//! Who may have the service do what no visitor can: whoever has the operator's token.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// What the operator's token is compared by. The token itself is not kept.
#[derive(Clone, Debug)]
pub struct AdminToken(Secret<[u8; 32]>);

/// The token is too short to be kept secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has fewer than {} characters; `openssl rand -hex 32` makes one",
    AdminToken::LEAST_LEN
)]
pub struct TooShort;

impl AdminToken {
    /// The fewest characters that a token has.
    pub const LEAST_LEN: usize = 32;

    /// Takes the operator's token.
    ///
    /// # Errors
    /// [`TooShort`].
    pub fn new(token: &str) -> Result<Self, TooShort> {
        if token.chars().count() < Self::LEAST_LEN {
            return Err(TooShort);
        }
        Ok(Self(Secret::new(tag(token).finalize().into_bytes().into())))
    }

    /// Whether it is this one. The time that takes says nothing of how near somebody's guess is.
    pub fn is(&self, presented: &str) -> bool {
        tag(presented).verify_slice(self.0.expose()).is_ok()
    }
}

fn tag(token: &str) -> Hmac<Sha256> {
    #[expect(
        clippy::expect_used,
        reason = "HMAC is defined for keys of every length (RFC 2104 section 2)"
    )]
    let mut state =
        Hmac::<Sha256>::new_from_slice(token.as_bytes()).expect("HMAC takes keys of any length");
    state.update(b"tokengate admin v1");
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_passes_and_it_is_never_shown() {
        let text = "0123456789abcdef0123456789abcdef";
        let token = AdminToken::new(text).unwrap();
        assert!(token.is(text));
        for other in [
            "",
            "0123456789abcdef0123456789abcdeg",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcdef ",
        ] {
            assert!(!token.is(other), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "AdminToken([redacted])");
    }

    #[test]
    fn a_short_token_is_none() {
        assert_eq!(AdminToken::new("").unwrap_err(), TooShort);
        assert_eq!(AdminToken::new(&"x".repeat(31)).unwrap_err(), TooShort);
        assert!(AdminToken::new(&"x".repeat(32)).is_ok());
    }
}
