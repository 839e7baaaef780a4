//! Paths the container can not read, and paths it can not write.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use ferry_oci::runtime::Linux;
use ferry_sys::SysError;
use ferry_sys::mount::{self, Attributes, Change};
use ferry_sys::path::place_in_root;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::RuntimeError;

/// Makes paths read-only, then hides others.
pub(super) fn apply(root: BorrowedFd<'_>, linux: Option<&Linux>) -> Result<(), RuntimeError> {
    let Some(linux) = linux else { return Ok(()) };
    for path in &linux.readonly_paths {
        make_readonly(root, path)?;
    }
    let mut covers = Covers::default();
    for path in &linux.masked_paths {
        let failed = |errno| RuntimeError::failed(masking(path), errno);
        let Some(place) = place(root, path).map_err(failed)? else { continue };
        let stat = rustix::fs::fstat(&place).map_err(failed)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let cover = if is_directory { &mut covers.directory } else { &mut covers.file };
        let make = || if is_directory { empty_directory() } else { null(root) };
        put(cover, make, place.as_fd())
            .map_err(|error| RuntimeError::call(masking(path), &error))?;
    }
    Ok(())
}

fn masking(path: &Path) -> String {
    format!("can't mask path {:?}", path.display().to_string())
}

/// The place of a path, if there is one.
fn place(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>, Errno> {
    match place_in_root(root, path) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn make_readonly(root: BorrowedFd<'_>, path: &Path) -> Result<(), RuntimeError> {
    let doing = || format!("can't make {:?} read-only", path.display().to_string());
    let place = place(root, path).map_err(|errno| RuntimeError::failed(doing(), errno))?;
    let Some(place) = place else { return Ok(()) };
    let read_only = Change { set: Attributes::READ_ONLY, ..Change::default() };
    let cover = || {
        let tree = mount::copy_tree(place.as_fd(), true)?;
        mount::set_attributes(tree.as_fd(), read_only, true)?;
        mount::attach(tree.as_fd(), place.as_fd())
    };
    cover().map_err(|error| RuntimeError::call(doing(), &error))
}

/// The first cover of each kind that was put somewhere; the others are copies of it.
#[derive(Default)]
struct Covers {
    directory: Option<OwnedFd>,
    file: Option<OwnedFd>,
}

fn put(
    first: &mut Option<OwnedFd>,
    make: impl FnOnce() -> Result<OwnedFd, SysError>,
    place: BorrowedFd<'_>,
) -> Result<(), SysError> {
    match first {
        // Only what is attached can be copied (before Linux 6.15).
        Some(first) => mount::attach(mount::copy_tree(first.as_fd(), false)?.as_fd(), place),
        None => {
            let cover = make()?;
            mount::attach(cover.as_fd(), place)?;
            *first = Some(cover);
            Ok(())
        }
    }
}

/// An empty directory that stays empty.
fn empty_directory() -> Result<OwnedFd, SysError> {
    let make = || {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "source", "tmpfs")?;
        rustix::mount::fsconfig_set_string(&context, "size", "4k")?;
        rustix::mount::fsconfig_set_string(&context, "nr_inodes", "1")?;
        rustix::mount::fsconfig_set_flag(&context, "ro")?;
        rustix::mount::fsconfig_create(&context)?;
        let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, read_only)
    };
    make().map_err(|errno| SysError::new("fsmount", "tmpfs", errno))
}

/// The container's `/dev/null`, which must be what it says, or the mask would be a window.
/// (CVE-2025-31133)
fn null(root: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    let failed = |errno| SysError::new("openat2", "/dev/null", errno);
    let place = place_in_root(root, Path::new("dev/null")).map_err(failed)?;
    let stat = rustix::fs::fstat(&place).map_err(failed)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if !is_null {
        return Err(SysError::new("checking", "/dev/null", Errno::NXIO));
    }
    mount::copy_tree(place.as_fd(), false)
}
