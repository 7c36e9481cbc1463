//! One provider's answer to what has been transferred: one list of logs, with the blocks that it lies between, all of it
//! asked of that provider, so that it is of one chain.

mod reader;

use std::cell::Cell;

use tokengate_core::Address;
use tokengate_core::jsonrpc::{BlockTag, Header, ReplyError};
use tokengate_core::log_limits::LogLimits;
use tokengate_core::watch::{Cursor, Found, Round, Start, estimate};

use self::reader::Reader;
use super::believed;
use super::error::ProviderError;
use super::provider::Provider;
use crate::background::Background as _;
use crate::ports::Ports;

/// The most transfers in a list, each of several kinds of tokens counting as many.
pub(crate) const MAX_TRANSFERS: usize = 5_000;
/// How many blocks are looked at to find one of a given time.
const MAX_ESTIMATES: usize = 4;

/// What is to be followed.
#[derive(Clone, Copy)]
pub(crate) struct Following<'a> {
    /// From where on.
    pub(crate) cursor: &'a Cursor,
    /// Whose transfers, at least one contract.
    pub(crate) contracts: &'a [Address],
    /// The most blocks that are asked about at once.
    pub(crate) range: u64,
    /// Seconds before the head's time: what happened earlier is of no consequence any longer.
    pub(crate) horizon: u64,
    /// Blocks before this have been read again already, in this poll round.
    pub(crate) again_from: u64,
    /// Whether a single block and contract that the provider refuses is passed over.
    pub(crate) insists: bool,
    /// Set where it is not, and was refused.
    pub(crate) refused: &'a Cell<bool>,
}

/// How far a chain has been followed.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    /// What was found.
    pub(crate) round: Round,
    /// The first block that was read for the first time, or since it was replaced.
    pub(crate) from: u64,
    /// The last block that has been read.
    pub(crate) to: u64,
    /// The last block of this list: less than `from` where blocks were read again only.
    pub(crate) last: u64,
    /// The newest block, of the state that the chain is configured to be read at.
    pub(crate) head: u64,
    /// How many blocks before `to` were not read, or not all of their logs.
    pub(crate) skipped: u64,
    /// Contracts of which not all logs of a block could be read, each with that block.
    pub(crate) unread: Vec<(Address, u64)>,
    /// How many logs of transfers could not be read. Their contracts are among `unread`.
    pub(crate) unreadable: usize,
}

/// Follows the transfers of some contracts by one list.
pub(super) async fn follow<P: Ports>(
    provider: &Provider<'_, P>,
    asked: &Following<'_>,
) -> Result<Followed, ProviderError> {
    let begun = provider.client.ports().elapsed();
    // The head comes first and is looked at again last: then all that lies between was of one chain.
    let head = believed::newest(provider).await?;
    let cursor = asked.cursor;
    let nothing = |cursor: Cursor, to: u64| Followed {
        round: Round {
            cursor,
            ..Round::default()
        },
        from: to.saturating_add(1),
        to,
        last: to,
        head: head.number,
        skipped: 0,
        unread: Vec::new(),
        unreadable: 0,
    };
    let Some(newest) = cursor.newest() else {
        return Ok(nothing(Cursor::at(head), head.number));
    };
    if head.number < newest.number && !cursor.is_left_by(&head) {
        // Within what providers may differ by there is just nothing new.
        return if head.number.saturating_add(provider.chain.tolerance) < newest.number {
            Err(ProviderError::Behind(head.number, newest.number))
        } else {
            Ok(nothing(cursor.clone(), newest.number))
        };
    }
    let mut found = Vec::new();
    for candidate in cursor.candidates(head.number) {
        let block = if candidate.number == head.number {
            head
        } else {
            block(provider, candidate.number).await?
        };
        found.push(block);
        if block.hash == candidate.hash {
            break;
        }
    }
    let mut start = cursor.start(&found, head.number);
    let from = start.next();
    if start.is_reorganised() {
        let error = format!("{}: blocks were replaced", provider.chain.id);
        provider.client.telemetry().error(error);
    }
    if from > head.number {
        return Ok(Followed {
            round: start.end(head, Found::default()),
            ..nothing(Cursor::default(), head.number)
        });
    }
    skip(provider, asked, found.last(), &head, &mut start).await?;
    let skipped = start.next() - from;
    let reader = Reader {
        provider,
        asked,
        begun,
        limits: Cell::new(provider.log_limits()),
    };
    let list = reader.read(&start, head.number).await?;
    let to = list.last.max(start.next().saturating_sub(1));
    let end = if to == head.number {
        head
    } else {
        block(provider, to).await?
    };
    // A node that does not have the blocks yet would have said that nothing happened in them.
    if block(provider, head.number).await?.hash != head.hash {
        return Err(ProviderError::Replaced);
    }
    provider.set_log_limits(reader.limits.get());
    let unread = list.unread;
    let incomplete = unread.iter().map(|(_, block)| *block);
    let found = Found {
        transfers: list.transfers,
        settled: list.settled,
        incomplete: incomplete.max().unwrap_or_default(),
    };
    Ok(Followed {
        round: start.end(end, found),
        from,
        to,
        last: list.last,
        head: head.number,
        skipped: skipped + u64::from(list.skipped),
        unread,
        unreadable: list.unreadable,
    })
}

/// The block of this number, which is no higher than the head: where it is missing, another node answers than before.
async fn block<P: Ports>(provider: &Provider<'_, P>, number: u64) -> Result<Header, ProviderError> {
    let block = provider.find(BlockTag::Number(number)).await?;
    let block = block.ok_or(ProviderError::Replaced)?;
    if block.number == number {
        Ok(block)
    } else {
        Err(ReplyError::Malformed.into())
    }
}

/// Passes over what is too long ago to be of consequence, where that is more than one list.
async fn skip<P: Ports>(
    provider: &Provider<'_, P>,
    asked: &Following<'_>,
    ancestor: Option<&Header>,
    head: &Header,
    start: &mut Start,
) -> Result<(), ProviderError> {
    let since = head.timestamp.saturating_sub(asked.horizon);
    let Some(mut low) = ancestor.copied() else {
        return Ok(());
    };
    if head.number - start.next() < asked.range || low.timestamp >= since {
        return Ok(());
    }
    let mut high = *head;
    // A little early, so that a block found there is one that may be passed over, though blocks are not made at even times.
    let aim = since.saturating_sub(asked.horizon / 8);
    for _ in 0..MAX_ESTIMATES {
        let middle = estimate(&low, &high, aim);
        if middle <= low.number || middle >= high.number {
            break;
        }
        let block = block(provider, middle).await?;
        if block.timestamp > since {
            high = block;
        } else {
            low = block;
        }
    }
    start.skip_to(low.number.saturating_add(1));
    Ok(())
}

impl<P: Ports> Provider<'_, P> {
    fn log_limits(&self) -> LogLimits {
        let now = self.client.ports().now();
        self.pool(|pool| pool.log_limits(self.index, now))
    }

    fn set_log_limits(&self, limits: LogLimits) {
        self.pool(|pool| pool.set_log_limits(self.index, limits));
    }
}
