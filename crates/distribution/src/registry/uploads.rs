//! Sending blobs. [OCI distribution, pushing blobs]
//!
//! ```text
//! HEAD ── it is there ──> existed
//!  │
//! POST ?mount&from ── 201 ──> mounted
//!  │ 202
//!  ├── small: PUT all ─────────── 201 ──┐
//!  └── large: PATCH … ── PUT digest ────┴──> uploaded
//!            ^   │ cut, 5xx, 416
//!            └───┘ GET: how far did it come?
//! ```

mod body;
mod session;

use std::sync::Arc;
use std::time::Duration;

use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;
use http::{Method, StatusCode, Uri};
use tokio::sync::oneshot;

use self::session::Session;
use super::ask::{Question, Reply};
use super::refusal::Asked;
use super::{BlobSource, MountCandidate, Repository};
use crate::auth::Scopes;
use crate::error::DistributionError;
use crate::events::{PushStep, Pushed};
use crate::protocol::paths;
use crate::retry::with_retry;
use crate::transport::resolve_securely;

/// Repositories that are offered for mounting at most; each costs a request.
const MAX_MOUNTS: usize = 3;
/// How often it is asked whether a blob is there.
const LOOKS: u32 = 3;
/// How long a registry is told that an upload is given up.
const FAREWELL: Duration = Duration::from_secs(5);

impl Repository {
    /// Brings a blob into the repository: not at all if it is there, out of a neighbour if the
    /// registry can, else by sending it. An upload that is dropped midway is given up at the
    /// registry too.
    ///
    /// # Errors
    /// When the registry refuses it, the bytes do not have the descriptor's digest or size, or
    /// they cannot be read ([`DistributionError::Source`]).
    pub async fn push_blob(
        &self,
        blob: &Descriptor,
        source: &Arc<dyn BlobSource>,
        from: &[MountCandidate],
        on: &mut (dyn FnMut(PushStep) + Send),
    ) -> Result<Pushed, DistributionError> {
        let (is_there, place) = self.look_for(&blob.digest).await?;
        if is_there {
            on(PushStep::Exists);
            return Ok(Pushed::Existed);
        }
        if let Some(actual) = source.size().filter(|&size| size != blob.size) {
            let what = format!("the blob {}", blob.digest);
            return Err(DistributionError::Size { what, expected: blob.size, actual });
        }
        let mut session = Session::new(self.clone(), place, blob, source);
        for candidate in from.iter().take(MAX_MOUNTS) {
            if self.mount(&mut session, candidate).await? {
                let from = candidate.repository.clone();
                on(PushStep::Mounted { from: from.clone() });
                return Ok(Pushed::Mounted(from));
            }
        }
        session.run(on).await?;
        Ok(Pushed::Uploaded)
    }

    /// Whether the blob is where the push goes, and where that is. The question saves work, no more:
    /// one may be allowed to write and not to read, and not all that registries lead to knows HEAD.
    async fn look_for(&self, digest: &Digest) -> Result<(bool, usize), DistributionError> {
        let question = Question { attempts: LOOKS, ..self.blob_question(Method::HEAD, digest) };
        let asked = self.ask(&question).await;
        let Some(&target) = self.order(|_| true).first() else {
            return Err(DistributionError::Malformed {
                what: format!("the configuration of the registry {}", self.0.name.domain()),
                why: "no host is left to push to".into(),
            });
        };
        match asked {
            // Another answer may have come first, of another place: then it is not known of this.
            Ok(reply) => Ok((reply.place == target, target)),
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                tracing::debug!(%digest, %error, "not seen at the registry");
                Ok((false, target))
            }
        }
    }

    /// Asks for the blob out of another repository. A registry that cannot begins an upload
    /// instead, which is used when nobody else has the blob either.
    async fn mount(
        &self,
        session: &mut Session,
        candidate: &MountCandidate,
    ) -> Result<bool, DistributionError> {
        let place = session.place();
        let policy = self.policy(&self.0.places[place], false);
        match with_retry(&policy, None, |_| self.begin(place, Some((session.digest(), candidate))))
            .await
        {
            Ok(reply) if reply.status == StatusCode::CREATED => {
                session.give_up();
                Ok(true)
            }
            Ok(reply) => {
                session.give_up();
                session.begun(&reply)?;
                Ok(false)
            }
            // One who may write here need not be allowed to read there.
            Err(
                DistributionError::Denied { .. }
                | DistributionError::Unauthorized { .. }
                | DistributionError::TokenRefused { .. }
                | DistributionError::NameUnknown { .. },
            ) => Ok(false),
            Err(DistributionError::Refused { answer, .. }) if answer.status < 500 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks once for the beginning of an upload, or for a blob out of another repository. When
    /// nobody waits for the answer any longer, what it begins is given up.
    async fn begin(
        &self,
        place: usize,
        mount: Option<(&Digest, &MountCandidate)>,
    ) -> Result<Reply, DistributionError> {
        let (path, what) = (paths::uploads(self.0.name.path()), "the beginning of the upload");
        let mut question = Question::new(self, Method::POST, path, Asked::Upload, what);
        if let Some((digest, candidate)) = mount {
            let query = [("mount", digest.to_string()), ("from", candidate.repository.clone())];
            question.request.query = query.map(|(name, value)| (name.to_owned(), value)).into();
            question.scopes = question.scopes.and(&Scopes::pull(&candidate.repository));
        }
        let (answered, answer) = oneshot::channel();
        let repository = self.clone();
        self.0.registry.0.farewells.spawn(async move {
            let reply = repository.ask_at(place, None, &question).await;
            if let Err(Ok(reply)) = answered.send(reply)
                && reply.status != StatusCode::CREATED
                && let Ok(upload) = location(&reply)
            {
                repository.give_up(place, upload);
            }
        });
        answer.await.unwrap_or_else(|_ended| {
            let source = std::io::Error::other("the process is ending");
            Err(DistributionError::Source { source })
        })
    }

    /// Tells the registry, in the background, that an upload goes no further.
    fn give_up(&self, place: usize, upload: Uri) {
        // Without a runtime the process is ending, and the registry forgets it by itself.
        let Ok(handle) = tokio::runtime::Handle::try_current() else { return };
        let what = "the answer to the end of the upload";
        let mut question = Question::new(self, Method::DELETE, "", Asked::Upload, what);
        question.request.deadline = FAREWELL;
        let repository = self.clone();
        let farewell = async move {
            if let Err(error) = repository.ask_at(place, Some(&upload), &question).await {
                tracing::debug!(%error, "an upload that was given up stays at its registry");
            }
        };
        self.0.registry.0.farewells.spawn_on(farewell, &handle);
    }
}

/// Whether a failure to look for a blob says that it cannot be sent either.
fn is_final(error: &DistributionError) -> bool {
    matches!(
        error,
        DistributionError::Connect { .. }
            | DistributionError::Tls { .. }
            | DistributionError::Unauthorized { .. }
            | DistributionError::NoCredentials { .. }
            | DistributionError::TokenRefused { .. }
            | DistributionError::Config(_)
    )
}

/// Where an upload goes on.
fn location(reply: &Reply) -> Result<Uri, DistributionError> {
    let malformed =
        |why: String| DistributionError::Malformed { what: "the place of the upload".into(), why };
    let location = reply.header(http::header::LOCATION);
    let location = location.ok_or_else(|| malformed("it is missing".into()))?;
    resolve_securely(&reply.url, location).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::{HeaderMap, HeaderValue, LOCATION};

    use super::*;

    #[track_caller]
    fn check(at: &str, stated: &str, expect: Option<&str>) {
        let stated = HeaderValue::from_str(stated).unwrap();
        let reply = Reply {
            status: StatusCode::ACCEPTED,
            headers: HeaderMap::from_iter([(LOCATION, stated)]),
            url: at.parse().unwrap(),
            body: Bytes::new(),
            place: 0,
        };
        assert_eq!(location(&reply).ok().map(|url| url.to_string()).as_deref(), expect);
    }

    #[test]
    fn an_upload_goes_on_where_its_registry_says() {
        check("https://h/v2/a/blobs/uploads/", "/v2/x?s=1", Some("https://h/v2/x?s=1"));
        check("https://h/v2/", "https://other/x", Some("https://other/x"));
        check("https://h:5/v2/", "http://h:5/x", Some("https://h:5/x"));
        check("https://h/v2/", "http://other/x", None);
        check("http://h/v2/", "http://other/x", Some("http://other/x"));
    }
}
