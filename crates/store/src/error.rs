//! What can go wrong in the store, in words that Docker's users know where they see them.

use std::io;
use std::path::PathBuf;

use ferry_oci::digest::Digest;
use ferry_oci::platform::Platform;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rustix::io::Errno;

/// Any failure of the store.
///
/// Callers branch on [`StoreError::kind`]; people read the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No image has this name or id.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// An id prefix that several images share.
    #[error("multiple IDs found with provided prefix: {0}")]
    AmbiguousId(String),
    /// A layer that is not here.
    #[error("No such layer: {0}")]
    NoSuchLayer(Digest),
    /// No container filesystem has this id.
    #[error("no filesystem of container {0}")]
    NoSuchContainer(String),
    /// A container filesystem of this id is already there.
    #[error("filesystem of container {0} already exists")]
    ContainerExists(String),
    /// A name that does not follow the grammar.
    #[error(transparent)]
    Reference(#[from] ferry_oci::reference::ParseReferenceError),
    /// An image is still needed; the message is Docker's whole sentence.
    #[error("conflict: {0}")]
    Conflict(String),
    /// An archive that we refuse: malformed, hostile or beyond a limit.
    #[error("{0}")]
    Archive(String),
    /// An option that we refuse.
    #[error("{0}")]
    Invalid(String),
    /// The bytes are not those that their digest promised.
    #[error("{what} has digest {actual}, not {expected}")]
    DigestMismatch {
        /// What was read.
        what: String,
        /// What it should be.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The other half of the work gave up; it says why.
    #[error("interrupted")]
    Interrupted,
    /// The caller's stream ended in an error; nothing was changed.
    #[error("reading the archive: {0}")]
    Read(#[source] io::Error),
    /// The caller does not take what it asked for; nothing was changed.
    #[error("writing the archive: {0}")]
    Write(#[source] io::Error),
    /// Something that was asked for is not here; the message is Docker's whole sentence.
    #[error("{0}")]
    NotFound(String),
    /// Of what was asked for nothing is for this platform.
    #[error("no suitable export target found for platform {0}")]
    NoExportTarget(Platform),
    /// The disk is full; nothing was changed.
    #[error("no space left on device: {doing} {}", path.display())]
    Full {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
    },
    /// A call on a file failed.
    #[error("{doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a mount.
    #[error(transparent)]
    Mount(#[from] ferry_sys::fscontext::FsContextError),
    /// The kernel does not mount EROFS from files.
    #[error(
        "the storage driver erofs needs a kernel that mounts EROFS from files, as Linux 6.12 and newer do; \
         overlay2 works on all of them: {0}"
    )]
    NoErofs(ferry_sys::fscontext::FsContextError),
    /// The database failed.
    #[error("{doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// The data root was written by a newer version.
    #[error("data root {} has layout version {found}; this program knows up to {known}", path.display())]
    NewerLayout {
        /// The data root.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// What is on disk contradicts itself.
    #[error("data root is damaged: {0}")]
    Damaged(String),
}

/// What a caller may do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The thing asked for is not there.
    NotFound,
    /// The request makes no sense.
    Invalid,
    /// It is still in use, or already there.
    Conflict,
    /// The disk is full.
    Full,
    /// It was given up before its end.
    Cancelled,
    /// Something else; the user cannot help it.
    Internal,
}

/// Whether a failure says nothing of the file that a call was made on: memory, descriptors or space
/// ran out.
pub(crate) fn is_of_the_machine(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    let ran_out = [Errno::NOMEM, Errno::NOBUFS, Errno::MFILE, Errno::NFILE, Errno::NOSPC];
    errno.is_some_and(|errno| errno == Errno::DQUOT || ran_out.contains(&errno))
        || matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull)
}

/// What there is of a thing; `None` when it is gone or damaged, which concerns only what cannot do
/// without it.
pub(crate) fn if_whole<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.is_damage() => {
            tracing::warn!(%error, "what is damaged is passed over");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl StoreError {
    /// Whether it says that one thing is not here as it should be, and nothing of others.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            // What the machine lacks is nothing of the thing's.
            Self::File { source, .. } => !is_of_the_machine(source),
            Self::Damaged(_) | Self::NoSuchLayer(_) => true,
            _ => false,
        }
    }

    /// What a caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchImage(_)
            | Self::NoSuchLayer(_)
            | Self::NoSuchContainer(_)
            | Self::NotFound(_) => ErrorKind::NotFound,
            Self::AmbiguousId(_)
            | Self::Reference(_)
            | Self::Archive(_)
            | Self::Invalid(_)
            | Self::Read(_)
            | Self::DigestMismatch { .. } => ErrorKind::Invalid,
            Self::Conflict(_) | Self::ContainerExists(_) => ErrorKind::Conflict,
            Self::Full { .. } => ErrorKind::Full,
            Self::Interrupted | Self::Write(_) => ErrorKind::Cancelled,
            Self::File { .. }
            | Self::Mount(_)
            | Self::NoErofs(_)
            | Self::Database { .. }
            | Self::NewerLayout { .. }
            // Compat: dockerd takes the blame.
            | Self::NoExportTarget(_)
            | Self::Damaged(_) => ErrorKind::Internal,
        }
    }

    /// A failed call on a file; a full disk is told apart.
    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        let (path, source) = (path.into(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { doing, path },
            _ => Self::File { doing, path, source },
        }
    }

    /// A failed call of the database; a full disk is told apart.
    pub(crate) fn database(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error().map(|error| (error.code, error.extended_code)) {
            // The index of the log is a file that grows too.
            Some((rusqlite::ErrorCode::DiskFull, _) | (_, SQLITE_IOERR_SHMSIZE)) => {
                Self::Full { doing, path: "ferry.db".into() }
            }
            _ => Self::Database { doing, source },
        }
    }
}
