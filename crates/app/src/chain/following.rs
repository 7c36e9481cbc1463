//! One provider's answer to what has been transferred: all of it asked of that one, so that it is of one chain.

use tokengate_core::Address;
use tokengate_core::jsonrpc::{self, BlockTag, Header, ReplyError};
use tokengate_core::transfer::{TOPICS, Transfer};
use tokengate_core::watch::{Cursor, Round, Start, estimate};

use super::believed;
use super::fault::Fault;
use super::provider::Provider;
use crate::ports::{CallError, Ports};

/// The most lists of logs that a round is put together from.
const MAX_LISTS: u32 = 10;
/// The longest list that is read, in bytes: some thousand logs.
const MAX_LOGS_LEN: usize = 4 * 1024 * 1024;
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
}

/// How far a chain has been followed.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    /// What was found.
    pub(crate) round: Round,
    /// The first block that was read for the first time, or since it was replaced.
    pub(crate) from: u64,
    /// The last block.
    pub(crate) to: u64,
    /// The newest block, of the state that the chain is configured to be read at.
    pub(crate) head: u64,
    /// How many blocks before `to` were not read.
    pub(crate) skipped: u64,
}

/// Follows the transfers of some contracts for a while.
pub(super) async fn follow<P: Ports>(
    provider: &Provider<'_, P>,
    asked: &Following<'_>,
) -> Result<Followed, Fault> {
    let begun = provider.context.ports.elapsed();
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
        head: head.number,
        skipped: 0,
    };
    let Some(newest) = cursor.newest() else {
        return Ok(nothing(Cursor::at(head), head.number));
    };
    if head.number < newest.number && !cursor.is_left_by(&head) {
        // Within what providers may differ by there is just nothing new.
        return if head.number.saturating_add(provider.chain.tolerance) < newest.number {
            Err(Fault::Behind(head.number, newest.number))
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
        let fault = format!("{}: blocks were replaced", provider.chain.id);
        provider.context.record.fault(fault);
    }
    if from > head.number {
        return Ok(Followed {
            round: start.end(head, Vec::new()),
            ..nothing(Cursor::default(), head.number)
        });
    }
    skip(provider, asked, found.last(), &head, &mut start).await?;
    let mut skipped = start.next() - from;
    let list = Reader {
        provider,
        asked,
        begun,
    };
    let (transfers, end, unread) = list.read(&start, head.number).await?;
    skipped += unread;
    let end = if end == head.number {
        head
    } else {
        block(provider, end).await?
    };
    // A node that does not have the blocks yet would have said that nothing happened in them.
    if block(provider, head.number).await?.hash != head.hash {
        return Err(Fault::Replaced);
    }
    Ok(Followed {
        round: start.end(end, transfers),
        from,
        to: end.number,
        head: head.number,
        skipped,
    })
}

/// The block of this number, which is no higher than the head: where it is missing, another node answers than before.
async fn block<P: Ports>(provider: &Provider<'_, P>, number: u64) -> Result<Header, Fault> {
    let block = provider.find(BlockTag::Number(number)).await?;
    let block = block.ok_or(Fault::Replaced)?;
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
) -> Result<(), Fault> {
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

/// Reads lists of logs, each of as many blocks as the provider takes at once.
struct Reader<'a, P> {
    provider: &'a Provider<'a, P>,
    asked: &'a Following<'a>,
    begun: std::time::Duration,
}

impl<P: Ports> Reader<'_, P> {
    /// The transfers since `start`, up to the block that is named with them, and how many blocks in between could not
    /// be read.
    async fn read(&self, start: &Start, head: u64) -> Result<(Vec<Transfer>, u64, u64), Fault> {
        let (provider, next) = (self.provider, start.next());
        let known = provider.pool(|pool| pool.log_range(provider.index));
        let mut range = self.asked.range.min(known).max(1);
        // Where a provider is many nodes, one that had not come so far yet may have answered last time.
        let overlap = provider.chain.tolerance;
        let mut at = if range > overlap {
            start.from(overlap)
        } else {
            next
        };
        let (mut transfers, mut lists, mut unread) = (Vec::new(), 0, 0);
        while at <= head && lists < MAX_LISTS && (at <= next || self.has_time()) {
            let last = at.saturating_add(range - 1).min(head);
            let count = last - at + 1;
            match self.list(at, last).await {
                Ok(list) => {
                    transfers.extend(list);
                    at = last + 1;
                    lists += 1;
                }
                Err(fault) if is_too_much(&fault) && count > 1 => {
                    range = count / 2;
                    if !matches!(&fault, Fault::Reply(error) if error.is_rate_limit()) {
                        provider.pool(|pool| pool.refused_range(provider.index, range));
                    }
                    if range <= overlap {
                        at = at.max(next);
                    }
                }
                // Nobody can read such a block, and those after it must not wait for it.
                Err(Fault::Call(CallError::TooLong) | Fault::Status(413, _)) => {
                    let fault = format!("{}: too many logs in block {at}", provider.name());
                    provider.context.record.fault(fault);
                    unread += 1;
                    at = last + 1;
                    lists += 1;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok((transfers, at.saturating_sub(1), unread))
    }

    /// Whether another list may be asked for, so that the attempt ends in time with what it has.
    fn has_time(&self) -> bool {
        let context = self.provider.context;
        let deadline = context.service.config().map(|config| config.deadlines);
        let spent = context.ports.elapsed().saturating_sub(self.begun);
        deadline.is_ok_and(|deadlines| spent < deadlines.provider / 2)
    }

    async fn list(&self, from: u64, to: u64) -> Result<Vec<Transfer>, Fault> {
        let contracts = self.asked.contracts;
        let request = jsonrpc::eth_get_logs(from, to, contracts, &TOPICS);
        let body = self.provider.send_for(request.to_body(), MAX_LOGS_LEN);
        let logs = jsonrpc::logs(&body.await?)?;
        let asked_for = logs.iter().all(|log| {
            (from..=to).contains(&log.block) && contracts.contains(&log.address) && !log.removed
        });
        if asked_for {
            Ok(logs.iter().filter_map(Transfer::read).collect())
        } else {
            Err(ReplyError::Malformed.into())
        }
    }
}

/// Whether fewer blocks may be answered. Nodes have no common word for that, and some say it by an HTTP status.
const fn is_too_much(fault: &Fault) -> bool {
    let leave_alone = matches!(fault, Fault::Reply(ReplyError::Node { code: 429 }));
    !leave_alone && fault.is_of_size() || matches!(fault, Fault::Status(400 | 422, _))
}
