//! What is kept of a container between two commands: a directory under `--root`.

use std::fs::{self, DirBuilder};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use ferry_oci::runtime::{Spec, Status};
use ferry_sys::cgroup::{Cgroup, FreezeState, Layout};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

/// What is said of a container without a record.
pub(crate) const ABSENT: &str = "container does not exist";

/// The version of the record's form.
const VERSION: u32 = 1;

/// A container, as recorded when it was made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    version: u32,
    /// Its id.
    pub(crate) id: String,
    /// The bundle it was made from.
    pub(crate) bundle: PathBuf,
    /// Its root file system.
    pub(crate) rootfs: PathBuf,
    /// Its init.
    pub(crate) pid: i32,
    /// When the init was born, in ticks since boot: with the id, who it is.
    pub(crate) born: u64,
    /// Its cgroup.
    pub(crate) cgroup: String,
    /// When it was made.
    pub(crate) created: String,
    /// Its configuration.
    pub(crate) spec: Spec,
}

/// The directory of one container.
#[derive(Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// The place of a container's directory.
    pub(crate) fn at(root: &Path, id: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if id.is_empty() || id == "." || id == ".." || id.len() > 1024 || !id.chars().all(allowed) {
            return Err(format!("invalid container ID format: {id:?}"));
        }
        Ok(Self(root.join(id)))
    }

    /// Makes the directory.
    pub(crate) fn make(&self) -> Result<(), String> {
        if let Some(root) = self.0.parent() {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(root);
            made.map_err(|error| format!("mkdir {}: {error}", root.display()))?;
        }
        match DirBuilder::new().mode(0o711).create(&self.0) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err("container with given ID already exists".to_owned())
            }
            Err(error) => Err(format!("mkdir {}: {error}", self.0.display())),
        }
    }

    /// Removes the directory.
    pub(crate) fn remove(&self) -> Result<(), String> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("rm {}: {error}", self.0.display()))
            }
            _ => Ok(()),
        }
    }

    /// Makes the gate through which the container is started, open at both ends.
    pub(crate) fn make_gate(&self) -> Result<OwnedFd, String> {
        let path = self.gate();
        let failed = |errno: Errno| format!("mkfifo {}: {errno}", path.display());
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(failed)?;
        rustix::fs::openat(CWD, &path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed)
    }

    /// Goes through the gate and takes it away. False when there is none: it was started before.
    pub(crate) fn open_gate(&self, word: &[u8]) -> Result<bool, String> {
        let path = self.gate();
        let failed = |errno: Errno| format!("{}: {errno}", path.display());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let gate = match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(false),
            gate => gate.map_err(failed)?,
        };
        // Order: whoever removes the gate is the one who starts.
        match rustix::fs::unlink(&path) {
            Err(Errno::NOENT) => return Ok(false),
            removed => removed.map_err(failed)?,
        }
        rustix::io::write(&gate, word).map_err(failed)?;
        Ok(true)
    }

    fn gate(&self) -> PathBuf {
        self.0.join("start.fifo")
    }

    /// Writes the record.
    pub(crate) fn write(&self, record: &Record) -> Result<(), String> {
        let text = serde_json::to_vec(record).map_err(|error| error.to_string())?;
        let temporary = self.0.join("state.json.new");
        let path = self.0.join("state.json");
        fs::write(&temporary, text)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|error| format!("writing {}: {error}", path.display()))
    }

    /// Reads the record, which must be there.
    pub(crate) fn read(&self) -> Result<Record, String> {
        self.find()?.ok_or_else(|| ABSENT.to_owned())
    }

    /// Reads the record, if there is one.
    pub(crate) fn find(&self) -> Result<Option<Record>, String> {
        let path = self.0.join("state.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| format!("reading {}: {error}", path.display()))?,
        };
        let record: Record = serde_json::from_slice(&text)
            .map_err(|error| format!("reading {}: {error}", path.display()))?;
        if record.version != VERSION {
            let version = record.version;
            return Err(format!("{} is of version {version}, not {VERSION}", path.display()));
        }
        Ok(Some(record))
    }

    /// Where the container is in its life.
    pub(crate) fn status(&self, record: &Record) -> Result<Status, String> {
        if record.open_init()?.is_none() {
            return Ok(Status::Stopped);
        }
        if self.gate().exists() {
            return Ok(Status::Created);
        }
        let paused = match record.open_cgroup()? {
            Some(group) => {
                matches!(group.freeze_state(), Ok(FreezeState::Frozen | FreezeState::Freezing))
            }
            None => false,
        };
        Ok(if paused { Status::Paused } else { Status::Running })
    }
}

impl Record {
    /// Records a container that has just been made.
    pub(crate) fn new(
        id: &str,
        bundle: PathBuf,
        rootfs: PathBuf,
        pid: Pid,
        cgroup: String,
        spec: Spec,
    ) -> Result<Self, String> {
        let (_state, born) = stat(pid)?.ok_or("the container's init has ended")?;
        Ok(Self {
            version: VERSION,
            id: id.to_owned(),
            bundle,
            rootfs,
            pid: pid.as_raw_nonzero().get(),
            born,
            cgroup,
            created: crate::time::now(),
            spec,
        })
    }

    /// A descriptor of the init, if it lives.
    pub(crate) fn open_init(&self) -> Result<Option<OwnedFd>, String> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let init = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            init => init.map_err(|errno| format!("pidfd_open {}: {errno}", self.pid))?,
        };
        // Order: looked at after it was opened, so that it is the one that was opened.
        let lives =
            matches!(stat(pid)?, Some((state, born)) if born == self.born && !"ZX".contains(state));
        Ok(lives.then_some(init))
    }

    /// The container's cgroup, if it is still there.
    pub(crate) fn open_cgroup(&self) -> Result<Option<Cgroup>, String> {
        let layout = Layout::detect().map_err(|error| error.to_string())?;
        Cgroup::open(&layout, &self.cgroup).map_err(|error| error.to_string())
    }
}

/// State and time of birth of a process. `proc_pid_stat(5)`
fn stat(pid: Pid) -> Result<Option<(char, u64)>, String> {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // The process ended while it was read.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(None),
        text => text.map_err(|error| format!("{path}: {error}"))?,
    };
    let text = String::from_utf8_lossy(&text);
    // The name is in brackets and may hold anything, brackets too.
    let fields = text.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let state = fields.chars().next();
    let born = fields.split(' ').nth(19).and_then(|born| born.parse().ok());
    state.zip(born).map(Some).ok_or_else(|| format!("{path} is not understood"))
}
