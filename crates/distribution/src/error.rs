//! What can go wrong with a registry, in words that Docker's users know.

use std::fmt;
use std::io;
use std::time::Duration;

use ferry_oci::digest::Digest;
use ferry_oci::platform::Platform;

use crate::config::ConfigError;
use crate::limits;
use crate::protocol::errors::ErrorCode;

/// An error of a library beneath.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a registry refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The first code of the body.
    pub code: ErrorCode,
    /// The message beside it; may be empty.
    pub message: String,
}

impl fmt::Display for Answer {
    /// As Docker: `manifest unknown: manifest unknown`, or the status when nothing else is said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.code, self.message.as_str()) {
            (ErrorCode::Unknown(_), "") => {
                write!(f, "received unexpected HTTP status: {}", status_line(self.status))
            }
            (code, "") => write!(f, "{code}"),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

fn status_line(status: u16) -> String {
    let words =
        http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    words.map_or_else(|| status.to_string(), |words| format!("{status} {words}"))
}

/// Any failure with a registry.
///
/// A field `request` is a method and a URL without user and query, as Go writes them:
/// `Get "https://localhost:5000/v2/"`. Callers branch on [`DistributionError::kind`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistributionError {
    /// No connection, by way of name, network or proxy.
    #[error("{request}")]
    Connect {
        /// What was asked.
        request: String,
        /// Why.
        source: BoxError,
    },
    /// The connection broke, or the body ended early.
    #[error("{request}")]
    Cut {
        /// What was asked.
        request: String,
        /// How.
        source: BoxError,
    },
    /// The other side is not whom its certificate names, or speaks no TLS.
    #[error("{request}")]
    Tls {
        /// What was asked.
        request: String,
        /// Why.
        source: BoxError,
    },
    /// Nothing came for too long.
    #[error("{request}: no answer within {} seconds", after.as_secs())]
    Stalled {
        /// What was asked.
        request: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// A refusal that is none of those below.
    #[error("{answer}")]
    Refused {
        /// What was asked.
        request: String,
        /// The registry's words.
        answer: Answer,
    },
    /// Asked too often.
    #[error("{answer}{}", advice(*retry_after, *may_log_in))]
    RateLimited {
        /// When one may ask again.
        retry_after: Option<Duration>,
        /// The registry's words.
        answer: Answer,
        /// Whether a login would allow more: nobody was logged in, and the registry is Docker's.
        may_log_in: bool,
    },
    /// One must say who one is, or what was said is not true.
    #[error("{answer}")]
    Unauthorized {
        /// The registry's words.
        answer: Answer,
    },
    /// The server that gives tokens for the registry refuses one.
    #[error("{request}: {answer}")]
    TokenRefused {
        /// What the token was for.
        request: String,
        /// The token server's words.
        answer: Answer,
    },
    /// The registry does not take the credentials of a login; in Docker's words.
    #[error("login attempt to {url} failed with status: {}", status_line(*status))]
    Login {
        /// What was asked with them.
        url: String,
        /// The status of HTTP.
        status: u16,
    },
    /// The registry wants a user and a password, and there are none.
    #[error("{request}: no basic auth credentials")]
    NoCredentials {
        /// What was asked.
        request: String,
    },
    /// One may not.
    #[error("{}{answer}", denied(pulling.as_deref()))]
    Denied {
        /// The repository as Docker shows it, when it was to be read.
        pulling: Option<String>,
        /// The registry's words.
        answer: Answer,
    },
    /// The repository has no such manifest.
    #[error("manifest for {name} not found: {answer}")]
    ManifestUnknown {
        /// The whole name as Docker shows it.
        name: String,
        /// The registry's words.
        answer: Answer,
    },
    /// There is no such repository.
    #[error("repository {name} not found: {answer}")]
    NameUnknown {
        /// The repository as Docker shows it.
        name: String,
        /// The registry's words.
        answer: Answer,
    },
    /// The repository has no such blob.
    #[error("{answer}")]
    BlobUnknown {
        /// Which.
        digest: Digest,
        /// The registry's words.
        answer: Answer,
    },
    /// The bytes are not those that their digest promised.
    #[error("{what} verification failed for digest {expected}: the bytes have {actual}")]
    Digest {
        /// `manifest`, `image config` or `filesystem layer`.
        what: &'static str,
        /// What it should be.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// More or fewer bytes than promised.
    #[error("{what} has {actual} bytes, not {expected}")]
    Size {
        /// Which.
        what: String,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that there are.
        actual: u64,
    },
    /// More bytes than are taken.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// Which.
        what: String,
        /// How many are taken.
        limit: u64,
    },
    /// An answer that makes no sense.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// Which.
        what: String,
        /// In what way.
        why: String,
    },
    /// A manifest of schema 1; in Docker's words.
    #[error(
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author of {name} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information at https://docs.docker.com/go/deprecated-image-specs/"
    )]
    Schema1 {
        /// The complete name.
        name: String,
    },
    /// Something other than an image.
    #[error("unsupported media type {media_type}")]
    UnsupportedMediaType {
        /// What it is.
        media_type: String,
    },
    /// The image is not there for this platform.
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoPlatform {
        /// The whole name as Docker shows it.
        name: String,
        /// What was wanted.
        platform: Box<Platform>,
    },
    /// A redirection that is not followed.
    #[error("{request}: {why}")]
    Redirect {
        /// What was asked.
        request: String,
        /// Why.
        why: String,
    },
    /// What was to be sent cannot be read.
    #[error("reading what is to be sent")]
    Source {
        /// Why.
        source: io::Error,
    },
    /// A file of this machine, outside of any store, cannot be read or written.
    #[error("{doing} {}", path.display())]
    Local {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is configured for the registry cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

fn advice(retry_after: Option<Duration>, may_log_in: bool) -> String {
    let mut text = String::new();
    if let Some(after) = retry_after {
        text = format!("; retry after {} s", after.as_secs());
    }
    if may_log_in {
        text.push_str("; 'docker login' raises the limit");
    }
    text
}

fn denied(pulling: Option<&str>) -> String {
    pulling.map_or_else(String::new, |name| {
        format!(
            "pull access denied for {name}, repository does not exist or may require 'docker login': "
        )
    })
}

/// What a caller may do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistributionErrorKind {
    /// What was asked for is not there.
    NotFound,
    /// One must say who one is.
    Unauthorized,
    /// One may not.
    Denied,
    /// Asked too often.
    RateLimited,
    /// The registry is not there, or not in order.
    Unavailable,
    /// The request or the configuration makes no sense.
    Invalid,
    /// The registry gave what cannot be right, or we failed.
    Internal,
}

impl DistributionError {
    /// What a caller may do about it.
    pub fn kind(&self) -> DistributionErrorKind {
        match self {
            Self::ManifestUnknown { .. }
            | Self::NameUnknown { .. }
            | Self::BlobUnknown { .. }
            | Self::NoPlatform { .. } => DistributionErrorKind::NotFound,
            Self::Unauthorized { .. } | Self::NoCredentials { .. } => {
                DistributionErrorKind::Unauthorized
            }
            Self::Denied { .. } => DistributionErrorKind::Denied,
            Self::TokenRefused { answer: Answer { status, .. }, .. }
            | Self::Login { status, .. } => match status {
                // An OAuth server answers 400 to a refresh token that it does not know.
                400 | 401 => DistributionErrorKind::Unauthorized,
                403 => DistributionErrorKind::Denied,
                408 | 500.. => DistributionErrorKind::Unavailable,
                _ => DistributionErrorKind::Internal,
            },
            Self::RateLimited { .. } => DistributionErrorKind::RateLimited,
            Self::Connect { .. }
            | Self::Cut { .. }
            | Self::Tls { .. }
            | Self::Stalled { .. }
            | Self::Redirect { .. } => DistributionErrorKind::Unavailable,
            Self::Refused { answer, .. } if answer.status >= 500 || answer.status == 408 => {
                DistributionErrorKind::Unavailable
            }
            Self::Schema1 { .. } | Self::UnsupportedMediaType { .. } | Self::Config(_) => {
                DistributionErrorKind::Invalid
            }
            Self::Refused { .. }
            | Self::Digest { .. }
            | Self::Size { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Local { .. }
            | Self::Source { .. } => DistributionErrorKind::Internal,
        }
    }

    /// Whether the same request may succeed a little later, at the same endpoint.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Cut { .. } | Self::Stalled { .. } => true,
            Self::Refused { answer, .. } | Self::TokenRefused { answer, .. } => {
                answer.status >= 500 || answer.status == 408
            }
            Self::RateLimited { retry_after, .. } => {
                retry_after.is_none_or(|after| after <= limits::MAX_RETRY_AFTER)
            }
            _ => false,
        }
    }

    /// A method and a URL as Go writes them in its errors, without user and query.
    pub fn request_line(method: &http::Method, url: &http::Uri) -> String {
        let lower = method.as_str().to_ascii_lowercase();
        let mut letters = lower.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        let method: String = first.into_iter().chain(letters).collect();
        let scheme = url.scheme_str().unwrap_or("https");
        let authority = url.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        format!("{method} \"{scheme}://{host}{}\"", url.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str, message: &str) -> Answer {
        Answer { status, code: code.into(), message: message.into() }
    }

    #[track_caller]
    fn check(error: &DistributionError, words: &str, kind: DistributionErrorKind, again: bool) {
        assert_eq!(error.to_string(), words);
        assert_eq!((error.kind(), error.is_retryable()), (kind, again), "{words}");
    }

    #[test]
    fn refusals_are_told_in_dockers_words() {
        use DistributionErrorKind as Kind;
        let unknown = answer(404, "MANIFEST_UNKNOWN", "manifest unknown");
        check(
            &DistributionError::ManifestUnknown { name: "busybox:no".into(), answer: unknown },
            "manifest for busybox:no not found: manifest unknown: manifest unknown",
            Kind::NotFound,
            false,
        );
        let denied = answer(403, "DENIED", "requested access to the resource is denied");
        check(
            &DistributionError::Denied { pulling: Some("a".into()), answer: denied.clone() },
            "pull access denied for a, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            Kind::Denied,
            false,
        );
        check(
            &DistributionError::Denied { pulling: None, answer: denied },
            "denied: requested access to the resource is denied",
            Kind::Denied,
            false,
        );
        check(
            &DistributionError::Refused {
                request: "Get".into(),
                answer: answer(502, "UNKNOWN", ""),
            },
            "received unexpected HTTP status: 502 Bad Gateway",
            Kind::Unavailable,
            true,
        );
        check(
            &DistributionError::Refused {
                request: "Put".into(),
                answer: answer(400, "SIZE_INVALID", ""),
            },
            "size invalid",
            Kind::Internal,
            false,
        );
    }

    #[test]
    fn a_login_is_refused_in_dockers_words() {
        use DistributionErrorKind as Kind;
        let url = "http://localhost:5000/v2/".to_owned();
        check(
            &DistributionError::Login { url, status: 401 },
            "login attempt to http://localhost:5000/v2/ failed with status: 401 Unauthorized",
            Kind::Unauthorized,
            false,
        );
        let refused = |status, code: &str| DistributionError::TokenRefused {
            request: "Get \"https://h/v2/\"".into(),
            answer: answer(status, code, "incorrect username or password"),
        };
        check(
            &refused(401, "UNAUTHORIZED"),
            "Get \"https://h/v2/\": unauthorized: incorrect username or password",
            Kind::Unauthorized,
            false,
        );
        assert!(refused(503, "UNKNOWN").is_retryable());
    }

    #[test]
    fn a_limit_is_waited_for_when_it_is_short() {
        let limited = |seconds: Option<u64>| DistributionError::RateLimited {
            retry_after: seconds.map(Duration::from_secs),
            answer: answer(429, "TOOMANYREQUESTS", "slow down"),
            may_log_in: seconds == Some(61),
        };
        let kind = DistributionErrorKind::RateLimited;
        check(&limited(None), "toomanyrequests: slow down", kind, true);
        check(&limited(Some(60)), "toomanyrequests: slow down; retry after 60 s", kind, true);
        check(
            &limited(Some(61)),
            "toomanyrequests: slow down; retry after 61 s; 'docker login' raises the limit",
            kind,
            false,
        );
    }

    #[test]
    fn requests_are_shown_without_secrets() {
        let url = "https://me:s3cret@host:5000/v2/a/blobs/x?token=s3cret".parse().unwrap();
        assert_eq!(
            DistributionError::request_line(&http::Method::GET, &url),
            "Get \"https://host:5000/v2/a/blobs/x\""
        );
        assert_eq!(
            DistributionError::request_line(&http::Method::HEAD, &"http://h/".parse().unwrap()),
            "Head \"http://h/\""
        );
    }
}
