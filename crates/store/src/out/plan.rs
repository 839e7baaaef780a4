//! What a push sends, and what is known of an image's manifests.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use ferry_oci::digest::Digest;
use ferry_oci::image::ImageConfig;
use ferry_oci::manifest::{Descriptor, Manifest};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use crate::arrival::Pin;
use crate::database::{ManifestKind, ManifestRow, Stored};
use crate::error::{StoreError, if_whole};
use crate::image::{ImageId, Timestamp};
use crate::limits;
use crate::manifest::KeptManifest;
use crate::store::Store;

/// What a push sends.
#[derive(Clone, Debug)]
pub struct PushPlan {
    /// Everything, each manifest after those that it leads to; the last is `top`.
    pub manifests: Vec<PushManifest>,
    /// What gets the tag.
    pub top: KeptManifest,
    /// When the name stands for an index whose parts are not all here: the index, and the manifest
    /// that goes out instead.
    pub instead_of_index: Option<(Descriptor, Descriptor)>,
}

/// A manifest, and the blobs that must be there before it.
#[derive(Clone, Debug)]
pub struct PushManifest {
    /// Its exact bytes.
    pub manifest: KeptManifest,
    /// The configuration first, then the layers from the lowest; none for an index.
    pub blobs: Vec<PushBlob>,
}

/// A blob of a manifest.
#[derive(Clone, Debug)]
pub struct PushBlob {
    /// As the manifest has it.
    pub descriptor: Descriptor,
    /// The layer that it is a form of.
    pub diff_id: Option<Digest>,
    /// Repositories that have it, the one seen last first.
    pub sources: Vec<String>,
    /// Whether its publisher does not want it distributed; then it may be absent here.
    pub is_foreign: bool,
    held: Held,
}

/// What keeps a blob, though its image be removed before it is sent.
#[derive(Clone, Debug)]
enum Held {
    /// It stays with its layer.
    Layer { _pin: Arc<Pin> },
    /// It is open; its bytes stay as long.
    Open(Arc<File>),
    /// It need not be here.
    Nothing,
}

impl PushBlob {
    /// Reads it from a byte on.
    ///
    /// # Errors
    /// When it is not here or cannot be read.
    pub fn read(&self, store: &Store, from: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        if let Held::Open(file) = &self.held {
            return Ok(Box::new(ReadAt { file: Arc::clone(file), at: from }));
        }
        let mut file = store.blob_file(&self.descriptor.digest)?;
        file.seek(SeekFrom::Start(from)).map_err(StoreError::Read)?;
        Ok(Box::new(file))
    }
}

/// Reads a file that others read too.
struct ReadAt {
    file: Arc<File>,
    at: u64,
}

impl Read for ReadAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

/// A manifest that belongs to an image, and how much of it is here.
#[derive(Clone, Debug)]
pub struct ManifestSummary {
    /// As the index has it.
    pub descriptor: Descriptor,
    /// Whether it is BuildKit's statement about another manifest.
    pub is_attestation: bool,
    /// The manifest that it says something about.
    pub subject: Option<Digest>,
    /// The image that it describes, if that is here.
    pub image: Option<ImageId>,
    /// What it is for.
    pub platform: Option<Platform>,
    /// Whether it and all that it leads to is here.
    pub available: bool,
    /// Bytes of its blobs that are here, its own too.
    pub content_size: u64,
    /// Bytes of the image's files, as Docker counts them.
    pub unpacked_size: u64,
}

impl Store {
    /// Finds out what a push of a name sends: the exact manifest or index that it stands for where
    /// all of it is here, else the manifest of this machine's platform, or of `platform`.
    ///
    /// A manifest that has to be made compresses layers, which takes long: call
    /// [`Store::ensure_compressed`] first to hear of its progress.
    ///
    /// # Errors
    /// `NotFound` with Docker's sentence; `Full`.
    pub fn push_plan(
        &self,
        name: &Reference,
        platform: Option<&Platform>,
    ) -> Result<PushPlan, StoreError> {
        let name = name.clone().with_default_tag();
        let database = self.database();
        let Some(image) = database.image_by_name(&name)? else {
            return Err(StoreError::NotFound(match database.tags_of_repository(&name.name())? {
                tags if tags.is_empty() => format!(
                    "An image does not exist locally with the tag: {}",
                    name.familiar_name()
                ),
                _ => format!("tag does not exist: {}", name.familiar()),
            }));
        };
        if let Some(platform) = platform {
            let chosen = self.platform_of_name(&image, Some(&name), platform)?;
            let Some(chosen) = chosen else {
                return Err(self.other_platform(&image, &name.familiar(), platform)?);
            };
            return self.push_one(&chosen, &name);
        }
        let target = database.name_target(&name)?.map(|target| database.manifest(&target));
        let index = target.transpose()?.flatten().filter(|row| row.kind == ManifestKind::Index);
        let Some(index) = index else { return self.push_one(&image, &name) };
        let mut manifests = Vec::new();
        if self.collect_index(&index, limits::MAX_INDEX_DEPTH, &mut manifests)?
            && let Some(top) = manifests.last().map(|last| last.manifest.clone())
        {
            return Ok(PushPlan { manifests, top, instead_of_index: None });
        }
        let mut plan = self.push_one(&image, &name)?;
        let size = plan.top.bytes.len() as u64;
        let sent = Descriptor::new(&*plan.top.media_type, plan.top.digest.clone(), size);
        let index = Descriptor::new(index.media_type, index.digest, index.size);
        plan.instead_of_index = Some((index, sent));
        Ok(plan)
    }

    /// Remembers a push: the name with the digest, what the name stands for if it stood for nothing
    /// yet, and that the repository has these blobs.
    ///
    /// # Errors
    /// `NotFound` when the image is gone; when the database cannot be read and written.
    pub fn note_pushed(&self, name: &Reference, target: &Digest) -> Result<(), StoreError> {
        let name = name.clone().with_default_tag();
        let _changes = self.lock_changes();
        let image = match self.database().manifest(target)?.and_then(|row| row.image) {
            Some(image) => Some(image),
            None => self.database().image_by_name(&name)?,
        };
        let image = image.ok_or_else(|| StoreError::NoSuchImage(name.familiar()))?;
        let mut blobs = Vec::new();
        let mut pending = vec![target.clone()];
        let mut seen = HashSet::new();
        while let Some(parent) = pending.pop() {
            for child in self.database().children(&parent)? {
                if !seen.insert(child.digest.clone()) {
                    continue;
                }
                if child.descriptor.is_index() || child.descriptor.is_manifest() {
                    pending.push(child.digest);
                } else {
                    blobs.push(child.digest);
                }
            }
        }
        self.database().note_pushed(&name, &image, target, &blobs, Timestamp::now())
    }

    /// The manifests of an image: those of the index that one of its names stands for, or its own.
    ///
    /// # Errors
    /// When the database or a configuration cannot be read.
    pub fn manifests_of(&self, image: &ImageId) -> Result<Vec<ManifestSummary>, StoreError> {
        let database = self.database();
        let names = database.image(image)?.map(|row| row.names).unwrap_or_default();
        for name in names {
            let Some(target) = database.name_target(&name)? else { continue };
            let row = database.manifest(&target)?;
            if row.is_some_and(|row| row.kind == ManifestKind::Index) {
                let children = database.children(&target)?.into_iter();
                return children.map(|child| self.summary(child.descriptor)).collect();
            }
        }
        let own = database.manifests_of_image(image)?.into_iter();
        own.map(|row| self.summary(Descriptor::new(row.media_type, row.digest, row.size))).collect()
    }

    fn summary(&self, descriptor: Descriptor) -> Result<ManifestSummary, StoreError> {
        let database = self.database();
        let row = database.manifest(&descriptor.digest)?;
        let mut content_size = 0;
        let mut available = row.is_some() && self.has_blob(&descriptor.digest)?;
        if available {
            content_size += descriptor.size;
        }
        let image = row.as_ref().and_then(|row| row.image.clone());
        let image_row = image.as_ref().map(|image| database.image(image)).transpose()?.flatten();
        for child in database.children(&descriptor.digest)? {
            if self.has_blob(&child.digest)? {
                content_size += child.size;
            } else if image_row.is_none() {
                // The layers of an image that is here are here in another form.
                available = false;
            }
        }
        let is_attestation = descriptor.is_attestation();
        let image = image_row.as_ref().map(|row| row.id.clone());
        let platform = match (&descriptor.platform, &image) {
            _ if is_attestation => None,
            (Some(platform), _) => Some(platform.clone()),
            (None, Some(image)) => if_whole(self.config(image))?.map(|config| config.platform()),
            (None, None) => row.as_ref().and_then(|row| row.platform.clone()),
        };
        let sizes = image_row.map(|row| row.layer_sizes).unwrap_or_default();
        let unpacked_size = sizes.into_iter().fold(0, u64::saturating_add);
        let subject = row.and_then(|row| row.subject);
        Ok(ManifestSummary {
            descriptor,
            is_attestation,
            subject,
            image,
            platform,
            available,
            content_size,
            unpacked_size,
        })
    }

    /// Of the images that a name stands for, the one that suits a platform best.
    pub(crate) fn platform_of_name(
        &self,
        image: &ImageId,
        name: Option<&Reference>,
        platform: &Platform,
    ) -> Result<Option<ImageId>, StoreError> {
        let mut best: Option<(u32, ImageId)> = None;
        for candidate in self.images_of_name(image, name)? {
            // One that is damaged is not here.
            let config = if_whole(self.config(&candidate))?;
            let suits = config.and_then(|config| config.platform().suitability(platform));
            let Some(suits) = suits else { continue };
            if best.as_ref().is_none_or(|(known, _)| suits > *known) {
                best = Some((suits, candidate));
            }
        }
        Ok(best.map(|(_, image)| image))
    }

    /// Whether a blob's file is here and not known to be damaged.
    pub(crate) fn has_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.layout().blob(digest);
        let there = path.try_exists().map_err(|e| StoreError::file("open", &path, e))?;
        Ok(there && !self.database().is_damaged(Stored::Blob(digest))?)
    }

    /// A manifest of an image of which all is here, its exact bytes; the one that `name` stands for
    /// before others. `here` judges its layers.
    pub(super) fn whole_manifest(
        &self,
        image: &ImageId,
        config: &ImageConfig,
        name: Option<&Reference>,
        here: impl Fn(&Descriptor, &Digest) -> Result<bool, StoreError>,
    ) -> Result<Option<(KeptManifest, Manifest)>, StoreError> {
        let database = self.database();
        let mut candidates = Vec::new();
        if let Some(name) = name {
            candidates.extend(database.name_target(name)?);
        }
        candidates.extend(database.image(image)?.and_then(|row| row.manifest_digest));
        let known = database.manifests_of_image(image)?;
        candidates.extend(known.iter().map(|row| row.digest.clone()));
        for candidate in candidates {
            let Some(row) = known.iter().find(|row| row.digest == candidate) else { continue };
            let Some((kept, manifest)) = self.read_manifest(row)? else { continue };
            let diff_ids = &config.rootfs.diff_ids;
            if manifest.config.digest != *image.digest() || manifest.layers.len() != diff_ids.len()
            {
                continue;
            }
            let mut whole = true;
            for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
                whole = whole && here(layer, diff_id)?;
            }
            if whole {
                return Ok(Some((kept, manifest)));
            }
        }
        Ok(None)
    }

    /// Reads a manifest; `None` when its file is not what it should be.
    pub(super) fn read_manifest(
        &self,
        row: &ManifestRow,
    ) -> Result<Option<(KeptManifest, Manifest)>, StoreError> {
        let Some(kept) = self.read_kept(row)? else { return Ok(None) };
        match Manifest::parse(&kept.bytes) {
            Ok(manifest) => Ok(Some((kept, manifest))),
            Err(error) => {
                tracing::warn!(digest = %row.digest, %error, "a manifest is malformed");
                Ok(None)
            }
        }
    }

    /// Reads the bytes of a document; `None` when they are not here, or not its own.
    pub(super) fn read_kept(&self, row: &ManifestRow) -> Result<Option<KeptManifest>, StoreError> {
        if !self.has_blob(&row.digest)? {
            return Ok(None);
        }
        let path = self.layout().blob(&row.digest);
        let read = std::fs::read(&path).map_err(|e| StoreError::file("read", &path, e));
        let Some(bytes) = if_whole(read)? else { return Ok(None) };
        if !row.digest.matches(&bytes) {
            tracing::warn!(digest = %row.digest, "a manifest is damaged");
            return Ok(None);
        }
        let (digest, media_type) = (row.digest.clone(), row.media_type.clone());
        Ok(Some(KeptManifest { digest, media_type, bytes }))
    }

    /// A plan for one image.
    fn push_one(&self, image: &ImageId, name: &Reference) -> Result<PushPlan, StoreError> {
        let (top, manifest) = self.compressed(image, Some(name), &mut |_, _| ())?;
        let diff_ids = self.config(image)?.rootfs.diff_ids.clone();
        let manifest = self.push_manifest(top.clone(), manifest, &diff_ids)?;
        Ok(PushPlan { manifests: vec![manifest], top, instead_of_index: None })
    }

    fn push_manifest(
        &self,
        kept: KeptManifest,
        manifest: Manifest,
        diff_ids: &[Digest],
    ) -> Result<PushManifest, StoreError> {
        let forms = std::iter::once(None).chain(diff_ids.iter().cloned().map(Some));
        let forms = forms.chain(std::iter::repeat(None));
        let descriptors = std::iter::once(manifest.config).chain(manifest.layers);
        let blob = |(descriptor, diff_id): (Descriptor, Option<Digest>)| {
            let sources = self.blob_sources(&descriptor.digest)?;
            let is_foreign = descriptor.is_foreign();
            let held = self.hold(&descriptor.digest, diff_id.as_ref(), is_foreign)?;
            Ok(PushBlob { descriptor, diff_id, sources, is_foreign, held })
        };
        let blobs = descriptors.zip(forms).map(blob).collect::<Result<_, StoreError>>()?;
        Ok(PushManifest { manifest: kept, blobs })
    }

    /// Keeps a blob until it is sent.
    fn hold(
        &self,
        blob: &Digest,
        diff_id: Option<&Digest>,
        is_foreign: bool,
    ) -> Result<Held, StoreError> {
        if let Some(diff_id) = diff_id
            && let Some(pin) = Pin::new(self, diff_id)?
        {
            return Ok(Held::Layer { _pin: Arc::new(pin) });
        }
        match self.blob_file(blob) {
            Ok(file) => Ok(Held::Open(Arc::new(file))),
            Err(StoreError::NotFound(_)) if is_foreign => Ok(Held::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Adds an index and all that it leads to; false when something is not here.
    fn collect_index(
        &self,
        index: &ManifestRow,
        depth: usize,
        manifests: &mut Vec<PushManifest>,
    ) -> Result<bool, StoreError> {
        let Some(kept) = self.read_kept(index)? else { return Ok(false) };
        if depth == 0 {
            return Ok(false);
        }
        for child in self.database().children(&index.digest)? {
            if manifests.iter().any(|known| known.manifest.digest == child.digest) {
                continue;
            }
            let Some(row) = self.database().manifest(&child.digest)? else { return Ok(false) };
            if row.kind == ManifestKind::Index {
                if !self.collect_index(&row, depth - 1, manifests)? {
                    return Ok(false);
                }
                continue;
            }
            let Some((kept, manifest)) = self.read_manifest(&row)? else { return Ok(false) };
            for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                if !blob.is_foreign() && !self.has_blob(&blob.digest)? {
                    return Ok(false);
                }
            }
            let diff_ids = match &row.image {
                Some(image) if self.database().image(image)?.is_some() => {
                    let Some(config) = if_whole(self.config(image))? else { return Ok(false) };
                    config.rootfs.diff_ids.clone()
                }
                _ => Vec::new(),
            };
            manifests.push(self.push_manifest(kept, manifest, &diff_ids)?);
        }
        manifests.push(PushManifest { manifest: kept, blobs: Vec::new() });
        Ok(true)
    }
}
