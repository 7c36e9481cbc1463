//! `GET /v1/challenge`: an EIP-4361 message to sign.

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::header::HOST;
use http::{Method, StatusCode};
use serde_json::json;
use tokengate_core::config::Config;
use tokengate_core::eip4361::Challenge;
use tokengate_core::nonce::{self, Binding};
use tokengate_core::rfc3339;
use tokengate_core::{Address, ChainId};

use crate::ports::Ports;
use crate::problem::Problem;
use crate::request::{query, required};
use crate::router::{self, Context, Needs, Request, Response, Route};

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P>> {
    let needs = Needs {
        config: true,
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
    async move { challenge(context, request) }.boxed_local()
}

fn challenge<P: Ports>(context: &Context<'_, P>, request: &Request) -> Result<Response, Problem> {
    let config = context.service.config()?;
    let [address, chain, domain] = query(request, ["address", "chain", "domain"])?;
    let address: Address = required(address, "address")?.parse()?;
    let chain: ChainId = required(chain, "chain")?.parse()?;
    let chain = config.chain(chain).ok_or(Problem::UnknownChain)?.id;
    let domain = self::domain(config, request, domain.as_deref())?;
    context.record.address(address);
    let now = context.ports.now();
    let nonce = nonce::mint(
        context.service.keys()?,
        &Binding {
            domain,
            chain,
            address,
        },
        now,
        context.ports.random(),
    );
    let expiration_time = now
        .checked_add(config.service.challenge_ttl)
        .map_err(|_| Problem::Misconfigured)?;
    let uri = format!("{}://{domain}", scheme(domain));
    let message = Challenge {
        domain,
        address,
        statement: &config.service.statement,
        uri: &uri,
        chain,
        nonce: &nonce,
        issued_at: now,
        expiration_time,
    };
    Ok(router::json(
        StatusCode::OK,
        &json!({"message": message.to_string(), "nonce": nonce, "expires_at": rfc3339::format(expiration_time)}),
    ))
}

/// The domain to sign in to: the one asked for, else the one the request was sent to, else the first.
fn domain<'a>(
    config: &'a Config,
    request: &Request,
    asked: Option<&str>,
) -> Result<&'a str, Problem> {
    let known = |wanted: &str| {
        config
            .service
            .domains
            .iter()
            .find(|domain| domain.eq_ignore_ascii_case(wanted))
            .map(String::as_str)
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
        .or_else(|| config.service.domains.first().map(String::as_str))
        .ok_or(Problem::Misconfigured)
}

/// Pages are served over TLS, except on this machine, where browsers trust plain HTTP (W3C Secure Contexts).
fn scheme(domain: &str) -> &'static str {
    let host = domain.rsplit_once(':').map_or(domain, |(host, _)| host);
    if matches!(host, "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".localhost") {
        "http"
    } else {
        "https"
    }
}
