//! What callers of the engine hand in and get back, beside specs and snapshots.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::spec::{ContainerSpec, StopTimeout};

/// A container to create.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// Its name; `None` makes one up. A leading slash is dropped.
    pub name: Option<String>,
    /// What it shall be.
    pub spec: ContainerSpec,
    /// The platform the image must be of, `linux/amd64`.
    pub platform: Option<String>,
}

/// A container that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What will not work as asked, in Docker's words.
    pub warnings: Vec<String>,
}

/// How to stop a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopRequest {
    /// The signal; `None` is the container's.
    pub signal: Option<String>,
    /// How long to wait; `None` is the container's.
    pub timeout: Option<StopTimeout>,
}

/// How to remove a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveRequest {
    /// Even when it runs.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run; at once when it does not now.
    #[default]
    NotRunning,
    /// It ends the next time.
    NextExit,
    /// It is removed.
    Removed,
}

/// What a wait ended with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WaitOutcome {
    /// The container's exit code.
    pub exit_code: i32,
    /// What went wrong with its removal.
    pub error: Option<String>,
}

/// How to attach to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct AttachRequest {
    /// What was said before is sent first.
    pub logs: bool,
    /// Then what is said from now on.
    pub stream: bool,
    /// Standard input is attached.
    pub stdin: bool,
    /// Standard output is attached.
    pub stdout: bool,
    /// Standard error is attached.
    pub stderr: bool,
    /// The keys that detach, as written (`ctrl-p,ctrl-q`); `None` is the default.
    pub detach_keys: Option<String>,
}

/// A client's raw connection, taken out of HTTP.
#[derive(Debug)]
pub struct ClientConnection {
    /// The socket; closing it is left to whoever it is given to.
    pub socket: OwnedFd,
    /// The answer that the client waits for: written when its connection is registered, so that
    /// what it asks next comes after.
    pub head: Vec<u8>,
    /// What was read from it already.
    pub already_read: Vec<u8>,
}

/// Writes the head of an answer; it is a few hundred bytes, and the socket's buffer is empty.
///
/// # Errors
/// When the client has gone.
pub(crate) fn greet(socket: &OwnedFd, head: &[u8]) -> Result<()> {
    let mut rest = head;
    while !rest.is_empty() {
        match rustix::net::send(socket, rest, SendFlags::NOSIGNAL) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(EngineError::internal("answering a client", errno)),
        }
    }
    Ok(())
}

/// How to start an exec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExecStartRequest {
    /// Do not attach.
    pub detach: bool,
    /// The caller thinks it has a terminal; the exec's own setting counts.
    pub tty: bool,
    /// Rows and columns of the terminal.
    pub console_size: Option<(u16, u16)>,
}

/// Which containers to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Those that do not run, too.
    pub all: bool,
    /// At most so many of the newest, running or not.
    pub limit: Option<usize>,
    /// Docker's filters: each name's values are alternatives, but for `label`, which must all fit.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// Which lines of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct LogsRequest {
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// Go on with what comes.
    pub follow: bool,
    /// Each line with its time.
    pub timestamps: bool,
    /// Only from this time on.
    pub since: Option<Timestamp>,
    /// Only until this time.
    pub until: Option<Timestamp>,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Each line with the attributes of its log configuration.
    pub details: bool,
}

/// Bytes a container takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerSizes {
    /// What it has written.
    pub written: u64,
    /// With its image.
    pub total: u64,
}

/// The processes of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessTable {
    /// Titles of the columns.
    pub titles: Vec<String>,
    /// One row for each process.
    pub rows: Vec<Vec<String>>,
}

/// A volume to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Its name; empty makes one up.
    pub name: String,
    /// Its driver; empty is `local`, the only one.
    pub driver: String,
    /// Options of the driver; none are supported yet.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Its directory on the host.
    pub mountpoint: std::path::PathBuf,
    /// It was made for one container, without a name.
    pub anonymous: bool,
    /// How many containers use it.
    pub users: usize,
}

/// Counts for `info`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// All containers.
    pub containers: usize,
    /// Those that run.
    pub running: usize,
    /// Those that are paused.
    pub paused: usize,
    /// The rest.
    pub stopped: usize,
}
