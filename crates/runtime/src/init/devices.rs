//! Nodes and links in the container's `/dev`.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use ferry_sys::path;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{Gid, Uid};

use crate::error::RuntimeError;
use crate::plan::{DeviceNode, NodeKind};

/// Links every container has. [OCI runtime, runtime-linux § Dev symbolic links]
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Makes the links in `/dev`.
pub(super) fn make_links(root: BorrowedFd<'_>) -> Result<(), RuntimeError> {
    let mode = Mode::from_raw_mode(0o755);
    let dev = path::ensure_directory(root, Path::new("dev"), mode)
        .map_err(|error| RuntimeError::call("opening /dev", &error))?;
    for (name, target) in LINKS {
        let failed = |errno| RuntimeError::failed(format!("symlink {target} /dev/{name}"), errno);
        if name == "ptmx" {
            // An image may bring a node here, which would be the host's terminals.
            match rustix::fs::unlinkat(&dev, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

/// Makes device nodes; what is there already stays.
pub(super) fn make_nodes(root: BorrowedFd<'_>, nodes: &[DeviceNode]) -> Result<(), RuntimeError> {
    // The permissions of nodes are exactly those asked for.
    let umask = rustix::process::umask(Mode::empty());
    let result = nodes.iter().try_for_each(|node| make(root, node));
    rustix::process::umask(umask);
    result
}

fn make(root: BorrowedFd<'_>, node: &DeviceNode) -> Result<(), RuntimeError> {
    let path = node.path.display();
    let failed =
        |errno| RuntimeError::failed(format!("error creating device node \"/{path}\""), errno);
    let (parent, name) =
        path::ensure_parent(root, &node.path).map_err(|error| failed(error.errno))?;
    let (kind, device) = match node.kind {
        NodeKind::Character(major, minor) => {
            (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
        }
        NodeKind::Block(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        NodeKind::Fifo => (FileType::Fifo, 0),
    };
    let mode = Mode::from_raw_mode(node.mode);
    match rustix::fs::mknodat(&parent, &*name, kind, mode, device) {
        Err(Errno::EXIST) => return Ok(()),
        result => result.map_err(failed)?,
    }
    if node.uid == 0 && node.gid == 0 {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&parent, &*name, flags, Mode::empty()).map_err(failed)?;
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    rustix::fs::chownat(made.as_fd(), "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(failed)
}
