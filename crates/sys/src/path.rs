//! Paths inside a tree that someone else controls, resolved under its root by the kernel.
//!
//! Every lookup is an openat2(2) with `RESOLVE_IN_ROOT` (Linux 5.6): absolute symbolic links and `..`
//! stay in the root, magic links are refused. What is returned are descriptors, so that what was
//! checked is what is used.

mod new_file;

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

pub use self::new_file::NewFile;
use crate::error::{Context as _, SysError};

/// Opens a path under a root; symbolic links are followed inside the root.
///
/// # Errors
/// What openat2 says.
pub fn open_in_root(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    retry(|| rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve))
}

/// A descriptor of the place only (`O_PATH`) of a path under a root.
///
/// # Errors
/// What openat2 says.
pub fn place_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    open_in_root(root, path, OFlags::PATH, Mode::empty())
}

/// Opens a path beneath a directory on the same mount, following nothing: for the kernel's own file
/// systems, where a mount or a link on the way is somebody's trick.
///
/// # Errors
/// What openat2 says.
pub fn open_beneath(
    directory: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    retry(|| rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// openat2 answers `EAGAIN` when something was renamed while it looked at `..`.
fn retry(mut open: impl FnMut() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    for _attempt in 0..128 {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            answer => return answer,
        }
    }
    Err(Errno::AGAIN)
}

/// A path without `.`, `..` and root, by text alone: what remains is relative to the root.
#[must_use]
pub fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    clean
}

/// Makes a directory and all missing ones above it, under a root, and gives its place.
///
/// # Errors
/// What openat2 and mkdirat say; a dangling symbolic link on the way is `EEXIST`.
pub fn ensure_directory(
    root: BorrowedFd<'_>,
    path: &Path,
    mode: Mode,
) -> Result<OwnedFd, SysError> {
    match open_in_root(root, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {}
        answer => return answer.during("openat2", || path.display().to_string()),
    }
    let clean = clean(path);
    let mut so_far = PathBuf::from(".");
    let mut current = open_in_root(root, &so_far, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        .during("openat2", || path.display().to_string())?;
    for name in &clean {
        so_far.push(name);
        current = match open_in_root(root, &so_far, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        {
            Err(Errno::NOENT) => make_directory(current.as_fd(), name, mode)
                .during("mkdirat", || path.display().to_string())?,
            answer => answer.during("openat2", || path.display().to_string())?,
        };
    }
    Ok(current)
}

fn make_directory(parent: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(parent, name, mode)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Makes an empty file if there is nothing, with the directories above it, and gives its place.
///
/// # Errors
/// As [`ensure_directory`].
pub fn ensure_file(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, SysError> {
    match place_in_root(root, path) {
        Err(Errno::NOENT) => {}
        answer => return answer.during("openat2", || path.display().to_string()),
    }
    let (parent, name) = ensure_parent(root, path)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    rustix::fs::openat(&parent, &*name, flags, Mode::from_raw_mode(0o755))
        .during("openat", || path.display().to_string())?;
    rustix::fs::openat(
        &parent,
        &*name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .during("openat", || path.display().to_string())
}

/// As [`ensure_file`], but what is there must not be a symbolic link.
///
/// # Errors
/// `ELOOP` for a symbolic link; else as [`ensure_directory`].
pub fn ensure_plain_file(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, SysError> {
    let subject = || path.display().to_string();
    let (parent, name) = ensure_parent(root, path)?;
    let made = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match rustix::fs::openat(&parent, &*name, made, Mode::from_raw_mode(0o755)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(SysError::at("openat", path, errno)),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place =
        rustix::fs::openat(&parent, &*name, flags, Mode::empty()).during("openat", subject)?;
    let stat = rustix::fs::fstat(&place).during("fstat", subject)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Err(SysError::at("openat", path, Errno::LOOP)),
        _ => Ok(place),
    }
}

/// The directory above a path, made if missing, and the last name.
///
/// # Errors
/// As [`ensure_directory`]; `EINVAL` for the root itself.
pub fn ensure_parent(
    root: BorrowedFd<'_>,
    path: &Path,
) -> Result<(OwnedFd, std::ffi::OsString), SysError> {
    let clean = clean(path);
    let invalid = || SysError::at("openat2", path, Errno::INVAL);
    let name = clean.file_name().ok_or_else(invalid)?.to_owned();
    let parent = clean.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = ensure_directory(root, parent, Mode::from_raw_mode(0o755))?;
    Ok((directory, name))
}

#[cfg(test)]
mod tests;
