//! Session tokens: compact, authenticated, checked without a lookup.
//!
//! `<kid>.<payload>.<tag>`: the payload is 61 bytes and the tag 32 bytes of HMAC-SHA-256, both base64url without
//! padding (RFC 4648 section 5).

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use jiff::Timestamp;

use crate::address::Address;
use crate::chain::ChainId;
use crate::eip191::VerifiedSigner;
use crate::keys::{KeyRing, Purpose};
use crate::nonce::{CLOCK_SKEW, ConsumedNonce};
use crate::secret::Secret;

const VERSION: u8 = 1;
const PAYLOAD: usize = 1 + 16 + 20 + 8 + 8 + 8;
/// A kid of 16, two dots, 61 and 32 bytes in base64url.
const MAX_TOKEN_LEN: usize = 16 + 1 + 82 + 1 + 43;

/// Who is signed in, until when. Made by [`mint`] from a verified signature, or by [`check`] from an authentic token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    id: [u8; 16],
    address: Address,
    chain: ChainId,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// Why a token opens no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this service.
    #[error("the session token is not valid")]
    Invalid,
    /// Past its end.
    #[error("the session has expired; sign in again")]
    Expired,
}

impl Session {
    /// The session's id, by which it is revoked: 32 hexadecimal digits.
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }

    /// The account that signed in.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// The chain named in the sign-in message.
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// When it was made.
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// When it ends.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

/// Opens a session for a signer whose nonce was consumed, and makes its token. Times are kept to the second.
pub fn mint(
    keys: &KeyRing,
    signer: VerifiedSigner,
    _proof: ConsumedNonce,
    now: Timestamp,
    ttl: Duration,
    id: [u8; 16],
) -> (Session, Secret<String>) {
    let issued_at = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let expires_at = issued_at.checked_add(ttl).unwrap_or(issued_at);
    let session = Session {
        id,
        address: signer.address(),
        chain: signer.chain(),
        issued_at,
        expires_at,
    };
    let token = encode(keys, &session);
    (session, token)
}

fn encode(keys: &KeyRing, session: &Session) -> Secret<String> {
    let mut payload = Vec::with_capacity(PAYLOAD);
    payload.push(VERSION);
    payload.extend_from_slice(&session.id);
    payload.extend_from_slice(session.address.as_bytes());
    payload.extend_from_slice(&session.chain.id().to_be_bytes());
    payload.extend_from_slice(&session.issued_at.as_second().to_be_bytes());
    payload.extend_from_slice(&session.expires_at.as_second().to_be_bytes());
    let (kid, tag) = keys.sign(Purpose::Session, &[&payload]);
    Secret::new(format!(
        "{kid}.{}.{}",
        Base64UrlUnpadded::encode_string(&payload),
        Base64UrlUnpadded::encode_string(&tag)
    ))
}

/// Reads a token and checks its tag and its end. Whether it was revoked is the store's knowledge.
///
/// # Errors
/// [`TokenError`]; which part of a foreign token is wrong is not told.
pub fn check(keys: &KeyRing, token: &str, now: Timestamp) -> Result<Session, TokenError> {
    if token.len() > MAX_TOKEN_LEN {
        return Err(TokenError::Invalid);
    }
    let mut parts = token.split('.');
    let (Some(kid), Some(payload), Some(tag), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Invalid);
    };
    let mut bytes = [0; PAYLOAD];
    let mut mac = [0; 32];
    let payload_len = Base64UrlUnpadded::decode(payload, &mut bytes)
        .map_err(|_| TokenError::Invalid)?
        .len();
    let tag_len = Base64UrlUnpadded::decode(tag, &mut mac)
        .map_err(|_| TokenError::Invalid)?
        .len();
    if payload_len != PAYLOAD
        || tag_len != mac.len()
        || !keys.verify(Purpose::Session, Some(kid), &[&bytes], &mac)
    {
        return Err(TokenError::Invalid);
    }
    let session = decode(&bytes).ok_or(TokenError::Invalid)?;
    if now >= session.expires_at {
        return Err(TokenError::Expired);
    }
    // Older than its own issue: the clock is wrong, and a clock that runs behind must not prolong anything.
    if session.issued_at > now.checked_add(CLOCK_SKEW).unwrap_or(now) {
        return Err(TokenError::Invalid);
    }
    Ok(session)
}

fn decode(payload: &[u8; PAYLOAD]) -> Option<Session> {
    let (version, rest) = payload.split_first()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (address, rest) = rest.split_first_chunk::<20>()?;
    let (chain, rest) = rest.split_first_chunk::<8>()?;
    let (issued, expires) = rest.split_first_chunk::<8>()?;
    if *version != VERSION {
        return None;
    }
    Some(Session {
        id: *id,
        address: Address::from_bytes(*address),
        chain: ChainId::new(u64::from_be_bytes(*chain))?,
        issued_at: Timestamp::from_second(i64::from_be_bytes(*issued)).ok()?,
        expires_at: Timestamp::from_second(i64::from_be_bytes(*expires.first_chunk()?)).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> KeyRing {
        KeyRing::parse(&format!("a:{}", "11".repeat(32))).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn session() -> Session {
        Session {
            id: [3; 16],
            address: Address::from_bytes([7; 20]),
            chain: ChainId::new(1).unwrap(),
            issued_at: at(0),
            expires_at: at(60),
        }
    }

    #[test]
    fn a_token_is_read_back_until_its_end() {
        let token = encode(&keys(), &session());
        assert_eq!(check(&keys(), token.expose(), at(59)), Ok(session()));
        assert_eq!(
            check(&keys(), token.expose(), at(60)),
            Err(TokenError::Expired)
        );
        assert_eq!(
            check(&keys(), token.expose(), at(-31)),
            Err(TokenError::Invalid),
            "a clock that is far behind"
        );
    }

    #[test]
    fn every_changed_character_is_refused() {
        let token = encode(&keys(), &session()).expose().clone();
        for position in 0..token.len() {
            for replacement in [b'A', b'B', b'.', b'='] {
                let mut bytes = token.clone().into_bytes();
                if bytes[position] == replacement {
                    continue;
                }
                bytes[position] = replacement;
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(
                    check(&keys(), &changed, at(1)),
                    Err(TokenError::Invalid),
                    "{position}"
                );
            }
        }
    }

    #[test]
    fn tokens_of_other_keys_and_kids_are_refused() {
        let token = encode(&keys(), &session()).expose().clone();
        for ring in [
            format!("a:{}", "22".repeat(32)),
            format!("b:{}", "11".repeat(32)),
        ] {
            assert_eq!(
                check(&KeyRing::parse(&ring).unwrap(), &token, at(1)),
                Err(TokenError::Invalid)
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in ".{0,200}") {
            prop_assert_eq!(check(&keys(), &text, at(1)), Err(TokenError::Invalid));
        }
    }
}
