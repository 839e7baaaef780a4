//! The bodies of errors. [OCI distribution, error codes]

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// What is wrong, in the word that registries have for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// `BLOB_UNKNOWN`: the repository has no such blob.
    BlobUnknown,
    /// `BLOB_UPLOAD_INVALID`: an upload went wrong.
    BlobUploadInvalid,
    /// `BLOB_UPLOAD_UNKNOWN`: there is no such upload, or no longer.
    BlobUploadUnknown,
    /// `DIGEST_INVALID`: what was sent has another digest.
    DigestInvalid,
    /// `MANIFEST_BLOB_UNKNOWN`: a manifest names what the repository has not.
    ManifestBlobUnknown,
    /// `MANIFEST_INVALID`: a manifest is malformed.
    ManifestInvalid,
    /// `MANIFEST_UNKNOWN`: the repository has no such manifest.
    ManifestUnknown,
    /// `NAME_INVALID`: the name of a repository is malformed.
    NameInvalid,
    /// `NAME_UNKNOWN`: there is no such repository.
    NameUnknown,
    /// `SIZE_INVALID`: what was sent has another size.
    SizeInvalid,
    /// `UNAUTHORIZED`: one must say who one is.
    Unauthorized,
    /// `DENIED`: one may not.
    Denied,
    /// `UNSUPPORTED`: the registry cannot do this.
    Unsupported,
    /// `TOOMANYREQUESTS`: one has asked too often.
    TooManyRequests,
    /// Another word.
    Unknown(String),
}

const CODES: [(&str, ErrorCode); 14] = [
    ("BLOB_UNKNOWN", ErrorCode::BlobUnknown),
    ("BLOB_UPLOAD_INVALID", ErrorCode::BlobUploadInvalid),
    ("BLOB_UPLOAD_UNKNOWN", ErrorCode::BlobUploadUnknown),
    ("DIGEST_INVALID", ErrorCode::DigestInvalid),
    ("MANIFEST_BLOB_UNKNOWN", ErrorCode::ManifestBlobUnknown),
    ("MANIFEST_INVALID", ErrorCode::ManifestInvalid),
    ("MANIFEST_UNKNOWN", ErrorCode::ManifestUnknown),
    ("NAME_INVALID", ErrorCode::NameInvalid),
    ("NAME_UNKNOWN", ErrorCode::NameUnknown),
    ("SIZE_INVALID", ErrorCode::SizeInvalid),
    ("UNAUTHORIZED", ErrorCode::Unauthorized),
    ("DENIED", ErrorCode::Denied),
    ("UNSUPPORTED", ErrorCode::Unsupported),
    ("TOOMANYREQUESTS", ErrorCode::TooManyRequests),
];

impl ErrorCode {
    /// The word, as it stands on the wire.
    pub fn as_str(&self) -> &str {
        if let Self::Unknown(word) = self {
            return word;
        }
        CODES.iter().find(|(_, code)| code == self).map_or("UNKNOWN", |(word, _)| word)
    }
}

impl From<&str> for ErrorCode {
    fn from(word: &str) -> Self {
        let known = CODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
        known.map_or_else(|| Self::Unknown(word.to_owned()), |(_, code)| code.clone())
    }
}

impl fmt::Display for ErrorCode {
    /// The word as Docker shows it: `manifest unknown`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().to_ascii_lowercase().replace('_', " "))
    }
}

/// What a registry says is wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegistryErrors {
    /// Code, message and detail of each, in their order.
    pub errors: Vec<(ErrorCode, String, Value)>,
}

/// Reads the body of an error; what is not one has no errors in it.
pub fn parse_errors(body: &[u8]) -> RegistryErrors {
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: Value,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        detail: Value,
    }
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Option<Vec<One>>,
        // What token servers and older registries answer with instead.
        #[serde(default)]
        details: Option<String>,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return RegistryErrors::default() };
    let code = |code: &Value| match code {
        Value::String(word) => ErrorCode::from(word.as_str()),
        Value::Null => ErrorCode::Unknown("UNKNOWN".to_owned()),
        other => ErrorCode::Unknown(other.to_string()),
    };
    let errors = body.errors.unwrap_or_default().into_iter();
    let mut errors: Vec<_> =
        errors.map(|one| (code(&one.code), one.message.unwrap_or_default(), one.detail)).collect();
    if let (true, Some(details)) = (errors.is_empty(), body.details) {
        errors.push((ErrorCode::Unknown("UNKNOWN".to_owned()), details, Value::Null));
    }
    RegistryErrors { errors }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &[(&str, &str)]) {
        let errors = parse_errors(body.as_bytes()).errors;
        let errors: Vec<_> =
            errors.iter().map(|(code, message, _)| (code.as_str(), message.as_str())).collect();
        assert_eq!(errors, expect);
    }

    #[test]
    fn bodies_of_errors_are_read() {
        check(
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}},
            {"code":"TEAPOT"}]}"#,
            &[("MANIFEST_UNKNOWN", "manifest unknown"), ("TEAPOT", "")],
        );
        check(r#"{"errors":[{"code":"denied","message":null}]}"#, &[("DENIED", "")]);
        check(
            r#"{"details":"incorrect username or password"}"#,
            &[("UNKNOWN", "incorrect username or password")],
        );
        check(r#"{"errors":null}"#, &[]);
        check("<html>502 Bad Gateway</html>", &[]);
        check("", &[]);
    }

    #[test]
    fn every_code_is_read_as_it_is_written() {
        for (word, code) in CODES {
            assert_eq!(ErrorCode::from(word), code);
            assert_eq!(code.as_str(), word);
        }
        assert_eq!(ErrorCode::ManifestBlobUnknown.to_string(), "manifest blob unknown");
        assert_eq!(ErrorCode::from("X_Y").to_string(), "x y");
    }
}
