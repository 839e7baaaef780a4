//! The two ways to keep a layer, behind one trait.
//!
//! # Terms
//! A **layer** is one archive of an image, known by the digest of its uncompressed bytes (the
//! *diff id*). Its **directory** is `layers/<hex>/`. What overlayfs is given of it is its **root**.
//!
//! # Stories
//! *Taking in.* The archive arrives as `layer.tar` in a new directory in `tmp/`, is read into a
//! [`LayerTree`], and [`LayerStore::build`] makes of it whatever the store needs. The caller renames
//! the directory into place; a store never sees a half-made layer again.
//!
//! *Mounting.* [`LayerStore::open`] gives the root as a descriptor, which the caller keeps and
//! shares among all overlays that have this layer.
//!
//! *Giving out.* A save or a push asks [`LayerStore::open_archive`] for the bytes that came in.
//!
//! *Checking.* A scrub asks [`LayerStore::check`] whether all is as it was made.
//!
//! *Removing.* The caller renames the directory to `tmp/` and deletes it there. Roots that are
//! still open stay whole: an EROFS mount holds its files, and a directory's are only deleted when
//! no container holds the layer.

mod directories;
mod erofs;

pub(crate) use directories::{settable, tolerate};

#[cfg(test)]
mod conformance;

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ferry_oci::digest::Digest;

use crate::error::StoreError;
use crate::store::LayerStoreKind;
use crate::tree::LayerTree;

/// The uncompressed archive in a layer's directory.
pub(crate) const ARCHIVE: &str = "layer.tar";

/// A way to keep layers.
pub(crate) trait LayerStore: Debug + Send + Sync {
    /// Makes a layer of `dir/layer.tar`, which is open as `archive` and says `tree`.
    /// All that it writes is on disk when it returns.
    fn build(&self, dir: &Path, archive: &File, tree: &LayerTree) -> Result<(), BuildError>;

    /// The names of what it makes in `dir`.
    fn files(&self) -> [&'static str; 2];

    /// Opens the root of a layer: a directory, or a detached mount.
    fn open(&self, dir: &Path) -> Result<OwnedFd, StoreError>;

    /// Reads the archive again, byte by byte as it came.
    fn open_archive(&self, dir: &Path) -> Result<Box<dyn Read + Send>, StoreError>;

    /// Reads all of a layer and compares what was made of its archive with the archive;
    /// writes nothing. `watch` hears how it goes on, and ends it by failing.
    fn check(&self, dir: &Path, watch: &mut Watch<'_>) -> Result<LayerCheck, StoreError>;
}

/// Hears how many more bytes of an archive were read, often; its error ends the reading.
pub(crate) type Watch<'a> = dyn FnMut(u64) -> io::Result<()> + 'a;

/// What a layer's archive turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerCheck {
    pub diff_id: Digest,
    pub archive_size: u64,
    pub content_size: u64,
    pub is_empty: bool,
    pub root_is_opaque: bool,
    /// In what the form that was made of it is not what the archive says.
    pub problem: Option<String>,
}

/// Why a layer could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The archive asks for something that cannot be.
    #[error("{0}")]
    Archive(String),
    /// A call failed.
    #[error("{doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
}

impl BuildError {
    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    pub(crate) fn errno(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.into();
        move |errno| Self::File { doing, path, source: errno.into() }
    }
}

impl From<BuildError> for StoreError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Archive(message) => Self::Archive(message),
            BuildError::File { doing, path, source } => Self::file(doing, path, source),
        }
    }
}

/// The store of a kind. This match is the list of layer stores.
pub(crate) fn layer_store(kind: LayerStoreKind) -> &'static dyn LayerStore {
    match kind {
        LayerStoreKind::Erofs => &erofs::Erofs,
        LayerStoreKind::Directories => &directories::Directories,
    }
}

/// Finds out whether the kernel can do EROFS: makes a small layer in `scratch`, an empty
/// directory, and mounts it under an overlay.
pub(crate) fn probe_erofs(scratch: &Path) -> Result<(), StoreError> {
    erofs::probe(scratch)
}
