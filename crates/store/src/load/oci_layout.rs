//! OCI image layouts: `index.json` leads to manifests in `blobs/`. [OCI image, image-layout.md]

use std::collections::HashSet;

use ferry_oci::digest::Digest;
use ferry_oci::image::ImageConfig;
use ferry_oci::manifest::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, Index, Manifest, media_type,
};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use super::intake::Contents;
use super::{Found, FoundImage, FoundLayer};
use crate::error::StoreError;
use crate::limits;
use crate::manifest::{Document, KeptManifest};

/// All images of a layout, one for each name, for this machine's platform, or the one that is asked
/// for, where there is a choice; with them the others of their indexes, unless one was asked for.
pub(super) fn find(
    contents: &Contents,
    platform: Option<&Platform>,
    found: &mut Found,
) -> Result<(), StoreError> {
    check_version(contents)?;
    let index = parse_index(contents.document("index.json")?)?;
    let mut seen = HashSet::new();
    for descriptor in index.manifests.iter().filter(|d| !d.is_attestation()) {
        let names: Vec<Reference> = name_of(descriptor)?.into_iter().collect();
        let Some(manifest) = choose(contents, descriptor, platform, limits::MAX_INDEX_DEPTH)?
        else {
            continue;
        };
        let image = read_image(contents, &manifest, names)?;
        let target = target_of(descriptor);
        // One manifest may be listed once for each of its names.
        let same = |known: &&mut FoundImage| {
            known.config.digest() == image.config.digest() && known.index == target
        };
        match found.images.iter_mut().find(same) {
            Some(known) => known.names.extend(image.names),
            None => {
                found.images.push(FoundImage { index: target, ..image });
                add_parts(contents, descriptor, platform, &mut seen, found)?;
            }
        }
    }
    if found.images.is_empty() {
        return Err(StoreError::Archive("index.json lists no image".to_owned()));
    }
    Ok(())
}

/// The index that a name stands for, if it is one.
fn target_of(descriptor: &Descriptor) -> Option<Digest> {
    descriptor.is_index().then(|| descriptor.digest.clone())
}

/// Adds to images that `manifest.json` described what `index.json` knows: their manifests, and the
/// indexes that list them.
///
/// What is wrong there is let be, since `manifest.json` is enough.
pub(super) fn add(contents: &Contents, platform: Option<&Platform>, found: &mut Found) {
    let Ok(index) = contents.document("index.json").and_then(parse_index) else { return };
    let mut seen = HashSet::new();
    for descriptor in index.manifests.iter().filter(|d| !d.is_attestation()) {
        let depth = limits::MAX_INDEX_DEPTH;
        let Ok(Some(chosen)) = choose(contents, descriptor, platform, depth) else { continue };
        let Ok(image) = read_image(contents, &chosen, Vec::new()) else { continue };
        let name = name_of(descriptor).ok().flatten();
        let is_known = add_manifest(&image, name.as_ref(), target_of(descriptor), found);
        let is_wanted = platform
            .is_some_and(|platform| image.config.platform().suitability(platform).is_some());
        if !is_known && is_wanted && descriptor.is_index() {
            // Docker's list has the image of another platform.
            let names = name.into_iter().collect();
            found.images.push(FoundImage { names, index: target_of(descriptor), ..image });
        } else if !is_known {
            continue;
        }
        let before = (found.images.len(), found.documents.len(), found.blobs.len());
        if let Err(error) = add_parts(contents, descriptor, platform, &mut seen, found) {
            tracing::warn!(index = %descriptor.digest, %error, "an index is not taken");
            found.images.truncate(before.0);
            found.documents.truncate(before.1);
            found.blobs.truncate(before.2);
            for image in &mut found.images {
                image.index = image.index.take().filter(|index| *index != descriptor.digest);
            }
        }
    }
}

/// Gives the images that are this one its manifest; tells whether there are any.
fn add_manifest(
    image: &FoundImage,
    name: Option<&Reference>,
    target: Option<Digest>,
    found: &mut Found,
) -> bool {
    let mut is_known = false;
    for known in found.images.iter_mut().filter(|i| i.config.digest() == image.config.digest()) {
        let is_same = known.layers.len() == image.layers.len()
            && known.layers.iter().zip(&image.layers).all(|(a, b)| a.path == b.path);
        let has_name = name.is_none_or(|name| known.names.contains(name));
        if !is_same || known.is_part || (known.manifest.is_some() && known.index == target) {
            continue;
        }
        if known.manifest.is_none() {
            known.manifest.clone_from(&image.manifest);
            known.layers.clone_from(&image.layers);
        }
        if has_name && known.index.is_none() {
            known.index.clone_from(&target);
        }
        is_known = true;
    }
    is_known
}

/// Adds an index as it is, the images of it that are here and were not chosen, and what it says
/// about them. An index may list the same thing as often as it likes: each is looked at once.
fn add_parts(
    contents: &Contents,
    index: &Descriptor,
    platform: Option<&Platform>,
    seen: &mut HashSet<Digest>,
    found: &mut Found,
) -> Result<(), StoreError> {
    let mut pending = vec![(index.clone(), limits::MAX_INDEX_DEPTH)];
    while let Some((index, depth)) = pending.pop() {
        if !index.is_index() || depth == 0 || !seen.insert(index.digest.clone()) {
            continue;
        }
        let Ok(bytes) = contents.document(&path_of(&index.digest)) else { continue };
        let parsed = parse_index(bytes)?;
        let media_type = parsed.media_type.unwrap_or(index.media_type);
        let kept = KeptManifest { digest: index.digest, media_type, bytes: bytes.to_vec() };
        for listed in parsed.manifests {
            if listed.is_attestation() {
                if seen.insert(listed.digest.clone()) {
                    add_statement(contents, &listed, seen, found);
                }
            } else if listed.is_index() {
                pending.push((listed, depth - 1));
            } else if platform.is_none()
                && !found.images.iter().any(|image| image.has_manifest(&listed.digest))
                && let Some(image) = part(contents, &listed)?
            {
                found.images.push(image);
            }
        }
        found.documents.push(Document::index(kept));
    }
    Ok(())
}

impl FoundImage {
    fn has_manifest(&self, digest: &Digest) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.digest == *digest)
    }
}

/// An image that an index lists, if all of it is in the archive.
fn part(contents: &Contents, listed: &Descriptor) -> Result<Option<FoundImage>, StoreError> {
    let Ok(bytes) = contents.document(&path_of(&listed.digest)) else { return Ok(None) };
    let manifest =
        Manifest::parse(bytes).map_err(|error| StoreError::Archive(error.to_string()))?;
    let is_here = contents.document(&path_of(&manifest.config.digest)).is_ok()
        && manifest.layers.iter().all(|layer| contents.has_layer(&path_of(&layer.digest)));
    // An artifact is no image.
    let is_image = manifest.artifact_type.is_none()
        && matches!(
            &*manifest.config.media_type,
            media_type::OCI_CONFIG | media_type::DOCKER_CONFIG
        );
    if !is_here || !is_image {
        return Ok(None);
    }
    let image = read_image(contents, listed, Vec::new())?;
    Ok(Some(FoundImage { is_part: true, ..image }))
}

/// Adds what an index says about an image, as far as it is in the archive. A blob of another size
/// than is said of it is none of it.
fn add_statement(
    contents: &Contents,
    listed: &Descriptor,
    seen: &mut HashSet<Digest>,
    found: &mut Found,
) {
    let Ok(bytes) = contents.document(&path_of(&listed.digest)) else { return };
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    for blob in std::iter::once(manifest.config).chain(manifest.layers) {
        if seen.insert(blob.digest.clone())
            && let Ok(bytes) = contents.document(&path_of(&blob.digest))
            && blob.size == bytes.len() as u64
        {
            found.blobs.push((blob, bytes.to_vec()));
        }
    }
    let media_type = manifest.media_type.unwrap_or_else(|| listed.media_type.clone());
    let kept = KeptManifest { digest: listed.digest.clone(), media_type, bytes: bytes.to_vec() };
    found.documents.push(Document::attestation(kept, Some(listed)));
}

fn check_version(contents: &Contents) -> Result<(), StoreError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let marker: Marker = serde_json::from_slice(contents.document("oci-layout")?)
        .map_err(|error| StoreError::Archive(format!("oci-layout is malformed: {error}")))?;
    if marker.image_layout_version.starts_with("1.") {
        return Ok(());
    }
    let version = marker.image_layout_version;
    Err(StoreError::Archive(format!("OCI layout has version {version:?}; only 1 is supported")))
}

fn parse_index(bytes: &[u8]) -> Result<Index, StoreError> {
    Index::parse(bytes).map_err(|error| StoreError::Archive(error.to_string()))
}

/// The complete name, or a name that is more than a mere tag.
fn name_of(descriptor: &Descriptor) -> Result<Option<Reference>, StoreError> {
    if let Some(name) = descriptor.annotations.get(ANNOTATION_IMAGE_NAME) {
        return Ok(
            Some(Reference::parse(name)?.with_default_tag()).filter(|n| n.digest().is_none())
        );
    }
    let name = descriptor.annotations.get(ANNOTATION_REF_NAME);
    // Compat: by the specification this is only a tag, but many tools write a whole name.
    Ok(name
        .filter(|name| name.contains(['/', ':']))
        .and_then(|name| Reference::parse(name).ok())
        .map(Reference::with_default_tag)
        .filter(|name| name.digest().is_none()))
}

/// Follows indexes to the manifest that suits a platform, or else this machine, best; `None` when
/// what is listed is no image.
fn choose(
    contents: &Contents,
    descriptor: &Descriptor,
    platform: Option<&Platform>,
    depth: usize,
) -> Result<Option<Descriptor>, StoreError> {
    if !descriptor.is_index() {
        // Compat: some tools leave the media type out.
        let is_image = descriptor.is_manifest() || descriptor.media_type.is_empty();
        return Ok(is_image.then(|| descriptor.clone()));
    }
    if depth == 0 {
        return Err(StoreError::Archive("indexes lead to indexes too often".to_owned()));
    }
    let index = parse_index(contents.document(&path_of(&descriptor.digest))?)?;
    let candidates: Vec<&Descriptor> =
        index.manifests.iter().filter(|d| !d.is_attestation()).collect();
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    // An archive of a multi-platform image often has the blobs of one platform only.
    let here = candidates.iter().filter(|d| contents.document(&path_of(&d.digest)).is_ok());
    let best = here.max_by_key(|descriptor| match &descriptor.platform {
        Some(platform) => platform.suitability(&wanted),
        None => Some(0),
    });
    match best {
        Some(best) => choose(contents, best, platform, depth - 1),
        None => Ok(None),
    }
}

fn read_image(
    contents: &Contents,
    descriptor: &Descriptor,
    names: Vec<Reference>,
) -> Result<FoundImage, StoreError> {
    let bytes = contents.document(&path_of(&descriptor.digest))?;
    if bytes.len() as u64 > limits::MAX_MANIFEST {
        return Err(StoreError::Archive(format!("manifest {} is too large", descriptor.digest)));
    }
    let manifest =
        Manifest::parse(bytes).map_err(|error| StoreError::Archive(error.to_string()))?;
    let config = contents.document(&path_of(&manifest.config.digest))?;
    let config = ImageConfig::parse(config)
        .map_err(|error| StoreError::Archive(format!("{}: {error}", manifest.config.digest)))?;
    let layers = manifest.layers.into_iter().map(|layer| FoundLayer {
        path: path_of(&layer.digest),
        blob: Some((layer.digest, layer.media_type)),
    });
    let media_type = match manifest.media_type {
        Some(media_type) => media_type,
        None if descriptor.media_type.is_empty() => media_type::OCI_MANIFEST.to_owned(),
        None => descriptor.media_type.clone(),
    };
    let digest = descriptor.digest.clone();
    Ok(FoundImage {
        config,
        layers: layers.collect(),
        names,
        manifest: Some(KeptManifest { digest, media_type, bytes: bytes.to_vec() }),
        index: None,
        is_part: false,
        parent: None,
    })
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn add(documents: &mut HashMap<String, Vec<u8>>, text: &str) -> Digest {
        let digest = Digest::sha256_of(text.as_bytes());
        documents.insert(path_of(&digest), text.as_bytes().to_vec());
        digest
    }

    #[test]
    fn what_is_listed_again_and_again_is_taken_once() {
        let mut documents = HashMap::new();
        let entry = |kind: &str, digest: &Digest, size: usize, more: &str| {
            format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}{more}}}"#)
        };
        let text = "what is said";
        let blob = add(&mut documents, text);
        let [good, lie] = [text.len(), 1 << 40].map(|size| entry("a/b", &blob, size, ""));
        let manifest =
            |layers: &str| format!(r#"{{"schemaVersion":2,"config":{lie},"layers":[{layers}]}}"#);
        let told = add(&mut documents, &manifest(&good));
        let is_statement = r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#;
        let told = entry(media_type::OCI_MANIFEST, &told, 1, is_statement);
        let inner = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![told; 300].join(","));
        let inner = entry(media_type::OCI_INDEX, &add(&mut documents, &inner), 1, "");
        let outer =
            format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![inner; 300].join(","));
        let outer = entry(media_type::OCI_INDEX, &add(&mut documents, &outer), 1, "");
        let outer: Descriptor = serde_json::from_str(&outer).unwrap();
        let mut contents = Contents::default();
        contents.documents = documents;
        let mut found = Found::default();
        let mut seen = HashSet::new();
        for _ in 0..300 {
            add_parts(&contents, &outer, None, &mut seen, &mut found).unwrap();
        }
        assert_eq!(found.documents.len(), 3);
        // The size that its configuration claims is not what is there, and its layer is the same.
        assert!(found.blobs.is_empty());
    }
}
