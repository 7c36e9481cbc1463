//! `GET /v1/gates`, `/v1/gates/{id}` and `/v1/gates/{id}/check?address=`: what gates demand, and why one is open or closed.

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokengate_core::Address;
use tokengate_core::gate::{Gate, Truth};
use tokengate_core::leaf::Delegates;
use tokengate_core::wallet::{Holders, Wallet};

use crate::decision::explain::{Explanation, explain_to};
use crate::http::extract::{self, query, required};
use crate::http::problem::Problem;
use crate::http::{Request, Response, json_response};
use crate::ports::Ports;
use crate::rate_limit;
use crate::router::{Context, Needs, Route};

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P>> {
    let needs = Needs {
        config: true,
        store: true,
        providers: true,
        ..Needs::default()
    };
    vec![
        Route::new("/v1/gates", needs).on(Method::GET, list),
        Route::new("/v1/gates/{id}", needs).on(Method::GET, describe),
        Route::new("/v1/gates/{id}/check", needs).on(Method::GET, check),
    ]
}

fn list<'a, P: Ports>(
    context: &'a Context<'a, P>,
    request: &'a Request,
    _: &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>> {
    async move {
        let [] = query(request, [])?;
        let gates: Vec<Value> = context
            .service
            .config()?
            .gates()
            .iter()
            .map(document)
            .collect();
        Ok(json_response(StatusCode::OK, &json!({"gates": gates})))
    }
    .boxed_local()
}

fn describe<'a, P: Ports>(
    context: &'a Context<'a, P>,
    request: &'a Request,
    id: &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>> {
    async move {
        let [] = query(request, [])?;
        Ok(json_response(StatusCode::OK, &document(gate(context, id)?)))
    }
    .boxed_local()
}

fn check<'a, P: Ports>(
    context: &'a Context<'a, P>,
    request: &'a Request,
    id: &'a str,
) -> LocalBoxFuture<'a, Result<Response, Problem>> {
    async move {
        let gate = gate(context, id)?;
        let [address, vault, proof] = query(request, ["address", "vault", "proof"])?;
        let address: Address = required(address, "address")?.parse()?;
        let vault = vault.map(|text| text.parse()).transpose()?;
        let proof = extract::proof(proof)?;
        context.record.address(address);
        rate_limit::client(context, request).await?;
        let holders = Holders::new([Wallet::of_key(address)], vault).with_proof(proof);
        let payer = rate_limit::Payer::of(context, request, None)?;
        let Explanation {
            truth,
            tree,
            tier,
            is_complete,
            ..
        } = explain_to(context, gate, holders.named_only(), Some(payer)).await?;
        context.record.tier(tier.as_str());
        let granted = match truth {
            Truth::Yes => Some(true),
            Truth::No => Some(false),
            // A list has the last word, and is not told of to those who have signed nothing.
            Truth::Unknown if is_complete => None,
            Truth::Unknown => return Err(Problem::ChainUnavailable),
        };
        Ok(json_response(StatusCode::OK, &json!({"gate": gate.id.as_str(), "address": address, "granted": granted, "explain": tree})))
    }
    .boxed_local()
}

fn gate<'a, P: Ports>(context: &'a Context<'_, P>, id: &str) -> Result<&'a Gate, Problem> {
    let gate = context
        .service
        .config()?
        .gate(id)
        .ok_or(Problem::UnknownGate)?;
    context.record.gate(gate.id.as_str());
    Ok(gate)
}

fn document(gate: &Gate) -> Value {
    let resources: Vec<String> = gate.resources.iter().map(ToString::to_string).collect();
    let delegation = gate.delegation.as_ref().map(Delegates::describe);
    json!({"gate": gate.id.as_str(), "resources": resources, "fresh_seconds": gate.fresh.as_secs(), "stale_seconds": gate.stale.as_secs(), "delegation": delegation, "require": gate.require.describe()})
}
