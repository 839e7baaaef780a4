//! Checks that everything here is what it says it is.
//!
//! Blobs are compared with their names, configurations with their rows, the archive of each layer
//! with its diff id, and what was made of an archive with what would be made of it today. What is
//! damaged is remembered and counts as not being here: the next pull brings it again, or
//! [`Store::repair_locally`] makes it anew from what is left.

mod repair;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ferry_oci::digest::Digest;

pub use self::repair::Repair;
use crate::collect::now_seconds;
use crate::database::{LayerRow, Stored};
use crate::error::{StoreError, is_of_the_machine};
use crate::image::ImageId;
use crate::layers::{LayerCheck, layer_store};
use crate::layout::digest_of_name;
use crate::store::Store;

/// What a scrub is at.
#[derive(Clone, Debug)]
pub enum ScrubStep {
    /// Something is being checked.
    Checking {
        /// The blob, or the layer by its diff id.
        digest: Digest,
        /// Bytes checked so far, of all.
        current: u64,
        /// All that are to be checked, of everything.
        total: u64,
    },
    /// Something is wrong.
    Found(Damage),
}

/// Something that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What it is.
    pub what: DamagedThing,
    /// Its digest; a layer's is its diff id.
    pub digest: Digest,
    /// What is wrong with it, in words.
    pub problem: String,
    /// The images that it belongs to.
    pub needed_by: Vec<ImageId>,
}

/// What can be damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamagedThing {
    /// A compressed layer.
    Blob,
    /// A manifest or an index.
    Manifest,
    /// An image's configuration.
    Config,
    /// A layer's archive.
    Layer,
    /// What was made of a layer's archive, which itself is whole.
    Index,
    /// What the database says.
    Row,
    /// A file or directory that nothing knows.
    Leak(PathBuf),
}

/// What a scrub found.
#[derive(Clone, Debug, Default)]
pub struct ScrubReport {
    /// Blobs that were checked: compressed layers, configurations, manifests.
    pub blobs: u64,
    /// Layers that were checked.
    pub layers: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// All that is wrong.
    pub damages: Vec<Damage>,
    /// What work under way, or work that was given up, has left: no damage.
    pub unfinished: Vec<PathBuf>,
}

/// What there is to be checked, all at one moment.
struct Inventory {
    blobs: Vec<(Digest, u64)>,
    layers: Vec<LayerRow>,
    leaks: Vec<(Digest, PathBuf)>,
    unfinished: Vec<PathBuf>,
}

struct Scrub<'a> {
    store: &'a Store,
    tell: &'a mut (dyn FnMut(ScrubStep) + Send),
    cancel: &'a AtomicBool,
    report: ScrubReport,
    total: u64,
}

impl Store {
    /// Checks everything. Others may work on meanwhile; what comes while it runs is not checked.
    ///
    /// # Errors
    /// `Cancelled` when `cancel` is set; `Internal` when the database is damaged; when it or a directory cannot be read. What
    /// cannot be read of a blob or a layer is no error but damage.
    pub fn scrub(
        &self,
        tell: &mut (dyn FnMut(ScrubStep) + Send),
        cancel: &AtomicBool,
    ) -> Result<ScrubReport, StoreError> {
        // It is what all else is compared with, and has no digest.
        if let Some(problem) = self.database().problem()? {
            return Err(StoreError::Damaged(format!("ferry.db: {problem}")));
        }
        let Inventory { blobs, layers, leaks, unfinished } = self.inventory()?;
        let total = blobs.iter().map(|(_, size)| size).sum::<u64>()
            + layers.iter().map(|layer| layer.archive_size).sum::<u64>();
        let report = ScrubReport { unfinished, ..ScrubReport::default() };
        let mut scrub = Scrub { store: self, tell, cancel, report, total };
        for (digest, path) in leaks {
            let problem = format!("{} belongs to nothing", path.display());
            scrub.found(DamagedThing::Leak(path), digest, problem, Vec::new());
        }
        for (digest, _) in blobs {
            scrub.check_blob(&digest)?;
        }
        for image in self.database().image_ids()? {
            scrub.check_image(&image)?;
        }
        for layer in layers {
            scrub.check_layer(&layer)?;
        }
        Ok(scrub.report)
    }

    /// Lists everything under the lock: what is being placed right now has its row by then.
    fn inventory(&self) -> Result<Inventory, StoreError> {
        let _changes = self.lock_changes();
        let (layout, database) = (self.layout(), self.database());
        let layers = database.layers()?;
        let digests = database.blobs()?;
        let mut leaks = Vec::new();
        let known: HashSet<&Digest> = layers.iter().map(|layer| &layer.diff_id).collect();
        leaks.extend(unknown(&layout.layers(), &known)?);
        let known: HashSet<&Digest> = digests.iter().collect();
        leaks.extend(unknown(&layout.blobs(), &known)?);
        let mut unfinished = entries(&layout.tmp())?;
        unfinished.extend(entries(&layout.partials())?);
        let size = |digest: &Digest| fs::metadata(layout.blob(digest)).map_or(0, |file| file.len());
        let blobs = digests.iter().map(|digest| (digest.clone(), size(digest))).collect();
        Ok(Inventory { blobs, layers, leaks, unfinished })
    }
}

impl Scrub<'_> {
    fn found(
        &mut self,
        what: DamagedThing,
        digest: Digest,
        problem: String,
        needed_by: Vec<ImageId>,
    ) {
        tracing::warn!(?what, %digest, problem, "damage found");
        let damage = Damage { what, digest, problem, needed_by };
        (self.tell)(ScrubStep::Found(damage.clone()));
        self.report.damages.push(damage);
    }

    fn checking(&mut self, digest: &Digest) -> Result<(), StoreError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(StoreError::Interrupted);
        }
        let (current, total) = (self.report.bytes, self.total);
        (self.tell)(ScrubStep::Checking { digest: digest.clone(), current, total });
        Ok(())
    }

    fn check_blob(&mut self, digest: &Digest) -> Result<(), StoreError> {
        self.checking(digest)?;
        self.report.blobs += 1;
        let problem = match self.hash(digest)? {
            Err(error) if is_of_the_machine(&error) => {
                let path = self.store.layout().blob(digest);
                return Err(StoreError::file("read", path, error));
            }
            Ok(actual) if actual == *digest => None,
            Ok(actual) => Some(format!("its bytes have digest {actual}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some("its file is missing".to_owned())
            }
            Err(error) => Some(format!("it cannot be read: {error}")),
        };
        let database = self.store.database();
        let Some(problem) = problem else {
            return if database.is_damaged(Stored::Blob(digest))? {
                database.forget_damage(Stored::Blob(digest))
            } else {
                Ok(())
            };
        };
        // It may have gone while it was read.
        let changes = self.store.lock_changes();
        if !database.knows_blob(digest)? {
            return Ok(());
        }
        database.mark_damaged(Stored::Blob(digest), now_seconds())?;
        drop(changes);
        let what = if database.image(&ImageId::from(digest.clone()))?.is_some() {
            DamagedThing::Config
        } else if database.manifest(digest)?.is_some() {
            DamagedThing::Manifest
        } else {
            DamagedThing::Blob
        };
        let needed_by = database.images_of_blob(digest)?;
        self.found(what, digest.clone(), problem, needed_by);
        Ok(())
    }

    /// Reads a blob; the inner error is the blob's fault.
    fn hash(&mut self, digest: &Digest) -> Result<io::Result<Digest>, StoreError> {
        let mut file = match File::open(self.store.layout().blob(digest)) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let mut hasher = digest.verifier();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Ok(hasher.finish())),
                Ok(length) => {
                    hasher.update(&buffer[..length]);
                    self.report.bytes += length as u64;
                    self.checking(digest)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Compares an image's configuration with its rows.
    fn check_image(&mut self, image: &ImageId) -> Result<(), StoreError> {
        let database = self.store.database();
        // A damaged configuration is told of already.
        if database.is_damaged(Stored::Blob(image.digest()))? {
            return Ok(());
        }
        let config = match self.store.config(image) {
            Ok(config) => config,
            Err(_) if database.image(image)?.is_none() => return Ok(()),
            Err(error) => {
                let (what, digest) = (DamagedThing::Config, image.digest().clone());
                self.found(what, digest, error.to_string(), vec![image.clone()]);
                return Ok(());
            }
        };
        let rows = database.image_layers(image)?;
        if rows != config.rootfs.diff_ids && database.image(image)?.is_some() {
            let (found, expected) = (rows.len(), config.rootfs.diff_ids.len());
            let problem = format!(
                "the database has other layers of it ({found}) than its configuration ({expected})"
            );
            let digest = image.digest().clone();
            self.found(DamagedThing::Row, digest, problem, vec![image.clone()]);
        }
        Ok(())
    }

    fn check_layer(&mut self, layer: &LayerRow) -> Result<(), StoreError> {
        self.checking(&layer.diff_id)?;
        self.report.layers += 1;
        let database = self.store.database();
        let dir = self.store.layout().layer(&layer.diff_id);
        let inode = || fs::metadata(&dir).ok().map(|dir| dir.ino());
        let checked_inode = inode();
        let before = self.report.bytes;
        let end = before + layer.archive_size;
        let mut watch = |more| {
            // A damaged archive may be longer than it should be.
            self.report.bytes = end.min(self.report.bytes + more);
            self.checking(&layer.diff_id).map_err(io::Error::other)
        };
        let checked = layer_store(layer.kind).check(&dir, &mut watch);
        // It is no damage that it was given up.
        if self.cancel.load(Ordering::Relaxed) {
            return Err(StoreError::Interrupted);
        }
        self.report.bytes = end;
        let checked = match checked {
            Err(error) if !speaks_of_the_layer(&error) => return Err(error),
            checked => checked,
        };
        let Some((what, problem)) = judge(layer, checked) else {
            let stored = Stored::Layer(&layer.diff_id);
            let is_known = database.is_damaged(stored)?;
            return if is_known { database.forget_damage(stored) } else { Ok(()) };
        };
        // It may have gone while it was read, or been exchanged.
        let changes = self.store.lock_changes();
        if database.layer(&layer.diff_id)?.as_ref() != Some(layer) || inode() != checked_inode {
            return Ok(());
        }
        database.mark_damaged(Stored::Layer(&layer.diff_id), now_seconds())?;
        drop(changes);
        let needed_by = database.images_of_layer(&layer.diff_id)?;
        self.found(what, layer.diff_id.clone(), problem, needed_by);
        Ok(())
    }
}

/// Whether a failure to check a layer says something of the layer. Where memory, descriptors or the
/// disk ran out, it says nothing.
fn speaks_of_the_layer(error: &StoreError) -> bool {
    match error {
        StoreError::File { source, .. } | StoreError::Read(source) => !is_of_the_machine(source),
        StoreError::Archive(_) | StoreError::DigestMismatch { .. } | StoreError::Damaged(_) => true,
        _ => false,
    }
}

/// What is wrong with a layer, if anything is.
fn judge(
    layer: &LayerRow,
    checked: Result<LayerCheck, StoreError>,
) -> Option<(DamagedThing, String)> {
    let check = match checked {
        Ok(check) => check,
        Err(error) => {
            let mut problem = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                problem = format!("{problem}: {error}");
                cause = error.source();
            }
            return Some((DamagedThing::Layer, problem));
        }
    };
    if check.diff_id != layer.diff_id {
        let problem = format!("its archive has digest {}", check.diff_id);
        return Some((DamagedThing::Layer, problem));
    }
    if let Some(problem) = check.problem {
        return Some((DamagedThing::Index, problem));
    }
    let found = LayerRow {
        diff_id: check.diff_id,
        kind: layer.kind,
        archive_size: check.archive_size,
        content_size: check.content_size,
        is_empty: check.is_empty,
        root_is_opaque: check.root_is_opaque,
    };
    let problem = "the database says of it what its archive does not".to_owned();
    (found != *layer).then_some((DamagedThing::Row, problem))
}

/// What in a directory has the name of a digest that is not known.
fn unknown(dir: &Path, known: &HashSet<&Digest>) -> Result<Vec<(Digest, PathBuf)>, StoreError> {
    let leak = |path: PathBuf| {
        let digest = digest_of_name(path.file_name()?)?;
        (!known.contains(&digest)).then_some((digest, path))
    };
    Ok(entries(dir)?.into_iter().filter_map(leak).collect())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect();
    let read: io::Result<Vec<PathBuf>> = read();
    let mut paths = read.map_err(|e| StoreError::file("read", dir, e))?;
    paths.sort();
    Ok(paths)
}
