//! The keys of dockerd's configuration, and what this daemon makes of each.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use ferry_api::Ulimit as WireUlimit;
use ferry_engine::spec::{CgroupnsMode, LogDriver, Ulimit};
use ferry_store::{LayerStoreChoice, LayerStoreKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    config::{Config, registries},
    convert::shown::RUNTIME,
};

/// Keys that do something here.
const SUPPORTED: [&str; 38] = [
    "allow-nondistributable-artifacts",
    "bip",
    "bridge",
    "cgroup-parent",
    "data-root",
    "debug",
    "default-cgroupns-mode",
    "default-runtime",
    "default-shm-size",
    "default-ulimits",
    "dns",
    "dns-opts",
    "dns-search",
    "exec-opts",
    "exec-root",
    "group",
    "hosts",
    "http-proxy",
    "https-proxy",
    "init",
    "insecure-registries",
    "labels",
    "live-restore",
    "log-driver",
    "log-format",
    "log-level",
    "log-opts",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "mtu",
    "no-proxy",
    "pidfile",
    "proxies",
    "registry-mirrors",
    "shutdown-timeout",
    "storage-driver",
    "supervisor",
];

/// Keys that dockerd has, with the value that says what this daemon does anyway; any other value
/// is refused.
const FIXED: [(&str, &str); 55] = [
    ("allow-direct-routing", "false"),
    ("api-cors-header", "\"\""),
    ("authorization-plugins", "[]"),
    ("bip6", "\"\""),
    ("bridge-accept-fwmark", "\"\""),
    ("builder", "{}"),
    ("cdi-spec-dirs", "[]"),
    ("containerd", "\"\""),
    ("containerd-namespace", "\"\""),
    ("containerd-plugins-namespace", "\"\""),
    ("cpu-rt-period", "0"),
    ("cpu-rt-runtime", "0"),
    ("default-address-pools", "[]"),
    ("default-gateway", "\"\""),
    ("default-gateway-v6", "\"\""),
    ("default-ipc-mode", "\"private\""),
    ("default-network-opts", "{}"),
    ("experimental", "false"),
    ("features", "{}"),
    ("firewall-backend", "\"nftables\""),
    ("fixed-cidr", "\"\""),
    ("fixed-cidr-v6", "\"\""),
    ("host-gateway-ip", "\"\""),
    ("host-gateway-ips", "[]"),
    ("icc", "true"),
    ("init-path", "\"\""),
    ("ip", "\"0.0.0.0\""),
    ("ip-forward", "true"),
    ("ip-forward-no-drop", "false"),
    ("ip-masq", "true"),
    ("ip6tables", "true"),
    ("iptables", "true"),
    ("ipv6", "false"),
    ("metrics-addr", "\"\""),
    ("min-api-version", "\"1.24\""),
    ("no-new-privileges", "false"),
    ("node-generic-resources", "[]"),
    ("oom-score-adjust", "0"),
    ("raw-logs", "false"),
    ("rootless", "false"),
    ("runtimes", "{}"),
    ("seccomp-profile", "\"\""),
    ("selinux-enabled", "false"),
    ("storage-opts", "[]"),
    ("swarm-default-advertise-addr", "\"\""),
    ("tls", "false"),
    ("tlscacert", "\"\""),
    ("tlscert", "\"\""),
    ("tlskey", "\"\""),
    ("tlsverify", "false"),
    ("userland-proxy", "false"),
    ("userland-proxy-path", "\"\""),
    ("userns-remap", "\"\""),
    ("validate", "false"),
    ("network-control-plane-mtu", "1500"),
];

/// Whether a key is one that dockerd has, or one of our own.
pub(super) fn is_known(key: &str) -> bool {
    SUPPORTED.contains(&key) || FIXED.iter().any(|(fixed, _)| *fixed == key)
}

/// Applies one option.
pub(super) fn apply(config: &mut Config, key: &str, value: Value) -> anyhow::Result<()> {
    let defaults = &mut config.defaults;
    match key {
        "bip" => {
            let bip: String = read(key, value)?;
            config.bridge_address = (!bip.is_empty()).then_some(bip);
        }

        "bridge" => config.bridge = bridge(read(key, value)?)?,
        "cgroup-parent" => config.cgroup_parent = cgroup_parent(read(key, value)?)?,
        "data-root" => config.data_root = read(key, value)?,
        "debug" => config.debug = read(key, value)?,
        "default-cgroupns-mode" => {
            let mode: String = read(key, value)?;
            defaults.cgroupns = CgroupnsMode::parse(&mode).with_context(|| key.to_owned())?;
        }
        "default-runtime" => default_runtime(&read::<String>(key, value)?)?,
        "default-shm-size" => defaults.shm_size = Some(bytes(key, &value)?),
        "default-ulimits" => {
            let limits: std::collections::BTreeMap<String, WireUlimit> = read(key, value)?;
            for (name, WireUlimit { name: _, hard, soft }) in limits {
                defaults.ulimits.insert(name.clone(), Ulimit { name, soft, hard });
            }
        }
        "dns" => defaults.dns = read(key, value)?,
        "dns-opts" => defaults.dns_options = read(key, value)?,
        "dns-search" => defaults.dns_search = read(key, value)?,
        "exec-opts" => exec_opts(&read::<Vec<String>>(key, value)?)?,
        "exec-root" => config.exec_root = read(key, value)?,
        "group" => config.group = read(key, value)?,
        "hosts" => {
            let hosts: Vec<String> = read(key, value)?;
            config.hosts = hosts.iter().map(|host| host.parse()).collect::<Result<_, _>>()?;
        }
        "init" => config.init = read(key, value)?,
        "labels" => config.labels = read(key, value)?,
        "live-restore" => {
            if !read::<bool>(key, value)? {
                tracing::info!("containers outlive the daemon, whatever live-restore says");
            }
        }
        "log-driver" => defaults.log.driver = log_driver(&read::<String>(key, value)?)?,
        "log-format" => config.log_json = log_format(&read::<String>(key, value)?)?,
        "log-level" => config.log_level = log_level(read(key, value)?)?,
        "log-opts" => defaults.log.options = read(key, value)?,
        "mtu" => config.mtu = Some(read::<u32>(key, value)?).filter(|mtu| *mtu != 0),
        "pidfile" => config.pidfile = read(key, value)?,
        "shutdown-timeout" => config.shutdown_timeout = seconds(read(key, value)?),
        "storage-driver" => config.layer_store = layer_store(&read::<String>(key, value)?)?,
        "supervisor" => config.supervisor = Some(read::<PathBuf>(key, value)?),
        _ if REGISTRY_KEYS.contains(&key) => registry_key(config, key, value)?,
        // Compat: to say that there is no TLS is to know it.
        "tls" | "tlsverify" if value == Value::Bool(false) => config.allow_plain_tcp = true,
        _ => fixed(key, &value)?,
    }
    Ok(())
}

/// The keys that [`registry_key`] applies.
const REGISTRY_KEYS: [&str; 10] = [
    "allow-nondistributable-artifacts",
    "http-proxy",
    "https-proxy",
    "insecure-registries",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "no-proxy",
    "proxies",
    "registry-mirrors",
];

/// Applies an option about registries.
fn registry_key(config: &mut Config, key: &str, value: Value) -> anyhow::Result<()> {
    let Config { registries: reached, transfers, .. } = config;
    let proxy = &mut reached.proxy;
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    match key {
        "allow-nondistributable-artifacts" => {
            let allowed: Vec<String> = read(key, value)?;
            registries::insecure(&allowed).context(key.to_owned())?;
            reached.foreign_push_to = allowed;
        }
        "http-proxy" => proxy.http = some(read(key, value)?),
        "https-proxy" => proxy.https = some(read(key, value)?),
        "no-proxy" => proxy.no_proxy = read(key, value)?,
        "proxies" => {
            // Compat: in the file the three stand in an object of their own.
            for (name, value) in read::<serde_json::Map<String, Value>>(key, value)? {
                match name.as_str() {
                    "http-proxy" | "https-proxy" | "no-proxy" => {
                        registry_key(config, &name, value)?;
                    }
                    _ => bail!(
                        "the following directives don't match any configuration option: {name}"
                    ),
                }
            }
        }
        "insecure-registries" => {
            reached.insecure = registries::insecure(&read::<Vec<String>>(key, value)?)?;
        }
        "registry-mirrors" => {
            reached.mirrors = registries::mirrors(&read::<Vec<String>>(key, value)?)?;
        }
        "max-concurrent-downloads" => {
            transfers.downloads = registries::at_once("downloads", read(key, value)?)?;
        }
        "max-concurrent-uploads" => {
            transfers.uploads = registries::at_once("uploads", read(key, value)?)?;
        }
        "max-download-attempts" => {
            reached.attempts = registries::attempts(read(key, value)?)?;
        }
        _ => fixed(key, &value)?,
    }
    Ok(())
}

fn read<T: DeserializeOwned>(key: &str, value: Value) -> anyhow::Result<T> {
    serde_json::from_value(value).with_context(|| format!("invalid value of {key}"))
}

/// Refuses a value other than the one that is so anyway.
fn fixed(key: &str, value: &Value) -> anyhow::Result<()> {
    let expected = FIXED.iter().find(|(fixed, _)| *fixed == key).map(|(_, expected)| *expected);
    let is_as_it_is = expected.is_some_and(|expected| {
        serde_json::from_str::<Value>(expected).is_ok_and(|expected| expected == *value)
    });
    if is_as_it_is {
        return Ok(());
    }
    bail!("ferry does not support the option {key} with the value {value} yet")
}

fn bridge(name: String) -> anyhow::Result<String> {
    match name.as_str() {
        "" => bail!("the name of the bridge is empty"),
        "none" => bail!("ferry does not support --bridge=none yet"),
        _ if name.len() > 15 || name.contains(['/', ' ']) => {
            bail!("invalid name of the bridge: {name:?}")
        }
        _ => Ok(name),
    }
}

fn cgroup_parent(path: String) -> anyhow::Result<String> {
    if path.ends_with(".slice") {
        bail!("ferry does not support the systemd cgroup driver yet; cgroup-parent must be a path");
    }
    let path = path.trim_matches('/');
    if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        bail!("invalid cgroup-parent {path:?}");
    }
    Ok(format!("/{path}"))
}

fn default_runtime(name: &str) -> anyhow::Result<()> {
    match name {
        "" | RUNTIME => Ok(()),
        _ => bail!("ferry does not support the runtime {name:?} yet; there is only {RUNTIME:?}"),
    }
}

fn exec_opts(options: &[String]) -> anyhow::Result<()> {
    for option in options {
        match option.as_str() {
            "native.cgroupdriver=cgroupfs" => {}
            _ => bail!("ferry does not support the exec option {option:?} yet"),
        }
    }
    Ok(())
}

fn log_driver(name: &str) -> anyhow::Result<LogDriver> {
    match name {
        "json-file" => Ok(LogDriver::JsonFile),
        "none" => Ok(LogDriver::None),
        _ => bail!("ferry does not support the log driver {name:?} yet"),
    }
}

fn log_format(name: &str) -> anyhow::Result<bool> {
    match name {
        "json" => Ok(true),
        "text" => Ok(false),
        _ => bail!("invalid log format: {name}"),
    }
}

fn log_level(level: String) -> anyhow::Result<String> {
    match level.as_str() {
        "trace" | "debug" | "info" | "warn" | "error" | "fatal" => Ok(level),
        _ => bail!("invalid logging level: {level}"),
    }
}

fn layer_store(name: &str) -> anyhow::Result<LayerStoreChoice> {
    match name {
        "" | "auto" => Ok(LayerStoreChoice::Auto),
        "erofs" => Ok(LayerStoreChoice::Only(LayerStoreKind::Erofs)),
        "overlay2" | "overlayfs" | "overlay" => {
            Ok(LayerStoreChoice::Only(LayerStoreKind::Directories))
        }
        _ => bail!(
            "ferry does not support the storage driver {name:?}; there are erofs and overlay2"
        ),
    }
}

/// Compat: negative is for ever, which no service manager would wait for.
fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX / 4))
}

/// Reads a number of bytes, or one with a unit.
fn bytes(key: &str, value: &Value) -> anyhow::Result<u64> {
    let invalid = || format!("invalid value of {key}: {value}");
    match value {
        Value::Number(number) => number.as_u64().with_context(invalid),
        Value::String(text) => {
            let text = text.trim().to_lowercase();
            let digits = text.trim_end_matches(char::is_alphabetic);
            let unit = text.get(digits.len()..).unwrap_or_default();
            let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
                "" => 0,
                "k" => 10,
                "m" => 20,
                "g" => 30,
                "t" => 40,
                _ => bail!(invalid()),
            };
            let number: u64 = digits.trim().parse().with_context(invalid)?;
            number.checked_mul(1 << shift).with_context(invalid)
        }
        _ => bail!(invalid()),
    }
}
