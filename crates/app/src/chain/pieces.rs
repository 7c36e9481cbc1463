//! Reads of one block in several calls of the reader.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tokengate_core::abi::reader::{Form, Outcome};
use tokengate_core::block::{ExecutionBlock, Numbering};
use tokengate_core::fact::{Read, Unreadable, Value};

use super::error::ProviderError;
use super::pinned::Pinned;
use super::provider::Provider;
use super::reader_call::{Snapshot, ask, found_numbering};
use crate::background::Background as _;
use crate::ports::Ports;
use crate::timeout::within;

/// Calls made at once.
const AT_ONCE: usize = 8;

/// Some of the reads, by their indices.
pub(super) type Piece = Vec<usize>;

pub(super) fn halves(piece: &[usize]) -> [Piece; 2] {
    let (first, second) = piece
        .split_at_checked(piece.len() / 2)
        .unwrap_or((piece, &[]));
    [first.to_vec(), second.to_vec()]
}

/// Reads of one block in several calls. A call that fails is halved; a read that fails or runs out of gas alone, while
/// calls of the reader succeed, is an answer about its contract, and not about the others.
pub(super) struct Pieces<'a, 'b, P> {
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
    failed: Vec<(usize, ProviderError)>,
    calls: usize,
    /// Whether the block's name is understood.
    is_named: bool,
    numbering: Option<Numbering>,
}

impl<'a, 'b, P: Ports> Pieces<'a, 'b, P> {
    pub(super) fn new(
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
    pub(super) fn take(&mut self, piece: &[usize], outcomes: Vec<Outcome>) {
        for (index, outcome) in piece.iter().zip(outcomes) {
            if outcome.is_spent && piece.len() > 1 {
                self.spent.push(*index);
            } else if let Some(slot) = self.values.get_mut(*index) {
                *slot = Some(outcome.alone());
            }
        }
    }

    /// Reads these pieces, and what has to be asked again.
    pub(super) async fn read(mut self, pieces: Vec<Piece>) -> Result<Snapshot, ProviderError> {
        self.work(pieces.into()).await?;
        self.ask_spent_again().await?;
        self.ask_failed_again().await?;
        let block = self.pinned.confirmed(self.provider).await?;
        if let Some(numbering) = self.numbering {
            found_numbering(self.provider, numbering);
        }
        let values: Option<Vec<_>> = self.values.into_iter().collect();
        Ok(Snapshot {
            values: values.ok_or(ProviderError::Pieces)?,
            block,
        })
    }

    async fn work(&mut self, mut queue: VecDeque<Piece>) -> Result<(), ProviderError> {
        while !queue.is_empty() {
            let round: Vec<Piece> = queue.drain(..queue.len().min(AT_ONCE)).collect();
            self.calls += round.len();
            if self.calls > MAX_CALLS {
                return Err(ProviderError::Pieces);
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
                    Err(error) if by_hash && !self.is_named && error.may_be_of_form() => {
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
                    Err(error) if error.is_of_reads() && piece.len() > 1 => {
                        queue.extend(halves(&piece));
                    }
                    Err(error) if error.is_of_reads() => {
                        self.failed
                            .extend(piece.first().map(|index| (*index, error)));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Asks reads that failed alone once more, right after a call without reads: where that fails as well, it is the node's
    /// failure; where it does not, a second one is the contract's.
    async fn ask_failed_again(&mut self) -> Result<(), ProviderError> {
        let failed = std::mem::take(&mut self.failed);
        let Some((_, error)) = failed.first() else {
            return Ok(());
        };
        let (provider, form, tag) = (self.provider, self.form, self.pinned.tag());
        let control = ask(provider, form, Vec::new(), tag, None);
        if control.await.is_err() {
            return Err(error.clone());
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
                Err(error) if error.is_of_reads() => {
                    if let Some(slot) = self.values.get_mut(index) {
                        *slot = Some(Err(Unreadable));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// That contracts have seen the block that was named; and as what.
    fn is_the_block(&mut self, seen: &ExecutionBlock) -> Result<(), ProviderError> {
        let (number, seen_number) = (self.pinned.linked.header.number, seen.number);
        let other = ProviderError::AnotherBlock(seen_number, number);
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
    async fn ask_spent_again(&mut self) -> Result<(), ProviderError> {
        if self.spent.is_empty() {
            return Ok(());
        }
        let client = self.provider.client;
        let deadline = client.config().deadlines.provider;
        let took = client.ports().elapsed().saturating_sub(self.begun);
        let left = (deadline / 2).saturating_sub(took / 2);
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
        match within(client.ports(), left, again).await {
            Some(Ok(())) | None | Some(Err(ProviderError::Pieces)) => {}
            Some(Err(error)) => return Err(error),
        }
        for value in &mut self.values {
            value.get_or_insert(Err(Unreadable));
        }
        // Failures alone are told apart from the node's afterwards.
        Ok(())
    }
}

/// The most calls that one answer is put together from.
const MAX_CALLS: usize = 64;

/// Of more reads than this that ran out of gas, so many at a time are asked again before each is asked alone.
const GROUP: usize = 8;

/// The most reads that are asked again alone because they ran out of gas: each may use a node's whole allowance.
const MAX_ALONE: usize = 32;
