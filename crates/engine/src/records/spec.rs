//! The spec's part of a container's record: modes as their words, limits as numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use ferry_oci::runtime::Seccomp;
use serde::{Deserialize, Serialize};

use super::mounts::MountRecord;
use crate::spec::{
    BlkioThrottle, BlkioWeight, CgroupnsMode, ContainerSpec, DeviceMapping, EndpointOptions,
    HostOptions, IpcMode, LogConfig, LogDriver, MemorySwap, NameOptions, NetworkMode, PidMode,
    Resources, RestartPolicy, SeccompChoice, Security, StopTimeout, Streams, Ulimit, UtsMode,
};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SpecRecord {
    #[serde(default)]
    image: String,
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    command: Option<Vec<String>>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    working_dir: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    domainname: String,
    #[serde(default)]
    streams: StreamsRecord,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    volumes: BTreeSet<String>,
    #[serde(default)]
    exposed_ports: BTreeSet<String>,
    #[serde(default)]
    stop_signal: Option<String>,
    #[serde(default)]
    stop_timeout: Option<i64>,
    #[serde(default)]
    on_build: Vec<String>,
    #[serde(default)]
    host: HostRecord,
}

impl SpecRecord {
    pub(crate) fn from_domain(domain: &ContainerSpec) -> Self {
        let ContainerSpec {
            image,
            entrypoint,
            command,
            env,
            working_dir,
            user,
            hostname,
            domainname,
            streams,
            labels,
            volumes,
            exposed_ports,
            stop_signal,
            stop_timeout,
            on_build,
            host,
        } = domain;
        Self {
            image: image.clone(),
            entrypoint: entrypoint.clone(),
            command: command.clone(),
            env: env.clone(),
            working_dir: working_dir.clone(),
            user: user.clone(),
            hostname: hostname.clone(),
            domainname: domainname.clone(),
            streams: StreamsRecord::from_domain(streams),
            labels: labels.clone(),
            volumes: volumes.clone(),
            exposed_ports: exposed_ports.clone(),
            stop_signal: stop_signal.clone(),
            stop_timeout: stop_timeout.map(StopTimeout::as_seconds),
            on_build: on_build.clone(),
            host: HostRecord::from_domain(host),
        }
    }

    pub(crate) fn into_domain(self) -> Result<ContainerSpec, String> {
        let Self {
            image,
            entrypoint,
            command,
            env,
            working_dir,
            user,
            hostname,
            domainname,
            streams,
            labels,
            volumes,
            exposed_ports,
            stop_signal,
            stop_timeout,
            on_build,
            host,
        } = self;
        Ok(ContainerSpec {
            image,
            entrypoint,
            command,
            env,
            working_dir,
            user,
            hostname,
            domainname,
            streams: streams.into_domain()?,
            labels,
            volumes,
            exposed_ports,
            stop_signal,
            stop_timeout: stop_timeout.map(StopTimeout::from_seconds),
            on_build,
            host: host.into_domain()?,
        })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the domain has them")]
struct StreamsRecord {
    #[serde(default)]
    tty: bool,
    #[serde(default)]
    open_stdin: bool,
    #[serde(default)]
    stdin_once: bool,
    #[serde(default)]
    attach_stdin: bool,
    #[serde(default)]
    attach_stdout: bool,
    #[serde(default)]
    attach_stderr: bool,
}

impl StreamsRecord {
    fn from_domain(domain: &Streams) -> Self {
        let Streams { tty, open_stdin, stdin_once, attach_stdin, attach_stdout, attach_stderr } =
            domain;
        Self {
            tty: *tty,
            open_stdin: *open_stdin,
            stdin_once: *stdin_once,
            attach_stdin: *attach_stdin,
            attach_stdout: *attach_stdout,
            attach_stderr: *attach_stderr,
        }
    }

    fn into_domain(self) -> Result<Streams, String> {
        let Self { tty, open_stdin, stdin_once, attach_stdin, attach_stdout, attach_stderr } = self;
        Ok(Streams { tty, open_stdin, stdin_once, attach_stdin, attach_stdout, attach_stderr })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct HostRecord {
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
    fn from_domain(domain: &HostOptions) -> Self {
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

    fn into_domain(self) -> Result<HostOptions, String> {
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
struct EndpointOptionsRecord {
    #[serde(default)]
    mac: Option<[u8; 6]>,
}

impl EndpointOptionsRecord {
    fn from_domain(domain: &EndpointOptions) -> Self {
        let EndpointOptions { mac } = domain;
        Self { mac: *mac }
    }

    fn into_domain(self) -> Result<EndpointOptions, String> {
        let Self { mac } = self;
        Ok(EndpointOptions { mac })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct NamesRecord {
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
    fn from_domain(domain: &NameOptions) -> Self {
        let NameOptions { dns, dns_search, dns_options, extra_hosts } = domain;
        Self {
            dns: dns.clone(),
            dns_search: dns_search.clone(),
            dns_options: dns_options.clone(),
            extra_hosts: extra_hosts.clone(),
        }
    }

    fn into_domain(self) -> Result<NameOptions, String> {
        let Self { dns, dns_search, dns_options, extra_hosts } = self;
        Ok(NameOptions { dns, dns_search, dns_options, extra_hosts })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct DeviceRecord {
    #[serde(default)]
    host_path: String,
    #[serde(default)]
    container_path: String,
    #[serde(default)]
    permissions: String,
}

impl DeviceRecord {
    fn from_domain(domain: &DeviceMapping) -> Self {
        let DeviceMapping { host_path, container_path, permissions } = domain;
        Self {
            host_path: host_path.clone(),
            container_path: container_path.clone(),
            permissions: permissions.clone(),
        }
    }

    fn into_domain(self) -> Result<DeviceMapping, String> {
        let Self { host_path, container_path, permissions } = self;
        Ok(DeviceMapping { host_path, container_path, permissions })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct UlimitRecord {
    #[serde(default)]
    name: String,
    #[serde(default)]
    soft: i64,
    #[serde(default)]
    hard: i64,
}

impl UlimitRecord {
    fn from_domain(domain: &Ulimit) -> Self {
        let Ulimit { name, soft, hard } = domain;
        Self { name: name.clone(), soft: *soft, hard: *hard }
    }

    fn into_domain(self) -> Result<Ulimit, String> {
        let Self { name, soft, hard } = self;
        Ok(Ulimit { name, soft, hard })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct SecurityRecord {
    #[serde(default)]
    options: Vec<String>,
    #[serde(default)]
    seccomp: SeccompRecord,
    #[serde(default)]
    no_new_privileges: bool,
    #[serde(default)]
    system_paths_unconfined: bool,
    #[serde(default)]
    masked_paths: Option<Vec<String>>,
    #[serde(default)]
    readonly_paths: Option<Vec<String>>,
}

impl SecurityRecord {
    fn from_domain(domain: &Security) -> Self {
        let Security {
            options,
            seccomp,
            no_new_privileges,
            system_paths_unconfined,
            masked_paths,
            readonly_paths,
        } = domain;
        Self {
            options: options.clone(),
            seccomp: SeccompRecord::from_domain(seccomp),
            no_new_privileges: *no_new_privileges,
            system_paths_unconfined: *system_paths_unconfined,
            masked_paths: masked_paths.clone(),
            readonly_paths: readonly_paths.clone(),
        }
    }

    fn into_domain(self) -> Result<Security, String> {
        let Self {
            options,
            seccomp,
            no_new_privileges,
            system_paths_unconfined,
            masked_paths,
            readonly_paths,
        } = self;
        Ok(Security {
            options,
            seccomp: seccomp.into_domain(),
            no_new_privileges,
            system_paths_unconfined,
            masked_paths,
            readonly_paths,
        })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct LogRecord {
    #[serde(default)]
    driver: String,
    #[serde(default)]
    options: BTreeMap<String, String>,
}

impl LogRecord {
    fn from_domain(domain: &LogConfig) -> Self {
        let LogConfig { driver, options } = domain;
        Self { driver: driver.name().to_owned(), options: options.clone() }
    }

    fn into_domain(self) -> Result<LogConfig, String> {
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
struct ResourcesRecord {
    #[serde(default)]
    memory: Option<NonZeroU64>,
    #[serde(default)]
    memory_swap: i64,
    #[serde(default)]
    memory_reservation: Option<NonZeroU64>,
    #[serde(default)]
    memory_swappiness: Option<u8>,
    #[serde(default)]
    oom_kill_disable: bool,
    #[serde(default)]
    nano_cpus: Option<NonZeroU64>,
    #[serde(default)]
    cpu_shares: Option<NonZeroU64>,
    #[serde(default)]
    cpu_period: Option<NonZeroU64>,
    #[serde(default)]
    cpu_quota: Option<i64>,
    #[serde(default)]
    cpu_realtime_period: Option<NonZeroU64>,
    #[serde(default)]
    cpu_realtime_runtime: Option<i64>,
    #[serde(default)]
    cpuset_cpus: String,
    #[serde(default)]
    cpuset_mems: String,
    #[serde(default)]
    pids_limit: Option<i64>,
    #[serde(default)]
    blkio_weight: Option<u16>,
    #[serde(default)]
    blkio_weight_device: Vec<WeightRecord>,
    #[serde(default)]
    blkio_read_bps: Vec<ThrottleRecord>,
    #[serde(default)]
    blkio_write_bps: Vec<ThrottleRecord>,
    #[serde(default)]
    blkio_read_iops: Vec<ThrottleRecord>,
    #[serde(default)]
    blkio_write_iops: Vec<ThrottleRecord>,
}

impl ResourcesRecord {
    fn from_domain(domain: &Resources) -> Self {
        let Resources {
            memory,
            memory_swap,
            memory_reservation,
            memory_swappiness,
            oom_kill_disable,
            nano_cpus,
            cpu_shares,
            cpu_period,
            cpu_quota,
            cpu_realtime_period,
            cpu_realtime_runtime,
            cpuset_cpus,
            cpuset_mems,
            pids_limit,
            blkio_weight,
            blkio_weight_device,
            blkio_read_bps,
            blkio_write_bps,
            blkio_read_iops,
            blkio_write_iops,
        } = domain;
        Self {
            memory: *memory,
            memory_swap: memory_swap.as_api(),
            memory_reservation: *memory_reservation,
            memory_swappiness: *memory_swappiness,
            oom_kill_disable: *oom_kill_disable,
            nano_cpus: *nano_cpus,
            cpu_shares: *cpu_shares,
            cpu_period: *cpu_period,
            cpu_quota: *cpu_quota,
            cpu_realtime_period: *cpu_realtime_period,
            cpu_realtime_runtime: *cpu_realtime_runtime,
            cpuset_cpus: cpuset_cpus.clone(),
            cpuset_mems: cpuset_mems.clone(),
            pids_limit: *pids_limit,
            blkio_weight: *blkio_weight,
            blkio_weight_device: blkio_weight_device
                .iter()
                .map(WeightRecord::from_domain)
                .collect(),
            blkio_read_bps: blkio_read_bps.iter().map(ThrottleRecord::from_domain).collect(),
            blkio_write_bps: blkio_write_bps.iter().map(ThrottleRecord::from_domain).collect(),
            blkio_read_iops: blkio_read_iops.iter().map(ThrottleRecord::from_domain).collect(),
            blkio_write_iops: blkio_write_iops.iter().map(ThrottleRecord::from_domain).collect(),
        }
    }

    fn into_domain(self) -> Result<Resources, String> {
        let Self {
            memory,
            memory_swap,
            memory_reservation,
            memory_swappiness,
            oom_kill_disable,
            nano_cpus,
            cpu_shares,
            cpu_period,
            cpu_quota,
            cpu_realtime_period,
            cpu_realtime_runtime,
            cpuset_cpus,
            cpuset_mems,
            pids_limit,
            blkio_weight,
            blkio_weight_device,
            blkio_read_bps,
            blkio_write_bps,
            blkio_read_iops,
            blkio_write_iops,
        } = self;
        Ok(Resources {
            memory,
            memory_swap: MemorySwap::from_api(memory_swap).ok_or("memory swap")?,
            memory_reservation,
            memory_swappiness,
            oom_kill_disable,
            nano_cpus,
            cpu_shares,
            cpu_period,
            cpu_quota,
            cpu_realtime_period,
            cpu_realtime_runtime,
            cpuset_cpus,
            cpuset_mems,
            pids_limit,
            blkio_weight,
            blkio_weight_device: blkio_weight_device
                .into_iter()
                .map(WeightRecord::into_domain)
                .collect::<Result<_, _>>()?,
            blkio_read_bps: blkio_read_bps
                .into_iter()
                .map(ThrottleRecord::into_domain)
                .collect::<Result<_, _>>()?,
            blkio_write_bps: blkio_write_bps
                .into_iter()
                .map(ThrottleRecord::into_domain)
                .collect::<Result<_, _>>()?,
            blkio_read_iops: blkio_read_iops
                .into_iter()
                .map(ThrottleRecord::into_domain)
                .collect::<Result<_, _>>()?,
            blkio_write_iops: blkio_write_iops
                .into_iter()
                .map(ThrottleRecord::into_domain)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct WeightRecord {
    #[serde(default)]
    path: String,
    #[serde(default)]
    weight: u16,
}

impl WeightRecord {
    fn from_domain(domain: &BlkioWeight) -> Self {
        let BlkioWeight { path, weight } = domain;
        Self { path: path.clone(), weight: *weight }
    }

    fn into_domain(self) -> Result<BlkioWeight, String> {
        let Self { path, weight } = self;
        Ok(BlkioWeight { path, weight })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct ThrottleRecord {
    #[serde(default)]
    path: String,
    #[serde(default)]
    rate: u64,
}

impl ThrottleRecord {
    fn from_domain(domain: &BlkioThrottle) -> Self {
        let BlkioThrottle { path, rate } = domain;
        Self { path: path.clone(), rate: *rate }
    }

    fn into_domain(self) -> Result<BlkioThrottle, String> {
        let Self { path, rate } = self;
        Ok(BlkioThrottle { path, rate })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct RestartRecord {
    #[serde(default)]
    name: String,
    #[serde(default)]
    maximum_retries: u32,
}

impl RestartRecord {
    fn from_domain(policy: RestartPolicy) -> Self {
        let maximum_retries = match policy {
            RestartPolicy::OnFailure { maximum_retries } => maximum_retries,
            RestartPolicy::No | RestartPolicy::Always | RestartPolicy::UnlessStopped => 0,
        };
        Self { name: policy.name().to_owned(), maximum_retries }
    }

    fn into_domain(self) -> Result<RestartPolicy, String> {
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

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SeccompRecord {
    #[default]
    Default,
    Unconfined,
    Profile(Box<Seccomp>),
}

impl SeccompRecord {
    fn from_domain(choice: &SeccompChoice) -> Self {
        match choice {
            SeccompChoice::Default => Self::Default,
            SeccompChoice::Unconfined => Self::Unconfined,
            SeccompChoice::Profile(profile) => Self::Profile(profile.clone()),
        }
    }

    fn into_domain(self) -> SeccompChoice {
        match self {
            Self::Default => SeccompChoice::Default,
            Self::Unconfined => SeccompChoice::Unconfined,
            Self::Profile(profile) => SeccompChoice::Profile(profile),
        }
    }
}
