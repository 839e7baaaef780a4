//! OCI image layouts: `index.json` leads to manifests in `blobs/`. [OCI image, image-layout.md]

use ferry_oci::digest::Digest;
use ferry_oci::image::ImageConfig;
use ferry_oci::manifest::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, Index, Manifest, media_type,
};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use super::intake::Contents;
use super::{FoundImage, FoundLayer};
use crate::error::StoreError;
use crate::limits;
use crate::manifest::KeptManifest;

/// All images of a layout, one for each name, for this machine's platform where there is a choice.
pub(super) fn find(contents: &Contents) -> Result<Vec<FoundImage>, StoreError> {
    check_version(contents)?;
    let index = parse_index(contents.document("index.json")?)?;
    let mut found: Vec<FoundImage> = Vec::new();
    for descriptor in index.manifests.iter().filter(|d| !d.is_attestation()) {
        let names: Vec<Reference> = name_of(descriptor)?.into_iter().collect();
        let Some(manifest) = choose(contents, descriptor, limits::MAX_INDEX_DEPTH)? else {
            continue;
        };
        let image = read_image(contents, &manifest, names)?;
        // One manifest may be listed once for each of its names.
        match found.iter_mut().find(|known| known.config.digest() == image.config.digest()) {
            Some(known) => known.names.extend(image.names),
            None => found.push(image),
        }
    }
    if found.is_empty() {
        return Err(StoreError::Archive("index.json lists no image".to_owned()));
    }
    Ok(found)
}

/// Adds to images that `manifest.json` described what `index.json` knows: their manifests.
///
/// What is wrong there is let be, since `manifest.json` is enough.
pub(super) fn add_manifests(contents: &Contents, found: &mut [FoundImage]) {
    let Ok(index) = contents.document("index.json").and_then(parse_index) else { return };
    for descriptor in index.manifests.iter().filter(|d| !d.is_attestation()) {
        let Ok(Some(descriptor)) = choose(contents, descriptor, limits::MAX_INDEX_DEPTH) else {
            continue;
        };
        let Ok(image) = read_image(contents, &descriptor, Vec::new()) else { continue };
        for known in found.iter_mut().filter(|i| i.config.digest() == image.config.digest()) {
            let same = known.layers.len() == image.layers.len()
                && known.layers.iter().zip(&image.layers).all(|(a, b)| a.path == b.path);
            if same && known.manifest.is_none() {
                known.manifest.clone_from(&image.manifest);
                known.layers = image.layers.iter().map(FoundLayer::copy).collect();
            }
        }
    }
}

impl FoundLayer {
    fn copy(&self) -> Self {
        Self { path: self.path.clone(), blob: self.blob.clone() }
    }
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

/// Follows indexes to the manifest that suits this machine best; `None` when what is listed is
/// no image.
fn choose(
    contents: &Contents,
    descriptor: &Descriptor,
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
    let host = Platform::host();
    // An archive of a multi-platform image often has the blobs of one platform only.
    let here = candidates.iter().filter(|d| contents.document(&path_of(&d.digest)).is_ok());
    let best = here.max_by_key(|descriptor| match &descriptor.platform {
        Some(platform) => platform.suitability(&host),
        None => Some(0),
    });
    match best {
        Some(best) => choose(contents, best, depth - 1),
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
        parent: None,
    })
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}
