//! One call of the reader.

use tokengate_core::abi::reader::{self, Form, Reader, ReaderError};
use tokengate_core::block::{BlockId, ExecutionBlock, Numbering};
use tokengate_core::fact::{Read, Unreadable, Value};
use tokengate_core::jsonrpc::{self, BlockTag};

use super::error::ProviderError;
use super::gossip;
use super::provider::Provider;
use crate::ports::Ports;

/// The values of some reads at one block, of the right chain. Whether the provider keeps up is not looked at here.
pub(super) struct Snapshot {
    /// One for each read, in their order.
    pub(super) values: Vec<Result<Value, Unreadable>>,
    /// The block that all of them were read at, by the chain's own number.
    pub(super) block: ExecutionBlock,
}

/// One call of the reader.
pub(super) async fn ask<P: Ports>(
    provider: &Provider<'_, P>,
    form: Form,
    reads: Vec<&Read>,
    block: BlockTag,
    known: Option<BlockId>,
) -> Result<reader::Answer, ProviderError> {
    let chain = provider.chain;
    let reader = Reader::new(chain.id, reads, known);
    let call = reader.call(form, chain.deposit_gas);
    let call = call.ok_or(ReaderError::Unsupported)?;
    let returned = provider.data(&jsonrpc::eth_call(&call, block)).await?;
    Ok(reader.decode(&returned)?)
}

pub(super) fn found_numbering<P: Ports>(provider: &Provider<'_, P>, numbering: Numbering) {
    provider.pool(|pool| pool.found_numbering(provider.index, numbering));
    gossip::publish_now(provider.client, provider.chain);
}
