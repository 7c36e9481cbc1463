//! One provider asked whose signature it is, in the ways that a node may know.

use std::cell::RefCell;
use std::collections::BTreeSet;

use futures_util::future::join3;
use tokengate_core::jsonrpc::{self, BlockTag, ReplyError};
use tokengate_core::signer::{
    AccountState, Evidence, Unbelievable, Verification, VerifyError, Way,
};

use super::believed;
use super::error::ProviderError;
use super::provider::Provider;
use crate::ports::Ports;

/// A signature check, and which providers turned out to run it in no way.
pub(super) struct SignatureCheck<'a> {
    verification: &'a Verification,
    unable: RefCell<BTreeSet<usize>>,
}

impl<'a> SignatureCheck<'a> {
    pub(super) const fn new(verification: &'a Verification) -> Self {
        Self {
            verification,
            unable: RefCell::new(BTreeSet::new()),
        }
    }

    /// The lasting refusal, where fewer than `needed` of `providers` are left that may run the check: asking again gains
    /// nothing.
    pub(super) fn lasting(&self, providers: usize, needed: usize) -> Option<VerifyError> {
        let able = providers.saturating_sub(self.unable.borrow().len());
        (able < needed).then(|| self.verification.uncheckable())
    }

    /// What a provider says of the signature at `block`, before the block is believed.
    pub(super) async fn ask<P: Ports>(
        &self,
        provider: &Provider<'_, P>,
        block: BlockTag,
    ) -> Result<Evidence, ProviderError> {
        self.unable.borrow_mut().remove(&provider.index);
        let sent = match self.ask_of(provider, self.verification, block).await? {
            Asked::Told(evidence) => return Ok(evidence),
            Asked::Sent(sent) => sent,
        };
        match self.ask_of(provider, &sent, block).await? {
            Asked::Told(evidence) => Ok(evidence),
            Asked::Sent(_) => Err(Unbelievable::Form.into()),
        }
    }

    /// Tries each way until one is run.
    async fn ask_of<P: Ports>(
        &self,
        provider: &Provider<'_, P>,
        verification: &Verification,
        block: BlockTag,
    ) -> Result<Asked, ProviderError> {
        let mut refused = ProviderError::Signature(Unbelievable::Form);
        for way in verification.ways() {
            match ask_in(provider, verification, *way, block).await {
                Err(error) if may_be_the_way(&error) => refused = error,
                outcome => return outcome,
            }
        }
        // A provider that is not synced, or in trouble, answers none of them either. One that keeps up with the chain does
        // not run the check, and asking it again gains nothing.
        if believed::newest(provider).await.is_ok() {
            self.unable.borrow_mut().insert(provider.index);
        }
        Err(refused)
    }
}

enum Asked {
    Told(Evidence),
    /// The delegation in the signature is past: this is to be asked in place of it.
    Sent(Verification),
}

async fn ask_in<P: Ports>(
    provider: &Provider<'_, P>,
    verification: &Verification,
    way: Way,
    block: BlockTag,
) -> Result<Asked, ProviderError> {
    let request = jsonrpc::eth_call(&verification.call(way), block);
    if !verification.needs_state() {
        let returned = provider.data(&request).await?;
        return Ok(Asked::Told(verification.conclude(way, &returned, None)?));
    }
    let account = verification.account();
    let (nonce, code) = (
        jsonrpc::eth_get_transaction_count(account, block),
        jsonrpc::eth_get_code_at(account, block),
    );
    let (returned, nonce, code) = join3(
        provider.data(&request),
        provider.quantity(&nonce),
        provider.data(&code),
    )
    .await;
    let state = AccountState {
        nonce: nonce?,
        has_code: !code?.is_empty(),
    };
    if let Some(sent) = verification.as_sent(&state) {
        return Ok(Asked::Sent(sent));
    }
    let evidence = verification.conclude(way, &returned?, Some(&state))?;
    Ok(Asked::Told(evidence))
}

/// Whether the node may not know the way it was asked in, rather than be in trouble.
fn may_be_the_way(error: &ProviderError) -> bool {
    match error {
        ProviderError::Reply(error @ ReplyError::Node { .. }) => !error.is_rate_limit(),
        // The validator itself never reverts; some nodes report calls that they do not run as reverted.
        ProviderError::Reply(ReplyError::Reverted(_))
        | ProviderError::Signature(Unbelievable::Form) => true,
        ProviderError::Status(status, None) => *status == 400,
        _ => false,
    }
}
