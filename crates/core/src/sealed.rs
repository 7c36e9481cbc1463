//! Authenticated values of the shared store: a MAC bound to the kind of the value and to its whole key.
//!
//! The tag proves that a holder of `store_keys` wrote this value for this key. It proves neither that the value is the
//! latest one nor that nothing was deleted: whoever can write into the store can still put an older value back at its own
//! key, or remove one. Counters, which the store itself changes, cannot carry a tag.

use crate::keys::{KeyRing, KeyRingError, Purpose};

/// Keys under which values of the shared store are authenticated, written and rotated as a [`KeyRing`].
///
/// A variable of their own, `store_keys`: components that read and write the store must not be able to mint sessions.
#[derive(Clone, Debug)]
pub struct StoreKeys(KeyRing);

/// What a stored value is. A value of one kind never passes for one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A fact, or the tombstone of one: [`crate::fact::Known`].
    Fact,
    /// A tombstone of more than one fact.
    Tombstone,
    /// The epoch of an account's sessions.
    Epoch,
    /// How far a chain's transfers have been followed.
    Cursor,
    /// What instances know of the providers of a chain.
    Providers,
    /// That a webhook delivery has been processed.
    Delivery,
}

/// A stored value bears no valid tag: it is damaged, of another key, of another kind, or of a key that was removed from
/// `store_keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value has no valid tag")]
pub struct SealError;

/// The number of the layout: one byte each for it and for the length of the kid, the kid, the tag, the value.
const LAYOUT: u8 = 1;
/// HMAC-SHA-256, truncated to 128 bits (RFC 2104 section 5).
const TAG_LEN: usize = 16;

impl Kind {
    /// Its name in logs and under the MAC. Changing one makes all stored values of the kind invalid.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fact => "fact",
            Self::Tombstone => "tombstone",
            Self::Epoch => "epoch",
            Self::Cursor => "cursor",
            Self::Providers => "providers",
            Self::Delivery => "delivery",
        }
    }
}

impl StoreKeys {
    /// Reads the ring from its text form.
    ///
    /// # Errors
    /// [`KeyRingError`], which names the entry and never its material.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        KeyRing::parse(text).map(Self)
    }

    /// Whether any of them is also among `service_keys`: then whoever has the store could mint sessions.
    pub fn share_a_key_with(&self, service_keys: &KeyRing) -> bool {
        self.0.shares_a_key_with(service_keys)
    }

    /// `value` with the tag that binds it to `kind` and `key`, under the first key.
    pub fn seal(&self, kind: Kind, key: &str, value: &[u8]) -> Vec<u8> {
        let lengths = Lengths::of(kind, key);
        let (kid, tag) = self
            .0
            .sign(Purpose::Store, &lengths.parts(kind, key, value));
        let (tag, _) = tag.split_at(TAG_LEN);
        let mut sealed = Vec::with_capacity(2 + kid.len() + TAG_LEN + value.len());
        // A ring has no kid of more than 16 bytes.
        sealed.extend([LAYOUT, u8::try_from(kid.len()).unwrap_or(0)]);
        sealed.extend(kid.as_bytes());
        sealed.extend(tag);
        sealed.extend(value);
        sealed
    }

    /// The value in `sealed`, if it was sealed for `kind` and `key` under any key of the ring.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open<'a>(&self, kind: Kind, key: &str, sealed: &'a [u8]) -> Result<&'a [u8], SealError> {
        let Sealed { kid, tag, value } = Sealed::read(sealed).ok_or(SealError)?;
        let lengths = Lengths::of(kind, key);
        let parts = lengths.parts(kind, key, value);
        if self.0.verify(Purpose::Store, Some(kid), &parts, tag) {
            Ok(value)
        } else {
            Err(SealError)
        }
    }
}

/// The value in `sealed`, whoever wrote it. Only for deciding what to delete: that proves nothing and needs no proof.
pub fn unverified(sealed: &[u8]) -> Option<&[u8]> {
    Sealed::read(sealed).map(|sealed| sealed.value)
}

struct Sealed<'a> {
    kid: &'a str,
    tag: &'a [u8],
    value: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[layout, kid_len], rest) = bytes.split_first_chunk()?;
        let (kid, rest) = rest.split_at_checked(kid_len.into())?;
        let (tag, value) = rest.split_at_checked(TAG_LEN)?;
        let kid = std::str::from_utf8(kid).ok()?;
        (layout == LAYOUT).then_some(Self { kid, tag, value })
    }
}

/// What keeps the end of one part from passing for the beginning of the next.
struct Lengths {
    kind: [u8; 8],
    key: [u8; 8],
}

impl Lengths {
    fn of(kind: Kind, key: &str) -> Self {
        let length = |text: &str| (text.len() as u64).to_be_bytes();
        Self {
            kind: length(kind.name()),
            key: length(key),
        }
    }

    const fn parts<'a>(&'a self, kind: Kind, key: &'a str, value: &'a [u8]) -> [&'a [u8]; 6] {
        [
            &[LAYOUT],
            &self.kind,
            kind.name().as_bytes(),
            &self.key,
            key.as_bytes(),
            value,
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 6] = [
        Kind::Fact,
        Kind::Tombstone,
        Kind::Epoch,
        Kind::Cursor,
        Kind::Providers,
        Kind::Delivery,
    ];

    fn hex32(byte: u8) -> String {
        hex::encode([byte; 32])
    }

    fn keys(text: &str) -> StoreKeys {
        StoreKeys::parse(text).unwrap()
    }

    fn one() -> StoreKeys {
        keys(&format!("a:{}", hex32(1)))
    }

    #[test]
    fn a_sealed_value_opens_only_for_its_own_kind_and_key() {
        let sealed = one().seal(Kind::Fact, "tg1:fact:x", b"value");
        assert_eq!(
            one().open(Kind::Fact, "tg1:fact:x", &sealed),
            Ok(&b"value"[..])
        );
        for (kind, other) in KINDS
            .iter()
            .flat_map(|kind| KINDS.map(|other| (*kind, other)))
        {
            let sealed = one().seal(kind, "k", b"value");
            let opened = one().open(other, "k", &sealed);
            assert_eq!(opened.is_ok(), kind == other, "{kind:?} {other:?}");
        }
        for key in ["", "tg1:fact:y", "tg1:fact:", "tg1:fact:xv", "TG1:FACT:X"] {
            assert_eq!(
                one().open(Kind::Fact, key, &sealed),
                Err(SealError),
                "{key}"
            );
        }
        let names: std::collections::HashSet<_> = KINDS.map(Kind::name).into();
        assert_eq!(names.len(), KINDS.len(), "each kind has a name of its own");
    }

    #[test]
    fn the_end_of_a_key_does_not_pass_for_the_beginning_of_a_value() {
        let sealed = one().seal(Kind::Fact, "key", b"value");
        let mut moved = sealed;
        moved.splice(moved.len() - 5.., *b"alue");
        assert_eq!(one().open(Kind::Fact, "keyv", &moved), Err(SealError));
    }

    #[test]
    fn a_sealed_value_opens_under_every_key_of_the_ring_and_no_other() {
        let old = one().seal(Kind::Epoch, "k", b"v");
        let both = keys(&format!("b:{},a:{}", hex32(2), hex32(1)));
        assert_eq!(
            both.open(Kind::Epoch, "k", &old),
            Ok(&b"v"[..]),
            "rotated in"
        );
        let new = both.seal(Kind::Epoch, "k", b"v");
        let alone = keys(&format!("b:{}", hex32(2)));
        assert_eq!(
            alone.open(Kind::Epoch, "k", &new),
            Ok(&b"v"[..]),
            "the first signs"
        );
        assert_eq!(
            alone.open(Kind::Epoch, "k", &old),
            Err(SealError),
            "removed"
        );
        let another = keys(&format!("a:{}", hex32(3)));
        assert_eq!(
            another.open(Kind::Epoch, "k", &old),
            Err(SealError),
            "same kid"
        );
        let renamed = keys(&format!("c:{}", hex32(1)));
        assert_eq!(
            renamed.open(Kind::Epoch, "k", &old),
            Err(SealError),
            "other kid"
        );
    }

    #[test]
    fn what_was_never_sealed_or_is_cut_short_does_not_open() {
        let sealed = one().seal(Kind::Fact, "k", br#"{"e":1}"#);
        for length in 0..sealed.len() {
            assert_eq!(
                one().open(Kind::Fact, "k", &sealed[..length]),
                Err(SealError),
                "{length}"
            );
        }
        let mut longer = sealed.clone();
        longer.push(b' ');
        assert_eq!(one().open(Kind::Fact, "k", &longer), Err(SealError));
        for bytes in [
            &b"{\"e\":1,\"v\":\"a1\",\"b\":7,\"t\":0}"[..],
            &[0; 8],
            b"1",
            &[1, 255],
        ] {
            assert_eq!(one().open(Kind::Fact, "k", bytes), Err(SealError));
            assert_eq!(unverified(bytes), None);
        }
        let empty = one().seal(Kind::Fact, "k", b"");
        assert_eq!(one().open(Kind::Fact, "k", &empty), Ok(&b""[..]));
    }

    #[test]
    fn keys_of_the_store_and_of_the_service_are_told_apart() {
        let service = KeyRing::parse(&format!("s:{}", hex32(1))).unwrap();
        assert!(one().share_a_key_with(&service));
        assert!(!keys(&format!("s:{}", hex32(2))).share_a_key_with(&service));
        assert!(!format!("{:?}", one()).contains("0101"));
    }

    proptest! {
        #[test]
        fn a_value_with_any_bit_changed_does_not_open(value in prop::collection::vec(any::<u8>(), 0..64), bit in any::<prop::sample::Index>()) {
            let mut sealed = one().seal(Kind::Fact, "k", &value);
            prop_assert_eq!(one().open(Kind::Fact, "k", &sealed), Ok(&value[..]));
            prop_assert_eq!(unverified(&sealed), Some(&value[..]));
            let bit = bit.index(sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(one().open(Kind::Fact, "k", &sealed), Err(SealError));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(one().open(Kind::Fact, "k", &bytes), Err(SealError));
        }
    }
}
