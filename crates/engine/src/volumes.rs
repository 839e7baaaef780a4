//! Volumes: directories that outlive containers.
//!
//! A volume is a directory and a record. The directory is made elsewhere and appears whole; the
//! record is written after it and removed before it. What people named is recorded on the disk
//! before anyone is told, and what is in a volume is never taken for garbage because its record is
//! missing: a power failure, or a database that was lost or restored, takes records along but not
//! directories. A directory without a record is a volume that is recorded anew at the next start.
//!
//! The one exception is the anonymous volume of a container that is being created: it is recorded
//! after that container, whose record names it, and carries a mark until then. A directory with the
//! mark of this boot belonged to a container that was never finished, and goes.
//!
//! Who uses a volume is not recorded: the containers' records say it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferry_store::Store;
use jiff::Timestamp;

use crate::error::{Doing as _, EngineError, Result};
use crate::id::{ContainerId, Id};
use crate::names;
use crate::records::{RecordError, VERSION, VOLUMES, VolumeRecord};
use crate::request::{Volume, VolumeRequest};
use place::{DATA, Place};

mod copy;
mod place;
#[cfg(test)]
mod tests;

/// All volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    store: Store,
    boot_id: String,
    /// Held while a volume is made, taken by a container or removed, so that these happen one after
    /// the other. Taken before `known`.
    changes: Mutex<()>,
    /// Held for moments only: who reads does not wait for the disk.
    known: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    record: VolumeRecord,
    users: BTreeSet<ContainerId>,
    /// Held while the image's content is copied into it.
    filling: Arc<Mutex<()>>,
}

impl Entry {
    fn new(record: VolumeRecord) -> Self {
        Self { record, users: BTreeSet::new(), filling: Arc::default() }
    }
}

impl Volumes {
    /// Loads the records, and finishes what a crash interrupted in their directories.
    ///
    /// # Errors
    /// When records or the directory can not be read.
    pub(crate) fn open(store: &Store) -> Result<Self> {
        let root = store.data_root().join("volumes");
        make_directory(&root, 0o701)?;
        let records = store.records().list(VOLUMES).doing(|| "reading the volumes' records")?;
        let mut known = BTreeMap::new();
        for record in records {
            if record.version != VERSION {
                let error = RecordError::Newer { id: record.id, found: record.version };
                return Err(EngineError::internal("reading the volumes' records", error));
            }
            let body = serde_json::from_slice(&record.body).unwrap_or_else(|source| {
                // It is set aside, not deleted: the directory stays too.
                tracing::warn!(id = record.id, %source, "a volume's record is malformed");
                VolumeRecord {
                    name: record.id.clone(),
                    created: Timestamp::UNIX_EPOCH,
                    labels: BTreeMap::new(),
                    anonymous: false,
                }
            });
            known.insert(record.id, Entry::new(body));
        }
        let boot_id = place::boot_id()?;
        let volumes = Self {
            root,
            store: store.clone(),
            boot_id,
            changes: Mutex::default(),
            known: Mutex::new(known),
        };
        volumes.settle_recorded();
        Ok(volumes)
    }

    /// Directories of recorded volumes: whole, there, and without the mark of an unfinished one. A
    /// failure concerns one volume only.
    fn settle_recorded(&self) {
        self.lock().retain(|name, entry| {
            let place = self.place(name);
            if !place.exists() && entry.record.anonymous {
                // Its removal reached the disk, that of its record did not.
                tracing::warn!(volume = name, "an anonymous volume is gone");
                let forgotten = self.store.records().delete(VOLUMES, name);
                if let Err(error) = forgotten {
                    tracing::warn!(volume = name, %error, "its record stays");
                }
                return false;
            }
            if let Err(error) = place.settle() {
                tracing::warn!(volume = name, %error, "a volume can not be put in order");
            }
            true
        });
    }

    /// For recovery: an anonymous volume that a container's record names has a record, too.
    ///
    /// # Errors
    /// When it can not be made.
    pub(crate) fn adopt(&self, name: &str) -> Result<()> {
        let _changes = self.lock_changes();
        if names::volume_fault(name).is_some() || self.lock().contains_key(name) {
            return Ok(());
        }
        self.place(name).make(&self.hidden())?;
        self.admit(VolumeRecord {
            name: name.to_owned(),
            created: Timestamp::now(),
            labels: BTreeMap::new(),
            anonymous: true,
        })
    }

    /// For recovery, after [`Volumes::adopt`]: directories without a record become volumes, but for
    /// those that were made for a container which was never finished. What is no volume is left
    /// alone; a failure concerns one directory only.
    pub(crate) fn adopt_unrecorded(&self) {
        let _changes = self.lock_changes();
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "the volumes' directory can not be read");
                return;
            }
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.lock().contains_key(&name) {
                continue;
            }
            if names::volume_fault(&name).is_some() || !self.place(&name).exists() {
                tracing::warn!(name, "something in the volumes' directory is no volume");
                continue;
            }
            if let Err(error) = self.adopt_directory(&name) {
                tracing::warn!(volume = name, %error, "a volume is not taken over");
            }
        }
    }

    fn adopt_directory(&self, name: &str) -> Result<()> {
        let place = self.place(name);
        if place.is_unfinished(&self.boot_id) {
            tracing::info!(volume = name, "removing a volume that was never finished");
            return self.discard(name);
        }
        tracing::warn!(volume = name, "a volume without a record is taken over");
        place.settle()?;
        self.admit(VolumeRecord {
            name: name.to_owned(),
            created: place.created(),
            labels: BTreeMap::new(),
            // So that nothing prunes it as one that nobody asked for.
            anonymous: false,
        })
    }

    /// Records a volume whose directory is there, and makes it known.
    fn admit(&self, record: VolumeRecord) -> Result<()> {
        self.put(&record)?;
        self.place(&record.name).finish()?;
        self.lock().insert(record.name.clone(), Entry::new(record));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_changes(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, name: &str) -> Place {
        Place::new(self.root.join(name))
    }

    /// A new path out of sight, on the same file system; what is left there goes at the next start.
    fn hidden(&self) -> PathBuf {
        self.store.data_root().join("tmp").join(format!("volume-{}", Id::random()))
    }

    /// The directory that is mounted.
    pub(crate) fn mountpoint(&self, name: &str) -> PathBuf {
        self.root.join(name).join(DATA)
    }

    /// Makes a volume, or gives the one that has the name; with `holder`, it is that container's from
    /// the same moment on. Says whether it is new.
    ///
    /// # Errors
    /// `Invalid` for a bad name, driver or option.
    pub(crate) fn create(
        &self,
        request: VolumeRequest,
        holder: Option<&ContainerId>,
    ) -> Result<(Volume, bool)> {
        if !matches!(request.driver.as_str(), "" | "local") {
            let driver = request.driver;
            return Err(EngineError::NotFound(format!(
                "create {}: error looking up volume plugin {driver}: plugin \"{driver}\" not found",
                request.name
            )));
        }
        if !request.options.is_empty() {
            return Err(EngineError::NotImplemented(
                "options of the local volume driver are not supported yet".to_owned(),
            ));
        }
        let anonymous = request.name.is_empty();
        let name = if anonymous { Id::random().as_str().to_owned() } else { request.name };
        if let Some(fault) = names::volume_fault(&name) {
            return Err(EngineError::Invalid(format!("create {name}: {fault}")));
        }
        let _changes = self.lock_changes();
        if let Some(entry) = self.lock().get_mut(&name) {
            entry.users.extend(holder.cloned());
            return Ok((self.show(entry), false));
        }
        let is_new = self.place(&name).make(&self.hidden())?;
        let record =
            VolumeRecord { name, created: Timestamp::now(), labels: request.labels, anonymous };
        if let Err(error) = self.put(&record) {
            if is_new {
                self.discard(&record.name)?;
            }
            return Err(error);
        }
        Ok((self.insert(record, holder), true))
    }

    /// Makes an anonymous volume for a container that is being created and holds it;
    /// [`Volumes::record`] follows when the container is recorded.
    ///
    /// # Errors
    /// When it can not be made.
    pub(crate) fn create_for_container(
        &self,
        labels: BTreeMap<String, String>,
        holder: &ContainerId,
    ) -> Result<Volume> {
        let name = Id::random().as_str().to_owned();
        let _changes = self.lock_changes();
        self.place(&name).make_unfinished(&self.hidden(), &self.boot_id)?;
        let record = VolumeRecord { name, created: Timestamp::now(), labels, anonymous: true };
        Ok(self.insert(record, Some(holder)))
    }

    fn insert(&self, record: VolumeRecord, holder: Option<&ContainerId>) -> Volume {
        let mut entry = Entry::new(record);
        entry.users.extend(holder.cloned());
        let shown = self.show(&entry);
        self.lock().insert(shown.name.clone(), entry);
        shown
    }

    /// Writes the record of an anonymous volume.
    ///
    /// # Errors
    /// `NotFound`; when the database can not be written.
    pub(crate) fn record(&self, name: &str) -> Result<()> {
        let _changes = self.lock_changes();
        let record = self.lock().get(name).map(|entry| entry.record.clone());
        self.put(&record.ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))?)?;
        // Order: the mark goes when there is a record.
        self.place(name).finish()
    }

    /// What a person named is on the disk when this returns. An anonymous volume would be recorded
    /// anew like any other directory; no start of a container waits for the disk.
    fn put(&self, record: &VolumeRecord) -> Result<()> {
        let body = serde_json::to_vec(record).doing(|| "writing a volume's record")?;
        let (records, name) = (self.store.records(), &record.name);
        let put = match record.anonymous {
            true => records.put(VOLUMES, name, VERSION, &body),
            false => records.put_on_disk(VOLUMES, name, VERSION, &body),
        };
        put.doing(|| format!("create {name}"))
    }

    /// Copies what a container's root has at `path` into a volume that is empty, one container after
    /// the other.
    ///
    /// # Errors
    /// `NotFound`; when something can not be copied, and then the volume is still empty.
    pub(crate) fn fill(&self, name: &str, root: BorrowedFd<'_>, path: &str) -> Result<()> {
        let filling = self.lock().get(name).map(|entry| Arc::clone(&entry.filling));
        let filling = filling.ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))?;
        let _alone = filling.lock().unwrap_or_else(PoisonError::into_inner);
        copy::copy_up(root, path, &self.root.join(name))
    }

    /// For recovery: says that a container uses a volume.
    pub(crate) fn hold(&self, name: &str, container: &ContainerId) {
        match self.lock().get_mut(name) {
            Some(entry) => drop(entry.users.insert(container.clone())),
            None => tracing::warn!(volume = name, container = container.short(), "no such volume"),
        }
    }

    /// Says that a container is gone.
    pub(crate) fn let_go(&self, container: &ContainerId) {
        for entry in self.lock().values_mut() {
            entry.users.remove(container);
        }
    }

    /// Removes a volume.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when a container uses it.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let changes = self.lock_changes();
        let anonymous = {
            let known = self.lock();
            let entry =
                known.get(name).ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))?;
            if !entry.users.is_empty() {
                let users: Vec<&str> = entry.users.iter().map(ContainerId::as_str).collect();
                return Err(EngineError::Conflict(format!(
                    "remove {name}: volume is in use - [{}]",
                    users.join(", ")
                )));
            }
            entry.record.anonymous
        };
        let records = self.store.records();
        let deleted = match anonymous {
            true => records.delete(VOLUMES, name),
            false => records.delete_on_disk(VOLUMES, name),
        };
        deleted.doing(|| format!("remove {name}"))?;
        self.lock().remove(name);
        // Order: out of sight under the lock, deleted after it.
        let hidden = self.hide(name)?;
        drop(changes);
        hidden.map_or(Ok(()), |hidden| remove_tree(&hidden))
    }

    fn discard(&self, name: &str) -> Result<()> {
        self.hide(name)?.map_or(Ok(()), |hidden| remove_tree(&hidden))
    }

    /// Takes a volume's directory out of sight; `None` when there is none.
    fn hide(&self, name: &str) -> Result<Option<PathBuf>> {
        let hidden = self.hidden();
        match fs::rename(self.root.join(name), &hidden) {
            Ok(()) => Ok(Some(hidden)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EngineError::internal(format!("remove {name}"), error)),
        }
    }

    /// Shows one volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn get(&self, name: &str) -> Result<Volume> {
        let known = self.lock();
        let entry = known.get(name).ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))?;
        Ok(self.show(entry))
    }

    /// All volumes that the filters mean, by name.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter or value.
    pub(crate) fn list(&self, filters: &BTreeMap<String, Vec<String>>) -> Result<Vec<Volume>> {
        for (name, values) in filters {
            let known = matches!(name.as_str(), "dangling" | "driver" | "label" | "name");
            if !known {
                return Err(EngineError::Invalid(format!("invalid filter '{name}'")));
            }
            let truth = |value: &str| matches!(value, "0" | "1" | "true" | "false");
            if name == "dangling"
                && let Some(bad) = values.iter().find(|value| !truth(value))
            {
                return Err(EngineError::Invalid(format!("invalid filter 'dangling={bad}'")));
            }
        }
        let known = self.lock();
        let shown = known.values().map(|entry| self.show(entry));
        Ok(shown.filter(|volume| fits(filters, volume)).collect())
    }

    fn show(&self, entry: &Entry) -> Volume {
        let VolumeRecord { name, created, labels, anonymous } = entry.record.clone();
        Volume {
            mountpoint: self.mountpoint(&name),
            name,
            created,
            labels,
            options: BTreeMap::new(),
            anonymous,
            users: entry.users.len(),
        }
    }
}

fn fits(filters: &BTreeMap<String, Vec<String>>, volume: &Volume) -> bool {
    filters.iter().filter(|(_, values)| !values.is_empty()).all(|(name, values)| {
        match name.as_str() {
            "dangling" => values.iter().any(|value| {
                let wanted = matches!(value.as_str(), "1" | "true");
                wanted == (volume.users == 0)
            }),
            "driver" => values.iter().any(|value| value == "local"),
            "name" => values.iter().any(|value| volume.name.contains(value.as_str())),
            _ => values.iter().all(|value| match value.split_once('=') {
                Some((name, wanted)) => {
                    volume.labels.get(name).is_some_and(|value| value == wanted)
                }
                None => volume.labels.contains_key(value),
            }),
        }
    })
}

pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .doing(|| format!("making the directory {}", path.display()))
}

/// Deletes a directory with all that containers put into it; one that is not there is no error.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    ferry_sys::tree::remove(path).doing(|| format!("removing {}", path.display()))
}
