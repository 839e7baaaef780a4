//! The part of the plan that is about the host: limits, devices, namespaces, security.

use std::collections::BTreeMap;

use ferry_api::network::PortMap;
use ferry_api::{HostConfig, LogConfig, Mount, RestartPolicy, StrSlice, Ulimit};

use super::swappiness;
use crate::command_line::Matches;
use crate::options::lists::key_value;
use crate::options::networks::Attachment;
use crate::options::{devices, files, mounts, numbers};

/// Builds the host's part of the request.
pub(super) fn host_config(
    matches: &Matches,
    binds: Vec<String>,
    port_bindings: PortMap,
    network: Option<&Attachment>,
) -> Result<HostConfig, String> {
    let text = |name: &str| matches.text(name).to_owned();
    let list = |name: &str| matches.list(name);
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let devices = Devices::read(matches)?;
    let modes = modes(matches)?;
    let restart_policy = restart_policy(matches.value("restart").unwrap_or("no"))?;
    let log_config = log_config(matches)?;
    let security = security(matches)?;
    let storage_opt = storage(matches)?;
    let auto_remove = matches.flag("rm");
    if auto_remove && !matches!(restart_policy.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    let mut host = HostConfig {
        binds: some(binds),
        container_id_file: text("cidfile"),
        log_config,
        network_mode: network.map_or_else(|| "default".into(), |network| network.target.clone()),
        port_bindings: Some(port_bindings),
        restart_policy,
        auto_remove,
        volume_driver: text("volume-driver"),
        volumes_from: some(list("volumes-from")),
        annotations: list("annotation").iter().map(|it| key_value(it)).collect(),
        cap_add: capabilities(list("cap-add")),
        cap_drop: capabilities(list("cap-drop")),
        cgroupns_mode: text("cgroupns"),
        dns: Some(list("dns")),
        dns_options: Some(list("dns-option")),
        dns_search: Some(list("dns-search")),
        extra_hosts: some(list("add-host")),
        group_add: some(list("group-add")),
        ipc_mode: text("ipc"),
        links: some(list("link")),
        oom_score_adj: matches.int("oom-score-adj"),
        pid_mode: modes.pid,
        privileged: matches.flag("privileged"),
        publish_all_ports: matches.flag("publish-all"),
        readonly_rootfs: matches.flag("read-only"),
        security_opt: matches.is_given("security-opt").then_some(security.options),
        storage_opt,
        tmpfs: tmpfs(&list("tmpfs")),
        uts_mode: modes.uts,
        userns_mode: modes.userns,
        shm_size: matches.int("shm-size"),
        sysctls: list("sysctl").iter().map(|it| key_value(it)).collect(),
        runtime: text("runtime"),
        isolation: text("isolation"),
        devices: Some(devices.mappings),
        device_requests: (!devices.requests.is_empty()).then_some(devices.requests),
        mounts: mount_list(&list("mount"))?,
        masked_paths: security.system_paths_unconfined.then(Vec::new),
        readonly_paths: security.system_paths_unconfined.then(Vec::new),
        init: matches.is_given("init").then(|| matches.flag("init")),
        ..HostConfig::default()
    };
    limits(matches, &mut host)?;
    Ok(host)
}

/// Capabilities by their full names, each once and in order; `ALL` stands for all of them.
fn capabilities(names: Vec<String>) -> Option<StrSlice> {
    let mut names: Vec<String> = names
        .iter()
        .map(|name| name.trim().to_uppercase())
        .map(|name| match name.as_str() {
            "ALL" => name,
            full if full.starts_with("CAP_") => name,
            short => format!("CAP_{short}"),
        })
        .collect();
    if names.is_empty() {
        return None;
    }
    if names.iter().any(|name| name == "ALL") {
        return Some(StrSlice(vec!["ALL".into()]));
    }
    names.sort_unstable();
    names.dedup();
    Some(StrSlice(names))
}

/// Resource limits.
fn limits(matches: &Matches, host: &mut HostConfig) -> Result<(), String> {
    let throttles = |name: &str, in_bytes: bool| {
        let list = matches.list(name);
        let list: Result<Vec<_>, _> =
            list.iter().map(|value| devices::throttle(value, in_bytes)).collect();
        list.map(Some)
    };
    host.cpu_shares = matches.int("cpu-shares");
    host.memory = matches.int("memory");
    host.nano_cpus = matches.int("cpus");
    host.cgroup_parent = matches.text("cgroup-parent").into();
    host.blkio_weight = u16::try_from(matches.int("blkio-weight")).unwrap_or_default();
    let weights = matches.list("blkio-weight-device");
    host.blkio_weight_device =
        Some(weights.iter().map(|value| devices::weight(value)).collect::<Result<_, _>>()?);
    host.blkio_device_read_bps = throttles("device-read-bps", true)?;
    host.blkio_device_write_bps = throttles("device-write-bps", true)?;
    host.blkio_device_read_iops = throttles("device-read-iops", false)?;
    host.blkio_device_write_iops = throttles("device-write-iops", false)?;
    host.cpu_period = matches.int("cpu-period");
    host.cpu_quota = matches.int("cpu-quota");
    host.cpu_realtime_period = matches.int("cpu-rt-period");
    host.cpu_realtime_runtime = matches.int("cpu-rt-runtime");
    host.cpuset_cpus = matches.text("cpuset-cpus").into();
    host.cpuset_mems = matches.text("cpuset-mems").into();
    let rules = matches.list("device-cgroup-rule");
    host.device_cgroup_rules = (!rules.is_empty()).then_some(rules);
    host.kernel_memory = matches.int("kernel-memory");
    host.memory_reservation = matches.int("memory-reservation");
    host.memory_swap = matches.int("memory-swap");
    host.memory_swappiness = Some(swappiness(matches));
    host.oom_kill_disable = Some(matches.flag("oom-kill-disable"));
    host.pids_limit = Some(matches.int("pids-limit"));
    host.ulimits = Some(ulimits(&matches.list("ulimit"))?);
    host.cpu_count = matches.int("cpu-count");
    host.cpu_percent = matches.int("cpu-percent");
    let unsigned = |name: &str| numbers::uint(matches.value(name).unwrap_or("0"), u64::MAX);
    host.io_maximum_iops = unsigned("io-maxiops")?;
    host.io_maximum_bandwidth = unsigned("io-maxbandwidth")?;
    Ok(())
}

/// The last limit of each name, by name.
fn ulimits(values: &[String]) -> Result<Vec<Ulimit>, String> {
    let mut limits: BTreeMap<String, Ulimit> = BTreeMap::new();
    for value in values {
        let limit = devices::ulimit(value)?;
        limits.insert(limit.name.clone(), limit);
    }
    Ok(limits.into_values().collect())
}

struct Devices {
    mappings: Vec<ferry_api::host_config::DeviceMapping>,
    requests: Vec<ferry_api::host_config::DeviceRequest>,
}

impl Devices {
    fn read(matches: &Matches) -> Result<Self, String> {
        let gpus = matches.list("gpus");
        let mut requests: Vec<_> =
            gpus.iter().map(|value| devices::gpus(value)).collect::<Result<_, _>>()?;
        let (cdi, plain): (Vec<_>, Vec<_>) =
            matches.list("device").into_iter().partition(|value| devices::is_cdi_name(value));
        if !cdi.is_empty() {
            requests.push(ferry_api::host_config::DeviceRequest {
                driver: "cdi".into(),
                device_ids: Some(cdi),
                ..Default::default()
            });
        }
        let mappings =
            plain.iter().map(|value| devices::device(value)).collect::<Result<_, _>>()?;
        Ok(Self { mappings, requests })
    }
}

struct Modes {
    pid: String,
    uts: String,
    userns: String,
}

fn modes(matches: &Matches) -> Result<Modes, String> {
    let text = |name: &str| matches.text(name).to_owned();
    let pid = text("pid");
    let is_container = pid.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    if !matches!(pid.as_str(), "" | "host") && !is_container {
        return Err("--pid: invalid PID mode".into());
    }
    let uts = text("uts");
    if !matches!(uts.as_str(), "" | "host") {
        return Err("--uts: invalid UTS mode".into());
    }
    let userns = text("userns");
    if !matches!(userns.as_str(), "" | "host") {
        return Err("--userns: invalid USER mode".into());
    }
    if !matches!(matches.text("cgroupns"), "" | "private" | "host") {
        return Err("--cgroupns: invalid CGROUP mode".into());
    }
    Ok(Modes { pid, uts, userns })
}

fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let Some((name, count)) = text.split_once(':') else {
        return Ok(RestartPolicy { name: text.into(), maximum_retry_count: 0 });
    };
    if name.is_empty() {
        return Err("invalid restart policy format: no policy provided before colon".into());
    }
    let maximum_retry_count = count.parse().map_err(|_error| {
        "invalid restart policy format: maximum retry count must be an integer".to_owned()
    })?;
    Ok(RestartPolicy { name: name.into(), maximum_retry_count })
}

fn log_config(matches: &Matches) -> Result<LogConfig, String> {
    let driver = matches.text("log-driver");
    let options: BTreeMap<_, _> =
        matches.list("log-opt").iter().map(|option| key_value(option)).collect();
    if driver == "none" && !options.is_empty() {
        return Err(format!("invalid logging opts for driver {driver}"));
    }
    Ok(LogConfig { driver: driver.into(), config: Some(options) })
}

struct Security {
    options: Vec<String>,
    system_paths_unconfined: bool,
}

/// Reads the security options; a seccomp profile travels as its text.
fn security(matches: &Matches) -> Result<Security, String> {
    let mut security = Security { options: Vec::new(), system_paths_unconfined: false };
    for option in matches.list("security-opt") {
        if option == "systempaths=unconfined" {
            security.system_paths_unconfined = true;
            continue;
        }
        let (name, value) = match option.split_once('=').or_else(|| option.split_once(':')) {
            Some(parts) => parts,
            None if option == "no-new-privileges" => {
                security.options.push(option);
                continue;
            }
            None => return Err(format!("Invalid --security-opt: {option:?}")),
        };
        if name == "seccomp" && !matches!(value, "unconfined" | "builtin") {
            let profile = std::fs::read(value).map_err(|error| {
                let why = files::reason(&error);
                format!("opening seccomp profile ({value}) failed: open {value}: {why}")
            })?;
            let profile: serde_json::Value = serde_json::from_slice(&profile).map_err(|error| {
                format!("compacting json for seccomp profile ({value}) failed: {error}")
            })?;
            security.options.push(format!("seccomp={profile}"));
        } else {
            security.options.push(option);
        }
    }
    Ok(security)
}

fn storage(matches: &Matches) -> Result<BTreeMap<String, String>, String> {
    matches
        .list("storage-opt")
        .iter()
        .map(|option| {
            if option.contains('=') {
                Ok(key_value(option))
            } else {
                Err("invalid storage option".into())
            }
        })
        .collect()
}

fn tmpfs(values: &[String]) -> BTreeMap<String, String> {
    values
        .iter()
        .map(|value| value.split_once(':').unwrap_or((value, "")))
        .map(|(path, options)| (path.to_owned(), options.to_owned()))
        .collect()
}

fn mount_list(values: &[String]) -> Result<Vec<Mount>, String> {
    values.iter().map(|value| mounts::mount(value)).collect()
}
