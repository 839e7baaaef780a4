//! Puts a data root right after a crash: whatever the database does not know goes.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ferry_oci::digest::Digest;

use super::{Store, delete_in_background};
use crate::collect::Collect;
use crate::database::LayerRow;
use crate::error::StoreError;
use crate::layers::layer_store;
use crate::layout::{digest_of_name, is_replaced};
use crate::manifest::children_of;

/// Sweeps. Nothing else uses the data root yet.
pub(super) fn sweep(store: &Store) -> Result<(), StoreError> {
    let (layout, database) = (store.layout(), store.database());
    // Order: what is in the way now is listed before anything is put there; the collection deletes
    // by itself what it puts there.
    let mut rubbish = Vec::new();
    for name in names(&layout.tmp())? {
        // Containers may have gone on running on it while there was no engine.
        let is_held = match is_replaced(&name) {
            Some(layer) => !database.containers_of_layer(&layer)?.is_empty(),
            None => false,
        };
        if !is_held {
            rubbish.push(layout.tmp().join(name));
        }
    }
    store.sweep_setups()?;
    forget_containers_without_directory(store)?;
    fill_children(store)?;
    store.collect_garbage(Collect::default())?;
    let rows = database.layers()?;
    for row in &rows {
        rubbish.extend(discard_other_form(store, row)?);
    }
    let layers: HashSet<Digest> = rows.into_iter().map(|row| row.diff_id).collect();
    rubbish.extend(discard_unknown(store, &layout.layers(), &layers)?);
    let blobs: HashSet<Digest> = database.blobs()?.into_iter().collect();
    rubbish.extend(discard_unknown(store, &layout.blobs(), &blobs)?);
    delete_in_background(rubbish);
    Ok(())
}

/// A container that was being made or removed when we died.
fn forget_containers_without_directory(store: &Store) -> Result<(), StoreError> {
    for container in store.database().containers()? {
        let path = store.container_dir(&container);
        if !path.try_exists().map_err(|e| StoreError::file("open", &path, e))? {
            store.database().delete_container(&container)?;
        }
    }
    Ok(())
}

/// Manifests of a data root of the first schema: reads what they lead to.
fn fill_children(store: &Store) -> Result<(), StoreError> {
    for (digest, kind) in store.database().manifests_without_children()? {
        let path = store.layout().blob(&digest);
        let read = fs::read(&path).map_err(|e| StoreError::file("read", &path, e));
        match read.and_then(|bytes| children_of(kind, &bytes)) {
            Ok(children) => store.database().insert_children(&digest, &children)?,
            // Its image is whole without it; only a push will miss it.
            Err(error) => tracing::warn!(%digest, %error, "cannot read a manifest"),
        }
    }
    Ok(())
}

/// Puts into `tmp/` what a conversion that was killed has left in a layer's directory.
fn discard_other_form(store: &Store, row: &LayerRow) -> Result<Vec<PathBuf>, StoreError> {
    let dir = store.layout().layer(&row.diff_id);
    let files = layer_store(row.kind).files();
    // One whose files went is for a pull to bring again.
    if !files.iter().all(|name| dir.join(name).exists()) {
        return Ok(Vec::new());
    }
    let mut others = names(&dir)?;
    others.retain(|name| files.iter().all(|file| name != file));
    others.iter().map(|name| store.layout().discard(&dir.join(name))).collect()
}

/// Puts into `tmp/` what is not known; tells where it is there.
fn discard_unknown(
    store: &Store,
    dir: &Path,
    known: &HashSet<Digest>,
) -> Result<Vec<PathBuf>, StoreError> {
    let mut discarded = Vec::new();
    for name in names(dir)? {
        // Names that are no digests are not ours to judge.
        if digest_of_name(&name).is_some_and(|digest| !known.contains(&digest)) {
            discarded.push(store.layout().discard(&dir.join(name))?);
        }
    }
    Ok(discarded)
}

fn names(dir: &Path) -> Result<Vec<OsString>, StoreError> {
    let read = || -> std::io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    };
    read().map_err(|e| StoreError::file("read", dir, e))
}
