//! Places that images can be read from and written to: registries, layouts, archives.
//!
//! A place is one repository: it has manifests, by tag and by digest, and blobs. What is written
//! counts when [`ContentWrite::finish`] has returned.

mod archive;
mod directory;
mod files;
mod layout;
mod remote;
mod spool;

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::error::DistributionError;
use crate::registry::{BlobSource, RawManifest, Selector};

pub use self::archive::DockerArchive;
pub use self::directory::DirectoryContent;
pub use self::files::LocalFile;
pub use self::layout::{LayoutContent, LayoutWriter};
pub use self::remote::RegistryContent;

/// The answer of a place, when it is there.
pub type Answered<'a, T> = BoxFuture<'a, Result<T, DistributionError>>;

/// The bytes of a blob.
pub enum BlobBody {
    /// They are on this machine, and can be read any number of times.
    Here(Arc<dyn BlobSource>),
    /// They come once, and are not verified.
    Stream(BoxStream<'static, Result<Bytes, DistributionError>>),
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here(_) => "Here",
            Self::Stream(_) => "Stream",
        })
    }
}

/// Where images come from.
pub trait ContentRead: Send + Sync {
    /// A manifest or an index, as it is; its digest is verified. Without a selector it is the one
    /// that the place was opened for.
    fn manifest<'a>(&'a self, which: Option<&'a Selector>) -> Answered<'a, RawManifest>;

    /// The bytes of a blob.
    fn blob<'a>(&'a self, blob: &'a Descriptor) -> Answered<'a, BlobBody>;

    /// What refers to a manifest.
    fn referrers<'a>(&'a self, subject: &'a Digest) -> Answered<'a, Vec<Descriptor>>;
}

/// Where images go.
pub trait ContentWrite: Send + Sync {
    /// Whether the blob is there already.
    fn has_blob<'a>(&'a self, blob: &'a Descriptor) -> Answered<'a, bool>;

    /// Takes a blob; bytes that do not have its digest and size are refused.
    fn put_blob<'a>(&'a self, blob: &'a Descriptor, body: BlobBody) -> Answered<'a, ()>;

    /// Takes a manifest whose blobs and members are there; `is_top` is the one that was asked for,
    /// which gets the name that the place was opened with.
    fn put_manifest<'a>(&'a self, manifest: &'a RawManifest, is_top: bool) -> Answered<'a, ()>;

    /// Makes all that was written count.
    fn finish(&self) -> Answered<'_, ()>;
}

/// Writes the bytes of a blob somewhere, and verifies them. When it fails, what was written is not
/// the blob, and must be given up.
///
/// # Errors
/// When the bytes cannot be had or written, or do not have the blob's digest and size.
pub async fn save_blob(
    blob: &Descriptor,
    body: BlobBody,
    out: &mut (dyn Write + Send),
) -> Result<(), DistributionError> {
    layout::fill(out, blob, body, std::path::Path::new(&blob.digest.to_string())).await
}
