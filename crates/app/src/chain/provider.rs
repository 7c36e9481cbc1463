//! One provider, what is known of it, and the calls that it is asked for.

use std::cell::Cell;
use std::time::Duration;

use tokengate_core::config::Chain;
use tokengate_core::jsonrpc::{self, BlockTag, Header, LinkedHeader, ReplyError, Request};
use tokengate_core::provider::Pool;
use tokengate_core::secret::Secret;

use super::client::ChainClient;
use super::error::ProviderError;
use crate::background::Background as _;
use crate::ports::Ports;

/// The longest reply that is read: 256 token ids and their frame are a fraction of it.
const MAX_REPLY_LEN: usize = 1024 * 1024;

/// A provider of a chain, while a request is served.
pub(super) struct Provider<'a, P> {
    pub(super) client: &'a ChainClient<P>,
    pub(super) chain: &'a Chain,
    pub(super) index: usize,
    pub(super) url: &'a Secret<String>,
    /// How long the last answer took by itself, without what it waited for before it was believed.
    pub(super) answered_after: Cell<Option<Duration>>,
}

/// The providers of `chain`, in the order of the configuration.
pub(super) fn all<'a, P: Ports>(
    client: &'a ChainClient<P>,
    chain: &'a Chain,
) -> Vec<Provider<'a, P>> {
    let urls = client.urls(chain.id).iter().enumerate();
    urls.map(|(index, url)| Provider {
        client,
        chain,
        index,
        url,
        answered_after: Cell::new(None),
    })
    .collect()
}

impl<P: Ports> Provider<'_, P> {
    /// As the log and people know it.
    pub(super) fn name(&self) -> String {
        format!("{} provider {}", self.chain.id, self.index + 1)
    }

    /// How long an answer waits for the heads of other providers: as long as the first attempt at a provider that is not
    /// measured yet, before another one is asked as well.
    pub(super) fn wait(&self) -> Duration {
        self.client.config().deadlines.provider / 3
    }

    /// The same where an answer that is refuted later cannot be taken back: nearly as long as an attempt may take.
    pub(super) fn long_wait(&self) -> Duration {
        self.wait() * 2
    }

    /// Works with what is known of the chain's providers.
    pub(super) fn pool<T>(&self, work: impl FnOnce(&mut Pool) -> T) -> T {
        self.client.pool(self.chain.id, work)
    }

    pub(super) async fn send(&self, body: Vec<u8>) -> Result<Vec<u8>, ProviderError> {
        self.send_for(body, MAX_REPLY_LEN).await
    }

    /// Sends a body for a reply of at most `limit` bytes.
    pub(super) async fn send_for(
        &self,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<Vec<u8>, ProviderError> {
        let ports = self.client.ports();
        let reply = ports.post(self.url.expose(), body, limit).await?;
        if reply.status == 200 {
            Ok(reply.body)
        } else {
            Err(ProviderError::Status(reply.status, reply.retry_after))
        }
    }

    pub(super) async fn data(&self, request: &Request) -> Result<Vec<u8>, ProviderError> {
        Ok(jsonrpc::data(&self.send(request.to_body()).await?)?)
    }

    pub(super) async fn quantity(&self, request: &Request) -> Result<u64, ProviderError> {
        Ok(jsonrpc::quantity(&self.send(request.to_body()).await?)?)
    }

    pub(super) async fn header(&self, block: BlockTag) -> Result<Header, ProviderError> {
        let header = self.find(block).await?;
        Ok(header.ok_or(ReplyError::Malformed)?)
    }

    /// The same, and the hash of the block before it, where the provider says it.
    pub(super) async fn header_with_parent(
        &self,
        block: BlockTag,
    ) -> Result<LinkedHeader, ProviderError> {
        let request = jsonrpc::eth_get_block_by_number(block);
        let header = jsonrpc::header_with_parent(&self.send(request.to_body()).await?)?;
        Ok(header.ok_or(ReplyError::Malformed)?)
    }

    /// The block, if the provider has it.
    pub(super) async fn find(&self, block: BlockTag) -> Result<Option<Header>, ProviderError> {
        let request = jsonrpc::eth_get_block_by_number(block);
        Ok(jsonrpc::header(&self.send(request.to_body()).await?)?)
    }
}
