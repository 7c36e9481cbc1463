//! `GET /v1/challenge`: an EIP-4361 message to sign.

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::header::HOST;
use http::{Method, StatusCode};
use serde_json::json;
use tokengate_core::config::Config;
use tokengate_core::domain::Domain;
use tokengate_core::eip712;
use tokengate_core::eip4361::{Challenge, Message};
use tokengate_core::nonce::{self, Binding};
use tokengate_core::rfc3339;
use tokengate_core::{Address, ChainId};

use crate::limits;
use crate::ports::Ports;
use crate::problem::Problem;
use crate::request::{query, required};
use crate::router::{self, Context, Needs, Request, Response, Route};

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P>> {
    let needs = Needs {
        config: true,
        store: true,
        keys: true,
        ..Needs::default()
    };
    vec![Route::new("/v1/challenge", needs).on(Method::GET, get)]
}

fn get<'a, P: Ports>(
    context: &'a Context<'a, P>,
    request: &'a Request,
    _: &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>> {
    challenge(context, request).boxed_local()
}

async fn challenge<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
) -> Result<Response, Problem> {
    let config = context.service.config()?;
    let [address, chain, domain] = query(request, ["address", "chain", "domain"])?;
    let address = address.map(|text| text.parse::<Address>()).transpose()?;
    let chain: ChainId = required(chain, "chain")?.parse()?;
    let chain = config.chain(chain).ok_or(Problem::UnknownChain)?.id;
    let domain = self::domain(config, request, domain.as_deref())?;
    limits::client(context, request).await?;
    if let Some(address) = address {
        context.record.address(address);
        limits::client_and_address(context, request, address).await?;
    }
    let ttl = config.service.challenge_ttl;
    let now = context.ports.now();
    let binding = Binding {
        domain: domain.as_str(),
        chain,
        address,
    };
    let random = context.ports.random();
    let nonce = nonce::mint(context.service.keys()?, &binding, now, ttl, random);
    let expiration_time = now.checked_add(ttl).map_err(|_| Problem::Misconfigured)?;
    let uri = domain.uri();
    let text = address.map(|address| {
        let challenge = Challenge {
            domain: domain.as_str(),
            address,
            statement: &config.service.statement,
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
        Some(text) => Some(eip712::typed_data(&Message::parse(text)?)),
        None => None,
    };
    Ok(router::json(
        StatusCode::OK,
        &json!({
            "message": text,
            "typed_data": typed_data,
            "nonce": nonce,
            "domain": domain.as_str(),
            "uri": uri,
            "statement": config.service.statement,
            "chain": chain,
            "issued_at": rfc3339::format(now),
            "expires_at": rfc3339::format(expiration_time),
        }),
    ))
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
