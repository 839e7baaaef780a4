//! How a container sits on its host, in its record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::mounts::MountRecord;
use super::resources::ResourcesRecord;
use super::security::SecurityRecord;
use crate::spec::{
    CgroupnsMode, DeviceMapping, EndpointOptions, HostOptions, IpcMode, LogConfig, LogDriver,
    NameOptions, NetworkMode, PidMode, RestartPolicy, Ulimit, UtsMode,
};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct HostRecord {
    #[serde(default)]
    mounts: Vec<MountRecord>,
    #[serde(default)]
    volumes_from: Vec<String>,
    #[serde(default)]
    volume_driver: String,
    #[serde(default)]
    network: String,
    #[serde(default)]
    endpoint: EndpointOptionsRecord,
    #[serde(default)]
    names: NamesRecord,
    #[serde(default)]
    pid: String,
    #[serde(default)]
    ipc: String,
    #[serde(default)]
    uts: String,
    #[serde(default)]
    cgroupns: String,
    #[serde(default)]
    cap_add: Vec<String>,
    #[serde(default)]
    cap_drop: Vec<String>,
    #[serde(default)]
    privileged: bool,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    init: Option<bool>,
    #[serde(default)]
    auto_remove: bool,
    #[serde(default)]
    security: SecurityRecord,
    #[serde(default)]
    devices: Vec<DeviceRecord>,
    #[serde(default)]
    device_cgroup_rules: Vec<String>,
    #[serde(default)]
    ulimits: Vec<UlimitRecord>,
    #[serde(default)]
    sysctls: BTreeMap<String, String>,
    #[serde(default)]
    shm_size: Option<u64>,
    #[serde(default)]
    group_add: Vec<String>,
    #[serde(default)]
    oom_score_adj: i32,
    #[serde(default)]
    resources: ResourcesRecord,
    #[serde(default)]
    cgroup_parent: String,
    #[serde(default)]
    restart: RestartRecord,
    #[serde(default)]
    log: LogRecord,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    runtime: String,
    #[serde(default)]
    console_size: (u16, u16),
    #[serde(default)]
    container_id_file: String,
}

impl HostRecord {
    pub(super) fn from_domain(domain: &HostOptions) -> Self {
        let HostOptions {
            mounts,
            volumes_from,
            volume_driver,
            network,
            endpoint,
            names,
            pid,
            ipc,
            uts,
            cgroupns,
            cap_add,
            cap_drop,
            privileged,
            read_only,
            init,
            auto_remove,
            security,
            devices,
            device_cgroup_rules,
            ulimits,
            sysctls,
            shm_size,
            group_add,
            oom_score_adj,
            resources,
            cgroup_parent,
            restart,
            log,
            annotations,
            runtime,
            console_size,
            container_id_file,
        } = domain;
        Self {
            mounts: mounts.iter().map(MountRecord::from_domain).collect(),
            volumes_from: volumes_from.clone(),
            volume_driver: volume_driver.clone(),
            network: network.to_string(),
            endpoint: EndpointOptionsRecord::from_domain(endpoint),
            names: NamesRecord::from_domain(names),
            pid: pid.to_string(),
            ipc: ipc.to_string(),
            uts: uts.to_string(),
            cgroupns: cgroupns.map(|mode| mode.to_string()).unwrap_or_default(),
            cap_add: cap_add.clone(),
            cap_drop: cap_drop.clone(),
            privileged: *privileged,
            read_only: *read_only,
            init: *init,
            auto_remove: *auto_remove,
            security: SecurityRecord::from_domain(security),
            devices: devices.iter().map(DeviceRecord::from_domain).collect(),
            device_cgroup_rules: device_cgroup_rules.clone(),
            ulimits: ulimits.iter().map(UlimitRecord::from_domain).collect(),
            sysctls: sysctls.clone(),
            shm_size: *shm_size,
            group_add: group_add.clone(),
            oom_score_adj: *oom_score_adj,
            resources: ResourcesRecord::from_domain(resources),
            cgroup_parent: cgroup_parent.clone(),
            restart: RestartRecord::from_domain(*restart),
            log: LogRecord::from_domain(log),
            annotations: annotations.clone(),
            runtime: runtime.clone(),
            console_size: *console_size,
            container_id_file: container_id_file.clone(),
        }
    }

    pub(super) fn into_domain(self) -> Result<HostOptions, String> {
        let Self {
            mounts,
            volumes_from,
            volume_driver,
            network,
            endpoint,
            names,
            pid,
            ipc,
            uts,
            cgroupns,
            cap_add,
            cap_drop,
            privileged,
            read_only,
            init,
            auto_remove,
            security,
            devices,
            device_cgroup_rules,
            ulimits,
            sysctls,
            shm_size,
            group_add,
            oom_score_adj,
            resources,
            cgroup_parent,
            restart,
            log,
            annotations,
            runtime,
            console_size,
            container_id_file,
        } = self;
        Ok(HostOptions {
            mounts: mounts.into_iter().map(MountRecord::into_domain).collect::<Result<_, _>>()?,
            volumes_from,
            volume_driver,
            network: NetworkMode::parse(&network),
            endpoint: endpoint.into_domain()?,
            names: names.into_domain()?,
            pid: PidMode::parse(&pid).ok_or("pid mode")?,
            ipc: IpcMode::parse(&ipc).ok_or("ipc mode")?,
            uts: UtsMode::parse(&uts).ok_or("uts mode")?,
            cgroupns: CgroupnsMode::parse(&cgroupns).map_err(|error| error.to_string())?,
            cap_add,
            cap_drop,
            privileged,
            read_only,
            init,
            auto_remove,
            security: security.into_domain()?,
            devices: devices
                .into_iter()
                .map(DeviceRecord::into_domain)
                .collect::<Result<_, _>>()?,
            device_cgroup_rules,
            ulimits: ulimits
                .into_iter()
                .map(UlimitRecord::into_domain)
                .collect::<Result<_, _>>()?,
            sysctls,
            shm_size,
            group_add,
            oom_score_adj,
            resources: resources.into_domain()?,
            cgroup_parent,
            restart: restart.into_domain()?,
            log: log.into_domain()?,
            annotations,
            runtime,
            console_size,
            container_id_file,
        })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct EndpointOptionsRecord {
    #[serde(default)]
    mac: Option<[u8; 6]>,
}

impl EndpointOptionsRecord {
    pub(super) fn from_domain(domain: &EndpointOptions) -> Self {
        let EndpointOptions { mac } = domain;
        Self { mac: *mac }
    }

    pub(super) fn into_domain(self) -> Result<EndpointOptions, String> {
        let Self { mac } = self;
        Ok(EndpointOptions { mac })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct NamesRecord {
    #[serde(default)]
    dns: Vec<String>,
    #[serde(default)]
    dns_search: Vec<String>,
    #[serde(default)]
    dns_options: Vec<String>,
    #[serde(default)]
    extra_hosts: Vec<String>,
}

impl NamesRecord {
    pub(super) fn from_domain(domain: &NameOptions) -> Self {
        let NameOptions { dns, dns_search, dns_options, extra_hosts } = domain;
        Self {
            dns: dns.clone(),
            dns_search: dns_search.clone(),
            dns_options: dns_options.clone(),
            extra_hosts: extra_hosts.clone(),
        }
    }

    pub(super) fn into_domain(self) -> Result<NameOptions, String> {
        let Self { dns, dns_search, dns_options, extra_hosts } = self;
        Ok(NameOptions { dns, dns_search, dns_options, extra_hosts })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct DeviceRecord {
    #[serde(default)]
    host_path: String,
    #[serde(default)]
    container_path: String,
    #[serde(default)]
    permissions: String,
}

impl DeviceRecord {
    pub(super) fn from_domain(domain: &DeviceMapping) -> Self {
        let DeviceMapping { host_path, container_path, permissions } = domain;
        Self {
            host_path: host_path.clone(),
            container_path: container_path.clone(),
            permissions: permissions.clone(),
        }
    }

    pub(super) fn into_domain(self) -> Result<DeviceMapping, String> {
        let Self { host_path, container_path, permissions } = self;
        Ok(DeviceMapping { host_path, container_path, permissions })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct UlimitRecord {
    #[serde(default)]
    name: String,
    #[serde(default)]
    soft: i64,
    #[serde(default)]
    hard: i64,
}

impl UlimitRecord {
    pub(super) fn from_domain(domain: &Ulimit) -> Self {
        let Ulimit { name, soft, hard } = domain;
        Self { name: name.clone(), soft: *soft, hard: *hard }
    }

    pub(super) fn into_domain(self) -> Result<Ulimit, String> {
        let Self { name, soft, hard } = self;
        Ok(Ulimit { name, soft, hard })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct LogRecord {
    #[serde(default)]
    driver: String,
    #[serde(default)]
    options: BTreeMap<String, String>,
}

impl LogRecord {
    pub(super) fn from_domain(domain: &LogConfig) -> Self {
        let LogConfig { driver, options } = domain;
        Self { driver: driver.name().to_owned(), options: options.clone() }
    }

    pub(super) fn into_domain(self) -> Result<LogConfig, String> {
        let Self { driver, options } = self;
        Ok(LogConfig {
            driver: match driver.as_str() {
                "json-file" => LogDriver::JsonFile,
                "none" => LogDriver::None,
                _ => return Err(format!("log driver {driver:?}")),
            },
            options,
        })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RestartRecord {
    #[serde(default)]
    name: String,
    #[serde(default)]
    maximum_retries: u32,
}

impl RestartRecord {
    pub(super) fn from_domain(policy: RestartPolicy) -> Self {
        let maximum_retries = match policy {
            RestartPolicy::OnFailure { maximum_retries } => maximum_retries,
            RestartPolicy::No | RestartPolicy::Always | RestartPolicy::UnlessStopped => 0,
        };
        Self { name: policy.name().to_owned(), maximum_retries }
    }

    pub(super) fn into_domain(self) -> Result<RestartPolicy, String> {
        let Self { name, maximum_retries } = self;
        Ok(match name.as_str() {
            "no" | "" => RestartPolicy::No,
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            "on-failure" => RestartPolicy::OnFailure { maximum_retries },
            _ => return Err(format!("restart policy {name:?}")),
        })
    }
}
