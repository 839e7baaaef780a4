//! An index as Go's types read it and write it again: members are kept that we cannot fetch.

use std::collections::BTreeMap;

use ferry_oci::manifest::{Descriptor, Index};
use ferry_oci::platform::Platform;
use serde::{Deserialize, Serialize};

use crate::assemble::AssembleError;
use crate::registry::RawManifest;

/// An index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listing {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    pub(super) manifests: Vec<Member>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Member>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// A descriptor whose digest may have any algorithm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) urls: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
}

impl Listing {
    /// Reads the index that a document must be.
    pub(super) fn parse(raw: &RawManifest) -> Result<Self, AssembleError> {
        let malformed = |why| AssembleError::Malformed { digest: raw.digest.clone(), why };
        // What is contradictory, or only malformed, is refused.
        Index::parse(&raw.bytes).map_err(|error| malformed(error.to_string()))?;
        serde_json::from_slice(&raw.bytes).map_err(|error| malformed(error.to_string()))
    }
}

impl Member {
    /// The same with a digest that can be computed, if it can.
    pub(super) fn descriptor(&self) -> Option<Descriptor> {
        let Self { media_type, digest, size, urls, annotations, data, platform, artifact_type } =
            self.clone();
        let digest = digest.parse().ok()?;
        let plain = Descriptor::new(media_type, digest, size);
        Some(Descriptor { urls, annotations, data, platform, artifact_type, ..plain })
    }
}

impl From<Descriptor> for Member {
    fn from(descriptor: Descriptor) -> Self {
        let Descriptor {
            media_type, size, urls, annotations, data, platform, artifact_type, ..
        } = descriptor;
        let digest = descriptor.digest.to_string();
        Self { media_type, digest, size, urls, annotations, data, platform, artifact_type }
    }
}

/// JSON as Go's `json.MarshalIndent` writes it with two blanks, and with its escapes.
pub(super) fn go_json(document: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string_pretty(document)
        .expect("documents of texts and numbers can be written as JSON");
    // These characters stand in texts only, never between them.
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            other => out.push(other),
        }
    }
    out.into_bytes()
}
