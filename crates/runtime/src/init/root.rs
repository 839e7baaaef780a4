//! The container's root: attached, made the root, and the host's tree left behind.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use ferry_sys::mount::{self, Change, Propagation};
use ferry_sys::path;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::container::Rootfs;
use crate::error::RuntimeError;

/// A detached mount of the root file system, into which the host's later mounts come but out of which
/// nothing goes.
pub(super) fn open(rootfs: Rootfs) -> Result<OwnedFd, RuntimeError> {
    let root = match rootfs {
        Rootfs::Detached(mount) => mount,
        Rootfs::Path(path) => copy_of(&path)?,
    };
    let slave = Change { propagation: Some(Propagation::Slave), ..Change::default() };
    mount::set_attributes(root.as_fd(), slave, true)
        .map_err(|error| RuntimeError::call("opening the root file system", &error))?;
    Ok(root)
}

/// Makes a detached mount the root of this process and of its mount namespace.
pub(super) fn enter(root: BorrowedFd<'_>) -> Result<(), RuntimeError> {
    let failed = |doing: &'static str| move |errno| RuntimeError::failed(doing, errno);
    // Order: before the root is attached, or the mount would travel to the host.
    let private = Change { propagation: Some(Propagation::Private), ..Change::default() };
    mount::set_attributes_at(CWD, c"/", private, true)
        .map_err(|error| RuntimeError::call("making the mounts private", &error))?;
    // A mount can be attached over the very root; no directory of the host is needed for it.
    rustix::mount::move_mount(root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed("attaching the root file system"))?;
    rustix::process::fchdir(root).map_err(failed("entering the root file system"))?;
    match rustix::process::pivot_root(".", ".") {
        // pivot_root(2): the old root is now on top of the new one, at the same place.
        // Order: before anything is looked up, for `..` at the root would lead to what is on top.
        Ok(()) => rustix::mount::unmount(".", UnmountFlags::DETACH)
            .map_err(failed("unmounting the host's tree"))?,
        // The first root of the kernel (an initramfs) can not be put anywhere. The container's root
        // covers it completely, at its very root, so that no `..` leads beneath.
        Err(Errno::INVAL) => {
            rustix::process::chroot(".").map_err(failed("changing to the root file system"))?;
        }
        Err(errno) => return Err(RuntimeError::failed("pivot_root", errno)),
    }
    rustix::process::chdir("/").map_err(failed("entering the root file system"))
}

/// A detached copy of a tree of the host.
fn copy_of(path: &Path) -> Result<OwnedFd, RuntimeError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, path, flags).map_err(|errno| {
        let path = path.display().to_string();
        RuntimeError::failed(format!("opening the root file system {path:?}"), errno)
    })
}

/// Makes the working directory if it is missing, as runc does.
pub(super) fn ensure_cwd(root: BorrowedFd<'_>, cwd: &Path) -> Result<(), RuntimeError> {
    match path::open_in_root(root, cwd, OFlags::PATH, Mode::empty()) {
        Err(Errno::NOENT) => path::ensure_directory(root, cwd, Mode::from_raw_mode(0o755))
            .map(|_directory| ())
            .map_err(|error| RuntimeError::call(format!("mkdir {}", cwd.display()), &error)),
        // What else may be wrong with it is seen when it is entered.
        _ => Ok(()),
    }
}
