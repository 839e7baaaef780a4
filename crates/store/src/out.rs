//! Giving images out: to an archive ([`Store::save`]) and to registries ([`Store::push_plan`]).
//!
//! # Exact and made manifests
//! An image that came with a manifest goes out with the same bytes, as long as all its blobs are
//! here in the form that the manifest names. Otherwise a manifest is made: over the uncompressed
//! layers for an archive, over gzip blobs, which are kept, for a registry.

pub(crate) mod tar_writer;
pub(crate) mod tree;

mod docker_list;
mod oci_layout;
mod plan;
mod prepare;
mod saved;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};

use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Manifest};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

pub use self::plan::{ManifestSummary, PushBlob, PushManifest, PushPlan};
use self::saved::{Saved, SavedImage, Top};
use self::tar_writer::{Header, Kind, TarWriter};
use crate::error::StoreError;
use crate::image::ImageId;
use crate::manifest::KeptManifest;
use crate::store::Store;

/// Where the bytes of a blob of the archive are.
#[derive(Debug)]
enum Source {
    Bytes(Vec<u8>),
    Blob(Digest),
    Layer(Digest),
}

impl Store {
    /// Writes images as an archive that is an OCI layout and has Docker's `manifest.json` and
    /// `repositories` too. A name without a tag stands for all tags of its repository. Of a name
    /// that stands for several platforms all that are here go out, or the one of `platform`; Docker's
    /// own files tell of the one that a container would be made of.
    ///
    /// Nothing is written before all images are found.
    ///
    /// # Errors
    /// `NotFound` with Docker's sentence; `Internal` when nothing is for the platform; `Cancelled`
    /// when `out` fails.
    pub fn save(
        &self,
        names: &[String],
        platform: Option<&Platform>,
        out: &mut (dyn Write + Send),
    ) -> Result<(), StoreError> {
        let mut saved = Saved::default();
        for name in names {
            for (id, reference) in self.find_for_save(name)? {
                let id = self.image_for_platform(&id, reference.as_ref(), name, platform)?;
                let image = self.saved_image(&id, reference.as_ref())?;
                let index = match (&reference, platform) {
                    (Some(reference), None) => self.saved_index(reference, &image)?,
                    _ => None,
                };
                saved.add(image, index, reference.filter(|name| name.digest().is_none()));
            }
        }
        let mut archive = TarWriter::new(BufWriter::with_capacity(256 << 10, out));
        self.write_blobs(&mut archive, &saved)?;
        let last = [
            ("index.json", Some(oci_layout::index(&saved.tops))),
            ("manifest.json", Some(docker_list::manifest(&saved.images))),
            ("oci-layout", Some(oci_layout::MARKER.to_vec())),
            ("repositories", docker_list::repositories(&saved.images)),
        ];
        for (name, bytes) in last {
            let Some(bytes) = bytes else { continue };
            write_file(&mut archive, name, bytes.len() as u64, bytes.as_slice())?;
        }
        archive.finish().map(drop).map_err(StoreError::Write)
    }

    /// Opens a blob in `blobs/`: a compressed layer, a configuration or a manifest.
    ///
    /// # Errors
    /// `NotFound` when it is not here.
    pub fn blob_file(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.layout().blob(digest);
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::NotFound(format!("No such blob: {digest}")))
            }
            Err(error) => Err(StoreError::file("open", path, error)),
        }
    }

    /// The images that a word of `docker save` means, and the names they were found by.
    fn find_for_save(&self, name: &str) -> Result<Vec<(ImageId, Option<Reference>)>, StoreError> {
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        let is_id = Digest::from_sha256_hex(digits).is_ok();
        let reference = match Reference::parse(name) {
            Ok(reference) if !is_id => reference,
            _ => return Ok(vec![(self.images().resolve(name)?, None)]),
        };
        if reference.tag().is_none() && reference.digest().is_none() {
            let tags = self.database().tags_of_repository(&reference.name())?;
            if tags.is_empty() {
                // The beginning of an id is a name too.
                let id = self.images().resolve(name);
                let id = id.map_err(|error| match error {
                    StoreError::NoSuchImage(_) => StoreError::NoSuchImage(name.to_owned()),
                    other => other,
                })?;
                return Ok(vec![(id, None)]);
            }
            return Ok(tags.into_iter().map(|(tag, image)| (image, Some(tag))).collect());
        }
        let found = match reference.digest() {
            Some(digest) => reference.with_digest(digest.clone()),
            None => reference.clone(),
        };
        match self.database().image_by_name(&found)? {
            Some(image) => Ok(vec![(image, Some(found))]),
            None => Err(StoreError::NotFound("reference does not exist".to_owned())),
        }
    }

    fn image_for_platform(
        &self,
        id: &ImageId,
        reference: Option<&Reference>,
        asked: &str,
        platform: Option<&Platform>,
    ) -> Result<ImageId, StoreError> {
        let Some(platform) = platform else { return Ok(id.clone()) };
        self.platform_of_name(id, reference, platform)?.ok_or_else(|| {
            tracing::debug!(name = asked, %platform, "no image of this platform");
            StoreError::NoExportTarget(platform.clone())
        })
    }

    /// Writes each blob once, in the order of their names.
    fn write_blobs(
        &self,
        archive: &mut TarWriter<impl Write>,
        saved: &Saved,
    ) -> Result<(), StoreError> {
        let mut blobs: BTreeMap<String, (u64, Source)> = BTreeMap::new();
        for blob in &saved.blobs {
            let source = Source::Blob(blob.digest.clone());
            blobs.insert(oci_layout::path_of(&blob.digest), (blob.size, source));
        }
        for document in &saved.documents {
            let (size, source) = (document.bytes.len(), Source::Bytes(document.bytes.clone()));
            blobs.insert(oci_layout::path_of(&document.digest), (size as u64, source));
        }
        for image in saved.images.iter().chain(&saved.others) {
            let small = [
                (image.config.digest(), image.config.bytes()),
                (&image.manifest.digest, image.manifest.bytes.as_slice()),
            ];
            for (digest, bytes) in small {
                let source = Source::Bytes(bytes.to_vec());
                blobs.insert(oci_layout::path_of(digest), (bytes.len() as u64, source));
            }
            for (layer, diff_id) in image.layers.iter().zip(&image.config.rootfs.diff_ids) {
                let source = match layer.digest == *diff_id {
                    true => Source::Layer(diff_id.clone()),
                    false => Source::Blob(layer.digest.clone()),
                };
                blobs.insert(oci_layout::path_of(&layer.digest), (layer.size, source));
            }
        }
        for dir in oci_layout::directories(blobs.keys()) {
            let header = Header::plain(dir.as_bytes(), Kind::Directory);
            archive.entry(&header).map_err(StoreError::Write)?;
        }
        for (path, (size, source)) in blobs {
            let reader: Box<dyn Read + Send> = match source {
                Source::Bytes(bytes) => Box::new(std::io::Cursor::new(bytes)),
                Source::Blob(digest) => Box::new(self.blob_file(&digest)?),
                Source::Layer(diff_id) => self.layer_archive(&diff_id)?,
            };
            write_file(archive, &path, size, reader)?;
        }
        Ok(())
    }
}

/// Writes a file, which must have the size that was said.
fn write_file(
    archive: &mut TarWriter<impl Write>,
    path: &str,
    size: u64,
    reader: impl Read,
) -> Result<(), StoreError> {
    let header = Header::plain(path.as_bytes(), Kind::File(size));
    match archive.file(&header, reader).map_err(StoreError::Write)? {
        0 => Ok(()),
        missing => Err(StoreError::Damaged(format!("{path} is {missing} bytes too short"))),
    }
}

/// A manifest of our own making.
fn made(
    media_type: &str,
    config: Descriptor,
    layers: Vec<Descriptor>,
) -> Result<KeptManifest, StoreError> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type.to_owned()),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    let bytes = serde_json::to_vec(&manifest)
        .map_err(|error| StoreError::Damaged(format!("a manifest cannot be written: {error}")))?;
    let (digest, media_type) = (Digest::sha256_of(&bytes), media_type.to_owned());
    Ok(KeptManifest { digest, media_type, bytes })
}
