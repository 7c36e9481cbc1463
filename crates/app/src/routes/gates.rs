//! `GET /v1/gates`, `/v1/gates/{id}` and `/v1/gates/{id}/check?address=`: what gates demand, and why one is open or closed.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokengate_core::Address;
use tokengate_core::config::Config;
use tokengate_core::gate::{Gate, Truth};
use tokengate_core::leaf::Delegates;
use tokengate_core::wallet::{Holders, Wallet};

use crate::context::Context;
use crate::decision::explain::{Explanation, explain};
use crate::http::extract::{self, query, required};
use crate::http::problem::Problem;
use crate::http::{Request, Response, json_response};
use crate::ports::Ports;
use crate::rate_limit::Payer;
use crate::route::Route;
use crate::state::Chains;
use crate::telemetry::Telemetry;

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P, Chains>> {
    vec![
        Route::new("/v1/gates").on(Method::GET, list),
        Route::new("/v1/gates/{id}").on(Method::GET, describe),
        Route::new("/v1/gates/{id}/check").on(Method::GET, check),
    ]
}

async fn list<P: Ports>(
    context: &Context<P, Chains>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    let [] = query(request, [])?;
    let gates: Vec<Value> = context.config().gates().iter().map(document).collect();
    Ok(json_response(StatusCode::OK, &json!({"gates": gates})))
}

async fn describe<P: Ports>(
    context: &Context<P, Chains>,
    request: &Request,
    id: &str,
) -> Result<Response, Problem> {
    let [] = query(request, [])?;
    Ok(json_response(
        StatusCode::OK,
        &document(gate(context.config(), &context.telemetry, id)?),
    ))
}

async fn check<P: Ports>(
    context: &Context<P, Chains>,
    request: &Request,
    id: &str,
) -> Result<Response, Problem> {
    let gate = gate(context.config(), &context.telemetry, id)?;
    let [address, vault, proof] = query(request, ["address", "vault", "proof"])?;
    let address: Address = required(address, "address")?.parse()?;
    let vault = vault.map(|text| text.parse()).transpose()?;
    let proof = extract::proof(proof)?;
    context.telemetry.address(address);
    context.limiter().client(request).await?;
    let holders = Holders::new([Wallet::of_key(address)], vault).with_proof(proof);
    let payer = Payer::of(&context.limiter(), request, None);
    let Explanation {
        truth,
        tree,
        tier,
        is_complete,
        ..
    } = explain(&context.facts(), gate, holders.named_only(), Some(payer)).await?;
    context.telemetry.tier(tier.as_str());
    let granted = match truth {
        Truth::Yes => Some(true),
        Truth::No => Some(false),
        // A list has the last word, and is not told of to those who have signed nothing.
        Truth::Unknown if is_complete => None,
        Truth::Unknown => return Err(Problem::ChainUnavailable),
    };
    Ok(json_response(
        StatusCode::OK,
        &json!({"gate": gate.id.as_str(), "address": address, "granted": granted, "explain": tree}),
    ))
}

fn gate<'a>(config: &'a Config, telemetry: &Telemetry, id: &str) -> Result<&'a Gate, Problem> {
    let gate = config.gate(id).ok_or(Problem::UnknownGate)?;
    telemetry.gate(gate.id.as_str());
    Ok(gate)
}

fn document(gate: &Gate) -> Value {
    let resources: Vec<String> = gate.resources.iter().map(ToString::to_string).collect();
    let delegation = gate.delegation.as_ref().map(Delegates::describe);
    json!({"gate": gate.id.as_str(), "resources": resources, "fresh_seconds": gate.fresh.as_secs(), "stale_seconds": gate.stale.as_secs(), "delegation": delegation, "require": gate.require.describe()})
}
