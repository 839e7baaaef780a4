//! The engine's records.

use rusqlite::{OptionalExtension as _, params};

use super::{Database, Synchronous};
use crate::error::StoreError;
use crate::records::Record;

impl Database {
    pub(crate) fn put_record(
        &self,
        kind: &str,
        id: &str,
        version: u32,
        body: &[u8],
        synchronous: Synchronous,
    ) -> Result<(), StoreError> {
        self.write("write a record", synchronous, |transaction| {
            let sql = "INSERT INTO records (kind, id, version, body) VALUES (?, ?, ?, ?)
                ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, body = excluded.body";
            transaction.prepare_cached(sql)?.execute(params![kind, id, version, body]).map(drop)
        })
    }

    pub(crate) fn delete_record(
        &self,
        kind: &str,
        id: &str,
        synchronous: Synchronous,
    ) -> Result<(), StoreError> {
        self.write("delete a record", synchronous, |transaction| {
            let sql = "DELETE FROM records WHERE kind = ? AND id = ?";
            transaction.prepare_cached(sql)?.execute(params![kind, id]).map(drop)
        })
    }

    pub(crate) fn get_record(&self, kind: &str, id: &str) -> Result<Option<Record>, StoreError> {
        self.read("read a record", |connection| {
            let sql = "SELECT id, version, body FROM records WHERE kind = ? AND id = ?";
            connection.prepare_cached(sql)?.query_row(params![kind, id], record).optional()
        })
    }

    pub(crate) fn list_records(&self, kind: &str) -> Result<Vec<Record>, StoreError> {
        self.read("read the records", |connection| {
            let sql = "SELECT id, version, body FROM records WHERE kind = ? ORDER BY id";
            connection.prepare_cached(sql)?.query_map([kind], record)?.collect()
        })
    }
}

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record { id: row.get(0)?, version: row.get(1)?, body: row.get(2)? })
}
