//! Reads tar archives: V7, ustar, GNU and PAX, with sparse files and extended attributes.
//!
//! What is lenient and what is refused follows Go's `archive/tar`, since that is what Docker reads
//! with. The reader only says what an archive contains; [`crate::tree`] judges whether it may.

mod header;
mod pax;
mod source;
mod sparse;

#[cfg(test)]
pub(crate) mod builder;
#[cfg(test)]
mod tests;

use std::io;

use self::header::{BLOCK, GnuSparse, RawHeader};
use self::pax::Extensions;
pub(crate) use self::source::{ByteSource, FileSource, StreamSource};
pub(crate) use self::sparse::Segment;
use crate::limits;

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As written: may be absolute, may contain `..`, need not be UTF-8.
    pub path: Vec<u8>,
    pub kind: EntryKind,
    /// Permission bits, setuid, setgid and sticky included.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime_seconds: i64,
    pub mtime_nanoseconds: u32,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Directory,
    File(FileData),
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FileData {
    /// Size of the file.
    pub size: u64,
    /// Where its bytes start in the archive.
    pub offset: u64,
    /// The pieces of a sparse file, in order; `None` when it is whole.
    pub sparse: Option<Box<[Segment]>>,
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    #[error("{0}")]
    Malformed(String),
    #[error("reading the archive: {0}")]
    Read(#[source] io::Error),
}

impl TarError {
    fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::malformed("unexpected EOF"),
            _ => Self::Read(error),
        }
    }
}

/// Reads the entries of an archive one after the other.
#[derive(Debug)]
pub(crate) struct TarReader<S> {
    source: S,
    /// Bytes of the last entry's data, with padding, that were not consumed yet.
    remaining: u64,
    padding: u64,
}

impl<S: ByteSource> TarReader<S> {
    pub(crate) fn new(source: S) -> Self {
        Self { source, remaining: 0, padding: 0 }
    }

    /// Goes to the next entry; `None` at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.source.skip(self.remaining)?;
        // Compat: Go takes an archive whose very last padding is missing.
        self.source.skip_at_most(self.padding)?;
        (self.remaining, self.padding) = (0, 0);
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.read_header()? else {
                return if extensions.is_empty() {
                    Ok(None)
                } else {
                    Err(TarError::malformed("unexpected EOF"))
                };
            };
            match header.typeflag() {
                b'x' => {
                    let body = self.read_special(&header)?;
                    extensions.read_pax(&body)?;
                }
                // Compat: Docker ignores global headers.
                b'g' => drop(self.read_special(&header)?),
                b'L' => extensions.long_name = Some(until_nul(&self.read_special(&header)?)),
                b'K' => extensions.long_link = Some(until_nul(&self.read_special(&header)?)),
                _ => return self.finish_entry(&header, extensions).map(Some),
            }
        }
    }

    /// Reads from the entry's data as it is stored; for entries that are plain files.
    pub(crate) fn read_data(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.remaining).map_or(buffer.len(), |r| r.min(buffer.len()));
        let length = self.source.read(&mut buffer[..most])?;
        if length == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.remaining -= length as u64;
        Ok(length)
    }

    fn read_header(&mut self) -> Result<Option<RawHeader>, TarError> {
        let Some(block) = self.read_block()? else { return Ok(None) };
        if block.iter().any(|&byte| byte != 0) {
            return RawHeader::check(block).map(Some);
        }
        // The archive ends with two zero blocks; one and the end of the file will do.
        match self.read_block()? {
            Some(second) if second.iter().any(|&byte| byte != 0) => {
                Err(TarError::malformed("archive/tar: invalid tar header"))
            }
            _ => Ok(None),
        }
    }

    /// Reads one block; `None` at the end of the file.
    fn read_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(TarError::malformed("unexpected EOF")),
                length => filled += length,
            }
        }
        Ok(Some(block))
    }

    /// Reads the body of an extended header.
    fn read_special(&mut self, header: &RawHeader) -> Result<Vec<u8>, TarError> {
        let size = header.size()?;
        if size > limits::MAX_EXTENDED_HEADER {
            return Err(TarError::malformed(format!(
                "extended header of {size} bytes; at most {} are taken",
                limits::MAX_EXTENDED_HEADER
            )));
        }
        let mut body = Vec::new();
        while (body.len() as u64) < size.next_multiple_of(BLOCK as u64) {
            let block = self.read_block()?.ok_or_else(|| TarError::malformed("unexpected EOF"))?;
            body.extend_from_slice(&block);
        }
        body.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(body)
    }

    fn finish_entry(
        &mut self,
        header: &RawHeader,
        mut extensions: Extensions,
    ) -> Result<Entry, TarError> {
        let mut stored = extensions.size.map_or_else(|| header.size(), Ok)?;
        let mut real_size = stored;
        let mut sparse = None;
        if header.typeflag() == b'S' {
            let (size, segments) = self.read_old_gnu_map(header)?;
            (real_size, sparse) = (size, Some(segments));
        } else if let Some(map) = extensions.sparse.take_map()? {
            (real_size, sparse) = (extensions.sparse.real_size(stored), Some(map));
        } else if extensions.sparse.is_1_0() {
            let (length, segments) = sparse::read_1_0_map(|| self.read_block(), stored)?;
            real_size = extensions.sparse.real_size(stored);
            // The map is part of the stored bytes; what follows is the file's.
            stored -= length;
            sparse = Some(segments);
        }
        let sparse = sparse.map(|s| sparse::check(s, real_size, stored)).transpose()?;
        let path = extensions.name(header);
        let directory_by_slash = header.typeflag() == 0 && path.ends_with(b"/");
        let link = || extensions.link(header);
        let kind = match header.typeflag() {
            _ if directory_by_slash => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => {
                self.remaining = stored;
                self.padding = stored.next_multiple_of(BLOCK as u64) - stored;
                let offset = self.source.position();
                EntryKind::File(FileData { size: real_size, offset, sparse })
            }
            b'1' => EntryKind::HardLink(link()),
            b'2' => EntryKind::Symlink(link()),
            b'3' => EntryKind::CharDevice { major: header.major()?, minor: header.minor()? },
            b'4' => EntryKind::BlockDevice { major: header.major()?, minor: header.minor()? },
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                return Err(TarError::malformed(format!(
                    "{}: unhandled tar header type {other}",
                    show(&path)
                )));
            }
        };
        let (mtime_seconds, mtime_nanoseconds) =
            extensions.mtime.map_or_else(|| header.mtime().map(|s| (s, 0)), Ok)?;
        Ok(Entry {
            path,
            kind,
            mode: header.mode()?,
            uid: extensions.uid.map_or_else(|| header.uid(), Ok)?,
            gid: extensions.gid.map_or_else(|| header.gid(), Ok)?,
            mtime_seconds,
            mtime_nanoseconds,
            xattrs: extensions.take_xattrs(),
        })
    }

    fn read_old_gnu_map(&mut self, header: &RawHeader) -> Result<(u64, Vec<Segment>), TarError> {
        let GnuSparse { real_size, mut pieces, mut continued } = header.gnu_sparse()?;
        while continued {
            let block = self.read_block()?.ok_or_else(|| TarError::malformed("unexpected EOF"))?;
            continued = header::gnu_sparse_continued(&block, &mut pieces)?;
            sparse::check_count(pieces.len())?;
        }
        Ok((real_size, sparse::place(pieces)?))
    }
}

/// Whether bytes are the beginning of an archive: a header, or the end of an empty one.
pub(crate) fn looks_like_archive(start: &[u8]) -> bool {
    let Ok(block) = <[u8; BLOCK]>::try_from(start) else { return false };
    block.iter().all(|&byte| byte == 0) || RawHeader::check(block).is_ok()
}

/// A path for people; bytes that are not text are escaped.
pub(crate) fn show(path: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(path))
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}
