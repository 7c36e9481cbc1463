//! How far a chain is: its providers are asked for their heads, and block numbers are held against what they said.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{select, try_join};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokengate_core::abi::reader::ReaderError;
use tokengate_core::jsonrpc::{self, BlockTag, Header};
use tokengate_core::provider::Head;

use super::client::ChainClient;
use super::error::ProviderError;
use super::gossip;
use super::provider::{self, Provider};
use crate::background::Background as _;
use crate::ports::{CallError, Ports};
use crate::timeout::within;

/// How far a block producer's clock may be ahead.
const MAX_AHEAD: Duration = Duration::from_secs(120);

/// That a provider serves the chain it is asked for.
pub(super) async fn is_the_chain<P: Ports>(
    provider: &Provider<'_, P>,
) -> Result<(), ProviderError> {
    let chain = provider.quantity(&jsonrpc::eth_chain_id()).await?;
    if chain == provider.chain.id.id() {
        Ok(())
    } else {
        Err(ReaderError::WrongChain.into())
    }
}

/// A header as a head that is seen now. Only of a provider whose chain's id is proven.
pub(super) fn seen<P: Ports>(provider: &Provider<'_, P>, header: Header) -> Head {
    Head {
        number: header.number,
        timestamp: header.timestamp,
        seen_at: provider.client.ports().now(),
    }
}

/// A provider's newest block, with the proof that it is one of the chain.
async fn proven_head<P: Ports>(provider: &Provider<'_, P>) -> Result<Head, ProviderError> {
    let (header, ()) = try_join(provider.header(BlockTag::Latest), is_the_chain(provider)).await?;
    Ok(seen(provider, header))
}

/// Has the providers of which no head is known asked for theirs, in the background, while `provider` is asked for
/// something else; and those whose head will soon be too old to count.
pub(super) fn ask_others<P: Ports>(provider: &Provider<'_, P>) {
    let now = provider.client.ports().now();
    let mut due = provider.pool(|pool| pool.ask_unknown_heads(provider.index, now));
    due.extend(provider.pool(|pool| pool.ask_ageing_heads(provider.index, now)));
    let limit = provider.client.config().deadlines.provider;
    for index in due {
        let chain = provider.chain.id;
        let in_flight = provider.client.pools().probes.begin(chain);
        provider
            .client
            .in_background(async move |client: &ChainClient<P>| {
                let _in_flight = in_flight;
                let Some(chain) = client.chain(chain) else {
                    return;
                };
                let providers = provider::all(client, chain);
                let Some(other) = providers.get(index) else {
                    return;
                };
                let head = within(client.ports(), limit, proven_head(other)).await;
                match head.unwrap_or(Err(ProviderError::Call(CallError::Timeout))) {
                    Ok(head) => {
                        other.pool(|pool| pool.saw_head(index, head));
                        gossip::publish(client, chain);
                    }
                    Err(error) => {
                        let now = client.ports().now();
                        other.pool(|pool| {
                            pool.failed(index, error.failure(), now);
                            if error.disproves_head() {
                                pool.drop_head(index);
                            }
                        });
                        client
                            .telemetry()
                            .error(format!("{}: {error}", other.name()));
                    }
                }
            });
    }
}

/// Waits until the heads of the other providers are known, or their answers have failed, or `limit` has passed.
pub(super) async fn wait_for_others<P: Ports>(provider: &Provider<'_, P>, limit: Duration) {
    let ports = provider.client.ports();
    let lacks = || provider.pool(|pool| pool.lacks_heads(provider.index, ports.now()));
    let known = async {
        while lacks() {
            let probes = &provider.client.pools().probes;
            let Some(next) = probes.next(provider.chain.id, ports) else {
                return;
            };
            next.await;
        }
    };
    select(pin!(known), pin!(ports.sleep(limit))).await;
}

/// That `head`, the newest block that a provider answered by, is neither behind what the others say, nor beyond what the
/// chain can have come to, nor too old.
pub(super) async fn check<P: Ports>(
    provider: &Provider<'_, P>,
    head: Head,
) -> Result<(), ProviderError> {
    is_in_time(provider, head.timestamp)?;
    is_not_ahead(provider, head).await?;
    is_not_behind(provider, head)
}

/// That a head is not behind the highest of the others, nor behind what the same provider said a moment ago: behind one URL
/// there may be nodes that have not come as far as others.
fn is_not_behind<P: Ports>(provider: &Provider<'_, P>, head: Head) -> Result<(), ProviderError> {
    let limits = provider.chain.head_limits();
    let highest = provider.pool(|pool| {
        pool.saw_head(provider.index, head);
        // A development chain may begin again from an earlier block at any time.
        let own = provider.chain.head_age;
        let own = own.and_then(|_| pool.head(provider.index, head.seen_at));
        let others = pool.head_of_others(provider.index, head.seen_at, limits);
        others.max(own.map(|own| own.number))
    });
    match highest {
        Some(highest) if head.number.saturating_add(limits.tolerance) < highest => {
            Err(ProviderError::Behind(head.number, highest))
        }
        _ => Ok(()),
    }
}

/// That a head's number is one that the chain can have come to. Where what is known does not show it, it takes a second
/// statement: another provider's head, or where there is none the same provider's, asked for once more.
async fn is_not_ahead<P: Ports>(
    provider: &Provider<'_, P>,
    head: Head,
) -> Result<(), ProviderError> {
    let limits = provider.chain.head_limits();
    let is_possible = || {
        let now = provider.client.ports().now();
        provider.pool(|pool| pool.is_possible(provider.index, head.number, now, limits))
    };
    if is_possible() {
        return Ok(());
    }
    // What was asked alongside may be about to answer.
    wait_for_others(provider, provider.wait()).await;
    if is_possible() {
        return Ok(());
    }
    let providers = provider::all(provider.client, provider.chain);
    let asked = providers.iter().map(async |other| {
        if let Ok(head) = proven_head(other).await {
            other.pool(|pool| pool.saw_head(other.index, head));
        }
    });
    let mut asked = asked.collect::<FuturesUnordered<_>>();
    let enough = async { while asked.next().await.is_some() && !is_possible() {} };
    // Where the others take longer, what was said until then counts.
    let _ = within(provider.client.ports(), provider.wait(), enough).await;
    if is_possible() {
        Ok(())
    } else {
        Err(ProviderError::Ahead(head.number))
    }
}

/// That a block is not older than the newest one may be, and not of a time to come.
fn is_in_time<P: Ports>(provider: &Provider<'_, P>, timestamp: u64) -> Result<(), ProviderError> {
    let now = u64::try_from(provider.client.ports().now().as_second()).unwrap_or(0);
    let age = now.saturating_sub(timestamp);
    match provider.chain.head_age {
        Some(most) if age > most.as_secs() => Err(ProviderError::Old(age)),
        // A development chain's clock may be anything; of one whose blocks' age counts it may not.
        Some(_) if timestamp > now.saturating_add(MAX_AHEAD.as_secs()) => Err(ProviderError::Early),
        _ => Ok(()),
    }
}
