//! One provider's answer to a list of reads at one block, before it is believed. How the provider is asked is found out on
//! first use and remembered: by the reader's code in a state override, by the reader as creation code, or by a JSON-RPC
//! call for each read.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::{join, join_all, try_join};
use futures_util::stream::{self, StreamExt as _};
use tokengate_core::abi::reader::{self, Form, Limits, Outcome, Reader, ReaderError};
use tokengate_core::block::{BlockId, ExecutionBlock, Numbering};
use tokengate_core::config::Chain;
use tokengate_core::fact::{Read, Unreadable, Value};
use tokengate_core::jsonrpc::{self, Answer, BlockTag, LinkedHeader, ReplyError, Request};

use super::error::Fault;
use super::gossip;
use super::head::is_the_chain;
use super::provider::Provider;
use crate::ports::Ports;
use crate::store::within;

/// The most calls that one answer is put together from.
const MAX_CALLS: usize = 64;
/// Calls made at once.
const AT_ONCE: usize = 8;
/// The most bytes of an answer that one call is asked for: their hexadecimal form is half of the longest reply.
const MAX_ANSWER_LEN: usize = 256 * 1024;
/// Of more reads than this that ran out of gas, so many at a time are asked again before each is asked alone.
const GROUP: usize = 8;
/// The most reads that are asked again alone because they ran out of gas: each may use a node's whole allowance.
const MAX_ALONE: usize = 32;

/// The values of some reads at one block, of the right chain. Whether the provider keeps up is not looked at here.
pub(super) struct Snapshot {
    /// One for each read, in their order.
    pub(super) values: Vec<Result<Value, Unreadable>>,
    /// The block that all of them were read at, by the chain's own number.
    pub(super) block: ExecutionBlock,
}

/// Reads at `block`, in the way that is configured or known to work; else in the first way that works.
pub(super) async fn snapshot<P: Ports>(
    provider: &Provider<'_, P>,
    reads: &[Read],
    block: BlockTag,
) -> Result<Snapshot, Fault> {
    const UNSUPPORTED: Fault = Fault::Answer(ReaderError::Unsupported);
    let now = provider.context.ports.now();
    let configured = provider.chain.reader;
    let found = provider.pool(|pool| pool.form(provider.index, now));
    if let Some(form) = found.filter(|found| configured.is_none_or(|form| form == *found)) {
        let told = in_form(provider, form, reads, block, true).await;
        if !matches!(told, Err(UNSUPPORTED)) {
            return told;
        }
        provider.pool(|pool| pool.found_form(provider.index, None, now));
    }
    let ways = [Form::Override, Form::Creation, Form::Calls];
    let ways = configured.as_ref().map_or(&ways[..], std::slice::from_ref);
    for form in ways {
        let told = in_form(provider, *form, reads, block, false).await;
        if matches!(told, Err(UNSUPPORTED)) {
            continue;
        }
        if told.is_ok() {
            provider.pool(|pool| pool.found_form(provider.index, Some(*form), now));
            gossip::publish_now(provider.context, provider.chain);
            if configured.is_none() && *form == Form::Calls {
                let name = provider.name();
                let fault = format!("{name}: it runs no reader, and is read by single calls");
                provider.context.record.fault(fault);
            }
        }
        return told;
    }
    Err(UNSUPPORTED)
}

/// Reads in one way. Whether it is this way that fails, unless it `is_proven` to work, and not what was read, a call without
/// reads tells.
async fn in_form<P: Ports>(
    provider: &Provider<'_, P>,
    form: Form,
    reads: &[Read],
    block: BlockTag,
    is_proven: bool,
) -> Result<Snapshot, Fault> {
    if form == Form::Calls {
        return by_calls(provider, reads, block).await;
    }
    match by_reader(provider, form, reads, block, is_proven).await {
        Err(Fault::Answer(error)) => Err(error.into()),
        Err(fault) if !is_proven && fault.may_be_of_form() => {
            match ask(provider, form, Vec::new(), block, None).await {
                Ok(_) => by_reader(provider, form, reads, block, true).await,
                Err(other) if other.may_be_of_form() => Err(ReaderError::Unsupported.into()),
                Err(other) => Err(other),
            }
        }
        told => told,
    }
}

/// One call of the reader.
async fn ask<P: Ports>(
    provider: &Provider<'_, P>,
    form: Form,
    reads: Vec<&Read>,
    block: BlockTag,
    known: Option<BlockId>,
) -> Result<reader::Answer, Fault> {
    let chain = provider.chain;
    let reader = Reader::new(chain.id, reads, known);
    let call = reader.call(form, chain.deposit_gas);
    let call = call.ok_or(ReaderError::Unsupported)?;
    let returned = provider.data(&jsonrpc::eth_call(&call, block)).await?;
    Ok(reader.decode(&returned)?)
}

/// How much one call may ask.
const fn limits(chain: &Chain) -> Limits {
    Limits {
        reads: chain.batch.reads,
        request: chain.batch.bytes,
        answer: MAX_ANSWER_LEN,
    }
}

/// Reads by the reader: in one call where what it says of its block can be relied on and it is not too much at once;
/// else at a block that a header names first.
async fn by_reader<P: Ports>(
    provider: &Provider<'_, P>,
    form: Form,
    reads: &[Read],
    block: BlockTag,
    is_proven: bool,
) -> Result<Snapshot, Fault> {
    let begun = provider.context.ports.elapsed();
    let numbering = provider.pool(|pool| pool.numbering(provider.index));
    let pieces = reader::pieces(reads, limits(provider.chain).of(form));
    if pieces.len() > 1 || numbering == Some(Numbering::Foreign) {
        let pinned = Pinned::at(provider, block);
        let pinned = if is_proven {
            pinned.await?
        } else {
            let control = ask(provider, form, Vec::new(), block, None);
            try_join(pinned, control).await?.0
        };
        let pieces = pieces.into_iter().map(Vec::from_iter).collect();
        return Pieces::new(provider, form, reads, pinned, begun)
            .read(pieces)
            .await;
    }
    let known = provider.pool(|pool| pool.known());
    let asked = ask(provider, form, reads.iter().collect(), block, known);
    let (pinned, told) = if numbering.is_some() {
        (None, asked.await)
    } else {
        // Asked alongside, so that what is to be found out costs no time.
        let (pinned, told) = join(Pinned::at(provider, block), asked).await;
        (Some(pinned), told)
    };
    let whole = Vec::from_iter(0..reads.len());
    let told = match told {
        Err(fault) if !is_proven && fault.may_be_of_form() => return Err(fault),
        Err(fault) if fault.is_of_reads() && reads.len() > 1 => {
            let pinned = match pinned {
                Some(pinned) => pinned?,
                None => Pinned::at(provider, block).await?,
            };
            let halves = halves(&whole).into();
            return Pieces::new(provider, form, reads, pinned, begun)
                .read(halves)
                .await;
        }
        told => told?,
    };
    is_asked_for(block, told.block.number)?;
    if let Some(pinned) = pinned {
        let pinned = pinned?;
        if Numbering::of(&pinned.linked, &told.block) != Some(Numbering::Own) {
            // Between the two a block may have been made, or the chain's contracts see other blocks.
            return Pieces::new(provider, form, reads, pinned, begun)
                .read(vec![whole])
                .await;
        }
        found_numbering(provider, Numbering::Own);
    }
    let seen = told.block;
    let is_spent = told.outcomes.iter().any(|outcome| outcome.is_spent);
    if !is_spent || reads.len() == 1 {
        let values = told.outcomes.into_iter().map(Outcome::alone);
        return Ok(Snapshot {
            values: values.collect(),
            block: seen,
        });
    }
    let pinned = Pinned::at(provider, BlockTag::Number(told.block.number)).await?;
    if Numbering::of(&pinned.linked, &told.block) != Some(Numbering::Own) {
        return Err(Fault::Replaced);
    }
    let mut pieces = Pieces::new(provider, form, reads, pinned, begun);
    pieces.take(&whole, told.outcomes);
    let told = pieces.read(Vec::new()).await?;
    Ok(Snapshot {
        block: seen,
        ..told
    })
}

fn found_numbering<P: Ports>(provider: &Provider<'_, P>, numbering: Numbering) {
    provider.pool(|pool| pool.found_numbering(provider.index, numbering));
    gossip::publish_now(provider.context, provider.chain);
}

/// That the block of this number is the one that was asked for.
fn is_asked_for(block: BlockTag, number: u64) -> Result<(), Fault> {
    match block {
        BlockTag::Number(asked) if asked != number => Err(Fault::AnotherBlock(number, asked)),
        _ => Ok(()),
    }
}

/// The one block of several calls.
#[derive(Clone, Copy)]
struct Pinned {
    linked: LinkedHeader,
    /// By its hash (EIP-1898), or by its number where the node does not know that.
    by_hash: bool,
}

impl Pinned {
    async fn at<P: Ports>(provider: &Provider<'_, P>, block: BlockTag) -> Result<Self, Fault> {
        let linked = provider.header_with_parent(block).await?;
        is_asked_for(block, linked.header.number)?;
        Ok(Self {
            linked,
            by_hash: true,
        })
    }

    const fn tag(self) -> BlockTag {
        if self.by_hash {
            BlockTag::Hash(self.linked.header.hash)
        } else {
            BlockTag::Number(self.linked.header.number)
        }
    }

    /// The block, if its number still names it: it may have been an orphan. And whether the block that was believed last
    /// has been reorged away.
    async fn confirmed<P: Ports>(
        &self,
        provider: &Provider<'_, P>,
    ) -> Result<ExecutionBlock, Fault> {
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
            Err(Fault::Replaced)
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

/// Some of the reads, by their indices.
type Piece = Vec<usize>;

fn halves(piece: &[usize]) -> [Piece; 2] {
    let (first, second) = piece
        .split_at_checked(piece.len() / 2)
        .unwrap_or((piece, &[]));
    [first.to_vec(), second.to_vec()]
}

/// Reads of one block in several calls. A call that fails is halved; a read that fails or runs out of gas alone, while
/// calls of the reader succeed, is an answer about its contract, and not about the others.
struct Pieces<'a, 'b, P> {
    provider: &'a Provider<'b, P>,
    form: Form,
    reads: &'a [Read],
    pinned: Pinned,
    /// When the first of all calls began.
    begun: Duration,
    values: Vec<Option<Result<Value, Unreadable>>>,
    /// Ran out of gas beside others.
    spent: Piece,
    /// Failed alone, and why.
    failed: Vec<(usize, Fault)>,
    calls: usize,
    /// Whether the block's name is understood.
    is_named: bool,
    numbering: Option<Numbering>,
}

impl<'a, 'b, P: Ports> Pieces<'a, 'b, P> {
    fn new(
        provider: &'a Provider<'b, P>,
        form: Form,
        reads: &'a [Read],
        pinned: Pinned,
        begun: Duration,
    ) -> Self {
        Self {
            provider,
            form,
            reads,
            pinned,
            begun,
            values: vec![None; reads.len()],
            spent: Piece::new(),
            failed: Vec::new(),
            calls: 0,
            is_named: false,
            numbering: None,
        }
    }

    /// Notes the outcomes of `piece`.
    fn take(&mut self, piece: &[usize], outcomes: Vec<Outcome>) {
        for (index, outcome) in piece.iter().zip(outcomes) {
            if outcome.is_spent && piece.len() > 1 {
                self.spent.push(*index);
            } else if let Some(slot) = self.values.get_mut(*index) {
                *slot = Some(outcome.alone());
            }
        }
    }

    /// Reads these pieces, and what has to be asked again.
    async fn read(mut self, pieces: Vec<Piece>) -> Result<Snapshot, Fault> {
        self.work(pieces.into()).await?;
        self.ask_spent_again().await?;
        self.ask_failed_again().await?;
        let block = self.pinned.confirmed(self.provider).await?;
        if let Some(numbering) = self.numbering {
            found_numbering(self.provider, numbering);
        }
        let values: Option<Vec<_>> = self.values.into_iter().collect();
        Ok(Snapshot {
            values: values.ok_or(Fault::Pieces)?,
            block,
        })
    }

    async fn work(&mut self, mut queue: VecDeque<Piece>) -> Result<(), Fault> {
        while !queue.is_empty() {
            let round: Vec<Piece> = queue.drain(..queue.len().min(AT_ONCE)).collect();
            self.calls += round.len();
            if self.calls > MAX_CALLS {
                return Err(Fault::Pieces);
            }
            let (provider, form, reads) = (self.provider, self.form, self.reads);
            let (tag, by_hash) = (self.pinned.tag(), self.pinned.by_hash);
            let asked = round.into_iter().map(|piece| async move {
                let part = piece.iter().filter_map(|index| reads.get(*index));
                let told = ask(provider, form, part.collect(), tag, None).await;
                (piece, told)
            });
            for (piece, told) in join_all(asked).await {
                match told {
                    Ok(told) => {
                        self.is_named = true;
                        self.is_the_block(&told.block)?;
                        self.take(&piece, told.outcomes);
                    }
                    Err(fault) if by_hash && !self.is_named && fault.may_be_of_form() => {
                        // However a node says that it takes no block by its hash: a call without reads tells.
                        if self.pinned.by_hash {
                            match ask(provider, form, Vec::new(), tag, None).await {
                                Ok(_) => self.is_named = true,
                                Err(other) if other.may_be_of_form() => self.pinned.by_hash = false,
                                Err(other) => return Err(other),
                            }
                        }
                        self.calls = self.calls.saturating_sub(1);
                        queue.push_back(piece);
                    }
                    Err(fault) if fault.is_of_reads() && piece.len() > 1 => {
                        queue.extend(halves(&piece));
                    }
                    Err(fault) if fault.is_of_reads() => {
                        self.failed
                            .extend(piece.first().map(|index| (*index, fault)));
                    }
                    Err(fault) => return Err(fault),
                }
            }
        }
        Ok(())
    }

    /// Asks reads that failed alone once more, right after a call without reads: where that fails as well, it is the node's
    /// failure; where it does not, a second one is the contract's.
    async fn ask_failed_again(&mut self) -> Result<(), Fault> {
        let failed = std::mem::take(&mut self.failed);
        let Some((_, fault)) = failed.first() else {
            return Ok(());
        };
        let (provider, form, tag) = (self.provider, self.form, self.pinned.tag());
        let control = ask(provider, form, Vec::new(), tag, None);
        if control.await.is_err() {
            return Err(fault.clone());
        }
        let reads = self.reads;
        let again = failed.into_iter().map(|(index, _)| async move {
            let alone = reads.get(index).into_iter().collect();
            (index, ask(provider, form, alone, tag, None).await)
        });
        let again: Vec<_> = stream::iter(again).buffered(AT_ONCE).collect().await;
        for (index, told) in again {
            match told {
                Ok(told) => {
                    self.is_the_block(&told.block)?;
                    self.take(&[index], told.outcomes);
                }
                Err(fault) if fault.is_of_reads() => {
                    if let Some(slot) = self.values.get_mut(index) {
                        *slot = Some(Err(Unreadable));
                    }
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// That contracts have seen the block that was named; and as what.
    fn is_the_block(&mut self, seen: &ExecutionBlock) -> Result<(), Fault> {
        let (number, seen_number) = (self.pinned.linked.header.number, seen.number);
        let other = Fault::AnotherBlock(seen_number, number);
        let numbering = Numbering::of(&self.pinned.linked, seen).ok_or(other.clone())?;
        let known = self
            .provider
            .pool(|pool| pool.numbering(self.provider.index));
        match (known.or(self.numbering), numbering) {
            (Some(Numbering::Own), Numbering::Foreign) => Err(other),
            (None, numbering) => {
                self.numbering = Some(numbering);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Asks reads that ran out of their share of the gas again, with a larger one: at first a few at a time where there are
    /// many, then each alone. Whatever that does not settle in time is unreadable, so that contracts which burn gas do not
    /// use up the time of the others.
    async fn ask_spent_again(&mut self) -> Result<(), Fault> {
        if self.spent.is_empty() {
            return Ok(());
        }
        let context = self.provider.context;
        let deadline = context
            .service
            .config()
            .map(|config| config.deadlines.provider);
        let took = context.ports.elapsed().saturating_sub(self.begun);
        let left = (deadline.unwrap_or_default() / 2).saturating_sub(took / 2);
        let again = async {
            if self.spent.len() > 2 * GROUP {
                let spent = std::mem::take(&mut self.spent);
                let groups = spent.chunks(GROUP).map(<[usize]>::to_vec).collect();
                self.work(groups).await?;
            }
            self.spent.truncate(MAX_ALONE);
            let spent = std::mem::take(&mut self.spent);
            self.work(spent.into_iter().map(|index| vec![index]).collect())
                .await
        };
        match within(context.ports, left, again).await {
            Some(Ok(())) | None | Some(Err(Fault::Pieces)) => {}
            Some(Err(fault)) => return Err(fault),
        }
        for value in &mut self.values {
            value.get_or_insert(Err(Unreadable));
        }
        // Failures alone are told apart from the node's afterwards.
        Ok(())
    }
}

/// Reads by a call for each: all of them in JSON-RPC batches where the provider takes those.
async fn by_calls<P: Ports>(
    provider: &Provider<'_, P>,
    reads: &[Read],
    block: BlockTag,
) -> Result<Snapshot, Fault> {
    let identity = is_the_chain(provider);
    let (mut pinned, ()) = try_join(Pinned::at(provider, block), identity).await?;
    let mut answers = ask_each(provider, reads.iter().collect(), pinned.tag()).await?;
    if !answers.is_empty() && answers.iter().all(is_refused) {
        // However a node says that it takes no block by its hash. Whether the number names the same one is looked at below.
        pinned.by_hash = false;
        answers = ask_each(provider, reads.iter().collect(), pinned.tag()).await?;
    }
    // Of what a node refuses among others, the first time may be its own fault.
    let refused = |answers: &[Result<Answer, ReplyError>]| -> Vec<usize> {
        let indices = answers.iter().enumerate();
        let indices = indices.filter(|(_, answer)| is_refused(answer));
        indices.map(|(index, _)| index).collect()
    };
    let again = refused(&answers);
    if !again.is_empty() && again.len() < answers.len() {
        let part = again.iter().filter_map(|index| reads.get(*index));
        let told = ask_each(provider, part.collect(), pinned.tag()).await?;
        for (index, answer) in again.into_iter().zip(told) {
            if let Some(slot) = answers.get_mut(index) {
                *slot = answer;
            }
        }
    }
    let is_node_well = refused(&answers).len() < answers.len();
    let values = reads
        .iter()
        .zip(answers)
        .map(|(read, answer)| match answer {
            Ok(answer) => value(read, &answer),
            Err(ReplyError::Reverted(data)) => Ok(read.reverted(&data)),
            // What it refuses twice, and alone among others, is about the contract.
            Err(error) if is_node_well && !error.is_rate_limit() => Ok(Err(Unreadable)),
            Err(error) => Err(error.into()),
        })
        .collect::<Result<_, Fault>>()?;
    Ok(Snapshot {
        values,
        block: pinned.confirmed(provider).await?,
    })
}

/// Whether an answer is an error that is no revert.
fn is_refused(answer: &Result<Answer, ReplyError>) -> bool {
    matches!(answer, Err(ReplyError::Node { .. }))
}

/// The most requests in one JSON-RPC batch: what common providers take.
const MAX_BATCH: usize = 100;

async fn ask_each<P: Ports>(
    provider: &Provider<'_, P>,
    reads: Vec<&Read>,
    block: BlockTag,
) -> Result<Vec<Result<Answer, ReplyError>>, Fault> {
    let requests: Vec<Request> = reads.into_iter().map(|read| read.request(block)).collect();
    let mut answers = Vec::with_capacity(requests.len());
    for part in requests.chunks(provider.chain.batch.reads.min(MAX_BATCH)) {
        answers.extend(ask_all(provider, part).await?);
    }
    let limit = |answer: &Result<Answer, ReplyError>| match answer {
        Err(error) if error.is_rate_limit() => Some(error.clone()),
        _ => None,
    };
    match answers.iter().find_map(limit) {
        Some(error) => Err(error.into()),
        None => Ok(answers),
    }
}

fn value(read: &Read, answer: &Answer) -> Result<Result<Value, Unreadable>, Fault> {
    Ok(match read {
        Read::NativeBalance { .. } => Ok(Value::Amount(answer.amount()?)),
        _ => read.decode(&answer.data()?),
    })
}

/// Results of all requests: of one batch, or one by one from a provider that takes none.
async fn ask_all<P: Ports>(
    provider: &Provider<'_, P>,
    requests: &[Request],
) -> Result<Vec<Result<Answer, ReplyError>>, Fault> {
    if provider.pool(|pool| pool.takes_batches(provider.index)) {
        let reply = provider.send(jsonrpc::batch(requests)).await;
        let refused = match reply {
            Ok(body) => match jsonrpc::batched(&body, requests.len()) {
                Ok(answers) => return Ok(answers),
                Err(error) if error.is_rate_limit() => return Err(error.into()),
                Err(error) => Fault::from(error),
            },
            Err(fault @ Fault::Status(400 | 404 | 405 | 413 | 422, _)) => fault,
            Err(fault) => return Err(fault),
        };
        let fault = format!("{}: takes no batches ({refused})", provider.name());
        provider.context.record.fault(fault);
        provider.pool(|pool| pool.refused_batch(provider.index));
    }
    let singly = requests.iter().map(|request| async move {
        let body = provider.send(request.to_body()).await?;
        Ok::<_, Fault>(Answer::read(&body))
    });
    let answers: Vec<_> = stream::iter(singly).buffered(AT_ONCE).collect().await;
    answers.into_iter().collect()
}
