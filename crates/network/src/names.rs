//! The contents of `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` in a container.
//!
//! Pure functions; they give byte for byte what dockerd 28.5 writes.

mod hosts;
mod resolv;

pub(crate) use resolv::host_name_servers;

pub use hosts::{HostsFile, hostname_file, hosts_file};
pub use resolv::{HOST_PATH, ResolvConf, ResolvMode, SYSTEMD_PATH, host_resolv_path, resolv_conf};
