//! Copies of images from place to place: the same bytes, so the same digests.

mod blobs;

use std::collections::HashSet;

use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Index, Manifest, media_type};
use ferry_oci::platform::Platform;
use serde::Deserialize;
use serde::de::IgnoredAny;

use self::blobs::copy_blobs;
use crate::choose::{Chosen, choose};
use crate::content::{ContentRead, ContentWrite};
use crate::error::DistributionError;
use crate::limits;
use crate::registry::{RawManifest, Selector};

/// Manifests of one copy at most.
const MAX_MANIFESTS: usize = 4096;

/// What is to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyPlan {
    /// All that the name stands for: an index with all its members.
    All {
        /// What refers to a copied manifest too: signatures, attestations.
        referrers: bool,
    },
    /// Of an index only the image for a platform.
    One {
        /// Which.
        platform: Platform,
        /// What refers to it too.
        referrers: bool,
    },
}

/// What a copy tells while it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum CopyEvent {
    /// So many bytes of a blob have been read; 0 when it begins, and less than before when it
    /// begins anew. Not every step is told.
    Progress {
        /// Which.
        blob: Descriptor,
        /// How many, of its size.
        bytes: u64,
    },
    /// A blob that the destination has already.
    Exists(Descriptor),
    /// A blob that is there now.
    Copied(Descriptor),
    /// A layer that its publisher does not want distributed was left where it is.
    LeftOut(Descriptor),
    /// A manifest that is there now.
    Manifest(Descriptor),
}

/// Copies an image, its blobs before its manifests and the one with the name last; returns the
/// digest of that one. What the destination has is not copied again.
///
/// # Errors
/// When either side fails, or bytes do not have their digest. What was copied by then is there, but
/// has no name.
pub async fn copy(
    from: &dyn ContentRead,
    to: &dyn ContentWrite,
    plan: &CopyPlan,
    on: &mut (dyn FnMut(CopyEvent) + Send),
) -> Result<Digest, DistributionError> {
    let mut top = from.manifest(None).await?;
    let (CopyPlan::All { referrers } | CopyPlan::One { referrers, .. }) = plan;
    if let CopyPlan::One { platform, .. } = plan {
        top = select(from, top, platform).await?;
    }
    let (referrers, seen, found) = (*referrers, HashSet::new(), Vec::new());
    let mut walk = Walk { from, referrers, seen, found, bytes: 0 };
    walk.visit(top, 0).await?;
    let top = walk.found.len() - 1;
    let digest = walk.found[top].raw.digest.clone();
    let mut done = HashSet::new();
    let blobs = walk.found.iter().flat_map(|found| &found.blobs);
    let blobs = blobs.filter(|blob| done.insert(&blob.digest)).cloned().collect();
    copy_blobs(from, to, blobs, on).await?;
    for (at, found) in walk.found.iter().enumerate() {
        to.put_manifest(&found.raw, at == top).await?;
        on(CopyEvent::Manifest(found.raw.descriptor()));
    }
    to.finish().await?;
    Ok(digest)
}

/// The image for a platform out of an index, which may stand in an index itself.
async fn select(
    from: &dyn ContentRead,
    mut raw: RawManifest,
    platform: &Platform,
) -> Result<RawManifest, DistributionError> {
    for _depth in 0..limits::MAX_INDEX_DEPTH {
        let Document::Index(index) = parse(&raw)? else { return Ok(raw) };
        let Chosen::Manifest(chosen) = choose(&index, platform) else {
            let name = raw.digest.to_string();
            return Err(DistributionError::NoPlatform {
                name,
                platform: Box::new(platform.clone()),
            });
        };
        raw = from.manifest(Some(&Selector::Digest(chosen.digest.clone()))).await?;
    }
    Err(too_deep(&raw))
}

fn too_deep(raw: &RawManifest) -> DistributionError {
    let what = format!("the index {}", raw.digest);
    DistributionError::Malformed { what, why: "indexes are nested too deeply".into() }
}

/// A manifest with its blobs.
struct Found {
    raw: RawManifest,
    blobs: Vec<Descriptor>,
}

/// Finds all that belongs to an image.
struct Walk<'a> {
    from: &'a dyn ContentRead,
    referrers: bool,
    seen: HashSet<Digest>,
    /// Members before those that name them.
    found: Vec<Found>,
    /// Bytes of the manifests.
    bytes: u64,
}

impl Walk<'_> {
    /// Notes what belongs to a manifest, then what refers to it, then itself.
    ///
    /// A referrer goes before what it is about: a registry takes it so, and a copy that is cut off
    /// has no name that lacks its signature.
    async fn visit(&mut self, raw: RawManifest, depth: usize) -> Result<(), DistributionError> {
        if self.seen.contains(&raw.digest) {
            return Ok(());
        }
        if depth > limits::MAX_INDEX_DEPTH {
            return Err(too_deep(&raw));
        }
        self.seen.insert(raw.digest.clone());
        if self.seen.len() > MAX_MANIFESTS {
            let (what, why) =
                ("the copy".into(), format!("it has more than {MAX_MANIFESTS} manifests"));
            return Err(DistributionError::Malformed { what, why });
        }
        self.bytes += raw.size();
        if self.bytes > limits::MAX_LIST {
            let (what, limit) = ("all manifests of the copy".into(), limits::MAX_LIST);
            return Err(DistributionError::TooLarge { what, limit });
        }
        let blobs = match parse(&raw)? {
            Document::Index(index) => {
                for member in index.manifests {
                    self.fetch(member.digest, depth + 1).await?;
                }
                Vec::new()
            }
            Document::Manifest(manifest) => {
                let mut blobs = vec![manifest.config];
                blobs.extend(manifest.layers);
                blobs
            }
        };
        if self.referrers {
            for referrer in self.from.referrers(&raw.digest).await? {
                self.fetch(referrer.digest, depth + 1).await?;
            }
        }
        self.found.push(Found { raw, blobs });
        Ok(())
    }

    async fn fetch(&mut self, digest: Digest, depth: usize) -> Result<(), DistributionError> {
        if self.seen.contains(&digest) {
            return Ok(());
        }
        let member = self.from.manifest(Some(&Selector::Digest(digest))).await?;
        Box::pin(self.visit(member, depth)).await
    }
}

enum Document {
    Index(Box<Index>),
    Manifest(Box<Manifest>),
}

/// How many members an index has, those too that cannot be read.
#[derive(Deserialize)]
struct Listed {
    manifests: Vec<IgnoredAny>,
}

/// Reads a document as what it was said to be.
fn parse(raw: &RawManifest) -> Result<Document, DistributionError> {
    let malformed = |why: String| DistributionError::Malformed {
        what: format!("the manifest {}", raw.digest),
        why,
    };
    match raw.media_type.as_str() {
        media_type::OCI_INDEX | media_type::DOCKER_LIST => {
            let index = Index::parse(&raw.bytes).map_err(|error| malformed(error.to_string()))?;
            let listed: Listed =
                serde_json::from_slice(&raw.bytes).map_err(|error| malformed(error.to_string()))?;
            if listed.manifests.len() != index.manifests.len() {
                let why = "it lists what has a digest that cannot be computed".to_owned();
                return Err(malformed(why));
            }
            Ok(Document::Index(Box::new(index)))
        }
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => Manifest::parse(&raw.bytes)
            .map(|manifest| Document::Manifest(Box::new(manifest)))
            .map_err(|error| malformed(error.to_string())),
        media_type::DOCKER_V1 | media_type::DOCKER_V1_SIGNED => {
            Err(DistributionError::Schema1 { name: raw.digest.to_string() })
        }
        other => Err(DistributionError::UnsupportedMediaType { media_type: other.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures_util::StreamExt as _;
    use futures_util::stream;

    use super::*;
    use crate::content::{BlobBody, DirectoryContent, LayoutContent, LayoutWriter};

    /// Puts an index of two images, one of which is signed, into a layout.
    async fn sample(path: &Path) -> Digest {
        let writer = LayoutWriter::directory(path, Some("v1"));
        let blob = |text: &str| {
            let digest = Digest::sha256_of(text.as_bytes());
            let bytes = bytes::Bytes::from(text.to_owned());
            (Descriptor::new("t", digest, text.len() as u64), bytes)
        };
        let put = async |text: &str| {
            let (descriptor, bytes) = blob(text);
            let body = BlobBody::Stream(stream::iter([Ok(bytes)]).boxed());
            writer.put_blob(&descriptor, body).await.unwrap();
            descriptor
        };
        let image = async |text: &str, subject: Option<Descriptor>| {
            let manifest = Manifest {
                schema_version: 2,
                media_type: Some(media_type::OCI_MANIFEST.into()),
                artifact_type: None,
                config: put("{}").await,
                layers: vec![put(text).await],
                subject,
                annotations: std::collections::BTreeMap::new(),
            };
            let bytes = serde_json::to_vec(&manifest).unwrap();
            let raw = RawManifest::new(media_type::OCI_MANIFEST, bytes);
            writer.put_manifest(&raw, false).await.unwrap();
            raw
        };
        let mut members = Vec::new();
        for (platform, text) in [("linux/amd64", "one"), ("linux/riscv64", "two")] {
            let raw = image(text, None).await;
            let platform: Platform = platform.parse().unwrap();
            members.push(Descriptor { platform: Some(platform), ..raw.descriptor() });
        }
        image("signature", Some(Descriptor { platform: None, ..members[0].clone() })).await;
        let index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.into()),
            artifact_type: None,
            manifests: members,
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        };
        let raw = RawManifest::new(media_type::OCI_INDEX, serde_json::to_vec(&index).unwrap());
        writer.put_manifest(&raw, true).await.unwrap();
        writer.finish().await.unwrap();
        raw.digest
    }

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(root.join("blobs/sha256"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn copies_of_copies_are_the_same() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("first"), root.path().join("second"));
        let archive = root.path().join("a.tar");
        let digest = sample(&first).await;
        let all = CopyPlan::All { referrers: true };
        let from = LayoutContent::directory(&first, Some("v1")).unwrap();
        let to = LayoutWriter::archive(&archive, Some("v2")).unwrap();
        assert_eq!(copy(&from, &to, &all, &mut |_| {}).await.unwrap(), digest);
        let from = LayoutContent::archive(&archive, Some("v2")).unwrap();
        let to = LayoutWriter::directory(&second, Some("v3"));
        let mut events = Vec::new();
        let copied = copy(&from, &to, &all, &mut |event| events.push(event)).await.unwrap();
        assert_eq!(copied, digest);
        assert_eq!(names(&first), names(&second));
        // Three manifests and an index; four blobs, each once.
        let count = |wanted: fn(&CopyEvent) -> bool| events.iter().filter(|it| wanted(it)).count();
        assert_eq!(count(|event| matches!(event, CopyEvent::Manifest(_))), 4);
        assert_eq!(count(|event| matches!(event, CopyEvent::Copied(_))), 4);
    }

    #[tokio::test]
    async fn one_platform_is_copied_without_the_others() {
        let root = tempfile::tempdir().unwrap();
        let first = root.path().join("first");
        sample(&first).await;
        let from = LayoutContent::directory(&first, Some("v1")).unwrap();
        let to = DirectoryContent::new(&root.path().join("dir"));
        let one = |platform: &str| CopyPlan::One {
            platform: platform.parse().unwrap(),
            referrers: false,
        };
        let digest = copy(&from, &to, &one("linux/riscv64"), &mut |_| {}).await.unwrap();
        let raw = to.manifest(None).await.unwrap();
        assert_eq!(raw.digest, digest);
        let manifest = Manifest::parse(&raw.bytes).unwrap();
        assert!(manifest.layers[0].digest.matches(b"two"));
        assert!(to.has_blob(&manifest.layers[0]).await.unwrap());
        let missing = copy(&from, &to, &one("linux/s390x"), &mut |_| {}).await;
        assert!(matches!(missing, Err(DistributionError::NoPlatform { .. })));
    }

    #[test]
    fn an_index_that_cannot_be_copied_whole_is_refused() {
        let index = |digest: &str| {
            let text = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"m","digest":"{digest}","size":1}}]}}"#
            );
            parse(&RawManifest::new(media_type::OCI_INDEX, text)).map(|_| ())
        };
        index(Digest::sha256_of(b"").as_str()).unwrap();
        let error = index("blake3:af1349b9").unwrap_err().to_string();
        assert!(error.ends_with("it lists what has a digest that cannot be computed"), "{error}");
    }

    #[tokio::test]
    async fn wrong_bytes_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let first = root.path().join("first");
        sample(&first).await;
        let two = Digest::sha256_of(b"two");
        std::fs::write(first.join("blobs/sha256").join(two.hex()), b"owt").unwrap();
        let from = LayoutContent::directory(&first, Some("v1")).unwrap();
        let archive = root.path().join("a.tar");
        let to = LayoutWriter::archive(&archive, None).unwrap();
        let result = copy(&from, &to, &CopyPlan::All { referrers: false }, &mut |_| {}).await;
        assert!(matches!(result, Err(DistributionError::Digest { .. })), "{result:?}");
        drop(to);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "nothing half-made stays");
    }
}
