//! Images and their names.

use ferry_oci::digest::Digest;
use ferry_oci::reference::Reference;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::damage::{Stored, clear_damage};
use super::layers::{digest, insert_blob, insert_layer, optional_digest};
use super::leases::end_lease;
use super::manifests::{insert_manifest, insert_source};
use super::{ChildRow, Database, LayerRow, ManifestRow, Synchronous};
use crate::error::StoreError;
use crate::image::{ImageId, Timestamp};

/// What the database knows of an image.
#[derive(Debug, Clone)]
pub(crate) struct ImageRow {
    pub id: ImageId,
    pub parent: Option<ImageId>,
    pub manifest_digest: Option<Digest>,
    pub last_tagged: Option<Timestamp>,
    /// Names with a tag or a digest, sorted.
    pub names: Vec<Reference>,
    /// Sizes of its layers as Docker counts them, lowest first.
    pub layer_sizes: Vec<u64>,
}

/// A blob that is already in its place.
#[derive(Debug, Clone)]
pub(crate) struct BlobRow {
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
}

/// An image to be recorded, with all that it needs in place.
#[derive(Debug, Clone)]
pub(crate) struct NewImage {
    pub id: ImageId,
    pub layers: Vec<Digest>,
    pub parent: Option<ImageId>,
    pub manifest: Option<BlobRow>,
    pub names: Vec<Reference>,
    /// The manifest or the index that the names stand for.
    pub target: Option<Digest>,
}

/// All that one load, import or pull brings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrival {
    pub layers: Vec<LayerRow>,
    /// Compressed forms, with the layers they are of; or blobs that are of none.
    pub blobs: Vec<(BlobRow, Option<Digest>)>,
    pub images: Vec<NewImage>,
    pub manifests: Vec<(ManifestRow, Vec<ChildRow>)>,
    /// Blobs, and repositories that have them.
    pub sources: Vec<(Digest, String)>,
    /// The lease that held until now what is here.
    pub ends_lease: Option<String>,
}

impl Database {
    /// Records everything that arrived, or nothing; tells which names moved from which images.
    pub(crate) fn insert_arrival(
        &self,
        arrival: &Arrival,
        now: Timestamp,
    ) -> Result<Vec<(Reference, ImageId)>, StoreError> {
        self.write("record images", Synchronous::Full, |transaction| {
            for layer in &arrival.layers {
                insert_layer(transaction, layer)?;
            }
            for (blob, layer) in &arrival.blobs {
                insert_blob(transaction, blob, layer.as_ref())?;
            }
            let mut moved = Vec::new();
            for image in &arrival.images {
                insert_image(transaction, image)?;
                for name in &image.names {
                    let target = image.target.as_ref();
                    let from = put_name(transaction, name, &image.id, target, now)?;
                    moved.extend(from.map(|from| (name.clone(), from)));
                }
            }
            for (manifest, children) in &arrival.manifests {
                insert_manifest(transaction, manifest, children)?;
            }
            for (blob, repository) in &arrival.sources {
                insert_source(transaction, blob, repository, now.seconds)?;
            }
            if let Some(lease) = &arrival.ends_lease {
                end_lease(transaction, lease)?;
            }
            Ok(moved)
        })
    }

    /// Gives an image a name, which stands for `target` from now on.
    pub(crate) fn put_name(
        &self,
        name: &Reference,
        image: &ImageId,
        target: Option<&Digest>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("name an image", Synchronous::Full, |transaction| {
            put_name(transaction, name, image, target, now).map(drop)
        })
    }

    /// Takes names away and, with `image`, forgets the image too.
    pub(crate) fn delete_names(
        &self,
        names: &[Reference],
        image: Option<&ImageId>,
    ) -> Result<(), StoreError> {
        self.write("remove an image", Synchronous::Full, |transaction| {
            for name in names {
                let sql = "DELETE FROM names WHERE reference = ?";
                transaction.prepare_cached(sql)?.execute([name.to_string()])?;
            }
            if let Some(image) = image {
                transaction.execute("DELETE FROM images WHERE id = ?", [image.as_str()])?;
            }
            Ok(())
        })
    }

    /// Lets the names that stand for an index and lead to one of its images lead to another.
    pub(crate) fn move_names(
        &self,
        target: &Digest,
        from: &ImageId,
        to: &ImageId,
    ) -> Result<(), StoreError> {
        self.write("rename an image", Synchronous::Full, |transaction| {
            let sql = "UPDATE names SET image_id = ? WHERE target = ? AND image_id = ?";
            let values = params![to.as_str(), target.as_str(), from.as_str()];
            transaction.execute(sql, values).map(drop)
        })
    }

    /// Images without a name that the indexes list which names stand for.
    pub(crate) fn images_of_indexes(&self) -> Result<Vec<ImageId>, StoreError> {
        self.read("read the indexes", |connection| {
            let sql = "WITH RECURSIVE listed (digest) AS (
                    SELECT target FROM names WHERE target IS NOT NULL
                    UNION SELECT manifest_children.digest
                    FROM listed JOIN manifest_children ON parent = listed.digest)
                SELECT DISTINCT image_id FROM listed JOIN manifests USING (digest)
                WHERE image_id IN (SELECT id FROM images)
                AND image_id NOT IN (SELECT image_id FROM names)";
            connection.prepare_cached(sql)?.query_map([], image_id)?.collect()
        })
    }

    pub(crate) fn image_by_name(&self, name: &Reference) -> Result<Option<ImageId>, StoreError> {
        self.read("find an image", |connection| {
            let sql = "SELECT image_id FROM names WHERE reference = ?";
            connection.prepare_cached(sql)?.query_row([name.to_string()], image_id).optional()
        })
    }

    /// Images whose id begins with these digits; two are enough to know it is ambiguous.
    pub(crate) fn images_by_prefix(&self, digits: &str) -> Result<Vec<ImageId>, StoreError> {
        self.read("find an image", |connection| {
            // All after the digits sorts before `g`.
            let (first, last) = (format!("sha256:{digits}"), format!("sha256:{digits}g"));
            let sql = "SELECT id FROM images WHERE id >= ? AND id < ? LIMIT 2";
            connection.prepare_cached(sql)?.query_map([first, last], image_id)?.collect()
        })
    }

    pub(crate) fn count_images(&self) -> Result<usize, StoreError> {
        self.read("count the images", |connection| {
            connection
                .prepare_cached("SELECT count(*) FROM images")?
                .query_row([], |row| row.get(0))
        })
    }

    pub(crate) fn image_ids(&self) -> Result<Vec<ImageId>, StoreError> {
        self.read("list the images", |connection| {
            connection.prepare_cached("SELECT id FROM images")?.query_map([], image_id)?.collect()
        })
    }

    pub(crate) fn image(&self, id: &ImageId) -> Result<Option<ImageRow>, StoreError> {
        self.read("read an image", |connection| image_row(connection, id).optional())
    }

    pub(crate) fn has_children(&self, id: &ImageId) -> Result<bool, StoreError> {
        self.read("read an image's children", |connection| {
            let sql = "SELECT 1 FROM images WHERE parent = ?";
            connection.prepare_cached(sql)?.exists([id.as_str()])
        })
    }

    /// The layers of an image, lowest first.
    pub(crate) fn image_layers(&self, id: &ImageId) -> Result<Vec<Digest>, StoreError> {
        self.read("read an image's layers", |connection| {
            let sql = "SELECT diff_id FROM image_layers WHERE image_id = ? ORDER BY position";
            connection
                .prepare_cached(sql)?
                .query_map([id.as_str()], |row| digest(row, 0))?
                .collect()
        })
    }
}

fn insert_image(transaction: &Transaction<'_>, image: &NewImage) -> rusqlite::Result<()> {
    // An image that was here keeps its parent and its manifest, unless it had none.
    let sql = "INSERT INTO images (id, parent, manifest_digest, manifest_size, manifest_media_type)
        VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
        parent = coalesce(images.parent, excluded.parent),
        manifest_size = iif(images.manifest_digest IS NULL, excluded.manifest_size, images.manifest_size),
        manifest_media_type = iif(images.manifest_digest IS NULL, excluded.manifest_media_type, images.manifest_media_type),
        manifest_digest = coalesce(images.manifest_digest, excluded.manifest_digest)";
    let manifest = image.manifest.as_ref();
    let values = params![
        image.id.as_str(),
        image.parent.as_ref().map(ImageId::as_str),
        manifest.map(|manifest| manifest.digest.as_str()),
        manifest.map(|manifest| manifest.size),
        manifest.map(|manifest| &manifest.media_type),
    ];
    transaction.execute(sql, values)?;
    // What it consists of has just come, and was compared with it.
    clear_damage(transaction, Stored::Blob(image.id.digest()))?;
    if let Some(manifest) = manifest {
        clear_damage(transaction, Stored::Blob(&manifest.digest))?;
    }
    let sql = "DELETE FROM image_layers WHERE image_id = ?";
    transaction.prepare_cached(sql)?.execute([image.id.as_str()])?;
    let sql = "INSERT INTO image_layers VALUES (?, ?, ?)";
    let mut insert = transaction.prepare_cached(sql)?;
    for (position, layer) in image.layers.iter().enumerate() {
        insert.execute(params![image.id.as_str(), position, layer.as_str()])?;
    }
    Ok(())
}

/// Gives an image a name; tells which other image lost it.
fn put_name(
    transaction: &Transaction<'_>,
    name: &Reference,
    image: &ImageId,
    target: Option<&Digest>,
    now: Timestamp,
) -> rusqlite::Result<Option<ImageId>> {
    let text = name.to_string();
    let sql = "SELECT image_id FROM names WHERE reference = ?";
    let before = transaction.prepare_cached(sql)?.query_row([&text], image_id).optional()?;
    let sql = "INSERT INTO names (reference, image_id, target) VALUES (?, ?, ?)
        ON CONFLICT (reference) DO UPDATE SET
        image_id = excluded.image_id, target = excluded.target";
    let values = params![text, image.as_str(), target.map(Digest::as_str)];
    transaction.prepare_cached(sql)?.execute(values)?;
    let sql = "UPDATE images SET last_tagged_seconds = ?, last_tagged_nanoseconds = ? WHERE id = ?";
    let values = params![now.seconds, now.nanoseconds, image.as_str()];
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(before.filter(|before| before != image))
}

fn image_row(connection: &Connection, id: &ImageId) -> rusqlite::Result<ImageRow> {
    let sql = "SELECT parent, manifest_digest, last_tagged_seconds, last_tagged_nanoseconds
        FROM images WHERE id = ?";
    let mut row = connection.prepare_cached(sql)?.query_row([id.as_str()], |row| {
        let seconds: Option<i64> = row.get(2)?;
        let nanoseconds: Option<u32> = row.get(3)?;
        Ok(ImageRow {
            id: id.clone(),
            parent: optional_digest(row, 0)?.map(ImageId::from),
            manifest_digest: optional_digest(row, 1)?,
            last_tagged: seconds
                .map(|seconds| Timestamp { seconds, nanoseconds: nanoseconds.unwrap_or_default() }),
            names: Vec::new(),
            layer_sizes: Vec::new(),
        })
    })?;
    let sql = "SELECT reference FROM names WHERE image_id = ? ORDER BY reference";
    let mut names = connection.prepare_cached(sql)?;
    row.names = names.query_map([id.as_str()], reference)?.collect::<Result<_, _>>()?;
    let sql = "SELECT content_size FROM image_layers JOIN layers USING (diff_id)
        WHERE image_id = ? ORDER BY position";
    let mut sizes = connection.prepare_cached(sql)?;
    row.layer_sizes =
        sizes.query_map([id.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(row)
}

fn image_id(row: &Row<'_>) -> rusqlite::Result<ImageId> {
    digest(row, 0).map(ImageId::from)
}

pub(super) fn reference(row: &Row<'_>) -> rusqlite::Result<Reference> {
    row.get_ref(0)?
        .as_str()?
        .parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}
