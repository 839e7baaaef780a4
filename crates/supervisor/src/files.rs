//! The files of a container's directory under the exec root.

use serde::{Deserialize, Serialize};

/// The OCI configuration, written by the engine.
pub const CONFIG: &str = "config.json";
/// Where a new engine finds the supervisor.
pub const SOCKET: &str = "supervisor.sock";
/// [`State`].
pub const STATE: &str = "state.json";
/// [`crate::protocol::Exit`].
pub const EXIT: &str = "exit.json";

/// The configuration of an exec's process, written by the engine.
#[must_use]
pub fn exec_config(exec_id: &str) -> String {
    format!("exec-{exec_id}.json")
}

/// Which processes belong to a container, for an engine that finds its supervisor dead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The container's id.
    pub id: String,
    /// Its init.
    pub pid: i32,
    /// When the init was made, in clock ticks since boot: its pid may be another's now.
    pub start_ticks: u64,
    /// Its supervisor.
    pub supervisor_pid: i32,
    /// Its cgroup, as in its configuration.
    pub cgroup: String,
}

/// When a process was made, in clock ticks since boot; `None` when there is no such process.
/// `proc_pid_stat(5)`
#[must_use]
pub fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold any byte.
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = String::from_utf8_lossy(stat.get(after + 1..)?).into_owned();
    rest.split_whitespace().nth(19)?.parse().ok()
}
