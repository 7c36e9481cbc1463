//! Every failure a client can see, as an RFC 9457 problem document.

use http::StatusCode;
use http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use tokengate_core::address::AddressError;
use tokengate_core::chain::ChainIdError;
use tokengate_core::eip4361::ParseError;
use tokengate_core::merkle::ProofError;
use tokengate_core::nonce::NonceError;
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
    /// Status, stable code and words for the client.
    fn parts(&self) -> (StatusCode, &'static str, String) {
        use StatusCode as S;
        match self {
            Self::NoRoute => (S::NOT_FOUND, "no-route", "Nothing is served at this path.".into()),
            Self::Target => (S::BAD_REQUEST, "malformed-target", "The request target is not a URI.".into()),
            Self::MethodNotAllowed(allow) => (S::METHOD_NOT_ALLOWED, "method-not-allowed", format!("This path takes {allow}.")),
            Self::BodyTooLarge(len) => (S::PAYLOAD_TOO_LARGE, "body-too-large", format!("A body may have {len} bytes here.")),
            Self::BodyUnreadable => (S::BAD_REQUEST, "body-unreadable", "The body ended before it was complete.".into()),
            Self::BodyTooSlow => (
                S::REQUEST_TIMEOUT,
                "body-too-slow",
                "The body did not come in time.".into(),
            ),
            Self::NotJson => (S::UNSUPPORTED_MEDIA_TYPE, "not-json", "Send the body as application/json.".into()),
            Self::Body(detail) => (S::BAD_REQUEST, "malformed-body", detail.clone()),
            Self::Query(detail) => (S::BAD_REQUEST, "malformed-query", detail.clone()),
            Self::Address(error) => (S::BAD_REQUEST, "malformed-address", sentence(error)),
            Self::Proof(error) => (S::BAD_REQUEST, "malformed-proof", sentence(error)),
            Self::Chain(error) => (S::BAD_REQUEST, "malformed-chain", sentence(error)),
            Self::UnknownChain => (S::UNPROCESSABLE_ENTITY, "unknown-chain", "This service does not know the chain.".into()),
            Self::UnknownDomain => (S::UNPROCESSABLE_ENTITY, "unknown-domain", "This service does not sign in for the domain.".into()),
            Self::Resource(error) => (S::BAD_REQUEST, "malformed-resource", sentence(error)),
            Self::ResourceCount => (S::UNPROCESSABLE_ENTITY, "resource-count", format!("Ask for 1 to {MAX_RESOURCES} resources.")),
            Self::AddressCount => (S::UNPROCESSABLE_ENTITY, "address-count", format!("Name 1 to {MAX_ADDRESSES} addresses.")),
            Self::TooManyReads(most) => (S::UNPROCESSABLE_ENTITY, "too-many-reads", format!("This decision rests on more than {most} facts; ask for fewer resources at once, or with fewer wallets.")),
            Self::UnknownResource => (S::NOT_FOUND, "unknown-resource", "There is no such resource.".into()),
            Self::UnknownGate => (S::NOT_FOUND, "unknown-gate", "There is no such gate.".into()),
            Self::Message(error) => (S::UNPROCESSABLE_ENTITY, "malformed-message", sentence(error)),
            Self::Signature(error) => (S::UNPROCESSABLE_ENTITY, "malformed-signature", sentence(error)),
            Self::TypedDataOff => (S::UNPROCESSABLE_ENTITY, "malformed-signature", "Typed data does not sign in here; sign the text, with `personal_sign`.".into()),
            Self::TypedDataUnnamed => (S::UNPROCESSABLE_ENTITY, "malformed-signature", "The statement of typed data has to begin with the domain, a colon and a space.".into()),
            Self::NotSigned(error) => {
                let (status, code) = match error {
                    VerifyError::Signature(_) => (S::UNPROCESSABLE_ENTITY, "malformed-signature"),
                    VerifyError::Mismatch | VerifyError::Uncheckable(Uncheckable::Contract) => {
                        (S::UNAUTHORIZED, "signature-mismatch")
                    }
                    VerifyError::Refused => (S::UNAUTHORIZED, "signature-refused"),
                    VerifyError::NotDeployed
                    | VerifyError::UnlistedFactory(_)
                    | VerifyError::Uncheckable(Uncheckable::Counterfactual) => {
                        (S::UNAUTHORIZED, "account-not-deployed")
                    }
                    VerifyError::NotDelegated | VerifyError::Uncheckable(Uncheckable::Delegation) => {
                        (S::UNAUTHORIZED, "account-not-delegated")
                    }
                };
                (status, code, sentence(error))
            }
            Self::WrongDomain => (S::UNAUTHORIZED, "wrong-domain", "The message asks to sign in to another domain.".into()),
            Self::WrongChain => (S::UNAUTHORIZED, "wrong-chain", "The message names another chain than its challenge did.".into()),
            Self::WrongUri => (S::UNAUTHORIZED, "wrong-uri", "The URI of the message is not on its domain.".into()),
            Self::MessageNotCurrent => (S::UNAUTHORIZED, "message-not-current", "The message has expired or is not valid yet; ask for a new challenge.".into()),
            Self::Nonce(NonceError::Foreign) => (S::UNAUTHORIZED, "foreign-nonce", sentence(&NonceError::Foreign)),
            Self::Nonce(NonceError::Expired) => (S::UNAUTHORIZED, "expired-nonce", sentence(&NonceError::Expired)),
            Self::NonceUsed => (S::UNAUTHORIZED, "used-nonce", "This nonce has already been used; ask for a new challenge.".into()),
            Self::NoSession => (S::UNAUTHORIZED, "no-session", "Sign in first: send the session token as `Authorization: Bearer …`.".into()),
            Self::Session(TokenError::Invalid) => (S::UNAUTHORIZED, "invalid-session", sentence(&TokenError::Invalid)),
            Self::Session(TokenError::Expired) => (S::UNAUTHORIZED, "expired-session", sentence(&TokenError::Expired)),
            Self::SessionRevoked => (S::UNAUTHORIZED, "revoked-session", "The session was ended; sign in again.".into()),
            Self::Wallets(error) => (S::UNPROCESSABLE_ENTITY, "too-many-wallets", sentence(error)),
            Self::CrossSite => (S::FORBIDDEN, "cross-site", "The session cookie counts only in requests from pages of this service; send the token as `Authorization: Bearer …` instead.".into()),
            Self::UnknownSource => (S::NOT_FOUND, "unknown-source", "There is no such source of events.".into()),
            Self::ChainNotNamed => (S::BAD_REQUEST, "chain-not-named", "The delivery does not say which chain it is about: set `chain` in the source's [[webhook]] table.".into()),
            Self::UnknownNetwork(name) => (S::UNPROCESSABLE_ENTITY, "unknown-network", format!("The delivery is about the network {name}, whose chain is not known. Nothing was invalidated.")),
            Self::Delivery(error) => {
                let code = match error {
                    Unverified::Unsigned => "unsigned-delivery",
                    Unverified::Forged => "forged-delivery",
                    Unverified::Untimely => "untimely-delivery",
                };
                (S::UNAUTHORIZED, code, sentence(error))
            }
            Self::NoAdminToken => (S::UNAUTHORIZED, "no-admin-token", "This is for the operator: send the admin token as `Authorization: Bearer …`.".into()),
            Self::AdminToken => (S::UNAUTHORIZED, "invalid-admin-token", "This is not the admin token.".into()),
            Self::TooManyRequests(seconds) => (S::TOO_MANY_REQUESTS, "too-many-requests", format!("This was asked too often; ask again in {seconds} seconds.")),
            Self::Refused { gate, .. } => (S::FORBIDDEN, "refused", format!("The gate {gate} is closed to this wallet; `unmet` says what is missing.")),
            Self::RefusedAgain(gate) => (
                S::FORBIDDEN,
                "refused",
                format!("The gate {gate} is closed to this wallet, as said above."),
            ),
            Self::ChainUnavailable => (S::SERVICE_UNAVAILABLE, "chain-unavailable", "Ownership could not be read from the chain. This is no verdict; try again.".into()),
            Self::SignatureUnchecked => (S::SERVICE_UNAVAILABLE, "chain-unavailable", "The signature is not by the key of the address, and the chain could not be asked whether a contract accepts it. This is no verdict; try again.".into()),
            Self::NotFollowed(None) => (S::SERVICE_UNAVAILABLE, "chain-unavailable", "The chain could not be asked for transfers. The next round begins where this one did; try again.".into()),
            Self::NotFollowed(Some(block)) => (S::SERVICE_UNAVAILABLE, "chain-unavailable", format!("The transfers of the chain have not been followed past block {block} in {STUCK_ROUNDS} rounds or more: a token that was sold since opens its gate for as long as `max_age` and `stale_while_revalidate` allow.")),
            Self::StoreUnavailable => (S::SERVICE_UNAVAILABLE, "store-unavailable", "The service could not look up what it needs to answer. This is no verdict; try again.".into()),
            Self::Misconfigured => (S::INTERNAL_SERVER_ERROR, "misconfigured", "The service is not configured; its log says what is missing.".into()),
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.parts().1
    }

    /// The problem document.
    pub fn document(&self) -> Value {
        let (status, code, detail) = self.parts();
        let mut document = json!({
            "type": format!("/problems/{code}"),
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "code": code,
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
        document_response(self.parts().0, &self.document(), self.headers())
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let (status, _, _) = self.parts();
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
