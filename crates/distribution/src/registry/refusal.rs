//! What a registry's refusal means, in Docker's words. Pure.

use std::time::SystemTime;

use ferry_oci::digest::Digest;
use ferry_oci::reference::Reference;
use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};

use crate::auth::challenges;
use crate::endpoint::RoleKind;
use crate::error::{Answer, DistributionError};
use crate::protocol::errors::{ErrorCode, parse_errors};
use crate::protocol::ranges;
use crate::registry::Selector;

/// What of a repository was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Manifest(Selector),
    Blob(Digest),
    /// Its tags, or what refers to something in it.
    List,
    /// A piece of an upload.
    Upload,
}

/// Who asked whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) name: &'a Reference,
    pub(crate) role: RoleKind,
    /// Whether nobody in particular asked, of Docker's own registry.
    pub(crate) may_log_in: bool,
}

/// The head of a refusal and its body, as far as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    /// The request, for errors.
    pub(crate) line: &'a str,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// What the refusal means to the asker.
pub(crate) fn meaning(
    asker: Asker<'_>,
    asked: &Asked,
    refusal: Refusal<'_>,
    now: SystemTime,
) -> DistributionError {
    let answer = answer(asked, refusal);
    let status = refusal.status.as_u16();
    if status == 429 || answer.code == ErrorCode::TooManyRequests {
        let header = refusal.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|value| ranges::retry_after(value, now));
        return DistributionError::RateLimited {
            retry_after,
            answer,
            may_log_in: asker.may_log_in,
        };
    }
    let is_client_error = refusal.status.is_client_error();
    let repository = || asker.name.familiar_name();
    match (&answer.code, asked) {
        (ErrorCode::Denied, _) if is_client_error => {
            let pulling = (asker.role == RoleKind::Pull).then(repository);
            DistributionError::Denied { pulling, answer }
        }
        (ErrorCode::Unauthorized, _) if is_client_error => {
            DistributionError::Unauthorized { answer }
        }
        (ErrorCode::NameUnknown, _) if is_client_error => {
            DistributionError::NameUnknown { name: repository(), answer }
        }
        (ErrorCode::ManifestUnknown, Asked::Manifest(which)) if is_client_error => {
            DistributionError::ManifestUnknown { name: whole_name(asker.name, which), answer }
        }
        (ErrorCode::BlobUnknown, Asked::Blob(digest)) if is_client_error => {
            DistributionError::BlobUnknown { digest: digest.clone(), answer }
        }
        _ => DistributionError::Refused { request: refusal.line.to_owned(), answer },
    }
}

/// The name with what was asked for of it, as Docker shows it.
pub(crate) fn whole_name(name: &Reference, which: &Selector) -> String {
    match which {
        Selector::Digest(digest) => name.with_digest(digest.clone()).familiar(),
        Selector::Tag(tag) => format!("{}:{tag}", name.familiar_name()),
    }
}

fn answer(asked: &Asked, refusal: Refusal<'_>) -> Answer {
    let status = refusal.status.as_u16();
    let said = parse_errors(refusal.body).errors.into_iter().next();
    let said = said.map(|(code, message, _)| (code, message));
    // What the head says of a token goes before the body, as in Docker's client.
    // [RFC 6750, section 3.1]
    let headed = challenges(refusal.headers).into_iter().find_map(|challenge| {
        match challenge.error.as_str() {
            "invalid_token" => Some(ErrorCode::Unauthorized),
            "insufficient_scope" => Some(ErrorCode::Denied),
            _ => None,
        }
    });
    let (code, message) = match (headed.filter(|_| refusal.status.is_client_error()), said) {
        (Some(code), _) => (code, String::new()),
        (None, Some((ErrorCode::Unknown(_), message))) => (code_of(status, asked), message),
        (None, Some((code, message))) => (code, message),
        (None, None) => (code_of(status, asked), String::new()),
    };
    let message = if message.is_empty() { default_message(&code).to_owned() } else { message };
    Answer { status, code, message }
}

/// What a status means by itself: many a proxy answers without a body of the protocol.
fn code_of(status: u16, asked: &Asked) -> ErrorCode {
    match (status, asked) {
        (401, _) => ErrorCode::Unauthorized,
        (403, _) => ErrorCode::Denied,
        (404, Asked::Manifest(_)) => ErrorCode::ManifestUnknown,
        (404, Asked::Blob(_)) => ErrorCode::BlobUnknown,
        (404, Asked::List) => ErrorCode::NameUnknown,
        (404, Asked::Upload) => ErrorCode::BlobUploadUnknown,
        (405, _) => ErrorCode::Unsupported,
        (429, _) => ErrorCode::TooManyRequests,
        _ => ErrorCode::Unknown("UNKNOWN".to_owned()),
    }
}

/// What Docker's client says when the registry says nothing.
fn default_message(code: &ErrorCode) -> &'static str {
    match code {
        ErrorCode::BlobUnknown => "blob unknown to registry",
        ErrorCode::BlobUploadInvalid => "blob upload invalid",
        ErrorCode::BlobUploadUnknown => "blob upload unknown to registry",
        ErrorCode::DigestInvalid => "provided digest did not match uploaded content",
        ErrorCode::ManifestBlobUnknown => "blob unknown to registry",
        ErrorCode::ManifestInvalid => "manifest invalid",
        ErrorCode::ManifestUnknown => "manifest unknown",
        ErrorCode::NameInvalid => "invalid repository name",
        ErrorCode::NameUnknown => "repository name not known to registry",
        ErrorCode::SizeInvalid => "provided length did not match content length",
        ErrorCode::Unauthorized => "authentication required",
        ErrorCode::Denied => "requested access to the resource is denied",
        ErrorCode::Unsupported => "The operation is unsupported.",
        ErrorCode::TooManyRequests => "too many requests",
        ErrorCode::Unknown(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderValue, WWW_AUTHENTICATE};

    use super::*;
    use crate::error::DistributionErrorKind as Kind;

    fn tag() -> Asked {
        Asked::Manifest(Selector::Tag("no".into()))
    }

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[track_caller]
    fn check_as(
        role: RoleKind,
        asked: &Asked,
        (status, headers, body): (u16, &HeaderMap, &str),
        (kind, words): (Kind, &str),
    ) {
        let name = Reference::parse("busybox").unwrap();
        let asker = Asker { name: &name, role, may_log_in: true };
        let status = StatusCode::from_u16(status).unwrap();
        let refusal = Refusal { line: "Get \"u\"", status, headers, body: body.as_bytes() };
        let error = meaning(asker, asked, refusal, SystemTime::UNIX_EPOCH);
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, words));
    }

    #[track_caller]
    fn check(asked: &Asked, status: u16, body: &str, expect: (Kind, &str)) {
        check_as(RoleKind::Pull, asked, (status, &HeaderMap::new(), body), expect);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        let words = "manifest for busybox:no not found: manifest unknown: manifest unknown";
        check(&tag(), 404, unknown, (Kind::NotFound, words));
        check(&tag(), 404, "<html>", (Kind::NotFound, words));
        check(&tag(), 404, "", (Kind::NotFound, words));
        let name = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"who?"}]}"#;
        let words = "repository busybox not found: name unknown: who?";
        check(&Asked::List, 404, name, (Kind::NotFound, words));
        let blob = Asked::Blob(Digest::sha256_of(b""));
        let words = "blob unknown: blob unknown to registry";
        check(&blob, 404, "", (Kind::NotFound, words));
    }

    #[test]
    fn who_is_refused_is_told_so() {
        let unauthorized = (Kind::Unauthorized, "unauthorized: authentication required");
        check(&tag(), 401, "", unauthorized);
        let token = headers(WWW_AUTHENTICATE, "Bearer realm=\"r\",error=\"invalid_token\"");
        check_as(RoleKind::Pull, &tag(), (401, &token, ""), unauthorized);
        let scope = headers(WWW_AUTHENTICATE, "Bearer realm=\"r\",error=\"insufficient_scope\"");
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        let denied = "denied: requested access to the resource is denied";
        let pulling = format!(
            "pull access denied for busybox, repository does not exist or may require 'docker login': {denied}"
        );
        check_as(RoleKind::Pull, &tag(), (401, &scope, body), (Kind::Denied, &pulling));
        check_as(RoleKind::Push, &Asked::Upload, (401, &scope, body), (Kind::Denied, denied));
        check(&tag(), 403, "", (Kind::Denied, &pulling));
    }

    #[test]
    fn a_limit_says_when_it_ends() {
        let after = headers(RETRY_AFTER, "17");
        let words =
            "toomanyrequests: too many requests; retry after 17 s; 'docker login' raises the limit";
        check_as(RoleKind::Pull, &tag(), (429, &after, ""), (Kind::RateLimited, words));
    }

    #[test]
    fn other_refusals_are_repeated() {
        let words = "received unexpected HTTP status: 502 Bad Gateway";
        check(&tag(), 502, "<html>", (Kind::Unavailable, words));
        // A word that accuses the client, in an answer that does not.
        let body = r#"{"errors":[{"code":"DENIED"}]}"#;
        let words = "denied: requested access to the resource is denied";
        check(&tag(), 500, body, (Kind::Unavailable, words));
        let body =
            r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#;
        let words = "manifest blob unknown: blob unknown to registry";
        check_as(RoleKind::Push, &tag(), (404, &HeaderMap::new(), body), (Kind::Internal, words));
        check(
            &Asked::Upload,
            413,
            "",
            (Kind::Internal, "received unexpected HTTP status: 413 Payload Too Large"),
        );
    }
}
