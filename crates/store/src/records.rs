//! A durable table of the engine's records: bodies that the store does not look into.

use crate::database::Synchronous;
use crate::error::StoreError;
use crate::store::Store;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id, unique within its kind.
    pub id: String,
    /// Version of the body's form; the writer's business.
    pub version: u32,
    /// The body.
    pub body: Vec<u8>,
}

/// The engine's records, by kind and id.
///
/// A write is safe from the death of any process once the call returns. After a power failure the
/// last writes may be missing, but those that are there are whole and in order: a running container
/// does not survive a power failure anyway, and waiting for the disk at every change of phase would
/// cost more than all the rest of a start. Images wait for the disk, and so do records that a person
/// asked for: those written with [`Records::put_on_disk`].
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    store: &'a Store,
}

impl<'a> Records<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Writes a record, new or anew.
    ///
    /// # Errors
    /// When the database cannot be written; nothing is changed then.
    pub fn put(&self, kind: &str, id: &str, version: u32, body: &[u8]) -> Result<(), StoreError> {
        self.store.database().put_record(kind, id, version, body, Synchronous::Normal)
    }

    /// As [`Records::put`], and it holds after a power failure too.
    ///
    /// # Errors
    /// When the database cannot be written; nothing is changed then.
    pub fn put_on_disk(
        &self,
        kind: &str,
        id: &str,
        version: u32,
        body: &[u8],
    ) -> Result<(), StoreError> {
        self.store.database().put_record(kind, id, version, body, Synchronous::Full)
    }

    /// Removes a record; one that is not there is no error.
    ///
    /// # Errors
    /// When the database cannot be written; nothing is changed then.
    pub fn delete(&self, kind: &str, id: &str) -> Result<(), StoreError> {
        self.store.database().delete_record(kind, id, Synchronous::Normal)
    }

    /// As [`Records::delete`], and it holds after a power failure too.
    ///
    /// # Errors
    /// When the database cannot be written; nothing is changed then.
    pub fn delete_on_disk(&self, kind: &str, id: &str) -> Result<(), StoreError> {
        self.store.database().delete_record(kind, id, Synchronous::Full)
    }

    /// Reads one record.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn get(&self, kind: &str, id: &str) -> Result<Option<Record>, StoreError> {
        self.store.database().get_record(kind, id)
    }

    /// Reads all records of a kind, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&self, kind: &str) -> Result<Vec<Record>, StoreError> {
        self.store.database().list_records(kind)
    }
}
