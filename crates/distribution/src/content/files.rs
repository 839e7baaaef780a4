//! Files of a directory or of an archive, and pieces of them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ferry_oci::digest::{Digest, Hasher};
use ferry_oci::manifest::Descriptor;

use super::BlobBody;
use crate::error::DistributionError;
use crate::registry::BlobSource;

/// Bytes that are read at once.
pub(super) const CHUNK: usize = 256 << 10;

/// A piece of a file: all of it, or a member of an archive.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Piece {
    /// All of a file.
    pub(super) fn whole(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), offset: 0, size })
    }

    /// Reads it from one of its bytes on.
    pub(super) fn reader(&self, from: u64) -> PieceReader {
        let from = from.min(self.size);
        PieceReader { file: self.file.clone(), at: self.offset + from, left: self.size - from }
    }

    /// All its bytes, when they are not too many.
    pub(super) fn bytes(&self, what: &str, limit: u64) -> Result<Bytes, DistributionError> {
        if self.size > limit {
            return Err(DistributionError::TooLarge { what: what.to_owned(), limit });
        }
        let mut bytes = Vec::new();
        let read = self.reader(0).read_to_end(&mut bytes);
        read.map_err(|source| DistributionError::Source { source })?;
        Ok(bytes.into())
    }

    /// The digest of its bytes.
    pub(super) fn digest(&self) -> io::Result<Digest> {
        let mut hasher = Hasher::sha256();
        let mut reader = self.reader(0);
        let mut buffer = vec![0; CHUNK];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    }

    pub(super) fn into_body(self) -> BlobBody {
        BlobBody::Here(Arc::new(self))
    }
}

impl BlobSource for Piece {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.reader(from)))
    }

    fn size(&self) -> Option<u64> {
        Some(self.size)
    }
}

/// Reads a piece at its own offset, whatever others read of the file.
#[derive(Debug)]
pub(super) struct PieceReader {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// A file of this machine that is to be sent, and its digest.
#[derive(Clone, Debug)]
pub struct LocalFile {
    piece: Piece,
    digest: Digest,
}

impl LocalFile {
    /// Opens a file and reads it once.
    ///
    /// # Errors
    /// When it cannot be read, or is a directory or the like.
    pub fn open(path: &Path) -> Result<Self, DistributionError> {
        let failed = |source| local("reading", path, source);
        // What is not a file may keep one waiting for ever.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
        }
        let piece = File::open(path).and_then(Piece::whole).map_err(failed)?;
        let digest = piece.digest().map_err(failed)?;
        Ok(Self { piece, digest })
    }

    /// Points to its bytes as something of this type.
    pub fn descriptor(&self, media_type: &str) -> Descriptor {
        Descriptor::new(media_type, self.digest.clone(), self.piece.size)
    }

    /// Its bytes.
    pub fn body(&self) -> BlobBody {
        self.piece.clone().into_body()
    }
}

/// Files by name, in a directory or in an archive.
#[derive(Clone, Debug)]
pub(super) enum Files {
    Directory(PathBuf),
    Archive { file: Arc<File>, members: Arc<HashMap<String, (u64, u64)>> },
}

impl Files {
    /// Finds a file. Names come from digests and from documents that anybody wrote: in a directory
    /// none may lead out of it.
    pub(super) fn find(&self, name: &str) -> Result<Option<Piece>, DistributionError> {
        match self {
            Self::Directory(root) => {
                let is_inside = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
                if !is_inside {
                    let (what, why) = (format!("the path {name:?}"), "it leads elsewhere".into());
                    return Err(DistributionError::Malformed { what, why });
                }
                let path = root.join(name);
                match File::open(&path).and_then(Piece::whole) {
                    Ok(piece) => Ok(Some(piece)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(local("opening", &path, source)),
                }
            }
            Self::Archive { file, members } => Ok(members.get(name).map(|&(offset, size)| Piece {
                file: file.clone(),
                offset,
                size,
            })),
        }
    }

    /// A file that must be there.
    pub(super) fn get(&self, name: &str) -> Result<Piece, DistributionError> {
        self.find(name)?.ok_or_else(|| DistributionError::Malformed {
            what: self.to_string(),
            why: format!("there is no {name}"),
        })
    }
}

impl std::fmt::Display for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(root) => write!(f, "the directory {}", root.display()),
            Self::Archive { .. } => f.write_str("the archive"),
        }
    }
}

/// A failure with a file of this machine.
pub(super) fn local(doing: &'static str, path: &Path, source: io::Error) -> DistributionError {
    DistributionError::Local { doing, path: path.to_owned(), source }
}
