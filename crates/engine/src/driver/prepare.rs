//! What a start needs from the host: namespaces of others, root, user, devices, network.
//!
//! The root and the network are independent of each other and made at the same time.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferry_network::{EndpointRequest, MacAddress};
use ferry_store::MountOptions;
use rustix::fs::Mode;

use super::files::{self, NameFiles};
use crate::error::{Doing as _, EngineError, Result};
use crate::host_devices;
use crate::id::Id;
use crate::inner::{Inner, store_error};
use crate::oci_spec::{
    BlockDevices, HostDevice, Joins, ResolvedKind, ResolvedMount, SpecInput, propagation_fault,
};
use crate::snapshot::{ContainerSnapshot, EndpointView};
use crate::spec::{
    IpcMode, LogDriver, MountKind, MountSource, NetworkMode, PidMode, Propagation, Recursion,
};
use crate::supervised::LogConfig;
use crate::users::{self, ResolvedUser};

/// What is found and made of the container's files.
pub(super) struct Ground {
    pub(super) root: OwnedFd,
    user: ResolvedUser,
    mounts: Vec<ResolvedMount>,
    devices: Vec<HostDevice>,
    block_devices: BlockDevices,
    /// The small init's program, if there is to be one.
    init: Option<PathBuf>,
}

/// What is made of its network.
#[derive(Default)]
pub(super) struct Network {
    pub(super) netns: Option<OwnedFd>,
    pub(super) endpoint: Option<EndpointView>,
}

/// The host name that the container sees, and that of the one whose network it joins.
pub(super) fn hostname(engine: &Inner, state: &ContainerSnapshot) -> Result<String> {
    let spec = &state.spec;
    if spec.host.uts == crate::spec::UtsMode::Host {
        return Ok(engine.facts.hostname.clone());
    }
    match &spec.host.network {
        NetworkMode::Container(peer) => {
            let peer = engine.registry.find(peer)?.snapshot();
            Ok(peer.spec.hostname.clone())
        }
        _ if spec.hostname.is_empty() => Ok(state.id.short().to_owned()),
        _ => Ok(spec.hostname.clone()),
    }
}

/// The namespaces of other containers.
///
/// # Errors
/// `Conflict` when one does not run.
pub(super) fn joins(engine: &Inner, state: &ContainerSnapshot) -> Result<Joins> {
    let host = &state.spec.host;
    if let NetworkMode::Named(name) = &host.network {
        return Err(EngineError::NotFound(format!(
            "failed to set up container networking: network {name} not found"
        )));
    }
    let namespace = |peer: &str, what: &str, name: &str| -> Result<PathBuf> {
        let peer = engine.registry.find(peer).map_err(|error| {
            EngineError::broken(format!("joining {what} namespace of container: {error}"))
        })?;
        let peer = peer.snapshot();
        match peer.pid() {
            0 => Err(EngineError::Conflict(format!(
                "cannot join {what} of a non running container: {}",
                peer.id
            ))),
            pid => Ok(PathBuf::from(format!("/proc/{pid}/ns/{name}"))),
        }
    };
    let mut joins = Joins::default();
    if let NetworkMode::Container(peer) = &host.network {
        joins.network = Some(namespace(peer, "network", "net")?);
    }
    if let PidMode::Container(peer) = &host.pid {
        joins.pid = Some(namespace(peer, "PID", "pid")?);
    }
    match &host.ipc {
        IpcMode::Container(peer) => {
            joins.ipc = Some(namespace(peer, "IPC", "ipc")?);
            let peer = engine.registry.find(peer)?.snapshot();
            match peer.spec.host.ipc {
                IpcMode::Shareable => {
                    let directory = engine.exec_directory(peer.id.as_str());
                    joins.shm = Some(directory.join(files::SHM));
                }
                IpcMode::Host => joins.shm = Some(PathBuf::from("/dev/shm")),
                _ => {
                    return Err(EngineError::Conflict(format!(
                        "cannot join IPC of container {}: non-shareable IPC (hint: use \
                         IpcMode:shareable for the donor container)",
                        peer.id
                    )));
                }
            }
        }
        IpcMode::Shareable => {
            let directory = engine.exec_directory(state.id.as_str());
            joins.shm = Some(directory.join(files::SHM));
        }
        IpcMode::Default | IpcMode::Private | IpcMode::None | IpcMode::Host => {}
    }
    Ok(joins)
}

/// Mounts the root and finds everything on the host; on a thread that may block.
pub(super) fn ground(engine: &Inner, state: &ContainerSnapshot) -> Result<Ground> {
    let spec = &state.spec;
    let directory = engine.exec_directory(state.id.as_str());
    // What an earlier run left there would be taken for this one's.
    files::unmount_shm(&directory);
    crate::volumes::remove_tree(&directory)?;
    crate::volumes::make_directory(&directory, 0o700)?;
    if spec.host.ipc == IpcMode::Shareable {
        files::mount_shm(&directory, spec.host.shm_size)?;
    }
    let volatile = MountOptions { volatile: spec.host.auto_remove };
    let root = engine.store.mount_container_fs(state.id.as_str(), volatile).map_err(store_error)?;
    let user = users::resolve(root.as_fd(), &spec.user, &spec.host.group_add)?;
    ensure_working_directory(&root, &spec.working_dir)?;
    Ok(Ground {
        root,
        user,
        mounts: mounts(state)?,
        devices: host_devices::resolve(spec)?,
        block_devices: host_devices::block_devices(&spec.host.resources)?,
        init: small_init(engine, state)?,
    })
}

/// The program of the small init, for a container that is to have one.
fn small_init(engine: &Inner, state: &ContainerSnapshot) -> Result<Option<PathBuf>> {
    let host = &state.spec.host;
    let wanted = host.init.unwrap_or(engine.init_by_default) && host.pid == PidMode::Private;
    wanted.then(|| engine.init_program.copy().map(Path::to_owned)).transpose()
}

/// Makes the working directory in the container's root.
///
/// # Errors
/// `Invalid` when something else is in its place.
pub(crate) fn ensure_working_directory(root: &OwnedFd, path: &str) -> Result<()> {
    if matches!(path, "" | "/") {
        return Ok(());
    }
    let made = ferry_sys::path::ensure_directory(
        root.as_fd(),
        Path::new(path),
        Mode::from_raw_mode(0o755),
    );
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.errno == rustix::io::Errno::NOTDIR => {
            Err(EngineError::Invalid(format!("Cannot mkdir: {path} is not a directory")))
        }
        Err(error) => Err(EngineError::internal(format!("Cannot mkdir: {path}"), error)),
    }
}

/// The container's mounts with their sources; missing sources of `-v` are made.
fn mounts(state: &ContainerSnapshot) -> Result<Vec<ResolvedMount>> {
    let mut mountinfo = None;
    let requests = &state.spec.host.mounts;
    let mut resolved = Vec::new();
    for point in state.mounts.iter() {
        let request = requests.iter().find(|request| request.target == point.destination);
        let source = request.map(|request| &request.source);
        let kind = match (point.kind, source) {
            (MountKind::Tmpfs, Some(MountSource::Tmpfs { size, mode, options })) => {
                ResolvedKind::Tmpfs(tmpfs_options(*size, *mode, options))
            }
            (MountKind::Tmpfs, _) => ResolvedKind::Tmpfs(Vec::new()),
            (MountKind::Volume, _) => ResolvedKind::Bind {
                source: PathBuf::from(&point.source),
                propagation: None,
                recursion: Recursion::Recursive,
            },
            (MountKind::Bind, source) => {
                let (create, recursion) = match source {
                    Some(MountSource::Bind { create_missing, recursion, .. }) => {
                        (*create_missing, *recursion)
                    }
                    _ => (false, Recursion::Recursive),
                };
                let path = PathBuf::from(&point.source);
                if create && !path.exists() {
                    crate::volumes::make_directory(&path, 0o755)?;
                }
                let propagation =
                    Propagation::parse(&point.propagation).unwrap_or(Propagation::RecursivePrivate);
                if propagation.needs_the_hosts() {
                    let text = match mountinfo.take() {
                        Some(text) => text,
                        None => std::fs::read_to_string("/proc/self/mountinfo")
                            .doing(|| "reading the host's mounts")?,
                    };
                    if let Some(fault) = propagation_fault(&path, propagation, &text) {
                        return Err(EngineError::broken(fault));
                    }
                    mountinfo = Some(text);
                }
                ResolvedKind::Bind { source: path, propagation: Some(propagation), recursion }
            }
        };
        resolved.push(ResolvedMount {
            destination: point.destination.clone(),
            kind,
            read_only: !point.writable,
        });
    }
    Ok(resolved)
}

/// Compat: sizes are written with the largest unit that fits, as dockerd does.
fn tmpfs_options(size: Option<u64>, mode: Option<u32>, more: &[String]) -> Vec<String> {
    let mut options = Vec::new();
    if let Some(mode) = mode.filter(|mode| *mode != 0) {
        options.push(format!("mode={mode:o}"));
    }
    if let Some(size) = size.filter(|size| *size != 0) {
        let units = [("g", 1_u64 << 30), ("m", 1 << 20), ("k", 1 << 10), ("", 1)];
        let unit = units.into_iter().find(|(_, unit)| size.is_multiple_of(*unit));
        let (suffix, unit) = unit.unwrap_or(("", 1));
        options.push(format!("size={}{suffix}", size / unit));
    }
    options.extend(more.iter().cloned());
    options
}

/// Makes the network and the files that tell of it; on a thread that may block. What was attached is
/// given back when the files can not be written.
pub(super) fn network(
    engine: &Inner,
    state: &ContainerSnapshot,
    hostname: &str,
) -> Result<Network> {
    let mut network = Network::default();
    match &state.spec.host.network {
        NetworkMode::Default | NetworkMode::Bridge => {
            let endpoint_id = Id::random().as_str().to_owned();
            let mac = state.spec.host.endpoint.mac.map(MacAddress);
            let endpoint = engine
                .networks
                .attach_bridge(&endpoint_id, EndpointRequest { mac })
                .doing(|| "failed to set up container networking")?;
            network.netns = Some(endpoint.netns);
            network.endpoint = Some(EndpointView {
                endpoint_id,
                address: endpoint.address,
                prefix_len: endpoint.prefix_len,
                gateway: endpoint.gateway,
                mac: endpoint.mac.0,
            });
        }
        NetworkMode::None => {
            let netns = engine.networks.new_isolated_netns();
            network.netns = Some(netns.doing(|| "failed to set up container networking")?);
        }
        NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Named(_) => {}
    }
    engine.failpoint.pass("start.network-attached");
    let own_files = !matches!(state.spec.host.network, NetworkMode::Container(_));
    let address = network.endpoint.as_ref().map(|endpoint| endpoint.address);
    let written =
        if own_files { NameFiles { engine, state, hostname, address }.write() } else { Ok(()) };
    if let Err(error) = written {
        if let Some(endpoint) = &network.endpoint {
            engine.networks.release(&endpoint.endpoint_id);
        }
        return Err(error);
    }
    Ok(network)
}

/// Builds the runtime's configuration, as JSON.
pub(super) fn config(
    engine: &Arc<Inner>,
    state: &ContainerSnapshot,
    ground: &Ground,
    joins: &Joins,
    hostname: &str,
) -> Result<Vec<u8>> {
    let spec = &state.spec;
    let files = match &spec.host.network {
        NetworkMode::Container(peer) => engine.registry.find(peer)?.snapshot().files.clone(),
        _ => state.files.clone(),
    };
    let name_files = [
        (files.resolv_conf, "/etc/resolv.conf"),
        (files.hostname, "/etc/hostname"),
        (files.hosts, "/etc/hosts"),
    ];
    let input = SpecInput {
        spec,
        facts: &engine.facts,
        user: &ground.user,
        hostname,
        mounts: &ground.mounts,
        files: &name_files,
        devices: &ground.devices,
        block_devices: &ground.block_devices,
        joins,
        init: ground.init.clone(),
        cgroup: engine.cgroup_of(state),
    };
    let built = crate::oci_spec::build(&input)?;
    serde_json::to_vec(&built).doing(|| "writing the container's configuration")
}

/// Where the supervisor logs the output.
pub(super) fn log_config(state: &ContainerSnapshot) -> Option<LogConfig> {
    let log = &state.spec.host.log;
    match log.driver {
        LogDriver::None => None,
        LogDriver::JsonFile => {
            let rotation = log.rotation();
            Some(LogConfig {
                path: state.files.log.display().to_string(),
                max_size: rotation.max_size,
                max_files: rotation.max_files,
                attributes: String::new(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tmpfs_options;

    #[test]
    fn sizes_of_tmpfs_have_the_largest_unit_that_fits() {
        assert_eq!(tmpfs_options(Some(5 << 20), Some(0o700), &[]), ["mode=700", "size=5m"]);
        assert_eq!(tmpfs_options(Some(1025), None, &["exec".to_owned()]), ["size=1025", "exec"]);
        assert_eq!(tmpfs_options(Some(2 << 30), None, &[]), ["size=2g"]);
        assert!(tmpfs_options(None, None, &[]).is_empty());
    }
}
