//! What was found to be damaged: it counts as not being here until it has come again.

use ferry_oci::digest::Digest;
use rusqlite::Transaction;

use super::Database;
use crate::error::StoreError;

impl Database {
    /// Whether a blob, or the layer of this diff id, is damaged.
    pub(crate) fn is_damaged(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.read("read what is damaged", |connection| {
            let sql = "SELECT 1 FROM damaged WHERE digest = ?";
            connection.prepare_cached(sql)?.exists([digest.as_str()])
        })
    }
}

/// Forgets the damage of what has just come again.
pub(super) fn clear_damage(transaction: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<()> {
    let sql = "DELETE FROM damaged WHERE digest = ?";
    transaction.prepare_cached(sql)?.execute([digest.as_str()]).map(drop)
}
