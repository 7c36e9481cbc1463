//! One provider's answer to a list of reads at one block, before it is believed: in one call, in several where that is
//! too much, or by JSON-RPC batches where a chain has no Multicall3.

use std::collections::VecDeque;

use futures_util::future::{join_all, try_join};
use futures_util::stream::{self, StreamExt as _};
use tokengate_core::Address;
use tokengate_core::abi::multicall3::{Aggregate, AggregateError};
use tokengate_core::block::{BlockId, ExecutionBlock};
use tokengate_core::config::Chain;
use tokengate_core::fact::{Read, Unreadable, Value};
use tokengate_core::jsonrpc::{self, Answer, BlockTag, Call, Header, ReplyError, Request};
use tokengate_core::network::Numbering;

use super::fault::Fault;
use super::head::is_the_chain;
use super::provider::Provider;
use crate::ports::Ports;

/// The most calls that one answer is put together from.
const MAX_CALLS: usize = 64;
/// Pieces asked for at once.
const AT_ONCE: usize = 8;
/// What an encoded call takes besides its calldata.
const FRAME: usize = 192;

/// The values of some reads at one block, of the right chain. Whether the provider keeps up is not looked at here.
pub(super) struct Snapshot {
    /// One for each read, in their order.
    pub(super) values: Vec<Result<Value, Unreadable>>,
    /// The block that all of them were read at.
    pub(super) block: ExecutionBlock,
}

/// Reads at `block`: whole if it may be so much, else in pieces of one block.
pub(super) async fn snapshot<P: Ports>(
    provider: &Provider<'_, P>,
    reads: &[Read],
    block: BlockTag,
) -> Result<Snapshot, Fault> {
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
    Ok(Snapshot {
        values,
        block: ExecutionBlock {
            number: header.number,
            timestamp: header.timestamp,
            parent: Some(BlockId {
                number: header.number,
                hash: header.hash,
            }),
            reorged: false,
        },
    })
}

async fn aggregate<P: Ports>(
    provider: &Provider<'_, P>,
    multicall3: Address,
    reads: &[Read],
    block: BlockTag,
) -> Result<Snapshot, Fault> {
    let chain = provider.chain;
    let known = match (block, chain.numbering) {
        (BlockTag::Latest, Numbering::Own) => provider.pool(|pool| pool.known()),
        _ => None,
    };
    let aggregate = Aggregate::new(chain.id, multicall3, reads.to_vec(), known);
    let request = jsonrpc::eth_call(&aggregate.call(), block);
    let returned = provider.data(&request).await?;
    let (values, seen) = aggregate.decode(&returned)?;
    Ok(Snapshot {
        values,
        block: ExecutionBlock {
            parent: seen.parent.filter(|_| block == BlockTag::Latest),
            ..seen
        },
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
                        && told.block.number != pinned.header.number
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
) -> Result<Snapshot, Fault> {
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
    Ok(Snapshot {
        values: values.collect::<Result<_, Fault>>()?,
        block: ExecutionBlock {
            number: header.number,
            timestamp: header.timestamp,
            parent: None,
            reorged: false,
        },
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
