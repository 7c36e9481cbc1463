//! One provider's answer to what has been transferred: one list of logs, with the blocks that it lies between, all of it
//! asked of that provider, so that it is of one chain.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Duration;

use tokengate_core::Address;
use tokengate_core::jsonrpc::{self, BlockTag, Header, ReplyError};
use tokengate_core::log_limits::LogLimits;
use tokengate_core::transfer::{TOPICS, Transfer};
use tokengate_core::watch::{Cursor, Found, Round, Start, estimate};

use super::believed;
use super::error::Fault;
use super::provider::Provider;
use crate::ports::{CallError, Ports};

/// The longest list that is read, in bytes: some thousand logs.
const MAX_LOGS_LEN: usize = 2 * 1024 * 1024;
/// The most transfers in a list, each of several kinds of tokens counting as many.
pub(crate) const MAX_TRANSFERS: usize = 5_000;
/// How many blocks are looked at to find one of a given time.
const MAX_ESTIMATES: usize = 4;
/// The most lists for which blocks are read again that are not settled yet.
const MAX_LISTS_AGAIN: u64 = 3;

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
        return Err(Fault::Replaced);
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

impl<P: Ports> Provider<'_, P> {
    fn log_limits(&self) -> LogLimits {
        let now = self.context.ports.now();
        self.pool(|pool| pool.log_limits(self.index, now))
    }

    fn set_log_limits(&self, limits: LogLimits) {
        self.pool(|pool| pool.set_log_limits(self.index, limits));
    }
}

/// A list of logs, read.
#[derive(Debug, Default)]
struct List {
    transfers: Vec<Transfer>,
    weight: usize,
    bytes: usize,
    last: u64,
    settled: Option<u64>,
    unread: Vec<(Address, u64)>,
    unreadable: usize,
    /// Whether its only block was not read whole.
    skipped: bool,
}

/// Why there is no list.
enum Unlisted {
    /// It has more logs than are held at once.
    TooLong,
    /// The provider does not list so much.
    Refused(Fault),
    /// Anything else: it is not believed, or not there.
    Fault(Fault),
}

/// Blocks that are listed at once.
#[derive(Clone, Copy)]
struct Range {
    first: u64,
    last: u64,
}

impl Range {
    const fn count(self) -> u64 {
        self.last - self.first + 1
    }
}

/// Reads one list of logs, of as many blocks as the provider takes at once and as can be held.
struct Reader<'a, P> {
    provider: &'a Provider<'a, P>,
    asked: &'a Following<'a>,
    begun: Duration,
    /// What is known of the provider, kept as it is learned: also where the attempt comes to nothing.
    limits: Cell<LogLimits>,
}

impl<P: Ports> Reader<'_, P> {
    /// The next blocks: those that were read before and are not settled, together with new ones or, where the provider
    /// takes too few blocks at once for that, in lists of their own; then new ones.
    fn plan(&self, start: &Start, head: u64) -> Range {
        let range = self.asked.range.min(self.limits.get().blocks()).max(1);
        let (next, overlap) = (start.next(), self.provider.chain.tolerance);
        let first = start.from(overlap);
        let new = Range {
            first: next,
            last: next.saturating_add(range - 1).min(head),
        };
        if next - first < range && self.asked.again_from <= first {
            return Range {
                first,
                last: first.saturating_add(range - 1).min(head),
            };
        }
        let first = first.max(self.asked.again_from);
        let mut last = next.saturating_sub(1);
        // Where there are many lists to it, each block is read again once, when its provider has gone on far enough.
        if next.saturating_sub(first).div_ceil(range) > MAX_LISTS_AGAIN {
            last = last.min(head.saturating_sub(overlap));
        }
        if first > last {
            return new;
        }
        Range {
            first,
            last: first.saturating_add(range - 1).min(last),
        }
    }

    async fn read(&self, start: &Start, head: u64) -> Result<List, Fault> {
        let overlap = self.provider.chain.tolerance;
        loop {
            let range = self.plan(start, head);
            let mut list = match self.list(range).await {
                Ok(list) => list,
                Err(Unlisted::Fault(fault)) => return Err(fault),
                Err(unlisted) if range.count() > 1 => {
                    self.learn(|limits, now| match &unlisted {
                        Unlisted::Refused(fault) if !is_rate_limit(fault) => {
                            limits.refused_blocks(range.count(), now);
                        }
                        _ => limits.too_long(range.count(), now),
                    });
                    continue;
                }
                Err(_) => self.block_by_contracts(range.first).await?,
            };
            list.last = range.last;
            // Counted once.
            list.skipped &= range.last >= start.next();
            // What was listed when its provider had gone on from it need not be listed again.
            let unsettled = start.from(overlap);
            if range.first <= unsettled && range.last >= unsettled {
                list.settled = Some(range.last.min(head.saturating_sub(overlap)));
            }
            if list.weight < MAX_TRANSFERS / 4 && list.bytes < MAX_LOGS_LEN / 4 {
                self.learn(|limits, _| limits.was_short(range.count()));
            }
            return Ok(list);
        }
    }

    fn learn(&self, note: impl FnOnce(&mut LogLimits, tokengate_core::Timestamp)) {
        let mut limits = self.limits.get();
        note(&mut limits, self.provider.context.ports.now());
        self.limits.set(limits);
        self.provider.set_log_limits(limits);
    }

    /// All contracts' logs, in as many requests as the provider takes contracts at once.
    async fn list(&self, range: Range) -> Result<List, Unlisted> {
        let mut list = List::default();
        for contracts in self.asked.contracts.chunks(self.limits.get().contracts()) {
            self.request(range, contracts, &mut list).await?;
        }
        Ok(list)
    }

    /// The logs of a block that is too much at once: of fewer contracts at a time, and of those that are too much alone
    /// none.
    async fn block_by_contracts(&self, block: u64) -> Result<List, Fault> {
        let provider = self.provider;
        let range = Range {
            first: block,
            last: block,
        };
        let mut list = List::default();
        // Another attempt begins here, as what was refused so far is known.
        if !self.has_time() && !self.asked.insists {
            self.asked.refused.set(true);
            return Err(Fault::Unlisted(block));
        }
        let mut left = vec![self.asked.contracts];
        let (mut refused_more, mut passed_over) = (false, 0_usize);
        while let Some(contracts) = left.pop() {
            let halves = contracts.split_at(contracts.len() / 2);
            let [contract] = *contracts else {
                if contracts.len() > self.limits.get().contracts() {
                    left.extend([halves.1, halves.0]);
                    continue;
                }
                match self.request_in_time(range, contracts, &mut list).await {
                    Ok(()) if refused_more => {
                        self.learn(|limits, _| limits.fewer_contracts_worked());
                        refused_more = false;
                    }
                    Ok(()) => {}
                    Err(Unlisted::Fault(fault)) => return Err(fault),
                    Err(unlisted) => {
                        if matches!(&unlisted, Unlisted::Refused(fault) if !is_rate_limit(fault)) {
                            let count = contracts.len();
                            self.learn(|limits, now| limits.refused_contracts(count, now));
                            refused_more = true;
                        }
                        left.extend([halves.1, halves.0]);
                    }
                }
                continue;
            };
            match self.request_in_time(range, contracts, &mut list).await {
                Ok(()) => {}
                Err(Unlisted::Fault(fault)) => return Err(fault),
                // Another provider may list it.
                Err(Unlisted::Refused(_)) if !self.asked.insists => {
                    self.asked.refused.set(true);
                    return Err(Fault::Unlisted(block));
                }
                Err(_) => {
                    passed_over += 1;
                    list.unread.push((contract, block));
                }
            }
        }
        if passed_over > 0 {
            list.skipped = true;
            let name = provider.name();
            provider.context.record.fault(format!(
                "{name}: the logs of {passed_over} contracts in block {block} cannot be read"
            ));
        }
        Ok(list)
    }

    /// Whether the attempt ends in time if it asks on.
    fn has_time(&self) -> bool {
        let context = self.provider.context;
        let deadline = context.service.config().map(|config| config.deadlines);
        let spent = context.ports.elapsed().saturating_sub(self.begun);
        deadline.is_ok_and(|deadlines| spent < deadlines.provider / 2)
    }

    /// The same as [`Self::request`], as long as there is time for requests: what is left is too much.
    async fn request_in_time(
        &self,
        range: Range,
        contracts: &[Address],
        list: &mut List,
    ) -> Result<(), Unlisted> {
        if self.has_time() {
            self.request(range, contracts, list).await
        } else {
            Err(Unlisted::TooLong)
        }
    }

    /// Adds the logs of some contracts to `list`; what was too much leaves it as it was.
    async fn request(
        &self,
        range: Range,
        contracts: &[Address],
        list: &mut List,
    ) -> Result<(), Unlisted> {
        let request = jsonrpc::eth_get_logs(range.first, range.last, contracts, &TOPICS);
        let body = self.provider.send_for(request.to_body(), MAX_LOGS_LEN);
        let body = body.await.map_err(Unlisted::of)?;
        let (before, weight) = (list.transfers.len(), list.weight);
        let (mut unread, mut unreadable, mut strange) = (Vec::new(), 0, false);
        let outcome = jsonrpc::logs(&body, |log| {
            let blocks = range.first..=range.last;
            if !blocks.contains(&log.block) || !contracts.contains(&log.address) || log.removed {
                strange = true;
                return ControlFlow::Break(());
            }
            match Transfer::read(&log) {
                Ok(transfers) => {
                    let weights = transfers.iter().map(|transfer| transfer.tokens.weight());
                    list.weight += weights.sum::<usize>();
                    list.transfers.extend(transfers);
                }
                Err(_) => {
                    unreadable += 1;
                    match unread
                        .iter_mut()
                        .find(|(contract, _)| *contract == log.address)
                    {
                        Some((_, block)) => *block = log.block.max(*block),
                        None => unread.push((log.address, log.block)),
                    }
                }
            }
            match list.weight <= MAX_TRANSFERS {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        let fault = match outcome {
            Ok(ControlFlow::Continue(())) => None,
            Ok(ControlFlow::Break(())) if strange => {
                Some(Unlisted::Fault(ReplyError::Malformed.into()))
            }
            Ok(ControlFlow::Break(())) => Some(Unlisted::TooLong),
            Err(error) => Some(Unlisted::of(error.into())),
        };
        if let Some(fault) = fault {
            list.transfers.truncate(before);
            list.weight = weight;
            return Err(fault);
        }
        list.bytes += body.len();
        list.unread.append(&mut unread);
        list.unreadable += unreadable;
        Ok(())
    }
}

impl Unlisted {
    /// Whether fewer blocks or contracts may be answered. Nodes have no common word for that, and some say it by an HTTP
    /// status.
    fn of(fault: Fault) -> Self {
        match &fault {
            Fault::Call(CallError::TooLong) => Self::TooLong,
            // By its own words it does so for nobody, or not now.
            Fault::Reply(ReplyError::Node {
                code: -32_601 | 429,
            }) => Self::Fault(fault),
            Fault::Reply(ReplyError::Node { .. } | ReplyError::Reverted(_))
            | Fault::Status(400 | 413 | 422, _) => Self::Refused(fault),
            _ => Self::Fault(fault),
        }
    }
}

const fn is_rate_limit(fault: &Fault) -> bool {
    matches!(fault, Fault::Reply(error) if error.is_rate_limit())
}
