//! `GET /healthz/live` and `GET /healthz/ready`: alive; and able to decide.

use futures_util::future::{join, join_all};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::chain;
use crate::context::Context;
use crate::http::problem::Problem;
use crate::http::{Request, Response, json_response};
use crate::ports::Ports;
use crate::route::Route;
use crate::state::Chains;
use crate::{store, transfers};

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P, Chains>> {
    vec![
        Route::new("/healthz/live").on(Method::GET, live),
        Route::new("/healthz/ready").on(Method::GET, ready),
    ]
}

async fn live<P: Ports>(_: &Context<P, Chains>, _: &Request, _: &str) -> Result<Response, Problem> {
    Ok(json_response(StatusCode::OK, &json!({"status": "ok"})))
}

async fn ready<P: Ports>(
    context: &Context<P, Chains>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    // It is public, and each answer costs a call to every chain.
    context.limiter().client(request).await?;
    let (config, store, client) = (context.config(), context.store(), context.chain());
    let client = &client;
    let chains = join_all(config.chains().map(|chain| async move {
        (
            chain.id,
            chain::chain_id(client, chain).await == Ok(chain.id.id()),
        )
    }));
    let (probed, chains) = join(store::probe(&store), chains).await;
    let word = |ok: bool| Value::from(if ok { "ok" } else { "failing" });
    let mut checks = Map::new();
    checks.insert("config".into(), word(true));
    checks.insert("store".into(), word(probed.is_ok()));
    for (chain, ok) in &chains {
        checks.insert(chain.to_string(), word(*ok));
    }
    // It decides nevertheless, so this is for the operator: a fact lives for as long as `max_age` and `stale_while_revalidate` allow.
    for chain in config.chains() {
        if transfers::is_stuck(&store, chain.id).await {
            checks.insert(format!("{} transfers", chain.id), word(false));
        }
    }
    let ok = probed.is_ok() && chains.iter().all(|(_, ok)| *ok);
    let status = if ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok(json_response(
        status,
        &json!({"status": word(ok), "checks": checks}),
    ))
}
