//! One provider's answer to a list of reads, believed.

use tokengate_core::fact::{Read, Unreadable, Value};

use super::believed::{At, Doubt, believe};
use super::error::ProviderError;
use super::provider::Provider;
use super::snapshot::snapshot;
use crate::ports::Ports;

/// The values of some reads, and where they were read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) values: Vec<Result<Value, Unreadable>>,
    /// The block's number, as `eth_blockNumber` counts.
    pub(super) number: u64,
    /// What may yet show that it was behind.
    pub(super) doubt: Option<Doubt>,
}

/// Reads everything at one block.
pub(super) async fn read<P: Ports>(
    provider: &Provider<'_, P>,
    reads: &[Read],
    at: At,
) -> Result<Reading, ProviderError> {
    let believed = believe(provider, at, provider.wait(), async |block| {
        let snapshot = snapshot(provider, reads, block).await?;
        Ok((snapshot.values, snapshot.block))
    })
    .await?;
    let (number, doubt) = (believed.number(), believed.doubt());
    Ok(Reading {
        values: believed.into_value(),
        number,
        doubt,
    })
}
