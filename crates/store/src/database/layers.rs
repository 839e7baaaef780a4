//! Layers, their compressed forms, and the filesystems of containers that hold them.

use ferry_oci::digest::Digest;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::damage::{Stored, clear_damage};
use super::{BlobRow, Database, Synchronous};
use crate::error::StoreError;
use crate::image::ImageId;
use crate::store::LayerStoreKind;

/// What is known of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerRow {
    pub diff_id: Digest,
    pub kind: LayerStoreKind,
    pub archive_size: u64,
    pub content_size: u64,
    pub is_empty: bool,
    pub root_is_opaque: bool,
}

impl Database {
    pub(crate) fn layer(&self, diff_id: &Digest) -> Result<Option<LayerRow>, StoreError> {
        self.read("read a layer", |connection| {
            let sql = "SELECT * FROM layers WHERE diff_id = ?";
            connection.prepare_cached(sql)?.query_row([diff_id.as_str()], layer_row).optional()
        })
    }

    pub(crate) fn layers(&self) -> Result<Vec<LayerRow>, StoreError> {
        self.read("read the layers", |connection| {
            connection.prepare("SELECT * FROM layers")?.query_map([], layer_row)?.collect()
        })
    }

    /// All digests that have a file in `blobs/`.
    pub(crate) fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        self.read("read the blobs", |connection| {
            let sql = "SELECT digest FROM blobs UNION SELECT id FROM images
                UNION SELECT digest FROM manifests";
            connection.prepare(sql)?.query_map([], |row| digest(row, 0))?.collect()
        })
    }

    /// Whether a row needs a blob.
    pub(crate) fn knows_blob(&self, blob: &Digest) -> Result<bool, StoreError> {
        self.read("read a blob", |connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM blobs WHERE digest = ?1)
                OR EXISTS (SELECT 1 FROM images WHERE id = ?1)
                OR EXISTS (SELECT 1 FROM manifests WHERE digest = ?1)";
            connection.prepare_cached(sql)?.query_row([blob.as_str()], |row| row.get(0))
        })
    }

    /// The layer that a compressed blob is a form of, if we have both.
    pub(crate) fn layer_of_blob(&self, blob: &Digest) -> Result<Option<Digest>, StoreError> {
        self.read("read a blob", |connection| {
            let sql = "SELECT diff_id FROM blobs WHERE digest = ? AND diff_id IS NOT NULL";
            connection
                .prepare_cached(sql)?
                .query_row([blob.as_str()], |row| digest(row, 0))
                .optional()
        })
    }

    /// Records a container's filesystem; false when there is one already.
    pub(crate) fn insert_container(
        &self,
        container: &str,
        image: Option<&ImageId>,
        layers: &[Digest],
    ) -> Result<bool, StoreError> {
        self.write("record a container's filesystem", Synchronous::Normal, |transaction| {
            let sql = "INSERT OR IGNORE INTO container_filesystems VALUES (?, ?)";
            let image = image.map(ImageId::as_str);
            if transaction.prepare_cached(sql)?.execute(params![container, image])? == 0 {
                return Ok(false);
            }
            let sql = "INSERT INTO container_layers VALUES (?, ?, ?)";
            let mut insert = transaction.prepare_cached(sql)?;
            for (position, layer) in layers.iter().enumerate() {
                insert.execute(params![container, position, layer.as_str()])?;
            }
            Ok(true)
        })
    }

    /// Forgets a container's filesystem; tells whether it may have been the last to need its
    /// layers, since its image is gone.
    pub(crate) fn delete_container(&self, container: &str) -> Result<bool, StoreError> {
        self.write("forget a container's filesystem", Synchronous::Normal, |transaction| {
            let sql = "SELECT 1 FROM container_filesystems WHERE container_id = ?
                AND image_id IS NOT NULL
                AND image_id NOT IN (SELECT id FROM images)";
            let orphan = transaction.prepare_cached(sql)?.exists([container])?;
            let sql = "DELETE FROM container_filesystems WHERE container_id = ?";
            transaction.prepare_cached(sql)?.execute([container])?;
            Ok(orphan)
        })
    }

    /// The layers of a container, lowest first; `None` when it has no filesystem.
    pub(crate) fn container_layers(
        &self,
        container: &str,
    ) -> Result<Option<Vec<LayerRow>>, StoreError> {
        self.read("read a container's layers", |connection| {
            let sql = "SELECT 1 FROM container_filesystems WHERE container_id = ?";
            if !connection.prepare_cached(sql)?.exists([container])? {
                return Ok(None);
            }
            let sql = "SELECT layers.* FROM container_layers JOIN layers USING (diff_id)
                WHERE container_id = ? ORDER BY position";
            let mut statement = connection.prepare_cached(sql)?;
            let rows: rusqlite::Result<Vec<LayerRow>> =
                statement.query_map([container], layer_row)?.collect();
            rows.map(Some)
        })
    }

    pub(crate) fn containers(&self) -> Result<Vec<String>, StoreError> {
        self.read("read the containers' filesystems", |connection| {
            let sql = "SELECT container_id FROM container_filesystems ORDER BY container_id";
            connection.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// The layers of every container, lowest first.
    pub(crate) fn layers_of_containers(&self) -> Result<Vec<Vec<Digest>>, StoreError> {
        self.read("read the containers' layers", |connection| {
            let sql = "SELECT container_id, diff_id FROM container_layers
                ORDER BY container_id, position";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            let mut containers: Vec<(String, Vec<Digest>)> = Vec::new();
            while let Some(row) = rows.next()? {
                let (id, layer) = (row.get(0)?, digest(row, 1)?);
                match containers.last_mut() {
                    Some((last, layers)) if *last == id => layers.push(layer),
                    _ => containers.push((id, vec![layer])),
                }
            }
            Ok(containers.into_iter().map(|(_, layers)| layers).collect())
        })
    }
}

/// Records a layer that has come; one that was here was damaged, or its row would have kept it out.
pub(super) fn insert_layer(
    transaction: &Transaction<'_>,
    layer: &LayerRow,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO layers VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (diff_id) DO UPDATE SET
        kind = excluded.kind, archive_size = excluded.archive_size,
        content_size = excluded.content_size, is_empty = excluded.is_empty,
        root_is_opaque = excluded.root_is_opaque";
    let values = params![
        layer.diff_id.as_str(),
        kind_name(layer.kind),
        layer.archive_size,
        layer.content_size,
        layer.is_empty,
        layer.root_is_opaque,
    ];
    transaction.prepare_cached(sql)?.execute(values)?;
    clear_damage(transaction, Stored::Layer(&layer.diff_id))
}

/// Records a compressed form of a layer, or a blob that is of none.
pub(super) fn insert_blob(
    transaction: &Transaction<'_>,
    blob: &BlobRow,
    diff_id: Option<&Digest>,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO blobs VALUES (?, ?, ?, ?)";
    let BlobRow { digest, size, media_type } = blob;
    let values = params![digest.as_str(), size, media_type, diff_id.map(Digest::as_str)];
    transaction.prepare_cached(sql)?.execute(values)?;
    clear_damage(transaction, Stored::Blob(digest))
}

fn layer_row(row: &Row<'_>) -> rusqlite::Result<LayerRow> {
    Ok(LayerRow {
        diff_id: digest(row, 0)?,
        kind: kind(row, 1)?,
        archive_size: row.get(2)?,
        content_size: row.get(3)?,
        is_empty: row.get(4)?,
        root_is_opaque: row.get(5)?,
    })
}

fn kind_name(kind: LayerStoreKind) -> &'static str {
    match kind {
        LayerStoreKind::Erofs => "erofs",
        LayerStoreKind::Directories => "directories",
    }
}

fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<LayerStoreKind> {
    match row.get_ref(column)?.as_str()? {
        "erofs" => Ok(LayerStoreKind::Erofs),
        "directories" => Ok(LayerStoreKind::Directories),
        other => {
            let unknown = format!("unknown kind of layer {other}").into();
            Err(rusqlite::Error::FromSqlConversionFailure(column, Type::Text, unknown))
        }
    }
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

pub(super) fn optional_digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Digest>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => digest(row, column).map(Some),
    }
}
