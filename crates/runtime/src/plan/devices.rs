//! Device nodes in the container's `/dev`.

use std::path::{Path, PathBuf};

use ferry_oci::runtime::{Device, DeviceType};
use ferry_sys::path::clean;

use crate::error::RuntimeError;

/// A device node to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceNode {
    /// Where, relative to the container's root.
    pub(crate) path: PathBuf,
    /// Which.
    pub(crate) kind: NodeKind,
    /// Permissions.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
}

/// What a device node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// A character device.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A pipe.
    Fifo,
}

/// Nodes every container has. [OCI runtime, config-linux § Default Devices]
const DEFAULT: [(&str, u32, u32); 6] = [
    ("dev/null", 1, 3),
    ("dev/zero", 1, 5),
    ("dev/full", 1, 7),
    ("dev/random", 1, 8),
    ("dev/urandom", 1, 9),
    ("dev/tty", 5, 0),
];

/// The default nodes and those asked for, which win.
pub(super) fn plan(devices: &[Device]) -> Result<Vec<DeviceNode>, RuntimeError> {
    let mut nodes: Vec<DeviceNode> = DEFAULT
        .iter()
        .map(|&(path, major, minor)| DeviceNode {
            path: path.into(),
            kind: NodeKind::Character(major, minor),
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    for device in devices {
        let node = node(device)?;
        // `/dev/ptmx` is a link to the container's own terminals.
        if node.path == Path::new("dev/ptmx") {
            continue;
        }
        nodes.retain(|other| other.path != node.path);
        nodes.push(node);
    }
    Ok(nodes)
}

fn node(device: &Device) -> Result<DeviceNode, RuntimeError> {
    let path = clean(&device.path);
    if !device.path.is_absolute() || path.as_os_str().is_empty() {
        let path = device.path.display();
        return Err(RuntimeError::invalid(format!("device path {path:?} is not absolute")));
    }
    Ok(DeviceNode {
        path,
        kind: match device.kind {
            DeviceType::Character => NodeKind::Character(device.major, device.minor),
            DeviceType::Block => NodeKind::Block(device.major, device.minor),
            DeviceType::Fifo => NodeKind::Fifo,
        },
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
    })
}
