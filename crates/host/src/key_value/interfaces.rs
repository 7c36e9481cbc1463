//! `spin:key-value@3.0.0` and `wasi:keyvalue@0.2.0-draft2` over the stores. A component opens the labels that its
//! manifest entry lists, and no other.

use std::sync::Arc;

use wasmtime::component::{Accessor, FutureReader, HasSelf, Linker, Resource, StreamReader};

use super::{Error, Store};
use crate::bindings::spin::key_value::key_value;
use crate::bindings::wasi::keyvalue::{atomics, batch, store};
use crate::guest::Guest;

/// An open store, as a guest holds it.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Handle(Arc<Store>);

/// A value and what it was when the guest looked.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cas {
    store: Arc<Store>,
    key: String,
    seen: Option<Vec<u8>>,
}

/// Bytes of all values that an instance's handles of compare-and-swap hold.
const MAX_CAS_BYTES: usize = 16 << 20;

impl Cas {
    fn bytes(&self) -> usize {
        self.key.len() + self.seen.as_ref().map_or(0, Vec::len)
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    key_value::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    store::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    batch::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    atomics::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

/// What a guest is told; the host's own log says it, too, where the store is at fault.
fn told(error: &Error) -> String {
    if let Error::Backend(reason) = error {
        tracing::error!(reason, "a key-value store failed");
    }
    error.to_string()
}

enum Refusal {
    NoSuchStore,
    AccessDenied,
}

impl Guest {
    fn open_store(
        &mut self,
        label: &str,
    ) -> Result<Result<Resource<Handle>, Refusal>, wasmtime::Error> {
        // Without access, whether the store exists is not told.
        if !self.component.key_value_stores.contains(label) {
            return Ok(Err(Refusal::AccessDenied));
        }
        let Some(store) = self.core.stores.get(label) else {
            return Ok(Err(Refusal::NoSuchStore));
        };
        let handle = Handle(store.clone());
        Ok(Ok(self.table.push(handle)?))
    }

    fn opened(&self, handle: &Resource<Handle>) -> wasmtime::Result<Arc<Store>> {
        Ok(self.table.get(handle)?.0.clone())
    }

    /// Keeps `cas` for the guest, unless what it saw is too much beside what others did.
    fn push_cas(&mut self, cas: Cas) -> wasmtime::Result<Result<Resource<Cas>, Error>> {
        let bytes = self.cas_bytes + cas.bytes();
        if bytes > MAX_CAS_BYTES {
            return Ok(Err(Error::TooManyValues));
        }
        let handle = self.table.push(cas)?;
        self.cas_bytes = bytes;
        Ok(Ok(handle))
    }

    fn take_cas(&mut self, handle: Resource<Cas>) -> wasmtime::Result<Cas> {
        let cas = self.table.delete(handle)?;
        self.cas_bytes -= cas.bytes();
        Ok(cas)
    }

    /// Runs `call`; the request does not count as computing while a remote store answers.
    fn calling<F: Future>(
        &self,
        store: &Store,
        call: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let aside = store.is_remote().then(|| self.core.turnstile.aside());
        async move {
            let outcome = call.await;
            drop(aside);
            outcome
        }
    }
}

impl From<Refusal> for key_value::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchStore => Self::NoSuchStore,
            Refusal::AccessDenied => Self::AccessDenied,
        }
    }
}

impl From<Error> for key_value::Error {
    fn from(error: Error) -> Self {
        Self::Other(told(&error))
    }
}

impl From<Refusal> for store::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchStore => Self::NoSuchStore,
            Refusal::AccessDenied => Self::AccessDenied,
        }
    }
}

impl From<Error> for store::Error {
    fn from(error: Error) -> Self {
        Self::Other(told(&error))
    }
}

/// Starts `operation` on the opened store without holding the instance while it runs.
async fn with_store<T: 'static, R, F>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    handle: &Resource<Handle>,
    operation: impl FnOnce(Arc<Store>) -> F,
) -> wasmtime::Result<Result<R, key_value::Error>>
where
    F: Future<Output = Result<R, Error>>,
{
    let call = accessor.with(|mut access| {
        let guest = access.get();
        let store = guest.opened(handle)?;
        let call = operation(store.clone());
        wasmtime::error::Ok(guest.calling(&store, call))
    })?;
    Ok(call.await.map_err(Into::into))
}

impl key_value::Host for Guest {}

impl key_value::HostStore for Guest {
    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl<T: Send> key_value::HostStoreWithStore<T> for HasSelf<Guest> {
    async fn open(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, key_value::Error>> {
        accessor.with(|mut access| Ok(access.get().open_store(&label)?.map_err(Into::into)))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, key_value::Error>> {
        with_store(accessor, &handle, async move |store| store.get(&key).await).await
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), key_value::Error>> {
        with_store(accessor, &handle, async move |store| {
            store.set(key, value).await
        })
        .await
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        key: String,
    ) -> wasmtime::Result<Result<(), key_value::Error>> {
        with_store(accessor, &handle, async move |store| {
            store.delete(vec![key]).await
        })
        .await
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
        key: String,
    ) -> wasmtime::Result<Result<bool, key_value::Error>> {
        with_store(accessor, &handle, async move |store| {
            store.exists(&key).await
        })
        .await
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        handle: Resource<Handle>,
    ) -> wasmtime::Result<(
        StreamReader<String>,
        FutureReader<Result<(), key_value::Error>>,
    )> {
        let (keys, outcome) =
            match with_store(accessor, &handle, async |store| store.keys().await).await? {
                Ok(keys) => (keys, Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            };
        accessor.with(|mut access| {
            Ok((
                StreamReader::new(&mut access, keys)?,
                FutureReader::new(&mut access, async move { wasmtime::error::Ok(outcome) })?,
            ))
        })
    }
}

impl store::Host for Guest {
    async fn open(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, store::Error>> {
        Ok(self.open_store(&label)?.map_err(Into::into))
    }
}

impl store::HostBucket for Guest {
    async fn get(
        &mut self,
        handle: Resource<Handle>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        let store = self.opened(&handle)?;
        Ok(self
            .calling(&store, store.get(&key))
            .await
            .map_err(Into::into))
    }

    async fn set(
        &mut self,
        handle: Resource<Handle>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let store = self.opened(&handle)?;
        Ok(self
            .calling(&store, store.set(key, value))
            .await
            .map_err(Into::into))
    }

    async fn delete(
        &mut self,
        handle: Resource<Handle>,
        key: String,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let store = self.opened(&handle)?;
        Ok(self
            .calling(&store, store.delete(vec![key]))
            .await
            .map_err(Into::into))
    }

    async fn exists(
        &mut self,
        handle: Resource<Handle>,
        key: String,
    ) -> wasmtime::Result<Result<bool, store::Error>> {
        let store = self.opened(&handle)?;
        Ok(self
            .calling(&store, store.exists(&key))
            .await
            .map_err(Into::into))
    }

    /// All keys come in the first answer, so no cursor is ever given out.
    async fn list_keys(
        &mut self,
        handle: Resource<Handle>,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        if cursor.is_some() {
            return Ok(Err(store::Error::Other("no such cursor".to_owned())));
        }
        let store = self.opened(&handle)?;
        Ok(self
            .calling(&store, store.keys())
            .await
            .map(|keys| store::KeyResponse { keys, cursor: None })
            .map_err(Into::into))
    }

    async fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl batch::Host for Guest {
    async fn get_many(
        &mut self,
        handle: Resource<Handle>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<(String, Option<Vec<u8>>)>, store::Error>> {
        let store = self.opened(&handle)?;
        let values = self.calling(&store, store.get_many(&keys)).await;
        Ok(values
            .map(|values| keys.into_iter().zip(values).collect())
            .map_err(Into::into))
    }

    async fn set_many(
        &mut self,
        handle: Resource<Handle>,
        entries: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let store = self.opened(&handle)?;
        Ok(self
            .calling(&store, store.set_many(entries))
            .await
            .map_err(Into::into))
    }

    async fn delete_many(
        &mut self,
        handle: Resource<Handle>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let store = self.opened(&handle)?;
        Ok(self
            .calling(&store, store.delete(keys))
            .await
            .map_err(Into::into))
    }
}

impl atomics::Host for Guest {
    async fn increment(
        &mut self,
        handle: Resource<Handle>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, store::Error>> {
        let store = self.opened(&handle)?;
        Ok(self
            .calling(&store, store.increment(key, delta))
            .await
            .map_err(Into::into))
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Cas { store, key, seen } = self.take_cas(cas)?;
        let attempt = async {
            if store.compare_and_swap(key.clone(), seen, value).await? {
                return Ok(None);
            }
            store.get(&key).await.map(Some)
        };
        Ok(match self.calling(&store, attempt).await {
            Ok(None) => Ok(()),
            Ok(Some(seen)) => Err(match self.push_cas(Cas { store, key, seen })? {
                Ok(cas) => atomics::CasError::CasFailed(cas),
                Err(error) => atomics::CasError::StoreError(error.into()),
            }),
            Err(error) => Err(atomics::CasError::StoreError(Error::into(error))),
        })
    }
}

impl atomics::HostCas for Guest {
    async fn new(
        &mut self,
        handle: Resource<Handle>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<Cas>, store::Error>> {
        let store = self.opened(&handle)?;
        Ok(match self.calling(&store, store.get(&key)).await {
            Ok(seen) => self.push_cas(Cas { store, key, seen })?.map_err(Into::into),
            Err(error) => Err(error.into()),
        })
    }

    async fn current(
        &mut self,
        cas: Resource<Cas>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        Ok(Ok(self.table.get(&cas)?.seen.clone()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.take_cas(cas)?;
        Ok(())
    }
}
