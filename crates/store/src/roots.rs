//! Roots of layers, opened once and shared by all overlays.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use ferry_oci::digest::Digest;

use crate::database::LayerRow;
use crate::error::StoreError;
use crate::layers::layer_store;
use crate::layout::Layout;
use crate::limits;

/// Open roots of layers. An EROFS mount is shared so that its pages are cached once.
#[derive(Debug, Default)]
pub(crate) struct LayerRoots {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    roots: HashMap<Digest, (Arc<OwnedFd>, u64)>,
    /// Counts uses, to know which was used last.
    clock: u64,
}

impl LayerRoots {
    /// Opens the root of a layer, or finds it open.
    pub(crate) fn get(
        &self,
        layout: &Layout,
        layer: &LayerRow,
    ) -> Result<Arc<OwnedFd>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock += 1;
        let now = open.clock;
        if let Some((root, used)) = open.roots.get_mut(&layer.diff_id) {
            *used = now;
            return Ok(Arc::clone(root));
        }
        let root = Arc::new(layer_store(layer.kind).open(&layout.layer(&layer.diff_id))?);
        open.roots.insert(layer.diff_id.clone(), (Arc::clone(&root), now));
        if open.roots.len() > limits::MAX_IDLE_LAYER_MOUNTS {
            let oldest = open.roots.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(diff_id, _)| diff_id.clone()) {
                open.roots.remove(&oldest);
            }
        }
        Ok(root)
    }

    /// Closes the root of a layer that is to be removed.
    pub(crate) fn close(&self, diff_id: &Digest) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).roots.remove(diff_id);
    }
}
