//! Leases: what unfinished operations hold, beyond the death of the engine.

use ferry_oci::digest::Digest;
use rusqlite::{Transaction, params};

use super::layers::{insert_blob, insert_layer};
use super::{BlobRow, Database, LayerRow, Synchronous};
use crate::error::StoreError;

/// A layer that a pull has finished, with all its files in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished<'a> {
    pub lease: &'a str,
    /// When the lease ends, in seconds since 1970.
    pub lease_expires: i64,
    /// `None` when the layer was here.
    pub layer: Option<&'a LayerRow>,
    pub diff_id: &'a Digest,
    /// Its compressed form.
    pub blob: &'a BlobRow,
}

impl Database {
    /// Makes a lease, or lets it last longer.
    pub(crate) fn renew_lease(&self, id: &str, expires: i64) -> Result<(), StoreError> {
        self.write("renew a lease", Synchronous::Normal, |transaction| {
            renew(transaction, id, expires)
        })
    }

    /// Records a layer under a lease.
    ///
    /// It need not survive a power failure: a layer that no row knows is swept and fetched again.
    pub(crate) fn finish_layer(&self, finished: &Finished<'_>) -> Result<(), StoreError> {
        self.write("record a layer", Synchronous::Normal, |transaction| {
            if let Some(layer) = finished.layer {
                insert_layer(transaction, layer)?;
            }
            insert_blob(transaction, finished.blob, Some(finished.diff_id))?;
            renew(transaction, finished.lease, finished.lease_expires)?;
            let sql = "INSERT OR IGNORE INTO lease_items VALUES (?, ?)";
            let mut insert = transaction.prepare_cached(sql)?;
            for item in [finished.diff_id, &finished.blob.digest] {
                insert.execute([finished.lease, item.as_str()])?;
            }
            Ok(())
        })
    }

    /// The leases, and when each ends.
    pub(crate) fn leases(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.read("read the leases", |connection| {
            let mut statement = connection.prepare_cached("SELECT id, expires FROM leases")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// Ends leases.
    pub(crate) fn end_leases(&self, ids: &[String]) -> Result<(), StoreError> {
        self.write("end leases", Synchronous::Normal, |transaction| {
            ids.iter().try_for_each(|id| end_lease(transaction, id))
        })
    }
}

fn renew(transaction: &Transaction<'_>, id: &str, expires: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO leases VALUES (?, ?)
        ON CONFLICT (id) DO UPDATE SET expires = max(expires, excluded.expires)";
    transaction.prepare_cached(sql)?.execute(params![id, expires]).map(drop)
}

pub(super) fn end_lease(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM leases WHERE id = ?")?.execute([id]).map(drop)
}
