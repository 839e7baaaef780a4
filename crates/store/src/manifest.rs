//! Manifests and indexes that are kept with their exact bytes, and what they lead to.

use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Index, Manifest};
use ferry_oci::platform::Platform;

use crate::database::{ChildRow, ManifestKind, ManifestRow};
use crate::error::StoreError;
use crate::image::ImageId;

/// Annotation of an index's entry for an attestation: the manifest that it is about.
const ANNOTATION_SUBJECT: &str = "vnd.docker.reference.digest";

/// A manifest or an index, byte by byte as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptManifest {
    /// The digest of its bytes.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A document, and what the store is to remember of it.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub kept: KeptManifest,
    pub kind: ManifestKind,
    /// The image that it describes, if it is an image's manifest.
    pub image: Option<ImageId>,
    pub platform: Option<Platform>,
    /// The manifest that it is about, where that is not said in the document.
    pub subject: Option<Digest>,
}

impl Document {
    /// An index.
    pub(crate) fn index(kept: KeptManifest) -> Self {
        Self { kept, kind: ManifestKind::Index, image: None, platform: None, subject: None }
    }

    /// An image's manifest.
    pub(crate) fn manifest(kept: KeptManifest, image: ImageId, platform: Platform) -> Self {
        let (image, platform) = (Some(image), Some(platform));
        Self { kept, kind: ManifestKind::Image, image, platform, subject: None }
    }

    /// A statement about an image, and how an index lists it.
    pub(crate) fn attestation(kept: KeptManifest, entry: Option<&Descriptor>) -> Self {
        let subject =
            entry.and_then(|entry| entry.annotations.get(ANNOTATION_SUBJECT)?.parse().ok());
        Self { kept, kind: ManifestKind::Attestation, image: None, platform: None, subject }
    }

    /// The rows of the database for it.
    pub(crate) fn rows(&self) -> Result<(ManifestRow, Vec<ChildRow>), StoreError> {
        let Self { kept, kind, image, platform, subject } = self;
        kept.rows(*kind, image.as_ref(), platform.as_ref(), subject.as_ref())
    }
}

impl KeptManifest {
    /// Refuses bytes that are not those of the digest.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.digest.matches(&self.bytes) {
            return Ok(());
        }
        let mut hasher = self.digest.verifier();
        hasher.update(&self.bytes);
        let (expected, actual) = (self.digest.clone(), hasher.finish());
        Err(StoreError::DigestMismatch { what: format!("manifest {expected}"), expected, actual })
    }

    /// The rows of the database for a document of this kind; `subject` is what it is about when it
    /// does not say so itself.
    pub(crate) fn rows(
        &self,
        kind: ManifestKind,
        image: Option<&ImageId>,
        platform: Option<&Platform>,
        subject: Option<&Digest>,
    ) -> Result<(ManifestRow, Vec<ChildRow>), StoreError> {
        let said = read(kind, &self.bytes)?;
        let row = ManifestRow {
            digest: self.digest.clone(),
            media_type: self.media_type.clone(),
            size: self.bytes.len() as u64,
            kind,
            image: image.cloned(),
            subject: said.subject.or_else(|| subject.cloned()),
            artifact_type: said.artifact_type,
            platform: platform.cloned(),
        };
        Ok((row, children(said.children)))
    }
}

/// What a document says of itself.
struct Said {
    children: Vec<Descriptor>,
    subject: Option<Digest>,
    artifact_type: Option<String>,
}

fn read(kind: ManifestKind, bytes: &[u8]) -> Result<Said, StoreError> {
    let malformed =
        |error: ferry_oci::manifest::ParseManifestError| StoreError::Archive(error.to_string());
    if kind == ManifestKind::Index {
        let Index { manifests, subject, artifact_type, .. } =
            Index::parse(bytes).map_err(malformed)?;
        let subject = subject.map(|subject| subject.digest);
        return Ok(Said { children: manifests, subject, artifact_type });
    }
    let Manifest { config, mut layers, subject, artifact_type, .. } =
        Manifest::parse(bytes).map_err(malformed)?;
    layers.insert(0, config);
    let subject = subject.map(|subject| subject.digest);
    Ok(Said { children: layers, subject, artifact_type })
}

fn children(descriptors: Vec<Descriptor>) -> Vec<ChildRow> {
    let row = |descriptor: Descriptor| ChildRow {
        digest: descriptor.digest.clone(),
        size: descriptor.size,
        descriptor,
    };
    descriptors.into_iter().map(row).collect()
}

/// What a document of this kind leads to: a manifest to its configuration and its layers, an index
/// to its manifests.
pub(crate) fn children_of(kind: ManifestKind, bytes: &[u8]) -> Result<Vec<ChildRow>, StoreError> {
    Ok(children(read(kind, bytes)?.children))
}
