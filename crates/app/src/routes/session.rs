//! `/v1/session`: a signature becomes a session; a session is shown, renewed and ended.

use futures_util::future::join;
use http::header::{HeaderValue, SET_COOKIE};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokengate_core::Timestamp;
use tokengate_core::config::{Chain, Config};
use tokengate_core::domain::Domain;
use tokengate_core::eip4361::Message;
use tokengate_core::nonce::{self, Binding, NonceError, PendingNonce};
use tokengate_core::rfc3339;
use tokengate_core::secret::Secret;
use tokengate_core::session::{self, Admission, Session};
use tokengate_core::signature;
use tokengate_core::signer::{Scheme, Verification, VerifiedSigner};
use tokengate_core::wallet::{Control, Holders};

use crate::auth::SessionClient;
use crate::background::Background as _;
use crate::chain::ChainClient;
use crate::context::Context;
use crate::decision::FactReader;
use crate::http::credentials::{self, COOKIE_NAME, Presented};
use crate::http::extract::{self, query};
use crate::http::problem::Problem;
use crate::http::{Request, Response, empty_response, json_response};
use crate::ports::Ports;
use crate::rate_limit::Payer;
use crate::route::Route;
use crate::routes::challenge;
use crate::state::SignIn;
use crate::{chain, prefetch, store};

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P, SignIn>> {
    vec![
        Route::new("/v1/session")
            .on(Method::POST, sign_in)
            .on(Method::GET, describe)
            .on(Method::DELETE, sign_out),
        Route::new("/v1/session/renew").on(Method::POST, renew),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    message: String,
    signature: String,
    #[serde(default)]
    scheme: Scheme,
    #[serde(default)]
    cookie: bool,
    #[serde(default = "yes")]
    link: bool,
}

const fn yes() -> bool {
    true
}

async fn sign_in<P: Ports>(
    context: &Context<P, SignIn>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    context.limiter().client(request).await?;
    let config = context.config();
    let body: Body = extract::json(request)?;
    let message = Message::parse(&body.message)?;
    let signature = signature::bytes_from_hex(&body.signature)?;
    let now = context.ports.now();
    let pending = check_message(&context.sessions(), &message, body.scheme, now).await?;
    // A cookie is set only for a page of ours: another one would sign its visitor in to another account.
    if body.cookie && context.sessions().is_same_origin(request) == Some(false) {
        return Err(Problem::CrossSite);
    }
    let present = if body.link {
        present(&context.sessions(), request, body.cookie).await?
    } else {
        None
    };
    // Said before the signature is used up by it.
    if let Some(present) = &present {
        present.has_room_for(message.address)?;
    }
    let (store, chains) = (context.store(), context.chain());
    // A replayed message must not make the service ask the chain each time.
    let (spent, ()) = join(store::is_spent(&store, &pending), chain::pull(&chains)).await;
    match spent {
        Ok(false) => {}
        Ok(true) => return Err(Problem::NonceUsed),
        Err(_) => return Err(Problem::StoreUnavailable),
    }
    let chain = config.chain(message.chain).ok_or(Problem::UnknownChain)?;
    let verification = Verification::new(&message, body.scheme, signature, &chain.factories)?;
    let signer = verify(&chains, chain, &verification).await?;
    let wallet = signer.wallet();
    context.telemetry.address(wallet.address);
    context.limiter().wallet(wallet).await?;
    let absolute = config.service.session.absolute;
    store::longest_lifetime(&store, absolute)
        .await
        .map_err(|_| Problem::StoreUnavailable)?;
    // Last of all: only the signer can use a nonce up, and without the count there is no session.
    let (count, epoch) = store::count_nonce(&store, &pending, wallet)
        .await
        .map_err(|_| Problem::StoreUnavailable)?;
    let admission = Admission {
        signer,
        nonce: pending.consume(count).ok_or(Problem::NonceUsed)?,
        epoch,
    };
    let (session, token) = session::mint(
        &context.state.keys,
        &admission,
        present.as_ref(),
        now,
        config.service.session,
        context.ports.random(),
    )?;
    if let Some(replaced) = present {
        // It may have been ended while the chain was asked, or be replaced by another sign-in: then it vouches for
        // no wallet. It must not outlive the new one either.
        context.sessions().still_open(&replaced).await?;
        match context.sessions().end(&replaced).await {
            Ok(1) => {}
            Ok(_) => return Err(Problem::SessionRevoked),
            Err(_) => return Err(Problem::StoreUnavailable),
        }
    }
    let payer = Payer::of(&context.limiter(), request, Some(&session));
    prefetch_facts(&context.facts(), &message, &session, payer);
    let mut answer = document(&session);
    answer.insert("chain".into(), signer.chain().to_string().into());
    opened(
        context.ports.now(),
        StatusCode::CREATED,
        answer,
        &session,
        &token,
        body.cookie,
    )
}

/// Prefetches the facts that the session's gates read, in the background.
fn prefetch_facts<P: Ports>(
    facts: &FactReader<P>,
    message: &Message<'_>,
    session: &Session,
    payer: Payer,
) {
    let config = facts.config();
    let mut domains = config.service.domains.iter();
    let Some(domain) = domains.find(|domain| domain.is(message.scheme, message.domain)) else {
        return;
    };
    let gates = prefetch::gates(config, domain, message).into_iter();
    let gates: Vec<_> = gates.map(|gate| gate.id.clone()).collect();
    if gates.is_empty() {
        return;
    }
    let wallets = session.members().iter().map(|member| member.wallet);
    let holders = [Holders::new(wallets, None)];
    facts.in_background(async move |facts: &FactReader<P>| {
        let config = facts.config();
        let gates = gates.iter().filter_map(|id| config.gate(id.as_str()));
        let gates: Vec<_> = gates.collect();
        // What fails is read when it is asked for.
        let _ = prefetch::read(facts, &gates, &holders, Some(&payer)).await;
    });
}

/// The session that a sign-in adds its wallet to, if there is one.
async fn present<P: Ports>(
    sessions: &SessionClient<P>,
    request: &Request,
    cookie: bool,
) -> Result<Option<Session>, Problem> {
    // A bearer token is sent on purpose.
    if let Some(token) = credentials::bearer(request)? {
        let presented = Presented::Bearer(token);
        return sessions.open(request, presented).await.map(Some);
    }
    if !cookie {
        return Ok(None);
    }
    // A browser sends its cookie by itself: one that has ended, or was planted, is no reason not to sign in again.
    let opened = match credentials::cookie(request) {
        Ok(Some(token)) => sessions.open(request, Presented::Cookie(token)).await,
        Ok(None) => return Ok(None),
        Err(problem) => Err(problem),
    };
    match opened {
        Ok(session) => Ok(Some(session)),
        Err(Problem::Session(_) | Problem::SessionRevoked) => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// What EIP-4361 asks a relying party to check before it believes a message, besides the signature.
async fn check_message<P: Ports>(
    sessions: &SessionClient<P>,
    message: &Message<'_>,
    scheme: Scheme,
    now: Timestamp,
) -> Result<PendingNonce, Problem> {
    let config = sessions.config();
    let domain = config
        .service
        .domains
        .iter()
        .find(|domain| domain.is(message.scheme, message.domain))
        .ok_or(Problem::WrongDomain)?;
    let uri: http::Uri = message.uri.parse().map_err(|_| Problem::WrongUri)?;
    let same_origin = uri
        .scheme_str()
        .zip(uri.authority())
        .is_some_and(|(scheme, authority)| {
            domain.is(Some(scheme), authority.as_str())
                && message.scheme.is_none_or(|named| named == scheme)
        });
    if !same_origin {
        return Err(Problem::WrongUri);
    }
    config.chain(message.chain).ok_or(Problem::UnknownChain)?;
    check_scheme(config, domain, message, scheme)?;
    if !(message.is_issued(now) && message.is_current(now)) {
        return Err(Problem::MessageNotCurrent);
    }
    check_nonce(sessions, domain, message, now).await
}

/// Typed data signs in only where that is configured, and where what the person reads begins with the domain: a page of
/// another site may have asked for the signature, and the wallet does not compare.
fn check_scheme(
    config: &Config,
    domain: &Domain,
    message: &Message<'_>,
    scheme: Scheme,
) -> Result<(), Problem> {
    match scheme {
        Scheme::Eip191 => Ok(()),
        Scheme::Eip712 if !config.service.typed_data => Err(Problem::TypedDataOff),
        Scheme::Eip712 => {
            let named = format!("{}: ", domain.as_str());
            let statement = message.statement.unwrap_or_default();
            if statement.starts_with(&named) {
                Ok(())
            } else {
                Err(Problem::TypedDataUnnamed)
            }
        }
    }
}

/// The nonce, pending; where it is one of ours for another chain or domain, the problem says so.
async fn check_nonce<P: Ports>(
    sessions: &SessionClient<P>,
    domain: &Domain,
    message: &Message<'_>,
    now: Timestamp,
) -> Result<PendingNonce, Problem> {
    let (config, keys) = (sessions.config(), &sessions.keys);
    let store = challenge::store_scope(&sessions.store).await?;
    let check = |domain: &Domain, chain| {
        let binding = Binding {
            store,
            domain: domain.as_str(),
            chain,
            address: Some(message.address),
        };
        let ttl = config.service.challenge_ttl;
        nonce::check(keys, message.nonce, &binding, now, ttl)
    };
    check(domain, message.chain).map_err(|error| {
        let ours = |outcome| outcome != Err(NonceError::Foreign);
        let (mut chains, mut domains) = (config.chains(), config.service.domains.iter());
        if error != NonceError::Foreign {
            Problem::Nonce(error)
        } else if chains.any(|chain| ours(check(domain, chain.id))) {
            Problem::WrongChain
        } else if domains.any(|other| ours(check(other, message.chain))) {
            Problem::WrongDomain
        } else {
            Problem::Nonce(error)
        }
    })
}

async fn verify<P: Ports>(
    client: &ChainClient<P>,
    chain: &Chain,
    verification: &Verification,
) -> Result<VerifiedSigner, Problem> {
    let answer = chain::verify(client, chain, verification).await;
    Ok(answer.map_err(|chain::ChainError| Problem::SignatureUnchecked)??)
}

async fn describe<P: Ports>(
    context: &Context<P, SignIn>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    let [] = query(request, [])?;
    let session = context.sessions().session(request).await?;
    let mut answer = document(&session);
    answer.insert(
        "issued_at".into(),
        rfc3339::format(session.issued_at()).into(),
    );
    Ok(json_response(StatusCode::OK, &answer.into()))
}

async fn renew<P: Ports>(
    context: &Context<P, SignIn>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    let [] = query(request, [])?;
    let by_cookie = matches!(credentials::presented(request)?, Some(Presented::Cookie(_)));
    let session = context.sessions().session(request).await?;
    let idle = context.config().service.session.idle;
    let (session, token) = session.renew(&context.state.keys, context.ports.now(), idle);
    let answer = document(&session);
    opened(
        context.ports.now(),
        StatusCode::OK,
        answer,
        &session,
        &token,
        by_cookie,
    )
}

async fn sign_out<P: Ports>(
    context: &Context<P, SignIn>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    let [everywhere] = query(request, ["everywhere"])?;
    let everywhere = match everywhere.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::Query("`everywhere` is true or false.".into())),
    };
    let session = context.sessions().session(request).await?;
    let service = &context.config().service;
    let store = context.store();
    let failed = |_| Problem::StoreUnavailable;
    if everywhere {
        let absolute = service.session.absolute;
        let longest = store::longest_lifetime(&store, absolute);
        let until = context
            .ports
            .now()
            .checked_add(longest.await.map_err(failed)?);
        let until = until.map_err(|_| Problem::Misconfigured)?;
        for member in session.members() {
            store::end_all(&store, member.wallet, until)
                .await
                .map_err(failed)?;
        }
    }
    context.sessions().end(&session).await.map_err(failed)?;
    let mut response = empty_response(StatusCode::NO_CONTENT);
    let cleared = const {
        HeaderValue::from_static(
            "__Host-tokengate=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax",
        )
    };
    response.headers_mut().insert(SET_COOKIE, cleared);
    Ok(response)
}

/// What may be known of a session without its token.
fn document(session: &Session) -> serde_json::Map<String, Value> {
    let wallet = |member: &session::Member| {
        let chain = match member.wallet.control {
            Control::Key => None,
            Control::Contract(chain) => Some(chain),
        };
        json!({"address": member.wallet.address, "chain": chain})
    };
    let members = json!({
        "address": session.address(),
        "wallets": session.members().iter().map(wallet).collect::<Vec<_>>(),
        "expires_at": rfc3339::format(session.expires_at()),
        "ends_at": rfc3339::format(session.ends_at()),
    });
    match members {
        Value::Object(members) => members,
        _ => serde_json::Map::new(),
    }
}

/// The answer that opens a session: with its token, or with a cookie that no script can read.
fn opened(
    now: Timestamp,
    status: StatusCode,
    mut answer: serde_json::Map<String, Value>,
    session: &Session,
    token: &Secret<String>,
    cookie: bool,
) -> Result<Response, Problem> {
    if !cookie {
        answer.insert("token".into(), token.expose().as_str().into());
        answer.insert("token_type".into(), "Bearer".into());
        return Ok(json_response(status, &answer.into()));
    }
    let left = session.expires_at().duration_since(now);
    let cookie = format!(
        "{COOKIE_NAME}={}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax",
        token.expose(),
        left.as_secs().max(0)
    );
    let mut response = json_response(status, &answer.into());
    let mut value = HeaderValue::from_str(&cookie).map_err(|_| Problem::Misconfigured)?;
    value.set_sensitive(true);
    response.headers_mut().insert(SET_COOKIE, value);
    Ok(response)
}
