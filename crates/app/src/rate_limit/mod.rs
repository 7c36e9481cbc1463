//! Rate limits on what costs most: how often one client or account may ask in a window of time, and how much one session
//! may have read from chains.
//!
//! Each instance counts for itself and, in the background, adds its count to the store's: no answer waits for a
//! write. What instances do not know of each other yet is the error: a client may get ahead by a sixteenth of its
//! quota for each instance that serves it. The store's counters are a fixed number of slots (see
//! [`tokengate_core::rate_count`]), so strangers cannot fill it; where it is Redis spoken to directly, each name has a
//! counter of its own that expires with its window, which is exact and atomic. A store that fails refuses no request.

mod charge;
mod counts;
mod payer;

use std::rc::Rc;

use http::header::FORWARDED;
use tokengate_core::Address;
use tokengate_core::config::ClientAddress;
use tokengate_core::wallet::{Control, Wallet};

use self::charge::{Charge, Client, Policy};
use self::counts::window;
pub(crate) use self::payer::Payer;
use crate::background::Background;
use crate::cache::rate_counts::RateCounts;
use crate::http::Request;
use crate::http::client_ip::{X_FORWARDED_FOR, client_address};
use crate::http::problem::Problem;
use crate::http::rate_limit_fields::Quota;
use crate::ports::Ports;
use crate::store::StoreClient;
use crate::telemetry::Telemetry;

/// A request's access to rate counts.
#[derive(Clone, Debug)]
pub(crate) struct RateLimiter<P> {
    counts: Rc<RateCounts>,
    store: StoreClient<P>,
}

impl<P: Ports> Background<P> for RateLimiter<P> {
    fn ports(&self) -> &P {
        self.store.ports()
    }

    fn telemetry(&self) -> &Telemetry {
        self.store.telemetry()
    }

    fn with_telemetry(&self, telemetry: Telemetry) -> Self {
        Self::new(&self.counts, self.store.with_telemetry(telemetry))
    }
}

impl<P: Ports> RateLimiter<P> {
    /// The counts of an instance, as one request uses them.
    pub(crate) fn new(counts: &Rc<RateCounts>, store: StoreClient<P>) -> Self {
        Self {
            counts: counts.clone(),
            store,
        }
    }

    /// Counts a request of a client.
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`].
    pub(crate) async fn client(&self, request: &Request) -> Result<(), Problem> {
        let rate = self.store.config().limits.per_client;
        let client = self.client_of(request);
        self.admit(&client.charges(Policy::Client, rate, 1)).await
    }

    /// Whether a client may try another token of the operator's: asked before the token is compared, so that the right one
    /// is not found either by a client that has tried too many.
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`].
    pub(crate) async fn may_guess(&self, request: &Request) -> Result<(), Problem> {
        self.guesses(request, 0).await
    }

    /// Counts a wrong token of a client. Nothing is waited for between this and [`Self::may_guess`].
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`].
    pub(crate) async fn wrong_guess(&self, request: &Request) -> Result<(), Problem> {
        self.guesses(request, 1).await
    }

    /// Counts what a client asks for an account that it need not own: no client can use up another one's quota.
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`].
    pub(crate) async fn client_and_address(
        &self,
        request: &Request,
        address: Address,
    ) -> Result<(), Problem> {
        let rate = self.store.config().limits.per_address;
        let client = self.client_of(request);
        let name: [&[u8]; 3] = [b"asked", address.as_bytes(), &client.0];
        self.admit(&[Charge::new(Policy::Address, &name, rate, 1)])
            .await
    }

    /// Counts what a wallet has signed. A contract on another chain at the same address is another wallet.
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`].
    pub(crate) async fn wallet(&self, wallet: Wallet) -> Result<(), Problem> {
        let rate = self.store.config().limits.per_address;
        // No chain has the id 0.
        let chain = match wallet.control {
            Control::Key => 0,
            Control::Contract(chain) => chain.id(),
        };
        let name: [&[u8]; 3] = [b"signed", wallet.address.as_bytes(), &chain.to_be_bytes()];
        self.admit(&[Charge::new(Policy::Address, &name, rate, 1)])
            .await
    }

    async fn guesses(&self, request: &Request, cost: u32) -> Result<(), Problem> {
        let rate = self.store.config().limits.per_client;
        let client = self.client_of(request);
        self.admit(&client.charges(Policy::Admin, rate, cost)).await
    }

    /// Admits what is charged for if none of the quotas is used up, and counts it to all of them.
    async fn admit(&self, charges: &[Charge]) -> Result<(), Problem> {
        let seconds = u64::try_from(self.store.ports().now().as_second()).unwrap_or_default();
        let mut looked_up = Vec::with_capacity(charges.len());
        for charge in charges {
            let window = window(seconds, charge.rate.window);
            looked_up.push(self.look_up(charge, window, seconds).await?);
        }
        // Nothing is waited for from here on: what is admitted is counted before the next request is looked at.
        let mut refused = None;
        for (charge, seen) in charges.iter().zip(&looked_up) {
            let used = self
                .counts
                .count(&charge.name, seen.window)
                .map_or(seen.shared, |count| count.shared.saturating_add(count.own));
            let reset = seen.window.saturating_sub(seconds);
            let is_used_up = used >= charge.rate.quota;
            // What a request has read is told where there was too much of it: most read nothing.
            if is_used_up || charge.policy.is_of_requests() {
                self.store.telemetry().quota(Quota {
                    policy: charge.policy.name(),
                    rate: charge.rate,
                    remaining: charge
                        .rate
                        .quota
                        .saturating_sub(used.saturating_add(charge.cost)),
                    reset,
                });
            }
            if is_used_up {
                refused = refused.max(Some(reset));
            }
        }
        if let Some(reset) = refused {
            return Err(Problem::TooManyRequests(reset));
        }
        for (charge, seen) in charges.iter().zip(&looked_up) {
            if charge.cost == 0 {
                continue;
            }
            let mut own = 0;
            self.counts.update(charge.name, seen.window, |count| {
                count.shared = count.shared.max(seen.shared);
                count.own = count.own.saturating_add(charge.cost);
                own = count.own;
            });
            if seen.is_new || own >= charge.rate.quota.div_ceil(16) {
                self.share(*charge, seen.window, seconds);
            }
        }
        Ok(())
    }

    /// The client of a request.
    fn client_of(&self, request: &Request) -> Client {
        let place = &self.store.config().limits.client;
        let is_forwarded = || {
            let headers = request.headers();
            headers.contains_key(FORWARDED) || headers.contains_key(X_FORWARDED_FOR)
        };
        // Said once: to a service behind a proxy, all visitors are one client.
        if *place == ClientAddress::Peer && is_forwarded() && self.counts.is_first_forwarded() {
            self.store.telemetry().error(
                "a request was forwarded by a proxy, and limits count the proxy as the client: set client_ip_header in [limits]".into(),
            );
        }
        Client(client_address(request, place))
    }
}
