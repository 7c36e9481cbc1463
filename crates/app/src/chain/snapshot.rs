//! One provider's answer to a list of reads at one block, before it is believed. How the provider is asked is found out on
//! first use and remembered: by the reader's code in a state override, by the reader as creation code, or by a JSON-RPC
//! call for each read.

use futures_util::future::{join, try_join};
use tokengate_core::abi::reader::{self, Form, Limits, Outcome, ReaderError};
use tokengate_core::block::Numbering;
use tokengate_core::config::Chain;
use tokengate_core::fact::Read;
use tokengate_core::jsonrpc::BlockTag;

use super::batch::by_calls;
use super::error::ProviderError;
use super::gossip;
use super::pieces::{Pieces, halves};
use super::pinned::{Pinned, is_asked_for};
use super::provider::Provider;
pub(super) use super::reader_call::Snapshot;
use super::reader_call::{ask, found_numbering};
use crate::background::Background as _;
use crate::ports::Ports;

/// The most bytes of an answer that one call is asked for: their hexadecimal form is half of the longest reply.
const MAX_ANSWER_LEN: usize = 256 * 1024;

/// Reads at `block`, in the way that is configured or known to work; else in the first way that works.
pub(super) async fn snapshot<P: Ports>(
    provider: &Provider<'_, P>,
    reads: &[Read],
    block: BlockTag,
) -> Result<Snapshot, ProviderError> {
    const UNSUPPORTED: ProviderError = ProviderError::Answer(ReaderError::Unsupported);
    let now = provider.client.ports().now();
    let configured = provider.chain.reader;
    let found = provider.pool(|pool| pool.form(provider.index, now));
    if let Some(form) = found.filter(|found| configured.is_none_or(|form| form == *found)) {
        let told = in_form(provider, form, reads, block, true).await;
        if !matches!(told, Err(UNSUPPORTED)) {
            return told;
        }
        provider.pool(|pool| pool.found_form(provider.index, None, now));
    }
    let ways = [Form::Override, Form::Creation, Form::Calls];
    let ways = configured.as_ref().map_or(&ways[..], std::slice::from_ref);
    for form in ways {
        let told = in_form(provider, *form, reads, block, false).await;
        if matches!(told, Err(UNSUPPORTED)) {
            continue;
        }
        if told.is_ok() {
            provider.pool(|pool| pool.found_form(provider.index, Some(*form), now));
            gossip::publish_now(provider.client, provider.chain);
            if configured.is_none() && *form == Form::Calls {
                let name = provider.name();
                let error = format!("{name}: it runs no reader, and is read by single calls");
                provider.client.telemetry().error(error);
            }
        }
        return told;
    }
    Err(UNSUPPORTED)
}

/// Reads in one way. Whether it is this way that fails, unless it `is_proven` to work, and not what was read, a call without
/// reads tells.
async fn in_form<P: Ports>(
    provider: &Provider<'_, P>,
    form: Form,
    reads: &[Read],
    block: BlockTag,
    is_proven: bool,
) -> Result<Snapshot, ProviderError> {
    if form == Form::Calls {
        return by_calls(provider, reads, block).await;
    }
    match by_reader(provider, form, reads, block, is_proven).await {
        Err(ProviderError::Answer(error)) => Err(error.into()),
        Err(error) if !is_proven && error.may_be_of_form() => {
            match ask(provider, form, Vec::new(), block, None).await {
                Ok(_) => by_reader(provider, form, reads, block, true).await,
                Err(other) if other.may_be_of_form() => Err(ReaderError::Unsupported.into()),
                Err(other) => Err(other),
            }
        }
        told => told,
    }
}

/// How much one call may ask.
const fn limits(chain: &Chain) -> Limits {
    Limits {
        reads: chain.batch.reads,
        request: chain.batch.bytes,
        answer: MAX_ANSWER_LEN,
    }
}

/// Reads by the reader: in one call where what it says of its block can be relied on and it is not too much at once;
/// else at a block that a header names first.
async fn by_reader<P: Ports>(
    provider: &Provider<'_, P>,
    form: Form,
    reads: &[Read],
    block: BlockTag,
    is_proven: bool,
) -> Result<Snapshot, ProviderError> {
    let begun = provider.client.ports().elapsed();
    let numbering = provider.pool(|pool| pool.numbering(provider.index));
    let pieces = reader::pieces(reads, limits(provider.chain).of(form));
    if pieces.len() > 1 || numbering == Some(Numbering::Foreign) {
        let pinned = Pinned::at(provider, block);
        let pinned = if is_proven {
            pinned.await?
        } else {
            let control = ask(provider, form, Vec::new(), block, None);
            try_join(pinned, control).await?.0
        };
        let pieces = pieces.into_iter().map(Vec::from_iter).collect();
        return Pieces::new(provider, form, reads, pinned, begun)
            .read(pieces)
            .await;
    }
    let known = provider.pool(|pool| pool.known());
    let asked = ask(provider, form, reads.iter().collect(), block, known);
    let (pinned, told) = if numbering.is_some() {
        (None, asked.await)
    } else {
        // Asked alongside, so that what is to be found out costs no time.
        let (pinned, told) = join(Pinned::at(provider, block), asked).await;
        (Some(pinned), told)
    };
    let whole = Vec::from_iter(0..reads.len());
    let told = match told {
        Err(error) if !is_proven && error.may_be_of_form() => return Err(error),
        Err(error) if error.is_of_reads() && reads.len() > 1 => {
            let pinned = match pinned {
                Some(pinned) => pinned?,
                None => Pinned::at(provider, block).await?,
            };
            let halves = halves(&whole).into();
            return Pieces::new(provider, form, reads, pinned, begun)
                .read(halves)
                .await;
        }
        told => told?,
    };
    is_asked_for(block, told.block.number)?;
    if let Some(pinned) = pinned {
        let pinned = pinned?;
        if Numbering::of(&pinned.linked, &told.block) != Some(Numbering::Own) {
            // Between the two a block may have been made, or the chain's contracts see other blocks.
            return Pieces::new(provider, form, reads, pinned, begun)
                .read(vec![whole])
                .await;
        }
        found_numbering(provider, Numbering::Own);
    }
    let seen = told.block;
    let is_spent = told.outcomes.iter().any(|outcome| outcome.is_spent);
    if !is_spent || reads.len() == 1 {
        let values = told.outcomes.into_iter().map(Outcome::alone);
        return Ok(Snapshot {
            values: values.collect(),
            block: seen,
        });
    }
    let pinned = Pinned::at(provider, BlockTag::Number(told.block.number)).await?;
    if Numbering::of(&pinned.linked, &told.block) != Some(Numbering::Own) {
        return Err(ProviderError::Replaced);
    }
    let mut pieces = Pieces::new(provider, form, reads, pinned, begun);
    pieces.take(&whole, told.outcomes);
    let told = pieces.read(Vec::new()).await?;
    Ok(Snapshot {
        block: seen,
        ..told
    })
}
