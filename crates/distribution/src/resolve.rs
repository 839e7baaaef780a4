//! From a name to the image that a platform runs.

use std::collections::HashMap;

use bytes::Bytes;
use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Index, Manifest, ParseManifestError, media_type};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use crate::choose::candidates;
use crate::error::{DistributionError, DistributionErrorKind};
use crate::limits;
use crate::registry::{RawManifest, Repository, Selector};

/// Attestations of one image that are fetched at most.
const MAX_ATTESTATIONS: usize = 8;
/// Documents that are fetched at most before an image is found: nested indexes may be many.
const MAX_FETCHED: usize = 32;
/// The annotation of an attestation that says what it is about. [BuildKit, attestation storage]
const ATTESTED: &str = "vnd.docker.reference.digest";

/// An image as a registry has it: all but its layers.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What was asked for.
    pub name: Reference,
    /// What the name stands for: an index or a manifest.
    pub target: RawManifest,
    /// The index out of which the manifest was chosen; `target`, or one nested in it.
    pub index: Option<RawManifest>,
    /// The manifest of the image.
    pub manifest: RawManifest,
    /// The same, parsed.
    pub parsed: Manifest,
    /// The image's configuration; its digest and size are verified.
    pub config: Bytes,
    /// What the image runs on, as its configuration says.
    pub platform: Platform,
    /// Statements of the index about the manifest.
    pub attestations: Vec<RawManifest>,
}

/// What is here already of what a name stands for: the registry is not asked for it again.
#[derive(Clone, Debug, Default)]
pub struct KnownDocuments {
    /// What the name stood for when it was last asked.
    pub target: Option<Digest>,
    /// Manifests, indexes and configurations.
    pub documents: HashMap<Digest, Bytes>,
}

impl KnownDocuments {
    /// A document, if it is what its descriptor says.
    fn get(&self, descriptor: &Descriptor) -> Option<Bytes> {
        let bytes = self.documents.get(&descriptor.digest)?;
        let is_right = bytes.len() as u64 == descriptor.size && descriptor.digest.matches(bytes);
        is_right.then(|| bytes.clone())
    }

    fn manifest(&self, descriptor: &Descriptor) -> Option<RawManifest> {
        let (media_type, digest) = (descriptor.media_type.clone(), descriptor.digest.clone());
        self.get(descriptor).map(|bytes| RawManifest { media_type, digest, bytes })
    }
}

/// Finds the image that a tag or a digest stands for on a platform, and fetches all of it but the
/// layers. An image that is in no index is taken whatever its processor, as Docker does. Of a name
/// that stands for what it stood for before, only that is asked: registries count what is fetched.
///
/// # Errors
/// When it is not there, not there for the platform ([`DistributionError::NoPlatform`]), of
/// schema 1, not an image, or malformed.
pub async fn resolve(
    repository: &Repository,
    which: &Selector,
    platform: &Platform,
    known: &KnownDocuments,
) -> Result<Resolved, DistributionError> {
    let target = match unchanged(repository, which, known).await? {
        Some(target) => target,
        None => repository.manifest(which).await?.raw,
    };
    let mut search = Search { repository, which, platform, known, fetched: 1 };
    let (index, manifest) = if kind_of(&target) == Kind::Index {
        let found = search.descend(target.clone()).await?;
        let (index, manifest) = found.ok_or_else(|| search.no_platform())?;
        (Some(index), manifest)
    } else {
        (None, target.clone())
    };
    let parsed = search.parse_manifest(&manifest)?;
    check_layers(&parsed)?;
    let config = search.config(&parsed).await?;
    let actual: Platform = serde_json::from_slice(&config).map_err(|error| {
        let what = format!("the image config {}", parsed.config.digest);
        DistributionError::Malformed { what, why: error.to_string() }
    })?;
    if !actual.os.is_empty() && !actual.os.eq_ignore_ascii_case(&platform.os) {
        return Err(search.no_platform());
    }
    let attestations = match &index {
        Some(index) => search.attestations(index, &manifest.digest).await?,
        None => Vec::new(),
    };
    let name = repository.name().clone();
    Ok(Resolved { name, target, index, manifest, parsed, config, platform: actual, attestations })
}

/// What a name stands for, when it is what it stood for before and is here.
async fn unchanged(
    repository: &Repository,
    which: &Selector,
    known: &KnownDocuments,
) -> Result<Option<RawManifest>, DistributionError> {
    let Some(target) = &known.target else { return Ok(None) };
    match repository.head_manifest(which).await {
        Ok(Some(now)) if now.digest == *target => Ok(known.manifest(&now)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == DistributionErrorKind::Unavailable => Err(error),
        // An answer to HEAD says no more than its status.
        Err(error) => {
            tracing::debug!(%which, %error, "not known by its head");
            Ok(None)
        }
    }
}

/// A search in one name.
struct Search<'a> {
    repository: &'a Repository,
    which: &'a Selector,
    platform: &'a Platform,
    known: &'a KnownDocuments,
    fetched: usize,
}

impl Search<'_> {
    /// The best image of an index, and the index that names it. Indexes within it are searched in
    /// the order in which they suit, each before the next.
    async fn descend(
        &mut self,
        top: RawManifest,
    ) -> Result<Option<(RawManifest, RawManifest)>, DistributionError> {
        // What is still to be looked at, the best last: an index, its depth and its member.
        let mut open: Vec<(RawManifest, usize, Descriptor)> = Vec::new();
        self.open_index(&mut open, &top, 1)?;
        while let Some((index, depth, member)) = open.pop() {
            let fetched = self.fetch(&member).await?;
            match kind_of(&fetched) {
                Kind::Manifest => return Ok(Some((index, fetched))),
                Kind::Index if depth < limits::MAX_INDEX_DEPTH => {
                    self.open_index(&mut open, &fetched, depth + 1)?;
                }
                Kind::Index => {
                    let what = format!("the index {}", top.digest);
                    let why = format!("it nests more than {} deep", limits::MAX_INDEX_DEPTH);
                    return Err(DistributionError::Malformed { what, why });
                }
            }
        }
        Ok(None)
    }

    fn open_index(
        &self,
        open: &mut Vec<(RawManifest, usize, Descriptor)>,
        raw: &RawManifest,
        depth: usize,
    ) -> Result<(), DistributionError> {
        let index = Index::parse(&raw.bytes).map_err(|error| self.malformed(raw, &error))?;
        let members = candidates(&index, self.platform);
        open.extend(members.into_iter().rev().map(|one| (raw.clone(), depth, one.clone())));
        Ok(())
    }

    /// Fetches a member of an index, whose size is said there.
    async fn fetch(&mut self, member: &Descriptor) -> Result<RawManifest, DistributionError> {
        if self.fetched == MAX_FETCHED {
            let what = format!("the index of {}", self.repository.name().familiar_name());
            let why = format!("no image is found among {MAX_FETCHED} of its members");
            return Err(DistributionError::Malformed { what, why });
        }
        self.fetched += 1;
        if let Some(known) = self.known.manifest(member) {
            return Ok(known);
        }
        let which = Selector::Digest(member.digest.clone());
        let raw = self.repository.manifest(&which).await?.raw;
        if raw.size() != member.size {
            let what = format!("the manifest {}", member.digest);
            let (expected, actual) = (member.size, raw.size());
            return Err(DistributionError::Size { what, expected, actual });
        }
        Ok(raw)
    }

    fn parse_manifest(&self, raw: &RawManifest) -> Result<Manifest, DistributionError> {
        if matches!(raw.media_type.as_str(), media_type::DOCKER_V1 | media_type::DOCKER_V1_SIGNED) {
            return Err(self.schema1());
        }
        Manifest::parse(&raw.bytes).map_err(|error| match error {
            ParseManifestError::MediaType { media_type, .. } => {
                DistributionError::UnsupportedMediaType { media_type }
            }
            error => self.malformed(raw, &error),
        })
    }

    async fn config(&self, manifest: &Manifest) -> Result<Bytes, DistributionError> {
        // Compat: the last four are what registries with faults have said of good images.
        let is_image = matches!(
            manifest.config.media_type.as_str(),
            media_type::OCI_CONFIG
                | media_type::DOCKER_CONFIG
                | "application/octet-stream"
                | "application/json"
                | "text/html"
                | ""
        );
        if !is_image {
            let media_type = manifest.config.media_type.clone();
            return Err(DistributionError::UnsupportedMediaType { media_type });
        }
        match self.known.get(&manifest.config) {
            Some(known) => Ok(known),
            None => self.repository.small_blob(&manifest.config, limits::MAX_CONFIG).await,
        }
    }

    /// The statements of an index about an image. They are kept for those who ask for them; an
    /// image is none the worse when one is missing.
    async fn attestations(
        &self,
        index: &RawManifest,
        about: &Digest,
    ) -> Result<Vec<RawManifest>, DistributionError> {
        let index = Index::parse(&index.bytes).map_err(|error| self.malformed(index, &error))?;
        let is_about = |member: &&Descriptor| {
            member.is_attestation()
                && member.annotations.get(ATTESTED).is_some_and(|digest| digest == about.as_str())
        };
        let mut found = Vec::new();
        for member in index.manifests.iter().filter(is_about).take(MAX_ATTESTATIONS) {
            if let Some(known) = self.known.manifest(member) {
                found.push(known);
                continue;
            }
            let which = Selector::Digest(member.digest.clone());
            match self.repository.manifest(&which).await {
                Ok(fetched) if fetched.raw.size() == member.size => found.push(fetched.raw),
                Ok(_) => tracing::warn!(digest = %member.digest, "an attestation has another size"),
                Err(error) => {
                    tracing::warn!(digest = %member.digest, %error, "an attestation is missing");
                }
            }
        }
        Ok(found)
    }

    fn whole_name(&self) -> String {
        crate::registry::whole_name(self.repository.name(), self.which)
    }

    fn no_platform(&self) -> DistributionError {
        let platform = self.platform.clone().normalized();
        DistributionError::NoPlatform { name: self.whole_name(), platform: Box::new(platform) }
    }

    fn schema1(&self) -> DistributionError {
        let name = self.repository.name();
        let name = match self.which {
            Selector::Tag(tag) => format!("{}:{tag}", name.name()),
            Selector::Digest(digest) => format!("{}@{digest}", name.name()),
        };
        DistributionError::Schema1 { name }
    }

    fn malformed(&self, raw: &RawManifest, error: &ParseManifestError) -> DistributionError {
        if matches!(error, ParseManifestError::Schema1 { .. }) {
            return self.schema1();
        }
        let what = format!("the manifest {} of {}", raw.digest, self.whole_name());
        DistributionError::Malformed { what, why: error.to_string() }
    }
}

#[derive(PartialEq, Eq)]
enum Kind {
    Index,
    Manifest,
}

/// What a document is to be read as; one that says something else is refused when it is parsed.
fn kind_of(raw: &RawManifest) -> Kind {
    match raw.media_type.as_str() {
        media_type::OCI_INDEX | media_type::DOCKER_LIST => Kind::Index,
        _ => Kind::Manifest,
    }
}

fn check_layers(manifest: &Manifest) -> Result<(), DistributionError> {
    let count = manifest.layers.len();
    if count > limits::MAX_LAYERS {
        let why = format!("it has {count} layers, more than {}", limits::MAX_LAYERS);
        return Err(DistributionError::Malformed { what: "the manifest".into(), why });
    }
    match manifest.layers.iter().find(|layer| layer.size > limits::MAX_LAYER) {
        None => Ok(()),
        Some(layer) => {
            let what = format!("the layer {}", layer.digest);
            Err(DistributionError::TooLarge { what, limit: limits::MAX_LAYER })
        }
    }
}
