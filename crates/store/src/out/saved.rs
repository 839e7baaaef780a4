//! What an archive is to have: images, the indexes that list them, and what is said about them.

use std::collections::HashSet;

use ferry_oci::digest::Digest;
use ferry_oci::image::ImageConfig;
use ferry_oci::manifest::{Descriptor, Manifest, media_type};
use ferry_oci::reference::Reference;

use crate::arrival::Pin;
use crate::database::{ManifestKind, ManifestRow};
use crate::error::{StoreError, if_whole};
use crate::image::ImageId;
use crate::limits;
use crate::manifest::KeptManifest;
use crate::store::Store;

/// An image that is to be saved, and the names that were asked for.
#[derive(Debug)]
pub(super) struct SavedImage {
    pub(super) id: ImageId,
    pub(super) config: ImageConfig,
    pub(super) names: Vec<Reference>,
    /// What `index.json` lists it by.
    top: Digest,
    pub(super) manifest: KeptManifest,
    /// As the manifest has them, lowest first.
    pub(super) layers: Vec<Descriptor>,
    _pins: Vec<Pin>,
}

/// What `index.json` lists: an image's manifest or an index of several, and its names.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) descriptor: Descriptor,
    pub(super) names: Vec<Reference>,
}

/// All that goes into an archive.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// Those that were asked for.
    pub(super) images: Vec<SavedImage>,
    pub(super) tops: Vec<Top>,
    /// Those that an index lists beside them.
    pub(super) others: Vec<SavedImage>,
    /// Indexes, and statements about images.
    pub(super) documents: Vec<KeptManifest>,
    /// What the statements consist of.
    pub(super) blobs: Vec<Descriptor>,
}

/// An index and what of it is here.
#[derive(Debug)]
pub(super) struct SavedIndex {
    descriptor: Descriptor,
    pub(super) others: Vec<SavedImage>,
    pub(super) documents: Vec<KeptManifest>,
    blobs: Vec<Descriptor>,
    /// Manifests and indexes that were looked at: what is listed twice is gathered once.
    seen: HashSet<Digest>,
}

impl Saved {
    /// Adds an image under a name, by way of the index that the name stands for.
    pub(super) fn add(
        &mut self,
        image: SavedImage,
        index: Option<SavedIndex>,
        name: Option<Reference>,
    ) {
        let manifest = &image.manifest;
        let descriptor = match &index {
            Some(index) => index.descriptor.clone(),
            None => {
                let size = manifest.bytes.len() as u64;
                Descriptor::new(&*manifest.media_type, manifest.digest.clone(), size)
            }
        };
        let listed = descriptor.digest.clone();
        let top = self.tops.iter_mut().find(|top| top.descriptor.digest == descriptor.digest);
        match top {
            Some(top) => add_name(&mut top.names, name.as_ref()),
            None => {
                self.tops.push(Top { descriptor, names: name.clone().into_iter().collect() });
                if let Some(SavedIndex { others, documents, blobs, .. }) = index {
                    self.others.extend(others);
                    self.documents.extend(documents);
                    self.blobs.extend(blobs);
                }
            }
        }
        let is_same = |known: &&mut SavedImage| known.id == image.id && known.top == listed;
        match self.images.iter_mut().find(is_same) {
            Some(known) => add_name(&mut known.names, name.as_ref()),
            None => {
                let names = name.into_iter().collect();
                self.images.push(SavedImage { names, top: listed, ..image });
            }
        }
    }
}

fn add_name(names: &mut Vec<Reference>, name: Option<&Reference>) {
    let new = name.filter(|name| !names.contains(name)).cloned();
    names.extend(new);
}

impl Store {
    /// An image with the manifest that the name stands for, with another of its own, or with one
    /// that is made over its plain layers.
    pub(super) fn saved_image(
        &self,
        id: &ImageId,
        reference: Option<&Reference>,
    ) -> Result<SavedImage, StoreError> {
        let config = self.config(id)?;
        let pins = self.pins_of(&config)?;
        let exact = self.whole_manifest(id, &config, reference, |layer, diff_id| {
            Ok(layer.digest == *diff_id || self.has_blob(&layer.digest)?)
        })?;
        let (manifest, layers) = match exact {
            Some((kept, manifest)) => (kept, manifest.layers),
            None => {
                let mut layers = Vec::new();
                for diff_id in &config.rootfs.diff_ids {
                    let row = self.database().layer(diff_id)?;
                    let row = row.ok_or_else(|| StoreError::NoSuchLayer(diff_id.clone()))?;
                    let (digest, size) = (diff_id.clone(), row.archive_size);
                    layers.push(Descriptor::new(media_type::OCI_LAYER, digest, size));
                }
                let size = config.bytes().len() as u64;
                let digest = config.digest().clone();
                let described = Descriptor::new(media_type::OCI_CONFIG, digest, size);
                (super::made(media_type::OCI_MANIFEST, described, layers.clone())?, layers)
            }
        };
        let (names, top) = (Vec::new(), manifest.digest.clone());
        Ok(SavedImage { id: id.clone(), config, names, top, manifest, layers, _pins: pins })
    }

    fn pins_of(&self, config: &ImageConfig) -> Result<Vec<Pin>, StoreError> {
        let pin = |diff_id: &Digest| {
            Pin::new(self, diff_id)?.ok_or_else(|| StoreError::NoSuchLayer(diff_id.clone()))
        };
        config.rootfs.diff_ids.iter().map(pin).collect()
    }

    /// The index that a name stands for, if it leads to the manifest that the image goes out with.
    pub(super) fn saved_index(
        &self,
        name: &Reference,
        image: &SavedImage,
    ) -> Result<Option<SavedIndex>, StoreError> {
        let Some(target) = self.database().name_target(name)? else { return Ok(None) };
        let row = self.database().manifest(&target)?;
        let Some(row) = row.filter(|row| row.kind == ManifestKind::Index) else { return Ok(None) };
        let mut index = SavedIndex {
            descriptor: Descriptor::new(&*row.media_type, row.digest.clone(), row.size),
            others: Vec::new(),
            documents: Vec::new(),
            blobs: Vec::new(),
            seen: HashSet::from([row.digest.clone()]),
        };
        let leads = self.gather(&row, image, limits::MAX_INDEX_DEPTH, &mut index)?;
        Ok(leads.then_some(index))
    }

    /// Gathers what an index leads to and is here; tells whether the image is among it.
    fn gather(
        &self,
        row: &ManifestRow,
        image: &SavedImage,
        depth: usize,
        index: &mut SavedIndex,
    ) -> Result<bool, StoreError> {
        let Some(kept) = self.read_kept(row)?.filter(|_| depth > 0) else { return Ok(false) };
        index.documents.push(kept);
        let mut leads = false;
        for child in self.database().children(&row.digest)? {
            if child.digest == image.manifest.digest {
                leads = true;
                continue;
            }
            if !index.seen.insert(child.digest.clone()) {
                continue;
            }
            let Some(row) = self.database().manifest(&child.digest)? else { continue };
            match (row.kind, &row.image) {
                (ManifestKind::Index, _) => leads |= self.gather(&row, image, depth - 1, index)?,
                (ManifestKind::Image, Some(id)) if self.database().image(id)?.is_some() => {
                    // What is wrong with one platform is not wrong with the others.
                    index.others.extend(if_whole(self.saved_member(id, &row))?.flatten());
                }
                (ManifestKind::Image, _) => {}
                (ManifestKind::Attestation | ManifestKind::Artifact, _) => {
                    let Some((kept, manifest)) = self.read_manifest(&row)? else { continue };
                    let Manifest { config, layers, .. } = manifest;
                    let blobs: Vec<Descriptor> = std::iter::once(config).chain(layers).collect();
                    let mut is_whole = true;
                    for blob in &blobs {
                        is_whole = is_whole && self.has_blob(&blob.digest)?;
                    }
                    if is_whole {
                        index.documents.push(kept);
                        index.blobs.extend(blobs);
                    }
                }
            }
        }
        Ok(leads)
    }

    /// An image with just this manifest; `None` when not all of it is here.
    fn saved_member(
        &self,
        id: &ImageId,
        row: &ManifestRow,
    ) -> Result<Option<SavedImage>, StoreError> {
        let config = self.config(id)?;
        let Some((manifest, Manifest { layers, .. })) = self.read_manifest(row)? else {
            return Ok(None);
        };
        let diff_ids = &config.rootfs.diff_ids;
        let mut is_whole = layers.len() == diff_ids.len();
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            is_whole = is_whole && (layer.digest == *diff_id || self.has_blob(&layer.digest)?);
        }
        if !is_whole {
            return Ok(None);
        }
        let (pins, names, top) = (self.pins_of(&config)?, Vec::new(), row.digest.clone());
        Ok(Some(SavedImage { id: id.clone(), config, names, top, manifest, layers, _pins: pins }))
    }
}
