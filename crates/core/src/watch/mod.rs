//! Following the transfers of a chain, block by block, also where blocks are replaced by others. Pure: what a chain says
//! is an argument.
//!
//! Blocks are read in steps, and the cursor moves with each. A step starts at the newest block of earlier ones that is still
//! part of the chain, and ends at a block of its own.
//! Whatever was told of blocks above the first has been undone, and what is told next was found on the chain of the
//! second. Telling something twice is harmless to whoever listens, and missing something is not: where it is one or the
//! other, it is told twice.

use serde::{Deserialize, Serialize};

use crate::decimal;
use crate::jsonrpc::Header;
use crate::transfer::{Tokens, Transfer};
use crate::{Address, U256};

/// How many blocks back a reorganisation is followed. The deepest of a network in [`crate::network`] that its nodes
/// lived through was 157 blocks (Polygon, February 2023); Ethereum's blocks are final after 64 to 96.
pub const DEPTH: u64 = 256;

/// The most blocks whose names are remembered.
const MAX_BLOCKS: usize = 64;

/// The most transfers that are remembered, each of several kinds of tokens counting as many.
const MAX_TRANSFERS: usize = 2_000;

/// How far the transfers of one chain have been followed.
///
/// A cursor that nothing has been read into yet follows from the head on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Those that rounds ended at, by number.
    blocks: Vec<Header>,
    /// What was told of the last [`DEPTH`] blocks, in the order in which it was.
    recent: Vec<Transfer>,
    /// The last block that need not be read again: its provider had gone on from it far enough when it was read.
    settled: Option<u64>,
    /// The last block of which more was told than is in `recent`.
    incomplete: u64,
    /// The last block whose number may have been another block's, when facts were read there.
    reorged: u64,
}

/// Where a step starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    kept: Cursor,
    undone: Vec<Transfer>,
    next: u64,
    reorganised: bool,
    all_undone: bool,
}

/// What a step found, and where the next one starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// For the next round.
    pub cursor: Cursor,
    /// Transfers that have not been told before, or were undone since.
    pub told: Vec<Transfer>,
    /// Transfers that were told and whose blocks may have been replaced.
    pub undone: Vec<Transfer>,
    /// Whether blocks were replaced.
    pub reorganised: bool,
    /// The last block whose number says nothing of what had happened by it: another block may have had it.
    pub reorged: u64,
    /// Whether transfers were undone that are not remembered one by one: any may have been.
    pub all_undone: bool,
    /// Transfers that are not remembered, as there are too many: a reorganisation undoes all transfers then.
    pub dropped: usize,
}

impl Cursor {
    /// Follows from the block after `head` on.
    pub fn at(head: Header) -> Self {
        Self {
            blocks: vec![head],
            settled: Some(head.number),
            ..Self::default()
        }
    }

    /// The block that the last round ended at.
    pub fn newest(&self) -> Option<&Header> {
        self.blocks.last()
    }

    /// Remembered blocks up to the one of number `head`, newest first: each is to be looked for until one is found. The
    /// farther back, the fewer: an ancestor that is older than need be costs reading more, and asking for each block
    /// costs a request.
    pub fn candidates(&self, head: u64) -> Vec<Header> {
        let mut known: Vec<Header> = self.blocks.clone();
        known.retain(|block| block.number <= head);
        known.reverse();
        let last = known.len().saturating_sub(1);
        let chosen = |index: usize| index == last || index < 2 || index.is_power_of_two();
        let numbered = known.into_iter().enumerate();
        numbered
            .filter(|(index, _)| chosen(*index))
            .map(|(_, block)| block)
            .collect()
    }

    /// Whether `head` is the head of a chain on which this cursor's newest block is not: a lower one that was made later
    /// cannot be an ancestor of it. Any other lower one may be.
    pub fn is_left_by(&self, head: &Header) -> bool {
        self.newest()
            .is_some_and(|newest| head.number < newest.number && head.timestamp > newest.timestamp)
    }

    /// Where to start on a chain with the head of number `head`, of which `found` are blocks at numbers of
    /// [`Self::candidates`].
    pub fn start(&self, found: &[Header], head: u64) -> Start {
        let holds = |block: &&Header| {
            let same = |other: &Header| (other.number, other.hash) == (block.number, block.hash);
            found.iter().any(same)
        };
        let ancestor = self.blocks.iter().rev().find(holds);
        let reorganised = ancestor != self.newest();
        // Where none of them is left, everything that can have been replaced was.
        let top = ancestor.map(|block| block.number);
        let oldest = self.blocks.first().map_or(head, |block| block.number);
        let newest = self.newest().map_or(head, |block| block.number);
        let next = match top {
            Some(top) => top.saturating_add(1),
            None => oldest.min(newest.min(head).saturating_sub(DEPTH)),
        };
        let mut kept = self.clone();
        kept.blocks
            .retain(|block| top.is_some_and(|top| block.number <= top));
        kept.recent.retain(|transfer| transfer.block < next);
        kept.settled = kept
            .settled
            .map(|settled| settled.min(next.saturating_sub(1)));
        let mut undone = self.recent.clone();
        undone.retain(|transfer| transfer.block >= next);
        let all_undone = reorganised && (top.is_none() || self.incomplete >= next);
        if reorganised {
            kept.reorged = self.reorged.max(newest).max(head);
        }
        if all_undone {
            kept.incomplete = 0;
        }
        Start {
            kept,
            undone,
            next,
            reorganised,
            all_undone,
        }
    }

    /// The bytes kept in the shared store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let block = |block: &Header| (block.number, hex::encode(block.hash), block.timestamp);
        let stored = Stored {
            e: EDITION,
            b: self.blocks.iter().map(block).collect(),
            t: self.recent.iter().map(write).collect(),
            s: self.settled,
            i: self.incomplete,
            r: self.reorged,
        };
        // Serialising integers and strings into a vector has no way to fail.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads the bytes back. Anything unexpected is a start at the head, never an error: there is nothing that anybody
    /// could mend.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::read(bytes).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let block = |(number, hash, timestamp): &(u64, String, u64)| {
            let mut block = Header {
                number: *number,
                hash: [0; 32],
                timestamp: *timestamp,
            };
            hex::decode_to_slice(hash, &mut block.hash).ok()?;
            Some(block)
        };
        let cursor = Self {
            blocks: stored.b.iter().map(block).collect::<Option<_>>()?,
            recent: stored.t.iter().map(read).collect::<Option<_>>()?,
            settled: stored.s,
            incomplete: stored.i,
            reorged: stored.r,
        };
        let ascending = cursor
            .blocks
            .is_sorted_by(|one, other| one.number < other.number);
        let bounded = (1..=MAX_BLOCKS).contains(&cursor.blocks.len())
            && weight(&cursor.recent) <= MAX_TRANSFERS;
        (stored.e == EDITION && ascending && bounded).then_some(cursor)
    }

    /// Forgets what is too old or too much; answers how many transfers were too much.
    fn forget(&mut self) -> usize {
        let excess = self.blocks.len().saturating_sub(MAX_BLOCKS);
        self.blocks.drain(..excess);
        let newest = self.newest().map_or(0, |block| block.number);
        // A reorg below one of these, also in several steps, undoes what is not remembered any longer.
        let (recent, old): (Vec<_>, Vec<_>) = std::mem::take(&mut self.recent)
            .into_iter()
            .partition(|transfer| transfer.block.saturating_add(DEPTH) > newest);
        self.recent = recent;
        let blocks = old.iter().map(|transfer| transfer.block);
        self.incomplete = blocks.fold(self.incomplete, u64::max);
        let mut weight = weight(&self.recent);
        let heavy = self.recent.iter().take_while(|transfer| {
            let excess = weight > MAX_TRANSFERS;
            weight -= self::weight(std::slice::from_ref(transfer));
            excess
        });
        let dropped = heavy.count();
        let blocks = self.recent.drain(..dropped).map(|transfer| transfer.block);
        self.incomplete = blocks.fold(self.incomplete, u64::max);
        if self.reorged < newest {
            self.reorged = 0;
        }
        dropped
    }
}

impl Start {
    /// The first block that has not been read yet.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The block to read from so that up to `overlap` blocks, and all that are not settled, are read once more. Never one
    /// from before the first round.
    pub fn from(&self, overlap: u64) -> u64 {
        let oldest = self.kept.blocks.first();
        let followed = oldest.map_or(0, |block| block.number.saturating_add(1));
        let from = match self.kept.settled {
            Some(settled) => settled.saturating_add(1),
            None => self.next.saturating_sub(overlap),
        };
        from.max(followed).min(self.next)
    }

    /// Passes over the blocks before the one of number `next`: nobody needs to know of them any longer.
    pub fn skip_to(&mut self, next: u64) {
        if next > self.next {
            self.next = next;
            self.kept.settled = Some(next.saturating_sub(1));
        }
    }

    /// Whether blocks were replaced since the last round.
    pub const fn is_reorganised(&self) -> bool {
        self.reorganised
    }

    /// The step that ends at `end`, for which `found` was found on its chain. That may begin before [`Self::next`]: what
    /// has been told of those blocks is not told again; and it may end before it, where blocks are read again only.
    pub fn end(self, end: Header, found: Found) -> Round {
        let Self {
            mut kept,
            undone,
            next,
            reorganised,
            all_undone,
        } = self;
        let mut told = found.transfers;
        told.retain(|transfer| transfer.block >= next || !kept.recent.contains(transfer));
        kept.recent.extend(told.iter().cloned());
        kept.incomplete = kept.incomplete.max(found.incomplete);
        kept.settled = kept.settled.max(found.settled);
        if kept
            .newest()
            .is_none_or(|newest| newest.number < end.number)
        {
            kept.blocks.push(end);
        }
        // Before the cursor lets go of it: it is true of what is told here.
        let reorged = kept.reorged;
        let dropped = kept.forget();
        Round {
            cursor: kept,
            told,
            undone,
            reorganised,
            reorged,
            all_undone,
            dropped,
        }
    }
}

/// What blocks hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The transfers.
    pub transfers: Vec<Transfer>,
    /// The last block that need not be read again, if any of these.
    pub settled: Option<u64>,
    /// The last block that holds more than `transfers`; 0 for none.
    pub incomplete: u64,
}

/// The number of the last block before `timestamp`, if blocks between `older` and `newer` were made at even times; never
/// one above that of `newer`.
pub fn estimate(older: &Header, newer: &Header, timestamp: u64) -> u64 {
    let blocks = u128::from(newer.number.saturating_sub(older.number));
    let seconds = u128::from(newer.timestamp.saturating_sub(older.timestamp)).max(1);
    let passed = u128::from(timestamp.saturating_sub(older.timestamp)).min(seconds);
    let estimate = u64::try_from(blocks * passed / seconds).unwrap_or(u64::MAX);
    older.number.saturating_add(estimate)
}

fn weight(transfers: &[Transfer]) -> usize {
    let weights = transfers.iter().map(|transfer| transfer.tokens.weight());
    weights.sum()
}

/// The stored form. The field `e` names its edition.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    e: u8,
    b: Vec<(u64, String, u64)>,
    t: Vec<Row>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    i: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    r: u64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

const EDITION: u8 = 1;

/// A transfer: its block, contract, from, to, and what: `a`, `t` and an id, `r` and the ends of a range, or `k` and ids.
type Row = (u64, Address, Address, Address, String);

fn write(transfer: &Transfer) -> Row {
    let tokens = match &transfer.tokens {
        Tokens::Amount => "a".to_owned(),
        Tokens::Token(id) => format!("t{id}"),
        Tokens::Range(first, last) => format!("r{first},{last}"),
        Tokens::Kinds(ids) => {
            let ids: Vec<_> = ids.iter().map(U256::to_string).collect();
            format!("k{}", ids.join(","))
        }
    };
    let Transfer {
        contract, from, to, ..
    } = *transfer;
    (transfer.block, contract, from, to, tokens)
}

fn read((block, contract, from, to, tokens): &Row) -> Option<Transfer> {
    let (kind, rest) = tokens.split_at_checked(1)?;
    let tokens = match (kind, rest) {
        ("a", "") => Tokens::Amount,
        ("t", id) => Tokens::Token(decimal::parse(id)?),
        ("r", ends) => {
            let (first, last) = ends.split_once(',')?;
            Tokens::Range(decimal::parse(first)?, decimal::parse(last)?)
        }
        ("k", "") => Tokens::Kinds(Vec::new()),
        ("k", ids) => Tokens::Kinds(ids.split(',').map(decimal::parse).collect::<Option<_>>()?),
        _ => return None,
    };
    Some(Transfer {
        contract: *contract,
        from: *from,
        to: *to,
        tokens,
        block: *block,
        removed: false,
    })
}

#[cfg(test)]
mod tests;
