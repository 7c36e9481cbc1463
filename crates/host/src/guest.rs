//! What one instance of a component can reach: its files, variables, stores and the hosts it may call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::admission::Turnstile;
use crate::allowed_hosts::AllowedHosts;
use crate::bindings::spin::variables::variables;
use crate::bindings::wasi::config::store as config;
use crate::key_value::{self, Stores};
use crate::outbound::{Client, Outbound};
use crate::outbound_redis;
use crate::stderr::{GuestOutput, Stderr};
use crate::variables::is_name;

/// How many handles an instance may hold, over all its requests.
const MAX_HANDLES: usize = 1 << 16;

/// A component's own settings, resolved at start.
pub(crate) struct ComponentSettings {
    pub(crate) id: String,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) variables: Secrets,
    pub(crate) key_value_stores: BTreeSet<String>,
    pub(crate) allowed_hosts: AllowedHosts,
    /// The directory that is its root, if it has files.
    pub(crate) root: Option<PathBuf>,
}

/// Values of variables, any of which may be secret.
pub(crate) struct Secrets(pub(crate) BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What the instances of one runtime share.
pub(crate) struct CoreResources {
    pub(crate) stores: Stores,
    pub(crate) client: Client,
    pub(crate) redis: outbound_redis::Connections,
    pub(crate) turnstile: Turnstile,
    pub(crate) stderr: Stderr,
    /// Set when the runtime is about to end, and its instances with it.
    pub(crate) ending: AtomicBool,
}

/// The host's side of an instance.
pub(crate) struct Guest {
    pub(crate) table: ResourceTable,
    pub(crate) component: Arc<ComponentSettings>,
    pub(crate) core: Arc<CoreResources>,
    /// What the table's compare-and-swap handles hold.
    pub(crate) cas_bytes: usize,
    /// How many of the table's handles are connections to Redis.
    pub(crate) redis_handles: usize,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: Outbound,
}

impl Guest {
    pub(crate) fn new(
        component: &Arc<ComponentSettings>,
        core: &Arc<CoreResources>,
    ) -> wasmtime::Result<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let mut wasi = WasiCtx::builder();
        // The host's own stdout says only where it listens.
        wasi.stderr(GuestOutput(core.stderr.clone()))
            .stdout(GuestOutput(core.stderr.clone()))
            .envs(&component.environment);
        if let Some(root) = &component.root {
            wasi.preopened_dir(root, "/", FsPerms::ReadOnly)?;
        }
        Ok(Self {
            table,
            component: component.clone(),
            core: core.clone(),
            cas_bytes: 0,
            redis_handles: 0,
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            outbound: Outbound::new(component.clone(), core.clone()),
        })
    }

    /// A store for one instance. It yields to other work at every tick of the engine's epoch.
    pub(crate) fn into_store(self, engine: &Engine) -> Store<Self> {
        let mut store = Store::new(engine, self);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outbound,
        }
    }
}

/// Everything a guest may import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    key_value::add_to_linker(&mut linker)?;
    outbound_redis::add_to_linker(&mut linker)?;
    variables::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    config::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

impl variables::Host for Guest {}

impl<T: Send> variables::HostWithStore<T> for HasSelf<Guest> {
    async fn get(
        accessor: &wasmtime::component::Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, variables::Error>> {
        if !is_name(&name) {
            return Ok(Err(variables::Error::InvalidName(name)));
        }
        let value =
            accessor.with(|mut access| access.get().component.variables.0.get(&name).cloned());
        Ok(value.ok_or(variables::Error::Undefined(name)))
    }
}

impl config::Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, config::Error>> {
        Ok(Ok(self.component.variables.0.get(&key).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, config::Error>> {
        Ok(Ok(self.component.variables.0.clone().into_iter().collect()))
    }
}
