//! Questions with short answers: asked at one endpoint after the other, again when that may help.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};

use super::refusal::{Asked, Asker, Refusal, meaning};
use super::{Place, Repository, Selector, Standing};
use crate::auth::{Caller, Scopes};
use crate::endpoint::{Endpoint, RoleKind};
use crate::error::DistributionError;
use crate::limits;
use crate::retry::{Policy, elsewhere, with_retry};
use crate::transport::{Request, Response};

/// Looks at an answer; an error makes the endpoint as bad as one that refused.
type Check<'a> = &'a (dyn Fn(&Reply) -> Result<(), DistributionError> + Send + Sync);

/// A question.
pub(crate) struct Question<'a> {
    pub(crate) request: Request,
    pub(crate) asked: Asked,
    pub(crate) scopes: Scopes,
    /// What the answer is, for errors.
    pub(crate) what: &'a str,
    /// Bytes of the answer that are taken.
    pub(crate) limit: u64,
    /// How often it is asked at one endpoint at most, when that is less than usual.
    pub(crate) attempts: u32,
    pub(crate) check: Option<Check<'a>>,
}

/// A whole answer whose status is a success.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Where it came from, after redirections.
    pub(crate) url: Uri,
    pub(crate) body: Bytes,
    /// Which of the repository's places gave it.
    pub(crate) place: usize,
}

impl Reply {
    /// A header, when it is there and is text.
    pub(crate) fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.headers.get(name.into())?.to_str().ok()
    }
}

impl<'a> Question<'a> {
    /// A question without a body, whose answer has the size of a manifest at most.
    pub(crate) fn new(
        repository: &Repository,
        method: Method,
        path: impl Into<String>,
        asked: Asked,
        what: &'a str,
    ) -> Self {
        let mut request = Request::new(method, path);
        // A compressed answer would not have its digest.
        request.headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let scopes = repository.scopes();
        let (limit, attempts) = (limits::MAX_MANIFEST, u32::MAX);
        Self { request, asked, scopes, what, limit, attempts, check: None }
    }
}

impl Repository {
    /// Asks the endpoints in their order.
    pub(crate) async fn ask(&self, question: &Question<'_>) -> Result<Reply, DistributionError> {
        let is_for = |endpoint: &Endpoint| match (self.0.role, &question.asked) {
            (RoleKind::Push, _) => true,
            (RoleKind::Pull, Asked::Manifest(Selector::Tag(_)) | Asked::List) => {
                endpoint.role.resolve
            }
            (RoleKind::Pull, _) => endpoint.role.pull,
        };
        let order = self.order(is_for);
        let mut failure = Failure::default();
        for (count, &index) in order.iter().enumerate() {
            let place = &self.0.places[index];
            let mut policy = self.policy(place, count + 1 < order.len());
            policy.attempts = policy.attempts.min(question.attempts);
            match with_retry(&policy, None, |_| self.ask_at(index, None, question)).await {
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    place.learn(&error);
                    let is_last = !elsewhere(&error, &policy);
                    tracing::debug!(endpoint = %place.endpoint.id, %error, is_last, "failed");
                    failure.add(error, place.endpoint.is_mirror);
                    if is_last {
                        break;
                    }
                }
            }
        }
        Err(failure.told().unwrap_or_else(|| DistributionError::Malformed {
            what: format!("the configuration of the registry {}", self.0.name.domain()),
            why: format!("no host is left to ask for {}", question.what),
        }))
    }

    /// Asks one endpoint until it answers: for what only that endpoint knows.
    pub(crate) async fn ask_there(
        &self,
        index: usize,
        to: Option<&Uri>,
        question: &Question<'_>,
    ) -> Result<Reply, DistributionError> {
        let policy = self.policy(&self.0.places[index], false);
        with_retry(&policy, None, |_| self.ask_at(index, to, question)).await
    }

    /// Asks one endpoint once.
    pub(crate) async fn ask_at(
        &self,
        index: usize,
        to: Option<&Uri>,
        question: &Question<'_>,
    ) -> Result<Reply, DistributionError> {
        let Question { request, asked, scopes, what, limit, check, attempts: _ } = question;
        let response = self.send(index, to, request, scopes).await?;
        if !response.status.is_success() {
            return Err(self.refusal(index, asked, response).await);
        }
        let (status, headers, url) =
            (response.status, response.headers.clone(), response.url.clone());
        // The length in the answer to HEAD is that of what was not sent.
        let body = match request.method {
            Method::HEAD => Bytes::new(),
            _ => response.bytes(*limit, what).await?,
        };
        let reply = Reply { status, headers, url, body, place: index };
        if let Some(check) = check {
            check(&reply)?;
        }
        Ok(reply)
    }

    /// Sends a request to one endpoint, once, as who we are there.
    pub(crate) async fn send(
        &self,
        index: usize,
        to: Option<&Uri>,
        request: &Request,
        scopes: &Scopes,
    ) -> Result<Response, DistributionError> {
        let place = &self.0.places[index];
        let caller = Caller { endpoint: &place.endpoint, who: &place.who, scopes };
        let response = self.authenticator().send(caller, to, request).await?;
        place.note(Standing::Good);
        if self.0.role == RoleKind::Push && !response.status.is_server_error() {
            self.0.target.get_or_init(|| index);
        }
        Ok(response)
    }

    /// What a refusal means. When its body cannot be read, its head has to do.
    pub(crate) async fn refusal(
        &self,
        index: usize,
        asked: &Asked,
        response: Response,
    ) -> DistributionError {
        let (status, headers) = (response.status, response.headers.clone());
        let line = response.request.clone();
        let body = response.bytes(limits::MAX_ERROR_BODY, "the answer").await.unwrap_or_default();
        let place = &self.0.places[index];
        let may_log_in = place.who.is_none() && self.0.name.domain() == "docker.io";
        let asker = Asker { name: &self.0.name, role: self.0.role, may_log_in };
        let refusal = Refusal { line: &line, status, headers: &headers, body: &body };
        meaning(asker, asked, refusal, SystemTime::now())
    }

    pub(super) fn policy(&self, place: &Place, has_others: bool) -> Policy {
        Policy::of(self.authenticator().transport().config(), &place.endpoint, has_others)
    }
}

/// Which of the failures at several endpoints is told: the last, as by Docker, unless it only says
/// that nobody is there and the registry itself has said more before.
#[derive(Debug, Default)]
pub(super) struct Failure {
    told: Option<DistributionError>,
    /// Whether it is the word of the registry itself.
    is_word: bool,
}

impl Failure {
    pub(super) fn add(&mut self, error: DistributionError, is_mirror: bool) {
        if !(self.is_word && is_absence(&error)) {
            self.is_word = !is_mirror && !is_absence(&error);
            self.told = Some(error);
        }
    }

    pub(super) fn told(&mut self) -> Option<DistributionError> {
        self.told.take()
    }
}

/// Whether a failure only says that nobody is there.
fn is_absence(error: &DistributionError) -> bool {
    matches!(
        error,
        DistributionError::Connect { .. }
            | DistributionError::Tls { .. }
            | DistributionError::Stalled { .. }
    )
}

impl Place {
    /// Remembers what a failure says of the endpoint.
    pub(super) fn learn(&self, error: &DistributionError) {
        match error {
            error if is_absence(error) => self.note(Standing::Away),
            DistributionError::Digest { .. } | DistributionError::Size { .. } => {
                tracing::warn!(endpoint = %self.endpoint.id, %error, "gave wrong bytes");
                self.note(Standing::Liar);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(failures: &[(&str, bool)], expect: &str) {
        let mut failure = Failure::default();
        for &(words, is_mirror) in failures {
            let request = words.to_owned();
            let source = "reset".into();
            let error = match words {
                "away" => DistributionError::Connect { request, source },
                _ => DistributionError::Cut { request, source },
            };
            failure.add(error, is_mirror);
        }
        assert_eq!(failure.told().map(|error| error.to_string()).as_deref(), Some(expect));
    }

    #[test]
    fn the_word_of_the_registry_is_told() {
        check(&[("away", false)], "away");
        check(&[("away", false), ("no", false)], "no");
        check(&[("no", false), ("away", false)], "no");
        // What only a mirror has said is not known of the registry.
        check(&[("no", true), ("away", false)], "away");
        check(&[("away", true), ("no", true), ("other", false)], "other");
    }
}
