//! Stateless, authenticated sign-in nonces (EIP-4361 `nonce`): minted without a write, accepted once.
//!
//! A nonce says when it was made and carries a tag over what it was made for, so the service remembers nothing until
//! a signature has verified. Accepting it once is the store's part: [`PendingNonce::id`] is what the store counts and
//! [`PendingNonce::consume`] turns the first count into the proof that a session needs.

use std::time::Duration;

use jiff::Timestamp;

use crate::address::Address;
use crate::chain::ChainId;
use crate::keys::{KeyRing, Purpose};

/// How far the clocks of the service's instances may be apart.
pub const CLOCK_SKEW: Duration = Duration::from_secs(30);

const VERSION: u8 = 1;
const RANDOM: usize = 16;
const TAG: usize = 16;
const HEADER: usize = 1 + 8 + RANDOM;

/// What a nonce is good for: signing in at this domain, on this chain, with this account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// RFC 3986 authority of the sign-in.
    pub domain: &'a str,
    /// The chain of the session.
    pub chain: ChainId,
    /// The account that asked.
    pub address: Address,
}

/// A nonce that is authentic, bound to the message and in time, and not yet counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingNonce {
    id: String,
}

/// Proof that a nonce was accepted for the first time. Only [`PendingNonce::consume`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct ConsumedNonce(());

/// Why a nonce is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// Not made by this service for this domain, chain and account.
    #[error("the nonce was not issued by this service for this domain, chain and address")]
    Foreign,
    /// Too old, or from the future.
    #[error("the nonce has expired; ask for a new challenge")]
    Expired,
}

impl Binding<'_> {
    fn parts<'a>(&'a self, header: &'a [u8], chain: &'a [u8; 8]) -> [&'a [u8]; 4] {
        // Fixed-length parts first and the one of variable length last: no two bindings share a byte string.
        [
            header,
            chain,
            self.address.as_bytes(),
            self.domain.as_bytes(),
        ]
    }
}

/// Makes a nonce: 82 lower-case hexadecimal digits.
pub fn mint(keys: &KeyRing, binding: &Binding<'_>, now: Timestamp, random: [u8; RANDOM]) -> String {
    let mut bytes = Vec::with_capacity(HEADER + TAG);
    bytes.push(VERSION);
    bytes.extend_from_slice(&now.as_millisecond().to_be_bytes());
    bytes.extend_from_slice(&random);
    let (_, tag) = keys.sign(
        Purpose::Nonce,
        &binding.parts(&bytes, &binding.chain.id().to_be_bytes()),
    );
    bytes.extend(tag.iter().take(TAG));
    hex::encode(bytes)
}

/// Checks that `nonce` is ours, made for `binding`, and at most `ttl` old.
///
/// # Errors
/// [`NonceError`]. A nonce with another version, length or tag is as foreign as a made-up one.
pub fn check(
    keys: &KeyRing,
    nonce: &str,
    binding: &Binding<'_>,
    now: Timestamp,
    ttl: Duration,
) -> Result<PendingNonce, NonceError> {
    let mut bytes = [0; HEADER + TAG];
    hex::decode_to_slice(nonce, &mut bytes).map_err(|_| NonceError::Foreign)?;
    let (header, tag) = bytes.split_at(HEADER);
    let chain = binding.chain.id().to_be_bytes();
    if !keys.verify(Purpose::Nonce, None, &binding.parts(header, &chain), tag) {
        return Err(NonceError::Foreign);
    }
    let (version, rest) = header.split_first().ok_or(NonceError::Foreign)?;
    let (millis, random) = rest.split_first_chunk::<8>().ok_or(NonceError::Foreign)?;
    if *version != VERSION {
        return Err(NonceError::Foreign);
    }
    let issued = Timestamp::from_millisecond(i64::from_be_bytes(*millis))
        .map_err(|_| NonceError::Foreign)?;
    let age = now.duration_since(issued);
    let in_time = age <= signed(ttl) && age >= -signed(CLOCK_SKEW);
    if !in_time {
        return Err(NonceError::Expired);
    }
    // The id is derived from decoded bytes: hexadecimal digits in another case are no second nonce.
    Ok(PendingNonce {
        id: hex::encode(random),
    })
}

impl PendingNonce {
    /// What the store counts: 32 hexadecimal digits, unique to the nonce.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The proof of first use, if `count` (the store's counter for [`Self::id`] after incrementing it) is 1.
    pub fn consume(self, count: u64) -> Option<ConsumedNonce> {
        (count == 1).then_some(ConsumedNonce(()))
    }
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn keys() -> KeyRing {
        KeyRing::parse(&format!("a:{}", "11".repeat(32))).unwrap()
    }

    fn binding() -> Binding<'static> {
        Binding {
            domain: "gate.example",
            chain: ChainId::new(1).unwrap(),
            address: Address::from_bytes([7; 20]),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_nonce_is_good_for_what_it_was_made_for_and_nothing_else() {
        let nonce = mint(&keys(), &binding(), at(0), [9; 16]);
        assert!(check(&keys(), &nonce, &binding(), at(1), TTL).is_ok());
        let other_keys = KeyRing::parse(&format!("a:{}", "22".repeat(32))).unwrap();
        assert_eq!(
            check(&other_keys, &nonce, &binding(), at(1), TTL),
            Err(NonceError::Foreign)
        );
        for other in [
            Binding {
                domain: "gate.examples",
                ..binding()
            },
            Binding {
                chain: ChainId::new(2).unwrap(),
                ..binding()
            },
            Binding {
                address: Address::from_bytes([8; 20]),
                ..binding()
            },
        ] {
            assert_eq!(
                check(&keys(), &nonce, &other, at(1), TTL),
                Err(NonceError::Foreign),
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_nonce_expires_and_does_not_come_from_the_future() {
        let nonce = mint(&keys(), &binding(), at(0), [9; 16]);
        assert!(check(&keys(), &nonce, &binding(), at(300), TTL).is_ok());
        assert_eq!(
            check(&keys(), &nonce, &binding(), at(301), TTL),
            Err(NonceError::Expired)
        );
        assert!(check(&keys(), &nonce, &binding(), at(-30), TTL).is_ok());
        assert_eq!(
            check(&keys(), &nonce, &binding(), at(-31), TTL),
            Err(NonceError::Expired)
        );
    }

    #[test]
    fn every_changed_digit_is_refused() {
        let nonce = mint(&keys(), &binding(), at(0), [9; 16]);
        for position in 0..nonce.len() {
            let mut digits = nonce.clone().into_bytes();
            digits[position] = if digits[position] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(digits).unwrap();
            assert_eq!(
                check(&keys(), &changed, &binding(), at(1), TTL),
                Err(NonceError::Foreign),
                "{position}"
            );
        }
        assert_eq!(
            check(&keys(), &nonce[2..], &binding(), at(1), TTL),
            Err(NonceError::Foreign)
        );
        assert_eq!(
            check(&keys(), "", &binding(), at(1), TTL),
            Err(NonceError::Foreign)
        );
    }

    #[test]
    fn another_case_is_the_same_nonce_and_only_the_first_count_consumes_it() {
        let nonce = mint(&keys(), &binding(), at(0), [0xab; 16]);
        let pending = check(&keys(), &nonce, &binding(), at(1), TTL).unwrap();
        let upper = check(&keys(), &nonce.to_uppercase(), &binding(), at(1), TTL).unwrap();
        assert_eq!(pending.id(), upper.id());
        assert!(pending.consume(1).is_some());
        for count in [0, 2, u64::MAX] {
            assert!(upper.clone().consume(count).is_none());
        }
    }
}
