//! One SQLite file, written by one thread.
//!
//! Every change of every table goes through the writer thread as a closure over a transaction. Whatever has queued
//! up while the last commit was on its way is committed together, so that many small durable changes share one sync.
//! Each closure runs in its own savepoint: one that fails leaves nothing behind and does not disturb its neighbours.
//!
//! Readers use their own connections (WAL: a reader never waits for the writer) and see a change as soon as the call
//! that made it has returned.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use corten_types::{ErrorKind, Kind};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, Transaction};
use tokio::sync::oneshot;

use crate::reserve::{RESERVE, Reserve};

/// What an acknowledged change outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The death of the process, not that of the machine. Costs no sync.
    None,
    /// Power loss.
    Full,
}

/// Why the database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file could not be opened or brought to the current schema.
    #[error("could not open the database {path}")]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file could not be made, or kept from others.
    #[error("could not make the database {path} private: {source}")]
    File {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The writer thread could not be started.
    #[error("could not start the database's writer thread")]
    Thread(#[source] std::io::Error),
    /// A statement failed: the disk is full, or the file is damaged.
    #[error("the database refused a change: {0}")]
    Statement(#[from] rusqlite::Error),
    /// The commit of the whole group failed; nothing of it was stored.
    #[error("the database could not commit: {0}")]
    Commit(Arc<rusqlite::Error>),
    /// The writer thread has ended.
    #[error("the database is closed")]
    Closed,
}

impl Kind for DatabaseError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// Says how the commit went, to whoever asked for the change.
type Reply = Box<dyn FnOnce(Result<(), DatabaseError>) + Send>;
/// Makes a change; without a transaction, only says why there is none.
type Job = Box<dyn FnOnce(Option<&Transaction<'_>>) -> Reply + Send>;

struct Request {
    durability: Durability,
    job: Job,
}

/// A handle on the database; clones share it. The writer thread ends with the last handle.
#[derive(Clone)]
pub(crate) struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    durability: Durability,
    requests: Sender<Request>,
    readers: Mutex<Vec<Connection>>,
}

/// Readers kept open between reads.
const IDLE_READERS: usize = 4;
/// How long a statement waits for another process (a backup, a curious sqlite3) to let go of the file.
const BUSY: Duration = Duration::from_secs(10);
/// Changes committed together at most.
const GROUP_MAX: usize = 256;

impl Database {
    /// Opens or creates the file and brings it to `schema`, a list of steps of which `user_version` counts the ones done.
    pub(crate) fn open(path: &Path, durability: Durability, schema: &[&str]) -> Result<Self, DatabaseError> {
        let failed = |source| DatabaseError::Open { path: path.to_owned(), source };
        make_private(path).map_err(|source| DatabaseError::File { path: path.to_owned(), source })?;
        let mut connection = Connection::open(path).map_err(failed)?;
        prepare(&mut connection, schema).map_err(failed)?;
        let (requests, receiver) = channel();
        std::thread::Builder::new()
            .name("corten-db".into())
            .spawn(move || write_loop(connection, &receiver))
            .map_err(DatabaseError::Thread)?;
        let inner = Inner { path: path.to_owned(), durability, requests, readers: Mutex::new(Vec::new()) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs `change` in a transaction and returns once it is as durable as asked (never more than the file itself).
    pub(crate) async fn write<T, F>(&self, durability: Durability, change: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(durability, change)?.await.map_err(|_| DatabaseError::Closed)?
    }

    /// [`Database::write`] of something that only removes: room is made for it on a full disk.
    pub(crate) async fn write_removal<T, F>(
        &self,
        durability: Durability,
        change: F,
    ) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.make_room();
        self.write(durability, change).await
    }

    /// Gives up the reserve beside the database, if there is one and the disk is nearly full.
    pub(crate) fn make_room(&self) {
        if let Some(directory) = self.inner.path.parent() {
            Reserve::new(directory.join(RESERVE)).release_if_low();
        }
    }

    /// [`Database::write`] for threads outside the async runtime.
    pub(crate) fn write_blocking<T, F>(&self, durability: Durability, change: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let mut receiver = self.submit(durability, change)?;
        loop {
            // `blocking_recv` panics on a runtime's worker; a plain wait is right on both kinds of thread.
            match receiver.try_recv() {
                Ok(result) => return result,
                Err(oneshot::error::TryRecvError::Closed) => return Err(DatabaseError::Closed),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
            let mut context = std::task::Context::from_waker(&waker);
            match std::pin::Pin::new(&mut receiver).poll(&mut context) {
                std::task::Poll::Ready(result) => return result.map_err(|_| DatabaseError::Closed)?,
                std::task::Poll::Pending => std::thread::park(),
            }
        }
    }

    fn submit<T, F>(
        &self,
        durability: Durability,
        change: F,
    ) -> Result<oneshot::Receiver<Result<T, DatabaseError>>, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, receiver) = oneshot::channel();
        let job: Job = Box::new(move |transaction| {
            let outcome = transaction.map(|transaction| in_savepoint(transaction, change));
            Box::new(move |committed| {
                let result = match (outcome, committed) {
                    (Some(Err(error)), _) => Err(DatabaseError::Statement(error)),
                    (_, Err(error)) => Err(error),
                    (Some(Ok(value)), Ok(())) => Ok(value),
                    (None, Ok(())) => Err(DatabaseError::Closed),
                };
                // The caller may have gone away; the change stands all the same.
                let _ = reply.send(result);
            })
        });
        let durability = durability.min(self.inner.durability);
        self.inner.requests.send(Request { durability, job }).map_err(|_| DatabaseError::Closed)?;
        Ok(receiver)
    }

    /// Runs `query` on a connection that cannot write.
    pub(crate) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let idle = self.inner.readers.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.reader()?,
        };
        let result = query(&connection);
        let mut readers = self.inner.readers.lock();
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        Ok(result?)
    }

    fn reader(&self) -> Result<Connection, DatabaseError> {
        let failed = |source| DatabaseError::Open { path: self.inner.path.clone(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.inner.path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        Ok(connection)
    }
}

/// Makes the file where there is none, for its owner only. SQLite's other files get its mode: environments and secrets
/// of containers lie in them.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = std::fs::File::options().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn prepare(connection: &mut Connection, schema: &[&str]) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // Before the first table: it cannot be changed afterwards.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // The log stays below a megabyte; SQLite's own 1000 pages are four, which idle daemons would keep on disk.
    connection.pragma_update(None, "wal_autocheckpoint", 200)?;
    connection.pragma_update(None, "journal_size_limit", 1 << 20)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let done: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(done).unwrap_or(usize::MAX);
    for (number, step) in schema.iter().enumerate().skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", i64::try_from(number + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}

/// How many free pages (4 KiB each) are worth giving back while there is work.
const FREE_PAGES: i64 = 256;
/// How many are when there is none.
const FREE_PAGES_IDLE: i64 = 32;
/// How long after the last change there is no work.
const IDLE: Duration = Duration::from_millis(500);

fn write_loop(mut connection: Connection, requests: &Receiver<Request>) {
    let mut current = Durability::Full;
    let mut tidy = true;
    loop {
        let first =
            if tidy { requests.recv().map_err(RecvTimeoutError::from) } else { requests.recv_timeout(IDLE) };
        let first = match first {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                tidy = true;
                if let Err(error) = shrink(&connection) {
                    tracing::debug!(%error, "could not shorten the database");
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        tidy = false;
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(next) = requests.try_recv()
        {
            group.push(next);
        }
        let durability = group.iter().map(|request| request.durability).max().unwrap_or(Durability::Full);
        if durability != current {
            // In WAL mode NORMAL leaves the sync to the next FULL commit or checkpoint, whichever comes first.
            let level = if durability == Durability::Full { "FULL" } else { "NORMAL" };
            if let Err(error) = connection.pragma_update(None, "synchronous", level) {
                tracing::warn!(%error, level, "could not change the durability of the database");
            } else {
                current = durability;
            }
        }
        commit_group(&mut connection, group);
        if let Err(error) = give_back(&connection, FREE_PAGES) {
            tracing::debug!(%error, "could not shorten the database");
        }
    }
}

/// Leaves an idle daemon's files as small as what is in them.
fn shrink(connection: &Connection) -> rusqlite::Result<()> {
    give_back(connection, FREE_PAGES_IDLE)?;
    // A reader that is in the middle of something keeps the log; the next pause comes.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Gives free pages back to the file system, a megabyte at a time, when there are `worth` of them and they are most of
/// the file: what was removed must not go on filling the disk, and a file that breathes must not be cut at every breath.
fn give_back(connection: &Connection, worth: i64) -> rusqlite::Result<()> {
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if free < worth {
        return Ok(());
    }
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if free * 2 < pages {
        return Ok(());
    }
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({FREE_PAGES})"))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn commit_group(connection: &mut Connection, group: Vec<Request>) {
    let transaction = match connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = Arc::new(error);
            for request in group {
                (request.job)(None)(Err(DatabaseError::Commit(error.clone())));
            }
            return;
        }
    };
    let replies: Vec<Reply> = group.into_iter().map(|request| (request.job)(Some(&transaction))).collect();
    let committed = transaction.commit().map_err(Arc::new);
    for reply in replies {
        reply(committed.clone().map_err(DatabaseError::Commit));
    }
}

fn in_savepoint<T>(
    transaction: &Transaction<'_>,
    change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    transaction.execute_batch("SAVEPOINT change")?;
    match change(transaction) {
        Ok(value) => {
            transaction.execute_batch("RELEASE change")?;
            Ok(value)
        }
        Err(error) => {
            transaction.execute_batch("ROLLBACK TO change; RELEASE change")?;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &[&str] = &["CREATE TABLE t (a INTEGER PRIMARY KEY)"];

    #[test]
    fn what_was_removed_is_given_back_to_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let mut connection = Connection::open(&path).unwrap();
        prepare(&mut connection, &["CREATE TABLE b (bytes BLOB)"]).unwrap();
        connection.execute("INSERT INTO b VALUES (zeroblob(4 << 20))", []).unwrap();
        let pages = |connection: &Connection| -> i64 {
            connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap()
        };
        let full = pages(&connection);
        connection.execute("DELETE FROM b", []).unwrap();
        for _ in 0..full / FREE_PAGES + 1 {
            give_back(&connection, FREE_PAGES).unwrap();
        }
        assert!(full > 1024 && pages(&connection) < 2 * FREE_PAGES, "{full} {}", pages(&connection));
    }

    #[test]
    fn an_idle_database_is_as_small_as_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let db = Database::open(&path, Durability::Full, &["CREATE TABLE b (bytes BLOB)"]).unwrap();
        db.write_blocking(Durability::Full, |tx| tx.execute("INSERT INTO b VALUES (zeroblob(900000))", []))
            .unwrap();
        db.write_blocking(Durability::Full, |tx| tx.execute("DELETE FROM b", [])).unwrap();
        let size = |name: &str| dir.path().join(name).metadata().unwrap().len();
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while size("x.db-wal") > 0 || size("x.db") > 200_000 {
            assert!(std::time::Instant::now() < until, "{} {}", size("x.db"), size("x.db-wal"));
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_failed_change_leaves_nothing_and_spares_its_neighbours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let db = Database::open(&path, Durability::Full, SCHEMA).unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        db.write_blocking(Durability::Full, |tx| tx.execute("INSERT INTO t VALUES (1)", [])).unwrap();
        let failed = db.write_blocking(Durability::None, |tx| {
            tx.execute("INSERT INTO t VALUES (2)", [])?;
            tx.execute("INSERT INTO t VALUES (1)", [])
        });
        assert!(matches!(failed, Err(DatabaseError::Statement(_))));
        let count: i64 = db.read(|c| c.query_row("SELECT count(*) FROM t", [], |r| r.get(0))).unwrap();
        assert_eq!(count, 1);
    }

    #[test]
    fn the_schema_advances_from_where_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        drop(Database::open(&path, Durability::Full, SCHEMA).unwrap());
        let two = [SCHEMA[0], "CREATE TABLE u (b TEXT)"];
        let db = Database::open(&path, Durability::Full, &two).unwrap();
        db.write_blocking(Durability::Full, |tx| tx.execute("INSERT INTO u VALUES ('x')", [])).unwrap();
    }
}
