//! Session tokens: compact, authenticated, checked without a lookup.
//!
//! `<kid>.<payload>.<tag>`: the payload is 50 bytes and 36 more for each wallet, the tag 32 bytes of HMAC-SHA-256,
//! both base64url without padding (RFC 4648 section 5).

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use jiff::Timestamp;

use crate::address::Address;
use crate::chain::ChainId;
use crate::keys::{KeyRing, Purpose};
use crate::nonce::{CLOCK_SKEW, ConsumedNonce};
use crate::secret::Secret;
use crate::signer::VerifiedSigner;
use crate::wallet::{Control, Wallet};

/// The most wallets in one session.
pub const MAX_WALLETS: usize = 8;

/// Version 3 holds the time of the first signature.
const VERSION: u8 = 3;
/// Version 2 did not; tokens of it are read until their own end. Version 1 knew one wallet and one end.
const WITHOUT_SIGNED_AT: u8 = 2;
const HEAD: usize = 1 + 16 + 4 * 8 + 1;
const MEMBER: usize = 20 + 8 + 8;
const MAX_PAYLOAD: usize = HEAD + MAX_WALLETS * MEMBER;
/// A kid of 16, two dots, and payload and tag in base64url.
const MAX_TOKEN_LEN: usize = 16 + 1 + MAX_PAYLOAD.div_ceil(3) * 4 + 1 + 43;

/// Who is signed in, until when. Made by [`mint`] from a verified signature, or by [`check`] from an authentic token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    id: [u8; 16],
    /// Of the earliest of its signatures. A token of version 2 does not hold it: then it is no later than `issued_at`,
    /// which takes its place.
    signed_at: Timestamp,
    issued_at: Timestamp,
    expires_at: Timestamp,
    ends_at: Timestamp,
    /// `ends_at` as the token has it: another configuration may let the token live for so long.
    sealed_end: Timestamp,
    epochs: Epochs,
    members: Vec<Member>,
}

/// Where the epochs of a session's members were read when they signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epochs {
    /// By wallet: address and control.
    ByWallet,
    /// By address alone, as for tokens of version 2.
    ByAddress,
}

/// One wallet of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The wallet.
    pub wallet: Wallet,
    /// The address's epoch when it signed in: sessions of an earlier one have been ended together.
    pub epoch: u64,
}

/// What it takes to be let in.
#[derive(Debug)]
pub struct Admission {
    /// Who signed.
    pub signer: VerifiedSigner,
    /// That nobody has signed in with the same message before.
    pub nonce: ConsumedNonce,
    /// The signer's present epoch.
    pub epoch: u64,
}

/// How long a session lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From its last renewal.
    pub idle: Duration,
    /// From the first signature, however often it is renewed.
    pub absolute: Duration,
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

/// A session has as many wallets as it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session has at most {MAX_WALLETS} wallets")]
pub struct TooManyWallets;

impl Session {
    /// The session's id, by which it is revoked: 32 hexadecimal digits.
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }

    /// The same as bytes.
    pub const fn id_bytes(&self) -> [u8; 16] {
        self.id
    }

    /// The account that signed in last.
    pub fn address(&self) -> Address {
        // `mint` and `decode` make no session without a member.
        self.members
            .first()
            .map_or(Address::from_bytes([0; 20]), |member| member.wallet.address)
    }

    /// Its wallets, the one that signed in last first, at least one.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether a sign-in of `address` may still find a place: [`mint`] has the last word.
    ///
    /// # Errors
    /// [`TooManyWallets`].
    pub fn has_room_for(&self, address: Address) -> Result<(), TooManyWallets> {
        let others = self.members.iter();
        let others = others.filter(|member| member.wallet.address != address);
        if others.count() < MAX_WALLETS {
            Ok(())
        } else {
            Err(TooManyWallets)
        }
    }

    /// When the earliest of its wallets signed.
    pub const fn signed_at(&self) -> Timestamp {
        self.signed_at
    }

    /// When it was made or renewed.
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// When it ends unless it is renewed before.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// When it ends for good.
    pub const fn ends_at(&self) -> Timestamp {
        self.ends_at
    }

    /// From when on none of its tokens is accepted, whatever lifetime is configured by then: its revocation is kept
    /// until then.
    pub const fn sealed_end(&self) -> Timestamp {
        self.sealed_end
    }

    /// Where the epochs of its members are kept.
    pub const fn epochs(&self) -> Epochs {
        self.epochs
    }

    /// The same session for another while, and its new token. Never past its end.
    pub fn renew(&self, keys: &KeyRing, now: Timestamp, idle: Duration) -> (Self, Secret<String>) {
        let issued_at = whole_second(now);
        let session = Self {
            issued_at,
            expires_at: later(issued_at, idle).min(self.ends_at),
            epochs: Epochs::ByWallet,
            ..self.clone()
        };
        let token = encode(keys, &session);
        (session, token)
    }
}

/// Opens a session for a signer whose nonce was consumed, and makes its token. Times are kept to the second.
///
/// The wallets of `present`, a session of the same person, are taken over; the new one ends no later than it, since
/// nothing but a signature prolongs a wallet's session, and has an id of its own, since whoever knew the old token must
/// not gain by the new wallet.
///
/// # Errors
/// [`TooManyWallets`].
pub fn mint(
    keys: &KeyRing,
    admission: &Admission,
    present: Option<&Session>,
    now: Timestamp,
    lifetime: Lifetime,
    id: [u8; 16],
) -> Result<(Session, Secret<String>), TooManyWallets> {
    let wallet = admission.signer.wallet();
    let mut members = vec![Member {
        wallet,
        epoch: admission.epoch,
    }];
    let others = present.into_iter().flat_map(Session::members);
    members.extend(others.filter(|other| !wallet.covers(&other.wallet)));
    if members.len() > MAX_WALLETS {
        return Err(TooManyWallets);
    }
    let issued_at = whole_second(now);
    let signed_at = present.map_or(issued_at, |present| present.signed_at.min(issued_at));
    let own_end = later(signed_at, lifetime.absolute);
    let ends_at = present.map_or(own_end, |present| present.ends_at.min(own_end));
    let session = Session {
        id,
        signed_at,
        issued_at,
        expires_at: later(issued_at, lifetime.idle).min(ends_at),
        ends_at,
        sealed_end: ends_at,
        epochs: Epochs::ByWallet,
        members,
    };
    let token = encode(keys, &session);
    Ok((session, token))
}

fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(time)
}

fn encode(keys: &KeyRing, session: &Session) -> Secret<String> {
    let mut payload = Vec::with_capacity(MAX_PAYLOAD);
    payload.push(VERSION);
    payload.extend_from_slice(&session.id);
    for time in [
        session.signed_at,
        session.issued_at,
        session.expires_at,
        session.sealed_end,
    ] {
        payload.extend_from_slice(&time.as_second().to_be_bytes());
    }
    // `mint` and `decode` bound the members far below 256.
    payload.push(u8::try_from(session.members.len()).unwrap_or(u8::MAX));
    for Member { wallet, epoch } in &session.members {
        payload.extend_from_slice(wallet.address.as_bytes());
        // No chain has the id 0: it stands for every one.
        let chain = match wallet.control {
            Control::Key => 0,
            Control::Contract(chain) => chain.id(),
        };
        payload.extend_from_slice(&chain.to_be_bytes());
        payload.extend_from_slice(&epoch.to_be_bytes());
    }
    let (kid, tag) = keys.sign(Purpose::Session, &[&payload]);
    Secret::new(format!(
        "{kid}.{}.{}",
        Base64UrlUnpadded::encode_string(&payload),
        Base64UrlUnpadded::encode_string(&tag)
    ))
}

/// Reads a token and checks its tag and its end. Whether it was revoked is the store's knowledge.
///
/// `absolute` is the lifetime that is configured now: a token ends by it after the first signature, also one that was
/// made for longer.
///
/// # Errors
/// [`TokenError`]; which part of a foreign token is wrong is not told.
pub fn check(
    keys: &KeyRing,
    token: &str,
    now: Timestamp,
    absolute: Duration,
) -> Result<Session, TokenError> {
    if token.len() > MAX_TOKEN_LEN {
        return Err(TokenError::Invalid);
    }
    let mut parts = token.split('.');
    let (Some(kid), Some(payload), Some(tag), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Invalid);
    };
    let mut bytes = [0; MAX_PAYLOAD];
    let mut mac = [0; 32];
    let payload =
        Base64UrlUnpadded::decode(payload, &mut bytes).map_err(|_| TokenError::Invalid)?;
    let tag_len = Base64UrlUnpadded::decode(tag, &mut mac)
        .map_err(|_| TokenError::Invalid)?
        .len();
    if tag_len != mac.len() || !keys.verify(Purpose::Session, Some(kid), &[payload], &mac) {
        return Err(TokenError::Invalid);
    }
    let mut session = decode(payload).ok_or(TokenError::Invalid)?;
    let end = later(session.signed_at, absolute);
    session.ends_at = session.sealed_end.min(end);
    session.expires_at = session.expires_at.min(end);
    if now >= session.expires_at {
        return Err(TokenError::Expired);
    }
    // Older than its own issue: the clock is wrong, and a clock that runs behind must not prolong anything.
    if session.issued_at > later(now, CLOCK_SKEW) {
        return Err(TokenError::Invalid);
    }
    Ok(session)
}

fn decode(payload: &[u8]) -> Option<Session> {
    let (version, rest) = payload.split_first()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (first, rest) = time(rest)?;
    let (signed_at, issued_at, epochs, rest) = match *version {
        VERSION => {
            let (issued_at, rest) = time(rest)?;
            (first, issued_at, Epochs::ByWallet, rest)
        }
        WITHOUT_SIGNED_AT => (first, first, Epochs::ByAddress, rest),
        _ => return None,
    };
    let (expires_at, rest) = time(rest)?;
    let (ends_at, rest) = time(rest)?;
    let (count, members) = rest.split_first()?;
    let (members, []) = members.as_chunks::<MEMBER>() else {
        return None;
    };
    let counted =
        members.len() == usize::from(*count) && (1..=MAX_WALLETS).contains(&members.len());
    if !counted {
        return None;
    }
    Some(Session {
        id: *id,
        signed_at,
        issued_at,
        expires_at,
        ends_at,
        sealed_end: ends_at,
        epochs,
        members: members
            .iter()
            .map(|bytes| member(bytes))
            .collect::<Option<_>>()?,
    })
}

fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (seconds, rest) = bytes.split_first_chunk::<8>()?;
    let time = Timestamp::from_second(i64::from_be_bytes(*seconds)).ok()?;
    Some((time, rest))
}

fn member(bytes: &[u8]) -> Option<Member> {
    let (address, rest) = bytes.split_first_chunk::<20>()?;
    let (chain, rest) = rest.split_first_chunk::<8>()?;
    let epoch = rest.first_chunk::<8>()?;
    Some(Member {
        wallet: Wallet {
            address: Address::from_bytes(*address),
            control: match u64::from_be_bytes(*chain) {
                0 => Control::Key,
                id => Control::Contract(ChainId::new(id)?),
            },
        },
        epoch: u64::from_be_bytes(*epoch),
    })
}

#[cfg(test)]
mod tests;
