//! The service as configured: read once per instance, each function seeing only what it needs.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use tokengate_core::ChainId;
use tokengate_core::admin::{AdminToken, TooShort};
use tokengate_core::config::{Bucket, Config, ConfigError, Source, Template};
use tokengate_core::endpoint::Gateway;
use tokengate_core::keys::{KeyRing, KeyRingError};
use tokengate_core::presign::{AccessKey, Location, Signer};
use tokengate_core::sealed::StoreKeys;
use tokengate_core::secret::Secret;
use tokengate_core::webhook::Key;

use crate::cache::Memory;
use crate::http::problem::Problem;
use crate::kv::{Backend, Store};
use crate::ports::Ports;
use crate::router::Needs;
use crate::timeout::within;

/// Configuration and secrets, as far as this component's routes need them. Clones are the same service.
#[derive(Clone, Debug)]
pub struct Service(Rc<Loaded>);

#[derive(Debug)]
struct Loaded {
    config: Option<Config>,
    keys: Option<KeyRing>,
    store_keys: Option<StoreKeys>,
    backend: Backend,
    providers: BTreeMap<ChainId, Vec<Secret<String>>>,
    signers: HashMap<String, Signer>,
    sources: HashMap<String, Key>,
    demo_rpc_url: String,
    admin: Option<AdminToken>,
    memory: Memory,
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
    /// The variable with the keys of the shared store is not set.
    #[error(
        "the variable store_keys is not set; give it to every component that has the key-value store, and make one with `echo \"a:$(openssl rand -hex 32)\"`"
    )]
    NoStoreKeys,
    /// The variable with the keys of the shared store is not valid.
    #[error("the variable store_keys is not valid: {0}")]
    StoreKeys(KeyRingError),
    /// A key is in both rings.
    #[error(
        "store_keys and service_keys share a key: components that only have the store could mint sessions; make another one for store_keys"
    )]
    SharedKey,
    /// The variable with the operator's token is not valid.
    #[error("the variable admin_token is not valid: {0}")]
    AdminToken(#[from] TooShort),
    /// The platform could not say what a variable holds.
    #[error("the variable {name} cannot be read: {reason}")]
    Variable {
        /// The variable.
        name: String,
        /// Why, in the platform's words.
        reason: String,
    },
    /// The platform's variables did not come in time.
    #[error("the platform's variables could not be read in time")]
    Slow,
}

/// How long reading all variables may take.
const LOAD_DEADLINE: Duration = Duration::from_secs(10);

impl Service {
    /// Reads what `needs` names. Everything that is needed is there afterwards; what is not needed is not even asked for.
    ///
    /// # Errors
    /// [`LoadError`], for the first thing that is missing or not valid.
    pub async fn load<P: Ports>(ports: &P, needs: Needs) -> Result<Self, LoadError> {
        within(ports, LOAD_DEADLINE, Self::read(ports, needs))
            .await
            .unwrap_or(Err(LoadError::Slow))
    }

    async fn read<P: Ports>(ports: &P, needs: Needs) -> Result<Self, LoadError> {
        let mut service = Loaded {
            config: None,
            keys: None,
            store_keys: None,
            backend: Backend::KeyValue,
            providers: BTreeMap::new(),
            signers: HashMap::new(),
            sources: HashMap::new(),
            demo_rpc_url: String::new(),
            admin: None,
            memory: Memory::default(),
        };
        if needs.demo {
            service.demo_rpc_url = variable(ports, "demo_rpc_url").await?.unwrap_or_default();
        }
        if needs.admin
            && let Some(token) = variable(ports, "admin_token").await?
        {
            service.admin = Some(AdminToken::new(&token)?);
        }
        if !needs.config {
            return Ok(Self(Rc::new(service)));
        }
        let config = Config::parse(&ports.config_text().map_err(LoadError::File)?)?;
        if needs.keys {
            let text = variable(ports, "service_keys")
                .await?
                .ok_or(LoadError::NoKeys)?;
            service.keys = Some(KeyRing::parse(&text)?);
        }
        if needs.store {
            let text = variable(ports, "store_keys")
                .await?
                .ok_or(LoadError::NoStoreKeys)?;
            let keys = StoreKeys::parse(&text).map_err(LoadError::StoreKeys)?;
            if let Some(service_keys) = &service.keys
                && keys.share_a_key_with(service_keys)
            {
                return Err(LoadError::SharedKey);
            }
            service.store_keys = Some(keys);
        }
        if needs.providers {
            for chain in config.chains() {
                let mut urls = Vec::new();
                for template in &chain.providers {
                    urls.push(provider(ports, template).await?);
                }
                if config.agreement(chain.id) > 1 {
                    are_distinct(&chain.providers, &urls)?;
                }
                service.providers.insert(chain.id, urls);
            }
        }
        if needs.storage {
            let mut located = Vec::new();
            for bucket in config.buckets() {
                let (signer, location) = signer(ports, bucket).await?;
                service.signers.insert(bucket.name.clone(), signer);
                located.push((bucket, location));
            }
            share_no_object(located)?;
        }
        if let Some(template) = &config.cache.redis {
            service.backend = Backend::Redis(redis(ports, template).await?);
        }
        service.memory = Memory::new(&config.cache, ports.random());
        if needs.events {
            for (name, source) in config.sources() {
                let key = source_key(ports, source).await?;
                service.sources.insert(name.to_owned(), key);
            }
        }
        service.config = Some(config);
        Ok(Self(Rc::new(service)))
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`Problem::Misconfigured`], for a service that was loaded without it.
    pub fn config(&self) -> Result<&Config, Problem> {
        self.0.config.as_ref().ok_or(Problem::Misconfigured)
    }

    /// Has `chain` read at the block of this number from now on, whatever the configuration says. Whether there is such a
    /// chain, and nobody else has a clone of the service.
    pub fn read_at_block(&mut self, chain: ChainId, block: u64) -> bool {
        Rc::get_mut(&mut self.0)
            .and_then(|loaded| loaded.config.as_mut())
            .is_some_and(|config| config.read_at_block(chain, block))
    }

    /// The service's keys.
    pub(crate) fn keys(&self) -> Result<&KeyRing, Problem> {
        self.0.keys.as_ref().ok_or(Problem::Misconfigured)
    }

    /// The endpoints of a chain, in order of preference.
    pub(crate) fn providers(&self, chain: ChainId) -> &[Secret<String>] {
        self.0.providers.get(&chain).map_or(&[], Vec::as_slice)
    }

    /// What the source of this name signs with.
    pub(crate) fn source_key(&self, name: &str) -> Option<&Key> {
        self.0.sources.get(name)
    }

    /// The signer for a bucket.
    pub(crate) fn signer(&self, bucket: &str) -> Result<&Signer, Problem> {
        self.0.signers.get(bucket).ok_or(Problem::Misconfigured)
    }

    /// What this instance remembers between requests.
    pub(crate) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// Whether values of the shared store can be read and written.
    pub(crate) fn has_store_keys(&self) -> bool {
        self.0.store_keys.is_some()
    }

    /// The shared store.
    pub(crate) fn store<'a, P>(&'a self, ports: &'a P) -> Store<'a, P> {
        let config = self.0.config.as_ref();
        Store {
            ports,
            backend: &self.0.backend,
            namespace: config.and_then(|config| config.cache.namespace.as_deref()),
            keys: self.0.store_keys.as_ref(),
        }
    }

    /// The operator's token, if there is one.
    pub(crate) fn admin(&self) -> Option<&AdminToken> {
        self.0.admin.as_ref()
    }

    /// Where the demo page finds a node that signs for it; empty outside of a demo.
    pub(crate) fn demo_rpc_url(&self) -> &str {
        &self.0.demo_rpc_url
    }
}

/// The value of a variable; an empty one is none.
async fn variable<P: Ports>(ports: &P, name: &str) -> Result<Option<String>, LoadError> {
    match ports.variable(name).await {
        Ok(value) => Ok(value.filter(|value| !value.is_empty())),
        Err(reason) => Err(LoadError::Variable {
            name: name.to_owned(),
            reason,
        }),
    }
}

async fn resolve<P: Ports>(ports: &P, template: &Template) -> Result<String, LoadError> {
    let mut values = HashMap::new();
    for name in template.variables() {
        if let Some(value) = variable(ports, name).await? {
            values.insert(name.to_owned(), value);
        }
    }
    let resolved = template.resolve(|name| values.get(name).cloned());
    Ok(resolved.map_err(|name| {
        template.error(format!("the variable {name} is not set"), how_to_set(&name))
    })?)
}

fn how_to_set(variable: &str) -> String {
    let upper = variable.to_uppercase();
    format!(
        "give the component a variable {variable} in spin.toml and set it with SPIN_VARIABLE_{upper}"
    )
}

async fn provider<P: Ports>(ports: &P, template: &Template) -> Result<Secret<String>, LoadError> {
    let url = resolve(ports, template).await?;
    match url::Url::parse(&url) {
        // Kept as parsed: what was checked is what is called.
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            Ok(Secret::new(url.into()))
        }
        // The value may hold an API key, so the message does not repeat it.
        _ => Err(template
            .error(
                "the provider is not an http or https URL once its variables are filled in",
                "set them so that it is",
            )
            .into()),
    }
}

/// Whether all providers of a chain are different gateways: one that is asked twice agrees with itself.
fn are_distinct(templates: &[Template], urls: &[Secret<String>]) -> Result<(), LoadError> {
    let mut known: Vec<(&Template, Gateway)> = Vec::new();
    for (template, url) in templates.iter().zip(urls) {
        let url = url::Url::parse(url.expose()).ok();
        let Some(gateway) = url.as_ref().and_then(Gateway::of) else {
            continue;
        };
        if let Some((other, _)) = known.iter().find(|(_, other)| *other == gateway) {
            // Neither URL is repeated: its path may be a key.
            return Err(template
                .error(
                    format!(
                        "the provider is the same endpoint as the one at {}, where several have to agree",
                        other.position()
                    ),
                    "name an independent provider, or lower `agreement`",
                )
                .into());
        }
        known.push((template, gateway));
    }
    Ok(())
}

/// Whether no object is in two buckets: under two names it would have two gates.
fn share_no_object(mut located: Vec<(&Bucket, Location)>) -> Result<(), LoadError> {
    located.sort_by_key(|(bucket, _)| {
        let position = bucket.endpoint.position();
        (position.line, position.column)
    });
    for (index, (bucket, location)) in located.iter().enumerate() {
        let mut before = located.iter().take(index);
        if let Some((other, _)) = before.find(|(_, other)| location.overlaps(other)) {
            return Err(bucket
                .endpoint
                .error(
                    format!(
                        "bucket {:?} is the same as {:?} at {}",
                        bucket.name,
                        other.name,
                        other.endpoint.position()
                    ),
                    "keep one of them: under two names an object would have two gates",
                )
                .into());
        }
    }
    Ok(())
}

async fn redis<P: Ports>(ports: &P, template: &Template) -> Result<Secret<String>, LoadError> {
    let url = resolve(ports, template).await?;
    match url::Url::parse(&url) {
        Ok(parsed) if matches!(parsed.scheme(), "redis" | "rediss") && parsed.has_host() => {
            Ok(Secret::new(url))
        }
        // The value may hold a password, so the message does not repeat it.
        _ => Err(template
            .error(
                "the store is not a redis or rediss URL once its variables are filled in",
                "set them so that it is, for example redis://localhost:6379",
            )
            .into()),
    }
}

async fn source_key<P: Ports>(ports: &P, source: &Source) -> Result<Key, LoadError> {
    let secret = Secret::new(resolve(ports, &source.secret).await?);
    Key::new(source.kind, &secret).map_err(|error| {
        let template = &source.secret;
        let variables: Vec<_> = template.variables().collect();
        let problem = format!("the source's secret is no key: {error}");
        let mend = format!(
            "set {} to what the source says it signs with",
            variables.join(", ")
        );
        template.error(problem, mend).into()
    })
}

async fn signer<P: Ports>(ports: &P, bucket: &Bucket) -> Result<(Signer, Location), LoadError> {
    let prefix = &bucket.credentials;
    let required = async |suffix: &str| {
        let name = format!("{prefix}_{suffix}");
        let missing = || {
            bucket.endpoint.error(
                format!("the variable {name} of bucket {:?} is not set", bucket.name),
                how_to_set(&name),
            )
        };
        Ok::<_, LoadError>(Secret::new(
            variable(ports, &name).await?.ok_or_else(missing)?,
        ))
    };
    let (id, secret) = (
        required("access_key_id").await?,
        required("secret_access_key").await?,
    );
    let session_token = variable(ports, &format!("{prefix}_session_token"))
        .await?
        .map(Secret::new);
    let endpoint = resolve(ports, &bucket.endpoint).await?;
    let not_an_endpoint = || {
        bucket.endpoint.error(
            "the endpoint is not a base URL once its variables are filled in",
            "it takes a scheme and a host, for example https://s3.eu-central-1.amazonaws.com",
        )
    };
    let url = endpoint.parse().map_err(|_| not_an_endpoint())?;
    let signer = Signer::new(
        &url,
        bucket.addressing,
        &bucket.bucket,
        &bucket.region,
        &AccessKey {
            id,
            secret,
            session_token,
        },
    );
    let signer = signer.map_err(|_| not_an_endpoint())?;
    let location = Location::new(&url, bucket.addressing, &bucket.bucket);
    Ok((signer, location.ok_or_else(not_an_endpoint)?))
}
