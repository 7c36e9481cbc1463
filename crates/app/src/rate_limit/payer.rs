//! Who pays for what is read from chains.

use tokengate_core::session::Session;

use super::RateLimiter;
use super::charge::{Charge, Client, Policy};
use crate::http::Request;
use crate::http::problem::Problem;
use crate::ports::Ports;

/// Who pays for what a request has read from chains.
#[derive(Clone, Debug)]
pub(crate) struct Payer {
    session: Option<[u8; 16]>,
    client: Client,
}

impl Payer {
    /// The client of a request and its session, if it has one.
    pub(crate) fn of<P: Ports>(
        limiter: &RateLimiter<P>,
        request: &Request,
        session: Option<&Session>,
    ) -> Self {
        Self {
            session: session.map(Session::id_bytes),
            client: limiter.client_of(request),
        }
    }

    /// Charges a read of so many facts, counting the call to the chain as one more, before the chain is asked. The last
    /// one that is admitted may exceed the quota: it has to be possible to read whatever one decision needs.
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`].
    pub(crate) async fn charge<P: Ports>(
        &self,
        limiter: &RateLimiter<P>,
        facts: usize,
    ) -> Result<(), Problem> {
        let limits = &limiter.store.config().limits;
        let cost = u32::try_from(facts).unwrap_or(u32::MAX);
        let mut charges = self
            .client
            .charges(Policy::Reads, limits.reads_per_client, cost);
        if let Some(id) = &self.session {
            charges.push(Charge::new(
                Policy::Session,
                &[id],
                limits.per_session,
                cost,
            ));
        }
        limiter.admit(&charges).await
    }
}
