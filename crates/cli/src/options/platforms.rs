//! Platforms, checked before the engine is asked.

use ferry_oci::platform::Platform;

use crate::report::Failure;

/// Reads `os[(version)][/architecture[/variant]]`; the error is Docker's.
pub(crate) fn parse(text: &str) -> Result<Platform, String> {
    let (first, rest) = match text.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (text, None),
    };
    if text.contains('*') {
        return Err(format!("\"{text}\": wildcards not yet supported: invalid argument"));
    }
    let is_word = |word: &str, more: &str| {
        word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let (os, version) = match first.split_once('(') {
        Some((os, version)) => (os, version.strip_suffix(')')),
        None => (first, Some("")),
    };
    let version = version.filter(|version| is_word(version, "_.-"));
    let Some(version) = version.filter(|_| !os.is_empty() && is_word(os, "_-")) else {
        return Err(format!(
            "\"{first}\" is an invalid OS component of \"{text}\": OSAndVersion specifier component \
             must match \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$\": invalid argument"
        ));
    };
    for part in rest.into_iter().flat_map(|rest| rest.split('/')) {
        if part.is_empty() || !is_word(part, "_.-") {
            return Err(format!(
                "\"{part}\" is an invalid component of \"{text}\": platform specifier component \
                 must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
            ));
        }
    }
    let plain = rest.map_or_else(|| os.to_owned(), |rest| format!("{os}/{rest}"));
    let platform: Result<Platform, _> = plain.parse();
    let mut platform = platform.map_err(|error| format!("{error}: invalid argument"))?;
    version.clone_into(&mut platform.os_version);
    Ok(platform)
}

/// Reads the platform that a command is about, as the API has it; none of an empty text.
pub(crate) fn one(text: &str) -> Result<Option<String>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = parse(text);
    let platform = parsed.map_err(|why| Failure::plain(format!("invalid platform: {why}")))?;
    Ok(Some(json(&platform)))
}

/// A platform as the API has it.
pub(crate) fn json(platform: &Platform) -> String {
    let mut fields = serde_json::Map::new();
    let texts = [
        ("architecture", &platform.architecture),
        ("os", &platform.os),
        ("os.version", &platform.os_version),
        ("variant", &platform.variant),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        fields.insert(name.into(), text.as_str().into());
    }
    serde_json::Value::Object(fields).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, &str>) {
        let got = parse(text).map(|platform| json(&platform));
        assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned), "{text}");
    }

    #[test]
    fn platforms_are_read_as_docker_does() {
        check("linux/amd64", Ok(r#"{"architecture":"amd64","os":"linux"}"#));
        check("linux/arm/v6", Ok(r#"{"architecture":"arm","os":"linux","variant":"v6"}"#));
        check(
            "windows(10.0.17763)/amd64",
            Ok(r#"{"architecture":"amd64","os":"windows","os.version":"10.0.17763"}"#),
        );
        check(
            "b@d",
            Err(
                "\"b@d\" is an invalid OS component of \"b@d\": OSAndVersion specifier component must match \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$\": invalid argument",
            ),
        );
        check(
            "linux/b@d",
            Err(
                "\"b@d\" is an invalid component of \"linux/b@d\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument",
            ),
        );
        check("nope", Err("\"nope\": unknown operating system or architecture: invalid argument"));
    }
}
