//! Archives of `docker save`: `manifest.json` names configurations, layers and tags.

use ferry_oci::image::ImageConfig;
use ferry_oci::reference::Reference;
use serde::Deserialize;

use super::intake::Contents;
use super::{FoundImage, FoundLayer};
use crate::error::StoreError;
use crate::image::ImageId;

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
    #[serde(default)]
    parent: Option<String>,
}

pub(super) fn find(contents: &Contents) -> Result<Vec<FoundImage>, StoreError> {
    let items: Vec<Item> = serde_json::from_slice(contents.document("manifest.json")?)
        .map_err(|error| StoreError::Archive(format!("manifest.json is malformed: {error}")))?;
    items.into_iter().map(|item| read_item(contents, item)).collect()
}

fn read_item(contents: &Contents, item: Item) -> Result<FoundImage, StoreError> {
    let Item { config, repo_tags, layers, parent } = item;
    let config = ImageConfig::parse(contents.document(&config)?)
        .map_err(|error| StoreError::Archive(format!("{config}: {error}")))?;
    let layers = layers.unwrap_or_default().into_iter();
    let names = repo_tags.unwrap_or_default();
    let parent = parent.filter(|parent| !parent.is_empty()).map(|parent| {
        parent.parse::<ImageId>().map_err(|error| StoreError::Archive(format!("Parent: {error}")))
    });
    Ok(FoundImage {
        config,
        layers: layers.map(|path| FoundLayer { path, blob: None }).collect(),
        names: names.iter().map(|name| tagged(name)).collect::<Result<_, _>>()?,
        manifest: None,
        index: None,
        is_part: false,
        parent: parent.transpose()?,
    })
}

/// A name that must have a tag, and no digest.
pub(super) fn tagged(name: &str) -> Result<Reference, StoreError> {
    let reference = Reference::parse(name)?;
    if reference.tag().is_none() || reference.digest().is_some() {
        return Err(StoreError::Archive(format!("invalid tag {name:?}")));
    }
    Ok(reference)
}
