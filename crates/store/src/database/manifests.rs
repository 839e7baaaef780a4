//! Manifests and indexes, what they lead to, and where blobs were seen.

use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::damage::{Stored, clear_damage};
use super::layers::{digest, optional_digest};
use super::{Database, Synchronous};
use crate::error::StoreError;
use crate::image::ImageId;

/// What a kept document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ManifestKind {
    /// The manifest of an image.
    Image,
    /// A list of manifests.
    Index,
    /// BuildKit's statement about an image.
    Attestation,
    /// A manifest of something that is no image.
    Artifact,
}

/// A document in `blobs/`.
#[derive(Debug, Clone)]
pub(crate) struct ManifestRow {
    pub digest: Digest,
    pub media_type: String,
    pub size: u64,
    pub kind: ManifestKind,
    /// The image that it describes.
    pub image: Option<ImageId>,
    /// The manifest that it says something about.
    pub subject: Option<Digest>,
    pub artifact_type: Option<String>,
    pub platform: Option<Platform>,
}

/// What a document leads to, which may be absent here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChildRow {
    pub digest: Digest,
    pub size: u64,
    /// As the document has it.
    pub descriptor: Descriptor,
}

const COLUMNS: &str = "digest, media_type, size, kind, image_id, subject, artifact_type, platform";

impl Database {
    pub(crate) fn manifest(&self, wanted: &Digest) -> Result<Option<ManifestRow>, StoreError> {
        self.read("read a manifest", |connection| {
            let sql = format!("SELECT {COLUMNS} FROM manifests WHERE digest = ?");
            connection.prepare_cached(&sql)?.query_row([wanted.as_str()], manifest_row).optional()
        })
    }

    /// What a document leads to, in its order.
    pub(crate) fn children(&self, parent: &Digest) -> Result<Vec<ChildRow>, StoreError> {
        self.read("read a manifest's children", |connection| {
            let sql = "SELECT digest, size, descriptor FROM manifest_children
                WHERE parent = ? ORDER BY position";
            connection.prepare_cached(sql)?.query_map([parent.as_str()], child_row)?.collect()
        })
    }

    /// The manifests by which an image is known.
    pub(crate) fn manifests_of_image(
        &self,
        image: &ImageId,
    ) -> Result<Vec<ManifestRow>, StoreError> {
        self.read("read an image's manifests", |connection| {
            let sql = format!("SELECT {COLUMNS} FROM manifests WHERE image_id = ? ORDER BY digest");
            connection.prepare_cached(&sql)?.query_map([image.as_str()], manifest_row)?.collect()
        })
    }

    /// The manifest or the index that a name stands for.
    pub(crate) fn name_target(&self, name: &Reference) -> Result<Option<Digest>, StoreError> {
        self.read("read a name", |connection| {
            let sql = "SELECT target FROM names WHERE reference = ? AND target IS NOT NULL";
            connection
                .prepare_cached(sql)?
                .query_row([name.to_string()], |row| digest(row, 0))
                .optional()
        })
    }

    /// Documents of which it is not recorded what they lead to: those of the first schema.
    pub(crate) fn manifests_without_children(
        &self,
    ) -> Result<Vec<(Digest, ManifestKind)>, StoreError> {
        self.read("read the manifests", |connection| {
            let sql = "SELECT digest, kind FROM manifests WHERE kind <> 'index' AND NOT EXISTS
                (SELECT 1 FROM manifest_children WHERE parent = manifests.digest)";
            let row = |row: &Row<'_>| Ok((digest(row, 0)?, kind(row, 1)?));
            connection.prepare(sql)?.query_map([], row)?.collect()
        })
    }

    /// Records what a document leads to.
    pub(crate) fn insert_children(
        &self,
        parent: &Digest,
        children: &[ChildRow],
    ) -> Result<(), StoreError> {
        self.write("record a manifest", Synchronous::Normal, |transaction| {
            insert_children(transaction, parent, children)
        })
    }

    pub(crate) fn note_blob_source(
        &self,
        blob: &Digest,
        repository: &str,
        seen: i64,
    ) -> Result<(), StoreError> {
        self.write("record a blob's source", Synchronous::Normal, |transaction| {
            insert_source(transaction, blob, repository, seen)
        })
    }

    /// Repositories that had a blob, the one seen last first.
    pub(crate) fn blob_sources(&self, blob: &Digest) -> Result<Vec<String>, StoreError> {
        self.read("read a blob's sources", |connection| {
            let sql = "SELECT repository FROM blob_sources WHERE digest = ?
                ORDER BY seen DESC, repository";
            connection.prepare_cached(sql)?.query_map([blob.as_str()], |row| row.get(0))?.collect()
        })
    }
}

pub(super) fn insert_manifest(
    transaction: &Transaction<'_>,
    manifest: &ManifestRow,
    children: &[ChildRow],
) -> rusqlite::Result<()> {
    // The bytes are the same, so only what others say of them may be new.
    let sql = format!(
        "INSERT INTO manifests ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (digest) DO UPDATE SET
        image_id = coalesce(excluded.image_id, image_id),
        subject = coalesce(excluded.subject, subject),
        platform = coalesce(excluded.platform, platform)"
    );
    let values = params![
        manifest.digest.as_str(),
        manifest.media_type,
        manifest.size,
        kind_name(manifest.kind),
        manifest.image.as_ref().map(ImageId::as_str),
        manifest.subject.as_ref().map(Digest::as_str),
        manifest.artifact_type,
        manifest.platform.as_ref().map(ToString::to_string),
    ];
    transaction.prepare_cached(&sql)?.execute(values)?;
    clear_damage(transaction, Stored::Blob(&manifest.digest))?;
    insert_children(transaction, &manifest.digest, children)
}

fn insert_children(
    transaction: &Transaction<'_>,
    parent: &Digest,
    children: &[ChildRow],
) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO manifest_children VALUES (?, ?, ?, ?, ?)";
    let mut insert = transaction.prepare_cached(sql)?;
    for (position, child) in children.iter().enumerate() {
        let descriptor = serde_json::to_string(&child.descriptor)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let digest = child.digest.as_str();
        // Whatever a document claims, the column has 63 bits.
        let size = i64::try_from(child.size).unwrap_or(i64::MAX);
        insert.execute(params![parent.as_str(), position, digest, size, descriptor])?;
    }
    Ok(())
}

pub(super) fn insert_source(
    transaction: &Connection,
    blob: &Digest,
    repository: &str,
    seen: i64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO blob_sources VALUES (?, ?, ?)
        ON CONFLICT (digest, repository) DO UPDATE SET seen = max(seen, excluded.seen)";
    transaction.prepare_cached(sql)?.execute(params![blob.as_str(), repository, seen]).map(drop)
}

fn manifest_row(row: &Row<'_>) -> rusqlite::Result<ManifestRow> {
    Ok(ManifestRow {
        digest: digest(row, 0)?,
        media_type: row.get(1)?,
        size: row.get(2)?,
        kind: kind(row, 3)?,
        image: optional_digest(row, 4)?.map(ImageId::from),
        subject: optional_digest(row, 5)?,
        artifact_type: row.get(6)?,
        platform: platform(row, 7)?,
    })
}

fn child_row(row: &Row<'_>) -> rusqlite::Result<ChildRow> {
    let descriptor = serde_json::from_str(row.get_ref(2)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error))
    })?;
    Ok(ChildRow { digest: digest(row, 0)?, size: row.get(1)?, descriptor })
}

/// A platform as it is displayed: taken apart and not put in usual words, so that it stays what
/// the manifest said.
fn platform(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Platform>> {
    let ValueRef::Text(_) = row.get_ref(column)? else { return Ok(None) };
    let mut parts = row.get_ref(column)?.as_str()?.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let (os, architecture, variant) = (next(), next(), next());
    Ok(Some(Platform { os, architecture, variant, ..Platform::default() }))
}

fn kind_name(kind: ManifestKind) -> &'static str {
    match kind {
        ManifestKind::Image => "image",
        ManifestKind::Index => "index",
        ManifestKind::Attestation => "attestation",
        ManifestKind::Artifact => "artifact",
    }
}

fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<ManifestKind> {
    match row.get_ref(column)?.as_str()? {
        "image" => Ok(ManifestKind::Image),
        "index" => Ok(ManifestKind::Index),
        "attestation" => Ok(ManifestKind::Attestation),
        "artifact" => Ok(ManifestKind::Artifact),
        other => {
            let unknown = format!("unknown kind of manifest {other}").into();
            Err(rusqlite::Error::FromSqlConversionFailure(column, Type::Text, unknown))
        }
    }
}
