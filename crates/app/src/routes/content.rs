//! `GET` and `HEAD /v1/content/{resource…}`: the decision of `/v1/access`, answered as a redirect.

use http::header::{HeaderValue, LOCATION};
use http::{Method, StatusCode};
use tokengate_core::presign;
use tokengate_core::resource::Resource;

use crate::context::Context;
use crate::http::extract::{self, query};
use crate::http::problem::Problem;
use crate::http::{Request, Response, empty_response};
use crate::ports::Ports;
use crate::rate_limit::Payer;
use crate::route::Route;
use crate::routes::access;
use crate::state::Access;

/// The routes of this function.
pub fn routes<P: Ports>() -> Vec<Route<P, Access>> {
    vec![
        Route::new("/v1/content/{resource…}")
            .on(Method::GET, get)
            .on(Method::HEAD, head),
    ]
}

async fn get<P: Ports>(
    context: &Context<P, Access>,
    request: &Request,
    path: &str,
) -> Result<Response, Problem> {
    redirect(context, request, path, presign::Method::Get).await
}

async fn head<P: Ports>(
    context: &Context<P, Access>,
    request: &Request,
    path: &str,
) -> Result<Response, Problem> {
    redirect(context, request, path, presign::Method::Head).await
}

async fn redirect<P: Ports>(
    context: &Context<P, Access>,
    request: &Request,
    path: &str,
    method: presign::Method,
) -> Result<Response, Problem> {
    let session = context.sessions().authentic_session(request)?;
    let payer = Payer::of(&context.limiter(), request, Some(&session));
    let [disposition, vault, proof] = query(request, ["disposition", "vault", "proof"])?;
    let vault = vault.map(|text| text.parse()).transpose()?;
    let proof = extract::proof(proof)?;
    let disposition = match disposition.as_deref() {
        None => None,
        Some("attachment") => Some(presign::Disposition::Attachment),
        Some("inline") => Some(presign::Disposition::Inline),
        Some(_) => {
            return Err(Problem::Query(
                "`disposition` is attachment or inline.".into(),
            ));
        }
    };
    let opened = access::open(
        context,
        &access::Claimant::new(session, vault, proof, payer),
        &Resource::from_url_path(path)?,
        method,
        disposition,
    )
    .await?;
    // 302, not 307: both keep GET and HEAD, and this one every client follows.
    let mut response = empty_response(StatusCode::FOUND);
    let mut location =
        HeaderValue::from_str(opened.url.url.expose()).map_err(|_| Problem::Misconfigured)?;
    location.set_sensitive(true);
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}
