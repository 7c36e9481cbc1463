//! Compiled components on disk, so that a start takes milliseconds.
//!
//! Loading one runs machine code from the file, and wasmtime does not check that code: whoever can write an entry can
//! run anything as this process. So the directory must be this user's alone (made with mode 0700, and refused if
//! others may write it or own it) and lie outside of any application's tree, which could bring entries with it; and each
//! entry starts with the SHA-256 of its name and the rest, which catches a torn or decayed file and one that was renamed.
//! The digest is no defence against someone who can write files there; the directory's mode is.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::owned_path;

const DIGEST_BYTES: usize = 32;

/// A directory that only this user can write.
#[derive(Debug)]
pub(crate) struct CompileCache {
    directory: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the cache directory {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the cache directory {} could be written by others, and what is in it is run: make it yours alone (chmod 700), or name another --cache-dir", .0.display())]
    NotOurs(PathBuf),
}

/// Where compiled components are kept unless the command line says so: in the user's cache (XDG Base Directory
/// Specification, where a path that is not absolute is to be ignored).
fn default_directory(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| {
        environment(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("tokengate"))
}

impl CompileCache {
    /// The user's own cache, if there can be one; else every start compiles.
    pub(crate) fn open_default() -> Option<Self> {
        let Some(directory) = default_directory(|name| std::env::var_os(name)) else {
            tracing::warn!(
                "there is no home directory to keep compiled components in: every start compiles them; see --cache-dir"
            );
            return None;
        };
        Self::open(&directory)
            .inspect_err(|error| tracing::warn!(%error, "every start compiles the components"))
            .ok()
    }

    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        owned_path::directory(directory).map_err(|error| match error {
            owned_path::Error::Io(source) => Error::Io {
                path: directory.to_owned(),
                source,
            },
            owned_path::Error::NotOurs => Error::NotOurs(directory.to_owned()),
        })?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// The compiled form of `wasm` for `engine`, if there is a sound one.
    pub(crate) fn get(&self, engine: &Engine, wasm: &[u8]) -> Option<Component> {
        let name = name(engine, wasm);
        let path = self.directory.join(&name);
        let mut file = owned_path::open(&path).ok()?;
        let mut entry = Vec::new();
        file.read_to_end(&mut entry).ok()?;
        let (kept, compiled) = entry.split_at_checked(DIGEST_BYTES)?;
        if digest(&name, compiled) != kept {
            tracing::warn!(entry = %path.display(), "a compiled component is corrupt and is compiled again");
            return None;
        }
        #[expect(
            unsafe_code,
            reason = "loading compiled code is trusting it; see the module's documentation"
        )]
        // SAFETY: these bytes are what `put` wrote: the directory and the file are this user's and nobody else can
        // write them, and the digest is right. Wasmtime itself refuses what another version or configuration made.
        let component = unsafe { Component::deserialize(engine, compiled) };
        component
            .inspect_err(|error| tracing::warn!(%error, "a compiled component does not load"))
            .ok()
    }

    /// Keeps `component`, compiled from `wasm`. Another process never sees half an entry.
    pub(crate) fn put(
        &self,
        engine: &Engine,
        wasm: &[u8],
        component: &Component,
    ) -> io::Result<()> {
        let compiled = component
            .serialize()
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        let name = name(engine, wasm);
        file.write_all(&digest(&name, &compiled))?;
        file.write_all(&compiled)?;
        file.as_file().sync_data()?;
        file.persist(self.directory.join(name))
            .map_err(|error| error.error)?;
        Ok(())
    }
}

/// An entry's file name: the component's SHA-256 and what compiled it.
fn name(engine: &Engine, wasm: &[u8]) -> String {
    // Which hash it is matters little: an entry under a name that no longer comes up is merely compiled again.
    let mut compatibility = DefaultHasher::new();
    engine
        .precompile_compatibility_hash()
        .hash(&mut compatibility);
    format!(
        "{}-{:016x}.cwasm",
        hex::encode(Sha256::digest(wasm)),
        compatibility.finish()
    )
}

/// The digest of an entry. The name is in it, so that an entry under another one's name is not that one's code; its
/// length leads, so that no other name and code make the same text.
fn digest(name: &str, compiled: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::new()
        .chain_update((name.len() as u64).to_le_bytes())
        .chain_update(name)
        .chain_update(compiled)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn engine() -> Engine {
        Engine::default()
    }

    #[test]
    fn a_kept_component_comes_back_and_a_corrupt_one_does_not() {
        let parent = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(&parent.path().join("cache")).unwrap();
        let engine = engine();
        assert!(cache.get(&engine, EMPTY_COMPONENT).is_none());
        let component = Component::new(&engine, EMPTY_COMPONENT).unwrap();
        cache.put(&engine, EMPTY_COMPONENT, &component).unwrap();
        assert!(cache.get(&engine, EMPTY_COMPONENT).is_some());

        let entry = cache.directory.join(name(&engine, EMPTY_COMPONENT));
        let sound = fs::read(&entry).unwrap();
        let mut flipped = sound.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for corrupt in [flipped, sound[..sound.len() / 2].to_vec(), Vec::new()] {
            fs::write(&entry, corrupt).unwrap();
            assert!(cache.get(&engine, EMPTY_COMPONENT).is_none());
        }
        fs::write(&entry, &sound).unwrap();
        assert!(cache.get(&engine, EMPTY_COMPONENT).is_some());
        fs::set_permissions(&entry, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(cache.get(&engine, EMPTY_COMPONENT).is_none());
        fs::set_permissions(&entry, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(cache.get(&engine, EMPTY_COMPONENT).is_some());
        let elsewhere = parent.path().join("elsewhere");
        fs::rename(&entry, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &entry).unwrap();
        assert!(cache.get(&engine, EMPTY_COMPONENT).is_none());
    }

    #[test]
    fn an_entry_under_another_components_name_is_not_that_component() {
        // The empty component with a custom section: another text, and as valid.
        const OTHER_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0\0\x02\x01x";
        let parent = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(&parent.path().join("cache")).unwrap();
        let engine = engine();
        let component = Component::new(&engine, OTHER_COMPONENT).unwrap();
        cache.put(&engine, OTHER_COMPONENT, &component).unwrap();
        assert!(cache.get(&engine, OTHER_COMPONENT).is_some());
        let entry = |wasm| cache.directory.join(name(&engine, wasm));
        fs::rename(entry(OTHER_COMPONENT), entry(EMPTY_COMPONENT)).unwrap();
        assert!(cache.get(&engine, EMPTY_COMPONENT).is_none());
    }

    #[test]
    fn the_default_is_the_users_cache() {
        let found = |xdg: Option<&str>, home: Option<&str>| {
            default_directory(|name| {
                match name {
                    "XDG_CACHE_HOME" => xdg,
                    _ => home,
                }
                .map(OsString::from)
            })
        };
        assert_eq!(found(Some("/c"), Some("/h")), Some("/c/tokengate".into()));
        assert_eq!(
            found(Some("c"), Some("/h")),
            Some("/h/.cache/tokengate".into())
        );
        assert_eq!(found(None, Some("/h")), Some("/h/.cache/tokengate".into()));
        assert_eq!(found(None, Some("")), None);
        assert_eq!(found(None, None), None);
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let open = parent.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(CompileCache::open(&open), Err(Error::NotOurs(_))));
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path(), &link).unwrap();
        assert!(matches!(CompileCache::open(&link), Err(Error::NotOurs(_))));
    }
}
