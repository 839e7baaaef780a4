//! Makes an archive of a directory tree, by descriptors only: nothing is followed, and what is
//! mounted in the tree is left out.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io::{self, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, flistxattr, fstat,
    lgetxattr, llistxattr, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use super::tar_writer::{Header, Kind, TarWriter};
use crate::diff::{self, UpperRules};
use crate::error::StoreError;
use crate::limits;
use crate::tar::show;

/// The kernel's `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
const XATTR_BUFFER: usize = 64 << 10;

/// Writes a tree's files into an archive: sorted by name, so that equal trees give equal archives.
#[derive(Debug)]
pub(crate) struct TreeArchiver<'a, W> {
    tar: TarWriter<W>,
    /// `None` for a tree as it is.
    upper: Option<UpperRules<'a>>,
    /// Where files with several names have their first, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

/// A directory that is being read.
#[derive(Debug)]
struct Frame {
    dir: OwnedFd,
    /// From the root; empty for the root.
    path: Vec<u8>,
    names: std::vec::IntoIter<Vec<u8>>,
}

/// A name in an open directory.
#[derive(Clone, Copy)]
struct Place<'a> {
    dir: &'a OwnedFd,
    name: &'a [u8],
    /// From the root.
    path: &'a [u8],
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

impl<'a, W: Write> TreeArchiver<'a, W> {
    pub(crate) fn new(out: W, upper: Option<UpperRules<'a>>) -> Self {
        let (linked, buffer) = (HashMap::new(), vec![0; XATTR_BUFFER]);
        Self { tar: TarWriter::new(out), upper, linked, buffer }
    }

    /// Archives everything in a directory, not the directory itself, as Docker does.
    pub(crate) fn archive(mut self, root: OwnedFd) -> Result<W, StoreError> {
        // A mount's descriptor is a place only.
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = openat(&root, ".", flags, Mode::empty()).map_err(|e| failed(b".", e.into()))?;
        let mut frames = vec![Frame::read(root, Vec::new())?];
        while let Some(frame) = frames.last_mut() {
            let Some(name) = frame.names.next() else {
                frames.pop();
                continue;
            };
            let path = join(&frame.path, &name);
            // An archive cannot hold it; and without an end there is no end of descriptors either.
            if path.len() > limits::MAX_PATH {
                return Err(failed(&path, Errno::NAMETOOLONG.into()));
            }
            let place = Place { dir: &frame.dir, name: &name, path: &path };
            if let Some(dir) = self.entry(place).map_err(|e| failed(&path, e))? {
                frames.push(Frame::read(dir, path)?);
            }
        }
        self.tar.finish().map_err(StoreError::Write)
    }

    /// Archives one name; a directory is given back open.
    fn entry(&mut self, place: Place<'_>) -> io::Result<Option<OwnedFd>> {
        let stat = match statat(place.dir, OsStr::from_bytes(place.name), AtFlags::SYMLINK_NOFOLLOW)
        {
            // The tree may be in use.
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if let Some(rules) = &self.upper
            && rules.is_setup(place.dir, place.name, place.path, &stat)?
        {
            return Ok(None);
        }
        if self.upper.is_some()
            && place.name.starts_with(b".wh.")
            && (kind == FileType::Directory || place.name.len() == 4)
        {
            let path = show(place.path);
            tracing::warn!(%path, "a layer cannot hold it: its name means what is not there");
            return Ok(None);
        }
        if kind == FileType::Directory {
            return self.directory(place);
        }
        if self.upper.is_some() && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            let path = diff::whiteout(place.path);
            let header = Header { mode: 0o600, mtime: stat.st_mtime, ..plain_file(&path) };
            self.tar.entry(&header)?;
            return Ok(None);
        }
        if stat.st_nlink > 1
            && let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino))
        {
            let header = header(place.path, Kind::HardLink(first), &stat, &[]);
            self.tar.entry(&header)?;
            return Ok(None);
        }
        let archived = match kind {
            FileType::RegularFile => self.file(place)?,
            FileType::Symlink => {
                let target = readlinkat(place.dir, OsStr::from_bytes(place.name), Vec::new())?;
                self.special(place, Kind::Symlink(target.as_bytes()), &stat)?
            }
            FileType::Fifo => self.special(place, Kind::Fifo, &stat)?,
            FileType::CharacterDevice | FileType::BlockDevice => {
                let major = rustix::fs::major(stat.st_rdev);
                let minor = rustix::fs::minor(stat.st_rdev);
                let kind = if kind == FileType::CharacterDevice {
                    Kind::CharDevice { major, minor }
                } else {
                    Kind::BlockDevice { major, minor }
                };
                self.special(place, kind, &stat)?
            }
            // A socket is nothing without the process behind it, and archives have none.
            _ => false,
        };
        if archived && stat.st_nlink > 1 {
            self.linked.insert((stat.st_dev, stat.st_ino), place.path.to_vec());
        }
        Ok(None)
    }

    fn directory(&mut self, place: Place<'_>) -> io::Result<Option<OwnedFd>> {
        let dir = match open_beneath(place, OFlags::DIRECTORY | OFlags::RDONLY) {
            // Something is mounted there, or it went.
            Err(Errno::XDEV | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            other => other?,
        };
        let (stat, all) = (fstat(&dir)?, self.xattrs_of(&dir)?);
        let opaque = diff::is_opaque(&all);
        let xattrs = kept(all);
        self.tar.entry(&header(place.path, Kind::Directory, &stat, &xattrs))?;
        if self.upper.is_some() && opaque {
            let path = [place.path, b"/", diff::OPAQUE].concat();
            self.tar.entry(&Header { mode: 0o600, mtime: stat.st_mtime, ..plain_file(&path) })?;
        }
        Ok(Some(dir))
    }

    fn file(&mut self, place: Place<'_>) -> io::Result<bool> {
        // A name that became a pipe meanwhile must not block.
        let file = match open_beneath(place, OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(Errno::XDEV | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            other => other?,
        };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(false);
        }
        let xattrs = kept(self.xattrs_of(&file)?);
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let header = header(place.path, Kind::File(size), &stat, &xattrs);
        let missing = self.tar.file(&header, std::fs::File::from(file))?;
        if missing > 0 {
            let path = show(place.path);
            tracing::warn!(%path, missing, "a file became shorter while it was archived");
        }
        Ok(true)
    }

    fn special(&mut self, place: Place<'_>, kind: Kind<'_>, stat: &Stat) -> io::Result<bool> {
        let path = Path::new("/proc/self/fd")
            .join(place.dir.as_raw_fd().to_string())
            .join(OsStr::from_bytes(place.name));
        let list = |buffer: &mut [u8]| llistxattr(&path, buffer);
        let get = |name: &CString, buffer: &mut [u8]| lgetxattr(&path, name.as_c_str(), buffer);
        let xattrs = kept(read_xattrs(&mut self.buffer, list, get)?);
        self.tar.entry(&header(place.path, kind, stat, &xattrs))?;
        Ok(true)
    }

    fn xattrs_of(&mut self, file: &OwnedFd) -> io::Result<Xattrs> {
        let list = |buffer: &mut [u8]| flistxattr(file, buffer);
        let get = |name: &CString, buffer: &mut [u8]| fgetxattr(file, name.as_c_str(), buffer);
        read_xattrs(&mut self.buffer, list, get)
    }
}

impl Frame {
    fn read(dir: OwnedFd, path: Vec<u8>) -> Result<Self, StoreError> {
        let names = names(&dir).map_err(|e| failed(&path, e))?;
        Ok(Self { dir, path, names: names.into_iter() })
    }
}

/// The names in a directory, sorted, without dots.
pub(crate) fn names(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            if names.len() == limits::MAX_ENTRIES {
                return Err(Errno::FBIG.into());
            }
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// All extended attributes, sorted by name.
fn read_xattrs(
    buffer: &mut [u8],
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&CString, &mut [u8]) -> Result<usize, Errno>,
) -> io::Result<Xattrs> {
    let length = match list(buffer) {
        Err(Errno::NOTSUP | Errno::NOENT) => return Ok(Vec::new()),
        other => other?,
    };
    let names: Vec<Vec<u8>> = buffer[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    let mut xattrs = Vec::with_capacity(names.len());
    for name in names {
        let Ok(c_name) = CString::new(name.as_slice()) else { continue };
        match get(&c_name, buffer) {
            Ok(length) => xattrs.push((name, buffer[..length].to_vec())),
            // Gone, or of a kind that cannot be read.
            Err(Errno::NODATA | Errno::NOTSUP | Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// Those that belong to a file wherever it is: not the host's labels, not overlayfs's notes.
fn kept(mut xattrs: Xattrs) -> Xattrs {
    xattrs.retain(|(name, _)| {
        let name = name.as_slice();
        let overlay = name.starts_with(diff::OVERLAY_XATTRS);
        let kind = name.starts_with(b"user.")
            || (name.starts_with(b"trusted.") && !overlay)
            || matches!(
                name,
                b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
            );
        // A PAX record has no way to say it.
        kind && !name.contains(&b'=')
    });
    xattrs
}

fn open_beneath(place: Place<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let name = OsStr::from_bytes(place.name);
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(place.dir, name, flags, Mode::empty(), resolve) {
        // Linux before 5.6.
        Err(Errno::NOSYS) => openat(place.dir, name, flags, Mode::empty()),
        other => other,
    }
}

fn header<'a>(
    path: &'a [u8],
    kind: Kind<'a>,
    stat: &Stat,
    xattrs: &'a [(Vec<u8>, Vec<u8>)],
) -> Header<'a> {
    // Compat: Docker keeps whole seconds.
    let (mode, mtime) = (stat.st_mode, stat.st_mtime);
    Header { path, kind, mode, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs }
}

fn plain_file(path: &[u8]) -> Header<'_> {
    Header::plain(path, Kind::File(0))
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// The archive's reader going away is told apart from the tree's faults.
fn failed(path: &[u8], error: io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return StoreError::Write(error);
    }
    StoreError::file("archive", PathBuf::from(OsStr::from_bytes(path)), error)
}
