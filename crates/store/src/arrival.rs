//! The last step of a load and an import: everything new comes into place, then it counts.
//!
//! Until here all is in `tmp/`. Under the store's lock, layers and blobs are renamed into place,
//! their directories synchronised, and one transaction records them; when that fails they are
//! taken away again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ferry_oci::digest::Digest;
use ferry_oci::image::ImageConfig;
use ferry_oci::reference::Reference;
use ferry_sys::durable::{self, Survive};

use crate::database::{Arrival, BlobRow, NewImage};
use crate::error::StoreError;
use crate::image::{ImageId, Timestamp};
use crate::ingest::BuiltLayer;
use crate::layout::{TempDir, delete};
use crate::store::Store;

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
    pub _dir: TempDir,
}

/// An image that came along; its layers came too or are pinned.
#[derive(Debug)]
pub(crate) struct ArrivedImage {
    pub config: ImageConfig,
    pub names: Vec<Reference>,
    pub parent: Option<ImageId>,
    pub manifest: Option<ArrivedManifest>,
}

#[derive(Debug, Clone)]
pub(crate) struct ArrivedManifest {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
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

impl Drop for Pin {
    fn drop(&mut self) {
        self.store.unpin_layer(&self.diff_id);
    }
}

/// Makes everything count, or nothing. Tells which names moved from which images.
pub(crate) fn commit(
    store: &Store,
    layers: Vec<ArrivedLayer>,
    images: Vec<ArrivedImage>,
) -> Result<Vec<(Reference, ImageId)>, StoreError> {
    let now = Timestamp::now();
    // Pins are let go after the lock is, since that takes the lock itself.
    let mut pins = Vec::new();
    let changes = store.lock_changes();
    let mut placing = Placing { store, placed: Vec::new() };
    let result = placing
        .place(layers, images, &mut pins)
        .and_then(|arrival| store.database().insert_arrival(&arrival, now));
    if result.is_err() {
        placing.undo();
    }
    drop(changes);
    drop(pins);
    result
}

struct Placing<'a> {
    store: &'a Store,
    /// What was not there before.
    placed: Vec<PathBuf>,
}

impl Placing<'_> {
    fn place(
        &mut self,
        layers: Vec<ArrivedLayer>,
        images: Vec<ArrivedImage>,
        pins: &mut Vec<Pin>,
    ) -> Result<Arrival, StoreError> {
        let layout = self.store.layout();
        let mut arrival = Arrival::default();
        let mut seen = HashSet::new();
        for ArrivedLayer { diff_id, source, blob } in layers {
            match source {
                LayerSource::Present(pin) => pins.push(pin),
                // Another load may have brought it meanwhile, or this archive has it twice.
                LayerSource::New(_) if self.store.database().layer(&diff_id)?.is_some() => {}
                LayerSource::New(_) if !seen.insert(diff_id.clone()) => {}
                LayerSource::New(BuiltLayer { row, dir }) => {
                    let path = layout.layer(&diff_id);
                    dir.keep_as(&path, layout)?;
                    self.placed.push(path);
                    arrival.layers.push(row);
                }
            }
            if let Some(SpooledBlob { digest, size, media_type, path, _dir }) = blob {
                let row = BlobRow { digest, size, media_type };
                self.place_blob(&row.digest, |to| durable::rename(&path, to, Survive::Processes))?;
                arrival.blobs.push((row, diff_id));
            }
        }
        for image in images {
            arrival.images.push(self.place_image(image)?);
        }
        for dir in [layout.layers(), layout.blobs()] {
            durable::sync_dir(&dir).map_err(|e| StoreError::file("fsync", dir, e.errno))?;
        }
        Ok(arrival)
    }

    fn place_image(&mut self, image: ArrivedImage) -> Result<NewImage, StoreError> {
        let ArrivedImage { config, names, parent, manifest } = image;
        self.place_bytes(config.digest(), config.bytes())?;
        let manifest = match manifest {
            Some(ArrivedManifest { digest, media_type, bytes }) => {
                self.place_bytes(&digest, &bytes)?;
                Some(BlobRow { digest, size: bytes.len() as u64, media_type })
            }
            None => None,
        };
        let id = ImageId::from(config.digest().clone());
        let layers = config.rootfs.diff_ids.clone();
        Ok(NewImage { id, layers, parent, manifest, names })
    }

    fn place_bytes(&mut self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let temporary = self.store.layout().new_tmp("blob");
        self.place_blob(digest, |to| {
            durable::write(&temporary, bytes, 0o600, Survive::Power)?;
            durable::rename(&temporary, to, Survive::Processes)
        })
    }

    fn place_blob(
        &mut self,
        digest: &Digest,
        place: impl FnOnce(&Path) -> Result<(), ferry_sys::SysError>,
    ) -> Result<(), StoreError> {
        let path = self.store.layout().blob(digest);
        // It is addressed by its content: what is there is the same.
        if path.try_exists().map_err(|e| StoreError::file("open", &path, e))? {
            return Ok(());
        }
        place(&path).map_err(|e| StoreError::file("write", &path, e.errno))?;
        self.placed.push(path);
        Ok(())
    }

    /// Takes away what was placed.
    fn undo(&self) {
        for path in &self.placed {
            match self.store.layout().discard(path) {
                Ok(discarded) => delete(&discarded),
                Err(error) => tracing::warn!(%error, "cannot undo; swept at the next start"),
            }
        }
    }
}
