//! Pulls, pushes and logins: from what is asked to requests, and from events to Docker's lines.

use ferry_api::{
    ProgressMessage,
    progress::ProgressDetail,
    query::ImageCreateQuery,
    registry::{AuthConfig, ManifestPushedInsteadOfIndex, PushResult},
};
use ferry_distribution::Credentials;
use ferry_engine::{LayerState, PullRequest, TransferEvent};
use ferry_oci::{digest::Digest, platform::Platform, reference::Reference};
use serde_json::Value;

use crate::{convert::shown::signed, http::error::Failure};

/// Who one is at a registry. What proves it in files, in one field with the name, counts for
/// nothing here, as with Docker.
pub(crate) fn credentials(auth: AuthConfig) -> Credentials {
    let AuthConfig { username, password, auth: _, serveraddress: _, identitytoken, registrytoken } =
        auth;
    Credentials::from_parts(username, password, identitytoken, registrytoken)
}

/// Reads a name as people write it.
pub(crate) fn name(text: &str) -> Result<Reference, Failure> {
    Reference::parse(text).map_err(|error| Failure::invalid(error.to_string()))
}

/// Reads a platform that is written as JSON; an empty text is none.
pub(crate) fn platform(json: Option<&str>) -> Result<Option<Platform>, Failure> {
    json.filter(|text| !text.is_empty()).map(one_platform).transpose()
}

/// Reads the one platform that an archive may be of.
pub(crate) fn archived_platform(texts: &[String]) -> Result<Option<Platform>, Failure> {
    match texts {
        [] => Ok(None),
        [text] => platform(Some(text)),
        _ => Err(Failure::invalid("multiple platform parameters not supported")),
    }
}

/// Reads platforms that are written as JSON.
pub(crate) fn platforms(texts: &[String]) -> Result<Vec<Platform>, Failure> {
    texts.iter().map(|text| one_platform(text)).collect()
}

fn one_platform(text: &str) -> Result<Platform, Failure> {
    let failed = |why: String| Failure::invalid(format!("failed to parse platform: {why}"));
    // First: an array would be taken for the fields in their order.
    if let Some(why) = go_words(text) {
        return Err(failed(why));
    }
    let platform: Platform =
        serde_json::from_str(text).map_err(|error| failed(error.to_string()))?;
    if platform.os.is_empty() || platform.architecture.is_empty() {
        return Err(Failure::invalid("both OS and Architecture must be provided"));
    }
    Ok(platform.normalized())
}

/// What Docker says of a text that is not the JSON of an object.
fn go_words(text: &str) -> Option<String> {
    let Some(first) = text.trim_ascii_start().chars().next() else {
        return Some("unexpected end of JSON input".to_owned());
    };
    let kind = match serde_json::from_str(text) {
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(Value::Bool(_)) => "bool",
        Ok(_) => return None,
        Err(error) if error.is_eof() => return Some("unexpected end of JSON input".to_owned()),
        Err(_) if first.is_ascii_digit() || "{[\"-tfn".contains(first) => return None,
        Err(_) => {
            return Some(format!("invalid character {first:?} looking for beginning of value"));
        }
    };
    Some(format!("json: cannot unmarshal {kind} into Go value of type v1.Platform"))
}

/// Converts a pull.
///
/// # Errors
///
/// A malformed name, tag or platform, in Docker's words.
pub(crate) fn pull_request(
    query: ImageCreateQuery,
    credentials: Credentials,
) -> Result<PullRequest, Failure> {
    let name = name(query.from_image.as_deref().unwrap_or_default())?;
    let name = match query.tag.as_deref() {
        None => name,
        // Compat: a tag may be a digest.
        Some(tag) => match tag.parse::<Digest>() {
            Ok(digest) => name.with_digest(digest),
            Err(_) => name.with_tag(tag).map_err(|error| Failure::invalid(error.to_string()))?,
        },
    };
    let platform = query.platform.as_deref().map(str::parse::<Platform>).transpose();
    Ok(PullRequest {
        all_tags: name.tag().is_none() && name.digest().is_none(),
        platform: platform.map_err(|error| Failure::invalid(error.to_string()))?,
        name,
        credentials,
    })
}

/// Says in Docker's words what happened to a transfer.
pub(crate) fn messages(event: TransferEvent) -> Vec<ProgressMessage> {
    let status = |text: String| vec![ProgressMessage::status(text)];
    match event {
        TransferEvent::From { tag, repository } => {
            let pulling = ProgressMessage::status(format!("Pulling from {repository}"));
            vec![ProgressMessage { id: tag, ..pulling }]
        }
        TransferEvent::Layer { id, state } => vec![layer(id, state)],
        TransferEvent::Digest(digest) => status(format!("Digest: {digest}")),
        TransferEvent::Status { newer, name } => status(if newer {
            format!("Status: Downloaded newer image for {name}")
        } else {
            format!("Status: Image is up to date for {name}")
        }),
        TransferEvent::To { repository } => {
            status(format!("The push refers to repository [{repository}]"))
        }
        TransferEvent::Tagged { tag, digest, size } => {
            let said = ProgressMessage::status(format!("{tag}: digest: {digest} size: {size}"));
            let result = PushResult { tag, digest: digest.to_string(), size: signed(size) };
            vec![said, aux(serde_json::to_value(result))]
        }
        TransferEvent::InsteadOfIndex { original, selected } => {
            vec![aux(serde_json::to_value(ManifestPushedInsteadOfIndex {
                manifest_pushed_instead_of_index: true,
                original_index: *original,
                selected_manifest: *selected,
            }))]
        }
        TransferEvent::Note(text) => status(text),
    }
}

fn aux(value: serde_json::Result<Value>) -> ProgressMessage {
    ProgressMessage {
        progress_detail: Some(ProgressDetail::default()),
        aux: value.ok(),
        ..ProgressMessage::default()
    }
}

fn layer(id: String, state: LayerState) -> ProgressMessage {
    use crate::routes::progress::step;

    let words = match state {
        LayerState::Downloading { current, total } => {
            return step("Downloading", id, current, total);
        }
        LayerState::Extracting { current, total } => return step("Extracting", id, current, total),
        LayerState::Pushing { current, total } => return step("Pushing", id, current, total),
        LayerState::Fetching => "Pulling fs layer",
        LayerState::Waiting => "Waiting",
        LayerState::Verifying => "Verifying Checksum",
        LayerState::Downloaded => "Download complete",
        LayerState::Complete => "Pull complete",
        LayerState::Exists => "Already exists",
        LayerState::Retrying { seconds: 1 } => "Retrying in 1 second",
        LayerState::Retrying { seconds } => &format!("Retrying in {seconds} seconds"),
        LayerState::Preparing => "Preparing",
        LayerState::PushExists => "Layer already exists",
        LayerState::Mounted { from } => &format!("Mounted from {from}"),
        LayerState::Skipped => "Skipped foreign layer",
        LayerState::Pushed => "Pushed",
    };
    let progress_detail = Some(ProgressDetail::default());
    ProgressMessage { id, progress_detail, ..ProgressMessage::status(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: TransferEvent, expect: &[&str]) {
        let messages = messages(event);
        let lines: Vec<_> =
            messages.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        assert_eq!(lines, expect);
    }

    #[test]
    fn lines_are_those_of_docker() {
        let layer = |state| TransferEvent::Layer { id: "f37361ac126c".to_owned(), state };
        check(
            TransferEvent::From { tag: "v1".into(), repository: "two".into() },
            &[r#"{"status":"Pulling from two","id":"v1"}"#],
        );
        check(
            layer(LayerState::Fetching),
            &[r#"{"status":"Pulling fs layer","progressDetail":{},"id":"f37361ac126c"}"#],
        );
        check(
            layer(LayerState::Downloading { current: 36_445, total: 3_002_106 }),
            &[&format!(
                r#"{{"status":"Downloading","progressDetail":{{"current":36445,"total":3002106}},"progress":"[>{}]  36.45kB/3.002MB","id":"f37361ac126c"}}"#,
                " ".repeat(50)
            )],
        );
        check(
            layer(LayerState::Mounted { from: "two".into() }),
            &[r#"{"status":"Mounted from two","progressDetail":{},"id":"f37361ac126c"}"#],
        );
        let digest = Digest::sha256_of(b"");
        check(
            TransferEvent::Tagged { tag: "v1".into(), digest: digest.clone(), size: 739 },
            &[
                &format!(r#"{{"status":"v1: digest: {digest} size: 739"}}"#),
                &format!(
                    r#"{{"progressDetail":{{}},"aux":{{"Tag":"v1","Digest":"{digest}","Size":739}}}}"#
                ),
            ],
        );
    }

    #[track_caller]
    fn check_platform(text: &str, expect: Result<&str, &str>) {
        let got = platforms(&[text.to_owned()]).map(|read| read[0].to_string());
        assert_eq!(got.as_deref().map_err(|failure| failure.message.as_str()), expect);
    }

    #[test]
    fn platforms_are_read_and_refused_in_the_words_of_docker() {
        check_platform(r#"{"os":"linux","architecture":"arm64"}"#, Ok("linux/arm64"));
        check_platform(r#"{"os":"linux"}"#, Err("both OS and Architecture must be provided"));
        let failed = |why: &str| format!("failed to parse platform: {why}");
        for (text, why) in [
            ("", "unexpected end of JSON input"),
            (r#"{"os":"#, "unexpected end of JSON input"),
            ("garbage", "invalid character 'g' looking for beginning of value"),
            ("[]", "json: cannot unmarshal array into Go value of type v1.Platform"),
            ("1", "json: cannot unmarshal number into Go value of type v1.Platform"),
        ] {
            check_platform(text, Err(&failed(why)));
        }
        assert_eq!(platform(Some("")).unwrap(), None);
        let two = ["{}".to_owned(), "{}".to_owned()];
        let refused = archived_platform(&two).unwrap_err();
        assert_eq!(refused.message, "multiple platform parameters not supported");
    }

    #[track_caller]
    fn check_pull(image: &str, tag: &str, expect: Result<(&str, bool), &str>) {
        let query = ImageCreateQuery {
            from_image: Some(image.to_owned()),
            tag: Some(tag.to_owned()).filter(|tag| !tag.is_empty()),
            ..ImageCreateQuery::default()
        };
        let got = pull_request(query, Credentials::None);
        let got = got.map(|request| (request.name.familiar(), request.all_tags));
        let got = got.as_ref().map(|(name, all)| (name.as_str(), *all));
        assert_eq!(got.map_err(|failure| failure.message.as_str()), expect);
    }

    #[test]
    fn a_pull_is_named_in_several_ways() {
        let digest = Digest::sha256_of(b"");
        let whole = format!("busybox@{digest}");
        check_pull("busybox", "", Ok(("busybox", true)));
        check_pull("busybox", "1", Ok(("busybox:1", false)));
        check_pull("busybox:1", "", Ok(("busybox:1", false)));
        check_pull("busybox:1", "2", Ok(("busybox:2", false)));
        check_pull("busybox:1", digest.as_str(), Ok((&whole, false)));
        check_pull(&whole, "", Ok((&whole, false)));
        check_pull("busybox", "a b", Err("invalid tag format"));
        check_pull(
            "Two",
            "",
            Err("invalid reference format: repository name (library/Two) must be lowercase"),
        );
    }
}
