//! What an index is made of: names, digests and descriptors.

use ferry_distribution::{CombineSource, RawManifest, Repository, Selector, limits};
use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Manifest, media_type};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use serde::Deserialize;

use crate::registries;
use crate::report::Failure;

/// A source as it was typed.
#[derive(Debug, PartialEq)]
pub(super) enum Source {
    Name(Reference),
    /// A manifest of the repository that everything else is in.
    Given(Box<Given>),
}

/// What is said of a manifest in place of what its registry says.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Given {
    #[serde(default)]
    media_type: String,
    pub(super) digest: Digest,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    artifact_type: Option<String>,
}

impl Source {
    /// Reads a digest, a name or the JSON of a descriptor.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches('\n');
        let failed = |why: String| {
            format!(
                "failed to parse source {text:?}, valid sources are digests, references and \
                 descriptors: {why}"
            )
        };
        match text.parse::<Digest>() {
            Ok(digest) => {
                let given = serde_json::json!({ "digest": digest });
                let given = serde_json::from_value(given).map_err(|it| failed(it.to_string()))?;
                return Ok(Self::Given(Box::new(given)));
            }
            Err(error) if text.starts_with("sha256") => return Err(failed(error.to_string())),
            Err(_) => {}
        }
        match Reference::parse(text) {
            Ok(name) => Ok(Self::Name(name.with_default_tag())),
            Err(_) if text.starts_with('{') => serde_json::from_str(text)
                .map(|given| Self::Given(Box::new(given)))
                .map_err(|error| failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// Fetches a source, and says how an index is to list it.
pub(super) async fn fetch(
    repository: &Repository,
    name: &Reference,
    given: Option<&Given>,
) -> Result<CombineSource, Failure> {
    let which = match given {
        Some(given) => Selector::Digest(given.digest.clone()),
        None => registries::selector(name),
    };
    let fetched = repository.manifest(&which).await;
    let raw = fetched.map_err(|error| super::failure(name, error))?.raw;
    let mut descriptor = raw.descriptor();
    if let Some(given) = given {
        merge(&mut descriptor, given)?;
    }
    match descriptor.media_type.as_str() {
        media_type::DOCKER_MANIFEST | media_type::OCI_MANIFEST => {
            let mut platform = descriptor.platform.take().unwrap_or_default();
            if platform.os.is_empty() || platform.architecture.is_empty() {
                complete(&mut platform, repository, name, &raw).await?;
            }
            descriptor.platform = Some(platform);
        }
        media_type::DOCKER_V1 | media_type::DOCKER_V1_SIGNED => {
            return Err(Failure::plain("schema1 manifests are not allowed in manifest lists"));
        }
        _ => {}
    }
    Ok(CombineSource { descriptor, raw })
}

/// What was given counts more than what the registry says, but for what the bytes are.
fn merge(descriptor: &mut Descriptor, given: &Given) -> Result<(), Failure> {
    let Given { media_type, digest, size, urls, annotations, data, platform, artifact_type } =
        given;
    if *size != 0 && *size != descriptor.size {
        return Err(Failure::plain(format!(
            "invalid size mismatch for {digest}, {size} != {}",
            descriptor.size
        )));
    }
    if !media_type.is_empty() {
        descriptor.media_type.clone_from(media_type);
    }
    descriptor.urls.clone_from(urls);
    descriptor.annotations.clone_from(annotations);
    descriptor.data.clone_from(data);
    descriptor.platform.clone_from(platform);
    descriptor.artifact_type.clone_from(artifact_type);
    Ok(())
}

/// Takes what is missing of a platform out of the image's configuration.
async fn complete(
    platform: &mut Platform,
    repository: &Repository,
    name: &Reference,
    raw: &RawManifest,
) -> Result<(), Failure> {
    let manifest = Manifest::parse(&raw.bytes)
        .map_err(|error| Failure::plain(format!("the manifest of {name}: {error}")))?;
    let config = repository.small_blob(&manifest.config, limits::MAX_CONFIG).await;
    let config = config.map_err(|error| super::failure(name, error))?;
    let stated: Platform = serde_json::from_slice(&config)
        .map_err(|error| Failure::plain(format!("the configuration of {name}: {error}")))?;
    let stated = stated.normalized();
    if platform.architecture.is_empty() {
        platform.architecture = stated.architecture;
        if platform.variant.is_empty() {
            platform.variant = stated.variant;
        }
    }
    if platform.os.is_empty() {
        platform.os = stated.os;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_names_digests_and_descriptors() {
        let digest = Digest::sha256_of(b"x");
        let Ok(Source::Given(given)) = Source::parse(digest.as_str()) else { panic!("a digest") };
        assert_eq!((given.size, given.platform), (0, None));
        let name = Source::parse("h:1/a").unwrap();
        assert_eq!(name, Source::Name(Reference::parse("h:1/a:latest").unwrap()));
        let json = format!(r#"{{"digest":"{digest}","size":1,"platform":{{"os":"linux"}}}}"#);
        let Ok(Source::Given(given)) = Source::parse(&json) else { panic!("a descriptor") };
        assert_eq!(given.platform.as_ref().unwrap().os, "linux");
        let mut descriptor = Descriptor::new("m", digest, 2);
        let refused = merge(&mut descriptor, &given).unwrap_err().message;
        assert!(refused.starts_with("invalid size mismatch for sha256:"), "{refused}");
        let refused = Source::parse("sha256:xx").unwrap_err();
        assert!(refused.ends_with("descriptors: invalid checksum digest length"), "{refused}");
        assert!(Source::parse("UPPER").is_err());
    }
}
