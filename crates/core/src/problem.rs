//! Codes of problem documents (RFC 9457): a closed set, shared by the functions and by the host that runs them.

use std::fmt;

macro_rules! codes {
    ($($variant:ident, $code:literal, $status:literal, $title:literal;)*) => {
        /// What went wrong, as `code` and at the end of `type` in a problem document. A code has one status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProblemCode {
            $(#[doc = $title] $variant,)*
        }

        impl ProblemCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it is published, in lower case with hyphens.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// HTTP status (RFC 9110 section 15).
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                }
            }

            /// Summary of the problem type, the same in each occurrence.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)*
                }
            }
        }
    };
}

codes! {
    RouteNotFound, "route-not-found", 404, "No route has this path";
    MalformedTarget, "malformed-target", 400, "The request target is not a URI";
    MethodNotAllowed, "method-not-allowed", 405, "The route does not have this method";
    BodyTooLarge, "body-too-large", 413, "The request body is too large";
    IncompleteBody, "incomplete-body", 400, "The request body ended early";
    RequestTimeout, "request-timeout", 408, "The request did not arrive in time";
    UnsupportedMediaType, "unsupported-media-type", 415, "The request body is not JSON";
    MalformedBody, "malformed-body", 400, "The request body is malformed";
    MalformedQuery, "malformed-query", 400, "The query is malformed";
    MalformedAddress, "malformed-address", 400, "Not an Ethereum address";
    MalformedProof, "malformed-proof", 400, "Not a Merkle proof";
    MalformedChain, "malformed-chain", 400, "Not a CAIP-2 chain id";
    MalformedResource, "malformed-resource", 400, "Not a resource name";
    UnknownChain, "unknown-chain", 422, "The chain is not configured";
    UnknownDomain, "unknown-domain", 422, "The domain is not configured";
    ResourceCount, "resource-count", 422, "Too many resources, or none";
    AddressCount, "address-count", 422, "Too many addresses, or none";
    TooManyReads, "too-many-reads", 422, "The decision needs too many chain reads";
    UnknownResource, "unknown-resource", 404, "No such resource";
    UnknownGate, "unknown-gate", 404, "No such gate";
    MalformedMessage, "malformed-message", 422, "Not a sign-in message (EIP-4361)";
    MalformedSignature, "malformed-signature", 422, "Not a signature that signs in here";
    SignatureMismatch, "signature-mismatch", 401, "The signature is by another key";
    SignatureRefused, "signature-refused", 401, "The account's contract refuses the signature";
    AccountNotDeployed, "account-not-deployed", 401, "The account is not deployed, and cannot be verified without";
    AccountNotDelegated, "account-not-delegated", 401, "The account's delegation does not hold";
    WrongDomain, "wrong-domain", 401, "The message is for another domain";
    WrongChain, "wrong-chain", 401, "The message is for another chain";
    WrongUri, "wrong-uri", 401, "The message's URI is not on its domain";
    MessageExpired, "message-expired", 401, "The message has expired or is not valid yet";
    InvalidNonce, "invalid-nonce", 401, "The nonce is not of this service";
    ExpiredNonce, "expired-nonce", 401, "The nonce has expired";
    NonceReused, "nonce-reused", 401, "The nonce has already been used";
    MissingSession, "missing-session", 401, "No session";
    InvalidSession, "invalid-session", 401, "The session is not valid";
    ExpiredSession, "expired-session", 401, "The session has expired";
    RevokedSession, "revoked-session", 401, "The session was ended";
    TooManyWallets, "too-many-wallets", 422, "The session has as many wallets as it may have";
    CrossSite, "cross-site", 403, "A cross-site request with the session cookie";
    UnknownSource, "unknown-source", 404, "No such webhook";
    ChainNotNamed, "chain-not-named", 400, "The delivery does not name its chain";
    UnknownNetwork, "unknown-network", 422, "The delivery names an unknown network";
    MissingSignature, "missing-signature", 401, "The delivery is not signed";
    InvalidSignature, "invalid-signature", 401, "The delivery's signature is not valid";
    TimestampOutOfRange, "timestamp-out-of-range", 401, "The delivery's timestamp is too far from now";
    NoAdminToken, "no-admin-token", 401, "No admin token";
    InvalidAdminToken, "invalid-admin-token", 401, "The admin token is not valid";
    TooManyRequests, "too-many-requests", 429, "Too many requests";
    AccessDenied, "access-denied", 403, "The gate's conditions are not met";
    ChainUnavailable, "chain-unavailable", 503, "The chain could not be read";
    StoreUnavailable, "store-unavailable", 503, "The key-value store could not be read";
    InternalError, "internal-error", 500, "The request could not be answered";
    BadRequest, "bad-request", 400, "The request is malformed";
    HeadTooLarge, "head-too-large", 431, "The request head is too large";
    Overloaded, "overloaded", 503, "The service is overloaded";
    TimedOut, "timed-out", 504, "The response took too long";
}

impl ProblemCode {
    /// `type` of a problem document: a reference relative to the service (RFC 9457 section 3.1.1).
    pub fn type_uri(self) -> String {
        format!("/problems/{self}")
    }
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn problem_codes_are_distinct_and_of_error_statuses() {
        let codes: BTreeSet<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), ProblemCode::ALL.len());
        for code in ProblemCode::ALL {
            assert!((400..600).contains(&code.status()), "{code}");
            let text = code.as_str();
            assert!(
                text.bytes()
                    .all(|byte| byte == b'-' || byte.is_ascii_lowercase()),
                "{text}"
            );
        }
    }
}
