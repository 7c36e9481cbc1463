//! What a provider is asked, and what it answers.

use tokengate_core::fact::Read;
use tokengate_core::jsonrpc;
use tokengate_core::signer::{VerifiedSigner, VerifyError};

use super::believed::{At, believe};
use super::error::ProviderError;
use super::logs::{self, Followed, Following};
use super::provider::Provider;
use super::reading::{self, Reading};
use super::signature::SignatureCheck;
use crate::ports::Ports;

/// A request to a chain.
#[derive(Clone, Copy)]
pub(super) enum ChainRequest<'a> {
    /// What these reads give, at one block, which at the head is none before this.
    Reads(&'a [Read], u64),
    /// Whose signature it is.
    Signature(&'a SignatureCheck<'a>),
    /// Which chain it is.
    Identity,
    /// What has been transferred.
    Transfers(&'a Following<'a>),
}

/// An answer that can be believed, as far as one provider's can.
#[derive(Clone, Debug)]
pub(super) enum ChainResponse {
    /// To [`ChainRequest::Reads`].
    Reading(Reading),
    /// To [`ChainRequest::Signature`].
    Signer(Result<VerifiedSigner, VerifyError>),
    /// To [`ChainRequest::Identity`].
    Identity(u64),
    /// To [`ChainRequest::Transfers`].
    Followed(Box<Followed>),
}

impl ChainRequest<'_> {
    pub(super) async fn ask<P: Ports>(
        self,
        provider: &Provider<'_, P>,
    ) -> Result<ChainResponse, ProviderError> {
        Ok(match self {
            Self::Reads(reads, floor) => {
                ChainResponse::Reading(reading::read(provider, reads, At::Configured(floor)).await?)
            }
            Self::Signature(check) => {
                // A session outlives what might yet refute it, so it waits for the heads of all providers.
                let at = At::Configured(0);
                let believed = believe(provider, at, provider.long_wait(), async |block| {
                    let evidence = check.ask(provider, block).await?;
                    let block = *evidence.block();
                    Ok((evidence, block))
                });
                ChainResponse::Signer(believed.await?.into_value().into_outcome())
            }
            Self::Identity => {
                ChainResponse::Identity(provider.quantity(&jsonrpc::eth_chain_id()).await?)
            }
            Self::Transfers(asked) => {
                ChainResponse::Followed(Box::new(logs::follow(provider, asked).await?))
            }
        })
    }

    /// Whether an answer takes as long as there is to tell: that says nothing of how fast the provider is, and asking
    /// another one alongside gains nothing.
    pub(super) const fn is_long(self) -> bool {
        matches!(self, Self::Transfers(_))
    }

    /// Whether strangers choose what is asked: their contracts may make any provider fail, or take long.
    pub(super) const fn is_public(self) -> bool {
        matches!(self, Self::Signature(_))
    }
}
