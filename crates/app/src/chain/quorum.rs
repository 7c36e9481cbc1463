//! Quorum: the one answer that as many providers give as have to agree.

use futures_util::future::join_all;
use tokengate_core::config::Chain;
use tokengate_core::fact::Read;

use super::client::ChainClient;
use super::error::ChainError;
use super::reading::{self, Reading};
use super::{believed, provider};
use crate::background::Background as _;
use crate::ports::Ports;
use crate::timeout::within;

/// The reading that all of them are. Honest providers may differ by a block: then each is asked once more, for the same
/// one.
pub(super) async fn agreed<P: Ports>(
    client: &ChainClient<P>,
    chain: &Chain,
    reads: &[Read],
    readings: Vec<(usize, Reading)>,
) -> Result<Reading, ChainError> {
    let Some(split) = disagreement(&readings) else {
        let oldest = readings.into_iter().map(|(_, reading)| reading);
        return oldest
            .min_by_key(|reading| reading.number)
            .ok_or(ChainError);
    };
    let numbers = || readings.iter().map(|(_, reading)| reading.number);
    // A provider must not choose a block of long ago.
    let close = |least: u64, most: u64| (1..=chain.tolerance).contains(&(most - least));
    let bounds = numbers().min().zip(numbers().max());
    let Some((number, _)) = bounds.filter(|(least, most)| close(*least, *most)) else {
        return Err(disagree(client, chain, reads, &readings, split));
    };
    let limit = client.config().deadlines.provider;
    let providers = provider::all(client, chain);
    let again = readings.iter().filter_map(|(index, _)| {
        let provider = providers.get(*index)?;
        Some(async move {
            let pinned = reading::read(provider, reads, believed::At::Block(number));
            let reading = within(client.ports(), limit, pinned).await;
            Some((provider.index, reading?.ok()?))
        })
    });
    let readings: Option<Vec<_>> = join_all(again).await.into_iter().collect();
    let readings = readings.ok_or(ChainError)?;
    if readings.iter().any(|(_, reading)| reading.number != number) {
        return Err(ChainError);
    }
    match disagreement(&readings) {
        Some(split) => Err(disagree(client, chain, reads, &readings, split)),
        None => readings
            .into_iter()
            .next()
            .map(|(_, reading)| reading)
            .ok_or(ChainError),
    }
}

/// Which read, and whose answers to it, differ first.
fn disagreement(readings: &[(usize, Reading)]) -> Option<(usize, [usize; 2])> {
    let ((_, first), others) = readings.split_first()?;
    others.iter().enumerate().find_map(|(other, (_, reading))| {
        let pairs = first.values.iter().zip(&reading.values);
        let index = pairs.enumerate().find(|(_, (a, b))| a != b)?.0;
        Some((index, [0, other + 1]))
    })
}

/// Notes who said what.
fn disagree<P: Ports>(
    client: &ChainClient<P>,
    chain: &Chain,
    reads: &[Read],
    readings: &[(usize, Reading)],
    (read, who): (usize, [usize; 2]),
) -> ChainError {
    let said = who.map(|at| match readings.get(at) {
        Some((index, reading)) => {
            let value = reading.values.get(read);
            format!(
                "provider {} at block {}: {value:?}",
                index + 1,
                reading.number
            )
        }
        None => String::new(),
    });
    let [one, other] = said;
    let read = reads.get(read);
    client.telemetry().error(format!(
        "{} providers disagree on {read:?}: {one}; {other}",
        chain.id
    ));
    ChainError
}
