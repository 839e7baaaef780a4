//! Volumes: directories that outlive containers.
//!
//! A volume is a directory and a record; the record is written last when one is made and removed
//! first when one is removed, so that a directory without a record is garbage. The record of an
//! anonymous volume is written after that of the container it is made for, which names it: so a
//! container that was never finished leaves no volume. Who uses a volume is not recorded: the
//! containers' records say it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ferry_store::Store;
use jiff::Timestamp;

use crate::error::{Doing as _, EngineError, Result};
use crate::id::{ContainerId, Id};
use crate::names;
use crate::records::{RecordError, VERSION, VOLUMES, VolumeRecord};
use crate::request::{Volume, VolumeRequest};

pub(crate) use copy::copy_up;

mod copy;

/// All volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    store: Store,
    /// Held while a volume is made or removed, so that both happen one after the other.
    known: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    record: VolumeRecord,
    users: BTreeSet<ContainerId>,
}

impl Volumes {
    /// Loads the records.
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
            match serde_json::from_slice::<VolumeRecord>(&record.body) {
                Ok(body) => {
                    known.insert(record.id, Entry { record: body, users: BTreeSet::new() });
                }
                Err(source) => {
                    // It is set aside, not deleted: the directory stays too.
                    tracing::warn!(id = record.id, %source, "a volume's record is malformed");
                    known.insert(
                        record.id.clone(),
                        Entry {
                            record: VolumeRecord {
                                name: record.id,
                                created: Timestamp::UNIX_EPOCH,
                                labels: BTreeMap::new(),
                                anonymous: false,
                            },
                            users: BTreeSet::new(),
                        },
                    );
                }
            }
        }
        Ok(Self { root, store: store.clone(), known: Mutex::new(known) })
    }

    /// For recovery: an anonymous volume that a container's record names has a record, too.
    ///
    /// # Errors
    /// When it can not be made.
    pub(crate) fn adopt(&self, name: &str) -> Result<()> {
        if names::volume_fault(name).is_some() || self.lock().contains_key(name) {
            return Ok(());
        }
        self.make(&mut self.lock(), name.to_owned(), BTreeMap::new(), true)?;
        self.record(name)
    }

    /// For recovery: removes directories without a record.
    ///
    /// # Errors
    /// When they can not be read or removed.
    pub(crate) fn remove_unrecorded(&self) -> Result<()> {
        let known = self.lock();
        let entries = fs::read_dir(&self.root).doing(|| "reading the volumes' directory")?;
        for entry in entries {
            let entry = entry.doing(|| "reading the volumes' directory")?;
            let name = entry.file_name();
            if !known.contains_key(name.to_string_lossy().as_ref()) {
                tracing::info!(volume = ?name, "removing a volume that was never finished");
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory that is mounted.
    pub(crate) fn mountpoint(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    /// Makes a volume, or gives the one that has the name. Says whether it is new.
    ///
    /// # Errors
    /// `Invalid` for a bad name, driver or option.
    pub(crate) fn create(&self, request: VolumeRequest) -> Result<(Volume, bool)> {
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
        let mut known = self.lock();
        if let Some(entry) = known.get(&name) {
            return Ok((self.show(entry), false));
        }
        let shown = self.make(&mut known, name, request.labels, anonymous)?;
        drop(known);
        if let Err(error) = self.record(&shown.name) {
            self.lock().remove(&shown.name);
            remove_tree(&self.root.join(&shown.name))?;
            return Err(error);
        }
        Ok((shown, true))
    }

    /// Makes an anonymous volume for a container that is being created; [`Volumes::record`] follows
    /// when the container is recorded.
    ///
    /// # Errors
    /// When it can not be made.
    pub(crate) fn create_for_container(&self, labels: BTreeMap<String, String>) -> Result<Volume> {
        let name = Id::random().as_str().to_owned();
        self.make(&mut self.lock(), name, labels, true)
    }

    fn make(
        &self,
        known: &mut BTreeMap<String, Entry>,
        name: String,
        labels: BTreeMap<String, String>,
        anonymous: bool,
    ) -> Result<Volume> {
        make_directory(&self.root.join(&name), 0o701)?;
        make_directory(&self.mountpoint(&name), 0o755)?;
        let record = VolumeRecord { name, created: Timestamp::now(), labels, anonymous };
        let entry = Entry { record, users: BTreeSet::new() };
        let shown = self.show(&entry);
        known.insert(shown.name.clone(), entry);
        Ok(shown)
    }

    /// Writes a volume's record.
    ///
    /// # Errors
    /// `NotFound`; when the database can not be written.
    pub(crate) fn record(&self, name: &str) -> Result<()> {
        let known = self.lock();
        let entry = known.get(name).ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))?;
        let body = serde_json::to_vec(&entry.record).doing(|| "writing a volume's record")?;
        let put = self.store.records().put(VOLUMES, name, VERSION, &body);
        put.doing(|| format!("create {name}"))
    }

    /// Says that a container uses a volume.
    pub(crate) fn hold(&self, name: &str, container: &ContainerId) {
        if let Some(entry) = self.lock().get_mut(name) {
            entry.users.insert(container.clone());
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
        let mut known = self.lock();
        let entry = known.get(name).ok_or_else(|| EngineError::NoSuchVolume(name.to_owned()))?;
        if !entry.users.is_empty() {
            let users: Vec<&str> = entry.users.iter().map(ContainerId::as_str).collect();
            return Err(EngineError::Conflict(format!(
                "remove {name}: volume is in use - [{}]",
                users.join(", ")
            )));
        }
        let records = self.store.records();
        records.delete(VOLUMES, name).doing(|| format!("remove {name}"))?;
        known.remove(name);
        // Order: out of sight under the lock, deleted after it; what is left there by a crash goes at
        // the next start.
        let hidden = self.store.data_root().join("tmp").join(format!("volume-{}", Id::random()));
        let moved = fs::rename(self.root.join(name), &hidden);
        drop(known);
        match moved {
            Ok(()) => remove_tree(&hidden),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
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

pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(EngineError::internal(format!("removing {}", path.display()), error))
        }
        _ => Ok(()),
    }
}
