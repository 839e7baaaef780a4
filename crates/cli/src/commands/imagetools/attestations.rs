//! The images of an index, and what BuildKit has written about them: lists of parts (SBOM) and
//! where they come from (provenance), as in-toto statements.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferry_distribution::{DistributionError, RawManifest, Repository, Selector, limits};
use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Index, Manifest};
use ferry_oci::platform::Platform;
use serde_json::{Value as Json, json};

/// Annotations that name the manifest which another one is about.
const ABOUT: [&str; 2] = ["com.docker.reference.digest", "vnd.docker.reference.digest"];
const PREDICATE: &str = "in-toto.io/predicate-type";
const SPDX: &str = "https://spdx.dev/Document";
const SLSA: &str = "https://slsa.dev/provenance/";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Which of the statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sbom,
    Provenance,
}

/// What a name stands for: images by platform, and what is about each.
#[derive(Debug, Default)]
pub(super) struct Images {
    images: BTreeMap<String, Manifest>,
    by_digest: HashMap<Digest, String>,
    about: HashMap<Digest, Vec<Manifest>>,
}

impl Images {
    /// Fetches the manifests of all images.
    pub(super) async fn load(
        repository: &Repository,
        top: RawManifest,
    ) -> Result<Self, DistributionError> {
        let mut all = Self::default();
        let mut waiting = vec![(top.descriptor(), Some(top), 0)];
        while let Some((descriptor, raw, depth)) = waiting.pop() {
            let raw = match raw {
                Some(raw) => raw,
                None => {
                    let which = Selector::Digest(descriptor.digest.clone());
                    repository.manifest(&which).await?.raw
                }
            };
            if descriptor.is_index() && depth <= limits::MAX_INDEX_DEPTH {
                let index = Index::parse(&raw.bytes).map_err(|error| malformed(&raw, &error))?;
                let members = index.manifests.into_iter().rev();
                waiting.extend(members.map(|member| (member, None, depth + 1)));
            } else if descriptor.is_manifest() {
                let manifest =
                    Manifest::parse(&raw.bytes).map_err(|error| malformed(&raw, &error))?;
                all.take(repository, &descriptor, manifest).await?;
            }
        }
        Ok(all)
    }

    async fn take(
        &mut self,
        repository: &Repository,
        descriptor: &Descriptor,
        manifest: Manifest,
    ) -> Result<(), DistributionError> {
        let about = ABOUT.iter().find_map(|key| descriptor.annotations.get(*key));
        if let Some(about) = about.and_then(|text| text.parse().ok()) {
            self.about.entry(about).or_default().push(manifest);
            return Ok(());
        }
        let platform = match &descriptor.platform {
            Some(platform) => platform.clone(),
            None => {
                let config = config(repository, &manifest).await?;
                serde_json::from_value::<Platform>(config).unwrap_or_default()
            }
        };
        let platform = platform.normalized().to_string();
        self.by_digest.insert(descriptor.digest.clone(), platform.clone());
        self.images.insert(platform, manifest);
        Ok(())
    }

    /// Whether there are images for several platforms.
    pub(super) fn are_several(&self) -> bool {
        self.images.len() > 1
    }

    /// The configuration of each image, by platform.
    pub(super) async fn configs(
        &self,
        repository: &Repository,
    ) -> Result<serde_json::Map<String, Json>, DistributionError> {
        let mut configs = serde_json::Map::new();
        for (platform, manifest) in &self.images {
            configs.insert(platform.clone(), config(repository, manifest).await?);
        }
        Ok(configs)
    }

    /// The statements of a kind about each image, by platform.
    pub(super) async fn statements(
        &self,
        repository: &Repository,
        kind: Kind,
    ) -> Result<serde_json::Map<String, Json>, DistributionError> {
        let mut all = serde_json::Map::new();
        for (digest, manifests) in &self.about {
            let Some(platform) = self.by_digest.get(digest) else { continue };
            let layers = manifests.iter().flat_map(|manifest| &manifest.layers);
            let mut found = Vec::new();
            for layer in layers.filter(|layer| is_of(kind, layer)) {
                found.push(predicate(repository, layer).await?);
            }
            if let Some(stub) = stub(kind, found) {
                all.insert(platform.clone(), stub);
            }
        }
        Ok(all)
    }
}

fn is_of(kind: Kind, layer: &Descriptor) -> bool {
    let predicate = layer.annotations.get(PREDICATE).map_or("", String::as_str);
    let is_statement = layer.media_type == STATEMENT || is_signed(&layer.media_type);
    is_statement
        && match kind {
            Kind::Sbom => predicate == SPDX,
            Kind::Provenance => predicate.starts_with(SLSA),
        }
}

/// Whether it is wrapped in a signed envelope. [DSSE 1.0, protocol]
fn is_signed(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.in-toto.") && media_type.ends_with("+dsse")
}

/// Statements as Buildx shows them: the first list of parts, and the others; the last provenance.
fn stub(kind: Kind, mut found: Vec<Json>) -> Option<Json> {
    match kind {
        Kind::Provenance => found.pop().map(|last| json!({ "SLSA": last })),
        Kind::Sbom if found.is_empty() => None,
        Kind::Sbom => {
            let others = found.split_off(1);
            let first = found.pop();
            Some(if others.is_empty() {
                json!({ "SPDX": first })
            } else {
                json!({ "SPDX": first, "AdditionalSPDXs": others })
            })
        }
    }
}

/// What a statement states.
async fn predicate(repository: &Repository, layer: &Descriptor) -> Result<Json, DistributionError> {
    let bytes = repository.small_blob(layer, limits::MAX_CONFIG).await?;
    let failed = |why: String| DistributionError::Malformed {
        what: format!("the statement {}", layer.digest),
        why,
    };
    let mut json: Json =
        serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    if is_signed(&layer.media_type) {
        let payload = json.get("payload").and_then(Json::as_str).unwrap_or_default();
        let payload = STANDARD.decode(payload).map_err(|error| failed(error.to_string()))?;
        json = serde_json::from_slice(&payload).map_err(|error| failed(error.to_string()))?;
    }
    Ok(json.get_mut("predicate").map_or(Json::Null, Json::take))
}

async fn config(repository: &Repository, manifest: &Manifest) -> Result<Json, DistributionError> {
    let bytes = repository.small_blob(&manifest.config, limits::MAX_CONFIG).await?;
    serde_json::from_slice(&bytes).map_err(|error| DistributionError::Malformed {
        what: format!("the configuration {}", manifest.config.digest),
        why: error.to_string(),
    })
}

fn malformed(raw: &RawManifest, error: &dyn std::error::Error) -> DistributionError {
    let what = format!("the manifest {}", raw.digest);
    DistributionError::Malformed { what, why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_by_their_predicates() {
        let layer = |media: &str, predicate: &str| {
            let mut layer = Descriptor::new(media, Digest::sha256_of(b""), 0);
            layer.annotations.insert(PREDICATE.into(), predicate.into());
            layer
        };
        assert!(is_of(Kind::Sbom, &layer(STATEMENT, SPDX)));
        assert!(!is_of(Kind::Provenance, &layer(STATEMENT, SPDX)));
        let signed = "application/vnd.in-toto.provenance+dsse";
        assert!(is_of(Kind::Provenance, &layer(signed, "https://slsa.dev/provenance/v1")));
        assert!(!is_of(Kind::Sbom, &layer("text/plain", SPDX)));
        assert_eq!(stub(Kind::Sbom, Vec::new()), None);
        let two = stub(Kind::Sbom, vec![json!(1), json!(2)]);
        assert_eq!(two, Some(json!({"SPDX": 1, "AdditionalSPDXs": [2]})));
        assert_eq!(stub(Kind::Provenance, vec![json!(1), json!(2)]), Some(json!({"SLSA": 2})));
    }
}
