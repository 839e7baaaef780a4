//! JSON bodies of requests, and Docker's words about bad ones.

use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::http::error::Failure;

/// Checks that a body says it is JSON. No `Content-Type` is fine as long as there is no body.
pub(crate) fn check_type(headers: &HeaderMap, is_empty: bool) -> Result<(), Failure> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map_or("", |value| value.to_str().unwrap_or_default());
    if content_type.is_empty() {
        return if is_empty {
            Ok(())
        } else {
            Err(Failure::invalid("malformed Content-Type header (): mime: no media type"))
        };
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "unsupported Content-Type header ({content_type}): must be 'application/json'"
    )))
}

/// Reads the one value of a body.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    let value = match values.next() {
        None => {
            return Err(Failure::invalid("invalid JSON: got EOF while reading request body"));
        }
        Some(Err(error)) if error.classify() == Category::Eof => {
            return Err(Failure::invalid("invalid JSON: unexpected EOF"));
        }
        Some(Err(error)) => return Err(Failure::invalid(format!("invalid JSON: {error}"))),
        Some(Ok(value)) => value,
    };
    let rest = bytes.get(values.byte_offset()..).unwrap_or_default();
    if rest.iter().any(|byte| !byte.is_ascii_whitespace()) {
        return Err(Failure::invalid("unexpected content after JSON"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use ferry_api::ContainerCreateRequest;

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let got = match parse::<Option<ContainerCreateRequest>>(text.as_bytes()) {
            Ok(value) => format!("{:?}", value.map(|value| value.config.image)),
            Err(failure) => failure.message,
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn bad_bodies_are_refused_in_the_words_of_docker() {
        check("", "invalid JSON: got EOF while reading request body");
        check("  ", "invalid JSON: got EOF while reading request body");
        check("{", "invalid JSON: unexpected EOF");
        check("{} {}", "unexpected content after JSON");
        check(
            "[]",
            "invalid JSON: invalid type: sequence, expected a container's configuration at line 1 column 0",
        );
        check(
            r#"{"HostConfig":{"Memory":"5"}}"#,
            "invalid JSON: HostConfig: Memory: invalid type: string \"5\", expected i64 at line 1 column 27",
        );
        check("null\n", "None");
        check(r#"{"Image":"a"}"#, r#"Some("a")"#);
    }

    #[test]
    fn only_json_is_taken_for_json() {
        let check = |value: &'static str, is_empty| {
            let mut headers = HeaderMap::new();
            if !value.is_empty() {
                headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(value));
            }
            check_type(&headers, is_empty).map_err(|failure| failure.message)
        };
        assert_eq!(check("", true), Ok(()));
        assert_eq!(check("application/json; charset=utf-8", false), Ok(()));
        assert_eq!(
            check("", false),
            Err("malformed Content-Type header (): mime: no media type".into())
        );
        assert_eq!(
            check("text/plain", true),
            Err("unsupported Content-Type header (text/plain): must be 'application/json'".into())
        );
    }
}
