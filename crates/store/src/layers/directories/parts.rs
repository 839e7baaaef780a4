//! What is needed to put a layer's archive together again from its extracted tree.
//!
//! A zstd stream of parts in the order of the archive:
//!
//! ```text
//! u64 length, bytes              copied as they are: headers, padding, sparse and replaced files
//! u32 length, path, u64 length   then so many bytes of that file in the tree; length 0 ends it
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::super::BuildError;
use super::open_directory;
use crate::error::StoreError;
use crate::limits;
use crate::tree::{LayerTree, NodeKind};

/// Smaller files cost less as bytes than as names.
pub(super) const SMALLEST_FILE: u64 = 64;
const LEVEL: i32 = 3;

/// Writes the parts of `archive`, durably.
pub(super) fn write(tree: &LayerTree, archive: &File, path: &Path) -> Result<(), BuildError> {
    let write = || -> io::Result<()> {
        let mut encoder = zstd::Encoder::new(File::create_new(path)?, LEVEL)?;
        write_parts(tree, archive, &mut encoder)?;
        encoder.finish()?.sync_all()
    };
    write().map_err(BuildError::file("write", path))
}

fn write_parts(tree: &LayerTree, archive: &File, output: &mut impl Write) -> io::Result<()> {
    let length = archive.metadata()?.len();
    let mut files = Vec::new();
    let mut pending = vec![(LayerTree::ROOT, Vec::new())];
    let mut seen = vec![false; tree.len()];
    while let Some((id, path)) = pending.pop() {
        if std::mem::replace(&mut seen[id], true) {
            continue;
        }
        match &tree.node(id).kind {
            NodeKind::Directory(directory) => {
                for (name, &child) in &directory.children {
                    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    pending.push((child, [&path, slash, name].concat()));
                }
            }
            NodeKind::File(data) if data.sparse.is_none() && data.size >= SMALLEST_FILE => {
                files.push((data.offset, data.size, path));
            }
            _ => {}
        }
    }
    files.sort_unstable();
    let mut at = 0;
    for (offset, size, path) in files {
        write_bytes(archive, at, offset, output)?;
        let path_len = u32::try_from(path.len()).map_err(io::Error::other)?;
        output.write_all(&path_len.to_le_bytes())?;
        output.write_all(&path)?;
        output.write_all(&size.to_le_bytes())?;
        at = offset + size;
    }
    write_bytes(archive, at, length, output)?;
    output.write_all(&0_u32.to_le_bytes())
}

fn write_bytes(archive: &File, mut at: u64, end: u64, output: &mut impl Write) -> io::Result<()> {
    output.write_all(&(end - at).to_le_bytes())?;
    let mut buffer = vec![0; 64 << 10];
    while at < end {
        let most = usize::try_from(end - at).map_or(buffer.len(), |l| l.min(buffer.len()));
        archive.read_exact_at(&mut buffer[..most], at)?;
        output.write_all(&buffer[..most])?;
        at += most as u64;
    }
    Ok(())
}

/// Reads the archive again.
pub(super) fn open(path: &Path, diff: &Path) -> Result<Box<dyn Read + Send>, StoreError> {
    let root = open_directory(diff).map_err(|errno| StoreError::file("open", diff, errno))?;
    let decoder = File::open(path)
        .and_then(zstd::Decoder::new)
        .map_err(|error| StoreError::file("open", path, error))?;
    Ok(Box::new(Assembler { parts: decoder, root, state: State::NextBytes }))
}

struct Assembler<P> {
    parts: P,
    root: OwnedFd,
    state: State,
}

enum State {
    NextBytes,
    Bytes { left: u64 },
    NextFile,
    File { file: File, left: u64 },
    End,
}

impl<P: Read> Read for Assembler<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let most =
                |left: u64| usize::try_from(left).map_or(buffer.len(), |l| l.min(buffer.len()));
            let (length, left) = match &mut self.state {
                State::NextBytes => {
                    let left = u64::from_le_bytes(self.take()?);
                    self.state = State::Bytes { left };
                    continue;
                }
                State::Bytes { left: 0 } => {
                    self.state = State::NextFile;
                    continue;
                }
                State::NextFile => {
                    self.state = self.next_file()?;
                    continue;
                }
                State::File { left: 0, .. } => {
                    self.state = State::NextBytes;
                    continue;
                }
                State::End => return Ok(0),
                State::Bytes { left } => {
                    let most = most(*left);
                    (self.parts.read(&mut buffer[..most])?, left)
                }
                State::File { file, left } => {
                    let most = most(*left);
                    (file.read(&mut buffer[..most])?, left)
                }
            };
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *left -= length as u64;
            return Ok(length);
        }
    }
}

impl<P: Read> Assembler<P> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.parts.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn next_file(&mut self) -> io::Result<State> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        if length == 0 {
            return Ok(State::End);
        }
        if length > limits::MAX_PATH {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut path = vec![0; length];
        self.parts.read_exact(&mut path)?;
        let left = u64::from_le_bytes(self.take()?);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path = std::ffi::OsStr::from_bytes(&path);
        let file = openat2(&self.root, path, flags, Mode::empty(), resolve)?;
        Ok(State::File { file: file.into(), left })
    }
}
