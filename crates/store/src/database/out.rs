//! What giving images out asks and remembers.

use ferry_oci::digest::Digest;
use ferry_oci::reference::Reference;
use rusqlite::{OptionalExtension as _, Row, params};

use super::layers::{digest, optional_digest};
use super::manifests::insert_source;
use super::{BlobRow, Database, Synchronous};
use crate::error::StoreError;
use crate::image::{ImageId, Timestamp};

impl Database {
    /// The tags of a repository (`docker.io/library/busybox`), sorted, and their images.
    pub(crate) fn tags_of_repository(
        &self,
        repository: &str,
    ) -> Result<Vec<(Reference, ImageId)>, StoreError> {
        self.read("list the names", |connection| {
            // Between them is all that begins with the repository and a colon.
            let (first, last) = (format!("{repository}:"), format!("{repository};"));
            let sql = "SELECT reference, image_id FROM names
                WHERE reference >= ? AND reference < ? ORDER BY reference";
            let row = |row: &Row<'_>| {
                Ok((super::images::reference(row)?, ImageId::from(digest(row, 1)?)))
            };
            let found = connection.prepare_cached(sql)?.query_map([first, last], row)?.collect();
            let found: rusqlite::Result<Vec<(Reference, ImageId)>> = found;
            Ok(found?.into_iter().filter(|(name, _)| name.digest().is_none()).collect())
        })
    }

    /// The image that a container was made from; `None` when from none, or there is no container.
    pub(crate) fn container_image(&self, container: &str) -> Result<Option<ImageId>, StoreError> {
        self.read("read a container's image", |connection| {
            let sql = "SELECT image_id FROM container_filesystems WHERE container_id = ?";
            let found = connection
                .prepare_cached(sql)?
                .query_row([container], |row| optional_digest(row, 0))
                .optional()?;
            Ok(found.flatten().map(ImageId::from))
        })
    }

    /// The compressed forms of a layer.
    pub(crate) fn blob_rows_of_layer(&self, diff_id: &Digest) -> Result<Vec<BlobRow>, StoreError> {
        self.read("read a layer's blobs", |connection| {
            let sql =
                "SELECT digest, size, media_type FROM blobs WHERE diff_id = ? ORDER BY digest";
            let row = |row: &Row<'_>| {
                Ok(BlobRow { digest: digest(row, 0)?, size: row.get(1)?, media_type: row.get(2)? })
            };
            connection.prepare_cached(sql)?.query_map([diff_id.as_str()], row)?.collect()
        })
    }

    /// Records that a repository has an image under a digest, and these blobs.
    pub(crate) fn note_pushed(
        &self,
        name: &Reference,
        image: &ImageId,
        target: &Digest,
        blobs: &[Digest],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("record a push", Synchronous::Full, |transaction| {
            let by_digest = name.with_digest(target.clone()).to_string();
            let sql = "INSERT INTO names (reference, image_id, target) VALUES (?, ?, ?)
                ON CONFLICT (reference) DO UPDATE SET
                image_id = excluded.image_id, target = excluded.target";
            transaction.execute(sql, params![by_digest, image.as_str(), target.as_str()])?;
            // A name of an index of which only one manifest went out goes on standing for it.
            let sql = "UPDATE names SET target = ? WHERE reference = ? AND target IS NULL";
            transaction.execute(sql, params![target.as_str(), name.to_string()])?;
            for blob in blobs {
                insert_source(transaction, blob, &name.name(), now.seconds)?;
            }
            Ok(())
        })
    }
}
