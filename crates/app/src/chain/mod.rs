//! Reading chains: all that a decision lacks in one answer per chain, of as many providers as have to agree.

mod batch;
mod believed;
mod client;
mod error;
mod gossip;
mod head;
mod hedge;
mod logs;
mod pieces;
mod pinned;
mod provider;
mod quorum;
mod reader_call;
mod reading;
mod request;
mod signature;
mod snapshot;

use tokengate_core::config::Chain;
use tokengate_core::fact::{Fact, Read, Unreadable};
use tokengate_core::signer::{Verification, VerifiedSigner, VerifyError};
use tokengate_core::{ChainId, Timestamp};

pub(crate) use self::believed::Doubt;
pub(crate) use self::client::{ChainClient, ChainState};
pub(crate) use self::error::ChainError;
pub(crate) use self::gossip::pull;
pub(crate) use self::logs::{Followed, Following, MAX_TRANSFERS};
use self::reading::Reading;
use self::request::{ChainRequest, ChainResponse};
use self::signature::SignatureCheck;
use crate::background::Background as _;
use crate::ports::Ports;

/// What a chain is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) reads: &'a [Read],
    /// How many providers have to say the same.
    pub(crate) agreement: usize,
    /// At the head, answers of an earlier block do not count: something is known to have happened at this one.
    pub(crate) floor: u64,
}

/// What a chain answered.
pub(crate) struct Answered {
    /// One for each read, in their order.
    pub(crate) facts: Vec<Result<Fact, Unreadable>>,
    /// What may yet show that they were read behind the chain's head.
    pub(crate) doubt: Option<Doubt>,
}

/// Reads everything at one block, as so many providers say, or more where the chain demands it. Facts are stamped with
/// `now`, the time before the call: their age is never underestimated.
pub(crate) async fn read<P: Ports>(
    client: &ChainClient<P>,
    chain: &Chain,
    wanted: Wanted<'_>,
    now: Timestamp,
) -> Result<Answered, ChainError> {
    let Wanted {
        reads,
        agreement,
        floor,
    } = wanted;
    let needed = agreement.max(chain.agreement);
    let answers = hedge::ask(client, chain, needed, ChainRequest::Reads(reads, floor)).await?;
    let readings = answers
        .into_iter()
        .filter_map(|(index, answer)| match answer {
            ChainResponse::Reading(reading) => Some((index, reading)),
            ChainResponse::Signer(_) | ChainResponse::Identity(_) | ChainResponse::Followed(_) => {
                None
            }
        });
    let readings: Vec<(usize, Reading)> = readings.collect();
    // The others have confirmed each other; what counts is the first that could have been behind.
    let doubt = readings.iter().find_map(|(_, reading)| reading.doubt);
    let reading = quorum::agreed(client, chain, reads, readings).await?;
    let fact = |value| Fact {
        value,
        block: reading.number,
        read_at: now,
    };
    let facts = reading.values.into_iter();
    Ok(Answered {
        facts: facts.map(|value| value.map(fact)).collect(),
        doubt,
    })
}

/// Whose signature it is: by the account's key without a call, else by as many providers as any decision on the
/// chain needs.
pub(crate) async fn verify<P: Ports>(
    client: &ChainClient<P>,
    chain: &Chain,
    verification: &Verification,
) -> Result<Result<VerifiedSigner, VerifyError>, ChainError> {
    if let Some(signer) = verification.by_key() {
        return Ok(Ok(signer));
    }
    let needed = client.config().agreement(chain.id);
    let check = SignatureCheck::new(verification);
    let answers = match hedge::ask(client, chain, needed, ChainRequest::Signature(&check)).await {
        Ok(answers) => answers,
        Err(ChainError) => {
            let providers = client.urls(chain.id).len();
            return check.lasting(providers, needed).map(Err).ok_or(ChainError);
        }
    };
    let mut answers = answers.into_iter().filter_map(|(_, answer)| match answer {
        ChainResponse::Signer(signer) => Some(signer),
        ChainResponse::Reading(_) | ChainResponse::Identity(_) | ChainResponse::Followed(_) => None,
    });
    let first = answers.next().ok_or(ChainError)?;
    if answers.all(|other| other == first) {
        Ok(first)
    } else {
        let error = format!("{} providers disagree on a signature", chain.id);
        client.telemetry().error(error);
        Err(ChainError)
    }
}

/// The id that the first answering provider of a chain gives itself.
pub(crate) async fn chain_id<P: Ports>(
    client: &ChainClient<P>,
    chain: &Chain,
) -> Result<u64, ChainError> {
    let answers = hedge::ask(client, chain, 1, ChainRequest::Identity).await?;
    match answers.into_iter().next() {
        Some((_, ChainResponse::Identity(id))) => Ok(id),
        _ => Err(ChainError),
    }
}

/// What has been transferred on a chain, as the first answering provider says.
pub(crate) async fn follow<P: Ports>(
    client: &ChainClient<P>,
    chain: &Chain,
    asked: &Following<'_>,
) -> Result<Followed, ChainError> {
    let answers = hedge::ask(client, chain, 1, ChainRequest::Transfers(asked)).await?;
    match answers.into_iter().next() {
        Some((_, ChainResponse::Followed(followed))) => Ok(*followed),
        _ => Err(ChainError),
    }
}

/// Whether an answer was behind that was believed before all providers had said how far the chain is: waits for those
/// that are still asked.
pub(crate) async fn is_refuted<P: Ports>(
    client: &ChainClient<P>,
    chain: ChainId,
    doubt: Doubt,
) -> bool {
    let Some(chain) = client.chain(chain) else {
        return false;
    };
    let providers = provider::all(client, chain);
    let Some(provider) = providers.get(doubt.provider) else {
        return false;
    };
    head::wait_for_others(provider, client.config().deadlines.provider).await;
    let (now, limits) = (client.ports().now(), chain.head_limits());
    let highest = provider.pool(|pool| pool.head_of_others(doubt.provider, now, limits));
    let reach = doubt.head.number.saturating_add(limits.tolerance);
    let is_behind = highest.is_some_and(|highest| reach < highest);
    if is_behind {
        let number = doubt.head.number;
        let error = format!(
            "{}: it answered at block {number} and was behind",
            provider.name()
        );
        client.telemetry().error(error);
        gossip::publish_now(client, chain);
    }
    is_behind
}
