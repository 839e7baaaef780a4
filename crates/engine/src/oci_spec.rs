//! From what a container shall be to what a runtime makes of it: a pure function.
//!
//! [`build`] knows Docker's defaults and nothing of the host but what it is given. Everything that
//! must be looked up — users, devices, volumes, the host's mounts — is resolved before, into
//! [`SpecInput`].

use std::path::PathBuf;

use ferry_oci::runtime::{Linux, Namespace, NamespaceType, Root, Spec, VERSION};

use crate::capabilities;
use crate::error::{EngineError, Result};
use crate::host::{CgroupVersion, HostFacts};
use crate::spec::{CgroupnsMode, ContainerSpec, IpcMode, NetworkMode, SeccompChoice, UtsMode};
use crate::users::ResolvedUser;

pub(crate) use devices::parse_device_rule;
pub(crate) use devices::{BlockDevices, HostDevice};
pub(crate) use mounts::{DEFAULT_SHM_SIZE, propagation_fault};
pub(crate) use mounts::{ResolvedKind, ResolvedMount};
pub(crate) use process::exec_process;

mod devices;
mod mounts;
mod process;
mod resources;

/// Paths that a container can not read.
pub(crate) const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that a container can not write.
pub(crate) const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Where our small init appears in a container.
pub(crate) const INIT_PATH: &str = "/sbin/docker-init";

/// Everything the configuration is made of, looked up.
#[derive(Debug)]
pub(crate) struct SpecInput<'a> {
    /// What the container shall be, merged and valid.
    pub spec: &'a ContainerSpec,
    /// What the host can do.
    pub facts: &'a HostFacts,
    /// Who runs the program.
    pub user: &'a ResolvedUser,
    /// The host name it sees.
    pub hostname: &'a str,
    /// What is mounted, volumes and binds found.
    pub mounts: &'a [ResolvedMount],
    /// `resolv.conf`, `hostname` and `hosts` of its own.
    pub files: &'a [(PathBuf, &'static str)],
    /// Devices of the host it gets.
    pub devices: &'a [HostDevice],
    /// Numbers of the block devices its limits name.
    pub block_devices: &'a BlockDevices,
    /// Which namespaces it joins.
    pub joins: &'a Joins,
    /// The init's program on the host, when it is to have one.
    pub init: Option<PathBuf>,
    /// Its cgroup.
    pub cgroup: String,
}

/// Namespaces of other containers, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Joins {
    /// Its network.
    pub network: Option<PathBuf>,
    /// Its process ids.
    pub pid: Option<PathBuf>,
    /// Its System V IPC.
    pub ipc: Option<PathBuf>,
    /// What becomes `/dev/shm`: the other container's, or its own that others may join.
    pub shm: Option<PathBuf>,
}

/// Makes the runtime's configuration.
///
/// # Errors
/// `Invalid` for capabilities no kernel knows, which [`ContainerSpec::validate`] would have found.
pub(crate) fn build(input: &SpecInput<'_>) -> Result<Spec> {
    let SpecInput { spec, facts, .. } = *input;
    let host = &spec.host;
    let capabilities =
        capabilities::choose(&host.cap_add, &host.cap_drop, host.privileged, &facts.capabilities)
            .map_err(|name| EngineError::Invalid(format!("unknown capability: \"{name}\"")))?;
    let confined = !host.privileged && !host.security.system_paths_unconfined;
    let mut linux = Linux {
        sysctl: sysctls(spec),
        resources: Some(resources::resources(input)),
        cgroups_path: input.cgroup.clone(),
        namespaces: namespaces(input),
        devices: devices::nodes(input.devices),
        seccomp: seccomp(spec, &capabilities),
        rootfs_propagation: mounts::root_propagation(input.mounts).to_owned(),
        ..Linux::default()
    };
    if confined {
        linux.masked_paths = masked_paths(spec, facts);
        linux.readonly_paths = match &host.security.readonly_paths {
            Some(paths) => paths.iter().map(PathBuf::from).collect(),
            None => READONLY_PATHS.map(PathBuf::from).to_vec(),
        };
    }
    let own_uts = host.uts == UtsMode::Private;
    Ok(Spec {
        oci_version: VERSION.to_owned(),
        process: Some(process::process(input, capabilities)),
        // The root is handed to the runtime as a descriptor.
        root: Some(Root { path: PathBuf::from("rootfs"), readonly: host.read_only }),
        hostname: if own_uts { input.hostname.to_owned() } else { String::new() },
        domainname: if own_uts { spec.domainname.clone() } else { String::new() },
        mounts: mounts::mounts(input),
        annotations: host.annotations.clone(),
        linux: Some(linux),
        ..Spec::default()
    })
}

fn masked_paths(spec: &ContainerSpec, facts: &HostFacts) -> Vec<PathBuf> {
    match &spec.host.security.masked_paths {
        Some(paths) => paths.iter().map(PathBuf::from).collect(),
        None => {
            let thermal = facts.thermal_paths.iter().map(String::as_str);
            MASKED_PATHS.into_iter().chain(thermal).map(PathBuf::from).collect()
        }
    }
}

/// Docker lets a container without its host's network bind low ports and ping.
fn sysctls(spec: &ContainerSpec) -> std::collections::BTreeMap<String, String> {
    let mut sysctls = spec.host.sysctls.clone();
    let own_network = matches!(
        spec.host.network,
        NetworkMode::Default | NetworkMode::Bridge | NetworkMode::None | NetworkMode::Named(_)
    );
    if own_network {
        let defaults = [
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", "0 2147483647"),
        ];
        for (name, value) in defaults {
            sysctls.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    sysctls
}

fn seccomp(spec: &ContainerSpec, capabilities: &[String]) -> Option<ferry_oci::runtime::Seccomp> {
    match &spec.host.security.seccomp {
        SeccompChoice::Unconfined => None,
        SeccompChoice::Profile(profile) => Some(profile.as_ref().clone()),
        SeccompChoice::Default if spec.host.privileged => None,
        SeccompChoice::Default => Some(ferry_oci::runtime::default_profile(capabilities)),
    }
}

/// Whether it has a cgroup namespace of its own.
#[must_use]
pub(crate) fn has_own_cgroupns(spec: &ContainerSpec, facts: &HostFacts) -> bool {
    match spec.host.cgroupns {
        Some(mode) => mode == CgroupnsMode::Private,
        None => facts.cgroup_version == CgroupVersion::V2 && !spec.host.privileged,
    }
}

fn namespaces(input: &SpecInput<'_>) -> Vec<Namespace> {
    let host = &input.spec.host;
    let joins = input.joins;
    let entry = |kind, path: Option<&PathBuf>| Namespace { kind, path: path.cloned() };
    let mut namespaces = vec![entry(NamespaceType::Mount, None)];
    if host.network != NetworkMode::Host {
        namespaces.push(entry(NamespaceType::Network, joins.network.as_ref()));
    }
    if host.uts == UtsMode::Private {
        namespaces.push(entry(NamespaceType::Uts, None));
    }
    if host.pid != crate::spec::PidMode::Host {
        namespaces.push(entry(NamespaceType::Pid, joins.pid.as_ref()));
    }
    if host.ipc != IpcMode::Host {
        namespaces.push(entry(NamespaceType::Ipc, joins.ipc.as_ref()));
    }
    if has_own_cgroupns(input.spec, input.facts) {
        namespaces.push(entry(NamespaceType::Cgroup, None));
    }
    namespaces
}

#[cfg(test)]
mod tests;
