//! What an operator's commands load: no store, and no key of the service.

use std::collections::BTreeMap;
use std::rc::Rc;

use tokengate_core::ChainId;
use tokengate_core::config::{Bucket, Config};
use tokengate_core::gate::Gate;
use tokengate_core::presign::Signer;
use tokengate_core::secret::Secret;
use tokengate_core::wallet::Holders;

use super::{LOAD_LIMIT, LoadError, load};
use crate::chain::{ChainClient, ChainState};
use crate::decision::explain::{Explanation, explain};
use crate::decision::{FactReader, FactState};
use crate::http::problem::Problem;
use crate::kv::Backend;
use crate::ports::Ports;
use crate::rate_limit::RateLimiter;
use crate::store::{StoreClient, StoreState};
use crate::telemetry::Telemetry;
use crate::timeout::within;

/// Configuration and providers.
#[derive(Clone, Debug)]
pub struct Installation {
    config: Config,
    providers: BTreeMap<ChainId, Vec<Secret<String>>>,
}

impl Installation {
    /// Reads them from the platform.
    ///
    /// # Errors
    /// [`LoadError`], for the first thing that is missing or not valid.
    pub async fn load<P: Ports>(ports: &P) -> Result<Self, LoadError> {
        let read = async {
            let config = load::config(ports)?;
            let providers = load::providers(ports, &config).await?;
            Ok(Self { config, providers })
        };
        within(ports, LOAD_LIMIT, read)
            .await
            .unwrap_or(Err(LoadError::Slow))
    }

    /// The configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Has `chain` read at the block of this number from now on, whatever the configuration says. Whether there is such a
    /// chain.
    pub fn read_at_block(&mut self, chain: ChainId, block: u64) -> bool {
        self.config.read_at_block(chain, block)
    }

    /// The endpoints of a chain, in order of preference.
    pub(crate) fn providers(&self, chain: ChainId) -> &[Secret<String>] {
        self.providers.get(&chain).map_or(&[], Vec::as_slice)
    }

    /// Explains what `gate` says of `holders`, from what chains say now; what fails is noted.
    ///
    /// # Errors
    /// [`Problem::TooManyReads`].
    pub async fn explain<P: Ports>(
        &self,
        ports: &P,
        telemetry: &Telemetry,
        gate: &Gate,
        holders: Holders,
    ) -> Result<Explanation, Problem> {
        let facts = self.fact_reader(ports, telemetry);
        explain(&facts, gate, holders, None).await
    }

    fn fact_reader<P: Ports>(&self, ports: &P, telemetry: &Telemetry) -> FactReader<P> {
        let config = Rc::new(self.config.clone());
        let store = Rc::new(StoreState::new(config.clone(), Backend::Absent));
        let store = StoreClient::new(&store, ports, telemetry);
        let chains = Rc::new(ChainState::new(config, self.providers.clone()));
        let cache = &self.config.cache;
        let facts = Rc::new(FactState::new(cache.memory_bytes, cache.memory));
        FactReader::new(
            &facts,
            store.clone(),
            ChainClient::new(&chains, store.clone()),
            RateLimiter::new(&Rc::default(), store),
        )
    }
}

/// The buckets and their signers, by name.
#[derive(Debug)]
pub struct Signers(Vec<(Bucket, Signer)>);

impl Signers {
    /// Reads the credentials of all buckets from the platform.
    ///
    /// # Errors
    /// [`LoadError`], for the first thing that is missing or not valid.
    pub async fn load<P: Ports>(ports: &P, installation: &Installation) -> Result<Self, LoadError> {
        let config = installation.config();
        let signers = within(ports, LOAD_LIMIT, load::signers(ports, config)).await;
        let mut signers = signers.unwrap_or(Err(LoadError::Slow))?;
        let mut signed = Vec::new();
        for bucket in config.buckets() {
            if let Some(signer) = signers.remove(&bucket.name) {
                signed.push((bucket.clone(), signer));
            }
        }
        signed.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        Ok(Self(signed))
    }

    /// Each bucket and its signer.
    pub(crate) fn by_bucket(&self) -> impl Iterator<Item = (&Bucket, &Signer)> {
        self.0.iter().map(|(bucket, signer)| (bucket, signer))
    }
}
