//! Keeps layers in the other way: an EROFS index over the archive, or a directory.
//!
//! The new form's files come beside the old ones' in the layer's directory, under other names; then
//! the row says the new kind; then the old ones go. So at every moment the row tells the truth, and
//! what a crash leaves is only in the way: the next conversion clears it.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use ferry_oci::digest::Digest;

use crate::database::LayerRow;
use crate::error::StoreError;
use crate::ingest::BuiltLayer;
use crate::layers;
use crate::store::{LayerStoreKind, Store, delete_in_background};
use crate::take_in::{Expansion, receive};

/// What a conversion did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Layers that are now kept in the new way, by diff id.
    pub converted: Vec<Digest>,
    /// Layers whose directories containers that run stand on; they stay as they are.
    pub in_use: Vec<Digest>,
    /// Layers whose archives are damaged; they stay as they are.
    pub damaged: Vec<Digest>,
}

impl Store {
    /// Keeps all layers in one way, one after the other. What it says of the store's own choice
    /// for new layers is nothing: that is [`crate::StoreConfig::layer_store`].
    ///
    /// `in_use` tells whether a container that runs or is being started has a layer; it is asked
    /// under the store's lock. `tell` hears the layer and how many bytes of its archive were read.
    ///
    /// # Errors
    /// When the kernel cannot mount layers of the new kind; `Full`. Layers done by then stay so.
    pub fn convert_layers(
        &self,
        to: LayerStoreKind,
        in_use: &dyn Fn(&Digest) -> bool,
        tell: &mut (dyn FnMut(&Digest, u64) + Send),
    ) -> Result<Converted, StoreError> {
        if to == LayerStoreKind::Erofs {
            layers::probe_erofs(self.layout().new_tmp_dir("probe")?.path())?;
        }
        let mut done = Converted::default();
        for row in self.database().layers()? {
            if row.kind == to {
                continue;
            }
            if row.kind == LayerStoreKind::Directories && in_use(&row.diff_id) {
                done.in_use.push(row.diff_id);
                continue;
            }
            let Some(built) = self.build_other(&row, to, tell)? else {
                done.damaged.push(row.diff_id);
                continue;
            };
            if self.change_form(&row, built, in_use)? {
                done.converted.push(row.diff_id);
            } else {
                done.in_use.push(row.diff_id);
            }
        }
        Ok(done)
    }

    /// Makes the other form of a layer in `tmp/`; `None` when its archive is damaged or gone.
    fn build_other(
        &self,
        row: &LayerRow,
        to: LayerStoreKind,
        tell: &mut (dyn FnMut(&Digest, u64) + Send),
    ) -> Result<Option<BuiltLayer>, StoreError> {
        let diff_id = &row.diff_id;
        let archive = match self.layer_archive(diff_id) {
            Ok(archive) => archive,
            Err(error) => {
                tracing::warn!(%diff_id, %error, "cannot read a layer");
                return Ok(None);
            }
        };
        let mut tell = |bytes| tell(diff_id, bytes);
        let archive = BufReader::with_capacity(256 << 10, archive);
        match receive(self, archive, Expansion::default(), &mut tell) {
            Ok(received) if received.diff_id == *diff_id => received.build(to).map(Some),
            Ok(received) => {
                tracing::warn!(%diff_id, actual = %received.diff_id, "a layer is damaged");
                Ok(None)
            }
            Err(error @ (StoreError::Archive(_) | StoreError::Read(_))) => {
                tracing::warn!(%diff_id, %error, "a layer is damaged");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Exchanges the form of a layer; false when it came into use meanwhile.
    fn change_form(
        &self,
        old: &LayerRow,
        built: BuiltLayer,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<bool, StoreError> {
        let BuiltLayer { row, dir: new } = built;
        let changes = self.lock_changes();
        let forms = self.change_forms();
        let is_read = changes.is_pinned(&row.diff_id);
        if old.kind == LayerStoreKind::Directories && (is_read || in_use(&row.diff_id)) {
            return Ok(false);
        }
        if self.database().layer(&row.diff_id)?.is_none() {
            // It went; there is nothing to convert.
            return Ok(true);
        }
        let dir = self.layout().layer(&row.diff_id);
        let mut discarded = Vec::new();
        let names = names(new.path())?;
        for name in &names {
            let place = dir.join(name);
            if fs::symlink_metadata(&place).is_ok() {
                discarded.push(self.layout().discard(&place)?);
            }
            fs::rename(new.path().join(name), &place)
                .map_err(|e| StoreError::file("rename to", &place, e))?;
        }
        sync(&dir)?;
        self.database().replace_layer(&row)?;
        self.roots().close(&row.diff_id);
        for name in self::names(&dir)? {
            if !names.contains(&name) {
                discarded.push(self.layout().discard(&dir.join(name))?);
            }
        }
        drop(forms);
        drop(changes);
        delete_in_background(discarded);
        Ok(true)
    }
}

fn sync(dir: &Path) -> Result<(), StoreError> {
    ferry_sys::durable::sync_dir(dir).map_err(|e| StoreError::file("fsync", dir, e.errno))
}

fn names(dir: &Path) -> Result<Vec<OsString>, StoreError> {
    let read = || -> std::io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    };
    read().map_err(|e| StoreError::file("read", PathBuf::from(dir), e))
}
