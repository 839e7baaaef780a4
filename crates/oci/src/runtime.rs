//! The OCI runtime specification for Linux: `config.json` and the state of a container.
//!
//! Field for field the specification's JSON. Unknown fields are passed over, as the specification
//! asks of a runtime; that something known is not supported is for the runtime to say.
//!
//! [OCI runtime 1.3, config and config-linux]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use default_seccomp::default_profile;
pub use hooks::{Hook, Hooks};
pub use linux::{
    Device, DeviceType, IdMapping, IntelRdt, Linux, MemoryPolicy, Namespace, NamespaceType,
    NetDevice, Personality, TimeOffset,
};
pub use process::{
    Capabilities, ConsoleSize, CpuAffinity, IoPriority, Process, Rlimit, Scheduler, User,
};
pub use resources::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, Network, Pids, Rdma,
    Resources, ThrottleDevice, WeightDevice,
};
pub use seccomp::{Action, Arch, Argument, Comparison, Seccomp, SyscallRule};
pub use state::{State, Status};

mod default_seccomp;
mod hooks;
mod linux;
mod process;
mod resources;
mod seccomp;
mod state;

/// The version of the specification that is written.
pub const VERSION: &str = "1.2.1";

/// A container's configuration: `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Version of the specification, as `SemVer`.
    #[serde(default)]
    pub oci_version: String,
    /// The process to run; required to start, absent in a mere sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Host name in the container's own UTS namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// NIS domain name in the container's own UTS namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// What is mounted on top of the root, in order.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Programs to run at points of the container's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Metadata of no meaning to the runtime.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What only Linux has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
}

/// The root file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Its path: absolute, or relative to the bundle.
    pub path: PathBuf,
    /// Whether the container may not write to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub readonly: bool,
}

/// One mount in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where, inside the container.
    pub destination: PathBuf,
    /// The file system's type; `bind` or empty for a bind mount.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// A device, a path for bind mounts, or a mere name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Options as of fstab.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// User ids as seen through this mount.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids as seen through this mount.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
}

/// Reads `null` like an absent field; Go writes it for an empty slice or map.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests;
