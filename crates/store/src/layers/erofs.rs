//! Layers as an EROFS index over the archive itself.
//!
//! `index.erofs` holds names and attributes, 512 bytes a block; file contents are chunks that
//! point into `layer.tar`, which is the filesystem's second device. Nothing is copied: an archive
//! puts every file at a multiple of 512. The mount is made from the two files, without loop
//! devices (Linux 6.12), and is a layer of an overlay without being attached anywhere (6.15).

mod chunks;
mod format;
mod image;

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use ferry_sys::fscontext::{OverlayDir, mount_erofs, mount_overlay};

use super::{ARCHIVE, BuildError, LayerStore};
use crate::error::StoreError;
use crate::tree::LayerTree;

const INDEX: &str = "index.erofs";

/// Layers as an EROFS index over the archive.
#[derive(Debug)]
pub(super) struct Erofs;

impl LayerStore for Erofs {
    fn build(&self, dir: &Path, archive: &File, tree: &LayerTree) -> Result<(), BuildError> {
        let path = dir.join(INDEX);
        let index = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(BuildError::file("create", &path))?;
        image::write(tree, archive, &index, &path)?;
        index.sync_all().map_err(BuildError::file("fsync", &path))?;
        archive.sync_all().map_err(BuildError::file("fsync", dir.join(ARCHIVE)))
    }

    fn open(&self, dir: &Path) -> Result<OwnedFd, StoreError> {
        Ok(mount_erofs(&dir.join(INDEX), &[&dir.join(ARCHIVE)])?)
    }

    fn open_archive(&self, dir: &Path) -> Result<Box<dyn Read + Send>, StoreError> {
        let path = dir.join(ARCHIVE);
        match File::open(&path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(StoreError::file("open", path, error)),
        }
    }
}

pub(super) fn probe(scratch: &Path) -> Result<(), StoreError> {
    let path = scratch.join(ARCHIVE);
    let archive = || -> std::io::Result<File> {
        let mut file = File::create_new(&path)?;
        file.write_all(&[0; 1024])?;
        Ok(file)
    };
    let archive = archive().map_err(|e| StoreError::file("create", &path, e))?;
    Erofs.build(scratch, &archive, &LayerTree::new())?;
    let layer = Erofs.open(scratch)?;
    // Two lower layers, since an overlay without an upper one must have two.
    let lower = [OverlayDir::Fd(layer.as_fd()), OverlayDir::Path(scratch)];
    mount_overlay(&lower, None, &[])?;
    Ok(())
}
