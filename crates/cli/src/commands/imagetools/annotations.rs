//! `--annotation`: `TYPE[PLATFORM],...:KEY=VALUE`.

use ferry_distribution::{AnnotationPlace, IndexAnnotation};
use ferry_oci::platform::Platform;

use crate::options::platforms;

/// Reads the values of all flags.
pub(super) fn parse(values: &[String]) -> Result<Vec<IndexAnnotation>, String> {
    let mut all = Vec::new();
    for text in values.iter().filter(|text| !text.is_empty()) {
        let failed = |why: String| format!("failed to parse annotations: {why}");
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| failed(format!("invalid annotation {text:?}, expected key=value")))?;
        let Some((kinds, key)) = key.split_once(':') else {
            return Err(unsupported(""));
        };
        for kind in kinds.split(',') {
            let place = place(kind, kinds)?;
            let (key, value) = (key.to_owned(), value.to_owned());
            // The last word on a key counts.
            all.retain(|old: &IndexAnnotation| old.place != place || old.key != key);
            all.push(IndexAnnotation { place, key, value });
        }
    }
    Ok(all)
}

fn place(kind: &str, kinds: &str) -> Result<AnnotationPlace, String> {
    let failed = |why: String| Err(format!("failed to parse annotations: {why}"));
    let (name, platform) = match kind.split_once('[') {
        None => (kind, None),
        Some((name, rest)) => match rest.strip_suffix(']') {
            Some(platform) if !platform.is_empty() => (name, Some(platform)),
            _ => return failed(format!("could not parse annotation type {kinds:?}")),
        },
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
        return failed(format!("could not parse annotation type {kinds:?}"));
    }
    let platform = match platform.map(|text| (text, platforms::parse(text))) {
        Some((text, Ok(platform))) => Some(as_typed(text, platform)),
        None => None,
        Some((_, Err(why))) => return failed(format!("invalid platform {kind:?}: {why}")),
    };
    match name {
        "index" => Ok(AnnotationPlace::Index),
        "manifest-descriptor" => Ok(AnnotationPlace::Members(platform)),
        "manifest" => Err(unsupported(name)),
        "index-descriptor" => {
            Err(format!("{name:?} annotations are invalid while creating an image"))
        }
        other => failed(format!("unknown annotation type {other:?}")),
    }
}

/// Compat: members are compared by what is written of them, and so Docker leaves the usual variants
/// of Arm as they were typed.
fn as_typed(text: &str, mut platform: Platform) -> Platform {
    let has_variant = text.split('/').count() > 2;
    match (platform.architecture.as_str(), platform.variant.as_str(), has_variant) {
        ("arm64", "", true) => platform.variant = "v8".into(),
        ("arm", "v7", false) => platform.variant.clear(),
        _ => {}
    }
    platform
}

fn unsupported(kind: &str) -> String {
    format!("{kind:?} annotations are not supported yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, &str>) {
        let got = parse(&[text.to_owned()]).map(|all| {
            let texts = all.iter().map(|one| match &one.place {
                AnnotationPlace::Index => format!("index {}={}", one.key, one.value),
                AnnotationPlace::Members(None) => format!("all {}={}", one.key, one.value),
                AnnotationPlace::Members(Some(platform)) => {
                    format!("{platform} {}={}", one.key, one.value)
                }
            });
            texts.collect::<Vec<_>>().join("; ")
        });
        assert_eq!(got.as_deref().map_err(String::as_str), expect, "{text}");
    }

    #[test]
    fn annotations_say_where_they_go() {
        check("index:a=b=c", Ok("index a=b=c"));
        check("manifest-descriptor[linux/arm64]:a=b", Ok("linux/arm64 a=b"));
        check("manifest-descriptor[linux/arm64/v8]:a=b", Ok("linux/arm64/v8 a=b"));
        check("manifest-descriptor[linux/arm]:a=b", Ok("linux/arm a=b"));
        check("index,manifest-descriptor:a=", Ok("index a=; all a="));
        check("", Ok(""));
    }

    #[test]
    fn what_buildx_refuses_is_refused_in_its_words() {
        check(
            "a",
            Err("failed to parse annotations: invalid annotation \"a\", expected key=value"),
        );
        check("a=b", Err("\"\" annotations are not supported yet"));
        check("manifest:a=b", Err("\"manifest\" annotations are not supported yet"));
        let words = "\"index-descriptor\" annotations are invalid while creating an image";
        check("index-descriptor:a=b", Err(words));
        check("bad:a=b", Err("failed to parse annotations: unknown annotation type \"bad\""));
        let words = "failed to parse annotations: could not parse annotation type \"index[\"";
        check("index[:a=b", Err(words));
    }
}
