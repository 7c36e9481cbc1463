//! One list of logs, of as many blocks as the provider takes at once and as can be held.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Duration;

use tokengate_core::Address;
use tokengate_core::jsonrpc::{self, ReplyError};
use tokengate_core::log_limits::LogLimits;
use tokengate_core::transfer::{TOPICS, Transfer};
use tokengate_core::watch::Start;

use super::{Following, MAX_TRANSFERS};
use crate::background::Background as _;
use crate::chain::error::ProviderError;
use crate::chain::provider::Provider;
use crate::ports::{CallError, Ports};

/// The longest list that is read, in bytes: some thousand logs.
const MAX_LOGS_LEN: usize = 2 * 1024 * 1024;

/// The most lists for which blocks are read again that are not settled yet.
const MAX_LISTS_AGAIN: u64 = 3;

/// A list of logs, read.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) transfers: Vec<Transfer>,
    weight: usize,
    bytes: usize,
    pub(super) last: u64,
    pub(super) settled: Option<u64>,
    pub(super) unread: Vec<(Address, u64)>,
    pub(super) unreadable: usize,
    /// Whether its only block was not read whole.
    pub(super) skipped: bool,
}

/// Why there is no list.
enum ListError {
    /// It has more logs than are held at once.
    TooLong,
    /// The provider does not list so much.
    Refused(ProviderError),
    /// Anything else: it is not believed, or not there.
    Provider(ProviderError),
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
pub(super) struct Reader<'a, P> {
    pub(super) provider: &'a Provider<'a, P>,
    pub(super) asked: &'a Following<'a>,
    pub(super) begun: Duration,
    /// What is known of the provider, kept as it is learned: also where the attempt comes to nothing.
    pub(super) limits: Cell<LogLimits>,
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

    pub(super) async fn read(&self, start: &Start, head: u64) -> Result<List, ProviderError> {
        let overlap = self.provider.chain.tolerance;
        loop {
            let range = self.plan(start, head);
            let mut list = match self.list(range).await {
                Ok(list) => list,
                Err(ListError::Provider(error)) => return Err(error),
                Err(unlisted) if range.count() > 1 => {
                    self.learn(|limits, now| match &unlisted {
                        ListError::Refused(error) if !is_rate_limit(error) => {
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
        note(&mut limits, self.provider.client.ports().now());
        self.limits.set(limits);
        self.provider.set_log_limits(limits);
    }

    /// All contracts' logs, in as many requests as the provider takes contracts at once.
    async fn list(&self, range: Range) -> Result<List, ListError> {
        let mut list = List::default();
        for contracts in self.asked.contracts.chunks(self.limits.get().contracts()) {
            self.request(range, contracts, &mut list).await?;
        }
        Ok(list)
    }

    /// The logs of a block that is too much at once: of fewer contracts at a time, and of those that are too much alone
    /// none.
    async fn block_by_contracts(&self, block: u64) -> Result<List, ProviderError> {
        let provider = self.provider;
        let range = Range {
            first: block,
            last: block,
        };
        let mut list = List::default();
        // Another attempt begins here, as what was refused so far is known.
        if !self.has_time() && !self.asked.insists {
            self.asked.refused.set(true);
            return Err(ProviderError::Unlisted(block));
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
                    Err(ListError::Provider(error)) => return Err(error),
                    Err(unlisted) => {
                        if matches!(&unlisted, ListError::Refused(error) if !is_rate_limit(error)) {
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
                Err(ListError::Provider(error)) => return Err(error),
                // Another provider may list it.
                Err(ListError::Refused(_)) if !self.asked.insists => {
                    self.asked.refused.set(true);
                    return Err(ProviderError::Unlisted(block));
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
            provider.client.telemetry().error(format!(
                "{name}: the logs of {passed_over} contracts in block {block} cannot be read"
            ));
        }
        Ok(list)
    }

    /// Whether the attempt ends in time if it asks on.
    fn has_time(&self) -> bool {
        let client = self.provider.client;
        let deadline = client.config().deadlines.provider;
        let spent = client.ports().elapsed().saturating_sub(self.begun);
        spent < deadline / 2
    }

    /// The same as [`Self::request`], as long as there is time for requests: what is left is too much.
    async fn request_in_time(
        &self,
        range: Range,
        contracts: &[Address],
        list: &mut List,
    ) -> Result<(), ListError> {
        if self.has_time() {
            self.request(range, contracts, list).await
        } else {
            Err(ListError::TooLong)
        }
    }

    /// Adds the logs of some contracts to `list`; what was too much leaves it as it was.
    async fn request(
        &self,
        range: Range,
        contracts: &[Address],
        list: &mut List,
    ) -> Result<(), ListError> {
        let request = jsonrpc::eth_get_logs(range.first, range.last, contracts, &TOPICS);
        let body = self.provider.send_for(request.to_body(), MAX_LOGS_LEN);
        let body = body.await.map_err(ListError::of)?;
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
        let error = match outcome {
            Ok(ControlFlow::Continue(())) => None,
            Ok(ControlFlow::Break(())) if strange => {
                Some(ListError::Provider(ReplyError::Malformed.into()))
            }
            Ok(ControlFlow::Break(())) => Some(ListError::TooLong),
            Err(error) => Some(ListError::of(error.into())),
        };
        if let Some(error) = error {
            list.transfers.truncate(before);
            list.weight = weight;
            return Err(error);
        }
        list.bytes += body.len();
        list.unread.append(&mut unread);
        list.unreadable += unreadable;
        Ok(())
    }
}

impl ListError {
    /// Whether fewer blocks or contracts may be answered. Nodes have no common word for that, and some say it by an HTTP
    /// status.
    fn of(error: ProviderError) -> Self {
        match &error {
            ProviderError::Call(CallError::TooLong) => Self::TooLong,
            // By its own words it supports no such call, or not now.
            ProviderError::Reply(ReplyError::Node {
                code: -32_601 | 429,
            }) => Self::Provider(error),
            ProviderError::Reply(ReplyError::Node { .. } | ReplyError::Reverted(_))
            | ProviderError::Status(400 | 413 | 422, _) => Self::Refused(error),
            _ => Self::Provider(error),
        }
    }
}

const fn is_rate_limit(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Reply(error) if error.is_rate_limit())
}
