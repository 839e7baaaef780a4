//! Makes a tree's files, by descriptors only.
//!
//! Directories are opened beneath the root of the layer with `openat2`, which refuses links and
//! dots; everything else is made by its name in an open directory, exclusively. So even a fault in
//! the tree could not write elsewhere.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
    chownat, fchmod, fchown, fsetxattr, futimens, linkat, lsetxattr, mkdirat, mknodat, openat,
    openat2, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::super::BuildError;
use crate::tar::FileData;
use crate::tree::{Attributes, Directory, LayerTree, NodeId, NodeKind};

/// Makes the whole tree in `root`, an empty directory. `shown` is its path, for messages.
pub(super) fn extract(
    tree: &LayerTree,
    archive: &File,
    root: &OwnedFd,
    shown: &Path,
) -> Result<(), BuildError> {
    let mut extractor = Extractor { tree, archive, root, shown, linked: HashMap::new() };
    let mut pending = vec![(LayerTree::ROOT, PathBuf::new())];
    while let Some((id, path)) = pending.pop() {
        let Some(directory) = tree.directory(id) else { continue };
        extractor.fill_directory(id, directory, &path, &mut pending)?;
    }
    Ok(())
}

struct Extractor<'a> {
    tree: &'a LayerTree,
    archive: &'a File,
    root: &'a OwnedFd,
    shown: &'a Path,
    /// Where files with several names have their first.
    linked: HashMap<NodeId, PathBuf>,
}

impl Extractor<'_> {
    /// Makes everything in a directory, whose own attributes come last: making a file changes the
    /// directory's time.
    fn fill_directory(
        &mut self,
        id: NodeId,
        directory: &Directory,
        path: &Path,
        pending: &mut Vec<(NodeId, PathBuf)>,
    ) -> Result<(), BuildError> {
        let dir =
            self.open_beneath(path).map_err(BuildError::errno("open", self.shown.join(path)))?;
        for (name, &child) in &directory.children {
            let name = std::ffi::OsStr::from_bytes(name);
            let child_path = path.join(name);
            self.make(&dir, name, child, &child_path)
                .map_err(|error| failed(error, &child_path, self.shown))?;
            if self.tree.directory(child).is_some() {
                pending.push((child, child_path));
            }
        }
        let attributes = &self.tree.node(id).attributes;
        let finish = || -> io::Result<()> {
            if directory.opaque {
                fsetxattr(&dir, "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
            }
            Self::set_attributes(&dir, attributes)
        };
        finish().map_err(|error| failed(error, path, self.shown))
    }

    fn open_beneath(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        match openat2(self.root, path, flags, Mode::empty(), resolve) {
            // openat2(2), Linux 5.6. Before it, the names in a directory that we alone write to are
            // trusted.
            Err(Errno::NOSYS) => openat(self.root, path, flags | OFlags::NOFOLLOW, Mode::empty()),
            other => other,
        }
    }

    fn make(
        &mut self,
        dir: &OwnedFd,
        name: &std::ffi::OsStr,
        id: NodeId,
        path: &Path,
    ) -> io::Result<()> {
        let node = self.tree.node(id);
        if node.links > 1 {
            if let Some(first) = self.linked.get(&id) {
                return match linkat(self.root, first, dir, name, AtFlags::empty()) {
                    Err(Errno::MLINK) => Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "it has more names than the filesystem can give a file",
                    )),
                    other => Ok(other?),
                };
            }
            self.linked.insert(id, path.to_owned());
        }
        let attributes = &node.attributes;
        let special = |file_type, device| -> io::Result<()> {
            mknodat(dir, name, file_type, Mode::from_raw_mode(0o600), device)?;
            set_special_attributes(dir, name, attributes)
        };
        match &node.kind {
            NodeKind::Directory(_) => Ok(mkdirat(dir, name, Mode::from_raw_mode(0o700))?),
            NodeKind::File(data) => self.make_file(dir, name, data, attributes),
            NodeKind::Symlink(target) => {
                symlinkat(std::ffi::OsStr::from_bytes(target), dir, name)?;
                set_special_attributes(dir, name, attributes)
            }
            NodeKind::CharDevice { major, minor } => {
                special(FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            NodeKind::BlockDevice { major, minor } => {
                special(FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
            }
            NodeKind::Fifo => special(FileType::Fifo, 0),
            NodeKind::Whiteout => special(FileType::CharacterDevice, 0),
        }
    }

    fn make_file(
        &self,
        dir: &OwnedFd,
        name: &std::ffi::OsStr,
        data: &FileData,
        attributes: &Attributes,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = openat(dir, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))?;
        let file = File::from(file);
        match &data.sparse {
            None => copy(self.archive, data.offset, &file, 0, data.size)?,
            Some(segments) => {
                for segment in segments {
                    let from = data.offset + segment.stored;
                    copy(self.archive, from, &file, segment.offset, segment.length)?;
                }
                file.set_len(data.size)?;
            }
        }
        Self::set_attributes(&file, attributes)
    }

    /// Order: the owner first, since a change of owner takes set-id bits and capabilities away;
    /// the times last, since everything else changes them.
    fn set_attributes(fd: impl AsFd, attributes: &Attributes) -> io::Result<()> {
        let fd = fd.as_fd();
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        fchown(fd, Some(uid), Some(gid))?;
        fchmod(fd, Mode::from_raw_mode(attributes.mode.into()))?;
        for (name, value) in &attributes.xattrs {
            if let Some(name) = settable(name) {
                tolerate(fsetxattr(fd, name.as_c_str(), value, XattrFlags::empty()), fd)?;
            }
        }
        Ok(futimens(fd, &times(attributes))?)
    }
}

/// Attributes of what cannot be opened without consequences: links, devices, pipes.
fn set_special_attributes(
    dir: &OwnedFd,
    name: &std::ffi::OsStr,
    attributes: &Attributes,
) -> io::Result<()> {
    let here = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    chownat(dir, name, Some(uid), Some(gid), here)?;
    let path = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    let is_link = rustix::fs::statat(dir, name, here)
        .map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)?;
    if !is_link {
        // It was just made by us in a directory of ours, and is no link.
        rustix::fs::chmodat(
            dir,
            name,
            Mode::from_raw_mode(attributes.mode.into()),
            AtFlags::empty(),
        )?;
    }
    for (name, value) in &attributes.xattrs {
        if let Some(name) = settable(name) {
            tolerate(lsetxattr(&path, name.as_c_str(), value, XattrFlags::empty()), dir)?;
        }
    }
    Ok(utimensat(dir, name, &times(attributes), here)?)
}

/// Both layer stores keep the same attributes: those that the kernel has a name space for.
pub(crate) fn settable(name: &[u8]) -> Option<CString> {
    let spaces: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    let acl = name == b"system.posix_acl_access" || name == b"system.posix_acl_default";
    let known =
        acl || spaces.iter().any(|space| name.len() > space.len() && name.starts_with(space));
    if known { CString::new(name).ok() } else { None }
}

/// Compat: Docker goes on without attributes that the filesystem does not take. One that is too large
/// for it is `InvalidData`.
pub(crate) fn tolerate(result: Result<(), Errno>, on: impl AsFd) -> io::Result<()> {
    // Where all attributes of a file share one block, "no space" is said of that block.
    let has_space = || rustix::fs::fstatvfs(&on).is_ok_and(|disk| disk.f_bavail > 0);
    match result {
        Err(Errno::NOTSUP | Errno::PERM) | Ok(()) => Ok(()),
        Err(errno @ (Errno::TOOBIG | Errno::RANGE | Errno::NOSPC))
            if errno != Errno::NOSPC || has_space() =>
        {
            let what = "its extended attributes are larger than the filesystem takes";
            Err(io::Error::new(io::ErrorKind::InvalidData, what))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// What a filesystem cannot hold is told of the archive; the rest is our failure.
fn failed(error: io::Error, path: &Path, root: &Path) -> BuildError {
    if error.kind() == io::ErrorKind::InvalidData {
        return BuildError::Archive(format!("{}: {error}", path.display()));
    }
    BuildError::File { doing: "extract", path: root.join(path), source: error }
}

fn times(attributes: &Attributes) -> Timestamps {
    let time =
        Timespec { tv_sec: attributes.mtime_seconds, tv_nsec: attributes.mtime_nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Copies bytes between files, in the kernel where it can.
fn copy(from: &File, mut at: u64, to: &File, mut to_at: u64, mut left: u64) -> io::Result<()> {
    // For small files one read and one write are cheaper.
    const SMALL: u64 = 64 << 10;
    while left > SMALL {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut to_at), most) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => left -= length as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut buffer = vec![0; usize::try_from(left.min(SMALL)).unwrap_or_default()];
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |l| l.min(buffer.len()));
        from.read_exact_at(&mut buffer[..most], at)?;
        to.write_all_at(&buffer[..most], to_at)?;
        (at, to_at, left) = (at + most as u64, to_at + most as u64, left - most as u64);
    }
    Ok(())
}
