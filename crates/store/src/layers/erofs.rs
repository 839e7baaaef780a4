//! Layers as an EROFS index over the archive itself.
//!
//! `index.erofs` holds names and attributes, 512 bytes a block; file contents are chunks that
//! point into `layer.tar`, which is the filesystem's second device. Nothing is copied: an archive
//! puts every file at a multiple of 512. The mount is made from the two files, without loop
//! devices (Linux 6.12), and is a layer of an overlay without being attached anywhere (6.15).

mod chunks;
mod compare;
mod format;
mod image;

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ferry_oci::digest::Hasher;
use ferry_sys::fscontext::{OverlayDir, mount_erofs, mount_overlay};

use super::{ARCHIVE, BuildError, LayerCheck, LayerStore, Watch};
use crate::error::{StoreError, is_of_the_machine};
use crate::tar::{ByteSource, FileSource, TarReader};
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

    fn files(&self) -> [&'static str; 2] {
        [INDEX, ARCHIVE]
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

    /// The writer is deterministic, so the index is made again and compared as it is made.
    fn check(&self, dir: &Path, watch: &mut Watch<'_>) -> Result<LayerCheck, StoreError> {
        let path = dir.join(ARCHIVE);
        let fail = |e| StoreError::file("read", &path, e);
        let archive = File::open(&path).map_err(fail)?;
        let mut hasher = Hasher::sha256();
        let mut take = |bytes: &[u8]| {
            hasher.update(bytes);
            watch(bytes.len() as u64)
        };
        let archive_size = each_buffer(&archive, &mut take).map_err(fail)?;
        let diff_id = hasher.finish();
        let source = FileSource::new(&archive).map_err(fail)?;
        let source = Watched { source, watch: &mut *watch };
        let tree = LayerTree::read(&mut TarReader::new(source))?;
        let path = dir.join(INDEX);
        let problem = match File::open(&path) {
            Ok(kept) => (!image::is_index_of(&kept, &tree, &archive, &path)?)
                .then(|| "its index is not the one of its archive".to_owned()),
            Err(error) if is_of_the_machine(&error) => {
                return Err(StoreError::file("open", path, error));
            }
            Err(error) => Some(format!("its index cannot be read: {error}")),
        };
        Ok(LayerCheck {
            diff_id,
            archive_size,
            content_size: tree.content_size(),
            is_empty: tree.is_empty(),
            root_is_opaque: tree.root_is_opaque(),
            problem,
        })
    }
}

const BUFFER: usize = 256 << 10;

/// Reads a file from its start; gives its length.
fn each_buffer(
    file: &File,
    take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    loop {
        let length = file.read_at(&mut buffer, at)?;
        if length == 0 {
            return Ok(at);
        }
        take(&buffer[..length])?;
        at += length as u64;
    }
}

/// An archive that is read entry by entry under somebody's eyes: one may have millions.
struct Watched<'a, 'b, S> {
    source: S,
    watch: &'a mut Watch<'b>,
}

impl<S: ByteSource> ByteSource for Watched<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (self.watch)(0)?;
        self.source.read(buffer)
    }

    fn skip_at_most(&mut self, count: u64) -> std::io::Result<u64> {
        self.source.skip_at_most(count)
    }

    fn position(&self) -> u64 {
        self.source.position()
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
