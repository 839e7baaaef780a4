//! Compares an extracted tree with the archive that it was made of.
//!
//! Most files are read when the archive is put together again, so its digest speaks for them. The
//! small and the sparse ones, whose bytes the archive's parts have too, are compared here.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ferry_oci::digest::{Digest, Hasher};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat, XattrFlags, lgetxattr,
    llistxattr, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use super::extract::settable;
use super::open_directory;
use super::parts::SMALLEST_FILE;
use crate::error::{StoreError, is_of_the_machine};
use crate::layers::{LayerCheck, Watch};
use crate::limits;
use crate::tar::{EntryKind, FileData, StreamSource, TarError, TarReader, show};
use crate::tree::{Attributes, LayerTree, NodeId, NodeKind};

/// Times that every filesystem has: 1902 to 2038.
const TIMES: std::ops::Range<i64> = -(1 << 31)..1 << 31;
/// What filesystems round times down to, in nanoseconds; those of old inodes and of NFS to seconds.
const GRANULARITIES: [i64; 5] = [1, 100, 1000, 1_000_000, 1_000_000_000];

/// Reads the whole archive and compares the tree in `diff` with what it says.
pub(super) fn check(
    archive: Box<dyn Read + Send>,
    diff: &Path,
    watch: &mut Watch<'_>,
) -> Result<LayerCheck, StoreError> {
    let (hasher, length) = (Hasher::sha256(), 0);
    let mut stream = Hashed { inner: archive, hasher, length, watch: &mut *watch };
    let (tree, contents) = read_tree(&mut stream)?;
    // What comes after the end of the archive belongs to the digest.
    io::copy(&mut stream, &mut io::sink()).map_err(|e| StoreError::file("read", diff, e))?;
    let Hashed { hasher, length, .. } = stream;
    let root = open_directory(diff).map_err(|errno| StoreError::file("open", diff, errno))?;
    let first = HashMap::new();
    let mut comparison = Comparison { tree: &tree, contents: &contents, root: &root, first, watch };
    let problem = match comparison.compare() {
        Ok(problem) => problem,
        Err(error) if is_of_the_machine(&error) => {
            return Err(StoreError::file("read", diff, error));
        }
        Err(error) => Some(format!("its tree cannot be read: {error}")),
    };
    Ok(LayerCheck {
        diff_id: hasher.finish(),
        archive_size: length,
        content_size: tree.content_size(),
        is_empty: tree.is_empty(),
        root_is_opaque: tree.root_is_opaque(),
        problem,
    })
}

/// A stream that is hashed while it is read.
struct Hashed<'a, 'b> {
    inner: Box<dyn Read + Send>,
    hasher: Hasher,
    length: u64,
    watch: &'a mut Watch<'b>,
}

impl Read for Hashed<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.length += length as u64;
        (self.watch)(length as u64)?;
        Ok(length)
    }
}

/// Digests of stored bytes, by where they start in the archive.
type Contents = HashMap<u64, Digest>;

fn read_tree(stream: &mut Hashed<'_, '_>) -> Result<(LayerTree, Contents), TarError> {
    let mut reader = TarReader::new(StreamSource::new(stream));
    let mut tree = LayerTree::new();
    let mut contents = HashMap::new();
    let mut entries = 0;
    while let Some(entry) = reader.next_entry()? {
        entries += 1;
        if entries > limits::MAX_ENTRIES {
            let most = limits::MAX_ENTRIES;
            return Err(TarError::Malformed(format!("more than {most} entries in a layer")));
        }
        if let EntryKind::File(data) = &entry.kind
            && !is_in_tree_only(data)
        {
            let mut hasher = Hasher::sha256();
            let mut buffer = [0; 16 << 10];
            loop {
                match reader.read_data(&mut buffer)? {
                    0 => break,
                    length => hasher.update(&buffer[..length]),
                }
            }
            contents.insert(data.offset, hasher.finish());
        }
        tree.add(entry)?;
    }
    Ok((tree, contents))
}

/// Whether the archive has a file's bytes from the tree.
fn is_in_tree_only(data: &FileData) -> bool {
    data.sparse.is_none() && data.size >= SMALLEST_FILE
}

struct Comparison<'a, 'b> {
    tree: &'a LayerTree,
    contents: &'a Contents,
    root: &'a OwnedFd,
    /// The inodes of files with several names.
    first: HashMap<NodeId, u64>,
    watch: &'a mut Watch<'b>,
}

impl Comparison<'_, '_> {
    /// Gives the first difference.
    fn compare(&mut self) -> io::Result<Option<String>> {
        let mut pending = vec![(LayerTree::ROOT, Vec::new())];
        while let Some((id, path)) = pending.pop() {
            let Some(directory) = self.tree.directory(id) else { continue };
            let dir = self.open(&path, OFlags::DIRECTORY)?;
            let stat = rustix::fs::fstat(&dir)?;
            let opaque = xattr(&dir, b".", "trusted.overlay.opaque")?;
            let attributes = &self.tree.node(id).attributes;
            let problem = differs(attributes, &stat, &dir, b".")?;
            let problem = problem.or_else(|| {
                let is_opaque = opaque.as_deref() == Some(b"y");
                (is_opaque != directory.opaque).then(|| "whether it is opaque".to_owned())
            });
            if let Some(problem) = problem {
                return Ok(Some(told(&path, &problem)));
            }
            for entry in Dir::read_from(&dir)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." && !directory.children.contains_key(name) {
                    return Ok(Some(told(&join(&path, name), "that it is there")));
                }
            }
            for (name, &child) in &directory.children {
                (self.watch)(0)?;
                let child_path = join(&path, name);
                if let Some(problem) = self.compare_child(&dir, name, child, &child_path)? {
                    return Ok(Some(told(&child_path, &problem)));
                }
                if self.tree.directory(child).is_some() {
                    pending.push((child, child_path));
                }
            }
        }
        Ok(None)
    }

    fn compare_child(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        id: NodeId,
        path: &[u8],
    ) -> io::Result<Option<String>> {
        let os_name = OsStr::from_bytes(name);
        let stat = match statat(dir, os_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Some("that it is missing".to_owned())),
            other => other?,
        };
        let node = self.tree.node(id);
        let (file_type, device) = match &node.kind {
            NodeKind::Directory(_) => (FileType::Directory, 0),
            NodeKind::File(_) => (FileType::RegularFile, 0),
            NodeKind::Symlink(_) => (FileType::Symlink, 0),
            NodeKind::CharDevice { major, minor } => {
                (FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            NodeKind::BlockDevice { major, minor } => {
                (FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
            }
            NodeKind::Fifo => (FileType::Fifo, 0),
            NodeKind::Whiteout => (FileType::CharacterDevice, 0),
        };
        if FileType::from_raw_mode(stat.st_mode) != file_type || stat.st_rdev != device {
            return Ok(Some("what kind of file it is".to_owned()));
        }
        // Of a directory the rest is compared when it is read; nobody sees a whiteout's.
        if matches!(node.kind, NodeKind::Directory(_) | NodeKind::Whiteout) {
            return Ok(None);
        }
        if node.links > 1 && *self.first.entry(id).or_insert(stat.st_ino) != stat.st_ino {
            return Ok(Some("that it is no link to the same file".to_owned()));
        }
        if let Some(problem) = differs(&node.attributes, &stat, dir, name)? {
            return Ok(Some(problem));
        }
        match &node.kind {
            NodeKind::Symlink(target) => {
                let same = readlinkat(dir, os_name, Vec::new())?.as_bytes() == target;
                Ok((!same).then(|| "where it leads".to_owned()))
            }
            NodeKind::File(data) if u64::try_from(stat.st_size) != Ok(data.size) => {
                Ok(Some("how long it is".to_owned()))
            }
            NodeKind::File(data) => match self.contents.get(&data.offset) {
                _ if self.holes_are_filled(path, data, &stat)? => {
                    Ok(Some("what is in its holes".to_owned()))
                }
                Some(expected) if self.stored_bytes(path, data)? != *expected => {
                    Ok(Some("what is in it".to_owned()))
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The digest of what the archive has of a file.
    fn stored_bytes(&self, path: &[u8], data: &FileData) -> io::Result<Digest> {
        let file = File::from(self.open(path, OFlags::empty())?);
        let whole = [crate::tar::Segment { offset: 0, length: data.size, stored: 0 }];
        let mut hasher = Hasher::sha256();
        let mut buffer = vec![0; 64 << 10];
        for segment in data.sparse.as_deref().unwrap_or(&whole) {
            let (mut at, end) = (segment.offset, segment.offset + segment.length);
            while at < end {
                let most = usize::try_from(end - at).map_or(buffer.len(), |l| l.min(buffer.len()));
                file.read_exact_at(&mut buffer[..most], at)?;
                hasher.update(&buffer[..most]);
                at += most as u64;
            }
        }
        Ok(hasher.finish())
    }

    /// Whether there is something but zeros between the pieces of a sparse file.
    fn holes_are_filled(&self, path: &[u8], data: &FileData, stat: &Stat) -> io::Result<bool> {
        let Some(segments) = data.sparse.as_deref() else { return Ok(false) };
        let file = File::from(self.open(path, OFlags::empty())?);
        let mut buffer = vec![0; 64 << 10];
        // Where holes are not known as such all of a file is data: more than it occupies is none.
        let mut left = u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
        let ends = segments.iter().map(|segment| segment.offset).chain([data.size]);
        let starts = segments.iter().map(|segment| segment.offset + segment.length);
        for (mut at, end) in std::iter::once(0).chain(starts).zip(ends) {
            while at < end && left > 0 {
                at = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
                    Err(Errno::NXIO) => break,
                    other => other?,
                };
                let Some(most) = end.checked_sub(at).filter(|most| *most > 0) else { break };
                let most = usize::try_from(most).map_or(buffer.len(), |m| m.min(buffer.len()));
                let length = file.read_at(&mut buffer[..most], at)?;
                if length == 0 {
                    break;
                }
                if buffer[..length].iter().any(|&byte| byte != 0) {
                    return Ok(true);
                }
                at += length as u64;
                left = left.saturating_sub(length as u64);
            }
        }
        Ok(false)
    }

    fn open(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path = OsStr::from_bytes(path);
        match openat2(self.root, path, flags, Mode::empty(), resolve) {
            // Linux before 5.6.
            Err(Errno::NOSYS) => Ok(rustix::fs::openat(self.root, path, flags, Mode::empty())?),
            other => Ok(other?),
        }
    }
}

/// In what a file's attributes are not those of the archive.
fn differs(
    attributes: &Attributes,
    stat: &Stat,
    dir: &OwnedFd,
    name: &[u8],
) -> io::Result<Option<String>> {
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    if !is_link && stat.st_mode & 0o7777 != u32::from(attributes.mode) {
        return Ok(Some("its permissions".to_owned()));
    }
    if (stat.st_uid, stat.st_gid) != (attributes.uid, attributes.gid) {
        return Ok(Some("whose it is".to_owned()));
    }
    let time = (attributes.mtime_seconds, i64::from(attributes.mtime_nanoseconds));
    let found = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(-1));
    let is_same = found.0 == time.0 && GRANULARITIES.iter().any(|g| time.1 / g * g == found.1);
    if TIMES.contains(&time.0) && !is_same {
        return Ok(Some("its time".to_owned()));
    }
    let file_type = FileType::from_raw_mode(stat.st_mode);
    let plain = matches!(file_type, FileType::RegularFile | FileType::Directory);
    for (key, value) in &attributes.xattrs {
        // Others cannot have any of the user's, and extraction goes on without.
        if settable(key).is_none() || (!plain && key.starts_with(b"user.")) {
            continue;
        }
        let key = String::from_utf8_lossy(key);
        let is_same = match xattr(dir, name, &key)? {
            Some(found) => found == *value,
            None => !takes(dir, &key, value),
        };
        if !is_same {
            return Ok(Some(format!("its attribute {key}")));
        }
    }
    let added = xattr_names(dir, name)?.into_iter().find(|found| {
        let is_note = found.starts_with(b"trusted.overlay.") && file_type != FileType::Directory;
        let counts = is_note || found.starts_with(b"user.") || found == b"security.capability";
        counts && attributes.xattrs.iter().all(|(known, _)| known != found)
    });
    Ok(added.map(|found| format!("its attribute {}, which the archive has not", show(&found))))
}

/// Whether the filesystem takes an attribute, so that one that is missing was lost; where that cannot
/// be found out it was not. The file that it is tried on has no name.
fn takes(dir: &OwnedFd, key: &str, value: &[u8]) -> bool {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, ".", flags, Mode::from_raw_mode(0o600))
        .and_then(|file| rustix::fs::fsetxattr(file, key, value, XattrFlags::empty()))
        .is_ok()
}

/// The names of a file's extended attributes.
fn xattr_names(dir: &OwnedFd, name: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    let length = match llistxattr(place(dir, name), &mut names) {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    let names = names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

/// A path to a name in an open directory, for calls that take nothing else.
fn place(dir: &OwnedFd, name: &[u8]) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(OsStr::from_bytes(name))
}

/// An extended attribute; `None` when the file has it not, or cannot.
fn xattr(dir: &OwnedFd, name: &[u8], key: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; 64 << 10];
    match lgetxattr(place(dir, name), key, &mut value) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

fn told(path: &[u8], what: &str) -> String {
    format!("of {} its tree says otherwise than its archive: {what}", show(path))
}
