//! Who is asking: the session behind a request.

use http::header::{HeaderName, HeaderValue, ORIGIN};
use tokengate_core::Timestamp;
use tokengate_core::session::{self, Session};

use crate::cache::sessions::Standing;
use crate::http::Request;
use crate::http::credentials::{Presented, presented};
use crate::http::problem::Problem;
use crate::ports::{Ports, StoreError};
use crate::router::Context;
use crate::store;

/// The live session of a request: authentic, in time, not ended.
pub(crate) async fn session<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
) -> Result<Session, Problem> {
    let presented = presented(request)?.ok_or(Problem::NoSession)?;
    open(context, request, presented).await
}

/// The live session behind a token.
pub(crate) async fn open<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
    presented: Presented<'_>,
) -> Result<Session, Problem> {
    let session = authentic(context, request, presented)?;
    still_open(context, &session).await?;
    Ok(session)
}

/// The session behind a request's token, which may have been ended: that has to be asked for.
pub(crate) fn authentic_session<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
) -> Result<Session, Problem> {
    authentic(
        context,
        request,
        presented(request)?.ok_or(Problem::NoSession)?,
    )
}

fn authentic<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
    presented: Presented<'_>,
) -> Result<Session, Problem> {
    let token = match presented {
        Presented::Bearer(token) => token,
        Presented::Cookie(token) => {
            if !request.method().is_safe() && !is_same_origin(context, request)?.unwrap_or(false) {
                return Err(Problem::CrossSite);
            }
            token
        }
    };
    let absolute = context.service.config()?.service.session.absolute;
    let keys = context.service.keys()?;
    let session = session::check(keys, token, context.ports.now(), absolute)?;
    context.record.address(session.address());
    Ok(session)
}

/// Whether a page of ours made the browser send the request; `None` where no browser says.
///
/// Browsers send `Origin` with every unsafe request and let no page change it (Fetch section 3.2), nor `Sec-Fetch-Site`
/// (W3C Fetch Metadata). Where both are there, both have to say so.
pub(crate) fn is_same_origin<P: Ports>(
    context: &Context<'_, P>,
    request: &Request,
) -> Result<Option<bool>, Problem> {
    let domains = &context.service.config()?.service.domains;
    let ours = |origin: &HeaderValue| {
        origin
            .to_str()
            .is_ok_and(|origin| domains.iter().any(|domain| domain.is_origin(origin)))
    };
    let origins = request.headers().get_all(ORIGIN).iter().map(ours);
    let sites = request.headers().get_all(SEC_FETCH_SITE).iter();
    let sites = sites.map(|site| site == "same-origin");
    Ok(origins.chain(sites).reduce(|all, one| all && one))
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a session has not been ended, also while a chain was asked.
pub(crate) async fn still_open<P: Ports>(
    context: &Context<'_, P>,
    session: &Session,
) -> Result<(), Problem> {
    // It must be known, not assumed: without the store there is no answer.
    match ask_whether_ended(context, session).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Problem::SessionRevoked),
        Err(_) => Err(Problem::StoreUnavailable),
    }
}

/// Whether a session is open, as far as it matters for opening objects: it is enough to have known that a moment ago, as
/// of whatever else is in memory. Answers a time that nothing opened may outlast, if there is one.
///
/// While the store does not answer, it may have been longer ago, up to `url_ttl`: whoever was let in then has a URL that
/// works as long, and gets no longer one.
///
/// # Errors
/// [`Problem::SessionRevoked`]; [`Problem::StoreUnavailable`], if it has not been known for too long.
pub(crate) async fn known_open<P: Ports>(
    context: &Context<'_, P>,
    session: &Session,
) -> Result<Option<Timestamp>, Problem> {
    let (id, now) = (session.id_bytes(), context.ports.now());
    let memory = &context.service.memory().sessions;
    let standing = memory.standing(id);
    match standing {
        Some(Standing::Ended) => return Err(Problem::SessionRevoked),
        Some(standing) if memory.is_recent(standing, context.ports.elapsed()) => return Ok(None),
        _ => {}
    }
    let seen = match standing {
        Some(Standing::Open(at, _)) => at.max(session.issued_at()),
        Some(Standing::Ended) | None => session.issued_at(),
    };
    let url_ttl = context.service.config()?.service.url_ttl;
    let until = seen.min(now).checked_add(url_ttl).ok();
    let until = until.filter(|until| *until > now);
    let memory = context.service.memory();
    // Whoever can do without a store that has fallen silent does not wait for it.
    if until.is_some() && memory.store_is_silent(context.ports.elapsed()) {
        return Ok(until);
    }
    match ask_whether_ended(context, session).await {
        Ok(false) => Ok(None),
        Ok(true) => Err(Problem::SessionRevoked),
        // That is no silence of the store: what said that the session was ended may have been there.
        Err(StoreError::Forged(_)) => Err(Problem::StoreUnavailable),
        Err(_) if until.is_some() => Ok(until),
        Err(_) => Err(Problem::StoreUnavailable),
    }
}

async fn ask_whether_ended<P: Ports>(
    context: &Context<'_, P>,
    session: &Session,
) -> Result<bool, StoreError> {
    let (now, elapsed) = (context.ports.now(), context.ports.elapsed());
    let config = context.service.config();
    let config = config.map_err(|_| StoreError::Failed("no configuration".into()))?;
    let ended = store::is_ended(context, config.deadlines.store, session).await;
    if ended == Err(StoreError::Timeout) {
        let memory = context.service.memory();
        memory.store_fell_silent(context.ports.elapsed());
    }
    let ended = ended?;
    let standing = if ended {
        Standing::Ended
    } else {
        Standing::Open(now, elapsed)
    };
    let memory = &context.service.memory().sessions;
    memory.put(session.id_bytes(), standing);
    Ok(ended)
}
