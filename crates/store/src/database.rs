//! The metadata: one SQLite database per data root.
//!
//! # Durability
//! The journal is a write-ahead log with `synchronous = NORMAL`: a commit is an append to a file
//! in the page cache, so it survives the death of any process, costs tens of microseconds, and may
//! be lost in a power failure together with all that came after it; what is there is consistent.
//! That is right for records of containers, which a power failure ends anyway. Transactions that
//! make or remove images run with `synchronous = FULL`: what they refer to was synchronised before,
//! and a user who saw `Loaded image` must find it again. So do those that forget layers and blobs,
//! whose files go next: such a commit brings all before it to the disk too, the end of a lease or of
//! a container among them.

mod damage;
mod garbage;
mod images;
mod layers;
mod leases;
mod manifests;
mod out;
mod records;
mod repair;
mod schema;
mod usage;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::error::StoreError;

pub(crate) use self::damage::Stored;
pub(crate) use self::images::{Arrival, BlobRow, ImageRow, NewImage};
pub(crate) use self::layers::LayerRow;
pub(crate) use self::leases::Finished;
pub(crate) use self::manifests::{ChildRow, ManifestKind, ManifestRow};

/// A connection to `ferry.db`.
///
/// One for all: every statement takes microseconds, and SQLite has one writer anyway.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Mutex<Connection>,
    path: PathBuf,
    /// Transactions since the log was last folded into the database.
    writes: AtomicU32,
    checkpoint: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Database {
    /// Waits for the log to be folded: nothing of ours touches the data root afterwards.
    fn drop(&mut self) {
        let thread = self.checkpoint.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("folding the log into the database panicked");
        }
    }
}

/// How many transactions go into the log before it is folded into the database: a few megabytes.
const CHECKPOINT_EVERY: u32 = 256;

/// How long a commit must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Synchronous {
    Normal,
    Full,
}

impl Database {
    /// Opens or makes the database and brings it to the newest version.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let open = StoreError::database("open the database");
        make_private(path)?;
        let mut connection = Connection::open(path).map_err(open)?;
        configure(&connection).map_err(StoreError::database("configure the database"))?;
        schema::migrate(&mut connection, path)?;
        let (path, writes) = (path.to_owned(), AtomicU32::new(0));
        let (connection, checkpoint) = (Mutex::new(connection), Mutex::new(None));
        Ok(Self { connection, path, writes, checkpoint })
    }

    /// Reads.
    fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        work(&self.lock()).map_err(StoreError::database(doing))
    }

    /// Runs a transaction; an error of `work` undoes it.
    fn write<T>(
        &self,
        doing: &'static str,
        synchronous: Synchronous,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        let set = |connection: &Connection, value: &str| {
            let configure = StoreError::database("configure the database");
            connection.pragma_update(None, "synchronous", value).map_err(configure)
        };
        if synchronous == Synchronous::Full {
            set(&connection, "FULL")?;
        }
        let result = transact(&mut connection, work).map_err(StoreError::database(doing));
        if synchronous == Synchronous::Full
            && let Err(error) = set(&connection, "NORMAL")
        {
            // It is committed, or not, all the same; only later commits will be slow.
            tracing::warn!(%error, "commits go on waiting for the disk");
        }
        drop(connection);
        if self.writes.fetch_add(1, Ordering::Relaxed) + 1 == CHECKPOINT_EVERY {
            self.writes.store(0, Ordering::Relaxed);
            self.checkpoint_in_background();
        }
        result
    }

    /// Folds the log into the database through a connection of its own: writers need not wait.
    fn checkpoint_in_background(&self) {
        let path = self.path.clone();
        let fold = move || -> rusqlite::Result<()> {
            let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        };
        let mut running = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned());
        let spawned = thread.spawn(|| {
            // The log only grows; the next time may have more luck.
            if let Err(error) = fold() {
                tracing::warn!(%error, "cannot fold the log into the database");
            }
        });
        match spawned {
            Ok(thread) => *running = Some(thread),
            Err(error) => tracing::warn!(%error, "cannot start a thread"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere left no transaction open: dropping one rolls it back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the database so that only we can read it, or makes an old one so: records hold what was
/// given to containers in confidence. SQLite gives its log and index the database's permissions.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let fail = |e| StoreError::file("make private", path, e);
    File::options().create(true).append(true).mode(0o600).open(path).map_err(fail)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::set_permissions(&name, Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
    }
    Ok(())
}

fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // SQLite would fold the log into the database at some commits, make that commit wait for the
    // disk, and call it failed when only the folding failed. We do it elsewhere.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // Kilobytes: our rows are small, and the engine is to be small when idle.
    connection.pragma_update(None, "cache_size", -512)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}
