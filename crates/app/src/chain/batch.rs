//! Reads by a JSON-RPC call for each: all of them in batches where the provider takes those.

use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt as _};
use tokengate_core::fact::{Read, Unreadable, Value};
use tokengate_core::jsonrpc::{self, Answer, BlockTag, ReplyError, Request};

use super::error::ProviderError;
use super::head::is_the_chain;
use super::pinned::Pinned;
use super::provider::Provider;
use super::reader_call::Snapshot;
use crate::background::Background as _;
use crate::ports::Ports;

/// Calls made at once, by a provider that takes no batches.
const AT_ONCE: usize = 8;

/// Reads by a call for each: all of them in JSON-RPC batches where the provider takes those.
pub(super) async fn by_calls<P: Ports>(
    provider: &Provider<'_, P>,
    reads: &[Read],
    block: BlockTag,
) -> Result<Snapshot, ProviderError> {
    let identity = is_the_chain(provider);
    let (mut pinned, ()) = try_join(Pinned::at(provider, block), identity).await?;
    let mut answers = ask_each(provider, reads.iter().collect(), pinned.tag()).await?;
    if !answers.is_empty() && answers.iter().all(is_refused) {
        // However a node says that it takes no block by its hash. Whether the number names the same one is looked at below.
        pinned.by_hash = false;
        answers = ask_each(provider, reads.iter().collect(), pinned.tag()).await?;
    }
    // Of what a node refuses among others, the first time may be its own error.
    let refused = |answers: &[Result<Answer, ReplyError>]| -> Vec<usize> {
        let indices = answers.iter().enumerate();
        let indices = indices.filter(|(_, answer)| is_refused(answer));
        indices.map(|(index, _)| index).collect()
    };
    let again = refused(&answers);
    if !again.is_empty() && again.len() < answers.len() {
        let part = again.iter().filter_map(|index| reads.get(*index));
        let told = ask_each(provider, part.collect(), pinned.tag()).await?;
        for (index, answer) in again.into_iter().zip(told) {
            if let Some(slot) = answers.get_mut(index) {
                *slot = answer;
            }
        }
    }
    let is_node_well = refused(&answers).len() < answers.len();
    let values = reads
        .iter()
        .zip(answers)
        .map(|(read, answer)| match answer {
            Ok(answer) => value(read, &answer),
            Err(ReplyError::Reverted(data)) => Ok(read.reverted(&data)),
            // What it refuses twice, and alone among others, is about the contract.
            Err(error) if is_node_well && !error.is_rate_limit() => Ok(Err(Unreadable)),
            Err(error) => Err(error.into()),
        })
        .collect::<Result<_, ProviderError>>()?;
    Ok(Snapshot {
        values,
        block: pinned.confirmed(provider).await?,
    })
}

/// Whether an answer is an error that is no revert.
fn is_refused(answer: &Result<Answer, ReplyError>) -> bool {
    matches!(answer, Err(ReplyError::Node { .. }))
}

/// The most requests in one JSON-RPC batch: what common providers take.
const MAX_BATCH: usize = 100;

async fn ask_each<P: Ports>(
    provider: &Provider<'_, P>,
    reads: Vec<&Read>,
    block: BlockTag,
) -> Result<Vec<Result<Answer, ReplyError>>, ProviderError> {
    let requests: Vec<Request> = reads.into_iter().map(|read| read.request(block)).collect();
    let mut answers = Vec::with_capacity(requests.len());
    for part in requests.chunks(provider.chain.batch.reads.min(MAX_BATCH)) {
        answers.extend(ask_all(provider, part).await?);
    }
    let limit = |answer: &Result<Answer, ReplyError>| match answer {
        Err(error) if error.is_rate_limit() => Some(error.clone()),
        _ => None,
    };
    match answers.iter().find_map(limit) {
        Some(error) => Err(error.into()),
        None => Ok(answers),
    }
}

fn value(read: &Read, answer: &Answer) -> Result<Result<Value, Unreadable>, ProviderError> {
    Ok(match read {
        Read::NativeBalance { .. } => Ok(Value::Amount(answer.amount()?)),
        _ => read.decode(&answer.data()?),
    })
}

/// Results of all requests: of one batch, or one by one from a provider that takes none.
async fn ask_all<P: Ports>(
    provider: &Provider<'_, P>,
    requests: &[Request],
) -> Result<Vec<Result<Answer, ReplyError>>, ProviderError> {
    if provider.pool(|pool| pool.takes_batches(provider.index)) {
        let reply = provider.send(jsonrpc::batch(requests)).await;
        let refused = match reply {
            Ok(body) => match jsonrpc::batched(&body, requests.len()) {
                Ok(answers) => return Ok(answers),
                Err(error) if error.is_rate_limit() => return Err(error.into()),
                Err(error) => ProviderError::from(error),
            },
            Err(error @ ProviderError::Status(400 | 404 | 405 | 413 | 422, _)) => error,
            Err(error) => return Err(error),
        };
        let error = format!("{}: takes no batches ({refused})", provider.name());
        provider.client.telemetry().error(error);
        provider.pool(|pool| pool.refused_batch(provider.index));
    }
    let singly = requests.iter().map(|request| async move {
        let body = provider.send(request.to_body()).await?;
        Ok::<_, ProviderError>(Answer::read(&body))
    });
    let answers: Vec<_> = stream::iter(singly).buffered(AT_ONCE).collect().await;
    answers.into_iter().collect()
}
