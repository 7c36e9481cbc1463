//! The service's symmetric keys: who signs, who still verifies.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// Keys under which nonces, session tokens and stored values are authenticated (HMAC-SHA-256, RFC 2104).
///
/// Written `<kid>:<hex>[,<kid>:<hex>…]`: the first key signs, all of them verify, so that a key can be rotated in
/// without signing anybody out. A key is 32 to 64 bytes; at most [`KeyRing::MAX_KEYS`] are kept.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    kid: String,
    nonce: Secret<[u8; 32]>,
    session: Secret<[u8; 32]>,
    store: Secret<[u8; 32]>,
}

/// What a tag authenticates. Each purpose has a key of its own, so a tag made for one never passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Nonces of sign-in challenges.
    Nonce,
    /// Session tokens.
    Session,
    /// Values of the shared store.
    Store,
}

/// Why a key ring cannot be read. Never holds key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// An entry is not `<kid>:<hex>`.
    #[error("key {position}: expected <kid>:<hex>, with a kid of 1 to 16 letters or digits")]
    Shape {
        /// Position in the list, from 1.
        position: usize,
    },
    /// The key is not hexadecimal or not 32 to 64 bytes long.
    #[error(
        "key {position}: expected 64 to 128 hexadecimal digits; `openssl rand -hex 32` makes some"
    )]
    Material {
        /// Position in the list, from 1.
        position: usize,
    },
    /// Two keys with the same kid.
    #[error("key {position}: this kid is used twice")]
    Duplicate {
        /// Position in the list, from 1.
        position: usize,
    },
    /// More keys than are ever tried.
    #[error(
        "at most {} keys: one that signs and those being rotated out",
        KeyRing::MAX_KEYS
    )]
    TooMany,
}

/// A tag under one of the ring's keys: 32 bytes.
pub type Tag = [u8; 32];

impl KeyRing {
    /// How many keys may verify at a time.
    pub const MAX_KEYS: usize = 8;

    /// Reads the ring from its text form.
    ///
    /// # Errors
    /// [`KeyRingError`], which names the entry and never its material.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, entry) in text.split(',').enumerate() {
            let position = index + 1;
            if position > Self::MAX_KEYS {
                return Err(KeyRingError::TooMany);
            }
            let (kid, material) = entry
                .trim()
                .split_once(':')
                .ok_or(KeyRingError::Shape { position })?;
            let well_named =
                (1..=16).contains(&kid.len()) && kid.bytes().all(|b| b.is_ascii_alphanumeric());
            if !well_named {
                return Err(KeyRingError::Shape { position });
            }
            let master = hex::decode(material).map_err(|_| KeyRingError::Material { position })?;
            if !(32..=64).contains(&master.len()) {
                return Err(KeyRingError::Material { position });
            }
            if keys.iter().any(|key| key.kid == kid) {
                return Err(KeyRingError::Duplicate { position });
            }
            keys.push(Key {
                kid: kid.to_owned(),
                nonce: Secret::new(mac(&master, &[b"tokengate nonce v1"])),
                session: Secret::new(mac(&master, &[b"tokengate session v1"])),
                store: Secret::new(mac(&master, &[b"tokengate store v1"])),
            });
        }
        Ok(Self { keys })
    }

    /// The id and tag of the signing key over the concatenation of `parts`.
    pub fn sign(&self, purpose: Purpose, parts: &[&[u8]]) -> (&str, Tag) {
        // `parse` is the only constructor and `split` yields at least one entry, so there is a first key; an empty
        // ring would sign with a key that `verify` never tries.
        match self.keys.first() {
            Some(key) => (&key.kid, mac(key.of(purpose), parts)),
            None => ("", [0; 32]),
        }
    }

    /// Whether any key is in both rings, under whatever kid.
    pub fn shares_a_key_with(&self, other: &Self) -> bool {
        let theirs = |key: &Key| {
            let mut others = other.keys.iter();
            others.any(|other| other.session.expose() == key.session.expose())
        };
        self.keys.iter().any(theirs)
    }

    /// Whether `tag` is a prefix (at least 16 bytes) of the tag of the key named `kid`, or of any key where `kid` is `None`.
    pub fn verify(&self, purpose: Purpose, kid: Option<&str>, parts: &[&[u8]], tag: &[u8]) -> bool {
        if tag.len() < 16 {
            return false;
        }
        self.keys
            .iter()
            .filter(|key| kid.is_none_or(|kid| key.kid == kid))
            .any(|key| {
                let mut state = keyed(key.of(purpose));
                for part in parts {
                    state.update(part);
                }
                state.verify_truncated_left(tag).is_ok()
            })
    }
}

impl Key {
    const fn of(&self, purpose: Purpose) -> &[u8; 32] {
        match purpose {
            Purpose::Nonce => self.nonce.expose(),
            Purpose::Session => self.session.expose(),
            Purpose::Store => self.store.expose(),
        }
    }
}

/// HMAC-SHA-256 that has taken in its key.
pub(crate) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(
        clippy::expect_used,
        reason = "HMAC is defined for keys of every length (RFC 2104 section 2)"
    )]
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Tag {
    let mut state = keyed(key);
    for part in parts {
        state.update(part);
    }
    state.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex32(byte: u8) -> String {
        hex::encode([byte; 32])
    }

    #[test]
    fn a_rotated_out_key_still_verifies_and_no_longer_signs() {
        let old = KeyRing::parse(&format!("a:{}", hex32(1))).unwrap();
        let both = KeyRing::parse(&format!("b:{},a:{}", hex32(2), hex32(1))).unwrap();
        let (kid, tag) = old.sign(Purpose::Session, &[b"x"]);
        assert!(both.verify(Purpose::Session, Some(kid), &[b"x"], &tag));
        assert_eq!(both.sign(Purpose::Session, &[b"x"]).0, "b");
        let new = KeyRing::parse(&format!("b:{}", hex32(2))).unwrap();
        assert!(!new.verify(Purpose::Session, None, &[b"x"], &tag));
    }

    #[test]
    fn purposes_and_messages_do_not_pass_for_each_other() {
        let ring = KeyRing::parse(&format!("a:{}", hex32(1))).unwrap();
        let (_, tag) = ring.sign(Purpose::Nonce, &[b"x"]);
        assert!(ring.verify(Purpose::Nonce, None, &[b"x"], &tag[..16]));
        assert!(!ring.verify(Purpose::Session, None, &[b"x"], &tag));
        assert!(!ring.verify(Purpose::Store, None, &[b"x"], &tag));
        assert!(!ring.verify(Purpose::Nonce, None, &[b"y"], &tag));
        assert!(
            !ring.verify(Purpose::Nonce, None, &[b"x"], &tag[..15]),
            "too short to authenticate anything"
        );
    }

    #[test]
    fn rings_share_a_key_whatever_its_kid_and_place() {
        let ring = |text: String| KeyRing::parse(&text).unwrap();
        let one = ring(format!("a:{},b:{}", hex32(1), hex32(2)));
        let other = ring(format!("c:{},d:{}", hex32(3), hex32(2)));
        assert!(one.shares_a_key_with(&other) && other.shares_a_key_with(&one));
        assert!(!one.shares_a_key_with(&ring(format!("a:{},b:{}", hex32(3), hex32(4)))));
    }

    #[test]
    fn weak_or_ambiguous_rings_are_refused_without_echoing_them() {
        let table = [
            (String::new(), KeyRingError::Shape { position: 1 }),
            ("a:00".into(), KeyRingError::Material { position: 1 }),
            (
                format!("a:{}", "zz".repeat(32)),
                KeyRingError::Material { position: 1 },
            ),
            (
                format!("a-b:{}", hex32(1)),
                KeyRingError::Shape { position: 1 },
            ),
            (
                format!("a:{},a:{}", hex32(1), hex32(2)),
                KeyRingError::Duplicate { position: 2 },
            ),
            (
                format!("a:{},", hex32(1)),
                KeyRingError::Shape { position: 2 },
            ),
            (
                (0..9)
                    .map(|i| format!("k{i}:{}", hex32(i)))
                    .collect::<Vec<_>>()
                    .join(","),
                KeyRingError::TooMany,
            ),
        ];
        for (text, error) in table {
            assert_eq!(KeyRing::parse(&text).unwrap_err(), error, "{text}");
        }
        let ring = KeyRing::parse(&format!("a:{}", hex32(0xab))).unwrap();
        assert!(!format!("{ring:?}").contains("abab"));
    }
}
