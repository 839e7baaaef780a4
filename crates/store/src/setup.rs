//! What lies between an image and what a container writes: the places of the files and filesystems
//! that are mounted in every container, and `/.dockerenv`, by which programs know where they are.
//!
//! Docker makes such a layer for each container (moby, `daemon/initlayer`). Here containers share
//! them: a layer depends on a few attributes of the image's own directories and on nothing else, so
//! that almost all images have the same one, and no container's start makes a file.
//!
//! They are in `setup/<boot>/<hex>/`, named by the digest of what they are to be like. Nobody waits
//! for the disk: after a power failure the boot is another, and all are made anew.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferry_oci::digest::Digest;
use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, XattrFlags, fgetxattr, flistxattr, fsetxattr, fstat,
    openat2,
};
use rustix::io::Errno;

use crate::diff::{OVERLAY_XATTRS, SETUP_FILES, SETUP_LINK};
use crate::error::StoreError;
use crate::layers::{settable, tolerate};
use crate::layout::delete;
use crate::store::Store;

/// Directories with places in them, which are as the image's are.
const PARENTS: [&[u8]; 2] = [b"dev", b"etc"];
/// Directories that are made where the image has none.
const MISSING: [&[u8]; 4] = [b"dev/pts", b"dev/shm", b"proc", b"sys"];
/// How many images' layers are remembered: those that are started again and again.
const CACHED: usize = 64;

/// Layers that were opened, by the image's layers.
#[derive(Debug, Default)]
pub(crate) struct Setups {
    open: Mutex<HashMap<Vec<Digest>, Arc<OwnedFd>>>,
}

impl Setups {
    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<Digest>, Arc<OwnedFd>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Extended attributes, sorted by name.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What a layer is to be like; all owners and permissions that are not told are root's and 0755.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    parents: Vec<Parent>,
    /// Directories to be made.
    dirs: Vec<&'static [u8]>,
    /// Empty files.
    files: Vec<&'static [u8]>,
    /// Whether there is [`SETUP_LINK`].
    has_link: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parent {
    path: &'static [u8],
    mode: u32,
    owner: (u32, u32),
    xattrs: Xattrs,
}

impl Plan {
    /// Looks at what is beneath; `None` is nothing.
    fn of(lower: Option<&OwnedFd>) -> io::Result<Self> {
        let is_dir = |path: &[u8]| open_beneath(lower, path).map(|dir| dir.is_some());
        let mut parents = Vec::new();
        for path in PARENTS {
            parents.push(match open_beneath(lower, path)? {
                Some(dir) => {
                    let stat = fstat(&dir)?;
                    let mode = stat.st_mode & 0o7777;
                    Parent { path, mode, owner: (stat.st_uid, stat.st_gid), xattrs: xattrs(&dir)? }
                }
                None => Parent { path, mode: 0o755, owner: (0, 0), xattrs: Vec::new() },
            });
        }
        let absent = |paths: &[&'static [u8]]| -> io::Result<Vec<&'static [u8]>> {
            let mut absent = Vec::new();
            for path in paths {
                if !is_dir(path)? {
                    absent.push(*path);
                }
            }
            Ok(absent)
        };
        // Compat: a file of the image's gives way to an empty one; a directory stays.
        let (dirs, files) = (absent(&MISSING)?, absent(&SETUP_FILES)?);
        let has_link = !is_dir(SETUP_LINK.0)?;
        Ok(Self { parents, dirs, files, has_link })
    }

    /// A name for all that are alike.
    fn name(&self) -> String {
        Digest::sha256_of(format!("{self:?}").as_bytes()).hex().to_owned()
    }

    /// Makes the layer in an empty directory.
    fn make(&self, dir: &Path) -> io::Result<()> {
        let place = |path: &[u8]| dir.join(OsStr::from_bytes(path));
        for Parent { path, mode, owner: (uid, gid), xattrs } in &self.parents {
            let path = place(path);
            fs::create_dir(&path)?;
            std::os::unix::fs::chown(&path, Some(*uid), Some(*gid))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
            let made = fs::File::open(&path)?;
            for (name, value) in xattrs {
                set_xattr(&made, name, value)?;
            }
        }
        for path in &self.dirs {
            let path = place(path);
            fs::DirBuilder::new().create(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        for path in &self.files {
            let path = place(path);
            fs::File::options().write(true).create_new(true).mode(0o755).open(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        if self.has_link {
            std::os::unix::fs::symlink(OsStr::from_bytes(SETUP_LINK.1), place(SETUP_LINK.0))?;
        }
        Ok(())
    }
}

impl Store {
    /// The layer that belongs on these layers of an image. `mount` mounts them, to be looked at;
    /// it gives `None` where they are none.
    pub(crate) fn setup_on(
        &self,
        layers: &[Digest],
        mount: impl FnOnce() -> Result<Option<OwnedFd>, StoreError>,
    ) -> Result<Arc<OwnedFd>, StoreError> {
        if let Some(open) = self.setups().lock().get(layers) {
            return Ok(Arc::clone(open));
        }
        let lower = mount()?;
        let plan = Plan::of(lower.as_ref())
            .map_err(|e| StoreError::file("read", "the directories of an image", e))?;
        drop(lower);
        let setup = Arc::new(self.ensure_setup(&plan)?);
        let mut open = self.setups().lock();
        if open.len() >= CACHED {
            open.clear();
        }
        open.insert(layers.to_vec(), Arc::clone(&setup));
        Ok(setup)
    }

    /// Makes a layer, unless it was made since the machine was started; opens it.
    fn ensure_setup(&self, plan: &Plan) -> Result<OwnedFd, StoreError> {
        let boot = self.setups_of_this_boot();
        let path = boot.join(plan.name());
        if !path.try_exists().map_err(|e| StoreError::file("open", &path, e))? {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&boot)
                .map_err(|e| StoreError::file("create", &boot, e))?;
            let half_made = self.layout().new_tmp_dir("setup")?;
            plan.make(half_made.path()).map_err(|e| StoreError::file("write", &path, e))?;
            half_made.keep_first(&path)?;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(rustix::fs::CWD, &path, flags, Mode::empty())
            .map_err(|errno| StoreError::file("open", path, errno))
    }

    /// Takes away those of earlier boots.
    pub(crate) fn sweep_setups(&self) -> Result<(), StoreError> {
        let (dir, boot) = (self.layout().setups(), self.setups_of_this_boot());
        let fail = |e| StoreError::file("read", &dir, e);
        for entry in fs::read_dir(&dir).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path != boot {
                delete(&self.layout().discard(&path)?);
            }
        }
        Ok(())
    }

    fn setups_of_this_boot(&self) -> PathBuf {
        self.layout().setups().join(self.boot_id().trim())
    }
}

/// Opens a directory that no link leads to; `None` when there is none.
fn open_beneath(root: Option<&OwnedFd>, path: &[u8]) -> io::Result<Option<OwnedFd>> {
    let Some(root) = root else { return Ok(None) };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
        Ok(dir) => {
            let is_dir = FileType::from_raw_mode(fstat(&dir)?.st_mode) == FileType::Directory;
            Ok(is_dir.then_some(dir))
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Sets an extended attribute. What this filesystem does not take, though the image's has it, is left
/// out: no container should be kept from its start by it.
fn set_xattr(dir: &fs::File, name: &[u8], value: &[u8]) -> io::Result<()> {
    let Some(c_name) = settable(name) else { return Ok(()) };
    match tolerate(fsetxattr(dir, c_name.as_c_str(), value, XattrFlags::empty()), dir) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) =>
        {
            let name = String::from_utf8_lossy(name);
            tracing::warn!(%name, %error, "an attribute of an image's directory is left out");
            Ok(())
        }
        other => other,
    }
}

/// The extended attributes of a directory that another can have, but overlayfs's own.
fn xattrs(dir: &OwnedFd) -> io::Result<Xattrs> {
    let mut names = vec![0; 64 << 10];
    let length = match flistxattr(dir, &mut names) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        // The kernel lists no more than that.
        Err(errno @ (Errno::TOOBIG | Errno::RANGE)) => {
            tracing::warn!(%errno, "the attributes of an image's directory are left out");
            return Ok(Vec::new());
        }
        other => other?,
    };
    let mut xattrs = Vec::new();
    for name in names[..length].split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if name.to_bytes().starts_with(OVERLAY_XATTRS) || settable(name.to_bytes()).is_none() {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let length = fgetxattr(dir, name, &mut value)?;
        value.truncate(length);
        xattrs.push((name.to_bytes().to_vec(), value));
    }
    xattrs.sort();
    Ok(xattrs)
}
