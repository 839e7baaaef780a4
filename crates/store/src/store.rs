//! The store: one data root and everything in it.

mod sweep;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ferry_oci::digest::Digest;
use ferry_oci::image::ImageConfig;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use ferry_sys::tree;

use crate::database::{Database, LayerRow, Stored};
use crate::error::StoreError;
use crate::image::{ImageId, Images};
use crate::layers;
use crate::layout::{Layout, delete};
use crate::records::Records;
use crate::roots::LayerRoots;
use crate::setup::Setups;

/// Where the store lives and how it keeps layers.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data root; made if it is not there.
    pub data_root: PathBuf,
    /// How to keep layers.
    pub layer_store: LayerStoreChoice,
}

/// How to keep layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerStoreChoice {
    /// EROFS where the kernel can, else directories.
    #[default]
    Auto,
    /// This one; opening fails when the kernel cannot.
    Only(LayerStoreKind),
}

/// The two ways to keep a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerStoreKind {
    /// The layer's archive as one file, and an EROFS index over it. Linux 6.15.
    Erofs,
    /// An extracted directory. Any kernel with overlayfs.
    Directories,
}

impl LayerStoreKind {
    /// The name of the storage driver, as in `docker info`.
    pub fn driver_name(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Directories => "overlay2",
        }
    }
}

/// How far a load has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadProgress {
    /// A layer that was not here yet; `total` is 0 while unknown.
    Layer {
        /// Short name of the layer: twelve digits of its digest, or of its place in the archive.
        id: String,
        /// Bytes of the archive's entry taken in so far.
        current: u64,
        /// All of them.
        total: u64,
    },
    /// Another image lost a name to a loaded one.
    Renamed {
        /// The name.
        reference: Reference,
        /// The image that had it.
        from: ImageId,
    },
}

/// An image that a load brought, as `docker load` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It has this name: `Loaded image: busybox:latest`.
    Name {
        /// The name.
        reference: Reference,
        /// Its image.
        image: ImageId,
    },
    /// It has no name: `Loaded image ID: sha256:...`.
    Id(ImageId),
}

/// What `docker import` may say.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Name of the new image; a missing tag is `latest`.
    pub reference: Option<Reference>,
    /// Dockerfile instructions for its configuration: `CMD ["sh"]`, `ENV A=b`.
    pub changes: Vec<String>,
    /// The comment; empty is `Imported from <source>`.
    pub message: String,
    /// Where the archive came from, for the comment: `-` or an address.
    pub source: String,
    /// The platform; `None` is the host's.
    pub platform: Option<Platform>,
    /// When, RFC 3339.
    pub created: String,
    /// The engine's version, for the configuration's `docker_version`.
    pub engine_version: String,
}

/// How to mount a container's root filesystem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Never wait for the disk: right for containers that are removed when they end, since what
    /// they wrote is lost after a power failure.
    pub volatile: bool,
}

/// Sizes of a container's filesystem, as `docker ps -s` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FsSize {
    /// Bytes the container wrote.
    pub rw: u64,
    /// Those and its image's.
    pub root_fs: u64,
}

/// Container files already out of sight, still to be deleted. Dropping it leaves them to the next
/// [`Store::open`].
#[derive(Debug)]
#[must_use = "the files stay on disk until `delete` is called"]
pub struct Discarded {
    pub(crate) path: Option<PathBuf>,
}

impl Discarded {
    /// Deletes the files.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub fn delete(self) -> Result<(), StoreError> {
        match self.path {
            Some(path) => {
                tree::remove(&path).map_err(|e| StoreError::file("delete", path, e.errno))
            }
            None => Ok(()),
        }
    }
}

/// Images, layers, container filesystems and records of one data root. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    database: Database,
    layer_store: LayerStoreKind,
    roots: LayerRoots,
    setups: Setups,
    /// Held while something comes into place or goes, also while that waits for the disk.
    placing: Mutex<()>,
    /// Taken after `placing`.
    changes: Mutex<Changes>,
    /// Held for writing while the form of a layer changes whose files go, and for reading from the
    /// moment that its row is read until its root is mounted. Taken after `changes`.
    forms: RwLock<()>,
    configs: Mutex<HashMap<ImageId, ImageConfig>>,
    boot_id: String,
}

/// Held while images and layers come into place or go: nothing else does meanwhile.
#[derive(Debug)]
pub(crate) struct ChangeLock<'a> {
    // Order: let go first.
    changes: MutexGuard<'a, Changes>,
    placing: MutexGuard<'a, ()>,
}

impl<'a> ChangeLock<'a> {
    /// Waits for the disk. Nothing comes into place or goes meanwhile, but things may be counted upon,
    /// and containers made, which do not wait for it.
    pub(crate) fn wait<T>(self, store: &'a Store, work: impl FnOnce() -> T) -> (Self, T) {
        let Self { changes, placing } = self;
        drop(changes);
        let done = work();
        (Self { changes: store.lock_pins(), placing }, done)
    }
}

impl Deref for ChangeLock<'_> {
    type Target = Changes;

    fn deref(&self) -> &Changes {
        &self.changes
    }
}

/// What is counted upon.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Layers that operations under way found here and count upon, with how many do.
    pinned: HashMap<Digest, usize>,
    /// Blobs that are being fetched.
    fetching: HashSet<Digest>,
    /// Leases that somebody holds, with how many do.
    leases: HashMap<String, usize>,
}

/// How many configurations are kept in memory; `inspect` and `create` ask for the same few.
const CACHED_CONFIGS: usize = 512;

impl Store {
    /// Opens a data root, making it if need be, and sweeps what a crash left.
    ///
    /// # Errors
    /// When it is of a newer version, in use by another process, or cannot be read and written.
    pub fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let StoreConfig { data_root, layer_store } = config;
        let layout = Layout::open(&data_root)?;
        let database = Database::open(&layout.database())?;
        let layer_store = choose(&layout, layer_store)?;
        let boot_id =
            std::fs::read_to_string(BOOT_ID).map_err(|e| StoreError::file("read", BOOT_ID, e))?;
        let store = Self {
            inner: Arc::new(Inner {
                layout,
                database,
                layer_store,
                roots: LayerRoots::default(),
                setups: Setups::default(),
                placing: Mutex::default(),
                changes: Mutex::default(),
                forms: RwLock::default(),
                configs: Mutex::default(),
                boot_id,
            }),
        };
        sweep::sweep(&store)?;
        Ok(store)
    }

    /// The data root.
    pub fn data_root(&self) -> &Path {
        self.layout().root()
    }

    /// How layers are kept.
    pub fn layer_store(&self) -> LayerStoreKind {
        self.inner.layer_store
    }

    /// The images.
    pub fn images(&self) -> Images<'_> {
        Images { store: self }
    }

    /// The engine's records.
    pub fn records(&self) -> Records<'_> {
        Records::new(self)
    }

    /// Reads a layer's uncompressed archive, byte by byte as it came.
    ///
    /// # Errors
    /// `NotFound` when the layer is not here.
    pub fn layer_archive(&self, diff_id: &Digest) -> Result<Box<dyn Read + Send>, StoreError> {
        match self.database().layer(diff_id)? {
            Some(layer) => {
                layers::layer_store(layer.kind).open_archive(&self.layout().layer(diff_id))
            }
            None => Err(StoreError::NoSuchLayer(diff_id.clone())),
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    pub(crate) fn roots(&self) -> &LayerRoots {
        &self.inner.roots
    }

    pub(crate) fn setups(&self) -> &Setups {
        &self.inner.setups
    }

    pub(crate) fn boot_id(&self) -> &str {
        &self.inner.boot_id
    }

    /// The lock of who puts things into place or takes them away.
    pub(crate) fn lock_changes(&self) -> ChangeLock<'_> {
        let placing = self.inner.placing.lock().unwrap_or_else(PoisonError::into_inner);
        ChangeLock { changes: self.lock_pins(), placing }
    }

    /// The lock of who only counts upon things. What has its row stays as long; what is being placed
    /// may have its files and no row yet.
    pub(crate) fn lock_pins(&self) -> MutexGuard<'_, Changes> {
        self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// While this lives, no layer changes its form.
    pub(crate) fn keep_forms(&self) -> RwLockReadGuard<'_, ()> {
        self.inner.forms.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for mounts under way; while this lives, none begins.
    pub(crate) fn change_forms(&self) -> RwLockWriteGuard<'_, ()> {
        self.inner.forms.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the files of a layer may be under the mount of a container. A mounted EROFS holds its
    /// files itself.
    pub(crate) fn is_held(&self, layer: &LayerRow) -> Result<bool, StoreError> {
        Ok(layer.kind == LayerStoreKind::Directories
            && !self.database().containers_of_layer(&layer.diff_id)?.is_empty())
    }

    /// Reads an image's configuration, which is a blob.
    pub(crate) fn config(&self, id: &ImageId) -> Result<ImageConfig, StoreError> {
        let mut configs = self.inner.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(id) {
            return Ok(config.clone());
        }
        let path = self.layout().blob(id.digest());
        let bytes = std::fs::read(&path).map_err(|e| StoreError::file("read", &path, e))?;
        let config = ImageConfig::parse(bytes)
            .map_err(|error| StoreError::Damaged(format!("{}: {error}", path.display())))?;
        if config.digest() != id.digest() {
            let path = path.display();
            return Err(StoreError::Damaged(format!("{path} has digest {}", config.digest())));
        }
        if configs.len() >= CACHED_CONFIGS
            && let Some(any) = configs.keys().next().cloned()
        {
            configs.remove(&any);
        }
        configs.insert(id.clone(), config.clone());
        Ok(config)
    }

    /// Whether a layer is here, and not known to be damaged.
    pub(crate) fn has_layer(&self, diff_id: &Digest) -> Result<bool, StoreError> {
        let (database, path) = (self.database(), self.layout().layer(diff_id));
        // A power failure can leave a row whose files went.
        let there = || path.try_exists().map_err(|e| StoreError::file("open", &path, e));
        Ok(database.layer(diff_id)?.is_some()
            && !database.is_damaged(Stored::Layer(diff_id))?
            && there()?)
    }

    /// Counts upon a layer: it stays until it is unpinned. False when it is not here, or damaged.
    pub(crate) fn pin_layer(&self, diff_id: &Digest) -> Result<bool, StoreError> {
        let mut changes = self.lock_pins();
        if !self.has_layer(diff_id)? {
            return Ok(false);
        }
        *changes.pinned.entry(diff_id.clone()).or_default() += 1;
        Ok(true)
    }

    /// Counts upon layers, damaged or not, that a container holds.
    pub(crate) fn pin_layers_of(&self, container: &str) -> Result<Vec<Digest>, StoreError> {
        let mut changes = self.lock_pins();
        let Some(layers) = self.database().container_layers(container)? else {
            return Err(StoreError::NoSuchContainer(container.to_owned()));
        };
        let layers: Vec<Digest> = layers.into_iter().map(|layer| layer.diff_id).collect();
        for diff_id in &layers {
            *changes.pinned.entry(diff_id.clone()).or_default() += 1;
        }
        Ok(layers)
    }

    pub(crate) fn unpin_layer(&self, diff_id: &Digest) {
        let mut changes = self.lock_pins();
        if let Some(count) = changes.pinned.get_mut(diff_id) {
            *count -= 1;
            if *count == 0 {
                changes.pinned.remove(diff_id);
            }
        }
    }
}

impl Changes {
    /// The layers that somebody counts upon.
    pub(crate) fn pinned_layers(&self) -> HashSet<Digest> {
        self.pinned.keys().cloned().collect()
    }

    pub(crate) fn is_pinned(&self, diff_id: &Digest) -> bool {
        self.pinned.contains_key(diff_id)
    }

    /// Takes on to fetch a blob; false when somebody does already.
    pub(crate) fn begin_fetch(&mut self, digest: &Digest) -> bool {
        self.fetching.insert(digest.clone())
    }

    pub(crate) fn end_fetch(&mut self, digest: &Digest) {
        self.fetching.remove(digest);
    }

    pub(crate) fn is_fetching(&self, digest: &Digest) -> bool {
        self.fetching.contains(digest)
    }

    /// Keeps a lease from ending by time, until it is released as often.
    pub(crate) fn hold_lease(&mut self, id: &str) {
        *self.leases.entry(id.to_owned()).or_default() += 1;
    }

    pub(crate) fn release_lease(&mut self, id: &str) {
        if let Some(count) = self.leases.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                self.leases.remove(id);
            }
        }
    }

    pub(crate) fn holds_lease(&self, id: &str) -> bool {
        self.leases.contains_key(id)
    }
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn choose(layout: &Layout, choice: LayerStoreChoice) -> Result<LayerStoreKind, StoreError> {
    let probe = || layers::probe_erofs(layout.new_tmp_dir("probe")?.path());
    match choice {
        LayerStoreChoice::Only(LayerStoreKind::Directories) => Ok(LayerStoreKind::Directories),
        LayerStoreChoice::Only(LayerStoreKind::Erofs) => match probe() {
            Ok(()) => Ok(LayerStoreKind::Erofs),
            Err(StoreError::Mount(error)) => Err(StoreError::NoErofs(error)),
            Err(error) => Err(error),
        },
        LayerStoreChoice::Auto => match probe() {
            Ok(()) => Ok(LayerStoreKind::Erofs),
            Err(error @ StoreError::Full { .. }) => Err(error),
            Err(error) => {
                tracing::info!(%error, "layers are kept as directories: no EROFS from files");
                Ok(LayerStoreKind::Directories)
            }
        },
    }
}

/// Deletes things in `tmp/` on a thread of its own: a layer may have many files.
pub(crate) fn delete_in_background(paths: Vec<PathBuf>) {
    if paths.is_empty() {
        return;
    }
    let thread = std::thread::Builder::new().name("store-delete".to_owned());
    // Without a thread they wait for the next start.
    if let Err(error) = thread.spawn(move || paths.iter().for_each(|path| delete(path))) {
        tracing::warn!(%error, "cannot start a thread");
    }
}
