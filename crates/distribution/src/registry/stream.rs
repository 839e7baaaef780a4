//! The bytes of a blob as they come, over as many connections and from as many endpoints as it
//! takes.
//!
//! ```text
//!          open                     bytes
//! closed ───────> open at offset ──────────> the end: `size` bytes were given
//!   ^                  │
//!   └──────────────────┘ cut, stalled, refused: wait, or go to the next endpoint
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use ferry_oci::manifest::Descriptor;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use http::{Method, StatusCode, Uri};

use super::Repository;
use super::ask::Failure;
use super::refusal::Asked;
use crate::endpoint::{EndpointId, RoleKind};
use crate::error::DistributionError;
use crate::events::RetryHook;
use crate::limits;
use crate::protocol::ranges::parse_content_range;
use crate::retry::{Next, next, pause, random};
use crate::transport::Response;

const WHAT: &str = "the blob";
/// So many new bytes make up for the failures before them. A registry that gives less each time
/// is given up, so that nothing goes on for ever.
const PROGRESS: u64 = 1 << 20;

/// The bytes of a blob, in their order.
///
/// Dropping it closes its connection; a call of [`BlobStream::next`] that is dropped loses nothing.
pub struct BlobStream {
    repository: Repository,
    blob: Descriptor,
    on_retry: RetryHook,
    /// The first unread byte.
    at: u64,
    /// Whom to ask, the best first; the first is the one being asked.
    sources: VecDeque<Source>,
    open: Option<Open>,
    /// Attempts at the first source since it last made progress.
    attempts: u32,
    /// Where the offset was when the attempts were last counted anew.
    progress_from: u64,
    /// Who answered last, when it is an endpoint of the repository.
    endpoint: Option<EndpointId>,
    /// Who gave bytes, in their order.
    gave: Vec<EndpointId>,
    /// What went wrong at the sources before the first.
    failure: Failure,
}

/// Who may have the blob.
#[derive(Clone, Debug)]
enum Source {
    /// One of the repository's places.
    Place(usize),
    /// Where its publisher has it. [OCI image, descriptor, `urls`]
    Url(Uri),
}

/// An answer that is being read.
struct Open {
    response: Response,
    /// Bytes of it that come before the offset.
    skip: u64,
    /// Whether it says how long it is, and so ends by itself.
    has_length: bool,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream")
            .field("digest", &self.blob.digest)
            .field("at", &self.at)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

impl BlobStream {
    pub(super) fn new(
        repository: Repository,
        blob: &Descriptor,
        from: u64,
        on_retry: RetryHook,
    ) -> Self {
        let is_push = repository.0.role == RoleKind::Push;
        let order = repository.order(|endpoint| is_push || endpoint.role.pull);
        let mut sources: VecDeque<Source> = order.into_iter().map(Source::Place).collect();
        if blob.is_foreign() {
            let urls = blob.urls.iter().filter_map(|url| url.parse::<Uri>().ok());
            let urls = urls.filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
            sources.extend(urls.map(Source::Url));
        }
        Self {
            repository,
            blob: blob.clone(),
            on_retry,
            at: from,
            sources,
            open: None,
            attempts: 0,
            progress_from: from,
            endpoint: None,
            gave: Vec::new(),
            failure: Failure::default(),
        }
    }

    /// The next bytes, consecutive from the first that was asked for; nothing after the last. Cut
    /// connections, stalls, short bodies and refusals that pass are taken up again at the offset.
    /// There are never more bytes than the blob's size.
    ///
    /// # Errors
    /// When no endpoint gives the rest, or the blob has another size
    /// ([`DistributionError::Size`]).
    pub async fn next(&mut self) -> Result<Option<Bytes>, DistributionError> {
        if self.at > self.blob.size {
            let (expected, actual) = (self.blob.size, self.at);
            return Err(DistributionError::Size { what: WHAT.into(), expected, actual });
        }
        while self.at < self.blob.size {
            let step = match self.open.as_mut() {
                Some(open) => open.read().await,
                None => self.connect().await.map(|()| Some(Bytes::new())),
            };
            match step.and_then(|step| self.take(step)) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) => {
                    self.open = None;
                    self.recover(error).await?;
                }
            }
        }
        self.finish().await?;
        Ok(None)
    }

    /// Who gave bytes, in their order: one of them is to be distrusted when they were wrong.
    pub fn endpoints(&self) -> &[EndpointId] {
        &self.gave
    }

    /// Counts what has come.
    fn take(&mut self, step: Option<Bytes>) -> Result<Bytes, DistributionError> {
        let Some(bytes) = step else {
            return Err(DistributionError::Cut {
                request: self.line(),
                source: io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF").into(),
            });
        };
        let left = self.blob.size - self.at;
        if bytes.len() as u64 > left {
            return Err(self.size_error(self.at + bytes.len() as u64));
        }
        self.at += bytes.len() as u64;
        if let Some(giver) = self.endpoint.as_ref().filter(|_| !bytes.is_empty())
            && !self.gave.contains(giver)
        {
            self.gave.push(giver.clone());
        }
        if self.at - self.progress_from >= PROGRESS {
            // The answer that is being read is the first attempt of those to come.
            (self.progress_from, self.attempts) = (self.at, 1);
        }
        Ok(bytes)
    }

    /// After the last byte: an answer that does not say its length may have more, and is read to
    /// its end so that its connection can be used again.
    async fn finish(&mut self) -> Result<(), DistributionError> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let more =
            if open.has_length { Ok(None) } else { open.response.chunk(limits::STALL).await };
        self.open = None;
        match more {
            Ok(Some(bytes)) if !bytes.is_empty() => {
                Err(self.size_error(self.at + bytes.len() as u64))
            }
            // All bytes are here; how the connection ends does not matter.
            _ => Ok(()),
        }
    }

    /// Asks the first source for what is left.
    async fn connect(&mut self) -> Result<(), DistributionError> {
        self.attempts += 1;
        let digest = &self.blob.digest;
        let repository = &self.repository;
        let mut request = repository.blob_question(Method::GET, digest).request;
        if self.at > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.at));
            request.headers.extend(range.ok().map(|range| (RANGE, range)));
        }
        let (index, url) = match self.sources.front() {
            Some(Source::Place(index)) => (*index, None),
            Some(Source::Url(url)) => (0, Some(url)),
            None => return Err(self.nobody()),
        };
        let response = repository.send(index, url, &request, &repository.scopes()).await?;
        self.endpoint = url.is_none().then(|| repository.0.places[index].endpoint.id.clone());
        if !response.status.is_success() {
            if response.status == StatusCode::RANGE_NOT_SATISFIABLE {
                let total = response.headers.get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
                let total = total.and_then(|text| text.rsplit_once('/')?.1.parse().ok());
                return Err(self.size_error(total.unwrap_or(self.at)));
            }
            let asked = Asked::Blob(digest.clone());
            return Err(repository.refusal(index, &asked, response).await);
        }
        let begins = self.beginning(response.status, &response.headers)?;
        let has_length = response.headers.contains_key(CONTENT_LENGTH);
        self.open = Some(Open { response, skip: self.at - begins, has_length });
        Ok(())
    }

    /// The byte of the blob that an answer begins with. One that has another size is not read.
    fn beginning(&self, status: StatusCode, headers: &HeaderMap) -> Result<u64, DistributionError> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if status == StatusCode::PARTIAL_CONTENT {
            let range = text(&CONTENT_RANGE).and_then(parse_content_range);
            let Some((first, _, total)) = range.filter(|(first, ..)| *first <= self.at) else {
                return Err(DistributionError::Malformed {
                    what: "the answer with a part of the blob".into(),
                    why: format!("it does not begin at byte {}", self.at),
                });
            };
            return match total.filter(|&total| total != self.blob.size) {
                Some(total) => Err(self.size_error(total)),
                None => Ok(first),
            };
        }
        let length = text(&CONTENT_LENGTH).and_then(|text| text.parse().ok());
        match length.filter(|&length: &u64| length != self.blob.size) {
            Some(length) => Err(self.size_error(length)),
            None => Ok(0),
        }
    }

    /// After a failure: waits for another attempt, or turns to the next source.
    async fn recover(&mut self, error: DistributionError) -> Result<(), DistributionError> {
        let has_others = self.sources.len() > 1;
        let after = match self.sources.front() {
            Some(Source::Place(index)) => {
                let place = &self.repository.0.places[*index];
                let policy = self.repository.policy(place, has_others);
                let after = next(&error, self.attempts, &policy, random());
                if !matches!(after, Next::Retry(_)) {
                    place.learn(&error);
                }
                after
            }
            Some(Source::Url(_)) => {
                let place = &self.repository.0.places[0];
                let policy = self.repository.policy(place, has_others);
                next(&error, self.attempts, &policy, random())
            }
            None => Next::Fail,
        };
        let is_mirror = match self.sources.front() {
            Some(Source::Place(index)) => self.repository.0.places[*index].endpoint.is_mirror,
            _ => false,
        };
        // What its publisher does not want distributed need not be in the registry.
        let is_missing = matches!(error, DistributionError::BlobUnknown { .. });
        let publisher = self.sources.iter().position(|source| matches!(source, Source::Url(_)));
        match (after, publisher.filter(|&at| at > 0 && is_missing && !is_mirror)) {
            (Next::Retry(wait), _) => {
                tracing::debug!(digest = %self.blob.digest, at = self.at, %error, ?wait, "resuming");
                let on_retry = Arc::clone(&self.on_retry);
                pause(wait, |left| on_retry(left)).await;
                Ok(())
            }
            (Next::Fail, None) => {
                self.failure.add(error, is_mirror);
                Err(self.failure.told().unwrap_or_else(|| self.nobody()))
            }
            (Next::Fail | Next::OtherEndpoint, publisher) => {
                tracing::debug!(digest = %self.blob.digest, at = self.at, %error, "another is asked");
                self.failure.add(error, is_mirror);
                self.sources.drain(..publisher.unwrap_or(1));
                self.attempts = 0;
                Ok(())
            }
        }
    }

    fn nobody(&self) -> DistributionError {
        let domain = self.repository.0.name.domain();
        DistributionError::Malformed {
            what: format!("the configuration of the registry {domain}"),
            why: "no host is left to pull from".into(),
        }
    }

    fn size_error(&self, actual: u64) -> DistributionError {
        DistributionError::Size { what: WHAT.into(), expected: self.blob.size, actual }
    }

    /// The request whose answer is being read.
    fn line(&self) -> String {
        self.open.as_ref().map_or_else(String::new, |open| open.response.request.clone())
    }
}

impl Open {
    /// The next bytes at the offset or after it; nothing at the end.
    async fn read(&mut self) -> Result<Option<Bytes>, DistributionError> {
        let Some(mut bytes) = self.response.chunk(limits::STALL).await? else { return Ok(None) };
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        bytes = bytes.split_off(skip);
        self.skip -= skip as u64;
        Ok(Some(bytes))
    }
}
