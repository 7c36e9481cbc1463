//! The engine that runs every component, its limits, and the components it has compiled.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::compile_cache::CompileCache;

/// How long a guest computes before other work on its thread gets a turn.
const EPOCH: Duration = Duration::from_millis(5);
/// What a freed instance's memory keeps, so that the next one need not fault it in again.
const RESIDENT_BYTES: usize = 256 << 10;
const TABLE_ELEMENTS: usize = 20_000;

/// What instances may use, over the whole process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InstanceLimits {
    /// Instances of all components together.
    pub(crate) instances: u32,
    /// Linear memory of one instance, in bytes.
    pub(crate) memory_bytes: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
    #[error("{} cannot be read: {source}; build it, or correct `source`", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is no WebAssembly component: {reason}", path.display())]
    NotAComponent { path: PathBuf, reason: String },
}

/// An engine whose epoch advances for as long as the engine exists.
pub(crate) fn engine(limits: InstanceLimits) -> Result<Engine, Error> {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(limits.instances)
        // A component is several core modules: the guest, and the shims that connect it.
        .total_core_instances(limits.instances.saturating_mul(4))
        .total_memories(limits.instances)
        .total_tables(limits.instances.saturating_mul(2))
        .total_stacks(limits.instances.saturating_mul(2))
        .max_memories_per_component(1)
        .max_tables_per_component(4)
        .max_core_instances_per_component(8)
        .max_memory_size(limits.memory_bytes)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(RESIDENT_BYTES)
        .table_keep_resident(RESIDENT_BYTES);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .wasm_component_model_async(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed);
    let failed = |error: String| Error::Engine(error);
    let engine = Engine::new(&config).map_err(|error| failed(format!("{error:#}")))?;
    let clock = engine.weak();
    thread::Builder::new()
        .name("epoch".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(EPOCH);
                let Some(engine) = clock.upgrade() else {
                    return;
                };
                engine.increment_epoch();
            }
        })
        .map_err(|error| failed(error.to_string()))?;
    Ok(engine)
}

/// The component in `path`, compiled before if the cache has it.
pub(crate) fn load(
    engine: &Engine,
    path: &Path,
    cache: Option<&CompileCache>,
) -> Result<Component, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let bytes: Arc<[u8]> = bytes.into();
    let compile = || {
        Component::new(engine, &bytes).map_err(|error| Error::NotAComponent {
            path: path.to_owned(),
            reason: format!("{error:#}"),
        })
    };
    let Some(cache) = cache else { return compile() };
    if let Some(component) = cache.get(engine, &bytes) {
        return Ok(component);
    }
    let component = compile()?;
    if let Err(error) = cache.put(engine, &bytes, &component) {
        tracing::warn!(%error, "the compiled component cannot be kept; the next start compiles it again");
    }
    Ok(component)
}
