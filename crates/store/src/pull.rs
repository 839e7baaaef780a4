//! A pull's side of the store: which layers are wanted, taking them in, and the image at the end.
//!
//! ```text
//! want -> LayerFetch -> BlobWriter    appends to blobs/partial/<hex>
//!                    -> LayerBuilder  follows it: (thread) hash, decompress -> write, hash, read -> build
//!                                     then both are in their places, held by the pull's lease
//! commit: manifest, configuration, names; the lease ends
//! ```
//!
//! A pull that dies leaves whole layers under its lease and the rest as prefixes in
//! `blobs/partial/`; the next one of the same lease goes on from there.

mod build;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferry_oci::digest::Digest;
use ferry_oci::image::ImageConfig;
use ferry_oci::manifest::Index;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

pub use self::build::{BlobWriter, BuiltDigests, LayerBuilder, LayerFetch};
use crate::arrival::{self, Arrived, ArrivedImage, Pin};
use crate::collect::{lease_end, now_seconds};
use crate::error::StoreError;
use crate::image::ImageId;
use crate::limits;
use crate::manifest::{Document, KeptManifest};
use crate::store::{LayerStoreKind, Store};

/// A layer that a manifest names.
#[derive(Clone, Debug)]
pub struct WantedLayer {
    /// The digest of its compressed form.
    pub digest: Digest,
    /// Bytes of that.
    pub size: u64,
    /// What the manifest says that it is.
    pub media_type: String,
    /// Its uncompressed digest, as the configuration has it.
    pub diff_id: Option<Digest>,
}

/// What is to be done for a layer.
#[derive(Debug)]
pub enum Wanted {
    /// Nothing: it is here, and stays until the pull ends.
    Present,
    /// It is to be fetched.
    Fetch(LayerFetch),
}

/// All that one pull brings, once its layers are here.
#[derive(Clone, Debug)]
pub struct PulledImage {
    /// The configuration.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<WantedLayer>,
    /// The image's manifest.
    pub manifest: KeptManifest,
    /// The index that it was chosen from.
    pub index: Option<KeptManifest>,
    /// Manifests of the index that say something about the image.
    pub attestations: Vec<KeptManifest>,
    /// What the image is called from now on.
    pub names: Vec<Reference>,
    /// What it is for.
    pub platform: Platform,
    /// The repository it came from: `docker.io/library/busybox`.
    pub source: String,
}

/// What a pull did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledOutcome {
    /// The image.
    pub image: ImageId,
    /// Whether the first of the names led to it before.
    pub was_here: bool,
    /// Names that other images lost, and those images.
    pub moved: Vec<(Reference, ImageId)>,
}

/// One pull's claim on the store. Cheap to clone; its layers stay as long as a clone lives.
#[derive(Clone, Debug)]
pub struct PullIntake {
    intake: Arc<Intake>,
}

#[derive(Debug)]
struct Intake {
    store: Store,
    lease: ActiveLease,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// What the blobs turned out to be forms of.
    diff_ids: HashMap<Digest, Digest>,
    pins: HashMap<Digest, Pin>,
}

/// A lease that somebody holds: it does not end by time.
#[derive(Debug)]
struct ActiveLease {
    store: Store,
    id: String,
}

impl Drop for ActiveLease {
    fn drop(&mut self) {
        self.store.lock_pins().release_lease(&self.id);
    }
}

impl Store {
    /// Begins a pull. Pulls of the same lease, one after the other or at once, share what each has
    /// finished; a lease that nobody holds ends after 7 days.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn begin_pull(&self, lease: &str) -> Result<PullIntake, StoreError> {
        // Held first, so that it cannot end in between.
        self.lock_pins().hold_lease(lease);
        let (store, id) = (self.clone(), lease.to_owned());
        let lease = ActiveLease { store: store.clone(), id };
        self.database().renew_lease(&lease.id, lease_end())?;
        let taken = Mutex::default();
        Ok(PullIntake { intake: Arc::new(Intake { store, lease, taken }) })
    }

    /// Remembers that a repository (`docker.io/library/busybox`) has a blob.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_blob_source(&self, digest: &Digest, repository: &str) -> Result<(), StoreError> {
        self.database().note_blob_source(digest, repository, now_seconds())
    }

    /// Repositories that had a blob, the one seen last first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn blob_sources(&self, digest: &Digest) -> Result<Vec<String>, StoreError> {
        self.database().blob_sources(digest)
    }
}

impl PullIntake {
    /// Finds out whether a layer is here in this packing, and keeps it; or takes on to fetch it.
    ///
    /// # Errors
    /// `Conflict` while another fetches it, or when it is damaged and a container is made of it;
    /// `Invalid` when it is larger than 128 GiB.
    pub fn want(&self, layer: &WantedLayer) -> Result<Wanted, StoreError> {
        let Intake { store, .. } = &*self.intake;
        if layer.size > limits::MAX_LAYER_BLOB {
            let (digest, size) = (&layer.digest, layer.size);
            return Err(StoreError::Archive(format!(
                "layer {digest} of {size} bytes is too large"
            )));
        }
        let known = store.database().layer_of_blob(&layer.digest)?;
        let Some(diff_id) = known.clone().or_else(|| layer.diff_id.clone()) else {
            return LayerFetch::new(self.clone(), layer.clone(), None).map(Wanted::Fetch);
        };
        let Some(pin) = Pin::new(store, &diff_id)? else {
            self.check_replaceable(&diff_id)?;
            return LayerFetch::new(self.clone(), layer.clone(), None).map(Wanted::Fetch);
        };
        let is_whole = known.is_some() && store.has_blob(&layer.digest)?;
        let mut taken = self.intake.taken();
        if is_whole {
            taken.diff_ids.insert(layer.digest.clone(), diff_id.clone());
        }
        // A pin that it takes the place of ends when the lock is not held.
        let before = taken.pins.insert(diff_id.clone(), pin);
        drop(taken);
        drop(before);
        if is_whole {
            return Ok(Wanted::Present);
        }
        // It came in another packing. This one is wanted too: what is pulled goes out as it came.
        LayerFetch::new(self.clone(), layer.clone(), Some(diff_id)).map(Wanted::Fetch)
    }

    /// A damaged directory cannot be exchanged under the containers that may be reading it.
    fn check_replaceable(&self, diff_id: &Digest) -> Result<(), StoreError> {
        let database = self.intake.store.database();
        let Some(row) = database.layer(diff_id)? else { return Ok(()) };
        let is_held = || -> Result<bool, StoreError> {
            Ok(database.layers_of_containers()?.iter().any(|layers| layers.contains(diff_id)))
        };
        if row.kind == LayerStoreKind::Directories && is_held()? {
            return Err(StoreError::Conflict(format!(
                "layer {diff_id} is damaged, and containers are made of it"
            )));
        }
        Ok(())
    }

    /// Makes the image count, once all its layers are here; with it the lease ends.
    ///
    /// # Errors
    /// `Invalid` when layers are not those that the configuration names, or documents not those
    /// of their digests; `NotFound` for a layer that is not here; `Full`. The layers stay then.
    pub fn commit(&self, image: PulledImage) -> Result<PulledOutcome, StoreError> {
        let Intake { store, lease, .. } = &*self.intake;
        self.check_layers(&image)?;
        let documents = [Some(&image.manifest), image.index.as_ref()];
        for document in documents.into_iter().flatten().chain(&image.attestations) {
            document.check()?;
        }
        let id = ImageId::from(image.config.digest().clone());
        let was_here = match image.names.first() {
            Some(name) => store.database().image_by_name(name)?.as_ref() == Some(&id),
            None => store.database().image(&id)?.is_some(),
        };
        let arrived = Arrived { ends_lease: Some(lease.id.clone()), ..arrived(image) };
        let moved = arrival::commit(store, arrived)?;
        Ok(PulledOutcome { image: id, was_here, moved })
    }

    /// Compares the layers with what the configuration says of them.
    fn check_layers(&self, image: &PulledImage) -> Result<(), StoreError> {
        let (found, expected) = (image.layers.len(), image.config.rootfs.diff_ids.len());
        if found != expected {
            return Err(StoreError::Archive(format!(
                "invalid manifest, layers length mismatch: expected {expected}, got {found}"
            )));
        }
        let database = self.intake.store.database();
        for (layer, expected) in image.layers.iter().zip(&image.config.rootfs.diff_ids) {
            let known = self.intake.taken().diff_ids.get(&layer.digest).cloned();
            let actual = match known {
                Some(actual) => actual,
                None => database.layer_of_blob(&layer.digest)?.unwrap_or_else(|| expected.clone()),
            };
            if actual != *expected {
                let (what, expected) = (format!("layer {}", layer.digest), expected.clone());
                return Err(StoreError::DigestMismatch { what, expected, actual });
            }
            if database.layer(&actual)?.is_none() {
                return Err(StoreError::NoSuchLayer(actual));
            }
        }
        Ok(())
    }
}

impl Intake {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn arrived(image: PulledImage) -> Arrived {
    let PulledImage { config, layers, manifest, index, attestations, names, platform, source } =
        image;
    let blobs = std::iter::once(config.digest().clone())
        .chain(layers.into_iter().map(|layer| layer.digest));
    let sources = blobs.map(|digest| (digest, source.clone())).collect();
    let target = Some(index.as_ref().unwrap_or(&manifest).digest.clone());
    let entries = index.as_ref().and_then(|index| Index::parse(&index.bytes).ok());
    let entries = entries.map(|index| index.manifests).unwrap_or_default();
    let statement = |kept: KeptManifest| {
        let entry = entries.iter().find(|entry| entry.digest == kept.digest);
        Document::attestation(kept, entry)
    };
    let mut documents: Vec<Document> = attestations.into_iter().map(statement).collect();
    documents.extend(index.map(Document::index));
    let image = ArrivedImage {
        config,
        names,
        parent: None,
        manifest: Some(manifest),
        platform: Some(platform),
        target,
    };
    Arrived { images: vec![image], documents, sources, ..Arrived::default() }
}
