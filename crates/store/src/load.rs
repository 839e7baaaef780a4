//! `docker load`: images out of an archive.
//!
//! ```text
//! stream -> decompress -> entries -+-> small documents, in memory
//!                                  +-> layers, to tmp/, hashed and read -> (threads) build
//!                                  +-> compressed ones, to tmp/ -> (threads) decompress, and so on
//! then: manifest.json | index.json | repositories -> images -> check -> commit
//! ```
//!
//! The stream is read once, and layers are built while it is still coming in: what an entry is, is
//! seen from its first bytes, before the manifest (which may come last) says so.

mod docker;
mod intake;
mod legacy;
mod oci_layout;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::Read;

use ferry_oci::digest::Digest;
use ferry_oci::image::ImageConfig;
use ferry_oci::manifest::Descriptor;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use self::intake::Contents;
use crate::arrival::{self, Arrived, ArrivedImage, ArrivedLayer};
use crate::error::StoreError;
use crate::image::ImageId;
use crate::limits;
use crate::manifest::{Document, KeptManifest};
use crate::store::{LoadProgress, Loaded, Store};

/// What an archive describes.
#[derive(Debug, Default)]
struct Found {
    images: Vec<FoundImage>,
    /// Indexes, and statements about images.
    documents: Vec<Document>,
    /// What the statements consist of.
    blobs: Vec<(Descriptor, Vec<u8>)>,
}

/// An image as an archive describes it.
#[derive(Debug)]
struct FoundImage {
    config: ImageConfig,
    layers: Vec<FoundLayer>,
    names: Vec<Reference>,
    manifest: Option<KeptManifest>,
    /// The index that the names stand for.
    index: Option<Digest>,
    /// Whether it is only a further platform of another one.
    is_part: bool,
    parent: Option<ImageId>,
}

/// A layer of it: an entry of the archive.
#[derive(Clone, Debug)]
struct FoundLayer {
    path: String,
    /// The digest and media type that its manifest promises.
    blob: Option<(Digest, String)>,
}

impl Store {
    /// Takes in all images of an archive of `docker save` or of an OCI layout, compressed or not.
    /// Of images for several platforms all that are in the archive are taken, or with `platform`
    /// the one that suits it best, and nothing that does not suit it.
    ///
    /// # Errors
    /// `Invalid` for an archive that is malformed or hostile; `NotFound` when nothing in it is for
    /// the platform; `Full`. Nothing is changed then.
    pub fn load<R: Read + Send>(
        &self,
        reader: R,
        platform: Option<&Platform>,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Vec<Loaded>, StoreError> {
        let mut contents = intake::read(self, reader, progress)?;
        let Found { images, documents, blobs } = find_images(&contents, platform)?;
        let mut arrived = Arrived { documents, blobs, ..Arrived::default() };
        let mut loaded = Vec::new();
        for image in images {
            take_layers(&mut contents, &image, &mut arrived.layers)?;
            let FoundImage { config, layers: _, names, manifest, index, is_part, parent } = image;
            let id = ImageId::from(config.digest().clone());
            loaded.extend(
                names
                    .iter()
                    .map(|name| Loaded::Name { reference: name.clone(), image: id.clone() }),
            );
            if names.is_empty() && !is_part {
                loaded.push(Loaded::Id(id));
            }
            let target = index.or_else(|| manifest.as_ref().map(|kept| kept.digest.clone()));
            let platform = None;
            let image = ArrivedImage { config, names, parent, manifest, platform, target };
            arrived.images.push(image);
        }
        for (reference, from) in arrival::commit(self, arrived)? {
            progress(LoadProgress::Renamed { reference, from });
        }
        Ok(loaded)
    }
}

/// Reads what kind of archive it is. Docker's own list comes first: archives of newer Dockers have
/// both, and say more in theirs.
fn find_images(contents: &Contents, platform: Option<&Platform>) -> Result<Found, StoreError> {
    let mut found = Found::default();
    if contents.has("manifest.json") {
        found.images = docker::find(contents)?;
        if contents.has("index.json") {
            oci_layout::add(contents, platform, &mut found);
        }
    } else if contents.has("index.json") {
        oci_layout::find(contents, platform, &mut found)?;
    } else if contents.has("repositories") {
        found.images = legacy::find(contents)?;
    } else {
        return Err(StoreError::Archive(
            "archive has neither manifest.json nor index.json nor repositories: it is not an archive of images"
                .to_owned(),
        ));
    }
    if let Some(platform) = platform {
        found.images.retain(|image| image.config.platform().suitability(platform).is_some());
        if found.images.is_empty() {
            let words = format!("no image in the archive is for platform {platform}");
            return Err(StoreError::NotFound(words));
        }
    }
    for image in &mut found.images {
        let mut seen = HashSet::new();
        image.names.retain(|name| seen.insert(name.clone()));
        if image.layers.len() > limits::MAX_LAYERS {
            let count = image.layers.len();
            let most = limits::MAX_LAYERS;
            return Err(StoreError::Archive(format!(
                "image has {count} layers; at most {most} are possible"
            )));
        }
    }
    Ok(found)
}

/// Checks an image's layers against its configuration, and takes those that are not taken yet.
fn take_layers(
    contents: &mut Contents,
    image: &FoundImage,
    taken: &mut Vec<ArrivedLayer>,
) -> Result<(), StoreError> {
    let (found, expected) = (image.layers.len(), image.config.rootfs.diff_ids.len());
    if found != expected {
        return Err(StoreError::Archive(format!(
            "invalid manifest, layers length mismatch: expected {expected}, got {found}"
        )));
    }
    let layers = image.layers.iter().zip(&image.config.rootfs.diff_ids);
    for (index, (layer, expected)) in layers.enumerate() {
        let (actual, arrived) = contents.take_layer(&layer.path, layer.blob.as_ref())?;
        if actual != *expected {
            return Err(StoreError::Archive(format!(
                "invalid diffID for layer {index}: expected \"{expected}\", got \"{actual}\""
            )));
        }
        taken.extend(arrived);
    }
    Ok(())
}
