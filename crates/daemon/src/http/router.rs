//! From a method and a path to an endpoint: `api::ENDPOINTS`, searched.

use ferry_api::{ENDPOINTS, Endpoint};
use percent_encoding::percent_decode_str;

use crate::compat::Version;

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Route {
    /// An endpoint.
    Found(Found),
    /// Docker answers 301 to a path with empty or dotted segments.
    Moved(String),
    /// Nothing.
    NotFound,
}

/// An endpoint with what the path says beside.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) endpoint: &'static Endpoint,
    /// As it was written, or the newest.
    pub(crate) version: Option<String>,
    /// What stands for the `{...}` of the path, in their order.
    pub(crate) variables: Vec<String>,
}

/// Finds the endpoint of a request.
pub(crate) fn route(method: &str, raw_path: &str) -> Route {
    let path = percent_decode_str(raw_path).decode_utf8_lossy();
    let clean = cleaned(&path);
    if clean != path {
        return Route::Moved(clean);
    }
    let (version, rest) = split_version(&path);
    for endpoint in ENDPOINTS {
        if endpoint.method.as_str() == method
            && let Some(variables) = matched(endpoint.path, rest)
        {
            let version = version.map(str::to_owned);
            return Route::Found(Found { endpoint, version, variables });
        }
    }
    Route::NotFound
}

/// Whether a path is one of the API's, whatever the method; Docker answers `OPTIONS` to those.
pub(crate) fn is_known(raw_path: &str) -> bool {
    let path = percent_decode_str(raw_path).decode_utf8_lossy();
    let (_, rest) = split_version(&path);
    ENDPOINTS.iter().any(|endpoint| matched(endpoint.path, rest).is_some())
}

/// Takes `/v1.51` off the front.
fn split_version(path: &str) -> (Option<&str>, &str) {
    let Some(after) = path.strip_prefix("/v") else { return (None, path) };
    let Some(end) = after.find('/') else { return (None, path) };
    let (version, rest) = after.split_at(end);
    if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        (Some(version), rest)
    } else {
        (None, path)
    }
}

/// Takes a path apart by a pattern. `{x}` is one segment, `{x:.*}` may be several.
fn matched(pattern: &str, path: &str) -> Option<Vec<String>> {
    if let Some((before, after)) =
        pattern.split_once("{name:.*}").or_else(|| pattern.split_once("{id:.*}"))
    {
        let variable = path.strip_prefix(before)?.strip_suffix(after)?;
        return (!variable.is_empty()).then(|| vec![variable.to_owned()]);
    }
    let mut variables = Vec::new();
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        if expected.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            variables.push(segment.to_owned());
        } else if segment != expected {
            return None;
        }
    }
    segments.next().is_none().then_some(variables)
}

/// The path without empty and dotted segments; a slash at the end stays.
fn cleaned(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut clean = format!("/{}", kept.join("/"));
    if path.ends_with('/') && clean.len() > 1 {
        clean.push('/');
    }
    clean
}

/// The version of a found route.
///
/// # Errors
///
/// Docker's refusal of one that is too old or too new.
pub(crate) fn version(found: &Found) -> Result<Version, crate::http::error::Failure> {
    match &found.version {
        None => Ok(Version::NEWEST),
        Some(text) => Version::admit(text),
    }
}

#[cfg(test)]
mod tests {
    use ferry_api::Operation;

    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, expect: Option<(Operation, &[&str])>) {
        let got = match route(method, path) {
            Route::Found(found) => Some((found.endpoint.operation, found.variables)),
            Route::Moved(_) | Route::NotFound => None,
        };
        let expect = expect.map(|(operation, variables)| {
            (operation, variables.iter().map(|text| (*text).to_owned()).collect())
        });
        assert_eq!(got, expect, "{method} {path}");
    }

    #[test]
    fn paths_lead_to_their_endpoints() {
        check("GET", "/containers/json", Some((Operation::ContainerList, &[])));
        check("GET", "/v1.24/containers/json", Some((Operation::ContainerList, &[])));
        check("GET", "/containers/json/json", Some((Operation::ContainerInspect, &["json"])));
        check("HEAD", "/_ping", Some((Operation::SystemPingHead, &[])));
        check("GET", "/images/json", Some((Operation::ImageList, &[])));
        check("GET", "/images/a/b:c/json", Some((Operation::ImageInspect, &["a/b:c"])));
        check("GET", "/images/a%2Fb/json", Some((Operation::ImageInspect, &["a/b"])));
        check("DELETE", "/images/a/b", Some((Operation::ImageDelete, &["a/b"])));
        check("GET", "/networks/bridge", Some((Operation::NetworkInspect, &["bridge"])));
        check("GET", "/volumes", Some((Operation::VolumeList, &[])));
        check(
            "DELETE",
            "/containers/a/checkpoints/b",
            Some((Operation::CheckpointDelete, &["a", "b"])),
        );
    }

    #[test]
    fn other_paths_and_methods_lead_nowhere() {
        check("GET", "/", None);
        check("GET", "/nope", None);
        check("PUT", "/containers/json", None);
        check("HEAD", "/containers/json", None);
        check("GET", "/vx/info", None);
        check("GET", "/v1.51", None);
        check("GET", "/containers/a/b/json", None);
    }

    #[test]
    fn empty_segments_are_redirected() {
        for (path, to) in [
            ("/containers//start", "/containers/start"),
            ("/v1.51/containers//json", "/v1.51/containers/json"),
            ("/containers/../info", "/info"),
            ("//", "/"),
        ] {
            let Route::Moved(moved) = route("POST", path) else { panic!("{path}") };
            assert_eq!(moved, to);
        }
    }
}
