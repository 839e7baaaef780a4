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

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};

use ferry_oci::digest::Digest;
use ferry_oci::image::ImageConfig;
use ferry_oci::manifest::{Descriptor, Manifest, media_type};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

pub use self::plan::{ManifestSummary, PushBlob, PushManifest, PushPlan};
use self::tar_writer::{Header, Kind, TarWriter};
use crate::arrival::Pin;
use crate::error::StoreError;
use crate::image::ImageId;
use crate::manifest::KeptManifest;
use crate::store::Store;

/// An image that is to be saved, and the names that were asked for.
#[derive(Debug)]
struct SavedImage {
    id: ImageId,
    config: ImageConfig,
    names: Vec<Reference>,
    manifest: KeptManifest,
    /// As the manifest has them, lowest first.
    layers: Vec<Descriptor>,
    _pins: Vec<Pin>,
}

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
    /// that stands for several platforms, `platform` chooses one.
    ///
    /// Nothing is written before all images are found.
    ///
    /// # Errors
    /// `NotFound` with Docker's sentence; `Cancelled` when `out` fails.
    pub fn save(
        &self,
        names: &[String],
        platform: Option<&Platform>,
        out: &mut (dyn Write + Send),
    ) -> Result<(), StoreError> {
        let mut images: Vec<SavedImage> = Vec::new();
        for name in names {
            for (id, reference) in self.find_for_save(name)? {
                let id = self.image_for_platform(&id, reference.as_ref(), name, platform)?;
                let image = match images.iter_mut().find(|known| known.id == id) {
                    Some(known) => known,
                    None => {
                        images.push(self.saved_image(&id, reference.as_ref())?);
                        images.last_mut().ok_or_else(|| no_such(name))?
                    }
                };
                let new = reference.filter(|name| !image.names.contains(name));
                image.names.extend(new);
            }
        }
        let mut archive = TarWriter::new(BufWriter::with_capacity(256 << 10, out));
        self.write_blobs(&mut archive, &images)?;
        let last = [
            ("index.json", Some(oci_layout::index(&images))),
            ("manifest.json", Some(docker_list::manifest(&images))),
            ("oci-layout", Some(oci_layout::MARKER.to_vec())),
            ("repositories", docker_list::repositories(&images)),
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

    /// The images that a word of `docker save` means, with the tags they are to have.
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
            Some(image) => Ok(vec![(image, Some(found).filter(|name| name.digest().is_none()))]),
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
            StoreError::NotFound(format!("no suitable export target found for platform {platform}"))
        })
    }

    fn saved_image(
        &self,
        id: &ImageId,
        reference: Option<&Reference>,
    ) -> Result<SavedImage, StoreError> {
        let config = self.config(id)?;
        let mut pins = Vec::new();
        for diff_id in &config.rootfs.diff_ids {
            let pin = Pin::new(self, diff_id)?;
            pins.push(pin.ok_or_else(|| StoreError::NoSuchLayer(diff_id.clone()))?);
        }
        let diff_ids = &config.rootfs.diff_ids;
        let exact = self.whole_manifest(id, &config, reference, |layer, diff_id| {
            Ok(layer.digest == *diff_id || self.has_blob(&layer.digest)?)
        })?;
        let (manifest, layers) = match exact {
            Some((kept, manifest)) => (kept, manifest.layers),
            None => {
                let mut layers = Vec::new();
                for diff_id in diff_ids {
                    let row = self.database().layer(diff_id)?;
                    let row = row.ok_or_else(|| StoreError::NoSuchLayer(diff_id.clone()))?;
                    let (digest, size) = (diff_id.clone(), row.archive_size);
                    layers.push(Descriptor::new(media_type::OCI_LAYER, digest, size));
                }
                let size = config.bytes().len() as u64;
                let digest = config.digest().clone();
                let described = Descriptor::new(media_type::OCI_CONFIG, digest, size);
                (made(media_type::OCI_MANIFEST, described, layers.clone())?, layers)
            }
        };
        let names = Vec::new();
        Ok(SavedImage { id: id.clone(), config, names, manifest, layers, _pins: pins })
    }

    /// Writes each blob once, in the order of their names.
    fn write_blobs(
        &self,
        archive: &mut TarWriter<impl Write>,
        images: &[SavedImage],
    ) -> Result<(), StoreError> {
        let mut blobs: BTreeMap<String, (u64, Source)> = BTreeMap::new();
        for image in images {
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

fn no_such(name: &str) -> StoreError {
    StoreError::NoSuchImage(name.to_owned())
}
