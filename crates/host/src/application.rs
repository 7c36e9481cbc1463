//! An application made ready to serve: its manifest read, its variables resolved, its components compiled and linked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::InstancePre;

use crate::allowed_hosts::AllowedHosts;
use crate::compile_cache::{self, CompileCache};
use crate::document::Mistake;
use crate::engine;
use crate::files;
use crate::guest::{self, ComponentSettings, Guest, Secrets};
use crate::key_value::{self, Source};
use crate::manifest::{self, Manifest, StaticResponse, Target};
use crate::routing::Router;
use crate::runtime_config::{self, KeyValueStore};
use crate::variables::{self, Variables};

pub(crate) struct Application {
    pub(crate) engine: Engine,
    pub(crate) router: Router<Destination>,
    pub(crate) components: Vec<Component>,
    pub(crate) stores: BTreeMap<String, Source>,
    pub(crate) startup_check: Option<String>,
    /// Holds the guests' files for as long as they are served.
    _mounts: tempfile::TempDir,
}

/// A component, ready to be instantiated.
pub(crate) struct Component {
    pub(crate) settings: Arc<ComponentSettings>,
    pub(crate) pre: InstancePre<Guest>,
}

/// What answers a route.
pub(crate) enum Destination {
    /// An index into [`Application::components`].
    Component(usize),
    Static(StaticResponse),
}

/// Where an application is read from.
pub(crate) struct Sources<'a> {
    pub(crate) manifest: &'a Path,
    pub(crate) variables: &'a [(String, String)],
    pub(crate) runtime_config: Option<&'a Path>,
    pub(crate) state_directory: Option<&'a Path>,
    pub(crate) cache_directory: Option<&'a Path>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Mistake(#[from] Mistake),
    #[error(transparent)]
    Variables(#[from] variables::Error),
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error(transparent)]
    Cache(#[from] compile_cache::Error),
    #[error(transparent)]
    Store(#[from] key_value::OpenError),
    #[error("the directory for the components' files cannot be made: {0}")]
    Mounts(std::io::Error),
    #[error("component `{component}` ({}): {reason}", path.display())]
    Imports {
        component: String,
        path: PathBuf,
        reason: String,
    },
}

impl Application {
    pub(crate) fn load(
        sources: &Sources<'_>,
        limits: engine::InstanceLimits,
    ) -> Result<Self, Error> {
        let manifest = Manifest::read(sources.manifest)?;
        let state_directory =
            runtime_config::state_directory(sources.state_directory, &manifest.directory);
        let variables = Variables::resolve(&manifest.variables, sources.variables, |name| {
            std::env::var_os(name)
        })?;
        let configured =
            runtime_config::key_value_stores(sources.runtime_config, &state_directory)?;
        let mounts = tempfile::Builder::new()
            .prefix("tokengate-")
            .tempdir()
            .map_err(Error::Mounts)?;

        let mut settings = Vec::new();
        for (id, component) in &manifest.components {
            stores_exist(component, &configured)?;
            let settled = settle(
                id,
                component,
                &manifest.directory,
                &variables,
                mounts.path(),
            )?;
            settings.push((Arc::new(settled), component));
        }
        let cache = match sources.cache_directory {
            Some(directory) => Some(CompileCache::open(directory)?),
            None => CompileCache::open_default(),
        };
        let engine = engine::engine(limits)?;
        let linker =
            guest::linker(&engine).map_err(|error| engine::Error::Engine(format!("{error:#}")))?;
        let mut components = Vec::new();
        for (settings, component) in settings {
            let path = &component.source.value;
            let compiled = engine::load(&engine, path, cache.as_ref())?;
            let pre = linker
                .instantiate_pre(&compiled)
                .map_err(|error| Error::Imports {
                    component: settings.id.clone(),
                    path: path.clone(),
                    reason: format!("imports what this host does not provide: {error:#}"),
                })?;
            components.push(Component { settings, pre });
        }
        // Last, so that a start that fails for another reason leaves no store behind.
        let used = |label: &String| {
            manifest.components.values().any(|component| {
                component
                    .key_value_stores
                    .iter()
                    .any(|used| used.value == *label)
            })
        };
        let mut stores = BTreeMap::new();
        for (label, config) in configured.iter().filter(|(label, _)| used(label)) {
            stores.insert(label.clone(), Source::open(label, config)?);
        }
        let ids: Vec<&String> = manifest.components.keys().collect();
        let routes = manifest
            .routes
            .into_iter()
            .filter_map(|(route, target)| {
                let destination = match target {
                    // The manifest has checked that every target exists.
                    Target::Component(id) => {
                        Destination::Component(ids.iter().position(|known| **known == id)?)
                    }
                    Target::Static(response) => Destination::Static(response),
                };
                Some((route, destination))
            })
            .collect();
        tracing::info!(
            application = manifest.name,
            components = components.len(),
            "loaded"
        );
        Ok(Self {
            engine,
            router: Router::new(routes)?,
            components,
            stores,
            startup_check: manifest.startup_check,
            _mounts: mounts,
        })
    }
}

fn stores_exist(
    component: &manifest::Component,
    stores: &BTreeMap<String, KeyValueStore>,
) -> Result<(), Mistake> {
    match component
        .key_value_stores
        .iter()
        .find(|label| !stores.contains_key(&label.value))
    {
        None => Ok(()),
        Some(label) => Err(label.place.mistake(format!(
            "there is no key-value store `{0}`: add [key_value_store.{0}] to the runtime configuration and give it with --runtime-config-file",
            label.value
        ))),
    }
}

/// A component's own settings, its files put together below `mounts`.
pub(crate) fn settle(
    id: &str,
    component: &manifest::Component,
    directory: &Path,
    variables: &Variables,
    mounts: &Path,
) -> Result<ComponentSettings, Mistake> {
    let values = component
        .variables
        .iter()
        .map(|(name, template)| Ok((name.clone(), variables.expand(template)?)))
        .collect::<Result<_, Mistake>>()?;
    let root = if component.files.is_empty() {
        None
    } else {
        let root = mounts.join(id);
        files::assemble(&component.files, &component.exclude_files, directory, &root)?;
        Some(root)
    };
    Ok(ComponentSettings {
        id: id.to_owned(),
        environment: component.environment.clone(),
        variables: Secrets(values),
        key_value_stores: component
            .key_value_stores
            .iter()
            .map(|label| label.value.clone())
            .collect(),
        allowed_hosts: AllowedHosts::resolve(&component.allowed_outbound_hosts, variables)?,
        root,
    })
}
