//! Follows the transfers of gated tokens, and invalidates the cached facts that they change.
//!
//! A cursor in the store says how far each chain has been followed. A poll round reads list after list of logs; after each
//! the facts are invalidated first and then the cursor is moved, so that what a round has done is never done again for what
//! comes after it, and what it holds is one list. A list that was invalidated twice, also by two rounds at once, is
//! harmless.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokengate_core::config::{Chain, Config};
use tokengate_core::fact::Touch;
use tokengate_core::sealed::Kind;
use tokengate_core::watch::{Cursor, Round};
use tokengate_core::{Address, ChainId, Timestamp};

use crate::background::Background as _;
use crate::chain::{self, ChainClient, Followed, Following, MAX_TRANSFERS};
use crate::decision::FactState;
use crate::http::problem::Problem;
use crate::invalidation::{Invalidations, invalidate, touch_of};
use crate::limits::STUCK_ROUNDS;
use crate::ports::{Ports, StoreError};
use crate::store::{StoreClient, chain_key};

/// By how much the head of what is read may have been behind the time of day, or more than now, when a fact was read.
const MARGIN: Duration = Duration::from_secs(15 * 60);

/// The most lists of logs in a poll round.
const MAX_LISTS: u32 = 10;

/// The most chains that are read at once: each holds a list.
const MAX_AT_ONCE: usize = 4;

/// How far a chain has been followed, and what for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PollReport {
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
    /// Facts that were there and are invalid now, those of whole contracts not counted.
    pub(crate) invalidated: usize,
    /// Contracts of which all facts are invalid now.
    pub(crate) contracts: usize,
    /// Blocks up to `to` that were not read, or not all of their logs.
    pub(crate) skipped: u64,
    /// Logs of transfers that could not be read: all facts of their contracts are invalid now.
    pub(crate) unreadable: usize,
    /// Transfers that are too many to be remembered: a reorganisation of their blocks invalidates whole contracts.
    pub(crate) dropped: usize,
}

/// What a poll round works with.
#[derive(Clone, Debug)]
pub(crate) struct TransferFollower<P> {
    /// Where transfers are listed.
    pub(crate) chain: ChainClient<P>,
    /// Where cursors are, and the facts that transfers change.
    pub(crate) store: StoreClient<P>,
    /// The same facts, in this instance.
    pub(crate) facts: Rc<FactState>,
}

/// One poll round over all chains with gated contracts.
pub(crate) async fn round<P: Ports>(
    follower: &TransferFollower<P>,
) -> Result<Vec<(ChainId, Result<PollReport, Problem>)>, Problem> {
    let config = follower.chain.config();
    let chains = config.chains().filter_map(|chain| {
        let contracts: Vec<_> = config.watched(chain.id).into_iter().collect();
        (!contracts.is_empty()).then_some((chain, contracts))
    });
    let followed = chains.map(|(chain, contracts)| async move {
        let report = follow(follower, config, chain, &contracts).await;
        (chain.id, report)
    });
    Ok(stream::iter(followed).buffered(MAX_AT_ONCE).collect().await)
}

/// How long a cursor is of use: a chain that has not been followed for longer is followed from its head.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn cursor_key(config: &Config, chain: ChainId) -> String {
    chain_key(config, "watch", chain)
}

fn failures_key(config: &Config, chain: ChainId) -> String {
    chain_key(config, "watch-failures", chain)
}

async fn follow<P: Ports>(
    follower: &TransferFollower<P>,
    config: &Config,
    chain: &Chain,
    contracts: &[Address],
) -> Result<PollReport, Problem> {
    let failed = |_| Problem::StoreUnavailable;
    let (kept, failures) = read(follower, config, chain.id).await.map_err(failed)?;
    let cursor = kept.as_deref().map(Cursor::from_bytes).unwrap_or_default();
    let at = cursor.newest().map_or(0, |newest| newest.number);
    match lists(follower, config, chain, contracts, cursor).await {
        Ok(report) => {
            if failures.is_some() {
                let (store, key) = (&follower.store, failures_key(config, chain.id));
                // What is left of it is of another block, and of no use once the cursor moves.
                let _ = store.timed(store.kv().delete(&key)).await;
            }
            Ok(report)
        }
        Err(problem) => {
            let rounds = 1 + failures
                .filter(|failures| failures.at == at)
                .map_or(0, |failures| failures.rounds);
            let (store, key) = (&follower.store, failures_key(config, chain.id));
            let failures = Failures { at, rounds };
            let text = failures.to_text();
            // Scheduled to expire once, however often it is set. A failure is noted, and nothing rests on it.
            let _ = match store.ports().now().checked_add(KEPT) {
                Ok(end) if rounds == 1 => {
                    let set = store.set_sealed(Kind::Cursor, key, text.as_bytes(), end);
                    set.await
                }
                _ => {
                    store
                        .put_sealed(Kind::Cursor, &key, text.as_bytes(), KEPT)
                        .await
                }
            };
            Err(match problem {
                Problem::NotFollowed(_) if rounds >= STUCK_ROUNDS => {
                    Problem::NotFollowed(Some(failures.at))
                }
                problem => problem,
            })
        }
    }
}

/// The cursor of a chain as it is stored, and how often no round went on from it.
async fn read<P: Ports>(
    follower: &TransferFollower<P>,
    config: &Config,
    chain: ChainId,
) -> Result<(Option<Vec<u8>>, Option<Failures>), StoreError> {
    let keys = [cursor_key(config, chain), failures_key(config, chain)];
    let reads = async {
        let named: Vec<_> = keys.iter().map(String::as_str).collect();
        let values = follower
            .store
            .kv()
            .get_many_sealed(Kind::Cursor, &named)
            .await;
        let mut values = values.into_iter();
        // A cursor that is not authentic is no start at the head: transfers before it would never be seen.
        let cursor = values.next().transpose()?.flatten();
        let failures = match values.next().transpose() {
            // Counted from the beginning: it is an alarm, and nothing rests on it.
            Err(StoreError::Forged(_)) => None,
            failures => failures?.flatten(),
        };
        Ok((cursor, failures))
    };
    let (cursor, failures) = follower.store.timed(reads).await?;
    Ok((cursor, failures.as_deref().and_then(Failures::from_bytes)))
}

/// Poll rounds in a row that came no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failures {
    /// The last block that was followed; 0 where none was.
    at: u64,
    /// How many rounds.
    rounds: u64,
}

impl Failures {
    fn to_text(self) -> String {
        format!("{}:{}", self.at, self.rounds)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, rounds) = std::str::from_utf8(bytes).ok()?.split_once(':')?;
        Some(Self {
            at: at.parse().ok()?,
            rounds: rounds.parse().ok()?,
        })
    }
}

/// Whether transfers of this chain are followed, and have not been for [`STUCK_ROUNDS`] rounds.
pub(crate) async fn is_stuck<P: Ports>(store: &StoreClient<P>, chain: ChainId) -> bool {
    let config = store.config();
    if config.watched(chain).is_empty() {
        return false;
    }
    let key = failures_key(config, chain);
    let failures = store.kv().get_sealed(Kind::Cursor, &key);
    let failures = store.timed(failures).await;
    let failures = failures.ok().flatten();
    let failures = failures.as_deref().and_then(Failures::from_bytes);
    failures.is_some_and(|failures| failures.rounds >= STUCK_ROUNDS)
}

/// Reads lists until the head is reached or there are enough. Fails only where not even one could be read.
async fn lists<P: Ports>(
    follower: &TransferFollower<P>,
    config: &Config,
    chain: &Chain,
    contracts: &[Address],
    mut cursor: Cursor,
) -> Result<PollReport, Problem> {
    let begun = follower.store.ports().elapsed();
    let (mut report, mut again_from) = (None::<PollReport>, 0);
    for _ in 0..MAX_LISTS {
        let refused = Cell::new(false);
        let following = Following {
            cursor: &cursor,
            contracts,
            range: config.watch.range,
            horizon: config.oldest_fact().saturating_add(MARGIN).as_secs(),
            again_from,
            insists: false,
            refused: &refused,
        };
        let mut followed = chain::follow(&follower.chain, chain, &following).await;
        // No provider lists the logs of this block: those after it must not wait for it.
        if followed.is_err() && refused.get() {
            let following = Following {
                insists: true,
                ..following
            };
            followed = chain::follow(&follower.chain, chain, &following).await;
        }
        let step = match followed {
            Ok(followed) => list(follower, config, chain, contracts, &cursor, followed).await,
            Err(chain::ChainError) => Err(Problem::NotFollowed(None)),
        };
        let (step, followed) = match (step, &mut report) {
            (Ok(step), _) => step,
            (Err(problem), None) => return Err(problem),
            // What has been done stays done, and the next round says what fails.
            (Err(_), Some(_)) => break,
        };
        let total = report.get_or_insert(PollReport {
            from: step.from,
            ..PollReport::default()
        });
        total.add(&step);
        if followed.last < followed.from {
            again_from = followed.last.saturating_add(1);
        }
        cursor = followed.round.cursor;
        let spent = follower.store.ports().elapsed().saturating_sub(begun);
        let enough = total.to >= total.head || total.transfers >= MAX_TRANSFERS;
        if enough || spent >= config.deadlines.chain / 2 {
            break;
        }
    }
    report.ok_or(Problem::NotFollowed(None))
}

impl PollReport {
    fn add(&mut self, step: &Self) {
        (self.to, self.head) = (step.to, step.head);
        self.transfers += step.transfers;
        self.undone += step.undone;
        self.invalidated += step.invalidated;
        self.contracts += step.contracts;
        self.skipped += step.skipped;
        self.unreadable += step.unreadable;
        self.dropped += step.dropped;
    }
}

/// Invalidates what a list says, and moves the cursor to its end.
async fn list<P: Ports>(
    follower: &TransferFollower<P>,
    config: &Config,
    chain: &Chain,
    contracts: &[Address],
    cursor: &Cursor,
    followed: Followed,
) -> Result<(PollReport, Followed), Problem> {
    let failed = |_| Problem::StoreUnavailable;
    let now = follower.store.ports().now();
    let mut invalidations = happened(config, chain, contracts, &followed, now);
    if cursor.newest().is_none() {
        // What happened before is not known.
        let touch = touch_of(followed.head, false, now);
        for contract in contracts {
            invalidations.add_contract(chain, *contract, touch);
        }
    }
    let contracts = invalidations.contracts();
    let invalidated = invalidate(&follower.store, &follower.facts.cache, invalidations)
        .await
        .map_err(failed)?;
    let round = &followed.round;
    if round.cursor != *cursor {
        let (key, kept) = (cursor_key(config, chain.id), round.cursor.to_bytes());
        let put = follower.store.put_sealed(Kind::Cursor, &key, &kept, KEPT);
        put.await.map_err(failed)?;
    }
    if followed.unreadable > 0 {
        let count = followed.unreadable;
        let fault = format!("{}: {count} logs of transfers cannot be read", chain.id);
        follower.store.telemetry().error(fault);
    }
    let report = PollReport {
        from: followed.from,
        to: followed.to,
        head: followed.head,
        transfers: round.told.len(),
        undone: round.undone.len(),
        invalidated,
        contracts,
        skipped: followed.skipped,
        unreadable: followed.unreadable,
        dropped: round.dropped,
    };
    Ok((report, followed))
}

/// What happened to which facts.
fn happened(
    config: &Config,
    chain: &Chain,
    contracts: &[Address],
    followed: &Followed,
    now: Timestamp,
) -> Invalidations {
    let round: &Round = &followed.round;
    let mut invalidations = Invalidations::default();
    // After a reorganisation a number does not say any longer when a fact was read.
    let told = |block: u64| {
        let since = (block <= round.reorged).then_some(now);
        touch_of(block, false, now).and(Touch { block: 0, since })
    };
    let undone = |block: u64| touch_of(block, true, now);
    for (contract, block) in &followed.unread {
        invalidations.add_contract(chain, *contract, told(*block));
    }
    if round.all_undone {
        for contract in contracts {
            invalidations.add_contract(chain, *contract, undone(0));
        }
    }
    for transfer in &round.told {
        invalidations.add(config, chain, transfer, told(transfer.block));
    }
    for transfer in &round.undone {
        invalidations.add(config, chain, transfer, undone(transfer.block));
    }
    invalidations
}

#[cfg(test)]
mod tests {
    use tokengate_core::transfer::{Tokens, Transfer};

    use super::*;

    #[test]
    fn a_number_counts_only_where_it_names_a_block_of_the_chain_and_the_same_one() {
        let of = |chain: u64, reorged: u64| {
            let text = include_str!("../../../tokengate.toml");
            let config = Config::parse(&text.replace("31337", &chain.to_string()));
            let config = config.unwrap();
            let chain = config.chains().next().unwrap();
            let contracts: Vec<_> = config.watched(chain.id).into_iter().collect();
            let transfer = |block| Transfer {
                contract: contracts[0],
                from: Address::from_bytes([1; 20]),
                to: Address::from_bytes([u8::try_from(block).unwrap(); 20]),
                tokens: Tokens::Token(tokengate_core::U256::ONE),
                block,
                removed: false,
            };
            let followed = |round| Followed {
                round,
                from: 0,
                to: 0,
                last: 0,
                head: 0,
                skipped: 0,
                unread: Vec::new(),
                unreadable: 0,
            };
            let touches = |round| {
                let followed = followed(round);
                let now = Timestamp::UNIX_EPOCH;
                let all = happened(&config, chain, &contracts, &followed, now);
                let mut touches: Vec<_> = all.touches().collect();
                touches.dedup();
                touches
            };
            let told = touches(Round {
                told: vec![transfer(7)],
                reorged,
                ..Round::default()
            });
            let undone = touches(Round {
                undone: vec![transfer(5)],
                reorged,
                ..Round::default()
            });
            [told, undone].concat()
        };
        let touch = |block, since: bool| Touch {
            block,
            since: since.then_some(Timestamp::UNIX_EPOCH),
        };
        assert_eq!(of(1, 0), [touch(7, false), touch(0, true)]);
        assert_eq!(of(1, 6), [touch(7, false), touch(0, true)]);
        assert_eq!(of(1, 7), [touch(7, true), touch(0, true)]);
        // Facts bear the chain's own numbers also where its contracts see another's.
        assert_eq!(of(42_161, 0), [touch(7, false), touch(0, true)]);
    }

    #[test]
    fn failures_survive_the_store() {
        let failures = Failures { at: 7, rounds: 3 };
        let text = failures.to_text();
        assert_eq!(Failures::from_bytes(text.as_bytes()), Some(failures));
        for text in ["", "7", "7:", "x:3", "7:-1"] {
            assert_eq!(Failures::from_bytes(text.as_bytes()), None, "{text}");
        }
    }
}
