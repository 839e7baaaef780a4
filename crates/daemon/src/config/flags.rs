//! The command line, with the names that dockerd's has.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Parser;
use serde_json::{Map, Value, json};

/// The engine of Ferry: serves the Docker Engine API.
#[derive(Debug, Parser)]
#[command(name = "ferryd", version = crate::LONG_VERSION, disable_help_subcommand = true)]
pub struct Flags {
    /// Daemon socket(s) to listen on: `unix:///path` or `tcp://address:port`.
    #[arg(short = 'H', long = "host", value_name = "list")]
    host: Vec<String>,
    /// Root directory of persistent state [default: /var/lib/ferry].
    #[arg(long, value_name = "string")]
    data_root: Option<String>,
    /// Root directory for execution state files [default: /run/ferry].
    #[arg(long, value_name = "string")]
    exec_root: Option<String>,
    /// Daemon configuration file [default: /etc/ferry/daemon.json].
    #[arg(long, value_name = "file")]
    pub(crate) config_file: Option<PathBuf>,
    /// Validate the configuration and exit.
    #[arg(long)]
    pub(crate) validate: bool,
    /// Enable debug mode.
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    debug: Option<bool>,
    /// Set the logging level: debug, info, warn, error, fatal.
    #[arg(short = 'l', long, value_name = "string")]
    log_level: Option<String>,
    /// Set the logging format: text or json.
    #[arg(long, value_name = "string")]
    log_format: Option<String>,
    /// Path to use for the daemon's PID file [default: ferryd.pid in the exec root].
    #[arg(short = 'p', long, value_name = "file")]
    pidfile: Option<String>,
    /// Group for the Unix sockets [default: docker].
    #[arg(short = 'G', long, value_name = "string")]
    group: Option<String>,
    /// Use TLS; `false` allows to listen without it where others can connect.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls: Option<bool>,
    /// Use TLS and verify the remote.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tlsverify: Option<bool>,
    /// Interface of the default bridge [default: ferry0].
    #[arg(short = 'b', long, value_name = "string")]
    bridge: Option<String>,
    /// IPv4 address of the default bridge, with its prefix.
    #[arg(long, value_name = "string")]
    bip: Option<String>,
    /// Set the MTU of the default bridge.
    #[arg(long, value_name = "int")]
    mtu: Option<u32>,
    /// Default ulimits for containers: name=soft[:hard].
    #[arg(long = "default-ulimit", value_name = "ulimit")]
    default_ulimit: Vec<String>,
    /// Default driver for container logs: json-file or none.
    #[arg(long, value_name = "string")]
    log_driver: Option<String>,
    /// Default log driver options for containers: name=value.
    #[arg(long = "log-opt", value_name = "map")]
    log_opt: Vec<String>,
    /// Default OCI runtime for containers.
    #[arg(long, value_name = "string")]
    default_runtime: Option<String>,
    /// Default size of /dev/shm.
    #[arg(long, value_name = "bytes")]
    default_shm_size: Option<String>,
    /// Default mode for containers' cgroup namespace: host or private.
    #[arg(long, value_name = "string")]
    default_cgroupns_mode: Option<String>,
    /// Set the parent cgroup of all containers [default: /ferry].
    #[arg(long, value_name = "string")]
    cgroup_parent: Option<String>,
    /// Runtime execution options.
    #[arg(long = "exec-opt", value_name = "list")]
    exec_opt: Vec<String>,
    /// Run an init in containers to forward signals and reap processes.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    init: Option<bool>,
    /// Set key=value labels of the daemon.
    #[arg(long = "label", value_name = "list")]
    label: Vec<String>,
    /// DNS server to use.
    #[arg(long = "dns", value_name = "list")]
    dns: Vec<String>,
    /// DNS options to use.
    #[arg(long = "dns-opt", value_name = "list")]
    dns_opt: Vec<String>,
    /// DNS search domains to use.
    #[arg(long = "dns-search", value_name = "list")]
    dns_search: Vec<String>,
    /// Preferred registry mirror.
    #[arg(long = "registry-mirror", value_name = "list")]
    registry_mirror: Vec<String>,
    /// Enable insecure registry communication.
    #[arg(long = "insecure-registry", value_name = "list")]
    insecure_registry: Vec<String>,
    /// Allow push of nondistributable artifacts to registry.
    #[arg(long = "allow-nondistributable-artifacts", value_name = "list")]
    allow_nondistributable_artifacts: Vec<String>,
    /// HTTP proxy URL to use for outgoing traffic.
    #[arg(long, value_name = "string")]
    http_proxy: Option<String>,
    /// HTTPS proxy URL to use for outgoing traffic.
    #[arg(long, value_name = "string")]
    https_proxy: Option<String>,
    /// Comma-separated list of hosts or IP addresses for which the proxy is skipped.
    #[arg(long, value_name = "string")]
    no_proxy: Option<String>,
    /// Set the max concurrent downloads [default: 3].
    #[arg(long, value_name = "int")]
    max_concurrent_downloads: Option<i64>,
    /// Set the max concurrent uploads [default: 5].
    #[arg(long, value_name = "int")]
    max_concurrent_uploads: Option<i64>,
    /// Set the max download attempts for each pull [default: 5].
    #[arg(long, value_name = "int")]
    max_download_attempts: Option<i64>,
    /// Containers outlive the daemon; there is no other way here.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    live_restore: Option<bool>,
    /// Set how many seconds requests may take to finish when the daemon stops [default: 15].
    #[arg(long, value_name = "int")]
    shutdown_timeout: Option<i64>,
    /// How to keep layers: auto, erofs or overlay2.
    #[arg(short = 's', long, value_name = "string")]
    storage_driver: Option<String>,
    /// The supervisor's program [default: ferry-supervisor beside this program].
    #[arg(long, value_name = "file")]
    supervisor: Option<String>,
    /// Name of the step at which the process kills itself, for tests of recovery.
    #[arg(long, hide = true)]
    pub(crate) failpoint: Option<String>,
    /// List those steps, and exit.
    #[arg(long, hide = true)]
    pub(crate) list_failpoints: bool,
}

impl Flags {
    /// Makes options of the flags that were given, as they would stand in the file.
    pub(crate) fn into_options(self) -> anyhow::Result<Map<String, Value>> {
        let mut options = Map::new();
        let texts = [
            ("data-root", self.data_root),
            ("exec-root", self.exec_root),
            ("log-level", self.log_level),
            ("log-format", self.log_format),
            ("pidfile", self.pidfile),
            ("group", self.group),
            ("bridge", self.bridge),
            ("bip", self.bip),
            ("log-driver", self.log_driver),
            ("default-runtime", self.default_runtime),
            ("default-shm-size", self.default_shm_size),
            ("default-cgroupns-mode", self.default_cgroupns_mode),
            ("cgroup-parent", self.cgroup_parent),
            ("storage-driver", self.storage_driver),
            ("supervisor", self.supervisor),
            ("http-proxy", self.http_proxy),
            ("https-proxy", self.https_proxy),
            ("no-proxy", self.no_proxy),
        ];
        let switches = [
            ("debug", self.debug),
            ("tls", self.tls),
            ("tlsverify", self.tlsverify),
            ("init", self.init),
            ("live-restore", self.live_restore),
        ];
        let lists = [
            ("hosts", self.host),
            ("exec-opts", self.exec_opt),
            ("labels", self.label),
            ("dns", self.dns),
            ("dns-opts", self.dns_opt),
            ("dns-search", self.dns_search),
            ("registry-mirrors", self.registry_mirror),
            ("insecure-registries", self.insecure_registry),
            ("allow-nondistributable-artifacts", self.allow_nondistributable_artifacts),
        ];
        let numbers = [
            ("shutdown-timeout", self.shutdown_timeout),
            ("max-concurrent-downloads", self.max_concurrent_downloads),
            ("max-concurrent-uploads", self.max_concurrent_uploads),
            ("max-download-attempts", self.max_download_attempts),
        ];
        let given = texts.into_iter().filter_map(|(key, text)| Some((key, json!(text?))));
        options.extend(given.map(|(key, value)| (key.to_owned(), value)));
        let given = switches.into_iter().filter_map(|(key, is_on)| Some((key, json!(is_on?))));
        options.extend(given.map(|(key, value)| (key.to_owned(), value)));
        let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
        options.extend(given.map(|(key, list)| (key.to_owned(), json!(list))));
        options.extend(self.mtu.map(|mtu| ("mtu".to_owned(), json!(mtu))));
        let given = numbers.into_iter().filter_map(|(key, number)| Some((key, json!(number?))));
        options.extend(given.map(|(key, value)| (key.to_owned(), value)));
        if !self.log_opt.is_empty() {
            options.insert("log-opts".to_owned(), Value::Object(pairs(&self.log_opt)?));
        }
        if !self.default_ulimit.is_empty() {
            let ulimits: Result<Map<_, _>, _> =
                self.default_ulimit.iter().map(|text| ulimit(text)).collect();
            options.insert("default-ulimits".to_owned(), Value::Object(ulimits?));
        }
        Ok(options)
    }
}

fn pairs(list: &[String]) -> anyhow::Result<Map<String, Value>> {
    list.iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), json!(value))),
            None => bail!("invalid log option {text:?}: it must be name=value"),
        })
        .collect()
}

/// Reads `name=soft[:hard]`.
fn ulimit(text: &str) -> anyhow::Result<(String, Value)> {
    let malformed = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').with_context(malformed)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let soft: i64 = soft.parse().with_context(malformed)?;
    let hard: i64 = hard.parse().with_context(malformed)?;
    Ok((name.to_owned(), json!({ "Name": name, "Soft": soft, "Hard": hard })))
}
