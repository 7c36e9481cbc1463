//! `/v1/admin`: what the operator has the service do. Only where there is a token for it.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokengate_core::wallet::{Holders, Wallet};

use crate::context::Context;
use crate::http::credentials;
use crate::http::extract::{self, query};
use crate::http::problem::Problem;
use crate::http::{Request, Response, json_response};
pub use crate::limits::MAX_ADDRESSES;
use crate::ports::Ports;
use crate::prefetch;
use crate::route::Route;
use crate::state::Admin;
use crate::transfers::{self, PollReport, TransferFollower};

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P, Admin>> {
    let route = |path| Route::new(path).only_if(|admin: &Admin| admin.token.is_some());
    vec![
        route("/v1/admin/watch").on(Method::POST, watch),
        route("/v1/admin/warm").on(Method::POST, warm),
    ]
}

/// Whose facts are to be read, and for which gates: by default for all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    gates: Option<Vec<String>>,
    addresses: Vec<String>,
}

async fn warm<P: Ports>(
    context: &Context<P, Admin>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    authorise(context, request).await?;
    let [] = query(request, [])?;
    let Expected { gates, addresses } = extract::json(request)?;
    if !(1..=MAX_ADDRESSES).contains(&addresses.len()) {
        return Err(Problem::AddressCount);
    }
    let holders = addresses
        .iter()
        .map(|address| {
            let wallet = Wallet::of_key(address.parse()?);
            Ok(Holders::new([wallet], None))
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    let config = context.config();
    let gates = match gates {
        None => config.gates().iter().collect(),
        Some(ids) => ids
            .iter()
            .map(|id| config.gate(id).ok_or(Problem::UnknownGate))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let report = prefetch::read(&context.facts(), &gates, &holders, None).await?;
    if report.failed > 0 && report.failed == report.wanted {
        return Err(Problem::ChainUnavailable);
    }
    Ok(json_response(
        StatusCode::OK,
        &json!({
            "gates": gates.len(),
            "addresses": holders.len(),
            "facts": {
                "wanted": report.wanted,
                "known": report.known,
                "read": report.read,
                "unreadable": report.unreadable,
                "failed": report.failed,
            },
        }),
    ))
}

/// That the operator asks. Wrong tokens are counted for each client, and after too many of them none is compared any
/// more: from elsewhere the right one is let in.
async fn authorise<P: Ports>(
    context: &Context<P, Admin>,
    request: &Request,
) -> Result<(), Problem> {
    let token = context.state.token.as_ref().ok_or(Problem::NoRoute)?;
    context.limiter().may_guess(request).await?;
    let refusal = match credentials::bearer(request) {
        Ok(Some(presented)) if token.is(presented) => return Ok(()),
        Ok(None) => Problem::NoAdminToken,
        Ok(Some(_)) | Err(_) => Problem::AdminToken,
    };
    context.limiter().wrong_guess(request).await?;
    Err(refusal)
}

async fn watch<P: Ports>(
    context: &Context<P, Admin>,
    request: &Request,
    _: &str,
) -> Result<Response, Problem> {
    authorise(context, request).await?;
    let [] = query(request, [])?;
    let follower = TransferFollower {
        chain: context.chain(),
        store: context.store(),
        facts: context.state.chains().facts,
    };
    let chains = transfers::round(&follower).await?;
    let mut problems = chains
        .iter()
        .filter_map(|(_, report)| report.as_ref().err());
    if let Some(problem) = problems.next()
        && chains.iter().all(|(_, report)| report.is_err())
    {
        return Err(problem.clone());
    }
    let chains: Vec<Value> = chains
        .iter()
        .map(|(chain, report)| match report {
            Ok(report) => describe(&chain.to_string(), report),
            Err(problem) => json!({"chain": chain.to_string(), "problem": problem.document()}),
        })
        .collect();
    Ok(json_response(StatusCode::OK, &json!({"chains": chains})))
}

fn describe(chain: &str, report: &PollReport) -> Value {
    json!({
        "chain": chain,
        "from": report.from,
        "to": report.to,
        "head": report.head,
        "behind": report.head.saturating_sub(report.to),
        "transfers": report.transfers,
        "undone": report.undone,
        "outdated": report.invalidated,
        "contracts": report.contracts,
        "skipped": report.skipped,
        "unreadable": report.unreadable,
        "dropped": report.dropped,
    })
}
