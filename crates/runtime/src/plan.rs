//! What is to be done to make a container, decided before anything is.
//!
//! A configuration is read once, here, and everything in it is either understood or refused by name.
//! The init then only carries out.

use std::path::{Path, PathBuf};

use ferry_oci::runtime::{Linux, NamespaceType, Spec};
use ferry_sys::mount::Propagation;
use ferry_sys::process::CloneNamespaces;
use rustix::process::Resource;

use crate::error::RuntimeError;

pub(crate) use devices::{DeviceNode, NodeKind};
pub(crate) use mounts::{Filesystem, MountKind, MountPlan};

mod devices;
pub(crate) mod mounts;
mod sysctl;

/// A whole container, planned.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Plan<'a> {
    /// Namespaces to make, without the cgroup namespace.
    pub(crate) make: CloneNamespaces,
    /// Whether a cgroup namespace is made, once the init is in its cgroup.
    pub(crate) make_cgroup_namespace: bool,
    /// Namespaces to join, with their paths on the host, in the order of joining.
    pub(crate) join: Vec<(CloneNamespaces, &'a Path)>,
    /// Whether the caller gives a network namespace, in place of what the configuration says.
    pub(crate) network_given: bool,
    /// Those to join that are the maker's own, so that what is changed in them is changed for the host.
    shared: CloneNamespaces,
    /// Whether the network namespace is made and so needs its loopback interface brought up.
    pub(crate) loopback: bool,
    /// Id mappings when a user namespace is made.
    pub(crate) id_maps: Option<IdMaps>,
    /// Whether there is a user namespace, made or joined, so that no device nodes can be made.
    pub(crate) in_user_namespace: bool,
    /// Mounts, in order.
    pub(crate) mounts: Vec<MountPlan>,
    /// Device nodes; `None` when `/dev` is the caller's affair.
    pub(crate) devices: Option<Vec<DeviceNode>>,
    /// Files under `/proc/sys` and what to write to them.
    pub(crate) sysctls: Vec<(PathBuf, &'a str)>,
    /// Propagation of the root mount, and whether of all beneath it.
    pub(crate) root_propagation: Option<(Propagation, bool)>,
    /// Whether the root can not be written.
    pub(crate) root_readonly: bool,
}

/// The lines of `uid_map` and `gid_map`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) users: String,
    pub(crate) groups: String,
}

impl<'a> Plan<'a> {
    /// Plans a container; `netns_given` when the caller has a network namespace for it.
    pub(crate) fn new(spec: &'a Spec, netns_given: bool) -> Result<Self, RuntimeError> {
        static NOTHING: std::sync::OnceLock<Linux> = std::sync::OnceLock::new();
        let linux = spec.linux.as_ref();
        let linux = linux.unwrap_or_else(|| NOTHING.get_or_init(Linux::default));
        refuse_unsupported(spec, linux)?;
        let mut plan = Plan {
            make: CloneNamespaces::empty(),
            make_cgroup_namespace: false,
            join: Vec::new(),
            network_given: netns_given,
            shared: CloneNamespaces::empty(),
            loopback: false,
            id_maps: None,
            in_user_namespace: false,
            mounts: spec.mounts.iter().map(MountPlan::new).collect::<Result<_, _>>()?,
            devices: None,
            sysctls: Vec::new(),
            root_propagation: root_propagation(&linux.rootfs_propagation)?,
            root_readonly: spec.root.as_ref().is_some_and(|root| root.readonly),
        };
        plan.namespaces(linux)?;
        plan.check_names(spec)?;
        plan.sysctls = sysctl::plan(&linux.sysctl, &plan)?;
        if !plan.mounts.iter().any(MountPlan::binds_dev) {
            plan.devices = Some(devices::plan(&linux.devices)?);
        }
        Ok(plan)
    }

    /// Whether a namespace is the container's own or another container's, not the host's.
    pub(crate) fn has(&self, kind: CloneNamespaces) -> bool {
        let given = self.network_given && kind == CloneNamespaces::NETWORK;
        let joined = given || self.join.iter().any(|(joined, _)| *joined == kind);
        self.make.contains(kind) || (joined && !self.shared.contains(kind))
    }

    /// Takes in which of the namespaces to join are the maker's own, once that was seen, and checks
    /// again what needs a namespace that is not.
    pub(crate) fn share(
        &mut self,
        spec: &'a Spec,
        shared: CloneNamespaces,
    ) -> Result<(), RuntimeError> {
        self.shared = shared;
        self.check_names(spec)?;
        if let Some(linux) = &spec.linux {
            self.sysctls = sysctl::plan(&linux.sysctl, self)?;
        }
        Ok(())
    }

    /// Whether the container sees its own cgroup as the root of all.
    pub(crate) fn own_cgroup_namespace(&self) -> bool {
        self.make_cgroup_namespace || self.has(CloneNamespaces::CGROUP)
    }

    fn namespaces(&mut self, linux: &'a Linux) -> Result<(), RuntimeError> {
        let mut seen = CloneNamespaces::empty();
        for namespace in &linux.namespaces {
            let kind = flag(namespace.kind);
            if seen.contains(kind) {
                let message = format!("malformed spec file: duplicated ns {:?}", namespace.kind);
                return Err(RuntimeError::invalid(message));
            }
            seen |= kind;
            let path = namespace.path.as_deref().filter(|path| !path.as_os_str().is_empty());
            match (namespace.kind, path) {
                (NamespaceType::Network, _) if self.network_given => {}
                (NamespaceType::Mount, Some(path)) => {
                    let path = path.display();
                    let message = format!("joining the mount namespace {path} is not supported");
                    return Err(RuntimeError::invalid(message));
                }
                (_, Some(path)) => self.join.push((kind, path)),
                (NamespaceType::Cgroup, None) => self.make_cgroup_namespace = true,
                (_, None) => self.make |= kind,
            }
        }
        if !self.make.contains(CloneNamespaces::MOUNT) {
            return Err(RuntimeError::invalid("a container needs a mount namespace of its own"));
        }
        // Order: the user namespace first, for it gives the right to join the others it owns.
        self.join.sort_by_key(|(kind, _)| *kind != CloneNamespaces::USER);
        self.loopback = self.make.contains(CloneNamespaces::NETWORK);
        self.in_user_namespace = seen.contains(CloneNamespaces::USER);
        if self.make.contains(CloneNamespaces::USER) {
            self.id_maps = Some(id_maps(linux)?);
        } else if !linux.uid_mappings.is_empty() && !self.in_user_namespace {
            let message = "user namespace mappings specified, but user namespace isn't enabled";
            return Err(RuntimeError::invalid(message));
        }
        Ok(())
    }

    fn check_names(&self, spec: &Spec) -> Result<(), RuntimeError> {
        let named = !spec.hostname.is_empty() || !spec.domainname.is_empty();
        if named && !self.has(CloneNamespaces::UTS) {
            let message = "unable to set hostname without a private UTS namespace";
            return Err(RuntimeError::invalid(message));
        }
        Ok(())
    }
}

/// The flag of a namespace's kind.
fn flag(kind: NamespaceType) -> CloneNamespaces {
    match kind {
        NamespaceType::Pid => CloneNamespaces::PID,
        NamespaceType::Network => CloneNamespaces::NETWORK,
        NamespaceType::Mount => CloneNamespaces::MOUNT,
        NamespaceType::Ipc => CloneNamespaces::IPC,
        NamespaceType::Uts => CloneNamespaces::UTS,
        NamespaceType::User => CloneNamespaces::USER,
        NamespaceType::Cgroup => CloneNamespaces::CGROUP,
        NamespaceType::Time => CloneNamespaces::TIME,
    }
}

/// What the specification knows and this runtime does not do is refused, never passed over.
fn refuse_unsupported(spec: &Spec, linux: &Linux) -> Result<(), RuntimeError> {
    let hooks = spec.hooks.as_ref();
    let refused = [
        ("hooks", hooks.is_some_and(|hooks| *hooks != ferry_oci::runtime::Hooks::default())),
        ("linux.mountLabel", !linux.mount_label.is_empty()),
        ("linux.intelRdt", linux.intel_rdt.is_some()),
        ("linux.memoryPolicy", linux.memory_policy.is_some()),
        ("linux.personality", linux.personality.is_some()),
        ("linux.timeOffsets", !linux.time_offsets.is_empty()),
        ("linux.netDevices", !linux.net_devices.is_empty()),
    ];
    match refused.iter().find(|(_, present)| *present) {
        Some((name, _)) => Err(RuntimeError::invalid(format!("{name} is not supported"))),
        None => Ok(()),
    }
}

fn root_propagation(name: &str) -> Result<Option<(Propagation, bool)>, RuntimeError> {
    match name {
        "" => Ok(None),
        name => match mounts::propagation(name) {
            Some(propagation) => Ok(Some(propagation)),
            None => {
                let message = format!("rootfsPropagation={name} is not supported");
                Err(RuntimeError::invalid(message))
            }
        },
    }
}

fn id_maps(linux: &Linux) -> Result<IdMaps, RuntimeError> {
    let lines = |mappings: &[ferry_oci::runtime::IdMapping]| {
        mappings
            .iter()
            .map(|map| format!("{} {} {}\n", map.container_id, map.host_id, map.size))
            .collect::<String>()
    };
    if linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty() {
        let message = "a new user namespace needs uidMappings and gidMappings";
        return Err(RuntimeError::invalid(message));
    }
    Ok(IdMaps { users: lines(&linux.uid_mappings), groups: lines(&linux.gid_mappings) })
}

/// A process's limits, by the kernel's words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) resource: Resource,
    pub(crate) number: usize,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// The limits of a process, each name understood.
pub(crate) fn limits(process: &ferry_oci::runtime::Process) -> Result<Vec<Limit>, RuntimeError> {
    let limit = |limit: &ferry_oci::runtime::Rlimit| {
        let unknown = || RuntimeError::invalid(format!("wrong rlimit value: {}", limit.kind));
        let (resource, number) = ferry_sys::rlimit::by_name(&limit.kind).ok_or_else(unknown)?;
        Ok(Limit { resource, number, soft: limit.soft, hard: limit.hard })
    };
    process.rlimits.iter().map(limit).collect()
}

/// What a process may ask for that this runtime does not do.
pub(crate) fn check_process(process: &ferry_oci::runtime::Process) -> Result<(), RuntimeError> {
    let refused = [
        ("process.selinuxLabel", !process.selinux_label.is_empty()),
        ("process.scheduler", process.scheduler.is_some()),
        ("process.ioPriority", process.io_priority.is_some()),
        ("process.execCPUAffinity", process.exec_cpu_affinity.is_some()),
    ];
    if let Some((name, _)) = refused.iter().find(|(_, present)| *present) {
        return Err(RuntimeError::invalid(format!("{name} is not supported")));
    }
    if process.args.is_empty() {
        return Err(RuntimeError::invalid("args must not be empty"));
    }
    if !process.cwd.is_absolute() {
        return Err(RuntimeError::invalid("Cwd must be an absolute path"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
