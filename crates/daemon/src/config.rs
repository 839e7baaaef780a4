//! What the daemon is told: flags as dockerd's, and a file with dockerd's keys.
//!
//! A flag and a key of the file are one option; to give both is an error, as with dockerd. An
//! option that is not understood, or not supported, is refused by name.

pub(crate) mod flags;
mod keys;
mod registries;

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use ferry_distribution::{ProxyConfig, RegistryConfig};
use ferry_engine::TransferLimits;
use ferry_engine::spec::{CgroupnsMode, LogConfig, Ulimit};
use ferry_store::LayerStoreChoice;
use serde_json::{Map, Value};

pub use crate::{config::flags::Flags, http::listen::Host};

/// Where the file is unless a flag says otherwise.
pub const DEFAULT_FILE: &str = "/etc/ferry/daemon.json";

/// All that the daemon is told, with the defaults filled in.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Config {
    /// Where to listen; empty is the default.
    pub hosts: Vec<Host>,
    /// What lasts.
    pub data_root: PathBuf,
    /// What lasts until the machine stops.
    pub exec_root: PathBuf,
    /// Whether the log says more.
    pub debug: bool,
    /// `trace`, `debug`, `info`, `warn`, `error` or `fatal`.
    pub log_level: String,
    /// Whether the log is JSON.
    pub log_json: bool,
    /// Where to write the process id.
    pub pidfile: PathBuf,
    /// Who may use the Unix sockets beside root.
    pub group: String,
    /// Whether an address that others can reach may be listened on without TLS.
    pub allow_plain_tcp: bool,
    /// The default bridge's interface.
    pub bridge: String,
    /// The bridge's address with its prefix, `172.17.0.1/16`.
    pub bridge_address: Option<String>,
    /// The bridge's largest packet.
    pub mtu: Option<u32>,
    /// Labels of the engine.
    pub labels: Vec<String>,
    /// How long handlers may take to finish when the daemon stops.
    pub shutdown_timeout: Duration,
    /// How layers are kept.
    pub layer_store: LayerStoreChoice,
    /// The supervisor's program; beside this program unless said otherwise.
    pub supervisor: Option<PathBuf>,
    /// The cgroup under which containers are.
    pub cgroup_parent: String,
    /// Whether containers have an init unless they say otherwise.
    pub init: bool,
    /// What containers have unless they say otherwise.
    pub defaults: Defaults,
    /// How registries are reached.
    pub registries: RegistryConfig,
    /// How many layers go over the network at once.
    pub transfers: TransferLimits,
    /// The step at which the process kills itself, for tests.
    pub failpoint: Option<String>,
}

/// What containers have unless they say otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    /// Limits of each process, by name.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Where output goes.
    pub log: LogConfig,
    /// Name servers.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// Whose cgroups a container sees.
    pub cgroupns: Option<CgroupnsMode>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            data_root: "/var/lib/ferry".into(),
            exec_root: "/run/ferry".into(),
            debug: false,
            log_level: "info".to_owned(),
            log_json: false,
            pidfile: PathBuf::new(),
            group: "docker".to_owned(),
            allow_plain_tcp: false,
            bridge: "ferry0".to_owned(),
            bridge_address: None,
            mtu: None,
            labels: Vec::new(),
            shutdown_timeout: Duration::from_secs(15),
            layer_store: LayerStoreChoice::Auto,
            supervisor: None,
            cgroup_parent: "/ferry".to_owned(),
            init: false,
            defaults: Defaults::default(),
            registries: registries::default(),
            transfers: TransferLimits::default(),
            failpoint: None,
        }
    }
}

impl Config {
    /// Puts flags and file together.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or an option is refused; in the words of dockerd where it has some.
    pub fn load(flags: Flags) -> anyhow::Result<Self> {
        let file = flags.config_file.clone();
        let failpoint = flags.failpoint.clone();
        let options = flags.into_options()?;
        let path = file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        let from_file = match fs::read_to_string(path) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == ErrorKind::NotFound && file.is_none() => Ok(Map::new()),
            Err(error) => Err(error.into()),
        };
        let merged = from_file.and_then(|from_file| merge(options, from_file));
        let config = merged.and_then(Self::from_options).with_context(|| {
            format!("unable to configure the Docker daemon with file {}", path.display())
        })?;
        Ok(Self { failpoint, ..config })
    }

    /// Takes the proxies that are not configured out of the variables of an environment.
    pub(crate) fn with_proxies_of(
        mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let environment = ProxyConfig::from_pairs(environment);
        let proxy = registries::with_environment(&self.registries.proxy, environment);
        self.registries.proxy = proxy;
        self
    }

    fn from_options(options: Map<String, Value>) -> anyhow::Result<Self> {
        let mut config = Self::default();
        let mut unknown = Vec::new();
        for (key, value) in options {
            if keys::is_known(&key) {
                keys::apply(&mut config, &key, value)?;
            } else {
                unknown.push(key);
            }
        }
        if !unknown.is_empty() {
            bail!(
                "the following directives don't match any configuration option: {}",
                unknown.join(", ")
            );
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        for host in &self.hosts {
            if let Host::Tcp(address) = host
                && !address.ip().is_loopback()
                && !self.allow_plain_tcp
            {
                bail!(
                    "refusing to listen on tcp://{address} without TLS, which lets everyone who \
                     can reach it become root; to do so nevertheless, say --tls=false"
                );
            }
        }
        for root in [&self.data_root, &self.exec_root] {
            if !root.is_absolute() {
                bail!("{} is not an absolute path", root.display());
            }
        }
        Ok(())
    }

    /// The socket that is always there.
    pub(crate) fn own_socket(&self) -> PathBuf {
        self.exec_root.join("ferry.sock")
    }
}

fn parse(text: &str) -> anyhow::Result<Map<String, Value>> {
    // Compat: dockerd takes an empty file for an empty object.
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text)? {
        Value::Object(options) => Ok(options),
        _ => bail!("the configuration is not a JSON object"),
    }
}

/// Joins the options of flags and file.
fn merge(
    mut flags: Map<String, Value>,
    file: Map<String, Value>,
) -> anyhow::Result<Map<String, Value>> {
    let both: Vec<String> = file
        .iter()
        .filter_map(|(key, from_file)| {
            let from_flag = flags.get(key)?;
            Some(format!("{key}: (from flag: {from_flag}, from file: {from_file})"))
        })
        .collect();
    if !both.is_empty() {
        bail!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            both.join(", ")
        );
    }
    flags.extend(file);
    Ok(flags)
}

#[cfg(test)]
mod tests;
