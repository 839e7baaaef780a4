//! From what a container shall be back to the words it was asked in, for inspection.

use std::collections::BTreeMap;

use ferry_api::{ContainerConfig, Empty, HostConfig, Mount, StrSlice, host_config, mount};
use ferry_engine::{
    ContainerSnapshot,
    spec::{
        BlkioThrottle, CgroupnsMode, ContainerSpec, HostOptions, IpcMode, MemorySwap, MountForm,
        MountRequest, MountSource, NetworkMode, Recursion, Resources, RestartPolicy, StopTimeout,
        Streams,
    },
};

use crate::facts::Facts;

/// The name that the built-in runtime has.
pub(crate) const RUNTIME: &str = "ferry";
const DEFAULT_SHM_BYTES: i64 = 64 * 1024 * 1024;

/// Docker's default `MaskedPaths`.
const MASKED_PATHS: [&str; 12] = [
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

/// Docker's default `ReadonlyPaths`.
const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// `Config` of an inspection.
pub(crate) fn config(snapshot: &ContainerSnapshot, facts: &Facts) -> ContainerConfig {
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
    } = &*snapshot.spec;
    let Streams { tty, open_stdin, stdin_once, attach_stdin, attach_stdout, attach_stderr } =
        *streams;
    let hostname = match (hostname.as_str(), &host.network) {
        ("", NetworkMode::Host) => facts.hostname.clone(),
        ("", _) => snapshot.id.short().to_owned(),
        (name, _) => name.to_owned(),
    };
    let set = |keys: &std::collections::BTreeSet<String>| -> BTreeMap<String, Empty> {
        keys.iter().map(|key| (key.clone(), Empty {})).collect()
    };
    ContainerConfig {
        hostname,
        domainname: domainname.clone(),
        user: user.clone(),
        attach_stdin,
        attach_stdout,
        attach_stderr,
        exposed_ports: set(exposed_ports),
        tty,
        open_stdin,
        stdin_once,
        env: filled(env),
        cmd: command.as_deref().and_then(filled).map(StrSlice),
        healthcheck: None,
        args_escaped: false,
        image: image.clone(),
        volumes: (!volumes.is_empty()).then(|| set(volumes)),
        working_dir: working_dir.clone(),
        entrypoint: entrypoint
            .as_deref()
            .filter(|list| *list != [""])
            .and_then(filled)
            .map(StrSlice),
        network_disabled: false,
        mac_address: String::new(),
        on_build: filled(on_build),
        labels: Some(labels.clone()),
        stop_signal: stop_signal.clone().unwrap_or_default(),
        stop_timeout: stop_timeout.map(StopTimeout::as_seconds),
        shell: StrSlice::default(),
    }
}

/// `HostConfig` of an inspection: as asked, with the defaults filled in.
pub(crate) fn host_config(host: &HostOptions, facts: &Facts) -> HostConfig {
    let (binds, mounts, tmpfs) = mounts(&host.mounts);
    let (policy, maximum_retry_count) = match host.restart {
        RestartPolicy::OnFailure { maximum_retries } => ("on-failure", maximum_retries.into()),
        policy => (policy.name(), 0),
    };
    let paths = |own: &Option<Vec<String>>, default: &[&str]| {
        if host.privileged {
            None
        } else if host.security.system_paths_unconfined {
            Some(Vec::new())
        } else {
            Some(
                own.clone()
                    .unwrap_or_else(|| default.iter().map(|path| (*path).to_owned()).collect()),
            )
        }
    };
    let (rows, columns) = host.console_size;
    let mut shown = HostConfig {
        binds,
        container_id_file: host.container_id_file.clone(),
        log_config: host_config::LogConfig {
            driver: host.log.driver.name().to_owned(),
            config: Some(host.log.options.clone()),
        },
        network_mode: match &host.network {
            NetworkMode::Default => "bridge".to_owned(),
            mode => mode.to_string(),
        },
        port_bindings: Some(BTreeMap::new()),
        restart_policy: host_config::RestartPolicy { name: policy.to_owned(), maximum_retry_count },
        auto_remove: host.auto_remove,
        volume_driver: host.volume_driver.clone(),
        volumes_from: filled(&host.volumes_from),
        console_size: [rows.into(), columns.into()],
        annotations: host.annotations.clone(),
        cap_add: filled(&host.cap_add).map(capabilities),
        cap_drop: filled(&host.cap_drop).map(capabilities),
        cgroupns_mode: cgroupns(host, facts).to_string(),
        dns: Some(host.names.dns.clone()),
        dns_options: Some(host.names.dns_options.clone()),
        dns_search: Some(host.names.dns_search.clone()),
        extra_hosts: filled(&host.names.extra_hosts),
        group_add: filled(&host.group_add),
        ipc_mode: match &host.ipc {
            IpcMode::Default => "private".to_owned(),
            mode => mode.to_string(),
        },
        oom_score_adj: host.oom_score_adj.into(),
        pid_mode: host.pid.to_string(),
        privileged: host.privileged,
        readonly_rootfs: host.read_only,
        security_opt: security_options(host),
        tmpfs,
        uts_mode: host.uts.to_string(),
        shm_size: host.shm_size.map_or(DEFAULT_SHM_BYTES, signed),
        sysctls: host.sysctls.clone(),
        runtime: if host.runtime.is_empty() { RUNTIME.to_owned() } else { host.runtime.clone() },
        cgroup_parent: host.cgroup_parent.clone(),
        devices: Some(host.devices.iter().map(device).collect()),
        device_cgroup_rules: filled(&host.device_cgroup_rules),
        ulimits: Some(
            host.ulimits
                .iter()
                .map(|limit| host_config::Ulimit {
                    name: limit.name.clone(),
                    hard: limit.hard,
                    soft: limit.soft,
                })
                .collect(),
        ),
        mounts,
        masked_paths: paths(&host.security.masked_paths, &MASKED_PATHS),
        readonly_paths: paths(&host.security.readonly_paths, &READONLY_PATHS),
        init: host.init,
        ..HostConfig::default()
    };
    resources(&host.resources, facts, &mut shown);
    shown
}

/// Whose cgroups a container sees.
fn cgroupns(host: &HostOptions, facts: &Facts) -> CgroupnsMode {
    host.cgroupns.unwrap_or(if host.privileged || !facts.cgroup.is_unified {
        CgroupnsMode::Host
    } else {
        CgroupnsMode::Private
    })
}

/// Compat: Docker adds what privilege implies.
fn security_options(host: &HostOptions) -> Option<Vec<String>> {
    let mut options = host.security.options.clone();
    if host.privileged && !options.iter().any(|option| option == "label=disable") {
        options.push("label=disable".to_owned());
    }
    filled(&options)
}

fn capabilities(names: Vec<String>) -> StrSlice {
    let full = names.into_iter().map(|name| {
        let name = name.to_uppercase();
        if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
    });
    StrSlice(full.collect())
}

fn device(device: &ferry_engine::spec::DeviceMapping) -> host_config::DeviceMapping {
    let ferry_engine::spec::DeviceMapping { host_path, container_path, permissions } = device;
    host_config::DeviceMapping {
        path_on_host: host_path.clone(),
        path_in_container: container_path.clone(),
        cgroup_permissions: permissions.clone(),
    }
}

fn resources(resources: &Resources, facts: &Facts, shown: &mut HostConfig) {
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
    } = resources;
    let number =
        |limit: &Option<std::num::NonZeroU64>| limit.map_or(0, |limit| signed(limit.get()));
    let throttles = |list: &[BlkioThrottle]| {
        let devices = list.iter().map(|BlkioThrottle { path, rate }| host_config::ThrottleDevice {
            path: path.clone(),
            rate: *rate,
        });
        Some(devices.collect())
    };
    shown.memory = number(memory);
    shown.memory_swap = match memory_swap {
        MemorySwap::Default => number(memory).saturating_mul(2),
        other => other.as_api(),
    };
    shown.memory_reservation = number(memory_reservation);
    shown.memory_swappiness = memory_swappiness.map(i64::from);
    // Compat: `null` where the kernel does not have it.
    shown.oom_kill_disable = (!facts.cgroup.is_unified).then_some(*oom_kill_disable);
    shown.nano_cpus = number(nano_cpus);
    shown.cpu_shares = number(cpu_shares);
    shown.cpu_period = number(cpu_period);
    shown.cpu_quota = cpu_quota.unwrap_or_default();
    shown.cpu_realtime_period = number(cpu_realtime_period);
    shown.cpu_realtime_runtime = cpu_realtime_runtime.unwrap_or_default();
    shown.cpuset_cpus.clone_from(cpuset_cpus);
    shown.cpuset_mems.clone_from(cpuset_mems);
    shown.pids_limit = *pids_limit;
    shown.blkio_weight = blkio_weight.unwrap_or_default();
    shown.blkio_weight_device = Some(
        blkio_weight_device
            .iter()
            .map(|device| host_config::WeightDevice {
                path: device.path.clone(),
                weight: device.weight,
            })
            .collect(),
    );
    shown.blkio_device_read_bps = throttles(blkio_read_bps);
    shown.blkio_device_write_bps = throttles(blkio_write_bps);
    shown.blkio_device_read_iops = throttles(blkio_read_iops);
    shown.blkio_device_write_iops = throttles(blkio_write_iops);
}

type Mounts = (Option<Vec<String>>, Vec<Mount>, BTreeMap<String, String>);

/// `Binds`, `Mounts` and `Tmpfs` as they were written.
fn mounts(requests: &[MountRequest]) -> Mounts {
    let mut binds = Vec::new();
    let mut mounts = Vec::new();
    let mut tmpfs = BTreeMap::new();
    for request in requests {
        match &request.form {
            MountForm::Short(text) => binds.push(text.clone()),
            MountForm::Tmpfs(options) => {
                tmpfs.insert(request.target.clone(), options.clone());
            }
            MountForm::Long { consistency } => mounts.push(long(request, consistency)),
            MountForm::Implied => {}
        }
    }
    (filled(&binds), mounts, tmpfs)
}

fn long(request: &MountRequest, consistency: &str) -> Mount {
    let MountRequest { target, source, read_only, form: _ } = request;
    let mut mount = Mount {
        target: target.clone(),
        read_only: *read_only,
        consistency: consistency.to_owned(),
        ..Mount::default()
    };
    match source {
        MountSource::Bind { path, propagation, recursion, create_missing } => {
            "bind".clone_into(&mut mount.kind);
            mount.source.clone_from(path);
            let options = mount::BindOptions {
                propagation: propagation.map_or("", |word| word.name()).to_owned(),
                non_recursive: *recursion == Recursion::NonRecursive,
                create_mountpoint: *create_missing,
                read_only_non_recursive: *recursion == Recursion::ReadOnlyNonRecursive,
                read_only_force_recursive: *recursion == Recursion::ReadOnlyForceRecursive,
            };
            mount.bind_options = Some(options).filter(|options| *options != Default::default());
        }
        MountSource::Volume { name, driver, driver_options, labels, no_copy, subpath } => {
            "volume".clone_into(&mut mount.kind);
            mount.source = name.clone().unwrap_or_default();
            let driver = mount::Driver { name: driver.clone(), options: driver_options.clone() };
            let options = mount::VolumeOptions {
                no_copy: *no_copy,
                labels: labels.clone(),
                subpath: subpath.clone(),
                driver_config: Some(driver).filter(|driver| *driver != Default::default()),
            };
            mount.volume_options = Some(options).filter(|options| *options != Default::default());
        }
        MountSource::Tmpfs { size, mode, options } => {
            "tmpfs".clone_into(&mut mount.kind);
            let options = mount::TmpfsOptions {
                size_bytes: size.map_or(0, signed),
                mode: mode.unwrap_or_default(),
                options: options
                    .iter()
                    .map(|option| option.splitn(2, '=').map(str::to_owned).collect())
                    .collect(),
            };
            mount.tmpfs_options = Some(options).filter(|options| *options != Default::default());
        }
    }
    mount
}

/// A list, or Go's `nil` when there is nothing in it.
pub(crate) fn filled(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// A number of bytes as the API has it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
