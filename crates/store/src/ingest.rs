//! What taking layers in has in common: streams into files, whole layers, and whose fault it is.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use ferry_oci::digest::{Digest, Hasher};
use ferry_sys::durable;

use crate::database::LayerRow;
use crate::error::StoreError;
use crate::layout::TempDir;
use crate::space;
use crate::tar::TarError;

/// A layer that is whole, in a directory in `tmp/`.
#[derive(Debug)]
pub(crate) struct BuiltLayer {
    pub row: LayerRow,
    pub dir: TempDir,
}

impl From<TarError> for StoreError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Malformed(message) => Self::Archive(message),
            TarError::Read(error) => decode_error(error),
        }
    }
}

/// Sends what is written to a file to the disk from time to time, so that the fsync at its end has
/// little left to wait for.
#[derive(Debug, Default)]
pub(crate) struct WriteBehind {
    begun: u64,
}

impl WriteBehind {
    /// Bytes that are sent at once; the disk likes them large.
    const STEP: u64 = 8 << 20;

    /// Tells how long the file is by now.
    pub(crate) fn written(&mut self, file: &File, length: u64) {
        if length >= self.begun + Self::STEP {
            // Only a matter of time: the fsync tells whether all is well.
            drop(durable::begin_writing(file, self.begun, length - self.begun));
            self.begun = length;
        }
    }
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
    let mut behind = WriteBehind::default();
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(decode_error(error)),
        };
        file.write_all(&buffer[..length]).map_err(|e| StoreError::file("write", path, e))?;
        hasher.update(&buffer[..length]);
        space::check_growth(&file, path, total, total + length as u64)?;
        total += length as u64;
        behind.written(&file, total);
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
