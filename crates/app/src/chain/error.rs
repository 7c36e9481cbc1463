//! Provider errors: transport failures and responses that fail validation.

use std::time::Duration;

use tokengate_core::abi::reader::ReaderError;
use tokengate_core::jsonrpc::ReplyError;
use tokengate_core::provider::Failure;
use tokengate_core::signer::Unbelievable;

use crate::ports::CallError;

/// No answer of the chain's providers can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainError;

/// Whose failure an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The provider failed, whatever it was asked.
    Provider,
    /// The request may have made any provider fail.
    ChainRequest,
    /// A control request tells: if the provider answers that, it was the request.
    Either,
}

/// What a provider did instead of answering. The words hold nothing of its URL and nothing that it said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderError {
    /// There was no whole reply.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The reply is not 200; the seconds that it asks to wait.
    #[error("HTTP status {0}")]
    Status(u16, Option<u64>),
    /// The reply is no result.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The result is not the reader's, or another chain's.
    #[error(transparent)]
    Answer(#[from] ReaderError),
    /// The result is not that of the signature check, or another chain's.
    #[error(transparent)]
    Signature(#[from] Unbelievable),
    /// It is behind the other providers.
    #[error("it is at block {0} and the others at {1}")]
    Behind(u64, u64),
    /// Its block has a number that the chain cannot have come to.
    #[error("it is at block {0}, which the chain cannot have come to by now")]
    Ahead(u64),
    /// It answered at another block than the one that it was asked for.
    #[error("it answered at block {0} and was asked for {1}")]
    AnotherBlock(u64, u64),
    /// Its newest block is of a time to come.
    #[error("its newest block is of a time to come")]
    Early,
    /// It has not come to a block yet at which something is known to have happened.
    #[error("it is at block {0} and something has happened at {1}")]
    NotYet(u64, u64),
    /// It refuses to list the logs of a single block.
    #[error("it does not list the logs of block {0}")]
    Unlisted(u64),
    /// Its newest block is too old.
    #[error("its newest block is {0} seconds old")]
    Old(u64),
    /// The block that was read was replaced meanwhile.
    #[error("the block was replaced while it was read")]
    Replaced,
    /// It did what no answer can be made of.
    #[error("it fails in pieces as it does whole")]
    Pieces,
}

impl ProviderError {
    /// What it says about the provider.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Status(429 | 503, Some(seconds)) => Failure::Rest(Duration::from_secs(*seconds)),
            Self::Status(429, None) => Failure::Rest(Duration::from_secs(1)),
            Self::Reply(error) if error.is_rate_limit() => Failure::Rest(Duration::from_secs(1)),
            Self::Call(CallError::Denied)
            | Self::Status(400..=428 | 430..=499, _)
            | Self::Answer(ReaderError::WrongChain)
            | Self::Signature(_)
            | Self::Old(_) => Failure::Lasting,
            Self::Behind(..)
            | Self::Ahead(_)
            | Self::Early
            | Self::AnotherBlock(..)
            | Self::Call(_)
            | Self::Status(..)
            | Self::Reply(_)
            | Self::Answer(ReaderError::Unsupported)
            | Self::NotYet(..)
            | Self::Unlisted(_)
            | Self::Replaced
            | Self::Pieces => Failure::Passing,
        }
    }

    /// Whether it shows that what the provider said of its head before says nothing of this chain.
    pub(crate) const fn disproves_head(&self) -> bool {
        matches!(
            self,
            Self::Answer(ReaderError::WrongChain)
                | Self::Signature(Unbelievable::WrongChain)
                | Self::Ahead(_)
                | Self::Early
        )
    }

    /// Whether the same provider may do better at once. One that asks to wait says for how long.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Call(error) => matches!(
                error,
                CallError::Refused | CallError::Closed | CallError::Dns | CallError::Failed
            ),
            Self::Status(status, wait) => wait.is_none() && *status >= 500,
            Self::Reply(error) => {
                matches!(error, ReplyError::Malformed | ReplyError::Node { .. })
                    && !error.is_rate_limit()
            }
            // The next call may come to another node behind the same URL.
            Self::Replaced | Self::AnotherBlock(..) | Self::NotYet(..) | Self::Behind(..) => true,
            Self::Answer(_)
            | Self::Signature(_)
            | Self::Ahead(_)
            | Self::Early
            | Self::Unlisted(_)
            | Self::Old(_)
            | Self::Pieces => false,
        }
    }

    /// Whether it counts against the provider's breaker. One that is behind is asked last instead, and one that has not
    /// come to a block may be honest: a webhook can be faster than a node. A block may be filled with logs by any account.
    pub(crate) const fn counts(&self) -> bool {
        !matches!(
            self,
            Self::Behind(..) | Self::NotYet(..) | Self::Unlisted(_)
        )
    }

    /// Whose failure it is where clients choose what is asked: their contracts may make any provider fail.
    pub(crate) const fn blame(&self) -> Blame {
        match self {
            Self::Call(CallError::Timeout | CallError::TooLong) => Blame::ChainRequest,
            Self::Call(_)
            | Self::Status(401 | 403 | 429, _)
            | Self::Answer(ReaderError::WrongChain)
            | Self::Signature(Unbelievable::WrongChain)
            | Self::Ahead(_)
            | Self::AnotherBlock(..)
            | Self::Early
            | Self::Old(_) => Blame::Provider,
            Self::Status(..) => Blame::Either,
            Self::Reply(error) if error.is_rate_limit() => Blame::Provider,
            Self::Reply(_)
            | Self::Answer(ReaderError::Unsupported)
            | Self::Signature(Unbelievable::Form)
            | Self::Behind(..)
            | Self::NotYet(..)
            | Self::Unlisted(_)
            | Self::Replaced
            | Self::Pieces => Blame::ChainRequest,
        }
    }

    /// Whether contracts that are read may have caused it: they can use up the time that a call has, or fail in each of the
    /// pieces that it is split into.
    pub(crate) const fn may_be_of_contracts(&self) -> bool {
        matches!(self, Self::Call(CallError::Timeout) | Self::Pieces)
    }

    /// Whether so much at once may have been too much.
    pub(crate) const fn is_of_size(&self) -> bool {
        matches!(
            self,
            Self::Call(CallError::TooLong)
                | Self::Status(413, _)
                | Self::Reply(ReplyError::Node { .. } | ReplyError::Reverted(_))
        )
    }

    /// Whether so much of a chain's state at once may have been too much. Who answers so because of how many requests there
    /// were is not asked for the same in more of them.
    pub(crate) const fn is_of_reads(&self) -> bool {
        match self {
            Self::Reply(error) if error.is_rate_limit() => false,
            error => error.is_of_size(),
        }
    }

    /// Whether it may be how a node says that it does not run what it was asked in the form in which it was asked.
    pub(crate) const fn may_be_of_form(&self) -> bool {
        match self {
            Self::Reply(error) => !error.is_rate_limit(),
            Self::Status(400 | 404 | 405 | 422 | 501, _)
            | Self::Answer(ReaderError::Unsupported) => true,
            _ => false,
        }
    }
}
