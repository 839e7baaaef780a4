//! Layers as extracted directories: `diff/` holds the tree, for any kernel with overlayfs.
//!
//! The archive goes when its tree is made; `archive.parts` keeps what the tree does not say of it
//! (headers, padding, what later entries replaced), so that it can be put together again byte by
//! byte.

mod check;
mod extract;
mod parts;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

pub(crate) use extract::{settable, tolerate};

use super::{ARCHIVE, BuildError, LayerCheck, LayerStore, Watch};
use crate::error::StoreError;
use crate::tree::LayerTree;

const DIFF: &str = "diff";
const PARTS: &str = "archive.parts";

/// Layers as extracted directories.
#[derive(Debug)]
pub(super) struct Directories;

impl LayerStore for Directories {
    fn build(&self, dir: &Path, archive: &File, tree: &LayerTree) -> Result<(), BuildError> {
        let diff = dir.join(DIFF);
        rustix::fs::mkdirat(CWD, &diff, Mode::from_raw_mode(0o755))
            .map_err(BuildError::errno("create", &diff))?;
        let root = open_directory(&diff).map_err(BuildError::errno("open", &diff))?;
        extract::extract(tree, archive, &root, &diff)?;
        parts::write(tree, archive, &dir.join(PARTS))?;
        let path = dir.join(ARCHIVE);
        // It is open still, so its bytes would be brought to the disk with the others.
        archive.set_len(0).map_err(BuildError::file("truncate", &path))?;
        std::fs::remove_file(&path).map_err(BuildError::file("delete", &path))?;
        // One call for all files: cheaper than each on its own from a few dozen on.
        ferry_sys::durable::sync_filesystem(&root).map_err(|e| BuildError::File {
            doing: "syncfs",
            path: diff.clone(),
            source: e.errno.into(),
        })
    }

    fn files(&self) -> [&'static str; 2] {
        [DIFF, PARTS]
    }

    fn open(&self, dir: &Path) -> Result<OwnedFd, StoreError> {
        let diff = dir.join(DIFF);
        open_directory(&diff).map_err(|errno| StoreError::file("open", diff, errno))
    }

    fn open_archive(&self, dir: &Path) -> Result<Box<dyn std::io::Read + Send>, StoreError> {
        parts::open(&dir.join(PARTS), &dir.join(DIFF))
    }

    fn check(&self, dir: &Path, watch: &mut Watch<'_>) -> Result<LayerCheck, StoreError> {
        check::check(self.open_archive(dir)?, &dir.join(DIFF), watch)
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}
