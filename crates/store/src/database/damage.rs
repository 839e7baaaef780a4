//! What was found to be damaged: it counts as not being here until it has come again.

use ferry_oci::digest::Digest;
use rusqlite::Transaction;

use super::Database;
use crate::error::StoreError;

impl Database {
    /// Whether something is damaged.
    pub(crate) fn is_damaged(&self, what: Stored<'_>) -> Result<bool, StoreError> {
        let (digest, what) = what.columns();
        self.read("read what is damaged", |connection| {
            let sql = "SELECT 1 FROM damaged WHERE digest = ? AND what = ?";
            connection.prepare_cached(sql)?.exists([digest.as_str(), what])
        })
    }
}

/// What can be damaged. A layer that was pulled as it is has the digest of its blob: they are two
/// files all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored<'a> {
    /// A compressed layer, a configuration, a manifest.
    Blob(&'a Digest),
    /// A layer, by its diff id.
    Layer(&'a Digest),
}

impl<'a> Stored<'a> {
    /// Its digest, and what the table calls it.
    pub(super) fn columns(self) -> (&'a Digest, &'static str) {
        match self {
            Self::Blob(digest) => (digest, "blob"),
            Self::Layer(digest) => (digest, "layer"),
        }
    }
}

/// Forgets the damage of what has just come again.
pub(super) fn clear_damage(
    transaction: &Transaction<'_>,
    what: Stored<'_>,
) -> rusqlite::Result<()> {
    let (digest, what) = what.columns();
    let sql = "DELETE FROM damaged WHERE digest = ? AND what = ?";
    transaction.prepare_cached(sql)?.execute([digest.as_str(), what]).map(drop)
}
