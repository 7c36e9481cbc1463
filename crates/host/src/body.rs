//! Request bodies: read ahead of the guest in blocks, within one budget of memory for all connections.
//!
//! What a client sends as many small chunks is copied together: a frame of hyper's costs a hundred bytes and keeps the
//! buffer that it was read into, so frames are never kept.
//!
//! Memory, and why nobody waits for ever:
//! - The first [`SMALL`] bytes of a block are kept without asking. They add a part to what each connection's own buffers
//!   take, `--max-connections` bounds them, and so clients that stall cannot keep small bodies (sign-ins) out.
//! - Beyond them a block is paid for whole before it is filled. So a body that holds a part of the budget never waits for
//!   more of it for the same block: it waits for its client, for a place, or for its guest, each of which has a timeout,
//!   and then gives back all it has. A next block is asked for when the guest has read the last one.
//! - Whoever gets none is not read from until there is some, so that TCP pushes back.
//! - One client gets a share of the budget at most, and takes from its share first and from the whole second, always in
//!   this order.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime_wasi_http::Error;

use crate::admission::{Aside, Turnstile};
use crate::problem::Problem;
use crate::request::remove_reserved;

/// What is handed on at once, and read before a request takes a place among those in flight.
pub(crate) const BLOCK: usize = 64 << 10;
/// How much of a block is kept without asking the budget.
const SMALL: usize = 4 << 10;

/// Memory for bodies, as one connection may use it.
#[derive(Clone)]
pub(crate) struct Budget {
    all: Arc<Semaphore>,
    /// The client's share; `None` for one that is not counted.
    client: Option<Arc<Semaphore>>,
}

/// A part of the budget, given back when dropped.
struct Taken {
    _client: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(all: Arc<Semaphore>, client: Option<Arc<Semaphore>>) -> Self {
        Self { all, client }
    }

    /// `bytes`, or as many as a block needs: with fewer, whoever asked would wait for ever.
    pub(crate) fn at_least_one_block(bytes: usize) -> usize {
        bytes.max(BLOCK)
    }

    /// `None` would say that a semaphore was closed, which none is.
    async fn take(&self, bytes: usize) -> Option<Taken> {
        let bytes = u32::try_from(bytes).ok()?;
        let client = match &self.client {
            Some(client) => Some(client.clone().acquire_many_owned(bytes).await.ok()?),
            None => None,
        };
        let all = self.all.clone().acquire_many_owned(bytes).await.ok()?;
        Some(Taken {
            _client: client,
            _all: all,
        })
    }
}

/// A block's bytes and what they were paid with.
struct Paid {
    bytes: Vec<u8>,
    _taken: Taken,
}

impl AsRef<[u8]> for Paid {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

enum ReadError {
    TooLarge,
    /// The budget is gone, which it never is.
    NoBudget,
    Transport(hyper::Error),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooLarge => Self::HttpRequestBodySize(None),
            ReadError::NoBudget => Self::HttpProtocolError,
            ReadError::Transport(error) => error.into(),
        }
    }
}

/// Reads a body block by block.
struct Reader<B> {
    body: B,
    /// What came with the last block and did not fit into it: a part of one frame.
    carry: Bytes,
    /// How many bytes may still come.
    left: u64,
    /// Set when more came.
    overrun: Arc<AtomicBool>,
    budget: Budget,
    /// Whether it is the budget that is waited for.
    starved: bool,
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl<B> Reader<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    /// The next block: [`BLOCK`] bytes, or what is left of the body; `None` at its end.
    async fn block(&mut self) -> Result<Option<Bytes>, ReadError> {
        let mut bytes = Vec::new();
        let mut taken = None;
        while bytes.len() < BLOCK && !(self.ended && self.carry.is_empty()) {
            let mut data = self.data().await?;
            if bytes.len() + data.len() > SMALL && taken.is_none() {
                let hint = self.body.size_hint();
                // Of a body whose length is known, no more than there is.
                let wanted = hint.exact().and_then(|rest| usize::try_from(rest).ok());
                let wanted = wanted
                    .map_or(BLOCK, |rest| rest.saturating_add(bytes.len() + data.len()))
                    .min(BLOCK);
                self.starved = true;
                taken = Some(self.budget.take(wanted).await.ok_or(ReadError::NoBudget)?);
                self.starved = false;
                bytes.reserve_exact(wanted.saturating_sub(bytes.len()));
            } else if bytes.capacity() == 0 && !data.is_empty() {
                bytes.reserve_exact(SMALL);
            }
            let fitting = data.len().min(BLOCK - bytes.len());
            bytes.extend_from_slice(&data.split_to(fitting));
            // A frame that is wholly copied is let go with the buffer that it was read into.
            self.carry = if data.is_empty() { Bytes::new() } else { data };
        }
        Ok(match taken {
            _ if bytes.is_empty() => None,
            Some(taken) => Some(Bytes::from_owner(Paid {
                bytes,
                _taken: taken,
            })),
            None => Some(bytes.into()),
        })
    }

    /// The next bytes; empty with trailers and at the end.
    async fn data(&mut self) -> Result<Bytes, ReadError> {
        if !self.carry.is_empty() {
            return Ok(std::mem::take(&mut self.carry));
        }
        let data = match self.body.frame().await {
            None => {
                self.ended = true;
                return Ok(Bytes::new());
            }
            Some(frame) => match frame.map_err(ReadError::Transport)?.into_data() {
                Ok(data) => data,
                Err(other) => {
                    self.trailers = other.into_trailers().ok().map(|mut trailers| {
                        remove_reserved(&mut trailers);
                        trailers
                    });
                    return Ok(Bytes::new());
                }
            },
        };
        self.left = self.left.checked_sub(data.len() as u64).ok_or_else(|| {
            self.overrun.store(true, Ordering::Relaxed);
            ReadError::TooLarge
        })?;
        self.ended = self.body.is_end_stream();
        Ok(data)
    }
}

type Reading =
    Pin<Box<dyn Future<Output = (Reader<Incoming>, Result<Option<Bytes>, ReadError>)> + Send>>;

enum Rest {
    /// There is none.
    Ended,
    /// The guest has not asked for it.
    Unasked(Box<Reader<Incoming>>),
    Reading(Reading),
}

/// A request's body, the first block of which is here already. Waiting for the rest does not count as computing.
pub(crate) struct InboundBody {
    here: Option<Bytes>,
    rest: Rest,
    trailers: Option<HeaderMap>,
    turnstile: Turnstile,
    aside: Option<Aside>,
}

impl InboundBody {
    /// Reads what the client sends until `deadline`, up to its end or to [`BLOCK`] bytes: a client that sends slowly
    /// takes no place from others meanwhile. `overrun` is set if there are more than `limit` bytes.
    pub(crate) async fn read_ahead(
        body: Incoming,
        limit: u64,
        overrun: &Arc<AtomicBool>,
        turnstile: &Turnstile,
        budget: &Budget,
        deadline: Instant,
    ) -> Result<Self, Problem> {
        if body.size_hint().lower() > limit {
            return Err(Problem::BodyTooLarge);
        }
        let mut reader = Reader {
            ended: body.is_end_stream(),
            body,
            carry: Bytes::new(),
            left: limit,
            overrun: overrun.clone(),
            budget: budget.clone(),
            starved: false,
            trailers: None,
        };
        let here = match tokio::time::timeout_at(deadline, reader.block()).await {
            Ok(Ok(here)) => here,
            Ok(Err(ReadError::TooLarge)) => return Err(Problem::BodyTooLarge),
            Ok(Err(ReadError::Transport(_))) => {
                return Err(Problem::BadRequest("the body ended early"));
            }
            Ok(Err(ReadError::NoBudget)) => return Err(Problem::Overloaded),
            Err(_) if reader.starved => return Err(Problem::Overloaded),
            Err(_) => return Err(Problem::TooSlow),
        };
        let mut this = Self {
            here,
            rest: Rest::Ended,
            trailers: None,
            turnstile: turnstile.clone(),
            aside: None,
        };
        this.put_back(reader);
        Ok(this)
    }

    /// Takes what a reader has beside its block, and the reader if it is not done.
    fn put_back(&mut self, mut reader: Reader<Incoming>) {
        self.trailers = reader.trailers.take();
        self.rest = if reader.ended && reader.carry.is_empty() {
            Rest::Ended
        } else {
            Rest::Unasked(Box::new(reader))
        };
    }
}

impl Body for InboundBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        loop {
            if let Some(block) = this.here.take() {
                return Poll::Ready(Some(Ok(Frame::data(block))));
            }
            match std::mem::replace(&mut this.rest, Rest::Ended) {
                Rest::Ended => {
                    return Poll::Ready(this.trailers.take().map(|map| Ok(Frame::trailers(map))));
                }
                Rest::Unasked(mut reader) => {
                    this.rest = Rest::Reading(Box::pin(async move {
                        let outcome = reader.block().await;
                        (*reader, outcome)
                    }));
                }
                Rest::Reading(mut reading) => {
                    let Poll::Ready((reader, outcome)) = reading.as_mut().poll(cx) else {
                        this.rest = Rest::Reading(reading);
                        this.aside.get_or_insert_with(|| this.turnstile.aside());
                        return Poll::Pending;
                    };
                    this.aside = None;
                    match outcome {
                        Ok(block) => {
                            this.here = block;
                            this.put_back(reader);
                        }
                        Err(error) => return Poll::Ready(Some(Err(error.into()))),
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.here.is_none() && self.trailers.is_none() && matches!(self.rest, Rest::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Ended => SizeHint::with_exact(self.here.as_ref().map_or(0, Bytes::len) as u64),
            Rest::Unasked(_) | Rest::Reading(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::StreamBody;

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, hyper::Error>>;

    fn reader(
        frames: Frames,
        budget: &Budget,
    ) -> Reader<impl Body<Data = Bytes, Error = hyper::Error> + Unpin + use<>> {
        Reader {
            body: StreamBody::new(futures_util::stream::iter(frames)),
            carry: Bytes::new(),
            left: 1 << 20,
            overrun: Arc::default(),
            budget: budget.clone(),
            starved: false,
            trailers: None,
            ended: false,
        }
    }

    fn budget(blocks: usize) -> Budget {
        Budget::new(Arc::new(Semaphore::new(blocks * BLOCK)), None)
    }

    fn pieces(count: usize, piece: &'static [u8]) -> Frames {
        (0..count)
            .map(|_| Ok(Frame::data(Bytes::from_static(piece))))
            .collect()
    }

    /// What a reader says at once; the budget is all that it could wait for.
    fn now<B>(reader: &mut Reader<B>) -> Option<Option<Bytes>>
    where
        B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
    {
        reader
            .block()
            .now_or_never()
            .map(|block| block.unwrap_or_else(|_| panic!("failed")))
    }

    #[test]
    fn small_frames_become_blocks() {
        const COUNT: usize = 2 * BLOCK + 10;
        let mut reader = reader(pieces(COUNT, b"x"), &budget(1));
        for expected in [BLOCK, BLOCK, 10] {
            let block = now(&mut reader).unwrap().unwrap();
            assert_eq!(block.len(), expected);
        }
        assert!(now(&mut reader).unwrap().is_none());
    }

    #[test]
    fn what_does_not_fit_into_a_block_is_in_the_next() {
        let mut reader = reader(pieces(10, &[7; 16_000]), &budget(1));
        for expected in [BLOCK, BLOCK, 160_000 - 2 * BLOCK] {
            assert_eq!(now(&mut reader).unwrap().unwrap(), vec![7; expected]);
        }
        assert!(now(&mut reader).unwrap().is_none());
    }

    #[test]
    fn bodies_beyond_the_memory_for_them_are_not_read() {
        let budget = budget(1);
        let held = now(&mut reader(pieces(5, &[1; 1_000]), &budget)).unwrap();
        assert_eq!(held.as_ref().unwrap().len(), 5_000);

        let mut small = reader(pieces(4, &[2; 1_000]), &budget);
        assert_eq!(now(&mut small).unwrap().unwrap().len(), 4_000);
        let mut large = reader(pieces(5, &[3; 1_000]), &budget);
        {
            let mut block = Box::pin(large.block());
            assert!(block.as_mut().now_or_never().is_none());
            drop(held);
            let block = block.now_or_never().unwrap();
            assert_eq!(block.ok().flatten().unwrap().len(), 5_000);
        }
        assert!(!large.starved);
        assert_eq!(budget.all.available_permits(), BLOCK, "all is given back");
    }

    #[test]
    fn a_client_gets_its_share_of_the_memory_and_no_more() {
        let all = Arc::new(Semaphore::new(4 * BLOCK));
        let share = || Some(Arc::new(Semaphore::new(BLOCK)));
        let greedy = Budget::new(all.clone(), share());
        let held = now(&mut reader(pieces(5, &[1; 1_000]), &greedy)).unwrap();
        assert!(now(&mut reader(pieces(5, &[1; 1_000]), &greedy)).is_none());
        let other = Budget::new(all, share());
        assert!(now(&mut reader(pieces(5, &[1; 1_000]), &other)).is_some());
        drop(held);
        assert!(now(&mut reader(pieces(5, &[1; 1_000]), &greedy)).is_some());
    }

    #[test]
    fn trailers_are_handed_on_without_what_only_the_host_may_say() {
        let mut frames = pieces(3, b"x");
        let trailers = [("x-sum", "1"), ("spin-client-addr", "127.0.0.1:1")];
        let trailers = trailers.map(|(name, value)| {
            let name: http::HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        });
        frames.push(Ok(Frame::trailers(trailers.into_iter().collect())));
        let mut reader = reader(frames, &budget(1));
        assert_eq!(now(&mut reader).unwrap().unwrap(), "xxx");
        let trailers = reader.trailers.unwrap();
        assert_eq!(trailers.len(), 1);
        assert_eq!(trailers["x-sum"], "1");
    }

    #[test]
    fn a_body_beyond_its_limit_ends() {
        let mut reader = reader(pieces(3, b"x"), &budget(1));
        reader.left = 2;
        let outcome = reader.block().now_or_never().unwrap();
        assert!(matches!(outcome, Err(ReadError::TooLarge)));
        assert!(reader.overrun.load(Ordering::Relaxed));
    }
}
