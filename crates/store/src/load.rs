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
use ferry_oci::reference::Reference;

use self::intake::Contents;
use crate::arrival::{self, Arrived, ArrivedImage, ArrivedLayer};
use crate::error::StoreError;
use crate::image::ImageId;
use crate::limits;
use crate::manifest::KeptManifest;
use crate::store::{LoadProgress, Loaded, Store};

/// An image as an archive describes it.
#[derive(Debug)]
struct FoundImage {
    config: ImageConfig,
    layers: Vec<FoundLayer>,
    names: Vec<Reference>,
    manifest: Option<KeptManifest>,
    parent: Option<ImageId>,
}

/// A layer of it: an entry of the archive.
#[derive(Debug)]
struct FoundLayer {
    path: String,
    /// The digest and media type that its manifest promises.
    blob: Option<(Digest, String)>,
}

impl Store {
    /// Takes in all images of an archive of `docker save` or of an OCI layout, compressed or not.
    ///
    /// # Errors
    /// `Invalid` for an archive that is malformed or hostile, `Full`; nothing is changed then.
    pub fn load<R: Read + Send>(
        &self,
        reader: R,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Vec<Loaded>, StoreError> {
        let mut contents = intake::read(self, reader, progress)?;
        let found = find_images(&contents)?;
        let mut arrived = Arrived::default();
        let mut loaded = Vec::new();
        for image in found {
            take_layers(&mut contents, &image, &mut arrived.layers)?;
            let FoundImage { config, layers: _, names, manifest, parent } = image;
            let id = ImageId::from(config.digest().clone());
            loaded.extend(
                names
                    .iter()
                    .map(|name| Loaded::Name { reference: name.clone(), image: id.clone() }),
            );
            if names.is_empty() {
                loaded.push(Loaded::Id(id));
            }
            let target = manifest.as_ref().map(|manifest| manifest.digest.clone());
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
fn find_images(contents: &Contents) -> Result<Vec<FoundImage>, StoreError> {
    let mut found = if contents.has("manifest.json") {
        let mut found = docker::find(contents)?;
        if contents.has("index.json") {
            oci_layout::add_manifests(contents, &mut found);
        }
        found
    } else if contents.has("index.json") {
        oci_layout::find(contents)?
    } else if contents.has("repositories") {
        legacy::find(contents)?
    } else {
        return Err(StoreError::Archive(
            "archive has neither manifest.json nor index.json nor repositories: it is not an archive of images"
                .to_owned(),
        ));
    };
    for image in &mut found {
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
