//! `GET /healthz/live` and `GET /healthz/ready`: alive; and able to decide.

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join, join_all};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::chain;
use crate::http::problem::Problem;
use crate::http::{Request, Response, json_response};
use crate::ports::Ports;
use crate::rate_limit;
use crate::router::{Context, Needs, Route};
use crate::{store, transfers};

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P>> {
    let needs = Needs {
        config: true,
        store: true,
        providers: true,
        ..Needs::default()
    };
    vec![
        Route::new("/healthz/live", Needs::default()).on(Method::GET, live),
        Route::new("/healthz/ready", needs).on(Method::GET, ready),
    ]
}

fn live<'a, P: Ports>(
    _: &'a Context<'a, P>,
    _: &'a Request,
    _: &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>> {
    async move { Ok(json_response(StatusCode::OK, &json!({"status": "ok"}))) }.boxed_local()
}

fn ready<'a, P: Ports>(
    context: &'a Context<'a, P>,
    request: &'a Request,
    _: &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>> {
    readiness(context, request).boxed_local()
}

async fn readiness<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
) -> Result<Response, Problem> {
    // Anybody may ask, and each answer costs a call to every chain.
    rate_limit::client(context, request).await?;
    let config = context.service.config()?;
    let chains = join_all(config.chains().map(|chain| async move {
        (
            chain.id,
            chain::chain_id(context, chain).await == Ok(chain.id.id()),
        )
    }));
    let (store, chains) = join(store::probe(context, config.deadlines.store), chains).await;
    let word = |ok: bool| Value::from(if ok { "ok" } else { "failing" });
    let mut checks = Map::new();
    checks.insert("config".into(), word(true));
    checks.insert("store".into(), word(store.is_ok()));
    for (chain, ok) in &chains {
        checks.insert(chain.to_string(), word(*ok));
    }
    // It decides nevertheless, so this is for whoever looks: a fact lives for as long as `fresh` and `stale` allow.
    for chain in config.chains() {
        if transfers::is_stuck(context, config, chain.id).await {
            checks.insert(format!("{} transfers", chain.id), word(false));
        }
    }
    let ok = store.is_ok() && chains.iter().all(|(_, ok)| *ok);
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
