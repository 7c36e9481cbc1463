//! Sessions: which one a request presents, and whether it is open.

use std::rc::Rc;

use http::header::{HeaderName, HeaderValue, ORIGIN};
use tokengate_core::Timestamp;
use tokengate_core::config::Config;
use tokengate_core::keys::KeyRing;
use tokengate_core::session::{self, Session};

use crate::background::Background;
use crate::cache::sessions::{SessionCache, Standing};
use crate::http::Request;
use crate::http::credentials::{Presented, presented};
use crate::http::problem::Problem;
use crate::ports::{Ports, StoreError};
use crate::store::{self, StoreClient};
use crate::telemetry::Telemetry;

/// A request's access to sessions.
#[derive(Clone, Debug)]
pub(crate) struct SessionClient<P> {
    /// What tokens are authenticated with.
    pub(crate) keys: Rc<KeyRing>,
    /// What this instance knows of sessions.
    pub(crate) cache: Rc<SessionCache>,
    /// Where sessions are ended.
    pub(crate) store: StoreClient<P>,
}

impl<P: Ports> Background<P> for SessionClient<P> {
    fn ports(&self) -> &P {
        self.store.ports()
    }

    fn telemetry(&self) -> &Telemetry {
        self.store.telemetry()
    }

    fn with_telemetry(&self, telemetry: Telemetry) -> Self {
        Self {
            keys: self.keys.clone(),
            cache: self.cache.clone(),
            store: self.store.with_telemetry(telemetry),
        }
    }
}

impl<P: Ports> SessionClient<P> {
    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        self.store.config()
    }

    /// Ends a session. Answers how often that was done, this time included: only the first may let another session take
    /// its place.
    pub(crate) async fn end(&self, session: &Session) -> Result<u64, StoreError> {
        let count = store::end(&self.store, session).await?;
        self.cache.put(session.id_bytes(), Standing::Ended);
        Ok(count)
    }

    /// The live session of a request: authentic, in time, not ended.
    pub(crate) async fn session(&self, request: &Request) -> Result<Session, Problem> {
        let presented = presented(request)?.ok_or(Problem::NoSession)?;
        self.open(request, presented).await
    }

    /// The live session behind a token.
    pub(crate) async fn open(
        &self,
        request: &Request,
        presented: Presented<'_>,
    ) -> Result<Session, Problem> {
        let session = self.authentic(request, presented)?;
        self.still_open(&session).await?;
        Ok(session)
    }

    /// The session behind a request's token, which may have been ended: that has to be asked for.
    pub(crate) fn authentic_session(&self, request: &Request) -> Result<Session, Problem> {
        self.authentic(request, presented(request)?.ok_or(Problem::NoSession)?)
    }

    fn authentic(&self, request: &Request, presented: Presented<'_>) -> Result<Session, Problem> {
        let token = match presented {
            Presented::Bearer(token) => token,
            Presented::Cookie(token) => {
                if !request.method().is_safe() && !self.is_same_origin(request).unwrap_or(false) {
                    return Err(Problem::CrossSite);
                }
                token
            }
        };
        let absolute = self.config().service.session.absolute;
        let session = session::check(&self.keys, token, self.ports().now(), absolute)?;
        self.telemetry().address(session.address());
        Ok(session)
    }

    /// Whether a page of ours made the browser send the request; `None` where no browser says.
    ///
    /// Browsers send `Origin` with every unsafe request and let no page change it (Fetch section 3.2), nor `Sec-Fetch-Site`
    /// (W3C Fetch Metadata). Where both are there, both have to say so.
    pub(crate) fn is_same_origin(&self, request: &Request) -> Option<bool> {
        let domains = &self.config().service.domains;
        let ours = |origin: &HeaderValue| {
            origin
                .to_str()
                .is_ok_and(|origin| domains.iter().any(|domain| domain.is_origin(origin)))
        };
        let origins = request.headers().get_all(ORIGIN).iter().map(ours);
        let sites = request.headers().get_all(SEC_FETCH_SITE).iter();
        let sites = sites.map(|site| site == "same-origin");
        origins.chain(sites).reduce(|all, one| all && one)
    }

    /// Whether a session has not been ended, also while a chain was asked.
    pub(crate) async fn still_open(&self, session: &Session) -> Result<(), Problem> {
        // It must be known, not assumed: without the store there is no answer.
        match self.ask_whether_ended(session).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(Problem::SessionRevoked),
            Err(_) => Err(Problem::StoreUnavailable),
        }
    }

    /// Whether a session is open, as far as it matters for opening objects: it is enough to have known that a moment ago, as
    /// of whatever else is in memory. Answers a time that nothing opened may outlast, if there is one.
    ///
    /// While the store does not answer, it may have been longer ago, up to `url_ttl`: a URL that was minted then
    /// works as long, and no longer one is minted.
    ///
    /// # Errors
    /// [`Problem::SessionRevoked`]; [`Problem::StoreUnavailable`], if it has not been known for too long.
    pub(crate) async fn known_open(&self, session: &Session) -> Result<Option<Timestamp>, Problem> {
        let (id, now) = (session.id_bytes(), self.ports().now());
        let cache = &self.cache;
        let standing = cache.standing(id);
        match standing {
            Some(Standing::Ended) => return Err(Problem::SessionRevoked),
            Some(standing) if cache.is_recent(standing, self.ports().elapsed()) => return Ok(None),
            _ => {}
        }
        let seen = match standing {
            Some(Standing::Open(at, _)) => at.max(session.issued_at()),
            Some(Standing::Ended) | None => session.issued_at(),
        };
        let url_ttl = self.config().service.url_ttl;
        let until = seen.min(now).checked_add(url_ttl).ok();
        let until = until.filter(|until| *until > now);
        // What can do without a store that does not answer does not wait for it.
        if until.is_some() && self.store.is_silent() {
            return Ok(until);
        }
        match self.ask_whether_ended(session).await {
            Ok(false) => Ok(None),
            Ok(true) => Err(Problem::SessionRevoked),
            // That is no silence of the store: what said that the session was ended may have been there.
            Err(StoreError::Forged(_)) => Err(Problem::StoreUnavailable),
            Err(_) if until.is_some() => Ok(until),
            Err(_) => Err(Problem::StoreUnavailable),
        }
    }

    async fn ask_whether_ended(&self, session: &Session) -> Result<bool, StoreError> {
        let (now, elapsed) = (self.ports().now(), self.ports().elapsed());
        let ended = store::is_ended(&self.store, session).await;
        if ended == Err(StoreError::Timeout) {
            self.store.fell_silent();
        }
        let ended = ended?;
        let standing = if ended {
            Standing::Ended
        } else {
            Standing::Open(now, elapsed)
        };
        let cache = &self.cache;
        cache.put(session.id_bytes(), standing);
        Ok(ended)
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
