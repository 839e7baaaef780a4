//! The process to run, in the container's configuration and for an exec.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{is_false, or_default};

/// A process of a container. [OCI runtime, config § Process]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether it has a terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub terminal: bool,
    /// The terminal's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who runs it.
    #[serde(default)]
    pub user: User,
    /// The program and its arguments.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The environment, `NAME=value`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The working directory, absolute.
    #[serde(default)]
    pub cwd: PathBuf,
    /// The five capability sets; absent leaves the sets as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Resource limits.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// Whether no program it runs may gain privileges.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_new_privileges: bool,
    /// Name of its `AppArmor` profile.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub apparmor_profile: String,
    /// Its `SELinux` label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selinux_label: String,
    /// Adjustment of its out-of-memory score, -1000 to 1000; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Its scheduling policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Its I/O priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// The processors an exec may use before and after it is in its cgroup.
    #[serde(default, rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Who runs a process, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User id.
    #[serde(default)]
    pub uid: u32,
    /// Group id.
    #[serde(default)]
    pub gid: u32,
    /// File mode creation mask; absent is 0022.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// The five capability sets, by name (`CAP_CHOWN`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The most that any program can ever have.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub bounding: Vec<String>,
    /// What is in force.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub effective: Vec<String>,
    /// What an exec of a file with capabilities keeps.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub inheritable: Vec<String>,
    /// What may be put in force.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub permitted: Vec<String>,
    /// What an exec of any unprivileged file keeps.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub ambient: Vec<String>,
}

/// One resource limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Its name, `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The most the process may raise it to; `u64::MAX` is unlimited.
    pub hard: u64,
    /// What is in force.
    pub soft: u64,
}

/// A scheduling policy. `sched_setattr(2)`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    /// `SCHED_OTHER`, `SCHED_FIFO`, …
    pub policy: String,
    /// Niceness.
    #[serde(default)]
    pub nice: i32,
    /// Static priority, for real-time policies.
    #[serde(default)]
    pub priority: i32,
    /// `SCHED_FLAG_RESET_ON_FORK`, …
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Runtime of the deadline policy in nanoseconds.
    #[serde(default)]
    pub runtime: u64,
    /// Deadline in nanoseconds.
    #[serde(default)]
    pub deadline: u64,
    /// Period in nanoseconds.
    #[serde(default)]
    pub period: u64,
}

/// An I/O priority. `ioprio_set(2)`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE` or `IOPRIO_CLASS_IDLE`.
    pub class: String,
    /// 0, the highest, to 7.
    #[serde(default)]
    pub priority: i32,
}

/// Processors as a list, `0-3,7`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuAffinity {
    /// Before the process is in its cgroup.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub initial: String,
    /// After.
    #[serde(default, rename = "final", skip_serializing_if = "String::is_empty")]
    pub settled: String,
}
