//! Takes one layer in, in one pass over its uncompressed archive.
//!
//! ```text
//! reader -> Tee: hash, layer.tar -> TarReader -> LayerTree;   then: LayerStore::build, fsync
//! ```
//!
//! The tree is made of bytes whose digest nobody has compared yet; nothing is placed or mounted
//! before the caller has.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferry_oci::digest::{Digest, Hasher};

use crate::compression::Compression;
use crate::database::LayerRow;
use crate::error::StoreError;
use crate::ingest::{BuiltLayer, WriteBehind, decode_error};
use crate::layers::{ARCHIVE, layer_store};
use crate::layout::TempDir;
use crate::store::{LayerStoreKind, Store};
use crate::tar::{ByteSource, TarReader};
use crate::tree::LayerTree;
use crate::{limits, space};

/// What is known of how large an archive may be.
#[derive(Debug, Clone, Default)]
pub(crate) enum Expansion {
    /// Nothing.
    #[default]
    Unknown,
    /// It is made from so many bytes.
    Of(u64),
    /// It is made from bytes that are still being read; so many were. Whoever sends them may claim
    /// that there are more to come.
    Reading(Arc<AtomicU64>),
}

impl Expansion {
    /// Bytes that are too many for what they were made from.
    fn most(&self) -> u64 {
        let compressed = match self {
            Self::Unknown => return u64::MAX,
            Self::Of(compressed) => *compressed,
            Self::Reading(read) => read.load(Ordering::Relaxed),
        };
        limits::MAX_EXPANSION.max(compressed.saturating_mul(limits::MAX_EXPANSION_RATIO))
    }

    /// Whether so many bytes may be made.
    fn check(&self, total: u64, what: &str) -> Result<(), StoreError> {
        let most = self.most();
        if total <= most {
            return Ok(());
        }
        Err(StoreError::Archive(format!(
            "{what} decompresses to more than {most} bytes, which is too much for its size"
        )))
    }
}

/// Decompresses an archive as long as what comes of it is in proportion to what was read.
pub(crate) fn decode_bounded<'a, R: Read + Send + 'a>(
    compression: Compression,
    reader: R,
) -> io::Result<impl Read + Send + use<'a, R>> {
    let read = Arc::new(AtomicU64::new(0));
    let counted = Counted { reader, read: Arc::clone(&read) };
    let bounds = Expansion::Reading(read);
    Ok(Bounded { reader: compression.decode(counted)?, bounds, made: 0 })
}

struct Counted<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

struct Bounded<R> {
    reader: R,
    bounds: Expansion,
    made: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.made += length as u64;
        let too_much = |e: StoreError| io::Error::new(io::ErrorKind::InvalidData, e.to_string());
        self.bounds.check(self.made, "archive").map_err(too_much)?;
        Ok(length)
    }
}

/// An archive that is in its directory in `tmp/` and was read, of which no layer is made yet.
#[derive(Debug)]
pub(crate) struct Received {
    dir: TempDir,
    file: File,
    tree: LayerTree,
    pub diff_id: Digest,
    pub archive_size: u64,
}

/// Writes, hashes and reads an uncompressed archive, all at once; `tell` hears how many bytes have
/// come.
pub(crate) fn receive(
    store: &Store,
    reader: impl Read,
    bounds: Expansion,
    tell: &mut dyn FnMut(u64),
) -> Result<Received, StoreError> {
    receive_buffered(store, BufReader::with_capacity(BUFFER, reader), bounds, tell)
}

/// The same in pieces as large as the reader's buffer, which should be large.
pub(crate) fn receive_buffered(
    store: &Store,
    reader: impl BufRead,
    bounds: Expansion,
    tell: &mut dyn FnMut(u64),
) -> Result<Received, StoreError> {
    let dir = store.layout().new_tmp_dir("layer")?;
    let path = dir.path().join(ARCHIVE);
    let create = File::options().read(true).write(true).create_new(true).open(&path);
    let file = create.map_err(|e| StoreError::file("create", &path, e))?;
    let mut tee = Tee::new(reader, file, path, bounds, tell);
    if store.layer_store() == LayerStoreKind::Directories {
        tee.behind = None;
    }
    let tree = LayerTree::read(&mut TarReader::new(&mut tee));
    if let Some(failure) = tee.failure.take() {
        return Err(failure);
    }
    let tree = tree?;
    tee.drain()?;
    let Tee { file, hasher, kept, .. } = tee;
    Ok(Received { dir, file, tree, diff_id: hasher.finish(), archive_size: kept })
}

impl Received {
    /// Makes the layer; all of it is on disk then.
    pub(crate) fn build(self, kind: LayerStoreKind) -> Result<BuiltLayer, StoreError> {
        let Self { dir, file, tree, diff_id, archive_size } = self;
        layer_store(kind).build(dir.path(), &file, &tree)?;
        ferry_sys::durable::sync_dir(dir.path())
            .map_err(|e| StoreError::file("fsync", dir.path(), e.errno))?;
        let row = LayerRow {
            diff_id,
            kind,
            archive_size,
            content_size: tree.content_size(),
            is_empty: tree.is_empty(),
            root_is_opaque: tree.root_is_opaque(),
        };
        Ok(BuiltLayer { row, dir })
    }
}

const BUFFER: usize = 256 << 10;

/// A stream that is hashed and written to a file before it is read.
struct Tee<'a, R> {
    reader: R,
    file: File,
    path: PathBuf,
    hasher: Hasher,
    /// Bytes that are hashed and written.
    kept: u64,
    /// Of directories the archive goes as soon as its tree is made: the disk need never see it.
    behind: Option<WriteBehind>,
    /// How many of them are in the reader's buffer still: those that were not read yet.
    unread: usize,
    bounds: Expansion,
    /// Where the free space is looked at again.
    next_look: u64,
    tell: &'a mut dyn FnMut(u64),
    /// What is neither the stream's fault nor the archive's.
    failure: Option<StoreError>,
}

impl<'a, R: BufRead> Tee<'a, R> {
    fn new(
        reader: R,
        file: File,
        path: PathBuf,
        bounds: Expansion,
        tell: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self {
            reader,
            file,
            path,
            hasher: Hasher::sha256(),
            kept: 0,
            behind: Some(WriteBehind::default()),
            unread: 0,
            bounds,
            next_look: limits::FREE_SPACE_EVERY,
            tell,
            failure: None,
        }
    }

    /// Sees to it that there are bytes to be read; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        if self.unread > 0 {
            return Ok(true);
        }
        let length = loop {
            match self.reader.fill_buf() {
                Ok(bytes) => break bytes.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if length == 0 {
            return Ok(false);
        }
        if let Err(failure) = self.look(length) {
            self.failure = Some(failure);
            return Err(io::Error::other("the archive is not kept"));
        }
        // The same bytes: none were consumed.
        let bytes = self.reader.fill_buf()?;
        if let Err(error) = self.file.write_all(bytes) {
            self.failure = Some(StoreError::file("write", &self.path, error));
            return Err(io::Error::other("the archive is not kept"));
        }
        self.hasher.update(bytes);
        self.kept += length as u64;
        if let Some(behind) = &mut self.behind {
            behind.written(&self.file, self.kept);
        }
        self.unread = length;
        (self.tell)(self.kept);
        Ok(true)
    }

    /// Whether so many more bytes may be kept.
    fn look(&mut self, length: usize) -> Result<(), StoreError> {
        let total = self.kept + length as u64;
        self.bounds.check(total, "layer")?;
        if total >= self.next_look {
            self.next_look = total.saturating_add(limits::FREE_SPACE_EVERY);
            space::check(&self.file, &self.path, 0)?;
        }
        Ok(())
    }

    fn consume(&mut self, length: usize) {
        self.reader.consume(length);
        self.unread -= length;
    }

    /// Takes what comes after the end of the archive: it belongs to the digest.
    fn drain(&mut self) -> Result<(), StoreError> {
        loop {
            match self.fill() {
                Ok(true) => self.consume(self.unread),
                Ok(false) => return Ok(()),
                Err(error) => {
                    return Err(self.failure.take().unwrap_or_else(|| decode_error(error)));
                }
            }
        }
    }
}

impl<R: BufRead> ByteSource for &mut Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.fill()? {
            return Ok(0);
        }
        let length = self.unread.min(buffer.len());
        let available = self.reader.fill_buf()?;
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }

    fn skip_at_most(&mut self, count: u64) -> io::Result<u64> {
        let mut skipped = 0;
        while skipped < count && self.fill()? {
            let left = usize::try_from(count - skipped).unwrap_or(usize::MAX);
            let length = self.unread.min(left);
            self.consume(length);
            skipped += length as u64;
        }
        Ok(skipped)
    }

    fn position(&self) -> u64 {
        self.kept - self.unread as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{Scratch, layer};

    #[test]
    fn what_comes_after_the_end_belongs_to_the_layer() {
        let scratch = Scratch::new(LayerStoreKind::Erofs);
        let mut archive = layer("f", &[7; 1000]);
        archive.resize(archive.len() + 700_000, 0);
        let mut told = 0;
        let mut tell = |bytes| told = bytes;
        let received =
            receive(&scratch.store, archive.as_slice(), Expansion::default(), &mut tell).unwrap();
        assert_eq!(received.diff_id, Digest::sha256_of(&archive));
        assert_eq!((received.archive_size, told), (archive.len() as u64, archive.len() as u64));
        let layer = received.build(LayerStoreKind::Erofs).unwrap();
        assert_eq!(std::fs::read(layer.dir.path().join(ARCHIVE)).unwrap(), archive);
        assert_eq!(layer.row.content_size, 1000);
    }

    /// Bytes that this thread gave to the disk to write, less those that went before they were
    /// written; proc(5), `/proc/pid/io`.
    fn written() -> i64 {
        let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        let field = |name: &str| -> i64 {
            let line = io.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse().unwrap()
        };
        field("write_bytes:") - field("cancelled_write_bytes:")
    }

    #[test]
    fn the_disk_sees_what_is_kept_only() {
        let size = 24 << 20;
        let archive = layer("f", &vec![7; size]);
        for kind in [LayerStoreKind::Erofs, LayerStoreKind::Directories] {
            let scratch = Scratch::new(kind);
            let in_memory = rustix::fs::statfs(scratch.dir.path()).unwrap().f_type == 0x0102_1994;
            if in_memory {
                println!("not tried: what tmpfs writes is not counted");
                return;
            }
            let before = written();
            let received =
                receive(&scratch.store, archive.as_slice(), Expansion::default(), &mut |_| ());
            let layer = received.unwrap().build(kind).unwrap();
            let written = written() - before;
            let size = i64::try_from(size).unwrap();
            let most = size * 3 / 2;
            assert!((size..most).contains(&written), "{kind:?}: {written}");
            drop(layer);
        }
    }

    #[test]
    fn a_small_layer_may_not_become_a_huge_one() {
        let most = |compressed| Expansion::Of(compressed).most();
        assert_eq!(most(10), limits::MAX_EXPANSION);
        let honest = |ratio: u64| limits::MAX_EXPANSION / ratio;
        for size in [honest(1032) * 2, 1 << 20, 1 << 40] {
            // Deflate does no better than that, also with zeros only; zstd does.
            assert!(most(size) > size * 1032 && most(size) < size * 32_768, "{size}");
        }
        assert_eq!(most(u64::MAX), u64::MAX);
        assert_eq!(Expansion::Unknown.most(), u64::MAX);
        let read = Arc::new(AtomicU64::new(2 << 20));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ARCHIVE);
        let file = File::create(&path).unwrap();
        let mut ignore = |_| ();
        let reader = BufReader::new(io::repeat(0).take(1 << 20));
        let bounds = Expansion::Reading(Arc::clone(&read));
        let mut tee = Tee::new(reader, file, path, bounds, &mut ignore);
        tee.drain().unwrap();
        // What was kept is measured by what was read, whatever is claimed to come.
        let most = (2 << 20) * limits::MAX_EXPANSION_RATIO;
        tee.kept = most - 1;
        tee.look(1).unwrap();
        let error = tee.look(2).unwrap_err().to_string();
        assert!(error.contains(&format!("decompresses to more than {most} bytes")), "{error}");
        read.store(3 << 20, Ordering::Relaxed);
        tee.look(2).unwrap();
    }
}
