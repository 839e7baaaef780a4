//! Writes tar archives: ustar headers, and PAX records for what they cannot hold.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
/// Largest number in eleven and in seven octal digits.
const MAX_OCTAL_11: u64 = 0o77_777_777_777;
const MAX_OCTAL_7: u64 = 0o7_777_777;

/// What an entry of an archive is to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header<'a> {
    /// Relative, without a slash at its end.
    pub path: &'a [u8],
    pub kind: Kind<'a>,
    /// Permission bits, setuid, setgid and sticky included.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Whole seconds since 1970.
    pub mtime: i64,
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind<'a> {
    Directory,
    /// So many bytes follow.
    File(u64),
    HardLink(&'a [u8]),
    Symlink(&'a [u8]),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

impl Kind<'_> {
    fn typeflag(self) -> u8 {
        match self {
            Self::File(_) => b'0',
            Self::HardLink(_) => b'1',
            Self::Symlink(_) => b'2',
            Self::CharDevice { .. } => b'3',
            Self::BlockDevice { .. } => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
        }
    }

    fn size(self) -> u64 {
        if let Self::File(size) = self { size } else { 0 }
    }

    fn link(&self) -> &[u8] {
        match self {
            Self::HardLink(link) | Self::Symlink(link) => link,
            _ => b"",
        }
    }

    fn device(self) -> (u32, u32) {
        match self {
            Self::CharDevice { major, minor } | Self::BlockDevice { major, minor } => {
                (major, minor)
            }
            _ => (0, 0),
        }
    }
}

impl<'a> Header<'a> {
    /// A plain file or directory of root's, from 1970.
    pub(crate) fn plain(path: &'a [u8], kind: Kind<'a>) -> Self {
        let mode = if matches!(kind, Kind::Directory) { 0o755 } else { 0o644 };
        Self { path, kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: &[] }
    }
}

/// An archive in the making.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes an entry that has no bytes of its own.
    pub(crate) fn entry(&mut self, header: &Header<'_>) -> io::Result<()> {
        let mut path = header.path.to_vec();
        if matches!(header.kind, Kind::Directory) {
            path.push(b'/');
        }
        let link = header.kind.link();
        let records = records(header, &path, link);
        if !records.is_empty() {
            let kind = (b'x', records.len() as u64);
            let block = block(b"PaxHeaders/entry", b"", kind, &Header::plain(b"", Kind::Fifo));
            self.out.write_all(&block)?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let kind = (header.kind.typeflag(), header.kind.size());
        self.out.write_all(&block(&path, link, kind, header))
    }

    /// Writes a file of the size that its header says. A reader that ends before is filled up with
    /// zeros, one that has more is not read further: a running program may be writing to it. Tells
    /// how many bytes were missing.
    pub(crate) fn file(&mut self, header: &Header<'_>, reader: impl Read) -> io::Result<u64> {
        self.entry(header)?;
        let size = header.kind.size();
        let copied = io::copy(&mut reader.take(size), &mut self.out)?;
        io::copy(&mut io::repeat(0).take(size - copied), &mut self.out)?;
        self.pad(size)?;
        Ok(size - copied)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let missing = size.next_multiple_of(BLOCK as u64) - size;
        io::copy(&mut io::repeat(0).take(missing), &mut self.out).map(drop)
    }
}

/// The PAX records that an entry needs beside its header.
fn records(header: &Header<'_>, path: &[u8], link: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    if split(path).is_none() {
        push(&mut records, b"path", path);
    }
    if link.len() > 100 {
        push(&mut records, b"linkpath", link);
    }
    if header.kind.size() > MAX_OCTAL_11 {
        push(&mut records, b"size", header.kind.size().to_string().as_bytes());
    }
    for (key, id) in [(b"uid", header.uid), (b"gid", header.gid)] {
        if u64::from(id) > MAX_OCTAL_7 {
            push(&mut records, key, id.to_string().as_bytes());
        }
    }
    if !u64::try_from(header.mtime).is_ok_and(|mtime| mtime <= MAX_OCTAL_11) {
        push(&mut records, b"mtime", header.mtime.to_string().as_bytes());
    }
    for (name, value) in header.xattrs {
        push(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

/// Adds `<length> <key>=<value>\n`, where the length counts its own digits too.
fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend(length.to_string().bytes());
    records.push(b' ');
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// Divides a path between ustar's prefix and name; `None` when it fits in no way.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // The name must not be empty, so the slash at the end of a directory does not count.
    let slashes = (0..path.len() - 1).rev().filter(|&at| path[at] == b'/');
    let mut splits = slashes.map(|at| (&path[..at], &path[at + 1..]));
    splits.find(|(prefix, name)| prefix.len() <= 155 && !prefix.is_empty() && name.len() <= 100)
}

fn block(path: &[u8], link: &[u8], kind: (u8, u64), header: &Header<'_>) -> [u8; BLOCK] {
    let (typeflag, size) = kind;
    let mut block = [0; BLOCK];
    let (prefix, name) = split(path).unwrap_or_else(|| (b"", &path[..100]));
    put(&mut block[..100], name);
    octal(&mut block[100..108], u64::from(header.mode & 0o7777));
    octal(&mut block[108..116], fitting(header.uid.into(), MAX_OCTAL_7));
    octal(&mut block[116..124], fitting(header.gid.into(), MAX_OCTAL_7));
    octal(&mut block[124..136], fitting(size, MAX_OCTAL_11));
    let mtime = u64::try_from(header.mtime).unwrap_or_default();
    octal(&mut block[136..148], fitting(mtime, MAX_OCTAL_11));
    block[156] = typeflag;
    put(&mut block[157..257], &link[..link.len().min(100)]);
    block[257..265].copy_from_slice(b"ustar\x0000");
    let (major, minor) = header.kind.device();
    octal(&mut block[329..337], major.into());
    octal(&mut block[337..345], minor.into());
    put(&mut block[345..500], prefix);
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// 0 for what a PAX record says instead.
fn fitting(value: u64, most: u64) -> u64 {
    if value > most { 0 } else { value }
}

fn put(field: &mut [u8], bytes: &[u8]) {
    field[..bytes.len()].copy_from_slice(bytes);
}

/// Octal digits that fill the field but for its zero byte.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    put(field, format!("{value:0digits$o}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{EntryKind, StreamSource, TarReader};

    /// Writes one entry and reads it again.
    fn again(header: &Header<'_>, data: &[u8]) -> (crate::tar::Entry, Vec<u8>) {
        let mut writer = TarWriter::new(Vec::new());
        assert_eq!(writer.file(header, data).unwrap(), header.kind.size() - data.len() as u64);
        let archive = writer.finish().unwrap();
        assert_eq!(archive.len() % BLOCK, 0);
        let mut reader = TarReader::new(StreamSource::new(archive.as_slice()));
        let entry = reader.next_entry().unwrap().unwrap();
        let mut read = vec![0; data.len()];
        assert_eq!(reader.read_data(&mut read).unwrap(), data.len());
        assert_eq!(reader.next_entry().unwrap(), None);
        (entry, read)
    }

    #[test]
    fn what_a_header_cannot_hold_is_read_again() {
        let lengths = [1, 99, 100, 101, 155, 156, 255, 256, 257, 1000];
        for length in lengths {
            let path = b"d/".repeat(length / 2 + 1)[..length].to_vec();
            let path = [path.as_slice(), b"\xffx"].concat();
            let xattrs = [(b"user.x".to_vec(), b"\0=\n".to_vec()), (b"user.z".to_vec(), vec![])];
            let header = Header {
                uid: 4_000_000_000,
                gid: u32::try_from(length).unwrap(),
                mtime: -5,
                mode: 0o6751,
                xattrs: &xattrs,
                ..Header::plain(&path, Kind::File(5))
            };
            let (entry, data) = again(&header, b"bytes");
            assert_eq!(entry.path, path, "{length}");
            assert_eq!((entry.uid, entry.gid), (header.uid, header.gid));
            assert_eq!((entry.mode, entry.mtime_seconds), (0o6751, -5));
            assert_eq!(entry.xattrs, xattrs);
            assert_eq!(data, b"bytes");
        }
    }

    #[test]
    fn every_kind_is_read_again() {
        let long = b"t/".repeat(200);
        let check = |kind, expect: EntryKind| {
            let (entry, _) = again(&Header::plain(b"n", kind), b"");
            assert_eq!(entry.kind, expect);
        };
        check(Kind::Directory, EntryKind::Directory);
        check(Kind::Symlink(&long), EntryKind::Symlink(long.clone()));
        check(Kind::HardLink(b"a"), EntryKind::HardLink(b"a".to_vec()));
        let (major, minor) = (4095, 0xf_ffff);
        check(Kind::CharDevice { major, minor }, EntryKind::CharDevice { major, minor });
        check(Kind::BlockDevice { major, minor }, EntryKind::BlockDevice { major, minor });
        check(Kind::Fifo, EntryKind::Fifo);
    }

    #[test]
    fn a_file_that_shrinks_is_filled_up() {
        let header = Header::plain(b"log", Kind::File(1000));
        let (entry, data) = again(&header, b"short");
        assert!(matches!(entry.kind, EntryKind::File(data) if data.size == 1000));
        assert_eq!(data, b"short");
    }
}
