//! Manifests and indexes, OCI's and Docker's (schema 2); they differ in media types only.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::{Digest, ParseDigestError};
use crate::platform::Platform;

/// The media types that images are made of.
pub mod media_type {
    /// OCI index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed; `+gzip` and `+zstd` follow when compressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, compressed with gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, compressed with zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// OCI layer that its publisher does not want distributed; `+gzip` and `+zstd` may follow.
    pub const OCI_FOREIGN_LAYER: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// The configuration of what has none: two bytes, `{}`.
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// Docker's index.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, compressed with gzip.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's layer, uncompressed.
    pub const DOCKER_LAYER_PLAIN: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker's layer, compressed with gzip, that its publisher does not want distributed.
    pub const DOCKER_FOREIGN_LAYER: &str =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    /// Docker's manifest of schema 1, which nobody takes any more.
    pub const DOCKER_V1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    /// The same, signed.
    pub const DOCKER_V1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
}

/// Annotation: the complete name of an image in a layout, as containerd writes it.
pub const ANNOTATION_IMAGE_NAME: &str = "io.containerd.image.name";
/// Annotation: the tag of an image in a layout, or its name.
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Points to a blob. [OCI image, descriptor.md]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// Other places to find it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Remarks for programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The bytes themselves in base64, when they are few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// In an index: what the manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The kind of artifact, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Points to a blob, and says nothing more of it.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// Whether it points to a layer that its publisher does not want distributed: it is fetched
    /// from its `urls`, and not pushed unless that was asked for.
    pub fn is_foreign(&self) -> bool {
        self.media_type == media_type::DOCKER_FOREIGN_LAYER
            || self.media_type.starts_with(media_type::OCI_FOREIGN_LAYER)
    }

    /// Whether it points to an index of either kind.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), media_type::OCI_INDEX | media_type::DOCKER_LIST)
    }

    /// Whether it points to a manifest of either kind.
    pub fn is_manifest(&self) -> bool {
        matches!(self.media_type.as_str(), media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST)
    }

    /// Whether it is BuildKit's statement about another manifest, not an image.
    pub fn is_attestation(&self) -> bool {
        self.annotations
            .get("vnd.docker.reference.type")
            .is_some_and(|t| t == "attestation-manifest")
            || self
                .platform
                .as_ref()
                .is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
    }
}

/// One image: a configuration and its layers. [OCI image, manifest.md]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// OCI allows it to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The kind of artifact, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// The manifest that it says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Remarks for programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Several images or further indexes. [OCI image, image-index.md]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// OCI allows it to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The kind of artifact, when it lists no images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What it lists; without members whose digests cannot be computed, which are none of ours.
    #[serde(deserialize_with = "computable")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that it says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Remarks for programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Reads the members of an index. One whose digest has an algorithm that is not known is passed over:
/// it need not be the end of its neighbours.
fn computable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Descriptor>, D::Error> {
    let members = Vec::<serde_json::Value>::deserialize(deserializer)?;
    let is_unknown = |member: &serde_json::Value| {
        let digest = member.get("digest").and_then(serde_json::Value::as_str);
        digest.is_some_and(|text| text.parse::<Digest>() == Err(ParseDigestError::Unsupported))
    };
    let known = members.into_iter().filter(|member| !is_unknown(member));
    known.map(|member| Descriptor::deserialize(member).map_err(D::Error::custom)).collect()
}

/// Why a manifest or an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParseManifestError {
    /// It is not the JSON that we expect.
    #[error("{what} is malformed: {reason}")]
    Json {
        /// `manifest` or `index`.
        what: &'static str,
        /// What the parser says of it, with the place.
        reason: String,
    },
    /// Schema 1, which Docker no longer takes either.
    #[error("{what} has schema version 1; only 2 is supported")]
    Schema1 {
        /// `manifest` or `index`.
        what: &'static str,
    },
    /// A schema unheard of.
    #[error("{what} has schema version {version}; only 2 is supported")]
    Schema {
        /// `manifest` or `index`.
        what: &'static str,
        /// Which.
        version: u32,
    },
    /// A media type that contradicts what the document was said to be.
    #[error("{what} says that it is \"{media_type}\"")]
    MediaType {
        /// `manifest` or `index`.
        what: &'static str,
        /// What it says.
        media_type: String,
    },
    /// It could be read as a manifest and as an index.
    #[error("{what} has the fields of both a manifest and an index")]
    Ambiguous {
        /// `manifest` or `index`.
        what: &'static str,
    },
}

impl Manifest {
    /// Parses a manifest of either kind.
    ///
    /// # Errors
    /// When it is malformed, of another schema, or says that it is something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseManifestError> {
        let known = [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST];
        parse("manifest", &known, |head| head.manifests.is_some(), bytes)
    }
}

impl Index {
    /// Parses an index of either kind.
    ///
    /// # Errors
    /// When it is malformed, of another schema, or says that it is something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseManifestError> {
        let known = [media_type::OCI_INDEX, media_type::DOCKER_LIST];
        parse("index", &known, |head| head.config.is_some() || head.layers.is_some(), bytes)
    }
}

/// What is looked at before anything else is believed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
}

/// A document that says it is of another type, or could be, is refused: the same bytes must never
/// be read as two things (CVE-2021-41190).
fn parse<T: DeserializeOwned>(
    what: &'static str,
    known: &[&str],
    is_other: impl Fn(&Head) -> bool,
    bytes: &[u8],
) -> Result<T, ParseManifestError> {
    let json =
        |error: serde_json::Error| ParseManifestError::Json { what, reason: error.to_string() };
    let head: Head = serde_json::from_slice(bytes).map_err(json)?;
    if head.schema_version == 1 {
        return Err(ParseManifestError::Schema1 { what });
    }
    if let Some(media_type) = head.media_type.as_deref().filter(|one| !known.contains(one)) {
        return Err(ParseManifestError::MediaType { what, media_type: media_type.to_owned() });
    }
    if is_other(&head) {
        return Err(ParseManifestError::Ambiguous { what });
    }
    let document = serde_json::from_slice(bytes).map_err(json)?;
    match head.schema_version {
        2 => Ok(document),
        version => Err(ParseManifestError::Schema { what, version }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(media: &str, version: u32) -> String {
        format!(
            r#"{{"schemaVersion":{version},"mediaType":"{media}","config":{{"mediaType":"c","digest":"{SUM}","size":3}},
            "layers":[{{"mediaType":"l","digest":"{SUM}","size":4,"annotations":{{"a":"b"}}}}]}}"#
        )
    }

    #[test]
    fn both_kinds_of_manifest_are_read() {
        for media in [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST] {
            let manifest = Manifest::parse(manifest(media, 2).as_bytes()).unwrap();
            assert_eq!(manifest.config.size, 3);
            assert_eq!(manifest.layers[0].annotations["a"], "b");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let parse = |text: String| Manifest::parse(text.as_bytes());
        assert!(matches!(
            parse(manifest(media_type::OCI_INDEX, 2)),
            Err(ParseManifestError::MediaType { .. })
        ));
        assert!(matches!(
            parse(manifest(media_type::OCI_MANIFEST, 1)),
            Err(ParseManifestError::Schema1 { .. })
        ));
        // As it is in the wild: nothing that schema 2 has.
        assert!(matches!(
            parse(r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[]}"#.into()),
            Err(ParseManifestError::Schema1 { .. })
        ));
        assert!(matches!(
            parse(manifest(media_type::OCI_MANIFEST, 3)),
            Err(ParseManifestError::Schema { version: 3, .. })
        ));
        assert!(matches!(parse("{}".into()), Err(ParseManifestError::Json { .. })));
    }

    #[test]
    fn what_could_be_both_is_refused() {
        let both = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{SUM}","size":3}},"layers":[],"manifests":[]}}"#
        );
        let manifest = Manifest::parse(both.as_bytes());
        assert!(matches!(manifest, Err(ParseManifestError::Ambiguous { what: "manifest" })));
        let index = Index::parse(both.as_bytes());
        assert!(matches!(index, Err(ParseManifestError::Ambiguous { what: "index" })));
    }

    #[test]
    fn a_member_with_an_unknown_digest_does_not_end_its_neighbours() {
        let index = |digest: &str| {
            let text = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"m","digest":"{digest}","size":1}},
                {{"mediaType":"m","digest":"{SUM}","size":2}}]}}"#
            );
            Index::parse(text.as_bytes())
        };
        let members = index("blake3:af1349b9").unwrap().manifests;
        assert_eq!(members.iter().map(|member| member.size).collect::<Vec<_>>(), [2]);
        assert!(matches!(index("sha256:af1349b9"), Err(ParseManifestError::Json { .. })));
    }

    #[test]
    fn an_artifact_says_what_it_is_and_what_it_is_about() {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{0}","artifactType":"text/x","config":{{"mediaType":"{1}","digest":"{SUM}","size":2}},"layers":[],"subject":{{"mediaType":"{0}","digest":"{SUM}","size":9}}}}"#,
            media_type::OCI_MANIFEST,
            media_type::OCI_EMPTY,
        );
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.artifact_type.as_deref(), Some("text/x"));
        assert_eq!(manifest.subject.as_ref().unwrap().size, 9);
        assert_eq!(serde_json::to_string(&manifest).unwrap(), text);
    }

    #[test]
    fn layers_that_are_not_for_distribution_are_known() {
        let is_foreign = |media: &str| Descriptor::new(media, SUM.parse().unwrap(), 1).is_foreign();
        assert!(is_foreign(media_type::DOCKER_FOREIGN_LAYER));
        assert!(is_foreign(&format!("{}+zstd", media_type::OCI_FOREIGN_LAYER)));
        assert!(!is_foreign(media_type::OCI_LAYER_GZIP) && !is_foreign(media_type::DOCKER_LAYER));
    }

    #[test]
    fn attestations_are_told_from_images() {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[
            {{"mediaType":"{0}","digest":"{SUM}","size":1,"platform":{{"architecture":"amd64","os":"linux"}}}},
            {{"mediaType":"{0}","digest":"{SUM}","size":1,"platform":{{"architecture":"unknown","os":"unknown"}}}},
            {{"mediaType":"{1}","digest":"{SUM}","size":1}}]}}"#,
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
        );
        let index = Index::parse(text.as_bytes()).unwrap();
        let [image, statement, nested] = index.manifests.as_slice() else { panic!("three") };
        assert!(image.is_manifest() && !image.is_attestation());
        assert!(statement.is_attestation());
        assert!(nested.is_index());
    }
}
