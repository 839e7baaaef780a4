//! `manifest.json` and `repositories`: what Docker itself reads in archives of images.

use std::collections::BTreeMap;

use ferry_oci::digest::Digest;
use ferry_oci::reference::Reference;
use serde::Serialize;

use super::SavedImage;
use super::oci_layout::{json, path_of};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item<'a> {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    layer_sources: BTreeMap<&'a str, LayerSource<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerSource<'a> {
    media_type: &'a str,
    size: u64,
    digest: &'a Digest,
}

/// `manifest.json`.
pub(super) fn manifest(images: &[SavedImage]) -> Vec<u8> {
    let items: Vec<Item<'_>> = images.iter().map(item).collect();
    let mut bytes = json(&items);
    bytes.push(b'\n');
    bytes
}

fn item(image: &SavedImage) -> Item<'_> {
    let names: Vec<String> = image.names.iter().map(Reference::familiar).collect();
    let sources = image.config.rootfs.diff_ids.iter().zip(&image.layers);
    let sources = sources.map(|(diff_id, layer)| {
        let source =
            LayerSource { media_type: &layer.media_type, size: layer.size, digest: &layer.digest };
        (diff_id.as_str(), source)
    });
    Item {
        config: path_of(image.config.digest()),
        repo_tags: (!names.is_empty()).then_some(names),
        layers: image.layers.iter().map(|layer| path_of(&layer.digest)).collect(),
        layer_sources: sources.collect(),
    }
}

/// `repositories`, for the oldest readers; `None` when no image has a name.
pub(super) fn repositories(images: &[SavedImage]) -> Option<Vec<u8>> {
    let mut repositories: BTreeMap<String, BTreeMap<&str, &str>> = BTreeMap::new();
    for image in images {
        let Some(layer) = image.layers.last() else { continue };
        for name in &image.names {
            let Some(tag) = name.tag() else { continue };
            let tags = repositories.entry(name.familiar_name()).or_default();
            tags.insert(tag, layer.digest.hex());
        }
    }
    if repositories.is_empty() {
        return None;
    }
    let mut bytes = json(&repositories);
    bytes.push(b'\n');
    Some(bytes)
}
