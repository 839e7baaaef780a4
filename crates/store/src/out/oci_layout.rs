//! `index.json` and the places of blobs. [OCI image, image-layout.md]

use std::collections::{BTreeMap, BTreeSet};

use ferry_oci::digest::Digest;
use ferry_oci::manifest::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, Index, media_type,
};

use super::Top;

/// The file `oci-layout`.
pub(super) const MARKER: &[u8] = br#"{"imageLayoutVersion": "1.0.0"}"#;

pub(super) fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The directories of these paths, each before those in it.
pub(super) fn directories<'a>(paths: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
    let parents = |path: &'a str| path.match_indices('/').map(move |(slash, _)| &path[..slash]);
    paths.flat_map(|path| parents(path)).collect()
}

/// `index.json`: each manifest once for each of its names, or once without.
pub(super) fn index(tops: &[Top]) -> Vec<u8> {
    let mut manifests = Vec::new();
    for Top { descriptor: plain, names } in tops {
        if names.is_empty() {
            manifests.push(plain.clone());
        }
        for name in names {
            let tag = name.tag().unwrap_or_default().to_owned();
            let annotations = BTreeMap::from([
                (ANNOTATION_IMAGE_NAME.to_owned(), name.to_string()),
                (ANNOTATION_REF_NAME.to_owned(), tag),
            ]);
            manifests.push(Descriptor { annotations, ..plain.clone() });
        }
    }
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        artifact_type: None,
        manifests,
        subject: None,
        annotations: BTreeMap::new(),
    };
    json(&index)
}

pub(super) fn json(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(document)
        .expect("these documents have only text keys and plain values, which are always JSON")
}
