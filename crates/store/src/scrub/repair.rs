//! Makes damaged things anew from what is left here.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;

use ferry_oci::digest::Digest;
use ferry_oci::reference::Reference;
use ferry_sys::durable::{self, Survive};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Damage, DamagedThing};
use crate::compression::{Compression, peek, read_ahead};
use crate::database::{LayerRow, Stored};
use crate::error::StoreError;
use crate::image::ImageId;
use crate::ingest::{BuiltLayer, decode_error};
use crate::layout::digest_of_name;
use crate::store::{LayerStoreKind, Store, delete_in_background};
use crate::take_in::{Expansion, receive};

/// What became of a damaged thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It is whole again, or was not needed.
    Done,
    /// Nothing here has it; a pull of one of these names may bring it again.
    NeedsPull {
        /// Names of the images that need it, sorted.
        names: Vec<Reference>,
    },
    /// It cannot be exchanged under containers that run.
    InUse {
        /// The containers that hold it, by their whole ids.
        containers: Vec<String>,
    },
}

impl Store {
    /// Repairs what a scrub found, from what is here: a layer from its compressed form, what was
    /// made of an archive from the archive, a compressed form of our own making from the layer.
    ///
    /// `in_use` tells whether a container that runs or is being started has a layer; it is asked
    /// under the store's lock.
    ///
    /// # Errors
    /// `Full`; when a file cannot be written.
    pub fn repair_locally(
        &self,
        damage: &Damage,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Repair, StoreError> {
        let repaired = match &damage.what {
            DamagedThing::Leak(path) => self.discard_leak(path)?,
            DamagedThing::Blob => self.repair_blob(&damage.digest)?,
            DamagedThing::Layer => self.repair_layer(&damage.digest, false, in_use)?,
            DamagedThing::Index | DamagedThing::Row => {
                self.repair_layer(&damage.digest, true, in_use)?
            }
            DamagedThing::Manifest | DamagedThing::Config => None,
        };
        match repaired {
            Some(repair) => Ok(repair),
            None => Ok(Repair::NeedsPull { names: self.names_of(&damage.needed_by)? }),
        }
    }

    fn names_of(&self, images: &[ImageId]) -> Result<Vec<Reference>, StoreError> {
        let mut names = Vec::new();
        for image in images {
            names.extend(self.database().image(image)?.map(|row| row.names).unwrap_or_default());
        }
        names.sort_by_key(Reference::to_string);
        names.dedup();
        Ok(names)
    }

    fn discard_leak(&self, path: &Path) -> Result<Option<Repair>, StoreError> {
        let _changes = self.lock_changes();
        let digest = path.file_name().and_then(digest_of_name);
        let (blobs, database) = (self.layout().blobs(), self.database());
        // Something may have come to need it.
        let is_known = match digest {
            Some(digest) if path.parent() == Some(&blobs) => database.knows_blob(&digest)?,
            Some(digest) => database.layer(&digest)?.is_some(),
            None => true,
        };
        let there = path.try_exists().map_err(|e| StoreError::file("open", path, e))?;
        if there && !is_known {
            delete_in_background(vec![self.layout().discard(path)?]);
        }
        Ok(Some(Repair::Done))
    }

    fn repair_blob(&self, digest: &Digest) -> Result<Option<Repair>, StoreError> {
        let Some(diff_id) = self.database().layer_of_blob(digest)? else { return Ok(None) };
        if self.database().is_damaged(Stored::Layer(&diff_id))? {
            return Ok(None);
        }
        let made = match self.compress_layer(&diff_id, &mut |_| ()) {
            Ok(made) if made.digest == *digest => made,
            // The layer is damaged too, or gone.
            Ok(_) | Err(StoreError::DigestMismatch { .. } | StoreError::NoSuchLayer(_)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let _changes = self.lock_changes();
        if self.database().layer_of_blob(digest)?.is_none() {
            return Ok(Some(Repair::Done));
        }
        let path = self.layout().blob(digest);
        durable::rename(&made.path, &path, Survive::Power)
            .map_err(|e| StoreError::file("rename to", &path, e.errno))?;
        self.database().forget_damage(Stored::Blob(digest))?;
        Ok(Some(Repair::Done))
    }

    fn repair_layer(
        &self,
        diff_id: &Digest,
        archive_is_whole: bool,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Option<Repair>, StoreError> {
        let Some(row) = self.database().layer(diff_id)? else {
            // A row of an image, which only the image itself can put right; or it is gone.
            let is_image = self.database().image(&ImageId::from(diff_id.clone()))?.is_some();
            return Ok((!is_image).then_some(Repair::Done));
        };
        if archive_is_whole
            && let Ok(archive) = self.layer_archive(diff_id)
            && let Some(built) = self.rebuild(&row, archive, None)?
        {
            return self.exchange(built, in_use).map(Some);
        }
        for blob in self.database().blob_rows_of_layer(diff_id)? {
            let Ok(file) = self.blob_file(&blob.digest) else { continue };
            if let Some(built) = self.rebuild(&row, file, Some(blob.size))? {
                return self.exchange(built, in_use).map(Some);
            }
        }
        Ok(None)
    }

    /// Makes a layer anew of an archive, compressed or not; `None` when that is damaged too.
    fn rebuild(
        &self,
        row: &LayerRow,
        source: impl Read + Send,
        compressed: Option<u64>,
    ) -> Result<Option<BuiltLayer>, StoreError> {
        let receive_all = || -> Result<_, StoreError> {
            let (start, source) = peek(source).map_err(StoreError::Read)?;
            thread::scope(|scope| {
                let decoder = Compression::of(&start).decode(source).map_err(decode_error)?;
                let (reader, _thread) = read_ahead(scope, decoder);
                let bounds = compressed.map_or(Expansion::Unknown, Expansion::Of);
                receive(self, reader, bounds, &mut |_| ())
            })
        };
        match receive_all() {
            Ok(received) if received.diff_id == row.diff_id => received.build(row.kind).map(Some),
            Ok(_) | Err(StoreError::Archive(_) | StoreError::Read(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a good layer in the place of a damaged one of the same kind.
    fn exchange(
        &self,
        built: BuiltLayer,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Repair, StoreError> {
        let BuiltLayer { row, dir } = built;
        let changes = self.lock_changes();
        let forms = self.change_forms();
        // A mounted EROFS holds its files; of a directory the files go from under the mount.
        let is_read = changes.is_pinned(&row.diff_id);
        if row.kind == LayerStoreKind::Directories && (is_read || in_use(&row.diff_id)) {
            let containers = self.database().containers_of_layer(&row.diff_id)?;
            return Ok(Repair::InUse { containers });
        }
        if self.database().layer(&row.diff_id)?.is_none() {
            return Ok(Repair::Done);
        }
        let path = self.layout().layer(&row.diff_id);
        swap(dir.path(), &path)?;
        durable::sync_dir(&self.layout().layers())
            .map_err(|e| StoreError::file("fsync", self.layout().layers(), e.errno))?;
        self.database().replace_layer(&row)?;
        self.roots().close(&row.diff_id);
        drop(forms);
        drop(changes);
        // The damaged one goes with the directory in `tmp/`, which it now is.
        drop(dir);
        Ok(Repair::Done)
    }
}

/// Exchanges two directories in one step; the second may be missing.
fn swap(new: &Path, old: &Path) -> Result<(), StoreError> {
    let fail = |errno| StoreError::file("exchange", PathBuf::from(old), errno);
    if !old.try_exists().map_err(|e| StoreError::file("open", old, e))? {
        return std::fs::rename(new, old).map_err(|e| StoreError::file("rename to", old, e));
    }
    renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).map_err(fail)
}
