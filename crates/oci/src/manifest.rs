//! Manifests and indexes, OCI's and Docker's (schema 2); they differ in media types only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
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
    /// Docker's index.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, compressed with gzip.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
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
    /// In an index: what the manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The kind of artifact, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
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
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
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
    /// What it lists.
    pub manifests: Vec<Descriptor>,
    /// Remarks for programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
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
    /// Schema 1, which Docker no longer takes either, or something unheard of.
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
}

impl Manifest {
    /// Parses a manifest of either kind.
    ///
    /// # Errors
    /// When it is malformed, of another schema, or says that it is something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseManifestError> {
        let what = "manifest";
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| ParseManifestError::Json { what, reason: error.to_string() })?;
        let known = [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST];
        check(what, manifest.schema_version, manifest.media_type.as_deref(), &known)?;
        Ok(manifest)
    }
}

impl Index {
    /// Parses an index of either kind.
    ///
    /// # Errors
    /// When it is malformed, of another schema, or says that it is something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseManifestError> {
        let what = "index";
        let index: Self = serde_json::from_slice(bytes)
            .map_err(|error| ParseManifestError::Json { what, reason: error.to_string() })?;
        let known = [media_type::OCI_INDEX, media_type::DOCKER_LIST];
        check(what, index.schema_version, index.media_type.as_deref(), &known)?;
        Ok(index)
    }
}

/// A document that says it is of another type is refused: the same bytes must never be read as two
/// things (CVE-2021-41190).
fn check(
    what: &'static str,
    version: u32,
    media_type: Option<&str>,
    known: &[&str],
) -> Result<(), ParseManifestError> {
    if version != 2 {
        return Err(ParseManifestError::Schema { what, version });
    }
    match media_type {
        Some(media_type) if !known.contains(&media_type) => {
            Err(ParseManifestError::MediaType { what, media_type: media_type.to_owned() })
        }
        _ => Ok(()),
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
            Err(ParseManifestError::Schema { version: 1, .. })
        ));
        assert!(matches!(parse("{}".into()), Err(ParseManifestError::Json { .. })));
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
