//! The credentials that a request presents.

use http::header::{AUTHORIZATION, COOKIE};
use tokengate_core::session::TokenError;

use super::Request;
use super::problem::Problem;

/// Name of the session cookie. The prefix makes browsers refuse it without `Secure`, `Path=/` or from a subdomain
/// (RFC 6265bis section 4.1.3.2).
pub(crate) const COOKIE_NAME: &str = "__Host-tokengate";

/// A session token as it was presented.
#[derive(Clone, Copy)]
pub(crate) enum Presented<'a> {
    /// In `Authorization: Bearer` (RFC 6750 section 2.1): another site cannot make a browser send it.
    Bearer(&'a str),
    /// In the cookie: browsers send it by themselves.
    Cookie(&'a str),
}

/// The token that a request presents, if any. A bearer token goes before a cookie.
pub(crate) fn presented(request: &Request) -> Result<Option<Presented<'_>>, Problem> {
    Ok(match bearer(request)? {
        Some(token) => Some(Presented::Bearer(token)),
        None => cookie(request)?.map(Presented::Cookie),
    })
}

/// The token of the `Authorization` field, if there is one.
pub(crate) fn bearer(request: &Request) -> Result<Option<&str>, Problem> {
    let mut fields = request.headers().get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    let invalid = Problem::Session(TokenError::Invalid);
    if fields.next().is_some() {
        return Err(invalid);
    }
    match field.to_str().ok().and_then(|field| field.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(invalid),
    }
}

/// The token of the cookie, if there is one.
pub(crate) fn cookie(request: &Request) -> Result<Option<&str>, Problem> {
    let pairs = request
        .headers()
        .get_all(COOKIE)
        .iter()
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(';'));
    let mut tokens = pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, token)| token);
    match (tokens.next(), tokens.next()) {
        (token, None) => Ok(token),
        // Two cookies of one name: one of them was planted.
        (_, Some(_)) => Err(Problem::Session(TokenError::Invalid)),
    }
}
