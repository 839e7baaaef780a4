//! Which images have which layers.

use ferry_oci::digest::Digest;
use rusqlite::Row;

use super::Database;
use super::layers::digest;
use crate::error::StoreError;
use crate::image::ImageId;

/// An image, and its layers with their sizes as Docker counts them, lowest first.
pub(crate) type LayersOfImage = (ImageId, Vec<(Digest, u64)>);

impl Database {
    /// The layers of every image, by id.
    pub(crate) fn layers_of_images(&self) -> Result<Vec<LayersOfImage>, StoreError> {
        self.read("read the images' layers", |connection| {
            let sql = "SELECT images.id, layers.diff_id, layers.content_size FROM images
                LEFT JOIN image_layers ON image_layers.image_id = images.id
                LEFT JOIN layers USING (diff_id)
                ORDER BY images.id, position";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            let mut images: Vec<LayersOfImage> = Vec::new();
            while let Some(row) = rows.next()? {
                let id = ImageId::from(digest(row, 0)?);
                if images.last().is_none_or(|(last, _)| *last != id) {
                    images.push((id, Vec::new()));
                }
                let size: Option<u64> = row.get(2)?;
                if let (Some(size), Some((_, layers))) = (size, images.last_mut()) {
                    layers.push((digest(row, 1)?, size));
                }
            }
            Ok(images)
        })
    }

    /// Images without a name that others were made from.
    pub(crate) fn intermediate_images(&self) -> Result<Vec<ImageId>, StoreError> {
        self.images_where(
            "NOT EXISTS (SELECT 1 FROM names WHERE image_id = images.id)
            AND EXISTS (SELECT 1 FROM images AS child WHERE child.parent = images.id)",
            &[],
        )
    }

    /// The images that have a layer.
    pub(crate) fn images_of_layer(&self, diff_id: &Digest) -> Result<Vec<ImageId>, StoreError> {
        self.images_where(
            "id IN (SELECT image_id FROM image_layers WHERE diff_id = ?)",
            &[diff_id.as_str()],
        )
    }

    /// The images that a blob belongs to: as configuration, as manifest, as a form of a layer.
    pub(crate) fn images_of_blob(&self, blob: &Digest) -> Result<Vec<ImageId>, StoreError> {
        let blob = blob.as_str();
        self.images_where(
            "id = ? OR id IN (SELECT image_id FROM manifests WHERE digest = ?)
            OR id IN (SELECT image_id FROM manifests JOIN manifest_children
                ON parent = manifests.digest WHERE manifest_children.digest = ?)
            OR id IN (SELECT image_id FROM image_layers JOIN blobs USING (diff_id)
                WHERE blobs.digest = ?)",
            &[blob, blob, blob, blob],
        )
    }

    /// The containers that hold a layer.
    pub(crate) fn containers_of_layer(&self, diff_id: &Digest) -> Result<Vec<String>, StoreError> {
        self.read("read a layer's containers", |connection| {
            let sql = "SELECT DISTINCT container_id FROM container_layers WHERE diff_id = ?
                ORDER BY container_id";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map([diff_id.as_str()], |row| row.get(0))?.collect()
        })
    }

    fn images_where(
        &self,
        condition: &'static str,
        values: &[&str],
    ) -> Result<Vec<ImageId>, StoreError> {
        self.read("list the images", |connection| {
            let sql = format!("SELECT id FROM images WHERE {condition} ORDER BY id");
            let row = |row: &Row<'_>| digest(row, 0).map(ImageId::from);
            let values = rusqlite::params_from_iter(values);
            connection.prepare_cached(&sql)?.query_map(values, row)?.collect()
        })
    }
}
