//! From `HostConfig` to how a container sits on its host.

use std::collections::BTreeMap;

use ferry_api::{HostConfig, StrSlice, host_config};
use ferry_engine::spec::{
    CgroupnsMode, DeviceMapping, EndpointOptions, HostOptions, IpcMode, LogConfig, LogDriver,
    NameOptions, NetworkMode, PidMode, RestartPolicy, UtsMode,
};

use crate::{
    config::Defaults,
    convert::{Faults, limits, mounts, security},
    facts::Facts,
};

/// Converts a host configuration; the endpoint is asked for elsewhere.
pub(crate) fn host_options(
    config: HostConfig,
    defaults: &Defaults,
    facts: &Facts,
    faults: &mut Faults,
) -> HostOptions {
    refuse(&config, faults);
    let mounts = mounts::mount_requests(&config, faults);
    let security = security::security(&config, facts, faults);
    let resources = limits::resources(&config, faults);
    let ulimits = limits::ulimits(config.ulimits.as_deref(), &defaults.ulimits);
    let log = log_config(config.log_config, defaults, faults);
    let cgroupns = match CgroupnsMode::parse(&config.cgroupns_mode) {
        Ok(mode) => mode.or(defaults.cgroupns),
        Err(error) => {
            faults.invalid(format!("invalid cgroup namespace mode: {}", error.0));
            None
        }
    };
    let [rows, columns] = config.console_size.map(|cells| u16::try_from(cells).unwrap_or(u16::MAX));
    HostOptions {
        mounts,
        volumes_from: config.volumes_from.unwrap_or_default(),
        volume_driver: config.volume_driver,
        network: NetworkMode::parse(&config.network_mode),
        endpoint: EndpointOptions::default(),
        names: NameOptions {
            dns: non_empty(config.dns, &defaults.dns),
            dns_search: non_empty(config.dns_search, &defaults.dns_search),
            dns_options: non_empty(config.dns_options, &defaults.dns_options),
            extra_hosts: config.extra_hosts.unwrap_or_default(),
        },
        pid: mode("PID", &config.pid_mode, PidMode::parse, faults),
        ipc: mode("IPC", &config.ipc_mode, IpcMode::parse, faults),
        uts: mode("UTS", &config.uts_mode, UtsMode::parse, faults),
        cgroupns,
        cap_add: strings(config.cap_add),
        cap_drop: strings(config.cap_drop),
        privileged: config.privileged,
        read_only: config.readonly_rootfs,
        init: config.init,
        auto_remove: config.auto_remove,
        security,
        devices: config.devices.unwrap_or_default().into_iter().map(device).collect(),
        device_cgroup_rules: config.device_cgroup_rules.unwrap_or_default(),
        ulimits,
        sysctls: config.sysctls,
        shm_size: shm_size(config.shm_size, defaults, faults),
        group_add: config.group_add.unwrap_or_default(),
        oom_score_adj: oom_score_adj(config.oom_score_adj, faults),
        resources,
        cgroup_parent: config.cgroup_parent,
        restart: restart_policy(&config.restart_policy, config.auto_remove, faults),
        log,
        annotations: config.annotations,
        runtime: if config.runtime == super::shown::RUNTIME {
            String::new()
        } else {
            config.runtime
        },
        console_size: (rows, columns),
        container_id_file: config.container_id_file,
    }
}

/// Refuses by name what this engine cannot do.
fn refuse(config: &HostConfig, faults: &mut Faults) {
    let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    faults.only_default(
        "HostConfig.PortBindings (published ports)",
        config.port_bindings.as_ref().is_none_or(BTreeMap::is_empty),
    );
    faults.only_default("HostConfig.PublishAllPorts (published ports)", !config.publish_all_ports);
    faults.only_default("HostConfig.Cgroup", config.cgroup.is_empty());
    faults.only_default("HostConfig.Links", is_empty(&config.links));
    faults.only_default("HostConfig.StorageOpt", config.storage_opt.is_empty());
    faults
        .only_default("HostConfig.UsernsMode", matches!(config.userns_mode.as_str(), "" | "host"));
    faults.only_default(
        "HostConfig.DeviceRequests",
        config.device_requests.as_ref().is_none_or(Vec::is_empty),
    );
    faults.only_default("HostConfig.KernelMemoryTCP", config.kernel_memory_tcp == 0);
    if !matches!(config.isolation.as_str(), "" | "default") {
        faults.invalid(format!("invalid isolation '{}' on linux", config.isolation));
    }
    // Compat: Docker takes no notice of these on Linux either: KernelMemory, CpuCount, CpuPercent,
    // IOMaximumIOps and IOMaximumBandwidth, the last four being of Windows.
}

fn mode<T: Default>(
    name: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    faults: &mut Faults,
) -> T {
    parse(text).unwrap_or_else(|| {
        faults.invalid(format!("invalid {name} mode: {text}"));
        T::default()
    })
}

fn strings(list: Option<StrSlice>) -> Vec<String> {
    list.map(|StrSlice(list)| list).unwrap_or_default()
}

fn non_empty(list: Option<Vec<String>>, default: &[String]) -> Vec<String> {
    list.filter(|list| !list.is_empty()).unwrap_or_else(|| default.to_vec())
}

fn device(mapping: host_config::DeviceMapping) -> DeviceMapping {
    let host_config::DeviceMapping { path_on_host, path_in_container, cgroup_permissions } =
        mapping;
    DeviceMapping {
        host_path: path_on_host,
        container_path: path_in_container,
        permissions: cgroup_permissions,
    }
}

fn shm_size(bytes: i64, defaults: &Defaults, faults: &mut Faults) -> Option<u64> {
    match u64::try_from(bytes) {
        Ok(0) => defaults.shm_size,
        Ok(bytes) => Some(bytes),
        Err(_) => {
            faults.invalid("SHM size can not be less than 0");
            None
        }
    }
}

fn oom_score_adj(value: i64, faults: &mut Faults) -> i32 {
    match i32::try_from(value) {
        Ok(value @ -1000..=1000) => value,
        Ok(_) | Err(_) => {
            faults.invalid(format!(
                "Invalid value {value}, range for oom score adj is [-1000, 1000]"
            ));
            0
        }
    }
}

fn restart_policy(
    policy: &host_config::RestartPolicy,
    auto_remove: bool,
    faults: &mut Faults,
) -> RestartPolicy {
    let host_config::RestartPolicy { name, maximum_retry_count } = policy;
    let parsed = match name.as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => match u32::try_from(*maximum_retry_count) {
            Ok(maximum_retries) => {
                return refuse_auto_remove(
                    RestartPolicy::OnFailure { maximum_retries },
                    auto_remove,
                    faults,
                );
            }
            Err(_) => {
                faults.invalid("invalid restart policy: maximum retry count cannot be negative");
                return RestartPolicy::No;
            }
        },
        _ => {
            faults.invalid(format!(
                "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', \
                 'on-failure', or 'unless-stopped'"
            ));
            RestartPolicy::No
        }
    };
    if *maximum_retry_count != 0 {
        faults.invalid(if *maximum_retry_count < 0 {
            "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative"
        } else {
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        });
    }
    refuse_auto_remove(parsed, auto_remove, faults)
}

fn refuse_auto_remove(
    policy: RestartPolicy,
    auto_remove: bool,
    faults: &mut Faults,
) -> RestartPolicy {
    if auto_remove && policy != RestartPolicy::No {
        faults.invalid("can't create 'AutoRemove' container with restart policy");
    }
    policy
}

/// Drivers that Docker has and this engine has not yet.
const OTHER_LOG_DRIVERS: [&str; 7] =
    ["local", "journald", "syslog", "fluentd", "gelf", "awslogs", "splunk"];

fn log_config(
    config: host_config::LogConfig,
    defaults: &Defaults,
    faults: &mut Faults,
) -> LogConfig {
    let host_config::LogConfig { driver, config } = config;
    let mut options = config.unwrap_or_default();
    let driver = match driver.as_str() {
        "" => defaults.log.driver,
        "json-file" => LogDriver::JsonFile,
        "none" => LogDriver::None,
        name if OTHER_LOG_DRIVERS.contains(&name) => {
            faults.unsupported(&format!("the log driver {name:?}"));
            LogDriver::JsonFile
        }
        name => {
            faults.invalid(format!(
                "error looking up logging plugin {name}: plugin {name:?} not found"
            ));
            LogDriver::JsonFile
        }
    };
    if driver == defaults.log.driver {
        for (name, value) in &defaults.log.options {
            options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    LogConfig { driver, options }
}
