//! The last step of a load, an import and a pull: everything new comes into place, then it counts.
//!
//! Until here all is in `tmp/`. Under the store's lock, layers and blobs are renamed into place,
//! their directories synchronised, and one transaction records them; when that fails they are
//! taken away again. Who makes a container does not wait while they are synchronised.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};

use ferry_oci::digest::Digest;
use ferry_oci::image::ImageConfig;
use ferry_oci::manifest::Descriptor;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use ferry_sys::SysError;
use ferry_sys::durable::{self, Survive};

use crate::database::{Arrival, BlobRow, LayerRow, NewImage, Stored};
use crate::error::StoreError;
use crate::image::{ImageId, Timestamp};
use crate::ingest::BuiltLayer;
use crate::layout::TempDir;
use crate::manifest::{Document, KeptManifest};
use crate::store::{Store, delete_in_background};

/// All that came along.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub layers: Vec<ArrivedLayer>,
    pub images: Vec<ArrivedImage>,
    /// Documents beside the images' own manifests.
    pub documents: Vec<Document>,
    /// What documents consist of that are about images; with their media types.
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
    /// Blobs, and repositories that have them.
    pub sources: Vec<(Digest, String)>,
    /// The lease that held until now what is here.
    pub ends_lease: Option<String>,
}

/// A layer that came along.
#[derive(Debug)]
pub(crate) struct ArrivedLayer {
    pub diff_id: Digest,
    pub source: LayerSource,
    /// Its compressed form as it came, if that is to be kept.
    pub blob: Option<SpooledBlob>,
}

#[derive(Debug)]
pub(crate) enum LayerSource {
    New(BuiltLayer),
    /// It was here already.
    Present(Pin),
}

/// A compressed layer in `tmp/`.
#[derive(Debug)]
pub(crate) struct SpooledBlob {
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
    pub path: PathBuf,
    /// The directory that `path` is in.
    pub dir: TempDir,
}

/// An image that came along; its layers came too, or are pinned or leased.
#[derive(Debug)]
pub(crate) struct ArrivedImage {
    pub config: ImageConfig,
    pub names: Vec<Reference>,
    pub parent: Option<ImageId>,
    pub manifest: Option<KeptManifest>,
    /// What the manifest is for; `None` is what the configuration says.
    pub platform: Option<Platform>,
    /// The manifest or the index that the names stand for.
    pub target: Option<Digest>,
}

/// Keeps a layer from removal.
#[derive(Debug)]
pub(crate) struct Pin {
    store: Store,
    diff_id: Digest,
}

impl Pin {
    /// Pins a layer; `None` when it is not here.
    pub(crate) fn new(store: &Store, diff_id: &Digest) -> Result<Option<Self>, StoreError> {
        let pin = || Self { store: store.clone(), diff_id: diff_id.clone() };
        Ok(store.pin_layer(diff_id)?.then(pin))
    }
}

/// The layers of a container, which neither go nor change their form while this lives: what reads a
/// mount of them needs it, for a mount does not hold the files of directories.
#[derive(Debug)]
#[must_use = "the layers are kept as long as this lives"]
pub struct KeptLayers {
    _pins: Vec<Pin>,
}

impl Store {
    /// Keeps the layers of a container as they are.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn keep_layers(&self, container: &str) -> Result<KeptLayers, StoreError> {
        let layers = self.pin_layers_of(container)?.into_iter();
        Ok(KeptLayers {
            _pins: layers.map(|diff_id| Pin { store: self.clone(), diff_id }).collect(),
        })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.store.unpin_layer(&self.diff_id);
    }
}

/// Makes everything count, or nothing. Tells which names moved from which images.
pub(crate) fn commit(
    store: &Store,
    arrived: Arrived,
) -> Result<Vec<(Reference, ImageId)>, StoreError> {
    let now = Timestamp::now();
    // Pins are let go after the lock is, since that takes the lock itself.
    let mut pins = Vec::new();
    let mut placing = Placing::new(store);
    placing.stage(&arrived)?;
    let changes = store.lock_changes();
    let placed = placing.place(arrived, &mut pins);
    let (changes, synced) = changes.wait(store, || placing.sync());
    let result = placed.and_then(|arrival| {
        synced?;
        store.database().insert_arrival(&arrival, now)
    });
    if result.is_err() {
        placing.undo();
    }
    drop(changes);
    drop(pins);
    drop(placing);
    result
}

/// Puts files into place, under the store's lock, and takes them away again if need be.
#[derive(Debug)]
pub(crate) struct Placing<'a> {
    store: &'a Store,
    /// What was not there before.
    placed: Vec<PathBuf>,
    /// Small blobs that are on the disk already, in `tmp/`.
    staged: HashMap<Digest, PathBuf>,
    /// What is not needed, in `tmp/`. It goes once the lock is let go: it may be large.
    unneeded: Vec<PathBuf>,
    /// What was not placed when something failed; it goes likewise.
    waiting: VecDeque<Waiting>,
}

/// A layer to be placed, and its compressed form.
type Waiting = (Digest, Option<BuiltLayer>, Option<SpooledBlob>);

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        for (_, layer, blob) in std::mem::take(&mut self.waiting) {
            let dirs = layer.map(|layer| layer.dir).into_iter().chain(blob.map(|blob| blob.dir));
            self.unneeded.extend(dirs.filter_map(TempDir::discard));
        }
        let mut unneeded = std::mem::take(&mut self.unneeded);
        unneeded.extend(std::mem::take(&mut self.staged).into_values());
        delete_in_background(unneeded);
    }
}

impl<'a> Placing<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        let (placed, staged) = (Vec::new(), HashMap::new());
        let (unneeded, waiting) = (Vec::new(), VecDeque::new());
        Self { store, placed, staged, unneeded, waiting }
    }

    /// Writes documents into `tmp/` and waits for the disk, before the lock is taken: under it they
    /// are only renamed.
    fn stage(&mut self, arrived: &Arrived) -> Result<(), StoreError> {
        let images = arrived.images.iter().flat_map(|image| {
            let config = (image.config.digest(), image.config.bytes());
            let manifest = image.manifest.iter().map(|kept| (&kept.digest, &*kept.bytes));
            std::iter::once(config).chain(manifest)
        });
        let blobs = arrived.blobs.iter().map(|(blob, bytes)| (&blob.digest, &**bytes));
        let documents = arrived.documents.iter().map(|one| (&one.kept.digest, &*one.kept.bytes));
        for (digest, bytes) in images.chain(blobs).chain(documents) {
            if self.staged.contains_key(digest) || self.has_bytes(digest, bytes) {
                continue;
            }
            let temporary = self.store.layout().new_tmp("blob");
            self.staged.insert(digest.clone(), temporary.clone());
            durable::write(&temporary, bytes, 0o600, Survive::Power)
                .map_err(|e| StoreError::file("write", &temporary, e.errno))?;
        }
        Ok(())
    }

    /// Whether a small blob is here as it should be. It is not asked whether it is known to be
    /// damaged, but looked at.
    fn has_bytes(&self, digest: &Digest, bytes: &[u8]) -> bool {
        let path = self.store.layout().blob(digest);
        let is_same = |file: std::fs::Metadata| file.is_file() && file.len() == bytes.len() as u64;
        path.symlink_metadata().is_ok_and(is_same)
            && std::fs::read(&path).is_ok_and(|there| there == bytes)
    }

    fn place(&mut self, arrived: Arrived, pins: &mut Vec<Pin>) -> Result<Arrival, StoreError> {
        let Arrived { layers, images, documents, blobs, sources, ends_lease } = arrived;
        let mut arrival = Arrival { sources, ends_lease, ..Arrival::default() };
        // Order: all pins first, since none may be let go here, whatever fails.
        for ArrivedLayer { diff_id, source, blob } in layers {
            let new = match source {
                LayerSource::Present(pin) => {
                    pins.push(pin);
                    None
                }
                LayerSource::New(layer) => Some(layer),
            };
            self.waiting.push_back((diff_id, new, blob));
        }
        let mut seen = HashSet::new();
        while let Some((diff_id, new, blob)) = self.waiting.pop_front() {
            match new {
                Some(layer) if seen.insert(diff_id.clone()) => {
                    arrival.layers.extend(self.place_layer(layer)?);
                }
                // This archive has it twice.
                Some(layer) => self.unneeded.extend(layer.dir.discard()),
                None => {}
            }
            if let Some(SpooledBlob { digest, size, media_type, path, dir }) = blob {
                self.unneeded.extend(dir.discard());
                let row = BlobRow { digest, size, media_type };
                self.place_blob(&row.digest, |to| durable::rename(&path, to, Survive::Processes))?;
                arrival.blobs.push((row, Some(diff_id)));
            }
        }
        for image in images {
            self.place_image(image, &mut arrival)?;
        }
        for (Descriptor { digest, size, media_type, .. }, bytes) in blobs {
            self.place_bytes(&digest, &bytes)?;
            arrival.blobs.push((BlobRow { digest, size, media_type }, None));
        }
        for document in documents {
            self.place_bytes(&document.kept.digest, &document.kept.bytes)?;
            arrival.manifests.push(document.rows()?);
        }
        Ok(arrival)
    }

    /// Puts a layer into place, unless another brought it meanwhile; gives its row if it did. One
    /// that is damaged is exchanged.
    pub(crate) fn place_layer(
        &mut self,
        layer: BuiltLayer,
    ) -> Result<Option<LayerRow>, StoreError> {
        if self.store.has_layer(&layer.row.diff_id)? {
            self.unneeded.extend(layer.dir.discard());
            return Ok(None);
        }
        let BuiltLayer { row, dir } = layer;
        let (layout, path) = (self.store.layout(), self.store.layout().layer(&row.diff_id));
        let old = self.store.database().layer(&row.diff_id)?;
        if let Some(old) = &old {
            let _forms = self.store.change_forms();
            if self.store.is_held(old)? && path.try_exists().is_ok_and(|there| there) {
                let to = layout.replaced(&row.diff_id);
                std::fs::rename(&path, to).map_err(|e| StoreError::file("move away", &path, e))?;
            }
            self.unneeded.extend(dir.keep_as(&path, layout)?);
            self.store.roots().close(&row.diff_id);
        } else {
            self.unneeded.extend(dir.keep_as(&path, layout)?);
        }
        // A container that is made before the row counts may have taken it in use: its files are as
        // good as those that the row was of.
        if old.is_none_or(|old| old.kind != row.kind) {
            self.placed.push(path);
        }
        Ok(Some(row))
    }

    fn place_image(
        &mut self,
        image: ArrivedImage,
        arrival: &mut Arrival,
    ) -> Result<(), StoreError> {
        let ArrivedImage { config, names, parent, manifest, platform, target } = image;
        self.place_bytes(config.digest(), config.bytes())?;
        let id = ImageId::from(config.digest().clone());
        let mut row = None;
        if let Some(kept) = manifest {
            self.place_bytes(&kept.digest, &kept.bytes)?;
            row = Some(BlobRow {
                digest: kept.digest.clone(),
                size: kept.bytes.len() as u64,
                media_type: kept.media_type.clone(),
            });
            let platform = platform.unwrap_or_else(|| platform_of(&config));
            arrival.manifests.push(Document::manifest(kept, id.clone(), platform).rows()?);
        }
        let layers = config.rootfs.diff_ids.clone();
        arrival.images.push(NewImage { id, layers, parent, manifest: row, names, target });
        Ok(())
    }

    fn place_bytes(&mut self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        if self.has_bytes(digest, bytes) {
            return Ok(());
        }
        let path = self.store.layout().blob(digest);
        let was_there = path.symlink_metadata().is_ok();
        let fail = |e: SysError| StoreError::file("write", &path, e.errno);
        let temporary = match self.staged.get(digest) {
            Some(temporary) => temporary.clone(),
            // It was there a moment ago.
            None => {
                let temporary = self.store.layout().new_tmp("blob");
                self.staged.insert(digest.clone(), temporary.clone());
                durable::write(&temporary, bytes, 0o600, Survive::Power).map_err(fail)?;
                temporary
            }
        };
        durable::rename(&temporary, &path, Survive::Processes).map_err(fail)?;
        self.staged.remove(digest);
        if !was_there {
            self.placed.push(path);
        }
        Ok(())
    }

    /// Puts a blob into place; false when it was there, so that `place` was not asked.
    pub(crate) fn place_blob(
        &mut self,
        digest: &Digest,
        place: impl FnOnce(&Path) -> Result<(), SysError>,
    ) -> Result<bool, StoreError> {
        let path = self.store.layout().blob(digest);
        if path.try_exists().map_err(|e| StoreError::file("open", &path, e))? {
            // It is addressed by its content: what is there is the same, unless it was found not
            // to be.
            if !self.store.database().is_damaged(Stored::Blob(digest))? {
                return Ok(false);
            }
            self.unneeded.push(self.store.layout().discard(&path)?);
        }
        place(&path).map_err(|e| StoreError::file("write", &path, e.errno))?;
        self.placed.push(path);
        Ok(true)
    }

    /// Waits until the names of what was placed are on the disk; rows may name it only then.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        tests::syncing();
        for dir in [self.store.layout().layers(), self.store.layout().blobs()] {
            durable::sync_dir(&dir).map_err(|e| StoreError::file("fsync", dir, e.errno))?;
        }
        Ok(())
    }

    /// Takes away what was placed.
    pub(crate) fn undo(&mut self) {
        for path in &self.placed {
            match self.store.layout().discard(path) {
                Ok(discarded) => self.unneeded.push(discarded),
                Err(error) => tracing::warn!(%error, "cannot undo; swept at the next start"),
            }
        }
    }
}

/// What an image says that it is for.
fn platform_of(config: &ImageConfig) -> Platform {
    Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os_version: config.os_version.clone(),
        ..Platform::default()
    }
}
