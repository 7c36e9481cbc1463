//! Reading chains: one `aggregate3` per chain and decision, from the first provider that answers.

use std::time::Duration;

use tokengate_core::abi::multicall3::Aggregate;
use tokengate_core::config::{Chain, ReadAt};
use tokengate_core::fact::{Fact, Read, Unreadable};
use tokengate_core::jsonrpc::{self, BlockTag};
use tokengate_core::secret::Secret;
use tokengate_core::signer::{Verification, VerifiedSigner, VerifyError};
use tokengate_core::{ChainId, Timestamp};

use crate::ports::{CallError, Ports};
use crate::router::Context;
use crate::store::within;

/// The longest reply that is read: 256 token ids and their frame are a fraction of it.
const MAX_REPLY_LEN: usize = 1024 * 1024;

/// No provider of the chain gave an answer that can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// Reads everything in one call, at one block. Facts are stamped with `now`, the time before the call: their age is
/// never underestimated.
pub(crate) async fn read<P: Ports>(
    context: &Context<'_, P>,
    chain: &Chain,
    reads: Vec<Read>,
    now: Timestamp,
) -> Result<Vec<Result<Fact, Unreadable>>, Unavailable> {
    let aggregate = Aggregate::new(chain.id, chain.multicall3, reads);
    let attempt = async |provider: &Secret<String>| {
        let block = block(context, chain, provider).await?;
        let reply = call(
            context,
            provider,
            jsonrpc::eth_call(&aggregate.call(), block),
        )
        .await?;
        let returned = jsonrpc::data(&reply).map_err(|error| error.to_string())?;
        aggregate
            .decode(&returned, now)
            .map_err(|error| error.to_string())
    };
    failover(context, chain.id, attempt).await
}

/// Asks whose signature it is.
pub(crate) async fn verify<P: Ports>(
    context: &Context<'_, P>,
    chain: &Chain,
    verification: &Verification,
) -> Result<Result<VerifiedSigner, VerifyError>, Unavailable> {
    let request = verification.call(chain.multicall3);
    let attempt = async |provider: &Secret<String>| {
        let block = block(context, chain, provider).await?;
        let reply = call(context, provider, jsonrpc::eth_call(&request, block)).await?;
        let returned = jsonrpc::data(&reply).map_err(|error| error.to_string())?;
        verification
            .conclude(&returned)
            .map_err(|error| error.to_string())
    };
    failover(context, chain.id, attempt).await
}

/// The id that the first answering provider of a chain gives itself.
pub(crate) async fn chain_id<P: Ports>(
    context: &Context<'_, P>,
    chain: &Chain,
) -> Result<u64, Unavailable> {
    let attempt = async |provider: &Secret<String>| {
        let reply = call(context, provider, jsonrpc::eth_chain_id()).await?;
        jsonrpc::quantity(&reply).map_err(|error| error.to_string())
    };
    failover(context, chain.id, attempt).await
}

/// Tries the providers in order of preference, each for its own deadline and all for the chain's.
async fn failover<P: Ports, T>(
    context: &Context<'_, P>,
    chain: ChainId,
    attempt: impl AsyncFn(&Secret<String>) -> Result<T, String>,
) -> Result<T, Unavailable> {
    let Ok(config) = context.service.config() else {
        return Err(Unavailable);
    };
    let start = context.ports.elapsed();
    let providers = async {
        for (index, provider) in context.service.providers(chain).iter().enumerate() {
            let fault =
                match within(context.ports, config.deadlines.provider, attempt(provider)).await {
                    Some(Ok(answer)) => return Ok(answer),
                    Some(Err(fault)) => fault,
                    None => CallError::Timeout.to_string(),
                };
            context
                .record
                .fault(format!("{chain} provider {}: {fault}", index + 1));
        }
        Err(Unavailable)
    };
    let outcome = within(context.ports, config.deadlines.chain, providers).await;
    context.record.waited_for_chain(waited(context, start));
    outcome.unwrap_or(Err(Unavailable))
}

async fn block<P: Ports>(
    context: &Context<'_, P>,
    chain: &Chain,
    provider: &Secret<String>,
) -> Result<BlockTag, String> {
    match chain.read_at {
        ReadAt::Tag(tag) => Ok(tag),
        ReadAt::Confirmations(count) => {
            let reply = call(context, provider, jsonrpc::eth_block_number()).await?;
            let head = jsonrpc::quantity(&reply).map_err(|error| error.to_string())?;
            Ok(BlockTag::Number(head.saturating_sub(count)))
        }
    }
}

async fn call<P: Ports>(
    context: &Context<'_, P>,
    provider: &Secret<String>,
    body: Vec<u8>,
) -> Result<Vec<u8>, String> {
    let reply = context
        .ports
        .post(provider.expose(), body, MAX_REPLY_LEN)
        .await
        .map_err(|error| error.to_string())?;
    if reply.status == 200 {
        Ok(reply.body)
    } else {
        Err(format!("HTTP status {}", reply.status))
    }
}

fn waited<P: Ports>(context: &Context<'_, P>, start: Duration) -> Duration {
    context.ports.elapsed().saturating_sub(start)
}
