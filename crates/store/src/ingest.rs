//! Takes one layer in: bytes to `layer.tar`, their digest, the tree, the layer store's form of it.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::Path;
use std::thread;

use ferry_oci::digest::{Digest, Hasher};

use crate::compression::{Compression, read_ahead};
use crate::database::LayerRow;
use crate::error::StoreError;
use crate::layers::{ARCHIVE, layer_store};
use crate::layout::TempDir;
use crate::store::LayerStoreKind;
use crate::tar::{FileSource, TarError, TarReader};
use crate::tree::LayerTree;

/// A layer that is whole, in a directory in `tmp/`.
#[derive(Debug)]
pub(crate) struct BuiltLayer {
    pub row: LayerRow,
    pub dir: TempDir,
}

/// An uncompressed archive in its directory, and its digest.
#[derive(Debug)]
pub(crate) struct Archive {
    pub dir: TempDir,
    pub file: File,
    pub diff_id: Digest,
}

impl From<TarError> for StoreError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Malformed(message) => Self::Archive(message),
            TarError::Read(error) => decode_error(error),
        }
    }
}

/// Copies an uncompressed stream to `layer.tar` in `dir`; `tell` hears how far it has come.
pub(crate) fn store_archive(
    dir: TempDir,
    reader: impl Read,
    tell: impl FnMut(u64),
) -> Result<Archive, StoreError> {
    let path = dir.path().join(ARCHIVE);
    let (file, diff_id) = store_stream(&path, reader, tell)?;
    Ok(Archive { dir, file, diff_id })
}

/// Decompresses a file into `layer.tar` in `dir`: one thread decompresses, this one hashes and
/// writes.
pub(crate) fn decompress_archive(
    dir: TempDir,
    compression: Compression,
    mut compressed: &File,
) -> Result<Archive, StoreError> {
    compressed.rewind().map_err(|e| StoreError::file("read", dir.path(), e))?;
    thread::scope(|scope| {
        let decoder = compression.decode(compressed).map_err(decode_error)?;
        let (reader, _thread) = read_ahead(scope, decoder);
        store_archive(dir, reader, |_| ())
    })
}

/// Writes a stream to a new file; gives the file and the digest of its bytes.
pub(crate) fn store_stream(
    path: &Path,
    mut reader: impl Read,
    mut tell: impl FnMut(u64),
) -> Result<(File, Digest), StoreError> {
    let create = File::options().read(true).write(true).create_new(true).open(path);
    let mut file = create.map_err(|e| StoreError::file("create", path, e))?;
    let mut hasher = Hasher::sha256();
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(decode_error(error)),
        };
        file.write_all(&buffer[..length]).map_err(|e| StoreError::file("write", path, e))?;
        hasher.update(&buffer[..length]);
        total += length as u64;
        tell(total);
    }
    Ok((file, hasher.finish()))
}

/// A stream that cannot be decompressed is the archive's fault, not ours.
pub(crate) fn decode_error(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => StoreError::Archive("unexpected EOF".to_owned()),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
            StoreError::Archive(error.to_string())
        }
        _ => StoreError::Read(error),
    }
}

/// Makes a layer of an archive.
pub(crate) fn build(archive: Archive, kind: LayerStoreKind) -> Result<BuiltLayer, StoreError> {
    let Archive { dir, file, diff_id } = archive;
    let path = dir.path().join(ARCHIVE);
    let fail = |e| StoreError::file("read", &path, e);
    let archive_size = file.metadata().map_err(fail)?.len();
    let mut reader = TarReader::new(FileSource::new(&file).map_err(fail)?);
    let tree = LayerTree::read(&mut reader)?;
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
