//! The service as configured: read once per instance, each function seeing only what it needs.

use std::collections::{BTreeMap, HashMap};

use tokengate_core::ChainId;
use tokengate_core::config::{Bucket, Config, ConfigError, Template};
use tokengate_core::keys::{KeyRing, KeyRingError};
use tokengate_core::presign::{AccessKey, Signer};
use tokengate_core::secret::Secret;

use crate::ports::Ports;
use crate::problem::Problem;
use crate::router::Needs;

/// Configuration and secrets, as far as this component's routes need them.
#[derive(Debug)]
pub struct Service {
    config: Option<Config>,
    keys: Option<KeyRing>,
    providers: BTreeMap<ChainId, Vec<Secret<String>>>,
    signers: HashMap<String, Signer>,
    demo_rpc_url: String,
}

/// Why the service cannot be loaded: for the operator, in words that hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// `tokengate.toml` is not there.
    #[error(
        "tokengate.toml cannot be read ({0}); mount it into the component with `files` in spin.toml"
    )]
    File(String),
    /// `tokengate.toml` is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The variable with the service's keys is not set.
    #[error(
        "the variable service_keys is not set; make one with `echo \"a:$(openssl rand -hex 32)\"`"
    )]
    NoKeys,
    /// The variable with the service's keys is not valid.
    #[error("the variable service_keys is not valid: {0}")]
    Keys(#[from] KeyRingError),
}

impl Service {
    /// Reads what `needs` names. Everything that is needed is there afterwards; what is not needed is not even asked for.
    ///
    /// # Errors
    /// [`LoadError`], for the first thing that is missing or not valid.
    pub async fn load<P: Ports>(ports: &P, needs: Needs) -> Result<Self, LoadError> {
        let mut service = Self {
            config: None,
            keys: None,
            providers: BTreeMap::new(),
            signers: HashMap::new(),
            demo_rpc_url: String::new(),
        };
        if needs.demo {
            service.demo_rpc_url = ports.variable("demo_rpc_url").await.unwrap_or_default();
        }
        if !needs.config {
            return Ok(service);
        }
        let config = Config::parse(&ports.config_text().map_err(LoadError::File)?)?;
        if needs.keys {
            let text = ports
                .variable("service_keys")
                .await
                .filter(|text| !text.is_empty())
                .ok_or(LoadError::NoKeys)?;
            service.keys = Some(KeyRing::parse(&text)?);
        }
        if needs.providers {
            for chain in config.chains() {
                let mut urls = Vec::new();
                for template in &chain.providers {
                    urls.push(provider(ports, template).await?);
                }
                service.providers.insert(chain.id, urls);
            }
        }
        if needs.storage {
            for bucket in config.buckets() {
                service
                    .signers
                    .insert(bucket.name.clone(), signer(ports, bucket).await?);
            }
        }
        service.config = Some(config);
        Ok(service)
    }

    /// The configuration.
    pub(crate) fn config(&self) -> Result<&Config, Problem> {
        self.config.as_ref().ok_or(Problem::Misconfigured)
    }

    /// The service's keys.
    pub(crate) fn keys(&self) -> Result<&KeyRing, Problem> {
        self.keys.as_ref().ok_or(Problem::Misconfigured)
    }

    /// The endpoints of a chain, in order of preference.
    pub(crate) fn providers(&self, chain: ChainId) -> &[Secret<String>] {
        self.providers.get(&chain).map_or(&[], Vec::as_slice)
    }

    /// The signer for a bucket.
    pub(crate) fn signer(&self, bucket: &str) -> Result<&Signer, Problem> {
        self.signers.get(bucket).ok_or(Problem::Misconfigured)
    }

    /// Where the demo page finds a node that signs for it; empty outside of a demo.
    pub(crate) fn demo_rpc_url(&self) -> &str {
        &self.demo_rpc_url
    }
}

async fn resolve<P: Ports>(ports: &P, template: &Template) -> Result<String, ConfigError> {
    let mut values = HashMap::new();
    for name in template.variables() {
        if let Some(value) = ports.variable(name).await.filter(|value| !value.is_empty()) {
            values.insert(name.to_owned(), value);
        }
    }
    template.resolve(|name| values.get(name).cloned()).map_err(|name| template.error(format!("the variable {name} is not set"), format!("give the component a variable {name} in spin.toml and set it with SPIN_VARIABLE_{}", name.to_uppercase())))
}

async fn provider<P: Ports>(ports: &P, template: &Template) -> Result<Secret<String>, ConfigError> {
    let url = resolve(ports, template).await?;
    let valid = url::Url::parse(&url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // The value may hold an API key, so the message does not repeat it.
    if valid {
        Ok(Secret::new(url))
    } else {
        Err(template.error(
            "the provider is not an http or https URL once its variables are filled in",
            "set them so that it is",
        ))
    }
}

async fn signer<P: Ports>(ports: &P, bucket: &Bucket) -> Result<Signer, ConfigError> {
    let prefix = &bucket.credentials;
    let required = async |suffix: &str| {
        let name = format!("{prefix}_{suffix}");
        match ports.variable(&name).await {
            Some(value) if !value.is_empty() => Ok(Secret::new(value)),
            _ => Err(bucket.endpoint.error(format!("the variable {name} of bucket {:?} is not set", bucket.name), format!("give the component a variable {name} in spin.toml and set it with SPIN_VARIABLE_{}", name.to_uppercase()))),
        }
    };
    let (id, secret) = (
        required("access_key_id").await?,
        required("secret_access_key").await?,
    );
    let session_token = ports
        .variable(&format!("{prefix}_session_token"))
        .await
        .filter(|token| !token.is_empty())
        .map(Secret::new);
    let endpoint = resolve(ports, &bucket.endpoint).await?;
    let not_an_endpoint = || {
        bucket.endpoint.error(
            "the endpoint is not a base URL once its variables are filled in",
            "it takes a scheme and a host, for example https://s3.eu-central-1.amazonaws.com",
        )
    };
    let url = endpoint.parse().map_err(|_| not_an_endpoint())?;
    Signer::new(
        &url,
        bucket.addressing,
        &bucket.bucket,
        &bucket.region,
        &AccessKey {
            id,
            secret,
            session_token,
        },
    )
    .map_err(|_| not_an_endpoint())
}
