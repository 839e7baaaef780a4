//! One upload: begun, sent, taken up again after failures, ended or given up.

use std::sync::Arc;
use std::time::Duration;

use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE};
use http::{Method, Uri};

use super::body::body;
use super::location;
use crate::error::DistributionError;
use crate::events::PushStep;
use crate::limits;
use crate::protocol::errors::ErrorCode;
use crate::protocol::ranges::parse_upload_range;
use crate::registry::ask::{Question, Reply};
use crate::registry::refusal::Asked;
use crate::registry::{BlobSource, Repository};
use crate::retry::{Next, next, pause, random};

const WHAT: &str = "the answer to the upload";
/// The least that the registry takes at a time. [OCI distribution, pushing a blob in chunks]
const LEAST: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// Bytes of a piece when the registry, or what stands before it, takes no larger bodies.
const PIECE: u64 = 8 << 20;
/// Bytes of a piece at least when the registry takes less than it is sent.
const SHORT_PIECE: u64 = 64 << 10;
/// So many new bytes make up for the failures before them.
const PROGRESS: u64 = 1 << 20;
/// How often an upload begins anew, or in another way, because the registry wants it so.
const MAX_CHANGES: u32 = 3;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// An upload of one blob to one endpoint. Dropped before its end, it is given up at the registry.
#[derive(Debug)]
pub(super) struct Session {
    repository: Repository,
    place: usize,
    blob: Descriptor,
    source: BlobBytes,
    /// Where it goes on, once it has begun.
    location: Option<Uri>,
    /// Bytes that the registry has.
    offset: u64,
    /// Whether the offset is only believed.
    is_unsure: bool,
    /// The most bytes that are sent at once.
    piece: u64,
    /// Bytes of a piece at most, since a larger one was refused.
    most: u64,
    /// The least bytes that the registry takes at once, but for the last.
    least: u64,
    changes: u32,
}

struct BlobBytes(Arc<dyn BlobSource>);

impl std::fmt::Debug for BlobBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobBytes")
    }
}

#[derive(PartialEq, Eq)]
enum Step {
    More,
    /// The registry took some of what it was sent, and has forgotten the rest.
    Short,
    Done,
}

impl Session {
    pub(super) fn new(
        repository: Repository,
        place: usize,
        blob: &Descriptor,
        source: &Arc<dyn BlobSource>,
    ) -> Self {
        Self {
            repository,
            place,
            blob: blob.clone(),
            source: BlobBytes(Arc::clone(source)),
            location: None,
            offset: 0,
            is_unsure: false,
            piece: u64::MAX,
            most: u64::MAX,
            least: 0,
            changes: 0,
        }
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    pub(super) fn digest(&self) -> &Digest {
        &self.blob.digest
    }

    /// The registry has begun an upload.
    pub(super) fn begun(&mut self, reply: &Reply) -> Result<(), DistributionError> {
        self.location = Some(location(reply)?);
        (self.offset, self.is_unsure) = (0, false);
        let least = reply.header(LEAST).and_then(|text| text.trim().parse().ok());
        self.least = least.unwrap_or(0);
        self.piece = self.piece.max(self.least);
        Ok(())
    }

    /// Sends the blob, with what repetition it takes.
    pub(super) async fn run(
        mut self,
        on: &mut (dyn FnMut(PushStep) + Send),
    ) -> Result<(), DistributionError> {
        let policy = self.repository.policy(&self.repository.0.places[self.place], false);
        let (mut attempts, mut progress_from) = (1, 0);
        loop {
            let error = match self.step(on).await {
                Ok(Step::Done) => {
                    self.location = None;
                    return Ok(());
                }
                Ok(step) => {
                    if self.offset >= progress_from + PROGRESS {
                        (attempts, progress_from) = (1, self.offset);
                    } else if step == Step::Short {
                        attempts += 1;
                    }
                    if attempts > policy.attempts {
                        return Err(DistributionError::Malformed {
                            what: WHAT.into(),
                            why: format!("it has only {} bytes of what was sent", self.offset),
                        });
                    }
                    continue;
                }
                Err(error) => error,
            };
            if self.change(&error) {
                tracing::debug!(digest = %self.blob.digest, %error, "uploading in another way");
                continue;
            }
            let Next::Retry(wait) = next(&error, attempts, &policy, random()) else {
                return Err(error);
            };
            tracing::debug!(digest = %self.blob.digest, %error, ?wait, "taking up an upload");
            pause(wait, |left| on(PushStep::Retrying(left))).await;
            attempts += 1;
            self.is_unsure = true;
        }
    }

    async fn step(
        &mut self,
        on: &mut (dyn FnMut(PushStep) + Send),
    ) -> Result<Step, DistributionError> {
        if self.is_unsure {
            return self.find_out().await;
        }
        let Some(location) = self.location.clone() else {
            let reply = self.repository.begin(self.place, None).await?;
            self.begun(&reply)?;
            return Ok(Step::More);
        };
        let left = self.blob.size - self.offset;
        let is_whole = self.offset == 0 && left <= self.piece;
        if left == 0 || is_whole && left < limits::MONOLITHIC_UPLOAD && self.least == 0 {
            let url = self.final_url(&location)?;
            self.send(Method::PUT, &url, left, on).await?;
            return Ok(Step::Done);
        }
        let length = left.min(self.piece);
        let reply = self.send(Method::PATCH, &location, length, on).await?;
        self.advance(&reply, length)
    }

    /// Sends bytes from the offset on.
    async fn send(
        &mut self,
        method: Method,
        url: &Uri,
        length: u64,
        on: &mut (dyn FnMut(PushStep) + Send),
    ) -> Result<Reply, DistributionError> {
        let mut question = self.question(method);
        let request = &mut question.request;
        if request.method == Method::PUT {
            // The registry may read all of it once more before it answers.
            request.deadline += Duration::from_secs(self.blob.size >> 24);
        }
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let is_part = self.offset > 0 || length < self.blob.size;
        if request.method == Method::PATCH && is_part {
            let range = format!("{}-{}", self.offset, self.offset + length - 1);
            let range = HeaderValue::from_str(&range).ok();
            request.headers.extend(range.map(|range| (CONTENT_RANGE, range)));
        }
        let (body, sending) = body(&self.source.0, self.offset, length);
        if length > 0 {
            request.body = body;
        }
        let mut told = 0;
        let mut ticks = tokio::time::interval(TELL_EVERY);
        let asking = self.repository.ask_at(self.place, Some(url), &question);
        let mut asking = std::pin::pin!(asking);
        let result = loop {
            tokio::select! {
                result = &mut asking => break result,
                _ = ticks.tick() => {
                    let bytes = sending.bytes();
                    if bytes != told {
                        told = bytes;
                        on(PushStep::Sent { bytes: self.offset + bytes });
                    }
                }
            }
        };
        match (result, sending.failure()) {
            (Ok(reply), _) => {
                on(PushStep::Sent { bytes: self.offset + length });
                Ok(reply)
            }
            (Err(_), Some(source)) => Err(DistributionError::Source { source }),
            (Err(error), None) => Err(error),
        }
    }

    /// Takes over what the registry says of a piece.
    fn advance(&mut self, reply: &Reply, length: u64) -> Result<Step, DistributionError> {
        if reply.header(LOCATION).is_some() {
            self.location = Some(location(reply)?);
        }
        let sent = self.offset + length;
        let has = reply.header(RANGE).and_then(parse_upload_range).unwrap_or(sent);
        // What one byte looks like cannot be told from none.
        let has = if (has, sent) == (0, 1) { sent } else { has };
        if has <= self.offset || has > sent {
            let why = format!("it has {has} bytes after {sent} were sent");
            return Err(DistributionError::Malformed { what: WHAT.into(), why });
        }
        let taken = has - self.offset;
        self.offset = has;
        if taken == length {
            // After a short answer it comes back to what it was.
            self.piece = self.piece.saturating_mul(2).min(self.most);
            return Ok(Step::More);
        }
        self.piece = taken.max(SHORT_PIECE).max(self.least);
        Ok(Step::Short)
    }

    /// Asks how far the upload has come. One that is over has perhaps done its work: an answer may
    /// have been lost after it.
    async fn find_out(&mut self) -> Result<Step, DistributionError> {
        if let Some(url) = self.location.clone() {
            let question = self.question(Method::GET);
            match self.repository.ask_at(self.place, Some(&url), &question).await {
                Ok(reply) => {
                    if reply.header(LOCATION).is_some() {
                        self.location = Some(location(&reply)?);
                    }
                    let has = reply.header(RANGE).and_then(parse_upload_range).unwrap_or(0);
                    self.offset = has.min(self.blob.size);
                    self.is_unsure = false;
                    return Ok(Step::More);
                }
                Err(error) if error.is_retryable() => return Err(error),
                // Over, or of a registry that does not say.
                Err(_) => self.location = None,
            }
        }
        let question = self.repository.blob_question(Method::HEAD, &self.blob.digest);
        let step = match self.repository.ask_at(self.place, None, &question).await {
            Ok(_) => Step::Done,
            Err(DistributionError::BlobUnknown { .. } | DistributionError::NameUnknown { .. }) => {
                Step::More
            }
            Err(error) => return Err(error),
        };
        (self.offset, self.is_unsure) = (0, false);
        Ok(step)
    }

    /// Whether a refusal asks for another way, which is then prepared.
    fn change(&mut self, error: &DistributionError) -> bool {
        let DistributionError::Refused { answer, .. } = error else { return false };
        if self.changes == MAX_CHANGES {
            return false;
        }
        let smaller = PIECE.max(self.least);
        match (answer.status, &answer.code) {
            (413, _) if self.piece > smaller && self.blob.size > smaller => {
                (self.piece, self.most) = (smaller, smaller);
                self.is_unsure = true;
            }
            // It has another offset in mind; the second time it does not know its own.
            (416, _) if self.changes == 0 => self.is_unsure = true,
            (404 | 416, _) => self.give_up(),
            (
                400,
                ErrorCode::DigestInvalid
                | ErrorCode::SizeInvalid
                | ErrorCode::BlobUploadInvalid
                | ErrorCode::BlobUploadUnknown,
            ) if self.changes == 0 => self.give_up(),
            _ => return false,
        }
        self.changes += 1;
        true
    }

    fn final_url(&self, location: &Uri) -> Result<Uri, DistributionError> {
        let joint = if location.query().is_some() { '&' } else { '?' };
        let digest = self.blob.digest.as_str().replace(':', "%3A");
        let url = format!("{location}{joint}digest={digest}");
        url.parse().map_err(|error: http::uri::InvalidUri| DistributionError::Malformed {
            what: "the place of the upload".into(),
            why: error.to_string(),
        })
    }

    fn question(&self, method: Method) -> Question<'static> {
        Question::new(&self.repository, method, "", Asked::Upload, WHAT)
    }

    /// Tells the registry that the upload goes no further, in the background; the next one begins
    /// anew.
    pub(super) fn give_up(&mut self) {
        (self.offset, self.is_unsure) = (0, false);
        if let Some(upload) = self.location.take() {
            self.repository.give_up(self.place, upload);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.give_up();
    }
}
