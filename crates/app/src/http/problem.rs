//! Every failure a client can see, as an RFC 9457 problem document.

use http::StatusCode;
use http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use tokengate_core::address::AddressError;
use tokengate_core::chain::ChainIdError;
use tokengate_core::eip4361::ParseError;
use tokengate_core::merkle::ProofError;
use tokengate_core::nonce::NonceError;
use tokengate_core::problem::ProblemCode;
use tokengate_core::resource::ResourceError;
use tokengate_core::session::{TokenError, TooManyWallets};
use tokengate_core::signature::SignatureError;
use tokengate_core::signer::{Uncheckable, VerifyError};
use tokengate_core::webhook::Unverified;

use crate::http::{Response, document_response};
use crate::limits::{MAX_ADDRESSES, MAX_RESOURCES, STUCK_ROUNDS};

/// What went wrong, in the client's terms. What the operator needs to know goes to the log instead.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// No route has this path.
    NoRoute,
    /// The request target is not a URI.
    Target,
    /// The path has no such method; these it has.
    MethodNotAllowed(String),
    /// The body is longer than so many bytes.
    BodyTooLarge(usize),
    /// The body could not be read whole.
    BodyUnreadable,
    /// The body did not come in time.
    BodyTooSlow,
    /// The body is not `application/json`.
    NotJson,
    /// The JSON is broken, has an unknown member, lacks one or has one of another type.
    Body(String),
    /// A query parameter is missing, unknown or given twice.
    Query(String),
    /// Not an address.
    Address(AddressError),
    /// Not a proof that an address is on a list.
    Proof(ProofError),
    /// Not a CAIP-2 chain.
    Chain(ChainIdError),
    /// A chain that is not configured.
    UnknownChain,
    /// A domain that is not configured.
    UnknownDomain,
    /// A name that is no resource.
    Resource(ResourceError),
    /// More resources in one request than allowed, or none.
    ResourceCount,
    /// More addresses in one request than allowed, or none.
    AddressCount,
    /// A decision that rests on more facts than this.
    TooManyReads(usize),
    /// A resource that no gate covers: it does not exist.
    UnknownResource,
    /// A gate that is not configured.
    UnknownGate,
    /// Not an EIP-4361 message.
    Message(ParseError),
    /// Not a signature.
    Signature(SignatureError),
    /// Typed data where it does not sign in.
    TypedDataOff,
    /// Typed data whose statement does not begin with the domain.
    TypedDataUnnamed,
    /// The account did not sign the message.
    NotSigned(VerifyError),
    /// The message asks to sign in elsewhere.
    WrongDomain,
    /// The message names another chain than its nonce was made for.
    WrongChain,
    /// The message's URI is not on its domain.
    WrongUri,
    /// The message is past its expiration time, or not valid yet.
    MessageNotCurrent,
    /// The nonce is foreign or expired.
    Nonce(NonceError),
    /// The nonce was accepted before.
    NonceUsed,
    /// No session was presented.
    NoSession,
    /// A session that is not valid.
    Session(TokenError),
    /// A session that was ended.
    SessionRevoked,
    /// A session with as many wallets as it may have.
    Wallets(TooManyWallets),
    /// A cookie that came with an unsafe request which no page of ours made.
    CrossSite,
    /// A source of events that is not configured.
    UnknownSource,
    /// A delivery of events that does not say which chain it is about, from a source that is not configured for one.
    ChainNotNamed,
    /// A delivery of events about a network of this name, which is not known.
    UnknownNetwork(String),
    /// A delivery of events that its source did not sign, or not lately.
    Delivery(Unverified),
    /// What only the operator may ask, without a token.
    NoAdminToken,
    /// The same, with a token that is not the operator's.
    AdminToken,
    /// Asked too often; seconds until it may ask again.
    TooManyRequests(u64),
    /// The gate is closed to the wallet.
    Refused {
        /// The gate.
        gate: String,
        /// The conditions that are not met.
        unmet: Vec<Value>,
    },
    /// The same gate is closed for another resource of the same request, for the reasons already given.
    RefusedAgain(String),
    /// No chain could be asked, so there is no verdict.
    ChainUnavailable,
    /// No chain could be asked whose signature it is.
    SignatureUnchecked,
    /// No chain could be asked for transfers; where that has gone on for a while, the last block that was followed.
    NotFollowed(Option<u64>),
    /// The store could not be asked for what must not be assumed.
    StoreUnavailable,
    /// The service is not configured well enough to answer.
    Misconfigured,
}

/// Seconds after which a client may ask again.
const RETRY_SECONDS: u64 = 2;

impl Problem {
    /// Code, which has one status, and words for the client.
    fn parts(&self) -> (ProblemCode, String) {
        use ProblemCode as C;
        match self {
            Self::NoRoute => (C::RouteNotFound, "Nothing is served at this path.".into()),
            Self::Target => (C::MalformedTarget, "The request target is not a URI.".into()),
            Self::MethodNotAllowed(allow) => (C::MethodNotAllowed, format!("This path takes {allow}.")),
            Self::BodyTooLarge(len) => (C::BodyTooLarge, format!("A body may have {len} bytes here.")),
            Self::BodyUnreadable => (C::IncompleteBody, "The body ended before it was complete.".into()),
            Self::BodyTooSlow => (
                C::RequestTimeout,
                "The body did not come in time.".into(),
            ),
            Self::NotJson => (C::UnsupportedMediaType, "Send the body as application/json.".into()),
            Self::Body(detail) => (C::MalformedBody, detail.clone()),
            Self::Query(detail) => (C::MalformedQuery, detail.clone()),
            Self::Address(error) => (C::MalformedAddress, sentence(error)),
            Self::Proof(error) => (C::MalformedProof, sentence(error)),
            Self::Chain(error) => (C::MalformedChain, sentence(error)),
            Self::UnknownChain => (C::UnknownChain, "This service does not know the chain.".into()),
            Self::UnknownDomain => (C::UnknownDomain, "This service does not sign in for the domain.".into()),
            Self::Resource(error) => (C::MalformedResource, sentence(error)),
            Self::ResourceCount => (C::ResourceCount, format!("Ask for 1 to {MAX_RESOURCES} resources.")),
            Self::AddressCount => (C::AddressCount, format!("Name 1 to {MAX_ADDRESSES} addresses.")),
            Self::TooManyReads(most) => (C::TooManyReads, format!("This decision rests on more than {most} facts; ask for fewer resources at once, or with fewer wallets.")),
            Self::UnknownResource => (C::UnknownResource, "There is no such resource.".into()),
            Self::UnknownGate => (C::UnknownGate, "There is no such gate.".into()),
            Self::Message(error) => (C::MalformedMessage, sentence(error)),
            Self::Signature(error) => (C::MalformedSignature, sentence(error)),
            Self::TypedDataOff => (C::MalformedSignature, "Typed data does not sign in here; sign the text, with `personal_sign`.".into()),
            Self::TypedDataUnnamed => (C::MalformedSignature, "The statement of typed data has to begin with the domain, a colon and a space.".into()),
            Self::NotSigned(error) => {
                let code = match error {
                    VerifyError::Signature(_) => C::MalformedSignature,
                    VerifyError::Mismatch | VerifyError::Uncheckable(Uncheckable::Contract) => {
                        C::SignatureMismatch
                    }
                    VerifyError::Refused => C::SignatureRefused,
                    VerifyError::NotDeployed
                    | VerifyError::UnlistedFactory(_)
                    | VerifyError::Uncheckable(Uncheckable::Counterfactual) => {
                        C::AccountNotDeployed
                    }
                    VerifyError::NotDelegated | VerifyError::Uncheckable(Uncheckable::Delegation) => {
                        C::AccountNotDelegated
                    }
                };
                (code, sentence(error))
            }
            Self::WrongDomain => (C::WrongDomain, "The message asks to sign in to another domain.".into()),
            Self::WrongChain => (C::WrongChain, "The message names another chain than its challenge did.".into()),
            Self::WrongUri => (C::WrongUri, "The URI of the message is not on its domain.".into()),
            Self::MessageNotCurrent => (C::MessageExpired, "The message has expired or is not valid yet; ask for a new challenge.".into()),
            Self::Nonce(NonceError::Foreign) => (C::InvalidNonce, sentence(&NonceError::Foreign)),
            Self::Nonce(NonceError::Expired) => (C::ExpiredNonce, sentence(&NonceError::Expired)),
            Self::NonceUsed => (C::NonceReused, "This nonce has already been used; ask for a new challenge.".into()),
            Self::NoSession => (C::MissingSession, "Sign in first: send the session token as `Authorization: Bearer …`.".into()),
            Self::Session(TokenError::Invalid) => (C::InvalidSession, sentence(&TokenError::Invalid)),
            Self::Session(TokenError::Expired) => (C::ExpiredSession, sentence(&TokenError::Expired)),
            Self::SessionRevoked => (C::RevokedSession, "The session was ended; sign in again.".into()),
            Self::Wallets(error) => (C::TooManyWallets, sentence(error)),
            Self::CrossSite => (C::CrossSite, "The session cookie counts only in requests from pages of this service; send the token as `Authorization: Bearer …` instead.".into()),
            Self::UnknownSource => (C::UnknownSource, "There is no such source of events.".into()),
            Self::ChainNotNamed => (C::ChainNotNamed, "The delivery does not say which chain it is about: set `chain` in the source's [[webhook]] table.".into()),
            Self::UnknownNetwork(name) => (C::UnknownNetwork, format!("The delivery is about the network {name}, whose chain is not known. Nothing was invalidated.")),
            Self::Delivery(error) => {
                let code = match error {
                    Unverified::Unsigned => C::MissingSignature,
                    Unverified::Forged => C::InvalidSignature,
                    Unverified::Untimely => C::TimestampOutOfRange,
                };
                (code, sentence(error))
            }
            Self::NoAdminToken => (C::NoAdminToken, "This is for the operator: send the admin token as `Authorization: Bearer …`.".into()),
            Self::AdminToken => (C::InvalidAdminToken, "This is not the admin token.".into()),
            Self::TooManyRequests(seconds) => (C::TooManyRequests, format!("This was asked too often; ask again in {seconds} seconds.")),
            Self::Refused { gate, .. } => (C::AccessDenied, format!("The gate {gate} is closed to this wallet; `unmet` says what is missing.")),
            Self::RefusedAgain(gate) => (
                C::AccessDenied,
                format!("The gate {gate} is closed to this wallet, as said above."),
            ),
            Self::ChainUnavailable => (C::ChainUnavailable, "Ownership could not be read from the chain. This is no verdict; try again.".into()),
            Self::SignatureUnchecked => (C::ChainUnavailable, "The signature is not by the key of the address, and the chain could not be asked whether a contract accepts it. This is no verdict; try again.".into()),
            Self::NotFollowed(None) => (C::ChainUnavailable, "The chain could not be asked for transfers. The next round begins where this one did; try again.".into()),
            Self::NotFollowed(Some(block)) => (C::ChainUnavailable, format!("The transfers of the chain have not been followed past block {block} in {STUCK_ROUNDS} rounds or more: a token that was sold since opens its gate for as long as `max_age` and `stale_while_revalidate` allow.")),
            Self::StoreUnavailable => (C::StoreUnavailable, "The service could not look up what it needs to answer. This is no verdict; try again.".into()),
            Self::Misconfigured => (C::InternalError, "The service is not configured; its log says what is missing.".into()),
        }
    }

    /// The stable code.
    pub fn code(&self) -> ProblemCode {
        self.parts().0
    }

    /// The problem document.
    pub fn document(&self) -> Value {
        let (code, detail) = self.parts();
        let mut document = json!({
            "type": code.type_uri(),
            "title": code.title(),
            "status": code.status(),
            "code": code.as_str(),
            "detail": detail,
        });
        if let Some(members) = document.as_object_mut() {
            match self {
                Self::Refused { gate, unmet } => {
                    members.insert("gate".into(), gate.clone().into());
                    members.insert("unmet".into(), unmet.clone().into());
                }
                Self::RefusedAgain(gate) => {
                    members.insert("gate".into(), gate.clone().into());
                }
                _ => {}
            }
        }
        document
    }

    /// The response, with the header fields that its status demands.
    pub(crate) fn response(&self) -> Response {
        document_response(self.status(), &self.document(), self.headers())
    }

    /// The status of its code.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let status = self.status();
        match self {
            Self::MethodNotAllowed(allow) => HeaderValue::from_str(allow)
                .map(|allow| (ALLOW, allow))
                .into_iter()
                .collect(),
            Self::NoSession | Self::NoAdminToken => vec![(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tokengate\""),
            )],
            // No scheme of RFC 9110's registry: each source has a way of its own to sign.
            Self::Delivery(_) => vec![(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Signature realm=\"tokengate\""),
            )],
            Self::TooManyRequests(seconds) => vec![(RETRY_AFTER, (*seconds).into())],
            _ if status == StatusCode::UNAUTHORIZED => vec![(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tokengate\", error=\"invalid_token\""),
            )],
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                vec![(RETRY_AFTER, RETRY_SECONDS.into())]
            }
            _ => Vec::new(),
        }
    }
}

/// An error's words as a sentence.
fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), chars.as_str())
    })
}

macro_rules! from {
    ($($error:ty => $variant:ident),* $(,)?) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

from! {
    AddressError => Address,
    ProofError => Proof,
    ChainIdError => Chain,
    ResourceError => Resource,
    ParseError => Message,
    SignatureError => Signature,
    NonceError => Nonce,
    TokenError => Session,
    TooManyWallets => Wallets,
    VerifyError => NotSigned,
    Unverified => Delivery,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_published_description_has_each_code_with_its_title_and_status_and_no_other() {
        let description = include_str!("../../assets/openapi.json");
        let description: Value = serde_json::from_str(description).unwrap();
        let mut published = BTreeSet::new();
        let mut examples = 0;
        walk(&description, &mut |value| {
            if let Some(codes) = value.get("enum").and_then(Value::as_array)
                && codes.iter().any(|code| code == "chain-unavailable")
            {
                published.extend(codes.iter().map(|code| code.as_str().unwrap().to_owned()));
            }
            let kind = value.get("type").and_then(Value::as_str);
            let Some(code) = kind.and_then(|kind| kind.strip_prefix("/problems/")) else {
                return;
            };
            let known = ProblemCode::ALL.iter().find(|known| known.as_str() == code);
            let known = known.unwrap_or_else(|| panic!("{code} is no code"));
            assert_eq!(value["code"], code);
            assert_eq!(value["title"], known.title(), "{code}");
            assert_eq!(value["status"], known.status(), "{code}");
            examples += 1;
        });
        let codes = ProblemCode::ALL.iter().map(|code| code.as_str().to_owned());
        assert_eq!(published, codes.collect());
        assert!(examples > 50, "{examples}");
    }

    fn walk(value: &Value, see: &mut impl FnMut(&Value)) {
        see(value);
        match value {
            Value::Array(values) => values.iter().for_each(|value| walk(value, see)),
            Value::Object(members) => members.values().for_each(|value| walk(value, see)),
            _ => {}
        }
    }
}
