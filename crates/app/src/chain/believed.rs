//! The one place where a provider's answer is believed: its chain, its block's number and age, how far the other
//! providers are, and whether an earlier block was reorged away.

use std::time::Duration;

use futures_util::future::try_join;
use tokengate_core::block::ExecutionBlock;
use tokengate_core::config::ReadAt;
use tokengate_core::jsonrpc::{BlockTag, Header};
use tokengate_core::provider::Head;

use super::error::ProviderError;
use super::provider::Provider;
use super::{gossip, head};
use crate::background::Background as _;
use crate::ports::Ports;

/// What a provider answered, at a block that this service believes. Only [`believe`] makes one.
#[derive(Clone, Debug)]
pub(super) struct Believed<T> {
    value: T,
    number: u64,
    doubt: Option<Doubt>,
}

impl<T> Believed<T> {
    /// The answer.
    pub(super) fn into_value(self) -> T {
        self.value
    }

    /// The number of the block that it was given at.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// What may yet show that it was behind.
    pub(super) const fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }
}

/// An answer was believed before all providers had said how far the chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(super) provider: usize,
    pub(super) head: Head,
}

/// At which block to ask.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// As the chain is configured; at the head, not before the block of this number.
    Configured(u64),
    /// At the block of this number.
    Block(u64),
}

/// Asks `provider` at the block that the chain is configured to be read at, and believes the answer or says why not.
///
/// While it is asked, providers of which no head is known are asked for theirs. The answer waits for them, up to `wait`;
/// then it is believed without them, if nothing else speaks against it.
///
/// # Errors
/// [`ProviderError`]: what `ask` fails with, or why its answer is not believed.
pub(super) async fn believe<P: Ports, T>(
    provider: &Provider<'_, P>,
    at: At,
    wait: Duration,
    ask: impl AsyncFnOnce(BlockTag) -> Result<(T, ExecutionBlock), ProviderError>,
) -> Result<Believed<T>, ProviderError> {
    let ports = provider.client.ports();
    let chain = provider.chain;
    let numbered = match (at, chain.read_at) {
        (At::Block(number), _) | (_, ReadAt::Tag(BlockTag::Number(number))) => Some(number),
        _ => None,
    };
    if let Some(number) = numbered {
        // A block of long ago: how far the chain is now does not matter.
        let (value, block) = ask(BlockTag::Number(number)).await?;
        is_the_block(&block, number)?;
        return Ok(Believed {
            value,
            number,
            doubt: None,
        });
    }
    let begun = ports.elapsed();
    head::ask_others(provider);
    let (value, block, newest) = match chain.read_at {
        ReadAt::Tag(BlockTag::Latest) => {
            let (value, block) = ask(BlockTag::Latest).await?;
            let newest = Head {
                number: block.number,
                timestamp: block.timestamp,
                seen_at: ports.now(),
            };
            (value, block, newest)
        }
        ReadAt::Tag(tag) => {
            let latest = provider.header(BlockTag::Latest);
            let ((value, block), latest) = try_join(ask(tag), latest).await?;
            is_final_in_time(provider, &block, &latest)?;
            (value, block, head::seen(provider, latest))
        }
        ReadAt::Confirmations(count) => {
            let latest = provider.header(BlockTag::Latest).await?;
            let number = latest.number.saturating_sub(count);
            let (value, block) = ask(BlockTag::Number(number)).await?;
            is_the_block(&block, number)?;
            (value, block, head::seen(provider, latest))
        }
    };
    let took = ports.elapsed().saturating_sub(begun);
    provider.answered_after.set(Some(took));
    head::wait_for_others(provider, wait.saturating_sub(took)).await;
    head::check(provider, newest).await?;
    if let At::Configured(floor) = at
        && chain.read_at == ReadAt::Tag(BlockTag::Latest)
        && block.number < floor
        && is_possible(provider, floor)
    {
        return Err(ProviderError::NotYet(block.number, floor));
    }
    if block.reorged {
        let error = format!("{}: blocks were reorged", chain.id);
        provider.client.telemetry().error(error);
    }
    let doubt = provider.pool(|pool| {
        pool.believed(provider.index, newest, block.parent, block.reorged);
        pool.lacks_heads(provider.index, ports.now())
            .then_some(Doubt {
                provider: provider.index,
                head: newest,
            })
    });
    gossip::publish(provider.client, chain);
    Ok(Believed {
        value,
        number: block.number,
        doubt,
    })
}

/// Whether a block of this number can be there by now, as far as is known.
fn is_possible<P: Ports>(provider: &Provider<'_, P>, number: u64) -> bool {
    let (now, limits) = (provider.client.ports().now(), provider.chain.head_limits());
    let highest = provider.pool(|pool| pool.highest_possible(now, limits));
    highest.is_none_or(|highest| number <= highest)
}

/// That a call ran at the block that was asked for: some nodes ignore the parameter.
fn is_the_block(block: &ExecutionBlock, number: u64) -> Result<(), ProviderError> {
    if block.number == number {
        Ok(())
    } else {
        Err(ProviderError::AnotherBlock(block.number, number))
    }
}

/// That a safe or finalized block is not beyond the newest one, and not older than finality takes on its network.
fn is_final_in_time<P: Ports>(
    provider: &Provider<'_, P>,
    block: &ExecutionBlock,
    latest: &Header,
) -> Result<(), ProviderError> {
    let tolerance = provider.chain.head_limits().tolerance;
    if block.number > latest.number.saturating_add(tolerance) {
        return Err(ProviderError::AnotherBlock(block.number, latest.number));
    }
    let age = latest.timestamp.saturating_sub(block.timestamp);
    match provider.chain.finality_age() {
        Some(most) if age > most.as_secs() => Err(ProviderError::Old(age)),
        _ => Ok(()),
    }
}

/// The newest block of the state that `chain` is configured to be read at, of a provider that keeps up.
pub(super) async fn newest<P: Ports>(provider: &Provider<'_, P>) -> Result<Header, ProviderError> {
    let ports = provider.client.ports();
    let begun = ports.elapsed();
    head::ask_others(provider);
    let latest = provider.header(BlockTag::Latest);
    let (latest, ()) = try_join(latest, head::is_the_chain(provider)).await?;
    let took = ports.elapsed().saturating_sub(begun);
    head::wait_for_others(provider, provider.wait().saturating_sub(took)).await;
    head::check(provider, head::seen(provider, latest)).await?;
    match provider.chain.read_at {
        ReadAt::Tag(BlockTag::Latest) => Ok(latest),
        ReadAt::Tag(tag) => provider.header(tag).await,
        ReadAt::Confirmations(count) => {
            let number = latest.number.saturating_sub(count);
            let header = provider.header(BlockTag::Number(number)).await?;
            if header.number == number {
                Ok(header)
            } else {
                Err(ProviderError::AnotherBlock(header.number, number))
            }
        }
    }
}
