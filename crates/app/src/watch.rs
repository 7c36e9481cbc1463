//! Following the transfers of gated tokens, and outdating the facts that they change.
//!
//! A cursor in the store says how far each chain has been followed. It is moved only after the facts are outdated: a
//! round that fails is done once more, and so is one that overlaps with another, to no harm.

use std::time::Duration;

use futures_util::future::join_all;
use tokengate_core::config::{Chain, Config};
use tokengate_core::fact::{FactKey, Touch};
use tokengate_core::sealed::Kind;
use tokengate_core::watch::{Cursor, Round};
use tokengate_core::{Address, ChainId, Timestamp};

use crate::chain::{self, Followed, Following};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::router::Context;
use crate::store::{chain_key, timed};
use crate::touch::{touch, touches};

/// By how much the head of what is read may have been behind the time of day, or more than now, when a fact was read.
const MARGIN: Duration = Duration::from_secs(15 * 60);

/// How far a chain has been followed, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// The first block that was read for the first time, or since it was replaced.
    pub(crate) from: u64,
    /// The last block; less than `from` where there was none to read.
    pub(crate) to: u64,
    /// The newest block, of the state that the chain is configured to be read at.
    pub(crate) head: u64,
    /// Transfers that have not been told before.
    pub(crate) transfers: usize,
    /// Transfers whose blocks may have been replaced.
    pub(crate) undone: usize,
    /// Facts that were there and are outdated now.
    pub(crate) outdated: usize,
    /// Blocks up to `to` that were not read.
    pub(crate) skipped: u64,
    /// Transfers that are too many to be undone, should their blocks be replaced.
    pub(crate) dropped: usize,
}

/// One round over all chains with gated contracts, at once.
pub(crate) async fn round<P: Ports>(
    context: &Context<'_, P>,
) -> Result<Vec<(ChainId, Result<Report, Problem>)>, Problem> {
    let config = context.service.config()?;
    let chains = config.chains().filter_map(|chain| {
        let contracts: Vec<_> = config.watched(chain.id).into_iter().collect();
        (!contracts.is_empty()).then_some((chain, contracts))
    });
    let followed = chains.map(|(chain, contracts)| async move {
        let report = follow(context, config, chain, &contracts).await;
        (chain.id, report)
    });
    Ok(join_all(followed).await)
}

/// How long a cursor is of use: a chain that nobody has followed for longer is followed from its head.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

async fn follow<P: Ports>(
    context: &Context<'_, P>,
    config: &Config,
    chain: &Chain,
    contracts: &[Address],
) -> Result<Report, Problem> {
    let (store, limit) = (context.store(), config.deadlines.store);
    let key = chain_key(config, "watch", chain.id);
    let failed = |_| Problem::StoreUnavailable;
    // A cursor that is not authentic is no start at the head: transfers before it would never be seen.
    let kept = timed(context, limit, store.get_sealed(Kind::Cursor, &key))
        .await
        .map_err(failed)?;
    let cursor = kept.as_deref().map(Cursor::from_bytes).unwrap_or_default();
    let following = Following {
        cursor: &cursor,
        contracts,
        range: config.watch.range,
        horizon: config.oldest_fact().saturating_add(MARGIN).as_secs(),
    };
    let Followed {
        round,
        from,
        to,
        head,
        skipped,
    } = chain::follow(context, chain, &following)
        .await
        .map_err(|chain::Unavailable| Problem::NotFollowed)?;
    let touches = happened(config, chain, &round, context.ports.now());
    let outdated = match touches.is_empty() {
        true => 0,
        false => touch(context, touches).await.map_err(failed)?,
    };
    if round.cursor != cursor {
        let kept = round.cursor.to_bytes();
        let set = store.set_sealed(Kind::Cursor, &key, &kept, KEPT);
        timed(context, limit, set).await.map_err(failed)?;
    }
    Ok(Report {
        from,
        to,
        head,
        transfers: round.told.len(),
        undone: round.undone.len(),
        outdated,
        skipped,
        dropped: round.dropped,
    })
}

/// What happened to which facts.
fn happened(
    config: &Config,
    chain: &Chain,
    round: &Round,
    now: Timestamp,
) -> Vec<(FactKey, Touch)> {
    // After a reorganisation a number does not say any longer when a fact was read.
    let since = round.reorganised.then_some(now);
    let anew = Touch { block: 0, since };
    let told = round.told.iter().flat_map(|transfer| {
        let touches = touches(config, chain, transfer, false, now);
        touches.map(|(fact, touch)| (fact, touch.and(anew)))
    });
    let undone = round.undone.iter();
    let undone = undone.flat_map(|transfer| touches(config, chain, transfer, true, now));
    told.chain(undone).collect()
}

#[cfg(test)]
mod tests {
    use tokengate_core::transfer::{Tokens, Transfer};

    use super::*;

    #[test]
    fn a_number_counts_only_where_it_names_a_block_of_the_chain_and_the_same_one() {
        let of = |chain: u64, reorganised: bool| {
            let text = include_str!("../../../tokengate.toml");
            let config = Config::parse(&text.replace("31337", &chain.to_string()));
            let config = config.unwrap();
            let chain = config.chains().next().unwrap();
            let transfer = |block| Transfer {
                contract: *config.watched(chain.id).first().unwrap(),
                from: Address::from_bytes([1; 20]),
                to: Address::from_bytes([2; 20]),
                tokens: Tokens::Token(tokengate_core::U256::ONE),
                block,
                removed: false,
            };
            let round = Round {
                told: vec![transfer(7)],
                undone: vec![transfer(5)],
                reorganised,
                ..Round::default()
            };
            let touches = happened(&config, chain, &round, Timestamp::UNIX_EPOCH);
            let mut touches: Vec<_> = touches.into_iter().map(|(_, touch)| touch).collect();
            touches.dedup();
            touches
        };
        let touch = |block, since: bool| Touch {
            block,
            since: since.then_some(Timestamp::UNIX_EPOCH),
        };
        assert_eq!(of(1, false), [touch(7, false), touch(0, true)]);
        assert_eq!(of(1, true), [touch(7, true), touch(0, true)]);
        // Arbitrum's contracts take an estimate of another chain's number for the block's.
        assert_eq!(of(42_161, false), [touch(0, true)]);
        assert_eq!(of(42_161, true), [touch(0, true)]);
    }
}
