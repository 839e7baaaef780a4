//! Mounts, by descriptor: attributes, detached trees and their attachment.
//!
//! The rest of the mount interface is in `rustix::mount`, which is safe as it is.

use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::error::{Context as _, SysError};
use crate::process::check;

bitflags::bitflags! {
    /// Attributes of a mount. [`mount_setattr(2)`, Linux 5.12]
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Attributes: u64 {
        /// Nothing can be written.
        const READ_ONLY = 0x1;
        /// Set-user-id bits and file capabilities have no effect.
        const NO_SUID = 0x2;
        /// Device nodes can not be opened.
        const NO_DEV = 0x4;
        /// Nothing can be executed.
        const NO_EXEC = 0x8;
        /// Reading never changes access times.
        const NO_ATIME = 0x10;
        /// Reading always changes access times.
        const STRICT_ATIME = 0x20;
        /// The three ways of access times, one of which is relative and has no bit.
        const ATIME = 0x70;
        /// Reading never changes access times of directories.
        const NO_DIR_ATIME = 0x80;
        /// Symbolic links are not followed. (Linux 5.14)
        const NO_SYMLINK_FOLLOW = 0x20_0000;
    }
}

/// How mounts beneath a mount travel between namespaces. `mount_namespaces(7)`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They do not.
    Private,
    /// They come in.
    Slave,
    /// They come in and go out.
    Shared,
    /// They do not, and the mount can not be bound.
    Unbindable,
}

/// A change of a mount's attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// To be set.
    pub set: Attributes,
    /// To be cleared.
    pub clear: Attributes,
    /// To be changed, if any.
    pub propagation: Option<Propagation>,
}

/// The argument of `mount_setattr(2)`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the attributes of the mount at a descriptor, with those beneath it if `recursive`.
///
/// # Errors
/// What `mount_setattr` says.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    change: Change,
    recursive: bool,
) -> Result<(), SysError> {
    set_attributes_at(mount, c"", change, recursive)
}

/// As [`set_attributes`], for the mount at a path beneath a descriptor.
///
/// # Errors
/// What `mount_setattr` says.
pub fn set_attributes_at(
    at: BorrowedFd<'_>,
    path: &CStr,
    change: Change,
    recursive: bool,
) -> Result<(), SysError> {
    let propagation = match change.propagation {
        None => 0,
        Some(Propagation::Private) => libc::MS_PRIVATE,
        Some(Propagation::Slave) => libc::MS_SLAVE,
        Some(Propagation::Shared) => libc::MS_SHARED,
        Some(Propagation::Unbindable) => libc::MS_UNBINDABLE,
    };
    let attr =
        MountAttr { set: change.set.bits(), clear: change.clear.bits(), propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: The path is NUL-terminated, the attributes have the size given; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(result, "mount_setattr", || path.to_string_lossy().into_owned())
}

/// Maps the ids seen through a detached mount as a user namespace maps them. [Linux 5.12]
///
/// # Errors
/// What `mount_setattr` says; `EINVAL` where the file system knows no such mounts.
pub fn map_ids(
    mount: BorrowedFd<'_>,
    userns: BorrowedFd<'_>,
    recursive: bool,
) -> Result<(), SysError> {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    let attr = MountAttr {
        set: MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: 0,
        userns_fd: u64::from(userns.as_raw_fd().unsigned_abs()),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: The path is NUL-terminated, the attributes have the size given; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(result, "mount_setattr", || "id mapping")
}

/// A detached copy of the mount at a descriptor: a bind mount that is not anywhere yet.
///
/// # Errors
/// What `open_tree` says.
pub fn copy_tree(of: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, SysError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(of, "", flags).during("open_tree", || "")
}

/// Attaches a detached mount at a descriptor of the place.
///
/// # Errors
/// What `move_mount` says.
pub fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), SysError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", place, "", flags).during("move_mount", || "")
}
