//! Who is asking: the session behind a request.

use http::header::{AUTHORIZATION, COOKIE};
use tokengate_core::session::{self, Session, TokenError};

use crate::ports::Ports;
use crate::problem::Problem;
use crate::router::{Context, Request};
use crate::store;

/// Name of the session cookie. The prefix makes browsers refuse it without `Secure`, `Path=/` or from a subdomain
/// (RFC 6265bis section 4.1.3.2).
pub(crate) const COOKIE_NAME: &str = "__Host-tokengate";

/// Where a session token may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// Only in `Authorization: Bearer` (RFC 6750 section 2.1): another site cannot make a browser send it.
    Bearer,
    /// There or in the cookie: for safe methods, which change nothing.
    BearerOrCookie,
}

/// The live session of a request: authentic, in time, not ended.
pub(crate) async fn session<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
    credentials: Credentials,
) -> Result<Session, Problem> {
    let token = match (bearer(request)?, credentials) {
        (Some(token), _) => token,
        (None, Credentials::BearerOrCookie) => cookie(request)?.ok_or(Problem::NoSession)?,
        (None, Credentials::Bearer) => return Err(Problem::NoSession),
    };
    let session = session::check(context.service.keys()?, token, context.ports.now())?;
    context.record.address(session.address());
    still_open(context, &session).await?;
    Ok(session)
}

/// Whether a session has not been ended, also while a chain was asked.
pub(crate) async fn still_open<P: Ports>(
    context: &Context<'_, P>,
    session: &Session,
) -> Result<(), Problem> {
    // It must be known, not assumed: without the store there is no answer.
    match store::is_revoked(
        context,
        context.service.config()?.deadlines.store,
        &session.id(),
    )
    .await
    {
        Ok(false) => Ok(()),
        Ok(true) => Err(Problem::SessionRevoked),
        Err(_) => Err(Problem::StoreUnavailable),
    }
}

fn bearer(request: &Request) -> Result<Option<&str>, Problem> {
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

fn cookie(request: &Request) -> Result<Option<&str>, Problem> {
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
