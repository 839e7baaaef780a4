//! The store: one data root and everything in it.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ferry_oci::digest::Digest;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use crate::error::StoreError;
use crate::image::{ImageId, Images};
use crate::records::Records;

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
    path: Option<PathBuf>,
}

impl Discarded {
    /// Deletes the files.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub fn delete(self) -> Result<(), StoreError> {
        match self.path {
            Some(path) => {
                std::fs::remove_dir_all(&path).map_err(|e| StoreError::file("delete", path, e))
            }
            None => Ok(()),
        }
    }
}

/// Images, layers, container filesystems and records of one data root. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    data_root: PathBuf,
}

impl Store {
    /// Opens a data root, making it if need be, and sweeps what a crash left.
    ///
    /// # Errors
    /// When it is of a newer version, in use by another process, or cannot be read and written.
    pub fn open(config: StoreConfig) -> Result<Self, StoreError> {
        Ok(Self { data_root: config.data_root })
    }

    /// The data root.
    pub fn data_root(&self) -> &Path {
        &self.data_root
    }

    /// How layers are kept.
    pub fn layer_store(&self) -> LayerStoreKind {
        LayerStoreKind::Directories
    }

    /// Takes in all images of an archive of `docker save` or of an OCI layout, compressed or not.
    ///
    /// # Errors
    /// `Invalid` for an archive that is malformed or hostile, `Full`; nothing is changed then.
    pub fn load<R: Read + Send>(
        &self,
        reader: R,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Vec<Loaded>, StoreError> {
        let _ = (reader, progress);
        Err(StoreError::Invalid("load is being written".to_owned()))
    }

    /// Makes an image of one layer from an archive of a root filesystem.
    ///
    /// # Errors
    /// `Invalid` for a bad archive or change, `Full`; nothing is changed then.
    pub fn import<R: Read + Send>(
        &self,
        reader: R,
        options: ImportOptions,
    ) -> Result<ImageId, StoreError> {
        let _ = (reader, options);
        Err(StoreError::Invalid("import is being written".to_owned()))
    }

    /// The images.
    pub fn images(&self) -> Images<'_> {
        Images { store: self }
    }

    /// The engine's records.
    pub fn records(&self) -> Records<'_> {
        Records::new(self)
    }

    /// The directory of a container, `containers/<id>`: made by [`Store::create_container_fs`];
    /// the engine may keep files of its own in it.
    pub fn container_dir(&self, container: &str) -> PathBuf {
        self.data_root.join("containers").join(container)
    }

    /// Makes a container's directory with its upper layer, and holds the image's layers against
    /// removal. Without an image the filesystem is empty.
    ///
    /// # Errors
    /// `NotFound` for the image; `Conflict` when the container has a filesystem already.
    pub fn create_container_fs(
        &self,
        container: &str,
        image: Option<&ImageId>,
    ) -> Result<(), StoreError> {
        let _ = (container, image);
        Err(StoreError::Invalid("containers are being written".to_owned()))
    }

    /// Mounts a container's root filesystem, detached: it ends with its last descriptor and the
    /// last mount namespace it was attached in. Mount it once at a time.
    ///
    /// # Errors
    /// `NotFound`; `Internal` when the kernel refuses.
    pub fn mount_container_fs(
        &self,
        container: &str,
        options: MountOptions,
    ) -> Result<OwnedFd, StoreError> {
        let _ = (container, options);
        Err(StoreError::Invalid("containers are being written".to_owned()))
    }

    /// Takes a container's whole directory out of sight at once and lets go of its layers; the
    /// files are deleted by [`Discarded::delete`]. A container that is not there is no error.
    ///
    /// # Errors
    /// When the directory cannot be moved or the database not be written.
    pub fn remove_container_fs(&self, container: &str) -> Result<Discarded, StoreError> {
        let _ = container;
        Ok(Discarded { path: None })
    }

    /// The ids of all containers that have a filesystem, sorted.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn container_fs_ids(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// How much a container wrote. Walks all its files.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn container_fs_size(&self, container: &str) -> Result<FsSize, StoreError> {
        Err(StoreError::NoSuchContainer(container.to_owned()))
    }
}
