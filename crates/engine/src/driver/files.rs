//! Files that are made for a container at its start: its names, its shareable memory.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ferry_network::names::{
    HOST_PATH, HostsFile, ResolvConf, ResolvMode, host_resolv_path, hostname_file, hosts_file,
    resolv_conf,
};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::{Doing as _, Result};
use crate::inner::Inner;
use crate::snapshot::ContainerSnapshot;
use crate::spec::NetworkMode;

/// Where a shareable `/dev/shm` is, in the container's directory of this boot.
///
/// It is the one mount that is attached on the host: others join it by path, as with dockerd.
pub(crate) const SHM: &str = "shm";

/// `hosts`, `hostname` and `resolv.conf` of a container.
pub(super) struct NameFiles<'a> {
    pub(super) engine: &'a Inner,
    pub(super) state: &'a ContainerSnapshot,
    pub(super) hostname: &'a str,
    pub(super) address: Option<Ipv4Addr>,
}

impl NameFiles<'_> {
    /// Writes the three.
    pub(super) fn write(&self) -> Result<()> {
        let files = &self.state.files;
        write(&files.hosts, &self.hosts())?;
        write(&files.hostname, &hostname_file(self.hostname))?;
        write(&files.resolv_conf, &self.resolv_conf())
    }

    fn hosts(&self) -> String {
        let spec = &self.state.spec;
        let names = &spec.host.names;
        if spec.host.network == NetworkMode::Host && names.extra_hosts.is_empty() {
            return fs::read_to_string("/etc/hosts").unwrap_or_default();
        }
        let gateway = IpAddr::V4(self.engine.networks.describe().gateway);
        let extra: Vec<(String, IpAddr)> = names
            .extra_hosts
            .iter()
            .filter_map(|entry| {
                let (name, address) = entry.split_once([':', '='])?;
                let address = match address.trim_start_matches('[').trim_end_matches(']') {
                    "host-gateway" => gateway,
                    text => text.parse().ok()?,
                };
                Some((name.to_owned(), address))
            })
            .collect();
        let addresses: Vec<IpAddr> = self.address.into_iter().map(IpAddr::V4).collect();
        hosts_file(&HostsFile {
            ipv6: true,
            extra: &extra,
            addresses: &addresses,
            hostname: self.hostname,
            domainname: &spec.domainname,
        })
    }

    fn resolv_conf(&self) -> String {
        let names = &self.state.spec.host.names;
        let mode = match self.state.spec.host.network {
            NetworkMode::Host => ResolvMode::Host,
            _ => ResolvMode::External { ipv6: false },
        };
        let usual = fs::read_to_string(HOST_PATH).unwrap_or_default();
        let host_path = host_resolv_path(&usual, mode);
        let host = if host_path == HOST_PATH {
            usual
        } else {
            fs::read_to_string(host_path).unwrap_or_default()
        };
        let servers: Vec<IpAddr> =
            names.dns.iter().filter_map(|address| address.parse().ok()).collect();
        resolv_conf(&ResolvConf {
            host: &host,
            host_path,
            mode,
            servers: &servers,
            search: &names.dns_search,
            options: &names.dns_options,
        })
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.doing(|| format!("writing {}", path.display()))
}

/// Mounts a `/dev/shm` that others may join.
pub(super) fn mount_shm(directory: &Path, size: Option<u64>) -> Result<()> {
    let place = directory.join(SHM);
    unmount_shm(directory);
    crate::volumes::make_directory(&place, 0o1777)?;
    let size = size.unwrap_or(crate::oci_spec::DEFAULT_SHM_SIZE);
    let data = format!("mode=1777,size={size}");
    let data = std::ffi::CString::new(data).doing(|| "mounting shared memory")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("shm", &place, "tmpfs", flags, data.as_c_str())
        .doing(|| format!("mounting shared memory at {}", place.display()))
}

/// Unmounts it, if there is one.
pub(crate) fn unmount_shm(directory: &Path) {
    let place = directory.join(SHM);
    match rustix::mount::unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
        Err(error) => {
            tracing::warn!(path = %place.display(), %error, "shared memory stays mounted");
        }
    }
}
