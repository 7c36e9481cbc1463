//! One provider's answer to a list of reads, all at one block: in one `aggregate3`, in several where that is too much,
//! or by JSON-RPC batches where a chain has no Multicall3.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join_all, select, try_join};
use futures_util::stream::{self, StreamExt as _};
use tokengate_core::Address;
use tokengate_core::abi::multicall3::{Aggregate, AggregateError, BlockName};
use tokengate_core::config::{Chain, ReadAt};
use tokengate_core::fact::{Read, Unreadable, Value};
use tokengate_core::jsonrpc::{self, Answer, BlockTag, Call, Header, ReplyError, Request};
use tokengate_core::network::Numbering;

use super::fault::Fault;
use super::provider::{self, Provider};
use crate::ports::Ports;

/// The most calls that one answer is put together from.
const MAX_CALLS: usize = 64;
/// Pieces asked for at once.
const AT_ONCE: usize = 8;
/// What an encoded call takes besides its calldata.
const FRAME: usize = 192;
/// The least and the most time that the other providers get to say how far the chain is, which they are asked for rarely.
const LEAST_WAIT: Duration = Duration::from_millis(50);
const MOST_WAIT: Duration = Duration::from_millis(500);

/// The values of some reads, and where they were read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) values: Vec<Result<Value, Unreadable>>,
    /// The block's number, as contracts see it.
    pub(super) number: u64,
}

/// An answer before it is believed.
struct Told {
    values: Vec<Result<Value, Unreadable>>,
    number: u64,
    timestamp: u64,
    parent: Option<BlockName>,
    reorganised: bool,
}

/// Where to read.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// As the chain is configured; at the head, not before the block of this number.
    Configured(u64),
    /// At the block of this number.
    Block(u64),
}

/// Reads everything at one block.
pub(super) async fn read<P: Ports>(
    provider: &Provider<'_, P>,
    reads: &[Read],
    at: At,
) -> Result<Reading, Fault> {
    let chain = provider.chain;
    let told = match (at, chain.read_at) {
        (At::Block(number), _) => told(provider, reads, BlockTag::Number(number)).await?,
        (At::Configured(floor), ReadAt::Tag(BlockTag::Latest)) => {
            let told = alongside(provider, told(provider, reads, BlockTag::Latest)).await?;
            // What a contract takes for the block's number may be another chain's.
            if chain.numbering == Numbering::Own {
                is_not_behind(provider, told.number)?;
                if told.number < floor {
                    return Err(Fault::NotYet(told.number, floor));
                }
            }
            is_not_old(provider, told.timestamp)?;
            told
        }
        (At::Configured(_), ReadAt::Tag(tag)) => {
            let head = async {
                let head = provider.quantity(&jsonrpc::eth_block_number()).await?;
                is_not_behind(provider, head)
            };
            let (told, ()) = try_join(told(provider, reads, tag), head).await?;
            told
        }
        (At::Configured(_), ReadAt::Confirmations(_)) => {
            told(provider, reads, block(provider).await?).await?
        }
    };
    let now = provider.context.ports.now();
    if told.reorganised {
        let fault = format!("{}: blocks were replaced", provider.chain.id);
        provider.context.record.fault(fault);
    }
    provider.pool(|pool| pool.saw_block(told.parent, told.reorganised, now));
    Ok(Reading {
        values: told.values,
        number: told.number,
    })
}

/// The block that `chain` is configured to be read at, of a provider that is not behind.
pub(super) async fn block<P: Ports>(provider: &Provider<'_, P>) -> Result<BlockTag, Fault> {
    match provider.chain.read_at {
        ReadAt::Tag(tag) => Ok(tag),
        ReadAt::Confirmations(count) => {
            let head = provider.quantity(&jsonrpc::eth_block_number()).await?;
            is_not_behind(provider, head)?;
            Ok(BlockTag::Number(head.saturating_sub(count)))
        }
    }
}

/// The newest block of the state that `chain` is configured to be read at, of a provider that keeps up.
pub(super) async fn head<P: Ports>(provider: &Provider<'_, P>) -> Result<Header, Fault> {
    match provider.chain.read_at {
        ReadAt::Tag(BlockTag::Latest) => {
            let head = provider.header(BlockTag::Latest).await?;
            is_not_behind(provider, head.number)?;
            is_not_old(provider, head.timestamp)?;
            Ok(head)
        }
        ReadAt::Tag(tag) => {
            let latest = async {
                let latest = provider.quantity(&jsonrpc::eth_block_number()).await?;
                is_not_behind(provider, latest)
            };
            let (head, ()) = try_join(provider.header(tag), latest).await?;
            Ok(head)
        }
        ReadAt::Confirmations(_) => provider.header(block(provider).await?).await,
    }
}

/// That a provider serves the chain it is asked for.
pub(super) async fn is_the_chain<P: Ports>(provider: &Provider<'_, P>) -> Result<(), Fault> {
    let chain = provider.quantity(&jsonrpc::eth_chain_id()).await?;
    if chain == provider.chain.id.id() {
        Ok(())
    } else {
        Err(AggregateError::WrongChain.into())
    }
}

/// Waits for an answer, and meanwhile asks the other providers how far the chain is, unless that is known.
async fn alongside<P: Ports>(
    provider: &Provider<'_, P>,
    answer: impl Future<Output = Result<Told, Fault>>,
) -> Result<Told, Fault> {
    let ports = provider.context.ports;
    let due = match provider.chain.numbering {
        Numbering::Own => {
            provider.pool(|pool| pool.ask_heads(provider.index, ports.now(), MOST_WAIT))
        }
        Numbering::Parent => Vec::new(),
    };
    if due.is_empty() {
        return answer.await;
    }
    let others = provider::all(provider.context, provider.chain);
    let heads = due.iter().filter_map(|index| others.get(*index));
    let heads = join_all(heads.map(async |other| {
        let head = other.quantity(&jsonrpc::eth_block_number()).await;
        let now = ports.now();
        other.pool(|pool| match head {
            Ok(head) => pool.saw_head(other.index, head, now),
            Err(fault) => {
                pool.failed(other.index, fault.failure(), now);
            }
        });
    }));
    let begun = ports.elapsed();
    match select(pin!(answer), pin!(heads)).await {
        Either::Right((_, answer)) => answer.await,
        Either::Left((answer, heads)) => {
            let took = ports.elapsed().saturating_sub(begun);
            let wait = ports.sleep(took.clamp(LEAST_WAIT, MOST_WAIT));
            select(heads, pin!(wait)).await;
            answer
        }
    }
}

fn is_not_behind<P: Ports>(provider: &Provider<'_, P>, number: u64) -> Result<(), Fault> {
    let now = provider.context.ports.now();
    let head = provider.pool(|pool| {
        pool.saw_head(provider.index, number, now);
        pool.head_of_others(provider.index, now)
    });
    match head {
        Some(head) if number.saturating_add(provider.chain.tolerance) < head => {
            Err(Fault::Behind(number, head))
        }
        _ => Ok(()),
    }
}

fn is_not_old<P: Ports>(provider: &Provider<'_, P>, timestamp: u64) -> Result<(), Fault> {
    let now = u64::try_from(provider.context.ports.now().as_second()).unwrap_or(0);
    let age = now.saturating_sub(timestamp);
    match provider.chain.head_age {
        Some(most) if age > most.as_secs() => Err(Fault::Old(age)),
        _ => Ok(()),
    }
}

/// Reads at `block`: whole if it may be so much, else in pieces of one block.
async fn told<P: Ports>(
    provider: &Provider<'_, P>,
    reads: &[Read],
    block: BlockTag,
) -> Result<Told, Fault> {
    let chain = provider.chain;
    let Some(multicall3) = chain.multicall3 else {
        return plain(provider, reads, block).await;
    };
    let pieces = pieces(chain, multicall3, reads);
    if pieces.len() <= 1 {
        match aggregate(provider, multicall3, reads, block).await {
            Err(fault) if fault.is_of_size() && reads.len() > 1 => {}
            outcome => return outcome,
        }
    }
    let header = provider.header(block).await?;
    let at = Pinned::new(header);
    let values = in_pieces(provider, multicall3, reads, pieces, at).await?;
    Ok(Told {
        values,
        number: header.number,
        timestamp: header.timestamp,
        parent: Some(BlockName {
            number: header.number,
            hash: header.hash,
        }),
        reorganised: false,
    })
}

async fn aggregate<P: Ports>(
    provider: &Provider<'_, P>,
    multicall3: Address,
    reads: &[Read],
    block: BlockTag,
) -> Result<Told, Fault> {
    let chain = provider.chain;
    let known = match (block, chain.numbering) {
        (BlockTag::Latest, Numbering::Own) => provider.pool(|pool| pool.known()),
        _ => None,
    };
    let aggregate = Aggregate::new(chain.id, multicall3, reads.to_vec(), known);
    let request = jsonrpc::eth_call(&aggregate.call(), block);
    let returned = provider.data(&request).await?;
    let (values, seen) = aggregate.decode(&returned)?;
    Ok(Told {
        values,
        number: seen.number,
        timestamp: seen.timestamp,
        parent: seen.parent.filter(|_| block == BlockTag::Latest),
        reorganised: seen.reorganised,
    })
}

/// A part of the reads: from one index up to another.
type Piece = std::ops::Range<usize>;

/// The reads in as few pieces as the chain's limits allow.
fn pieces(chain: &Chain, multicall3: Address, reads: &[Read]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut bytes = 0;
    for (index, read) in reads.iter().enumerate() {
        let (_, calldata) = read.call(multicall3);
        let length = calldata.len().saturating_add(FRAME);
        match pieces.last_mut() {
            Some(piece)
                if piece.len() < chain.batch.reads && bytes + length <= chain.batch.bytes =>
            {
                piece.end = index + 1;
                bytes += length;
            }
            _ => {
                pieces.push(index..index + 1);
                bytes = length;
            }
        }
    }
    pieces
}

/// The one block of several calls.
#[derive(Clone, Copy)]
struct Pinned {
    header: Header,
    /// By its hash (EIP-1898), or by its number where the node does not know that.
    by_hash: bool,
}

impl Pinned {
    const fn new(header: Header) -> Self {
        Self {
            header,
            by_hash: true,
        }
    }

    const fn tag(self) -> BlockTag {
        if self.by_hash {
            BlockTag::Hash(self.header.hash)
        } else {
            BlockTag::Number(self.header.number)
        }
    }
}

/// JSON-RPC "invalid params": how a node says that it takes no block by its hash.
const INVALID_PARAMS: i64 = -32602;

/// Reads piece by piece. A piece that fails is halved, until what is left is a contract that makes any call fail: that
/// is an answer about it, and not about the others.
async fn in_pieces<P: Ports>(
    provider: &Provider<'_, P>,
    multicall3: Address,
    reads: &[Read],
    pieces: Vec<Piece>,
    mut pinned: Pinned,
) -> Result<Vec<Result<Value, Unreadable>>, Fault> {
    let mut values: Vec<Option<Result<Value, Unreadable>>> = vec![None; reads.len()];
    let mut queue = if let [whole] = pieces.as_slice() {
        VecDeque::from(halves(whole))
    } else {
        VecDeque::from(pieces)
    };
    let (mut calls, mut succeeded, mut unreadable) = (0, 0, Vec::new());
    while !queue.is_empty() {
        let round: Vec<Piece> = queue.drain(..queue.len().min(AT_ONCE)).collect();
        calls += round.len();
        if calls > MAX_CALLS {
            return Err(Fault::Pieces);
        }
        let asked = round.into_iter().map(|piece| async move {
            let part = reads.get(piece.clone()).unwrap_or_default();
            let outcome = aggregate(provider, multicall3, part, pinned.tag()).await;
            (piece, outcome)
        });
        for (piece, outcome) in join_all(asked).await {
            match outcome {
                Ok(told) => {
                    // A contract's block is the one that was asked for, where the two are numbered alike.
                    if provider.chain.numbering == Numbering::Own
                        && told.number != pinned.header.number
                    {
                        return Err(AggregateError::Answer.into());
                    }
                    succeeded += 1;
                    for (slot, value) in values.iter_mut().skip(piece.start).zip(told.values) {
                        *slot = Some(value);
                    }
                }
                Err(Fault::Reply(ReplyError::Node {
                    code: INVALID_PARAMS,
                })) if pinned.by_hash => {
                    pinned.by_hash = false;
                    queue.push_back(piece);
                }
                Err(fault) if fault.is_of_size() && piece.len() > 1 => {
                    queue.extend(halves(&piece));
                }
                Err(fault) if fault.is_of_size() => unreadable.push((piece.start, fault)),
                Err(fault) => return Err(fault),
            }
        }
    }
    if !pinned.by_hash || !unreadable.is_empty() {
        // Nobody has said yet that the number still names the same block; and a block that was replaced fails as well.
        let number = BlockTag::Number(pinned.header.number);
        if provider.header(number).await?.hash != pinned.header.hash {
            return Err(Fault::Replaced);
        }
    }
    for (index, fault) in unreadable {
        // Where nothing succeeds, it is the provider that fails.
        if succeeded == 0 {
            return Err(fault);
        }
        if let Some(slot) = values.get_mut(index) {
            *slot = Some(Err(Unreadable));
        }
    }
    values
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or(Fault::Pieces)
}

fn halves(piece: &Piece) -> [Piece; 2] {
    let middle = piece.start + piece.len() / 2;
    [piece.start..middle, middle..piece.end]
}

/// Reads without Multicall3: every read is a request of its own, all of them in batches where the provider takes those.
async fn plain<P: Ports>(
    provider: &Provider<'_, P>,
    reads: &[Read],
    block: BlockTag,
) -> Result<Told, Fault> {
    let identity = is_the_chain(provider);
    let (header, ()) = try_join(provider.header(block), identity).await?;
    let at = BlockTag::Hash(header.hash);
    let requests: Vec<Request> = reads.iter().map(|read| request(read, at)).collect();
    let mut answers = Vec::with_capacity(reads.len());
    for part in requests.chunks(provider.chain.batch.reads.min(MAX_BATCH)) {
        answers.extend(ask_all(provider, part).await?);
    }
    let values = reads
        .iter()
        .zip(answers)
        .map(|(read, answer)| match answer {
            Ok(answer) => plain_value(read, &answer),
            Err(ReplyError::Reverted(data)) => Ok(read.reverted(&data)),
            Err(error) => Err(error.into()),
        });
    Ok(Told {
        values: values.collect::<Result<_, Fault>>()?,
        number: header.number,
        timestamp: header.timestamp,
        parent: None,
        reorganised: false,
    })
}

/// The most requests in one JSON-RPC batch: what common providers take.
const MAX_BATCH: usize = 100;

fn request(read: &Read, block: BlockTag) -> Request {
    match read {
        Read::NativeBalance { owner } => jsonrpc::eth_get_balance(*owner, block),
        // Only the native balance is asked of Multicall3 itself.
        _ => {
            let (target, calldata) = read.call(Address::from_bytes([0; 20]));
            jsonrpc::eth_call(&Call::to(target, calldata), block)
        }
    }
}

fn plain_value(read: &Read, answer: &Answer) -> Result<Result<Value, Unreadable>, Fault> {
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
