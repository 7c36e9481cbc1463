//! Hedged requests: which providers are asked, in which order, how often and for how long, until enough have answered.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, LocalBoxFuture, pending, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokengate_core::config::Chain;
use tokengate_core::jsonrpc::BlockTag;
use tokengate_core::provider::{Failure, Pool};

use super::client::ChainClient;
use super::error::{Blame, ChainError, ProviderError};
use super::provider::{self, Provider};
use super::request::{ChainRequest, ChainResponse};
use super::snapshot::snapshot;
use super::{gossip, head};
use crate::background::Background as _;
use crate::ports::{CallError, Ports};
use crate::telemetry::Outside;
use crate::timeout::within;

/// The most attempts at one provider for one request.
const ATTEMPTS: u32 = 3;
/// Before a provider is asked again; twice as long before the next time, and up to as much more by chance.
const PAUSE: Duration = Duration::from_millis(50);

/// Before a provider is asked again that has not come to a block yet.
const UNTIL_NEXT: Duration = Duration::from_millis(250);
const MOST_UNTIL_NEXT: u32 = 40;

/// How one attempt went.
struct Attempt {
    provider: usize,
    outcome: Result<ChainResponse, ProviderError>,
    /// Whether a failure is the provider's own.
    is_own: bool,
    latency: Duration,
}

/// Answers of `needed` different providers to `request`, each with its provider's index.
///
/// The best is asked first; the next one when it fails, or in addition when it takes longer than it usually does. When
/// all have failed, those whose failure may pass are asked again, as far as the budget for that goes.
pub(super) async fn ask<P: Ports>(
    client: &ChainClient<P>,
    chain: &Chain,
    needed: usize,
    request: ChainRequest<'_>,
) -> Result<Vec<(usize, ChainResponse)>, ChainError> {
    let deadlines = client.config().deadlines;
    let providers = provider::all(client, chain);
    client
        .telemetry()
        .wait_begins(Outside::Chain, client.ports().elapsed());
    let hedge = Hedge {
        client,
        chain,
        providers: &providers,
        request,
        deadline: deadlines.provider,
    };
    let outcome = within(
        client.ports(),
        deadlines.chain,
        hedge.run(needed, deadlines.chain),
    )
    .await;
    if outcome.is_none() {
        hedge.note(format!("{}: no answer in time", chain.id));
    }
    client
        .telemetry()
        .wait_ends(Outside::Chain, client.ports().elapsed());
    outcome.unwrap_or(Err(ChainError))
}

struct Hedge<'a, P> {
    client: &'a ChainClient<P>,
    chain: &'a Chain,
    providers: &'a [Provider<'a, P>],
    request: ChainRequest<'a>,
    deadline: Duration,
}

/// An attempt at a provider whose breaker is open.
struct HalfOpenProbe<'a, P: Ports>(&'a Provider<'a, P>);

impl<P: Ports> Drop for HalfOpenProbe<'_, P> {
    fn drop(&mut self) {
        let Self(provider) = self;
        provider.pool(|pool| pool.trial_ended(provider.index));
    }
}

impl<P: Ports> Hedge<'_, P> {
    fn pool<T>(&self, work: impl FnOnce(&mut Pool) -> T) -> T {
        self.client.pool(self.chain.id, work)
    }

    fn is_resting(&self, provider: usize) -> bool {
        let now = self.client.ports().now();
        self.pool(|pool| pool.is_resting(provider, now, self.deadline))
    }

    fn note(&self, error: String) {
        self.client.telemetry().error(error);
    }

    async fn run(
        &self,
        needed: usize,
        total: Duration,
    ) -> Result<Vec<(usize, ChainResponse)>, ChainError> {
        let ports = self.client.ports();
        let begun = ports.elapsed();
        let mut queue = self.pool(|pool| {
            pool.earn();
            let limits = self.chain.head_limits();
            VecDeque::from(pool.order(ports.now(), self.deadline, limits))
        });
        let mut attempts = vec![0_u32; self.providers.len()];
        let mut answers = Vec::new();
        let mut running = FuturesUnordered::new();
        // When each attempt under way began, and the delay with the last one.
        let mut since: Vec<Option<Duration>> = vec![None; self.providers.len()];
        let mut delay = self.deadline;
        loop {
            while running.len() + answers.len() < needed {
                let Some((provider, attempt)) = self.next(&mut queue, running.is_empty()) else {
                    break;
                };
                delay = self.started(provider, &mut attempts, &mut since);
                running.push(attempt);
            }
            if running.is_empty() {
                return Err(ChainError);
            }
            let hedge = match queue.front() {
                Some(next) if !self.request.is_long() && !self.is_resting(*next) => {
                    ports.sleep(delay).left_future()
                }
                _ => pending().right_future(),
            };
            let ended = match select(running.next(), pin!(hedge)).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => {
                    // Slower than it usually is: another one is asked as well, and the first to answer counts.
                    delay = self.deadline;
                    let affordable = self.pool(Pool::spend);
                    if let Some((provider, attempt)) =
                        affordable.then(|| self.next(&mut queue, false)).flatten()
                    {
                        delay = self.started(provider, &mut attempts, &mut since);
                        running.push(attempt);
                    }
                    continue;
                }
            };
            let Some(Attempt {
                provider,
                outcome,
                is_own,
                latency,
            }) = ended
            else {
                return Err(ChainError);
            };
            if let Some(slot) = since.get_mut(provider) {
                *slot = None;
            }
            match outcome {
                Ok(answer) => {
                    self.answered(provider, latency);
                    answers.push((provider, answer));
                    if answers.len() >= needed {
                        self.overtaken(&since);
                        return Ok(answers);
                    }
                }
                Err(error) => {
                    let left = total.saturating_sub(ports.elapsed().saturating_sub(begun));
                    self.failed(provider, &error, is_own);
                    let tried = attempts.get(provider).copied().unwrap_or(ATTEMPTS);
                    let others = running.len() + answers.len() + queue.len();
                    if others < needed
                        && let Some(pause) = self.pause_before_retry(&error, tried, left)
                        && let Some(again) = self.providers.get(provider)
                    {
                        let attempt = self.attempt(again, pause, None);
                        self.started(provider, &mut attempts, &mut since);
                        running.push(attempt);
                    }
                }
            }
        }
    }

    /// The next provider in the queue that may be asked, being asked. One whose breaker is open only where no other
    /// is left.
    fn next<'b>(
        &'b self,
        queue: &mut VecDeque<usize>,
        alone: bool,
    ) -> Option<(usize, LocalBoxFuture<'b, Attempt>)> {
        let now = self.client.ports().now();
        while let Some(index) = queue.front().copied() {
            let resting = self.is_resting(index);
            // Those behind it in the queue rest as well.
            if resting && !alone {
                return None;
            }
            queue.pop_front();
            let Some(provider) = self.providers.get(index) else {
                continue;
            };
            if !resting {
                self.pool(|pool| pool.asked(index, now));
                return Some((index, self.attempt(provider, Duration::ZERO, None)));
            }
            if self.pool(|pool| pool.try_resting(index)) {
                let probe = Some(HalfOpenProbe(provider));
                return Some((index, self.attempt(provider, Duration::ZERO, probe)));
            }
            self.note(format!(
                "{}: not asked, as it failed recently",
                provider.name()
            ));
        }
        None
    }

    fn attempt<'b>(
        &'b self,
        provider: &'b Provider<'b, P>,
        pause: Duration,
        probe: Option<HalfOpenProbe<'b, P>>,
    ) -> LocalBoxFuture<'b, Attempt> {
        let ports = self.client.ports();
        async move {
            let _probe = probe;
            if !pause.is_zero() {
                ports.sleep(pause).await;
            }
            let start = ports.elapsed();
            let outcome = within(ports, self.deadline, self.request.ask(provider))
                .await
                .unwrap_or(Err(ProviderError::Call(CallError::Timeout)));
            let latency = ports.elapsed().saturating_sub(start);
            let latency = provider.answered_after.take().unwrap_or(latency);
            let is_own = match &outcome {
                Err(error) => error.counts() && self.is_own(provider, error).await,
                Ok(_) => false,
            };
            Attempt {
                provider: provider.index,
                outcome,
                is_own,
                latency,
            }
        }
        .boxed_local()
    }

    /// Whether an error is the provider's, or may be that of a request which clients chose: then one that they cannot choose
    /// tells. Contracts that gates name may be chosen by others, too: what they may make slow is told in the background.
    async fn is_own(&self, provider: &Provider<'_, P>, error: &ProviderError) -> bool {
        if matches!(self.request, ChainRequest::Reads(..)) && error.may_be_of_contracts() {
            self.control(provider, error.failure());
            return false;
        }
        if !self.request.is_public() {
            return true;
        }
        match error.blame() {
            Blame::Provider => true,
            Blame::ChainRequest => false,
            Blame::Either => {
                let control = head::is_the_chain(provider);
                let control = within(self.client.ports(), self.deadline, control).await;
                !matches!(control, Some(Ok(())))
            }
        }
    }

    /// Has `provider` asked in the background for what no contract has a part in. If that fails as well, it is the provider.
    fn control(&self, provider: &Provider<'_, P>, failure: Failure) {
        let (index, id, limit) = (provider.index, self.chain.id, self.deadline);
        let now = self.client.ports().now();
        if !self.pool(|pool| pool.suspect(index, now, limit)) {
            return;
        }
        self.client
            .in_background(async move |client: &ChainClient<P>| {
                let Some(chain) = client.chain(id) else {
                    return;
                };
                let providers = provider::all(client, chain);
                let Some(provider) = providers.get(index) else {
                    return;
                };
                let nothing = snapshot(provider, &[], BlockTag::Latest);
                let is_well = matches!(within(client.ports(), limit, nothing).await, Some(Ok(_)));
                let now = client.ports().now();
                let failure = (!is_well).then_some(failure);
                if provider.pool(|pool| pool.controlled(index, failure, now)) {
                    let name = provider.name();
                    client.telemetry().error(format!(
                        "{name}: no answer to a control request; not asked for a while"
                    ));
                    gossip::publish_now(client, chain);
                }
            });
    }

    /// Notes that an attempt has begun; how long to wait for it before another one is made as well.
    fn started(
        &self,
        provider: usize,
        attempts: &mut [u32],
        since: &mut [Option<Duration>],
    ) -> Duration {
        let ports = self.client.ports();
        if let Some(count) = attempts.get_mut(provider) {
            *count += 1;
        }
        if let Some(slot) = since.get_mut(provider) {
            *slot = Some(ports.elapsed());
        }
        self.pool(|pool| pool.patience(provider, ports.now(), self.deadline))
    }

    fn answered(&self, provider: usize, latency: Duration) {
        let now = self.client.ports().now();
        let closed = self.pool(|pool| {
            // How long a stranger's contract takes says nothing about the provider.
            if self.request.is_long() || self.request.is_public() {
                pool.worked(provider)
            } else {
                pool.answered(provider, latency, now)
            }
        });
        if closed {
            gossip::publish_now(self.client, self.chain);
        }
    }

    fn overtaken(&self, since: &[Option<Duration>]) {
        if self.request.is_public() || self.request.is_long() {
            return;
        }
        let (now, elapsed) = (self.client.ports().now(), self.client.ports().elapsed());
        self.pool(|pool| {
            for (provider, since) in since.iter().enumerate() {
                if let Some(since) = since {
                    pool.slower_than(provider, elapsed.saturating_sub(*since), now);
                }
            }
        });
    }

    fn failed(&self, provider: usize, error: &ProviderError, is_own: bool) {
        let now = self.client.ports().now();
        let opened = is_own && self.pool(|pool| pool.failed(provider, error.failure(), now));
        if error.disproves_head() {
            self.pool(|pool| pool.drop_head(provider));
        }
        let name = self.providers.get(provider).map(Provider::name);
        let name = name.unwrap_or_default();
        if opened {
            self.note(format!("{name}: {error}; not asked for a while"));
            gossip::publish_now(self.client, self.chain);
        } else {
            self.note(format!("{name}: {error}"));
        }
    }

    /// How long to wait before the same provider is asked again, if it is worth it and can be afforded.
    fn pause_before_retry(
        &self,
        error: &ProviderError,
        tried: u32,
        left: Duration,
    ) -> Option<Duration> {
        // The next block is on its way: waiting for it is no failure, and costs the others nothing.
        if matches!(error, ProviderError::NotYet(..)) {
            return (UNTIL_NEXT < left && tried < MOST_UNTIL_NEXT).then_some(UNTIL_NEXT);
        }
        if tried >= ATTEMPTS {
            return None;
        }
        let pause = match error.failure() {
            // As long as it asks for, and not at all if that is too long.
            Failure::Rest(pause) => pause,
            Failure::Passing if error.may_pass() => {
                let [chance, ..] = self.client.ports().random();
                let pause = PAUSE * (1 << (tried - 1).min(4));
                pause + pause * u32::from(chance) / 256
            }
            Failure::Passing | Failure::Lasting => return None,
        };
        (pause < left && self.pool(Pool::spend)).then_some(pause)
    }
}
