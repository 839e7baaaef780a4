//! What the image has at a volume's place is copied into the volume on its first use.
//!
//! Every step is relative to descriptors, and no link is followed but those inside the container's
//! root, so that an image can not reach out of it.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::error::{EngineError, Result};

/// How deep a tree may be.
const DEEPEST: usize = 512;

/// Copies the directory at `path` of a container's root into an empty volume, its own owner and
/// permissions included. What is not there, or no directory, or not an empty volume, is left alone.
///
/// # Errors
/// When something can not be copied.
pub(crate) fn copy_up(root: BorrowedFd<'_>, path: &str, volume: &Path) -> Result<()> {
    let failed = |errno: Errno| {
        EngineError::internal(format!("copying {path} into {}", volume.display()), errno)
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let inside = Path::new(path.trim_start_matches('/'));
    let source = match ferry_sys::path::open_in_root(root, inside, flags, Mode::empty()) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target =
        rustix::fs::openat(rustix::fs::CWD, volume, flags, Mode::empty()).map_err(failed)?;
    if !is_empty(&target).map_err(failed)? {
        return Ok(());
    }
    let mut copier = Copier { links: HashMap::new() };
    copier.directory(&source, &target, 0).map_err(failed)
}

fn is_empty(directory: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

struct Copier {
    /// Files with several names: where the first copy is, held open.
    links: HashMap<(u64, u64), OwnedFd>,
}

impl Copier {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Errno> {
        if depth > DEEPEST {
            return Err(Errno::LOOP);
        }
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        for name in &names {
            self.entry(from, to, name, depth)?;
        }
        copy_attributes(from.as_fd(), to.as_fd())?;
        let stat = rustix::fs::fstat(from)?;
        // Order: owner before permissions, since a change of owner clears the set-id bits; times
        // last.
        rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        rustix::fs::fchmod(to, mode_of(&stat))?;
        rustix::fs::futimens(to, &times_of(&stat))
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
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let target = rustix::fs::openat(to, name, flags, Mode::empty())?;
            return self.directory(&source, &target, depth + 1);
        }
        if let Some(first) = self.links.get(&key) {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(first));
            let cwd = rustix::fs::CWD;
            return rustix::fs::linkat(cwd, path, to, name, AtFlags::SYMLINK_FOLLOW);
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
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            self.links.insert(key, rustix::fs::openat(to, name, flags, Mode::empty())?);
        }
        Ok(())
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
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn a_tree_is_copied_once_with_links_modes_and_owners() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        let volume = scratch.path().join("volume");
        fs::create_dir_all(root.join("data/sub")).unwrap();
        fs::create_dir(&volume).unwrap();
        fs::write(root.join("data/file"), "text").unwrap();
        fs::set_permissions(root.join("data/file"), fs::Permissions::from_mode(0o4711)).unwrap();
        fs::hard_link(root.join("data/file"), root.join("data/sub/same")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("data/link")).unwrap();
        // A link to the directory that leads out of the root if it were followed there.
        std::os::unix::fs::symlink("/data", root.join("alias")).unwrap();
        fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o1777)).unwrap();
        let descriptor = OwnedFd::from(fs::File::open(&root).unwrap());

        copy_up(descriptor.as_fd(), "/alias", &volume).unwrap();
        assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "text");
        let file = fs::metadata(volume.join("file")).unwrap();
        assert_eq!(file.mode() & 0o7777, 0o4711);
        assert_eq!(file.ino(), fs::metadata(volume.join("sub/same")).unwrap().ino());
        assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o1777);

        // The volume is not empty any more: it is left alone.
        fs::write(root.join("data/late"), "x").unwrap();
        copy_up(descriptor.as_fd(), "/data", &volume).unwrap();
        assert!(!volume.join("late").exists());
        copy_up(descriptor.as_fd(), "/missing", &volume).unwrap();
    }
}
