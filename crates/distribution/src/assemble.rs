//! New indexes and artifacts out of what there is. Pure.

mod combine;

use std::collections::BTreeMap;

use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Index, Manifest, media_type};

pub use self::combine::{
    AnnotationPlace, CombinePlan, CombineSource, Combined, IndexAnnotation, combine,
};
use crate::registry::RawManifest;

/// Which of the two kinds an index becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// OCI's, unless all members are Docker's.
    ByMembers,
    /// OCI's.
    Oci,
    /// Docker's, which has no annotations.
    Docker,
}

/// Why an index cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// It would list nothing.
    #[error("an index needs at least one manifest")]
    Empty,
    /// Two members for the same platform, of which clients would take one by chance.
    #[error("two manifests for {0}")]
    SamePlatform(String),
    /// Docker's kind has no place for them.
    #[error("an index of Docker's kind cannot have annotations")]
    Annotations,
    /// A single image, which is for another platform than those that were wanted.
    #[error("input platform {0} does not match any of the provided platforms")]
    OtherPlatform(String),
    /// Of several images none is for a wanted platform.
    #[error("none of the manifests match the provided platforms")]
    NoPlatform,
    /// A source that is no index, though it says so.
    #[error("the index {digest}: {why}")]
    Malformed {
        /// Which.
        digest: Digest,
        /// In what way.
        why: String,
    },
}

/// Makes an index of members, in their order.
///
/// # Errors
/// When there are none, two are for the same platform, or the kind has no place for annotations.
pub fn build_index(
    members: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
    kind: IndexKind,
) -> Result<RawManifest, AssembleError> {
    if members.is_empty() {
        return Err(AssembleError::Empty);
    }
    let images = || members.iter().filter(|member| !member.is_attestation());
    for (at, member) in images().enumerate() {
        let Some(platform) = &member.platform else { continue };
        let is_twice = images().take(at).any(|other| {
            other.platform.as_ref() == Some(platform) && other.digest != member.digest
        });
        if is_twice {
            return Err(AssembleError::SamePlatform(format!(
                "{}/{}",
                platform.os, platform.architecture
            )));
        }
    }
    let is_docker = match kind {
        IndexKind::Oci => false,
        IndexKind::Docker => true,
        IndexKind::ByMembers => {
            annotations.is_empty()
                && members.iter().all(|member| member.media_type == media_type::DOCKER_MANIFEST)
        }
    };
    if is_docker && !annotations.is_empty() {
        return Err(AssembleError::Annotations);
    }
    let media = if is_docker { media_type::DOCKER_LIST } else { media_type::OCI_INDEX };
    let index = Index {
        schema_version: 2,
        media_type: Some(media.to_owned()),
        artifact_type: None,
        manifests: members,
        subject: None,
        annotations,
    };
    Ok(RawManifest::new(media, json(&index)))
}

/// What an artifact is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArtifactParts {
    /// The kind; not needed where a configuration says it with its media type.
    pub artifact_type: Option<String>,
    /// The configuration; the empty one where there is none.
    pub config: Option<Descriptor>,
    /// The files.
    pub files: Vec<Descriptor>,
    /// The manifest that it says something about.
    pub subject: Option<Descriptor>,
    /// Remarks for programs.
    pub annotations: BTreeMap<String, String>,
}

/// Makes the manifest of an artifact: files that are no image, perhaps about another manifest.
/// Where it has no configuration or no files, the empty one stands for them, whose two bytes must
/// be in the repository. [OCI image, manifest.md § Guidelines for Artifact Usage]
pub fn build_artifact(parts: ArtifactParts) -> RawManifest {
    let ArtifactParts { artifact_type, config, files, subject, annotations } = parts;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.into()),
        artifact_type,
        config: config.unwrap_or_else(empty),
        layers: if files.is_empty() { vec![empty()] } else { files },
        subject,
        annotations,
    };
    RawManifest::new(media_type::OCI_MANIFEST, json(&manifest))
}

/// The bytes of the empty configuration.
pub const EMPTY: &[u8] = b"{}";

/// Points to the empty configuration.
pub fn empty() -> Descriptor {
    let digest = Digest::sha256_of(EMPTY);
    Descriptor::new(media_type::OCI_EMPTY, digest, EMPTY.len() as u64)
}

fn json(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents of texts and numbers can be written as JSON")
}

#[cfg(test)]
mod tests {
    use ferry_oci::platform::Platform;

    use super::*;

    fn member(media: &str, platform: &str, text: &[u8]) -> Descriptor {
        let platform: Platform = platform.parse().unwrap();
        let descriptor = Descriptor::new(media, Digest::sha256_of(text), text.len() as u64);
        Descriptor { platform: Some(platform), ..descriptor }
    }

    #[test]
    fn an_index_is_of_the_kind_of_its_members() {
        let build = |media: &[&str], annotations: BTreeMap<String, String>| {
            let platforms = ["linux/amd64", "linux/s390x"];
            let members =
                media.iter().zip(platforms).map(|(media, p)| member(media, p, p.as_bytes()));
            build_index(members.collect(), annotations, IndexKind::ByMembers).unwrap()
        };
        let (docker, oci) = (media_type::DOCKER_MANIFEST, media_type::OCI_MANIFEST);
        let none = BTreeMap::new;
        assert_eq!(build(&[docker, docker], none()).media_type, media_type::DOCKER_LIST);
        assert_eq!(build(&[docker, oci], none()).media_type, media_type::OCI_INDEX);
        let some = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let index = build(&[docker], some);
        assert_eq!(index.media_type, media_type::OCI_INDEX);
        assert_eq!(Index::parse(&index.bytes).unwrap().annotations["a"], "b");
    }

    #[test]
    fn what_clients_could_not_tell_apart_is_refused() {
        let oci = media_type::OCI_MANIFEST;
        let build = |members| build_index(members, BTreeMap::new(), IndexKind::ByMembers);
        assert_eq!(build(Vec::new()), Err(AssembleError::Empty));
        let twice = vec![member(oci, "linux/amd64", b"a"), member(oci, "linux/amd64", b"b")];
        assert_eq!(build(twice), Err(AssembleError::SamePlatform("linux/amd64".into())));
        let same = vec![member(oci, "linux/amd64", b"a"), member(oci, "linux/amd64", b"a")];
        assert!(build(same).is_ok());
    }

    #[test]
    fn an_artifact_has_the_empty_configuration() {
        let file = Descriptor::new("text/plain", Digest::sha256_of(b"x"), 1);
        let artifact_type = Some("text/x".to_owned());
        let parts = ArtifactParts { artifact_type, files: vec![file], ..ArtifactParts::default() };
        let raw = build_artifact(parts);
        let manifest = Manifest::parse(&raw.bytes).unwrap();
        assert_eq!(manifest.artifact_type.as_deref(), Some("text/x"));
        assert!(manifest.config.digest.matches(EMPTY));
    }

    #[test]
    fn an_artifact_without_files_has_the_empty_one() {
        let config = Descriptor::new("text/x", Digest::sha256_of(b"x"), 1);
        let parts = ArtifactParts { config: Some(config.clone()), ..ArtifactParts::default() };
        let manifest = Manifest::parse(&build_artifact(parts).bytes).unwrap();
        assert_eq!((manifest.config, manifest.layers), (config, vec![empty()]));
        assert_eq!(manifest.artifact_type, None);
    }
}
