//! Archives of Docker before 1.10: `repositories` names chains of `<id>/json` and `<id>/layer.tar`.
//!
//! Such an image has no configuration of its own; one is made of the chain, as Docker does, so the
//! image's id is not the old one.

use std::collections::{BTreeMap, HashSet};

use ferry_oci::digest::Digest;
use ferry_oci::image::{Document, History, ImageConfig, RootFs, RunConfig};
use ferry_oci::reference::Reference;
use serde::Deserialize;

use super::intake::Contents;
use super::{FoundImage, FoundLayer};
use crate::error::StoreError;
use crate::limits;

/// One link of a chain.
#[derive(Debug, Deserialize)]
struct V1 {
    #[serde(default)]
    parent: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    docker_version: Option<String>,
    #[serde(default)]
    config: Option<RunConfig>,
    #[serde(default)]
    container_config: Option<RunConfig>,
}

pub(super) fn find(contents: &Contents) -> Result<Vec<FoundImage>, StoreError> {
    let repositories: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_slice(contents.document("repositories")?)
            .map_err(|error| StoreError::Archive(format!("repositories is malformed: {error}")))?;
    let mut by_id: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
    for (repository, tags) in repositories {
        for (tag, id) in tags {
            let name = Reference::parse(&repository)?.with_tag(&tag)?;
            by_id.entry(id).or_default().push(name);
        }
    }
    by_id.into_iter().map(|(id, names)| read_chain(contents, &id, names)).collect()
}

fn read_chain(
    contents: &Contents,
    id: &str,
    names: Vec<Reference>,
) -> Result<FoundImage, StoreError> {
    let mut chain = Vec::new();
    let mut seen = HashSet::new();
    let mut next = Some(id.to_owned());
    while let Some(id) = next {
        // Ids become paths in the archive.
        if Digest::from_sha256_hex(&id).is_err() || !seen.insert(id.clone()) {
            return Err(StoreError::Archive(format!("image chain has an invalid parent {id:?}")));
        }
        if chain.len() == limits::MAX_LAYERS {
            return Err(StoreError::Archive("image chain is too long".to_owned()));
        }
        let link: V1 = serde_json::from_slice(contents.document(&format!("{id}/json"))?)
            .map_err(|error| StoreError::Archive(format!("{id}/json is malformed: {error}")))?;
        next = link.parent.clone().filter(|parent| !parent.is_empty());
        chain.push((id, link));
    }
    chain.reverse();
    let layers: Vec<FoundLayer> = chain
        .iter()
        .map(|(id, _)| FoundLayer { path: format!("{id}/layer.tar"), blob: None })
        .collect();
    let diff_ids = layers.iter().map(|layer| contents.diff_id(&layer.path));
    let diff_ids = diff_ids.collect::<Result<Vec<_>, _>>()?;
    let history = chain.iter().map(|(_, link)| history(link)).collect();
    let Some((_, top)) = chain.pop() else {
        return Err(StoreError::Archive("image chain is empty".to_owned()));
    };
    let document = Document {
        architecture: top.architecture.unwrap_or_default(),
        os: top.os.unwrap_or_default(),
        author: top.author.unwrap_or_default(),
        comment: top.comment.unwrap_or_default(),
        created: top.created,
        docker_version: top.docker_version.unwrap_or_default(),
        config: top.config.unwrap_or_default(),
        history,
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids },
        ..Document::default()
    };
    let config = ImageConfig::from_document(document);
    Ok(FoundImage {
        config,
        layers,
        names,
        manifest: None,
        index: None,
        is_part: false,
        parent: None,
    })
}

fn history(link: &V1) -> History {
    let command = link.container_config.as_ref().and_then(|config| config.cmd.as_ref());
    History {
        created: link.created.clone(),
        created_by: command.map(|words| words.join(" ")).unwrap_or_default(),
        author: link.author.clone().unwrap_or_default(),
        comment: link.comment.clone().unwrap_or_default(),
        empty_layer: false,
    }
}
