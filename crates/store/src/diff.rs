//! What a container changed, as a layer: its upper directory in overlayfs's words becomes an
//! archive in Docker's.
//!
//! A character device 0/0 becomes `.wh.NAME`, an opaque directory gets `.wh..wh..opq` [OCI image,
//! layer.md § Whiteouts]. What the engine puts into every container before its program starts is no
//! change of the container's.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, openat, openat2, readlinkat,
    statat,
};
use rustix::io::Errno;

use crate::out::tree::names;

pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
pub(crate) const OVERLAY_XATTRS: &[u8] = b"trusted.overlay.";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// Files that are made empty to mount the container's own over them.
pub(crate) const SETUP_FILES: [&[u8]; 5] =
    [b".dockerenv", b"dev/console", b"etc/hostname", b"etc/hosts", b"etc/resolv.conf"];
/// Directories that are made to mount something over them, and those that such things are in.
pub(crate) const SETUP_DIRS: [&[u8]; 6] = [b"dev", b"dev/pts", b"dev/shm", b"etc", b"proc", b"sys"];
pub(crate) const SETUP_LINK: (&[u8], &[u8]) = (b"etc/mtab", b"/proc/mounts");

/// How an upper directory is to be read.
#[derive(Debug)]
pub(crate) struct UpperRules<'a> {
    /// The root of what is beneath it; `None` when that is nothing.
    pub lower: Option<&'a OwnedFd>,
}

impl UpperRules<'_> {
    /// Whether the engine made this, and not the container.
    pub(crate) fn is_setup(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
    ) -> io::Result<bool> {
        let name = OsStr::from_bytes(name);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(stat.st_size == 0 && SETUP_FILES.contains(&path)),
            FileType::Symlink if path == SETUP_LINK.0 => {
                Ok(readlinkat(dir, name, Vec::new())?.as_bytes() == SETUP_LINK.1)
            }
            FileType::Directory if SETUP_DIRS.contains(&path) => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inside = openat(dir, name, flags, Mode::empty())?;
                self.is_setup_directory(&inside, path, stat)
            }
            _ => Ok(false),
        }
    }

    /// Whether all that is in it is the engine's, and it is itself as it was beneath.
    fn is_setup_directory(&self, dir: &OwnedFd, path: &[u8], stat: &Stat) -> io::Result<bool> {
        let mut mark = [0; 1];
        if fgetxattr(dir, OPAQUE_XATTR, &mut mark) == Ok(1) && mark == *b"y" {
            return Ok(false);
        }
        for name in names(dir)? {
            let inner = [path, b"/", name.as_slice()].concat();
            let stat = statat(dir, OsStr::from_bytes(&name), AtFlags::SYMLINK_NOFOLLOW)?;
            if !self.is_setup(dir, &name, &inner, &stat)? {
                return Ok(false);
            }
        }
        let below = match self.lower {
            Some(lower) => stat_beneath(lower, path)?,
            None => None,
        };
        let attributes = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
        let made = (FileType::Directory.as_raw_mode() | 0o755, 0, 0);
        Ok(attributes(stat) == below.as_ref().map_or(made, attributes))
    }
}

/// What is known of a path that leads through no link.
fn stat_beneath(root: &OwnedFd, path: &[u8]) -> io::Result<Option<Stat>> {
    let path = Path::new(OsStr::from_bytes(path));
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(file) => Ok(Some(rustix::fs::fstat(file)?)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The path of the whiteout of `path`.
pub(crate) fn whiteout(path: &[u8]) -> Vec<u8> {
    let name = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    [&path[..name], b".wh.", &path[name..]].concat()
}

pub(crate) fn is_opaque(xattrs: &[(Vec<u8>, Vec<u8>)]) -> bool {
    xattrs.iter().any(|(name, value)| name == OPAQUE_XATTR.as_bytes() && value == b"y")
}
