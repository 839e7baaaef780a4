//! The metadata: one SQLite database per data root.
//!
//! # Durability
//! The journal is a write-ahead log with `synchronous = NORMAL`: a commit is an append to a file
//! in the page cache, so it survives the death of any process, costs tens of microseconds, and may
//! be lost in a power failure together with all that came after it; what is there is consistent.
//! That is right for records of containers, which a power failure ends anyway. Transactions that
//! make or remove images run with `synchronous = FULL`: what they refer to was synchronised before,
//! and a user who saw `Loaded image` must find it again.

mod images;
mod layers;
mod records;
mod schema;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::StoreError;

pub(crate) use self::images::{Arrival, BlobRow, ImageRow, NewImage};
pub(crate) use self::layers::LayerRow;

/// A connection to `ferry.db`.
///
/// One for all: every statement takes microseconds, and SQLite has one writer anyway.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Mutex<Connection>,
}

/// How long a commit must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Synchronous {
    Normal,
    Full,
}

impl Database {
    /// Opens or makes the database and brings it to the newest version.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let open = StoreError::database("open the database");
        let mut connection = Connection::open(path).map_err(open)?;
        configure(&connection).map_err(StoreError::database("configure the database"))?;
        schema::migrate(&mut connection, path)?;
        Ok(Self { connection: Mutex::new(connection) })
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
        if synchronous == Synchronous::Full {
            set(&connection, "NORMAL")?;
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere left no transaction open: dropping one rolls it back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    // Kilobytes: our rows are small, and the engine is to be small when idle.
    connection.pragma_update(None, "cache_size", -512)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}
