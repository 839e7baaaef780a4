//! What a scrub records, and the layers that are exchanged for good ones.

use rusqlite::params;

use super::damage::{Stored, clear_damage};
use super::layers::insert_layer;
use super::{Database, LayerRow, Synchronous};
use crate::error::StoreError;

impl Database {
    /// Remembers that something is damaged: from now on it counts as not being here.
    pub(crate) fn mark_damaged(&self, what: Stored<'_>, found: i64) -> Result<(), StoreError> {
        let (digest, what) = what.columns();
        self.write("record damage", Synchronous::Full, |transaction| {
            let sql = "INSERT OR REPLACE INTO damaged VALUES (?, ?, ?)";
            transaction.execute(sql, params![digest.as_str(), what, found]).map(drop)
        })
    }

    /// What is wrong with the database's own file, as SQLite says; `None` when it is whole.
    pub(crate) fn problem(&self) -> Result<Option<String>, StoreError> {
        self.read("check the database", |connection| {
            let found: String =
                connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            Ok((found != "ok").then_some(found))
        })
    }

    /// Says that something is whole again.
    pub(crate) fn forget_damage(&self, what: Stored<'_>) -> Result<(), StoreError> {
        self.write("forget damage", Synchronous::Full, |transaction| {
            clear_damage(transaction, what)
        })
    }

    /// Records a layer that took the place of the one that was here; false when none is any more.
    pub(crate) fn replace_layer(&self, layer: &LayerRow) -> Result<bool, StoreError> {
        self.write("exchange a layer", Synchronous::Full, |transaction| {
            let sql = "SELECT 1 FROM layers WHERE diff_id = ?";
            if !transaction.prepare_cached(sql)?.exists([layer.diff_id.as_str()])? {
                return Ok(false);
            }
            insert_layer(transaction, layer)?;
            Ok(true)
        })
    }
}
