//! Where things are in a data root.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferry_oci::digest::Digest;
use ferry_sys::durable::{self, Survive};
use rustix::io::Errno;

use crate::error::StoreError;

/// Version of the layout, in the file `version`. The database has its own.
const VERSION: u32 = 1;

/// Permissions of the data root, as dockerd's: containers put programs there that become whoever
/// they want on the host if somebody else of the host can get at them (CVE-2021-41091). What of it a
/// container sees is opened by root before it runs.
const ROOT_MODE: u32 = 0o710;

/// How long to wait for what a killed engine's children still hold of its lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The paths of a data root, which is ours as long as this lives.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    /// Holds the lock.
    _version: File,
}

impl Layout {
    /// Makes what is missing, checks the version and locks the data root.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        let root = std::path::absolute(root).map_err(|e| StoreError::file("open", root, e))?;
        // What is above it is not ours alone.
        make_dir(root.parent().unwrap_or(&root), 0o755)?;
        make_dir(&root, ROOT_MODE)?;
        let path = root.join("version");
        let is_new = !path.try_exists().map_err(|e| StoreError::file("open", &path, e))?;
        if is_new {
            write_version(&root, &path)?;
        }
        let mut version = File::open(&path).map_err(|e| StoreError::file("open", &path, e))?;
        ferry_sys::lock::exclusive(&version, LOCK_PATIENCE).map_err(|_busy| {
            let root = root.display();
            StoreError::Invalid(format!("data root {root} is in use by another engine"))
        })?;
        let mut text = String::new();
        version.read_to_string(&mut text).map_err(|e| StoreError::file("read", &path, e))?;
        match text.trim().parse::<u32>() {
            Ok(VERSION) => {}
            Ok(found) if found > VERSION => {
                return Err(StoreError::NewerLayout { path: root, found, known: VERSION });
            }
            _ => {
                let path = path.display();
                return Err(StoreError::Damaged(format!("{path} contains {:?}", text.trim())));
            }
        }
        // Order: only now is it known to be ours.
        tighten(&root, ROOT_MODE)?;
        let layout = Self { root, _version: version };
        let private = [layout.layers(), layout.nothing(), layout.blobs(), layout.partials()];
        for dir in private.into_iter().chain([layout.setups(), layout.tmp()]) {
            make_dir(&dir, 0o700)?;
        }
        make_dir(&layout.containers(), ROOT_MODE)?;
        tighten(&layout.containers(), ROOT_MODE)?;
        if is_new {
            layout.sync()?;
        }
        Ok(layout)
    }

    /// Waits until the directories are on the disk: what is renamed into one of them is found after
    /// a power failure only if they are.
    fn sync(&self) -> Result<(), StoreError> {
        let above = self.root.parent().unwrap_or(&self.root);
        for dir in [above, &self.root, &self.root.join("blobs")] {
            durable::sync_dir(dir).map_err(|e| StoreError::file("fsync", dir, e.errno))?;
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("ferry.db")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(file_name(diff_id))
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(file_name(digest))
    }

    /// Blobs that came in part, unverified.
    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("blobs/partial")
    }

    pub(crate) fn partial(&self, digest: &Digest) -> PathBuf {
        self.partials().join(file_name(digest))
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// An empty directory: the lower layer of containers that have none.
    pub(crate) fn nothing(&self) -> PathBuf {
        self.layers().join("nothing")
    }

    /// What lies between images and containers.
    pub(crate) fn setups(&self) -> PathBuf {
        self.root.join("setup")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A new name in `tmp/`.
    pub(crate) fn new_tmp(&self, purpose: &str) -> PathBuf {
        self.tmp().join(format!("{purpose}-{}", random()))
    }

    /// A new name in `tmp/` for a layer that another took the place of, while containers that run may
    /// still read its files.
    pub(crate) fn replaced(&self, diff_id: &Digest) -> PathBuf {
        self.new_tmp(&format!("{REPLACED}{}", file_name(diff_id)))
    }

    /// Makes a new directory in `tmp/` that goes when it is dropped.
    pub(crate) fn new_tmp_dir(&self, purpose: &str) -> Result<TempDir, StoreError> {
        let path = self.new_tmp(purpose);
        make_dir(&path, 0o700)?;
        Ok(TempDir { path: Some(path) })
    }

    /// Puts a file or directory out of the way, to be deleted.
    pub(crate) fn discard(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let to = self.new_tmp("discarded");
        match fs::rename(path, &to) {
            Ok(()) => Ok(to),
            Err(error) => Err(StoreError::file("move away", path, error)),
        }
    }
}

const REPLACED: &str = "replaced-";

/// The layer that a name in `tmp/` is an older form of.
pub(crate) fn is_replaced(name: &std::ffi::OsStr) -> Option<Digest> {
    let (digest, _random) = name.to_str()?.strip_prefix(REPLACED)?.rsplit_once('-')?;
    digest_of_name(digest.as_ref())
}

/// Digests of other algorithms keep their name, so that none is taken for another.
pub(crate) fn file_name(digest: &Digest) -> &str {
    match digest.as_str().strip_prefix("sha256:") {
        Some(hex) => hex,
        None => digest.as_str(),
    }
}

/// The digest that a file name in `layers/` or `blobs/sha256/` stands for.
pub(crate) fn digest_of_name(name: &std::ffi::OsStr) -> Option<Digest> {
    let name = name.to_str()?;
    Digest::from_sha256_hex(name).or_else(|_| name.parse()).ok()
}

/// Writes the version, unless another engine that starts at the same time has done so: its file, which
/// it may have locked already, is never replaced.
fn write_version(root: &Path, path: &Path) -> Result<(), StoreError> {
    let temporary = root.join(format!("version-{}", random()));
    durable::write(&temporary, format!("{VERSION}\n").as_bytes(), 0o644, Survive::Power)
        .map_err(|e| StoreError::file("write", path, e.errno))?;
    let linked = fs::hard_link(&temporary, path);
    delete(&temporary);
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(StoreError::file("write", path, error))
        }
        _ => durable::sync_dir(root).map_err(|e| StoreError::file("fsync", root, e.errno)),
    }
}

/// Sixteen digits for a new name.
fn random() -> String {
    let mut random = [0; 8];
    if getrandom::fill(&mut random).is_err() {
        // Only a name; creation is exclusive and fails if it is taken.
        random = std::process::id().to_le_bytes().repeat(2).try_into().unwrap_or_default();
    }
    hex::encode(random)
}

fn make_dir(path: &Path, mode: u32) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|e| StoreError::file("create", path, e))
}

/// Takes away permissions that a directory has and should not have.
fn tighten(path: &Path, mode: u32) -> Result<(), StoreError> {
    let fail = |e| StoreError::file("make private", path, e);
    let has = fs::metadata(path).map_err(fail)?.permissions().mode() & 0o7777;
    if has & !mode & 0o777 != 0 {
        fs::set_permissions(path, Permissions::from_mode(has & (mode | 0o7000))).map_err(fail)?;
    }
    Ok(())
}

/// A directory in `tmp/` that goes when this is dropped, unless it was kept.
#[derive(Debug)]
pub(crate) struct TempDir {
    path: Option<PathBuf>,
}

impl TempDir {
    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or_else(|| Path::new(""))
    }

    /// Gives the directory away, to be deleted later.
    pub(crate) fn discard(mut self) -> Option<PathBuf> {
        self.path.take()
    }

    /// Renames it into place; where something that was there already is now, to be deleted.
    pub(crate) fn keep_as(
        mut self,
        to: &Path,
        layout: &Layout,
    ) -> Result<Option<PathBuf>, StoreError> {
        let Some(path) = &self.path else { return Ok(None) };
        let is_taken = to.try_exists().map_err(|e| StoreError::file("open", to, e))?;
        let discarded = if is_taken { Some(layout.discard(to)?) } else { None };
        fs::rename(path, to).map_err(|e| StoreError::file("rename to", to, e))?;
        self.path = None;
        Ok(discarded)
    }

    /// Renames it into place, unless there is something already.
    pub(crate) fn keep_first(mut self, to: &Path) -> Result<(), StoreError> {
        let Some(path) = &self.path else { return Ok(()) };
        match durable::rename_new(path, to, Survive::Processes) {
            Ok(()) => self.path = None,
            Err(error) if error.errno == Errno::EXIST => {}
            Err(error) => return Err(StoreError::file("rename to", to, error.errno)),
        }
        Ok(())
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            delete(path);
        }
    }
}

/// Deletes what is in `tmp/` already; what cannot be deleted waits for the next sweep.
pub(crate) fn delete(path: &Path) {
    if let Err(error) = ferry_sys::tree::remove(path) {
        tracing::warn!(path = %path.display(), %error, "cannot delete");
    }
}
