//! The one block of several calls.

use futures_util::future::try_join;
use tokengate_core::block::{BlockId, ExecutionBlock};
use tokengate_core::jsonrpc::{BlockTag, LinkedHeader};

use super::error::ProviderError;
use super::provider::Provider;
use crate::ports::Ports;

/// The one block of several calls.
#[derive(Clone, Copy)]
pub(super) struct Pinned {
    pub(super) linked: LinkedHeader,
    /// By its hash (EIP-1898), or by its number where the node does not know that.
    pub(super) by_hash: bool,
}

impl Pinned {
    pub(super) async fn at<P: Ports>(
        provider: &Provider<'_, P>,
        block: BlockTag,
    ) -> Result<Self, ProviderError> {
        let linked = provider.header_with_parent(block).await?;
        is_asked_for(block, linked.header.number)?;
        Ok(Self {
            linked,
            by_hash: true,
        })
    }

    pub(super) const fn tag(self) -> BlockTag {
        if self.by_hash {
            BlockTag::Hash(self.linked.header.hash)
        } else {
            BlockTag::Number(self.linked.header.number)
        }
    }

    /// The block, if its number still names it: it may have been an orphan. And whether the block that was believed last
    /// has been reorged away.
    pub(super) async fn confirmed<P: Ports>(
        &self,
        provider: &Provider<'_, P>,
    ) -> Result<ExecutionBlock, ProviderError> {
        let number = self.linked.header.number;
        let known = provider.pool(|pool| pool.known());
        let known = known.filter(|known| known.number <= number);
        let named = provider.header(BlockTag::Number(number));
        let earlier = async {
            match known {
                Some(known) if known.number < number => {
                    let header = provider.find(BlockTag::Number(known.number)).await?;
                    Ok(header.is_some_and(|header| header.hash != known.hash))
                }
                Some(known) => Ok(known.hash != self.linked.header.hash),
                None => Ok(false),
            }
        };
        let (named, reorged) = try_join(named, earlier).await?;
        if named.hash == self.linked.header.hash {
            Ok(ExecutionBlock {
                reorged,
                ..self.block()
            })
        } else {
            Err(ProviderError::Replaced)
        }
    }

    const fn block(&self) -> ExecutionBlock {
        ExecutionBlock {
            number: self.linked.header.number,
            timestamp: self.linked.header.timestamp,
            parent: Some(BlockId {
                number: self.linked.header.number,
                hash: self.linked.header.hash,
            }),
            reorged: false,
        }
    }
}

/// That the block of this number is the one that was asked for.
pub(super) fn is_asked_for(block: BlockTag, number: u64) -> Result<(), ProviderError> {
    match block {
        BlockTag::Number(asked) if asked != number => {
            Err(ProviderError::AnotherBlock(number, asked))
        }
        _ => Ok(()),
    }
}
