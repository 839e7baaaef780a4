//! Blobs that fit into memory, and whether a blob is there. The large ones are in
//! [`super::stream`].

use bytes::Bytes;
use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;
use http::Method;

use super::ask::{Question, Reply};
use super::manifests::nothing;
use super::refusal::Asked;
use super::{BlobStream, Repository};
use crate::error::DistributionError;
use crate::events::RetryHook;
use crate::protocol::paths;

const WHAT: &str = "the blob";

impl Repository {
    /// Fetches a whole blob, such as a configuration, and verifies its size and digest.
    ///
    /// # Errors
    /// When it is larger than `limit` bytes, not there, or no endpoint gives it as it should be.
    pub async fn small_blob(
        &self,
        blob: &Descriptor,
        limit: u64,
    ) -> Result<Bytes, DistributionError> {
        if blob.size > limit {
            return Err(DistributionError::TooLarge { what: WHAT.into(), limit });
        }
        let check = |reply: &Reply| verify(blob, &reply.body);
        let question = Question {
            limit,
            check: Some(&check),
            ..self.blob_question(Method::GET, &blob.digest)
        };
        self.ask(&question).await.map(|reply| reply.body)
    }

    /// The bytes of a blob `from` this one on, whose digest the caller verifies: it may have the
    /// bytes before. `on_retry` is told of each wait.
    pub fn blob(&self, blob: &Descriptor, from: u64, on_retry: RetryHook) -> BlobStream {
        BlobStream::new(self.clone(), blob, from, on_retry)
    }

    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// When no endpoint can say.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, DistributionError> {
        match self.ask(&self.blob_question(Method::HEAD, digest)).await {
            Ok(_) => Ok(true),
            Err(error) => nothing::<()>(error).map(|nothing| nothing.is_some()),
        }
    }

    pub(super) fn blob_question(&self, method: Method, digest: &Digest) -> Question<'static> {
        let path = paths::blob(self.0.name.path(), digest);
        Question::new(self, method, path, Asked::Blob(digest.clone()), WHAT)
    }
}

fn verify(blob: &Descriptor, bytes: &Bytes) -> Result<(), DistributionError> {
    let actual = bytes.len() as u64;
    if actual != blob.size {
        return Err(DistributionError::Size { what: WHAT.into(), expected: blob.size, actual });
    }
    let mut hasher = blob.digest.verifier();
    hasher.update(bytes);
    let actual = hasher.finish();
    if actual != blob.digest {
        let expected = blob.digest.clone();
        return Err(DistributionError::Digest { what: "image config", expected, actual });
    }
    Ok(())
}
