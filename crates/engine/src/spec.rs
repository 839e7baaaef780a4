//! What a container shall be: everything that was asked, in words of ours.
//!
//! A [`ContainerSpec`] is made by the edge from a request, completed by the engine with the image's
//! configuration ([`ContainerSpec::merge_image`]), checked ([`ContainerSpec::validate`]), recorded,
//! and never changed while the container lives, but for its name, which is not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use limits::{BlkioThrottle, BlkioWeight, MemorySwap, Resources, Ulimit};
pub use modes::{CgroupnsMode, IpcMode, NetworkMode, PidMode, UtsMode};
pub use mounts::{MountForm, MountKind, MountRequest, MountSource, Propagation, Recursion};
pub use security::{SeccompChoice, Security};

mod limits;
mod log;
mod merge;
mod modes;
mod mounts;
mod security;
mod validate;

pub use log::Rotation;
pub(crate) use merge::name_of;
pub(crate) use mounts::clean;

/// What a container shall be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerSpec {
    /// The image as it was named.
    pub image: String,
    /// The program and first arguments; `None` takes the image's. `[""]` and `[]` clear it.
    pub entrypoint: Option<Vec<String>>,
    /// The rest of the arguments; `None` or empty takes the image's when the entrypoint was not set.
    pub command: Option<Vec<String>>,
    /// `NAME=value`, or `NAME` alone to remove it.
    pub env: Vec<String>,
    /// The working directory; empty takes the image's, then `/`.
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, …; empty takes the image's, then root.
    pub user: String,
    /// The host name; empty takes the first twelve digits of the id.
    pub hostname: String,
    /// The NIS domain name.
    pub domainname: String,
    /// Terminal and standard streams.
    pub streams: Streams,
    /// Labels; the image's are added.
    pub labels: BTreeMap<String, String>,
    /// Paths that get an anonymous volume when nothing else is mounted there; the image's are added.
    pub volumes: BTreeSet<String>,
    /// Ports the program listens on, `80/tcp`; information only.
    pub exposed_ports: BTreeSet<String>,
    /// The signal that asks the program to end, as it was written; `None` takes the image's, then TERM.
    pub stop_signal: Option<String>,
    /// How long `stop` waits; `None` is ten seconds.
    pub stop_timeout: Option<StopTimeout>,
    /// `ONBUILD` triggers, kept for inspection.
    pub on_build: Vec<String>,
    /// How it sits on its host.
    pub host: HostOptions,
}

/// Terminal and standard streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Streams {
    /// Whether the program has a terminal.
    pub tty: bool,
    /// Whether standard input is open even with nobody attached.
    pub open_stdin: bool,
    /// Whether standard input closes when the first attached client leaves.
    pub stdin_once: bool,
    /// The creator meant to attach standard input.
    pub attach_stdin: bool,
    /// The creator meant to attach standard output.
    pub attach_stdout: bool,
    /// The creator meant to attach standard error.
    pub attach_stderr: bool,
}

/// How long to wait after the stop signal before killing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopTimeout {
    /// This long.
    After(Duration),
    /// For ever.
    Never,
}

impl StopTimeout {
    /// Docker's default.
    pub const DEFAULT: Self = Self::After(Duration::from_secs(10));

    /// From seconds as of the API: negative is for ever.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        u64::try_from(seconds)
            .map_or(Self::Never, |seconds| Self::After(Duration::from_secs(seconds)))
    }

    /// To seconds as of the API.
    #[must_use]
    pub fn as_seconds(self) -> i64 {
        match self {
            Self::After(duration) => i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            Self::Never => -1,
        }
    }
}

/// How a container sits on its host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostOptions {
    /// Binds, volumes and tmpfs.
    pub mounts: Vec<MountRequest>,
    /// Containers whose mounts are taken over, `name[:ro|rw]`.
    pub volumes_from: Vec<String>,
    /// Driver of volumes that are made on first use; empty is `local`, the only one.
    pub volume_driver: String,
    /// Its network.
    pub network: NetworkMode,
    /// Asked of the endpoint on the bridge.
    pub endpoint: EndpointOptions,
    /// Name service and additional hosts.
    pub names: NameOptions,
    /// Its process ids.
    pub pid: PidMode,
    /// Its System V IPC and shared memory.
    pub ipc: IpcMode,
    /// Its host name.
    pub uts: UtsMode,
    /// Its cgroup namespace; `None` is the host's default: private on v2, host's on v1.
    pub cgroupns: Option<CgroupnsMode>,
    /// Capabilities added, as written.
    pub cap_add: Vec<String>,
    /// Capabilities dropped, as written.
    pub cap_drop: Vec<String>,
    /// Everything is allowed.
    pub privileged: bool,
    /// The root can not be written.
    pub read_only: bool,
    /// A small init reaps zombies and forwards signals; `None` is the daemon's default.
    pub init: Option<bool>,
    /// The container is removed when it ends.
    pub auto_remove: bool,
    /// System call filter, `no_new_privs`, masked paths.
    pub security: Security,
    /// Devices of the host.
    pub devices: Vec<DeviceMapping>,
    /// Rules for the device cgroup, `c 42:* rmw`.
    pub device_cgroup_rules: Vec<String>,
    /// Resource limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Bytes of `/dev/shm`; `None` is 64 MiB.
    pub shm_size: Option<u64>,
    /// Further groups of the user, by name or number.
    pub group_add: Vec<String>,
    /// Adjustment of the out-of-memory score.
    pub oom_score_adj: i32,
    /// Limits of the cgroup.
    pub resources: Resources,
    /// Under which cgroup; empty is the daemon's.
    pub cgroup_parent: String,
    /// What happens when it ends.
    pub restart: RestartPolicy,
    /// What becomes of the output.
    pub log: LogConfig,
    /// Passed to the runtime.
    pub annotations: BTreeMap<String, String>,
    /// OCI runtime; empty is the built-in one.
    pub runtime: String,
    /// Rows and columns of the terminal at the start; `(0, 0)` is unknown.
    pub console_size: (u16, u16),
    /// Where the client wrote the id; kept for inspection.
    pub container_id_file: String,
}

/// A device of the host in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceMapping {
    /// On the host; a directory means everything in it.
    pub host_path: String,
    /// In the container; empty is the same.
    pub container_path: String,
    /// Of `r`, `w`, `m`; empty is all.
    pub permissions: String,
}

/// Asked of an endpoint on the bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
}

/// Name service and additional hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameOptions {
    /// Servers; empty is the host's.
    pub dns: Vec<String>,
    /// Search domains; empty is the host's.
    pub dns_search: Vec<String>,
    /// Resolver options; empty is the host's.
    pub dns_options: Vec<String>,
    /// `name:address` lines for `/etc/hosts`; the address may be `host-gateway`.
    pub extra_hosts: Vec<String>,
}

/// What happens when a container ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again, always.
    Always,
    /// It is started again unless someone stopped it.
    UnlessStopped,
    /// It is started again after a failure, at most so many times; 0 is for ever.
    OnFailure {
        /// How many times.
        maximum_retries: u32,
    },
}

impl RestartPolicy {
    /// The word of the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure { .. } => "on-failure",
        }
    }
}

/// What becomes of the output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// Where it goes.
    pub driver: LogDriver,
    /// Options, as written; checked by [`ContainerSpec::validate`].
    pub options: BTreeMap<String, String>,
}

/// Where the output goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogDriver {
    /// A file of JSON lines.
    #[default]
    JsonFile,
    /// Nowhere but to who is attached.
    None,
}

impl LogDriver {
    /// The word of the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::None => "none",
        }
    }
}

/// A further process in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Added to the container's environment.
    pub env: Vec<String>,
    /// Who runs it; empty is the container's user.
    pub user: String,
    /// Where; empty is the container's working directory.
    pub working_dir: String,
    /// All capabilities.
    pub privileged: bool,
    /// Streams and terminal; `open_stdin` and `stdin_once` follow `attach_stdin`.
    pub streams: ExecStreams,
    /// The keys that detach, as written; `None` is the default.
    pub detach_keys: Option<String>,
    /// Rows and columns of the terminal.
    pub console_size: Option<(u16, u16)>,
}

/// Terminal and standard streams of an exec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct ExecStreams {
    /// Whether it has a terminal.
    pub tty: bool,
    /// Standard input is attached.
    pub stdin: bool,
    /// Standard output is attached.
    pub stdout: bool,
    /// Standard error is attached.
    pub stderr: bool,
}
