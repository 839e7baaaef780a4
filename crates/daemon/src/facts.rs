//! What is true of the host and of this engine as long as it runs.

use std::{fs, path::Path};

use ferry_engine::{CgroupVersion, Engine, HostFacts};
use jiff::Timestamp;

/// What is true of the host and of this engine as long as it runs.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) host: HostFacts,
    pub(crate) cgroup: CgroupFacts,
    pub(crate) hostname: String,
    pub(crate) operating_system: String,
    pub(crate) os_version: String,
    /// How layers are kept, in the word of `docker info`.
    pub(crate) layer_driver: &'static str,
    /// What holds the data root, in the word of `docker info`.
    pub(crate) backing_filesystem: &'static str,
    pub(crate) bridge: Bridge,
}

/// What is asked of the cgroup hierarchy most often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CgroupFacts {
    /// There is one hierarchy, version 2.
    pub(crate) is_unified: bool,
}

/// The default bridge.
#[derive(Debug, Clone)]
pub(crate) struct Bridge {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) subnet: String,
    pub(crate) gateway: String,
    pub(crate) mtu: u32,
    pub(crate) created: Timestamp,
}

impl Facts {
    /// Reads what the host tells.
    pub(crate) fn read(engine: &Engine, bridge: Bridge) -> Self {
        let host = engine.host().clone();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |name: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
        };
        Self {
            cgroup: CgroupFacts { is_unified: host.cgroup_version == CgroupVersion::V2 },
            hostname: host.hostname.clone(),
            operating_system: match field("PRETTY_NAME") {
                name if name.is_empty() => "Linux".to_owned(),
                name => name,
            },
            os_version: field("VERSION_ID"),
            host,
            layer_driver: engine.store().layer_store().driver_name(),
            backing_filesystem: backing_filesystem(engine.store().data_root()),
            bridge,
        }
    }

    /// What is missing on this host, in Docker's sentences.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let limits = self.host.limits;
        let missing = [
            (limits.memory, "WARNING: No memory limit support"),
            (limits.swap, "WARNING: No swap limit support"),
            (limits.cpu_shares, "WARNING: No cpu shares support"),
            (limits.cpu_quota, "WARNING: No cpu cfs quota support"),
            (limits.cpuset, "WARNING: No cpuset support"),
            (limits.pids, "WARNING: No pids limit support"),
        ];
        missing
            .into_iter()
            .filter(|(is_there, _)| !is_there)
            .map(|(_, warning)| warning.to_owned())
            .collect()
    }
}

/// The file system of a directory, in the words that Docker has for them.
fn backing_filesystem(path: &Path) -> &'static str {
    let Ok(facts) = rustix::fs::statfs(path) else { return "<unknown>" };
    // statfs(2), the magic numbers.
    match facts.f_type {
        0xef53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x2fc1_2fc1 => "zfs",
        0x6969 => "nfs",
        0xf2f5_2010 => "f2fs",
        _ => "<unknown>",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Facts of a host with cgroup version 1 that is nowhere.
    pub(crate) fn facts() -> Facts {
        Facts {
            host: HostFacts::default(),
            cgroup: CgroupFacts { is_unified: false },
            hostname: "host".to_owned(),
            operating_system: "Test".to_owned(),
            os_version: String::new(),
            layer_driver: "overlay2",
            backing_filesystem: "extfs",
            bridge: Bridge {
                id: "b0".repeat(32),
                name: "ferry0".to_owned(),
                subnet: "172.17.0.0/16".to_owned(),
                gateway: "172.17.0.1".to_owned(),
                mtu: 1500,
                created: Timestamp::UNIX_EPOCH,
            },
        }
    }
}
