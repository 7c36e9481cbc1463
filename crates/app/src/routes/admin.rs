//! `/v1/admin`: what the operator has the service do. Only where there is a token for it.

use futures_util::FutureExt as _;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::ports::Ports;
use crate::problem::Problem;
use crate::request::query;
use crate::router::{self, Context, Needs, Request, Response, Route};
use crate::watch::{self, Report};
use crate::{auth, limits};

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P>> {
    let needs = Needs {
        config: true,
        providers: true,
        admin: true,
        ..Needs::default()
    };
    vec![
        Route::new("/v1/admin/watch", needs).on(Method::POST, |context, request, _| {
            watch(context, request).boxed_local()
        }),
    ]
}

/// That the operator asks. Guesses are counted, so that nobody can make many.
async fn authorise<P: Ports>(context: &Context<'_, P>, request: &Request) -> Result<(), Problem> {
    let token = context.service.admin().ok_or(Problem::NoRoute)?;
    let refusal = match auth::bearer(request) {
        Ok(Some(presented)) if token.is(presented) => return Ok(()),
        Ok(None) => Problem::NoAdminToken,
        Ok(Some(_)) | Err(_) => Problem::AdminToken,
    };
    limits::client(context, request).await?;
    Err(refusal)
}

async fn watch<P: Ports>(context: &Context<'_, P>, request: &Request) -> Result<Response, Problem> {
    authorise(context, request).await?;
    let [] = query(request, [])?;
    let chains = watch::round(context).await?;
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
    Ok(router::json(StatusCode::OK, &json!({"chains": chains})))
}

fn describe(chain: &str, report: &Report) -> Value {
    json!({
        "chain": chain,
        "from": report.from,
        "to": report.to,
        "head": report.head,
        "behind": report.head.saturating_sub(report.to),
        "transfers": report.transfers,
        "undone": report.undone,
        "outdated": report.outdated,
        "skipped": report.skipped,
        "dropped": report.dropped,
    })
}
