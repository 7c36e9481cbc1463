//! `GET /v1/challenge`: an EIP-4361 message to sign.

use std::borrow::Cow;

use http::header::HOST;
use http::{Method, StatusCode};
use serde_json::json;
use tokengate_core::config::{Config, Service};
use tokengate_core::domain::Domain;
use tokengate_core::eip712;
use tokengate_core::eip4361::{Challenge, Message};
use tokengate_core::nonce::{self, Binding};
use tokengate_core::rfc3339;
use tokengate_core::{Address, ChainId};

use crate::context::Context;
use crate::http::extract::{query, required};
use crate::http::problem::Problem;
use crate::http::{Request, Response, json_response};
use crate::ports::Ports;
use crate::route::Route;
use crate::state;
use crate::store::{self, StoreClient};

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P, state::Challenge>> {
    vec![Route::new("/v1/challenge").on(Method::GET, get)]
}

async fn get<P: Ports>(
    context: &Context<P, state::Challenge>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    let config = context.config();
    let [address, chain, domain] = query(request, ["address", "chain", "domain"])?;
    let address = address.map(|text| text.parse::<Address>()).transpose()?;
    let chain: ChainId = required(chain, "chain")?.parse()?;
    let chain = config.chain(chain).ok_or(Problem::UnknownChain)?.id;
    let domain = self::domain(config, request, domain.as_deref())?;
    context.limiter().client(request).await?;
    if let Some(address) = address {
        context.telemetry.address(address);
        context
            .limiter()
            .client_and_address(request, address)
            .await?;
    }
    let ttl = config.service.challenge_ttl;
    let now = context.ports.now();
    let binding = Binding {
        store: store_scope(&context.store()).await?,
        domain: domain.as_str(),
        chain,
        address,
    };
    let random = context.ports.random();
    let nonce = nonce::mint(&context.state.keys, &binding, now, ttl, random);
    let expiration_time = now.checked_add(ttl).map_err(|_| Problem::Misconfigured)?;
    let uri = domain.uri();
    let statement = statement(&config.service, domain);
    let text = address.map(|address| {
        let challenge = Challenge {
            domain: domain.as_str(),
            address,
            statement: &statement,
            uri: &uri,
            chain,
            nonce: &nonce,
            issued_at: now,
            expiration_time,
        };
        challenge.to_string()
    });
    let typed_data = match &text {
        // Our own writer's text is in our own parser's grammar: a test holds them to it.
        Some(text) if config.service.typed_data => Some(eip712::typed_data(&Message::parse(text)?)),
        Some(_) | None => None,
    };
    Ok(json_response(
        StatusCode::OK,
        &json!({
            "message": text,
            "typed_data": typed_data,
            "nonce": nonce,
            "domain": domain.as_str(),
            "uri": uri,
            "statement": statement,
            "chain": chain,
            "issued_at": rfc3339::format(now),
            "expires_at": rfc3339::format(expiration_time),
        }),
    ))
}

/// What the nonces of this store are bound to.
///
/// # Errors
/// [`Problem::StoreUnavailable`], until the store has been asked once.
pub(crate) async fn store_scope<P: Ports>(store: &StoreClient<P>) -> Result<[u8; 16], Problem> {
    let scope = store::nonce_scope(store).await;
    scope.map_err(|_| Problem::StoreUnavailable)
}

/// What the person who signs reads. Of typed data, wallets show the statement and compare no domain with the page's: where
/// it may be signed, the statement begins with the domain.
pub(crate) fn statement<'a>(service: &'a Service, domain: &Domain) -> Cow<'a, str> {
    if service.typed_data {
        format!("{}: {}", domain.as_str(), service.statement).into()
    } else {
        Cow::Borrowed(&service.statement)
    }
}

/// The domain to sign in to: the one asked for, else the one the request was sent to, else the first.
fn domain<'a>(
    config: &'a Config,
    request: &Request,
    asked: Option<&str>,
) -> Result<&'a Domain, Problem> {
    let known = |wanted: &str| {
        let mut domains = config.service.domains.iter();
        domains.find(|domain| domain.is(None, wanted))
    };
    if let Some(asked) = asked {
        return known(asked).ok_or(Problem::UnknownDomain);
    }
    let host = request
        .uri()
        .authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| request.headers().get(HOST)?.to_str().ok());
    host.and_then(known)
        .or_else(|| config.service.domains.first())
        .ok_or(Problem::Misconfigured)
}
