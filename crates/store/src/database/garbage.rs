//! What a collection has to know, and the rows that it deletes.

use std::collections::{HashMap, HashSet};

use ferry_oci::digest::Digest;
use rusqlite::{Connection, Row};

use super::layers::{digest, optional_digest};
use super::{Database, Synchronous};
use crate::collect::{Garbage, Snapshot, SnapshotManifest};
use crate::error::StoreError;

impl Database {
    /// All that decides what is needed. What is pinned the database does not know.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.read("read what is needed", |connection| {
            let mut snapshot = Snapshot {
                layers: collect(connection, "SELECT diff_id, archive_size FROM layers", |row| {
                    Ok((digest(row, 0)?, row.get(1)?))
                })?,
                blobs: collect(connection, "SELECT digest, diff_id FROM blobs", |row| {
                    Ok((digest(row, 0)?, optional_digest(row, 1)?))
                })?,
                needed_layers: collect(
                    connection,
                    "SELECT diff_id FROM image_layers UNION SELECT diff_id FROM container_layers",
                    |row| digest(row, 0),
                )?,
                images: collect(connection, "SELECT id FROM images", |row| digest(row, 0))?,
                targets: collect(
                    connection,
                    "SELECT target FROM names WHERE target IS NOT NULL
                    UNION SELECT manifest_digest FROM images WHERE manifest_digest IS NOT NULL",
                    |row| digest(row, 0),
                )?,
                leased: collect(connection, "SELECT digest FROM lease_items", |row| {
                    digest(row, 0)
                })?,
                manifests: collect(
                    connection,
                    "SELECT digest, image_id, subject FROM manifests",
                    |row| {
                        Ok(SnapshotManifest {
                            digest: digest(row, 0)?,
                            image: optional_digest(row, 1)?,
                            subject: optional_digest(row, 2)?,
                        })
                    },
                )?,
                children: HashMap::new(),
                pinned: HashSet::new(),
            };
            let children: Vec<(Digest, Digest)> = collect(
                connection,
                "SELECT parent, digest FROM manifest_children ORDER BY parent, position",
                |row| Ok((digest(row, 0)?, digest(row, 1)?)),
            )?;
            for (parent, child) in children {
                snapshot.children.entry(parent).or_default().push(child);
            }
            Ok(snapshot)
        })
    }

    /// Forgets what nothing needs; tells of how much of it that was still true.
    ///
    /// It waits for the disk, since the files go next: a power failure must not bring back a row,
    /// or the lease that held it and ended just before, when the file is gone.
    pub(crate) fn delete_garbage(&self, garbage: &[Garbage]) -> Result<Vec<Garbage>, StoreError> {
        self.write("forget what nothing needs", Synchronous::Full, |transaction| {
            let mut deleted = Vec::with_capacity(garbage.len());
            for thing in garbage {
                let (sql, digest) = match thing {
                    Garbage::Manifest(digest) => ("DELETE FROM manifests WHERE digest = ?", digest),
                    Garbage::Blob(digest) => ("DELETE FROM blobs WHERE digest = ?", digest),
                    // A container may have taken hold of it since.
                    Garbage::Layer(diff_id) => (
                        "DELETE FROM layers WHERE diff_id = ?1
                        AND NOT EXISTS (SELECT 1 FROM image_layers WHERE diff_id = ?1)
                        AND NOT EXISTS (SELECT 1 FROM container_layers WHERE diff_id = ?1)",
                        diff_id,
                    ),
                };
                if transaction.prepare_cached(sql)?.execute([digest.as_str()])? > 0 {
                    deleted.push(thing.clone());
                }
            }
            Ok(deleted)
        })
    }

    /// Forgets where blobs were seen, and what was damaged, of what is not here any more.
    pub(crate) fn delete_orphaned_notes(&self) -> Result<(), StoreError> {
        self.write("forget notes", Synchronous::Normal, |transaction| {
            transaction.execute_batch(
                "DELETE FROM blob_sources WHERE digest NOT IN (SELECT digest FROM blobs
                    UNION SELECT digest FROM manifest_children);
                DELETE FROM damaged WHERE digest NOT IN (SELECT digest FROM blobs
                    UNION SELECT diff_id FROM layers UNION SELECT digest FROM manifests
                    UNION SELECT id FROM images);",
            )
        })
    }
}

fn collect<T, C: FromIterator<T>>(
    connection: &Connection,
    sql: &str,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<C> {
    connection.prepare_cached(sql)?.query_map([], row)?.collect()
}
