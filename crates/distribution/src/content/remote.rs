//! A repository in a registry, as a place.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ferry_oci::digest::{Digest, Hasher};
use ferry_oci::manifest::Descriptor;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use super::spool::{Spool, SpoolSource};
use super::{Answered, BlobBody, ContentRead, ContentWrite};
use crate::error::DistributionError;
use crate::registry::{BlobSource, MountCandidate, RawManifest, Repository, Selector};

/// A repository of a registry, and a name in it.
#[derive(Debug)]
pub struct RegistryContent {
    repository: Repository,
    which: Selector,
    /// Repositories of the same registry that may have what is written.
    neighbours: Vec<MountCandidate>,
    /// Where a blob is kept while it is sent, that may have to be sent again.
    spool: PathBuf,
}

impl RegistryContent {
    /// The repository, for the tag or the digest that is meant. Blobs that come from elsewhere are
    /// kept in the directory `spool` until they have been sent; nothing stays there.
    pub fn new(
        repository: Repository,
        which: Selector,
        neighbours: Vec<MountCandidate>,
        spool: PathBuf,
    ) -> Self {
        Self { repository, which, neighbours, spool }
    }

    /// Takes a blob out of a neighbour, so that it need not be fetched; whether that was possible.
    async fn mount(&self, blob: &Descriptor) -> Result<bool, DistributionError> {
        if self.neighbours.is_empty() {
            return Ok(false);
        }
        let nothing: Arc<dyn BlobSource> = Arc::new(Nothing);
        let from = &self.neighbours;
        match self.repository.push_blob(blob, &nothing, from, &mut |_step| {}).await {
            Ok(_) => Ok(true),
            // It wanted the bytes.
            Err(DistributionError::Source { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends what comes while it comes. What is sent already is kept beside, for when it has to be
    /// sent again.
    async fn pass_on(
        &self,
        blob: &Descriptor,
        stream: BoxStream<'static, Result<Bytes, DistributionError>>,
    ) -> Result<(), DistributionError> {
        let spool = Spool::create(&self.spool, blob)?;
        let source: Arc<dyn BlobSource> = Arc::new(SpoolSource(spool.clone()));
        let fill = spool.fill(blob, stream);
        let mut ignore = |_step| {};
        let send = self.repository.push_blob(blob, &source, &[], &mut ignore);
        let (mut fill, mut send) = (std::pin::pin!(fill), std::pin::pin!(send));
        let mut is_full = false;
        loop {
            tokio::select! {
                // Of two failures the one that is the cause is told.
                biased;
                filled = &mut fill, if !is_full => {
                    filled?;
                    is_full = true;
                }
                sent = &mut send => return sent.map(drop),
            }
        }
    }
}

/// A blob whose bytes are not here yet.
struct Nothing;

impl BlobSource for Nothing {
    fn open(&self, _from: u64) -> io::Result<Box<dyn Read + Send>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn size(&self) -> Option<u64> {
        None
    }
}

impl ContentRead for RegistryContent {
    fn manifest<'a>(&'a self, which: Option<&'a Selector>) -> Answered<'a, RawManifest> {
        let which = which.unwrap_or(&self.which);
        Box::pin(async move { Ok(self.repository.manifest(which).await?.raw) })
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor) -> Answered<'a, BlobBody> {
        let on_retry = Arc::new(|_wait| {});
        let stream = self.repository.blob(blob, 0, on_retry);
        let stream = stream::unfold(Some(stream), |stream| async move {
            let mut stream = stream?;
            match stream.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(stream))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Box::pin(async move { Ok(BlobBody::Stream(stream.boxed())) })
    }

    fn referrers<'a>(&'a self, subject: &'a Digest) -> Answered<'a, Vec<Descriptor>> {
        Box::pin(self.repository.referrers(subject, None))
    }
}

impl ContentWrite for RegistryContent {
    fn has_blob<'a>(&'a self, blob: &'a Descriptor) -> Answered<'a, bool> {
        Box::pin(self.repository.has_blob(&blob.digest))
    }

    fn put_blob<'a>(&'a self, blob: &'a Descriptor, body: BlobBody) -> Answered<'a, ()> {
        Box::pin(async move {
            if matches!(body, BlobBody::Stream(_)) && self.mount(blob).await? {
                return Ok(());
            }
            match body {
                BlobBody::Stream(stream) => self.pass_on(blob, stream).await,
                BlobBody::Here(source) => {
                    self.repository.push_blob(blob, &source, &[], &mut |_step| {}).await.map(drop)
                }
            }
        })
    }

    fn put_manifest<'a>(&'a self, manifest: &'a RawManifest, is_top: bool) -> Answered<'a, ()> {
        let tag = match &self.which {
            Selector::Tag(tag) if is_top => Some(tag.as_str()),
            Selector::Tag(_) | Selector::Digest(_) => None,
        };
        Box::pin(async move { self.repository.push_manifest(tag, manifest).await.map(drop) })
    }

    fn finish(&self) -> Answered<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Compares bytes that pass with what was promised of them.
#[derive(Debug)]
pub(super) struct Check<'a> {
    blob: &'a Descriptor,
    hasher: Hasher,
    count: u64,
}

impl<'a> Check<'a> {
    pub(super) fn new(blob: &'a Descriptor) -> Self {
        Self { blob, hasher: Hasher::new(blob.digest.algorithm()), count: 0 }
    }

    /// # Errors
    /// When there are more than promised.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), DistributionError> {
        self.hasher.update(bytes);
        self.count += bytes.len() as u64;
        if self.count > self.blob.size { Err(self.wrong_size()) } else { Ok(()) }
    }

    /// # Errors
    /// When there are fewer, or others.
    pub(super) fn finish(self) -> Result<(), DistributionError> {
        if self.count != self.blob.size {
            return Err(self.wrong_size());
        }
        let actual = self.hasher.finish();
        if actual != self.blob.digest {
            let expected = self.blob.digest.clone();
            return Err(DistributionError::Digest { what: "blob", expected, actual });
        }
        Ok(())
    }

    fn wrong_size(&self) -> DistributionError {
        let what = format!("the blob {}", self.blob.digest);
        DistributionError::Size { what, expected: self.blob.size, actual: self.count }
    }
}
