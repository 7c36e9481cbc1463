//! `POST /v1/session` and `DELETE /v1/session`: a signature becomes a session; a session ends.

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::header::{HeaderValue, SET_COOKIE};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokengate_core::eip191;
use tokengate_core::eip4361::Message;
use tokengate_core::nonce::{self, Binding};
use tokengate_core::rfc3339;
use tokengate_core::session;
use tokengate_core::signature::RecoverableSignature;
use tokengate_core::{Timestamp, eip191::VerifyError};

use crate::auth::{self, COOKIE_NAME, Credentials};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::request;
use crate::router::{self, Context, Needs, Request, Response, Route};
use crate::store;

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P>> {
    let needs = Needs {
        config: true,
        keys: true,
        ..Needs::default()
    };
    vec![
        Route::new("/v1/session", needs)
            .on(Method::POST, post)
            .on(Method::DELETE, delete),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    message: String,
    signature: String,
    #[serde(default)]
    cookie: bool,
}

fn post<'a, P: Ports>(
    context: &'a Context<'a, P>,
    request: &'a Request,
    _: &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>> {
    sign_in(context, request).boxed_local()
}

fn delete<'a, P: Ports>(
    context: &'a Context<'a, P>,
    request: &'a Request,
    _: &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>> {
    sign_out(context, request).boxed_local()
}

async fn sign_in<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
) -> Result<Response, Problem> {
    let config = context.service.config()?;
    let keys = context.service.keys()?;
    let body: SignIn = request::json(request)?;
    let message = Message::parse(&body.message)?;
    let signature = RecoverableSignature::from_hex(&body.signature)?;
    let now = context.ports.now();
    check_policy(context, &message, now)?;
    let binding = Binding {
        domain: message.domain,
        chain: message.chain,
        address: message.address,
    };
    let pending = nonce::check(
        keys,
        message.nonce,
        &binding,
        now,
        config.service.challenge_ttl,
    )?;
    let signer = eip191::verify(&message, &signature).map_err(|error| match error {
        VerifyError::Signature(error) => Problem::Signature(error),
        VerifyError::Mismatch => Problem::SignatureMismatch,
    })?;
    context.record.address(signer.address());
    // Last of all: nobody but the signer can use a nonce up, and without the count there is no session.
    let count = store::count_nonce(context, config.deadlines.store, pending.id())
        .await
        .map_err(|_| Problem::StoreUnavailable)?;
    let consumed = pending.consume(count).ok_or(Problem::NonceUsed)?;
    let (session, token) = session::mint(
        keys,
        signer,
        consumed,
        now,
        config.service.session_ttl,
        context.ports.random(),
    );
    let answer = json!({
        "token": token.expose(),
        "token_type": "Bearer",
        "expires_at": rfc3339::format(session.expires_at()),
        "address": session.address(),
        "chain": session.chain(),
    });
    let mut response = router::json(StatusCode::CREATED, &answer);
    if body.cookie {
        let cookie = format!(
            "{COOKIE_NAME}={}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax",
            token.expose(),
            config.service.session_ttl.as_secs()
        );
        let mut value = HeaderValue::from_str(&cookie).map_err(|_| Problem::Misconfigured)?;
        value.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, value);
    }
    Ok(response)
}

/// What EIP-4361 asks a relying party to check before it believes a message, besides nonce and signature.
fn check_policy<P: Ports>(
    context: &Context<'_, P>,
    message: &Message<'_>,
    now: Timestamp,
) -> Result<(), Problem> {
    let config = context.service.config()?;
    if !config
        .service
        .domains
        .iter()
        .any(|domain| domain == message.domain)
    {
        return Err(Problem::WrongDomain);
    }
    let uri: http::Uri = message.uri.parse().map_err(|_| Problem::WrongUri)?;
    let same_origin = uri
        .authority()
        .is_some_and(|authority| authority.as_str() == message.domain)
        && message
            .scheme
            .is_none_or(|scheme| uri.scheme_str() == Some(scheme));
    if !same_origin {
        return Err(Problem::WrongUri);
    }
    config.chain(message.chain).ok_or(Problem::UnknownChain)?;
    if message.is_issued(now) && message.is_current(now) {
        Ok(())
    } else {
        Err(Problem::MessageNotCurrent)
    }
}

async fn sign_out<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
) -> Result<Response, Problem> {
    // Only by token: a page elsewhere must not be able to end a session through the cookie.
    let session = auth::session(context, request, Credentials::Bearer).await?;
    store::revoke(
        context,
        context.service.config()?.deadlines.store,
        &session.id(),
    )
    .await
    .map_err(|_| Problem::StoreUnavailable)?;
    let mut response = router::empty(StatusCode::NO_CONTENT);
    let cleared = const {
        HeaderValue::from_static(
            "__Host-tokengate=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax",
        )
    };
    response.headers_mut().insert(SET_COOKIE, cleared);
    Ok(response)
}
