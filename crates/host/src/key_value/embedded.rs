//! The embedded backend: one file, one process. Readers see a snapshot and never wait; one thread writes, and commits
//! everything that came in during its last commit at once, so that a write is on disk before it is acknowledged and
//! a busy store still syncs the disk only once per round.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use super::{Error, MAX_LISTED_KEYS};
use crate::owned_path;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("key-value");
/// Callers beyond this many wait to hand their write over.
const QUEUE: usize = 1024;
/// The most writes in one commit.
const BATCH: usize = 512;
const CACHE_BYTES: usize = 64 << 20;

#[derive(Clone)]
pub(crate) struct Embedded {
    database: Arc<Database>,
    writer: mpsc::Sender<Request>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the key-value store {}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the directory {path} of a key-value store could be written by others, and what is in the store opens gates: make it yours alone (chmod 700 {path}, and chown if others own it; a link is refused, so name what it leads to), or name another --state-dir", path = .0.display())]
    DirectoryNotOurs(PathBuf),
    #[error("the key-value store {path} could be written by others, and what is in it opens gates: if you trust what is in it, make it yours alone (chmod 600 {path}, and chown if others own it; a link is refused, so name what it leads to), else remove it", path = .0.display())]
    FileNotOurs(PathBuf),
    #[error("the key-value store {} is in use by another process: stop it, or name another --state-dir", .0.display())]
    InUse(PathBuf),
    #[error("the key-value store {} cannot be opened: {reason}; it must be a file that this host made, so name another `path`", path.display())]
    Unusable { path: PathBuf, reason: String },
}

struct Request {
    write: Write,
    reply: oneshot::Sender<Result<Reply, Error>>,
}

enum Write {
    Set(Vec<(String, Vec<u8>)>),
    Delete(Vec<String>),
    Increment {
        key: String,
        delta: i64,
    },
    CompareAndSwap {
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    },
}

#[derive(Clone, Copy)]
enum Reply {
    Done,
    Counter(i64),
    Swapped(bool),
}

impl Embedded {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        // What guests keep decides who is let in: others must neither write it nor read it (nonces, facts).
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        owned_path::directory(parent).map_err(|error| match error {
            owned_path::Error::Io(source) => io(source),
            owned_path::Error::NotOurs => OpenError::DirectoryNotOurs(parent.to_owned()),
        })?;
        let (file, was_open) = owned_path::open_or_create(path).map_err(|error| match error {
            owned_path::Error::Io(source) => io(source),
            owned_path::Error::NotOurs => OpenError::FileNotOurs(path.to_owned()),
        })?;
        if was_open {
            // Made by the umask of another time or copied: reading it is not writing it, so it is still good.
            tracing::warn!(
                store = %path.display(),
                "a key-value store could be read by other users of this machine; it is now this user's alone (mode 0600)"
            );
        }
        let unusable = |reason: String| OpenError::Unusable {
            path: path.to_owned(),
            reason,
        };
        let database = FileBackend::new(file)
            .and_then(|backend| {
                Database::builder()
                    .set_cache_size(CACHE_BYTES)
                    .create_with_backend(backend)
            })
            .map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
                other => unusable(other.to_string()),
            })?;
        // Readers may come before the first write, and a table must exist to be read.
        create_table(&database).map_err(|error| unusable(error.to_string()))?;
        let database = Arc::new(database);
        let (writer, requests) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("key-value".to_owned())
            .spawn({
                let database = database.clone();
                move || write_all(&database, requests)
            })
            .map_err(io)?;
        Ok(Self { database, writer })
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            Ok(transaction
                .open_table(TABLE)?
                .get(key)?
                .map(|value| value.value().to_vec()))
        };
        read().map_err(backend)
    }

    pub(super) fn keys(&self) -> Result<Vec<String>, Error> {
        let read = || -> Result<_, redb::Error> {
            let transaction = self.database.begin_read()?;
            let mut keys = Vec::new();
            for entry in transaction
                .open_table(TABLE)?
                .iter()?
                .take(MAX_LISTED_KEYS + 1)
            {
                keys.push(entry?.0.value().to_owned());
            }
            Ok(keys)
        };
        let keys = read().map_err(backend)?;
        if keys.len() > MAX_LISTED_KEYS {
            Err(Error::TooManyKeys)
        } else {
            Ok(keys)
        }
    }

    pub(super) async fn set(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        self.write(Write::Set(entries)).await.map(drop)
    }

    pub(super) async fn delete(&self, keys: Vec<String>) -> Result<(), Error> {
        self.write(Write::Delete(keys)).await.map(drop)
    }

    pub(super) async fn increment(&self, key: String, delta: i64) -> Result<i64, Error> {
        match self.write(Write::Increment { key, delta }).await? {
            Reply::Counter(value) => Ok(value),
            Reply::Done | Reply::Swapped(_) => Err(Error::Closed),
        }
    }

    pub(super) async fn compare_and_swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, Error> {
        Ok(matches!(
            self.write(Write::CompareAndSwap {
                key,
                expected,
                value
            })
            .await?,
            Reply::Swapped(true)
        ))
    }

    async fn write(&self, write: Write) -> Result<Reply, Error> {
        let (reply, outcome) = oneshot::channel();
        self.writer
            .send(Request { write, reply })
            .await
            .map_err(|_| Error::Closed)?;
        outcome.await.map_err(|_| Error::Closed)?
    }
}

fn backend(error: redb::Error) -> Error {
    Error::Backend(error.to_string())
}

fn create_table(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?;
    transaction.commit()?;
    Ok(())
}

fn write_all(database: &Database, mut requests: mpsc::Receiver<Request>) {
    let mut batch = Vec::with_capacity(BATCH);
    while requests.blocking_recv_many(&mut batch, BATCH) > 0 {
        let outcomes = commit(database, &batch);
        match outcomes {
            Ok(outcomes) => {
                for (request, outcome) in batch.drain(..).zip(outcomes) {
                    // A caller that gave up does not want to know.
                    let _ = request.reply.send(outcome);
                }
            }
            Err(error) => {
                let error = backend(error);
                for request in batch.drain(..) {
                    let _ = request.reply.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Applies `batch` in order. An error of the store itself undoes all of it.
fn commit(
    database: &Database,
    batch: &[Request],
) -> Result<Vec<Result<Reply, Error>>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut outcomes = Vec::with_capacity(batch.len());
    {
        let mut table = transaction.open_table(TABLE)?;
        for request in batch {
            outcomes.push(match &request.write {
                Write::Set(entries) => {
                    for (key, value) in entries {
                        table.insert(key.as_str(), value.as_slice())?;
                    }
                    Ok(Reply::Done)
                }
                Write::Delete(keys) => {
                    for key in keys {
                        table.remove(key.as_str())?;
                    }
                    Ok(Reply::Done)
                }
                Write::Increment { key, delta } => {
                    let current = table.get(key.as_str())?.map(|value| counter(value.value()));
                    match current
                        .unwrap_or(Ok(0))
                        .and_then(|value| value.checked_add(*delta).ok_or(Error::CounterOverflow))
                    {
                        Ok(value) => {
                            table.insert(key.as_str(), value.to_le_bytes().as_slice())?;
                            Ok(Reply::Counter(value))
                        }
                        Err(error) => Err(error),
                    }
                }
                Write::CompareAndSwap {
                    key,
                    expected,
                    value,
                } => {
                    let same = table.get(key.as_str())?.as_ref().map(|held| held.value())
                        == expected.as_deref();
                    if same {
                        table.insert(key.as_str(), value.as_slice())?;
                    }
                    Ok(Reply::Swapped(same))
                }
            });
        }
    }
    transaction.commit()?;
    Ok(outcomes)
}

/// Eight bytes, little-endian: how Spin's own embedded store keeps counters.
fn counter(value: &[u8]) -> Result<i64, Error> {
    value
        .try_into()
        .map(i64::from_le_bytes)
        .map_err(|_| Error::NotACounter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (Embedded, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        (
            Embedded::open(&directory.path().join("x/store.redb")).unwrap(),
            directory,
        )
    }

    #[tokio::test]
    async fn what_is_set_is_read_until_it_is_deleted() {
        let (store, _directory) = open();
        assert_eq!(store.get("a").unwrap(), None);
        store
            .set(vec![("a".into(), b"1".to_vec()), ("b".into(), Vec::new())])
            .await
            .unwrap();
        assert_eq!(store.get("a").unwrap().as_deref(), Some(b"1".as_slice()));
        assert_eq!(store.keys().unwrap(), ["a", "b"]);
        store
            .delete(vec!["a".into(), "never".into()])
            .await
            .unwrap();
        assert_eq!(store.keys().unwrap(), ["b"]);
    }

    #[tokio::test]
    async fn concurrent_increments_are_distinct() {
        let (store, _directory) = open();
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.increment("n".into(), 1).await.unwrap() })
            })
            .collect();
        let mut seen = Vec::new();
        for task in tasks {
            seen.push(task.await.unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=200).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_failed_increment_leaves_its_batch_and_its_value_alone() {
        let (store, _directory) = open();
        store
            .set(vec![("text".into(), b"words".to_vec())])
            .await
            .unwrap();
        assert!(matches!(
            store.increment("text".into(), 1).await,
            Err(Error::NotACounter)
        ));
        assert_eq!(
            store.get("text").unwrap().as_deref(),
            Some(b"words".as_slice())
        );
        assert_eq!(
            store.increment("n".into(), i64::MAX).await.unwrap(),
            i64::MAX
        );
        assert!(matches!(
            store.increment("n".into(), 1).await,
            Err(Error::CounterOverflow)
        ));
    }

    #[tokio::test]
    async fn a_swap_needs_the_value_it_expects() {
        let (store, _directory) = open();
        assert!(
            store
                .compare_and_swap("k".into(), None, b"1".to_vec())
                .await
                .unwrap()
        );
        assert!(
            !store
                .compare_and_swap("k".into(), None, b"2".to_vec())
                .await
                .unwrap()
        );
        assert!(
            store
                .compare_and_swap("k".into(), Some(b"1".to_vec()), b"2".to_vec())
                .await
                .unwrap()
        );
        assert_eq!(store.get("k").unwrap().as_deref(), Some(b"2".as_slice()));
    }

    #[tokio::test]
    async fn an_acknowledged_write_survives_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let store = Embedded::open(&path).unwrap();
        store.set(vec![("a".into(), b"1".to_vec())]).await.unwrap();
        assert!(matches!(Embedded::open(&path), Err(OpenError::InUse(_))));
        // A copy of the file is what a crash at this moment would leave.
        let copy = directory.path().join("copy.redb");
        std::fs::copy(&path, &copy).unwrap();
        assert_eq!(
            Embedded::open(&copy).unwrap().get("a").unwrap().as_deref(),
            Some(b"1".as_slice())
        );
    }

    #[test]
    fn a_store_that_others_may_write_is_refused() {
        use std::fs::{Permissions, set_permissions};
        use std::os::unix::fs::{PermissionsExt, symlink};

        // Its writing thread ends soon after the store is dropped, and lets go of the file.
        let opened = |path: &Path| loop {
            match Embedded::open(path) {
                Err(OpenError::InUse(_)) => thread::yield_now(),
                other => return other.map(drop),
            }
        };
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");
        let path = directory.join("store.redb");
        opened(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&path)), (0o700, 0o600));

        set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
        let error = opened(&path).unwrap_err();
        assert!(matches!(error, OpenError::DirectoryNotOurs(_)));
        assert!(error.to_string().contains("chmod 700"), "{error}");
        set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();

        set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        let error = opened(&path).unwrap_err();
        assert!(matches!(error, OpenError::FileNotOurs(_)));
        assert!(error.to_string().contains("chmod 600"), "{error}");

        set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        opened(&path).unwrap();
        assert_eq!(mode(&path), 0o600);

        let linked = parent.path().join("linked");
        symlink(&directory, &linked).unwrap();
        assert!(matches!(
            opened(&linked.join("store.redb")),
            Err(OpenError::DirectoryNotOurs(_))
        ));
        let link = directory.join("link.redb");
        symlink(&path, &link).unwrap();
        assert!(matches!(opened(&link), Err(OpenError::FileNotOurs(_))));
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        std::fs::write(&path, b"SQLite format 3\0 and so on").unwrap();
        assert!(matches!(
            Embedded::open(&path),
            Err(OpenError::Unusable { .. })
        ));
        assert!(std::fs::read(&path).unwrap().starts_with(b"SQLite"));
    }
}
