//! What one provider says, as far as it can be believed: its block is not behind the others', and not too old.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join_all, select, try_join};
use tokengate_core::abi::multicall3::AggregateError;
use tokengate_core::config::ReadAt;
use tokengate_core::fact::{Read, Unreadable, Value};
use tokengate_core::jsonrpc::{self, BlockTag, Header};
use tokengate_core::network::{Network, Numbering};

use super::fault::Fault;
use super::provider::{self, Provider};
use super::snapshot::{Snapshot, snapshot};
use crate::ports::Ports;

/// The least and the most time that the other providers get to say how far the chain is, which they are asked for rarely.
const LEAST_WAIT: Duration = Duration::from_millis(50);
const MOST_WAIT: Duration = Duration::from_millis(500);

/// The values of some reads, and where they were read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) values: Vec<Result<Value, Unreadable>>,
    /// The block's number, as contracts see it.
    pub(super) number: u64,
}

/// Where to read.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// As the chain is configured; at the head, not before the block of this number.
    Configured(u64),
    /// At the block of this number.
    Block(u64),
}

/// Reads everything at one block.
pub(super) async fn read<P: Ports>(
    provider: &Provider<'_, P>,
    reads: &[Read],
    at: At,
) -> Result<Reading, Fault> {
    let chain = provider.chain;
    let told = match (at, chain.read_at) {
        (At::Block(number), _) => snapshot(provider, reads, BlockTag::Number(number)).await?,
        (At::Configured(floor), ReadAt::Tag(BlockTag::Latest)) => {
            let told = alongside(provider, snapshot(provider, reads, BlockTag::Latest)).await?;
            // What a contract takes for the block's number may be another chain's.
            if chain.numbering == Numbering::Own {
                is_not_behind(provider, told.block.number)?;
                let (number, timestamp) = (told.block.number, told.block.timestamp);
                if number < floor && !is_impossible(provider, number, timestamp, floor) {
                    return Err(Fault::NotYet(number, floor));
                }
            }
            is_not_old(provider, told.block.timestamp)?;
            told
        }
        (At::Configured(_), ReadAt::Tag(tag)) => {
            let head = async {
                let head = provider.quantity(&jsonrpc::eth_block_number()).await?;
                is_not_behind(provider, head)
            };
            let (told, ()) = try_join(snapshot(provider, reads, tag), head).await?;
            told
        }
        (At::Configured(_), ReadAt::Confirmations(_)) => {
            snapshot(provider, reads, block(provider).await?).await?
        }
    };
    let now = provider.context.ports.now();
    if told.block.reorged {
        let fault = format!("{}: blocks were replaced", provider.chain.id);
        provider.context.record.fault(fault);
    }
    provider.pool(|pool| pool.saw_block(told.block.parent, told.block.reorged, now));
    Ok(Reading {
        values: told.values,
        number: told.block.number,
    })
}

/// The block that `chain` is configured to be read at, of a provider that is not behind.
pub(super) async fn block<P: Ports>(provider: &Provider<'_, P>) -> Result<BlockTag, Fault> {
    match provider.chain.read_at {
        ReadAt::Tag(tag) => Ok(tag),
        ReadAt::Confirmations(count) => {
            let head = provider.quantity(&jsonrpc::eth_block_number()).await?;
            is_not_behind(provider, head)?;
            Ok(BlockTag::Number(head.saturating_sub(count)))
        }
    }
}

/// The newest block of the state that `chain` is configured to be read at, of a provider that keeps up.
pub(super) async fn head<P: Ports>(provider: &Provider<'_, P>) -> Result<Header, Fault> {
    match provider.chain.read_at {
        ReadAt::Tag(BlockTag::Latest) => {
            let head = provider.header(BlockTag::Latest).await?;
            is_not_behind(provider, head.number)?;
            is_not_old(provider, head.timestamp)?;
            Ok(head)
        }
        ReadAt::Tag(tag) => {
            let latest = async {
                let latest = provider.quantity(&jsonrpc::eth_block_number()).await?;
                is_not_behind(provider, latest)
            };
            let (head, ()) = try_join(provider.header(tag), latest).await?;
            Ok(head)
        }
        ReadAt::Confirmations(_) => provider.header(block(provider).await?).await,
    }
}

/// That a provider serves the chain it is asked for.
pub(super) async fn is_the_chain<P: Ports>(provider: &Provider<'_, P>) -> Result<(), Fault> {
    let chain = provider.quantity(&jsonrpc::eth_chain_id()).await?;
    if chain == provider.chain.id.id() {
        Ok(())
    } else {
        Err(AggregateError::WrongChain.into())
    }
}

/// Waits for an answer, and meanwhile asks the other providers how far the chain is, unless that is known.
async fn alongside<P: Ports>(
    provider: &Provider<'_, P>,
    answer: impl Future<Output = Result<Snapshot, Fault>>,
) -> Result<Snapshot, Fault> {
    let ports = provider.context.ports;
    let due = match provider.chain.numbering {
        Numbering::Own => {
            provider.pool(|pool| pool.ask_heads(provider.index, ports.now(), MOST_WAIT))
        }
        Numbering::Parent => Vec::new(),
    };
    if due.is_empty() {
        return answer.await;
    }
    let others = provider::all(provider.context, provider.chain);
    let heads = due.iter().filter_map(|index| others.get(*index));
    let heads = join_all(heads.map(async |other| {
        let head = other.quantity(&jsonrpc::eth_block_number()).await;
        let now = ports.now();
        other.pool(|pool| match head {
            Ok(head) => pool.saw_head(other.index, head, now),
            Err(fault) => {
                pool.failed(other.index, fault.failure(), now);
            }
        });
    }));
    let begun = ports.elapsed();
    match select(pin!(answer), pin!(heads)).await {
        Either::Right((_, answer)) => answer.await,
        Either::Left((answer, heads)) => {
            let took = ports.elapsed().saturating_sub(begun);
            let wait = ports.sleep(took.clamp(LEAST_WAIT, MOST_WAIT));
            select(heads, pin!(wait)).await;
            answer
        }
    }
}

/// How old a block is at the most that shows how far its chain has come.
const PRESENT: Duration = Duration::from_secs(60);

/// Whether the head's number and time say that the chain cannot have come to the block `floor`: whoever named it was
/// mistaken, or named another chain's.
fn is_impossible<P: Ports>(
    provider: &Provider<'_, P>,
    number: u64,
    timestamp: u64,
    floor: u64,
) -> bool {
    let now = u64::try_from(provider.context.ports.now().as_second()).unwrap_or(0);
    let is_present = now.abs_diff(timestamp) <= PRESENT.as_secs();
    is_present && number.saturating_add(Network::blocks_an_hour(provider.chain.id)) < floor
}

fn is_not_behind<P: Ports>(provider: &Provider<'_, P>, number: u64) -> Result<(), Fault> {
    let now = provider.context.ports.now();
    let head = provider.pool(|pool| {
        pool.saw_head(provider.index, number, now);
        pool.head_of_others(provider.index, now)
    });
    match head {
        Some(head) if number.saturating_add(provider.chain.tolerance) < head => {
            Err(Fault::Behind(number, head))
        }
        _ => Ok(()),
    }
}

fn is_not_old<P: Ports>(provider: &Provider<'_, P>, timestamp: u64) -> Result<(), Fault> {
    let now = u64::try_from(provider.context.ports.now().as_second()).unwrap_or(0);
    let age = now.saturating_sub(timestamp);
    match provider.chain.head_age {
        Some(most) if age > most.as_secs() => Err(Fault::Old(age)),
        _ => Ok(()),
    }
}
