//! Reading configuration and secrets from the platform.

use std::collections::{BTreeMap, HashMap};

use tokengate_core::ChainId;
use tokengate_core::admin::AdminToken;
use tokengate_core::config::{Bucket, Config, Source, Template};
use tokengate_core::endpoint::Gateway;
use tokengate_core::keys::KeyRing;
use tokengate_core::presign::{AccessKey, Location, Signer};
use tokengate_core::sealed::StoreKeys;
use tokengate_core::secret::Secret;
use tokengate_core::webhook::Key;

use super::error::LoadError;
use crate::kv::Backend;
use crate::ports::Ports;

/// `tokengate.toml`.
pub(super) fn config<P: Ports>(ports: &P) -> Result<Config, LoadError> {
    Ok(Config::parse(
        &ports.config_text().map_err(LoadError::File)?,
    )?)
}

/// The service's keys.
pub(super) async fn keys<P: Ports>(ports: &P) -> Result<KeyRing, LoadError> {
    let text = variable(ports, "service_keys")
        .await?
        .ok_or(LoadError::NoKeys)?;
    Ok(KeyRing::parse(&text)?)
}

/// The keys of the shared store, none of which is one of the service's.
pub(super) async fn store_keys<P: Ports>(
    ports: &P,
    keys: Option<&KeyRing>,
) -> Result<StoreKeys, LoadError> {
    let text = variable(ports, "store_keys")
        .await?
        .ok_or(LoadError::NoStoreKeys)?;
    let store_keys = StoreKeys::parse(&text).map_err(LoadError::StoreKeys)?;
    match keys {
        Some(keys) if store_keys.share_a_key_with(keys) => Err(LoadError::SharedKey),
        _ => Ok(store_keys),
    }
}

/// How the shared store is reached.
pub(super) async fn backend<P: Ports>(
    ports: &P,
    config: &Config,
    keys: StoreKeys,
) -> Result<Backend, LoadError> {
    Ok(match &config.cache.redis {
        Some(template) => Backend::Redis(redis(ports, template).await?, keys),
        None => Backend::KeyValue(keys),
    })
}

/// The endpoints of all chains, in order of preference.
pub(super) async fn providers<P: Ports>(
    ports: &P,
    config: &Config,
) -> Result<BTreeMap<ChainId, Vec<Secret<String>>>, LoadError> {
    let mut providers = BTreeMap::new();
    for chain in config.chains() {
        let mut urls = Vec::new();
        for template in &chain.providers {
            urls.push(provider(ports, template).await?);
        }
        if config.agreement(chain.id) > 1 {
            are_distinct(&chain.providers, &urls)?;
        }
        providers.insert(chain.id, urls);
    }
    Ok(providers)
}

/// The signers of all buckets.
pub(super) async fn signers<P: Ports>(
    ports: &P,
    config: &Config,
) -> Result<HashMap<String, Signer>, LoadError> {
    let (mut signers, mut located) = (HashMap::new(), Vec::new());
    for bucket in config.buckets() {
        let (signer, location) = signer(ports, bucket).await?;
        signers.insert(bucket.name.clone(), signer);
        located.push((bucket, location));
    }
    share_no_object(located)?;
    Ok(signers)
}

/// What each source of events signs with.
pub(super) async fn webhook_keys<P: Ports>(
    ports: &P,
    config: &Config,
) -> Result<HashMap<String, Key>, LoadError> {
    let mut keys = HashMap::new();
    for (name, source) in config.sources() {
        keys.insert(name.to_owned(), source_key(ports, source).await?);
    }
    Ok(keys)
}

/// The operator's token, if there is one.
pub(super) async fn admin_token<P: Ports>(ports: &P) -> Result<Option<AdminToken>, LoadError> {
    let token = variable(ports, "admin_token").await?;
    Ok(token.map(|token| AdminToken::new(&token)).transpose()?)
}

/// Where the demo page finds a node that signs for it; empty outside of a demo.
pub(super) async fn demo_rpc_url<P: Ports>(ports: &P) -> Result<String, LoadError> {
    Ok(variable(ports, "demo_rpc_url").await?.unwrap_or_default())
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
                    "name an independent provider, or lower `quorum`",
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
        let help = format!(
            "set {} to what the source says it signs with",
            variables.join(", ")
        );
        template.error(problem, help).into()
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
