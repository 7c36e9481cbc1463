//! `tokengate imports`: what components ask of their host, and what they offer it.

use std::fmt::Write;
use std::path::Path;

use wasmtime::component::types::ComponentItem;
use wasmtime::{Config, Engine, OptLevel};

use crate::engine;
use crate::manifest::Manifest;

/// The interfaces of the component in `path`, or of every component of the manifest there, one a line.
pub(crate) fn list(path: &Path) -> anyhow::Result<String> {
    let mut config = Config::new();
    // Only the types are looked at; the code is compiled along the way.
    config
        .wasm_component_model_async(true)
        .cranelift_opt_level(OptLevel::None);
    let engine = Engine::new(&config).map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let mut lines = String::new();
    if path
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        for (id, component) in Manifest::read(path)?.components {
            describe(
                &engine,
                &component.source.value,
                &format!("{id} "),
                &mut lines,
            )?;
        }
    } else {
        describe(&engine, path, "", &mut lines)?;
    }
    Ok(lines)
}

fn describe(engine: &Engine, path: &Path, prefix: &str, lines: &mut String) -> anyhow::Result<()> {
    let component = engine::load(engine, path, None)?;
    let types = component.component_type();
    let interfaces = types
        .imports(engine)
        .map(|(name, item)| ("import", name, item.ty))
        .chain(
            types
                .exports(engine)
                .map(|(name, item)| ("export", name, item.ty)),
        );
    for (direction, name, item) in interfaces {
        // Types that a world names in passing are no interface.
        if !matches!(item, ComponentItem::Type(_) | ComponentItem::Resource(_)) {
            writeln!(lines, "{prefix}{direction} {name}")?;
        }
    }
    Ok(())
}
