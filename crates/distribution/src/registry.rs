//! A repository in a registry, and what is asked of it.

use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;
use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;
use ferry_oci::reference::Reference;

use crate::endpoint::EndpointId;

/// Which manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The one that bears the tag now.
    Tag(String),
    /// The one with these bytes.
    Digest(Digest),
}

impl Selector {
    /// What a name selects: its digest before its tag, as Docker; nothing when it has neither.
    pub fn of(name: &Reference) -> Option<Self> {
        match (name.digest(), name.tag()) {
            (Some(digest), _) => Some(Self::Digest(digest.clone())),
            (None, Some(tag)) => Some(Self::Tag(tag.to_owned())),
            (None, None) => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A manifest or an index as it came: its bytes are never written anew, for their digest is its
/// name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// What it is; of the answer's head, or of the document itself.
    pub media_type: String,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The document.
    pub bytes: Bytes,
}

impl RawManifest {
    /// Takes a document and computes its digest.
    pub fn new(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type: media_type.into(), digest: Digest::sha256_of(&bytes), bytes }
    }

    /// Bytes of the document.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Points to it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size())
    }
}

/// A manifest, and who gave it.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// The document; its digest is verified.
    pub raw: RawManifest,
    /// Where it came from.
    pub endpoint: EndpointId,
}

/// A repository of the same registry that may have a blob.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MountCandidate {
    /// Its path, without the registry: `library/busybox`.
    pub repository: String,
}

/// The bytes of a blob that is to be sent.
pub trait BlobSource: Send + Sync {
    /// Opens them `from` this byte on; an attempt may need them anew.
    ///
    /// # Errors
    /// When they cannot be read; the push fails with it.
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>>;

    /// How many bytes, when that is known before they are read.
    fn size(&self) -> Option<u64>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expect: Option<&str>) {
        let name = Reference::parse(name).unwrap();
        assert_eq!(Selector::of(&name).map(|which| which.to_string()).as_deref(), expect);
    }

    #[test]
    fn a_digest_selects_before_a_tag() {
        let digest = Digest::sha256_of(b"");
        check("busybox", None);
        check("busybox:1", Some("1"));
        check(&format!("busybox:1@{digest}"), Some(digest.as_str()));
    }

    #[test]
    fn a_manifest_is_described_by_its_own_bytes() {
        let manifest = RawManifest::new("t", &b"{}"[..]);
        let descriptor = manifest.descriptor();
        assert!(descriptor.digest.matches(b"{}"));
        assert_eq!((descriptor.media_type.as_str(), descriptor.size), ("t", 2));
    }
}
