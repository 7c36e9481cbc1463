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

/// The first byte: made for one address, or for whichever signs first. Earlier editions had 1.
const FOR_ADDRESS: u8 = 2;
const FOR_ANYBODY: u8 = 3;
const RANDOM: usize = 16;
const TAG: usize = 16;
const HEADER: usize = 1 + 8 + RANDOM;

/// What a nonce is good for: signing in at this domain, on this chain, with this account, where this store counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The id of the store that counts its use: another store has not counted it.
    pub store: [u8; 16],
    /// RFC 3986 authority of the sign-in.
    pub domain: &'a str,
    /// The chain of the session.
    pub chain: ChainId,
    /// The account that asked, if it was known.
    pub address: Option<Address>,
}

/// A nonce that is authentic, bound to the message and in time, and not yet counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingNonce {
    id: String,
    expires_at: Timestamp,
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

/// The tag's input. Parts of fixed length first and the one of variable length last: no two bindings share a byte string.
fn tagged<'a>(
    header: &'a [u8],
    store: &'a [u8; 16],
    chain: &'a [u8; 8],
    address: &'a [u8],
    domain: &'a str,
) -> [&'a [u8]; 5] {
    [header, store, chain, address, domain.as_bytes()]
}

/// Makes a nonce that can be used until `ttl` from `now`: 82 lower-case hexadecimal digits.
pub fn mint(
    keys: &KeyRing,
    binding: &Binding<'_>,
    now: Timestamp,
    ttl: Duration,
    random: [u8; RANDOM],
) -> String {
    let expires_at = now.checked_add(ttl).unwrap_or(now);
    let mut bytes = Vec::with_capacity(HEADER + TAG);
    bytes.push(match binding.address {
        Some(_) => FOR_ADDRESS,
        None => FOR_ANYBODY,
    });
    bytes.extend_from_slice(&expires_at.as_millisecond().to_be_bytes());
    bytes.extend_from_slice(&random);
    let address = binding.address.as_ref().map_or(&[][..], |a| a.as_bytes());
    let chain = binding.chain.id().to_be_bytes();
    let parts = tagged(&bytes, &binding.store, &chain, address, binding.domain);
    let (_, tag) = keys.sign(Purpose::Nonce, &parts);
    bytes.extend(tag.iter().take(TAG));
    hex::encode(bytes)
}

/// Checks that `nonce` is ours, was made for `binding` (or for its domain and chain and any account), and has not
/// expired; one that lasts longer than `ttl` comes from a clock that is not to be believed.
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
    let (version, rest) = header.split_first().ok_or(NonceError::Foreign)?;
    let address = match (*version, &binding.address) {
        (FOR_ADDRESS, Some(address)) => address.as_bytes().as_slice(),
        (FOR_ANYBODY, _) => &[],
        _ => return Err(NonceError::Foreign),
    };
    let chain = binding.chain.id().to_be_bytes();
    let parts = tagged(header, &binding.store, &chain, address, binding.domain);
    if !keys.verify(Purpose::Nonce, None, &parts, tag) {
        return Err(NonceError::Foreign);
    }
    let (millis, random) = rest.split_first_chunk::<8>().ok_or(NonceError::Foreign)?;
    let expires_at = Timestamp::from_millisecond(i64::from_be_bytes(*millis))
        .map_err(|_| NonceError::Foreign)?;
    let left = expires_at.duration_since(now);
    let in_time = left >= -signed(CLOCK_SKEW) && left <= signed(ttl.saturating_add(CLOCK_SKEW));
    if !in_time {
        return Err(NonceError::Expired);
    }
    // The id is derived from decoded bytes: hexadecimal digits in another case are no second nonce.
    Ok(PendingNonce {
        id: hex::encode(random),
        expires_at,
    })
}

impl PendingNonce {
    /// What the store counts: 32 hexadecimal digits, unique to the nonce.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// From when on it is refused for its age everywhere, whatever the clocks: its count need not be kept any longer.
    pub fn forgettable_at(&self) -> Timestamp {
        self.expires_at
            .checked_add(CLOCK_SKEW.saturating_mul(2))
            .unwrap_or(Timestamp::MAX)
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
            store: [5; 16],
            domain: "gate.example",
            chain: ChainId::new(1).unwrap(),
            address: Some(Address::from_bytes([7; 20])),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_nonce_is_good_for_what_it_was_made_for_and_nothing_else() {
        let nonce = mint(&keys(), &binding(), at(0), TTL, [9; 16]);
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
                address: Some(Address::from_bytes([8; 20])),
                ..binding()
            },
            Binding {
                store: [6; 16],
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
    fn a_nonce_for_nobody_in_particular_is_good_for_anybody_and_still_for_one_place() {
        let unbound = Binding {
            address: None,
            ..binding()
        };
        let nonce = mint(&keys(), &unbound, at(0), TTL, [9; 16]);
        assert!(check(&keys(), &nonce, &binding(), at(1), TTL).is_ok());
        let elsewhere = Binding {
            domain: "gate.examples",
            ..binding()
        };
        assert_eq!(
            check(&keys(), &nonce, &elsewhere, at(1), TTL),
            Err(NonceError::Foreign)
        );
        // One that was made for an account cannot be turned into one for all.
        let bound = mint(&keys(), &binding(), at(0), TTL, [9; 16]);
        let turned = format!("03{}", &bound[2..]);
        assert_eq!(
            check(&keys(), &turned, &binding(), at(1), TTL),
            Err(NonceError::Foreign)
        );
    }

    #[test]
    fn a_nonce_expires_and_does_not_come_from_the_future() {
        let nonce = mint(&keys(), &binding(), at(0), TTL, [9; 16]);
        let checked = |second| check(&keys(), &nonce, &binding(), at(second), TTL);
        assert!(checked(330).is_ok(), "clocks may differ");
        assert_eq!(checked(331), Err(NonceError::Expired));
        assert!(checked(-30).is_ok());
        assert_eq!(checked(-31), Err(NonceError::Expired));
    }

    #[test]
    fn a_count_is_kept_for_as_long_as_any_clock_accepts_the_nonce() {
        let nonce = mint(&keys(), &binding(), at(0), TTL, [9; 16]);
        let forgettable_at = check(&keys(), &nonce, &binding(), at(1), TTL)
            .unwrap()
            .forgettable_at();
        // The clock that accepts it longest is as far behind as clocks may be.
        let behind = forgettable_at.checked_sub(CLOCK_SKEW).unwrap();
        assert!(check(&keys(), &nonce, &binding(), behind, TTL).is_ok());
        let later = behind + Duration::from_millis(1);
        assert_eq!(
            check(&keys(), &nonce, &binding(), later, TTL),
            Err(NonceError::Expired)
        );
    }

    #[test]
    fn every_changed_digit_is_refused() {
        let nonce = mint(&keys(), &binding(), at(0), TTL, [9; 16]);
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
        let nonce = mint(&keys(), &binding(), at(0), TTL, [0xab; 16]);
        let pending = check(&keys(), &nonce, &binding(), at(1), TTL).unwrap();
        let upper = check(&keys(), &nonce.to_uppercase(), &binding(), at(1), TTL).unwrap();
        assert_eq!(pending.id(), upper.id());
        assert!(pending.consume(1).is_some());
        for count in [0, 2, u64::MAX] {
            assert!(upper.clone().consume(count).is_none());
        }
    }
}
