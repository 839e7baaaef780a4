//! What the image has at a volume's place is copied into the volume on its first use.
//!
//! ```text
//! root ── copied ──> _copy ── renamed ──> _ready ── moved, entry by entry ──> _data
//! ```
//!
//! The volume stays empty until the copy is complete, and a complete one is delivered whatever
//! happens: a failure or a crash never leaves a part that the next use would take for the whole.
//! Every step is relative to descriptors, and no link is followed but those inside the container's
//! root, so that an image can not reach out of it.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use super::place::DATA;
use super::remove_tree;
use crate::error::{EngineError, Result};

/// How deep a tree may be.
const DEEPEST: usize = 512;
/// A copy that is being made.
const COPY: &str = "_copy";
/// A copy that is complete.
const READY: &str = "_ready";
/// To look into a directory.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies the directory at `path` of a container's root into an empty volume, its own owner and
/// permissions included. What is not there, or no directory, or not an empty volume, is left alone.
/// Only one may do this to a volume at a time.
///
/// # Errors
/// When something can not be copied.
pub(super) fn copy_up(root: BorrowedFd<'_>, path: &str, volume: &Path) -> Result<()> {
    let failed = |errno: Errno| {
        EngineError::internal(format!("copying {path} into {}", volume.display()), errno)
    };
    settle(volume)?;
    let place = rustix::fs::openat(rustix::fs::CWD, volume, DIRECTORY, Mode::empty());
    let place = place.map_err(failed)?;
    let data = rustix::fs::openat(&place, DATA, DIRECTORY, Mode::empty()).map_err(failed)?;
    if !names_in(&data).map_err(failed)?.is_empty() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let inside = Path::new(path.trim_start_matches('/'));
    let source = match ferry_sys::path::open_in_root(root, inside, flags, Mode::empty()) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    // Someone has mounted a disk of its own there: nothing can be moved onto it.
    let is_elsewhere = device_of(&place).map_err(failed)? != device_of(&data).map_err(failed)?;
    if is_elsewhere {
        return Copier::new(&data).and_then(|copier| copier.run(&source)).map_err(failed);
    }
    let copied = rustix::fs::mkdirat(&place, COPY, Mode::from_raw_mode(0o700))
        .and_then(|()| rustix::fs::openat(&place, COPY, DIRECTORY, Mode::empty()))
        .and_then(|copy| Copier::new(&copy)?.run(&source));
    if let Err(errno) = copied {
        remove_tree(&volume.join(COPY))?;
        return Err(failed(errno));
    }
    rustix::fs::renameat(&place, COPY, &place, READY).map_err(failed)?;
    settle(volume)
}

/// Delivers a copy that is complete, and forgets one that is not.
///
/// # Errors
/// When something can not be moved or removed.
pub(super) fn settle(volume: &Path) -> Result<()> {
    remove_tree(&volume.join(COPY))?;
    let ready = volume.join(READY);
    if !ready.exists() {
        return Ok(());
    }
    deliver(volume).map_err(|errno| {
        EngineError::internal(format!("moving what was copied into {}", volume.display()), errno)
    })?;
    remove_tree(&ready)
}

fn deliver(volume: &Path) -> Result<(), Errno> {
    let place = rustix::fs::openat(rustix::fs::CWD, volume, DIRECTORY, Mode::empty())?;
    let ready = rustix::fs::openat(&place, READY, DIRECTORY, Mode::empty())?;
    let data = rustix::fs::openat(&place, DATA, DIRECTORY, Mode::empty())?;
    for name in &names_in(&ready)? {
        match rustix::fs::renameat_with(&ready, name, &data, name, RenameFlags::NOREPLACE) {
            // What a container has put there meanwhile stays.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    copy_directory_itself(&ready, &data)
}

fn device_of(fd: &OwnedFd) -> Result<u64, Errno> {
    rustix::fs::fstat(fd).map(|stat| stat.st_dev)
}

fn names_in(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Extended attributes, owner, permissions and times of a directory.
fn copy_directory_itself(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    copy_attributes(from.as_fd(), to.as_fd())?;
    let stat = rustix::fs::fstat(from)?;
    // Order: owner before permissions, since a change of owner clears the set-id bits; times last.
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, mode_of(&stat))?;
    rustix::fs::futimens(to, &times_of(&stat))
}

struct Copier {
    top: OwnedFd,
    /// Where it is, under the top.
    here: PathBuf,
    /// Files with several names: where the first copy is, under the top.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copier {
    fn new(top: &OwnedFd) -> Result<Self, Errno> {
        let top = rustix::io::fcntl_dupfd_cloexec(top, 0)?;
        Ok(Self { top, here: PathBuf::new(), links: HashMap::new() })
    }

    fn run(mut self, from: &OwnedFd) -> Result<(), Errno> {
        let top = rustix::io::fcntl_dupfd_cloexec(&self.top, 0)?;
        self.directory(from, &top, 0)
    }

    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Errno> {
        if depth > DEEPEST {
            return Err(Errno::LOOP);
        }
        for name in &names_in(from)? {
            self.here.push(OsStr::from_bytes(name.to_bytes()));
            self.entry(from, to, name, depth)?;
            self.here.pop();
        }
        copy_directory_itself(from, to)
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CString,
        depth: usize,
    ) -> Result<(), Errno> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let key = (stat.st_dev, stat.st_ino);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let source = rustix::fs::openat(from, name, DIRECTORY, Mode::empty())?;
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let target = rustix::fs::openat(to, name, DIRECTORY, Mode::empty())?;
            return self.directory(&source, &target, depth + 1);
        }
        if let Some(first) = self.links.get(&key) {
            match self.link(first, to, name) {
                // Too deep to be named, or linked too often: it becomes a file of its own.
                Err(Errno::NAMETOOLONG | Errno::MLINK) => {}
                linked => return linked,
            }
        }
        match kind {
            FileType::RegularFile => copy_file(from, to, name, &stat)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)?;
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => {
                rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(0o600), stat.st_rdev)?;
            }
            FileType::Directory | FileType::Unknown => return Err(Errno::INVAL),
        }
        rustix::fs::chownat(
            to,
            name,
            Some(Uid::from_raw(stat.st_uid)),
            Some(Gid::from_raw(stat.st_gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        if kind != FileType::Symlink {
            rustix::fs::chmodat(to, name, mode_of(&stat), AtFlags::empty())?;
        }
        rustix::fs::utimensat(to, name, &times_of(&stat), AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_nlink > 1 {
            self.links.insert(key, self.here.clone());
        }
        Ok(())
    }

    /// Gives the copy at `first` a further name.
    fn link(&self, first: &Path, to: &OwnedFd, name: &CString) -> Result<(), Errno> {
        let parent = first.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let parent = ferry_sys::path::open_beneath(self.top.as_fd(), parent, DIRECTORY)?;
        let own = first.file_name().unwrap_or_default();
        rustix::fs::linkat(&parent, own, to, name, AtFlags::empty())
    }
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &CString, stat: &Stat) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
    let mut reader = std::fs::File::from(source);
    let mut writer = std::fs::File::from(target);
    if stat.st_size > 0 {
        // The standard library uses copy_file_range(2) between files.
        std::io::copy(&mut reader, &mut writer)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    copy_attributes(reader.as_fd(), writer.as_fd())
}

/// Copies extended attributes; a file system that has none is no failure.
fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut list = vec![0; 64 * 1024];
    let length = match rustix::fs::flistxattr(from, &mut list) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let mut value = vec![0; 64 * 1024];
    for name in list.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        if name.is_empty() || name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let size = rustix::fs::fgetxattr(from, name, &mut value)?;
        let bytes = value.get(..size).unwrap_or_default();
        match rustix::fs::fsetxattr(to, name, bytes, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn mode_of(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

fn times_of(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests;
