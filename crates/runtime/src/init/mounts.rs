//! Carrying out the planned mounts.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use ferry_sys::cgroup::Hierarchy;
use ferry_sys::mount::{self, Attributes, Change, Propagation};
use ferry_sys::path;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::procfs::Procfs;
use crate::error::RuntimeError;
use crate::plan::{Filesystem, MountKind, MountPlan, NodeKind, Plan};

/// What was taken from the host's tree before it was left.
#[derive(Default)]
pub(super) struct Trees {
    /// For each mount of the plan its tree, if it is a bind mount or one of the kernel's views.
    mounts: Vec<Option<OwnedFd>>,
    /// For each cgroup hierarchy, the container's part of it.
    cgroups: Vec<OwnedFd>,
    /// For each device of the plan, the host's node, where none can be made.
    nodes: Vec<OwnedFd>,
}

/// Copies all the trees and nodes that the container gets from the host.
pub(super) fn copy_trees(plan: &Plan<'_>, cgroups: &[Hierarchy]) -> Result<Trees, RuntimeError> {
    let mut trees = Trees::default();
    for mount in &plan.mounts {
        let tree = match &mount.kind {
            MountKind::Bind { recursive } => bind(mount, *recursive).map(Some),
            MountKind::New(filesystem) if mount.is_kernel_view() => {
                new_mount(mount, filesystem, None).map(Some)
            }
            MountKind::Cgroup | MountKind::New(_) => Ok(None),
        };
        trees.mounts.push(tree.map_err(|errno| mounting(mount, errno))?);
    }
    if plan.mounts.iter().any(|mount| mount.kind == MountKind::Cgroup) {
        // With the host's cgroup namespace, version 2 shows the host's whole tree; as runc does.
        let whole = |hierarchy: &Hierarchy| hierarchy.unified && !plan.own_cgroup_namespace();
        for hierarchy in shown(cgroups) {
            let directory =
                if whole(hierarchy) { &hierarchy.mountpoint } else { &hierarchy.directory };
            let doing = || format!("copying cgroup {:?}", directory.display().to_string());
            let tree =
                copy_private(directory).map_err(|errno| RuntimeError::failed(doing(), errno))?;
            trees.cgroups.push(tree);
        }
    }
    if plan.in_user_namespace {
        for node in plan.devices.iter().flatten().filter(|node| node.kind != NodeKind::Fifo) {
            let host = Path::new("/").join(&node.path);
            let doing = || format!("copying device {:?}", host.display().to_string());
            let tree = copy_private(&host).map_err(|errno| RuntimeError::failed(doing(), errno))?;
            trees.nodes.push(tree);
        }
    }
    Ok(trees)
}

/// The hierarchies a container sees: the unified one only where it is the only one, as runc does.
fn shown(cgroups: &[Hierarchy]) -> impl Iterator<Item = &Hierarchy> {
    let only = cgroups.len() == 1;
    cgroups.iter().filter(move |hierarchy| only || !hierarchy.unified)
}

/// A copy of a tree of the host, out of which nothing that is mounted in it goes.
fn copy_private(path: &Path) -> Result<OwnedFd, Errno> {
    let tree = copy_host(path, false)?;
    propagate(tree.as_fd(), Propagation::Private, true)?;
    Ok(tree)
}

fn propagate(tree: BorrowedFd<'_>, propagation: Propagation, recursive: bool) -> Result<(), Errno> {
    let change = Change { propagation: Some(propagation), ..Change::default() };
    mount::set_attributes(tree, change, recursive).map_err(|error| error.errno)
}

/// A copy of a tree of the host, still a peer of it.
fn copy_host(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, path, flags)
}

fn bind(plan: &MountPlan, recursive: bool) -> Result<OwnedFd, Errno> {
    let source = Path::new(&plan.source);
    if !source.is_absolute() {
        return Err(Errno::INVAL);
    }
    let tree = copy_host(source, recursive)?;
    // Unless it was asked for, what the container mounts in it must not appear on the host.
    if !plan.propagation.iter().any(|(propagation, _)| *propagation == Propagation::Shared) {
        propagate(tree.as_fd(), Propagation::Slave, true)?;
    }
    for (propagation, recursive) in &plan.propagation {
        propagate(tree.as_fd(), *propagation, *recursive)?;
    }
    apply(plan, tree.as_fd())?;
    Ok(tree)
}

fn apply(plan: &MountPlan, tree: BorrowedFd<'_>) -> Result<(), Errno> {
    for (change, recursive) in [(plan.change_below(), true), (plan.change(), false)] {
        let touched = change.set | change.clear;
        if touched.is_empty() {
            continue;
        }
        // The ways of access times are values, not bits: to set one is to clear the others.
        let clear = if touched.intersects(Attributes::ATIME) {
            change.clear | Attributes::ATIME
        } else {
            change.clear
        };
        mount::set_attributes(tree, Change { clear, ..change }, recursive)
            .map_err(|error| error.errno)?;
    }
    Ok(())
}

/// Mounts everything, in order, and gives a handle of the container's `/proc`.
pub(super) fn mount_all(
    root: BorrowedFd<'_>,
    plan: &Plan<'_>,
    trees: Trees,
    cgroups: &[Hierarchy],
) -> Result<Procfs, RuntimeError> {
    let mut proc = None;
    let mut processes = Processes(None);
    let mut late = Vec::new();
    let mut cgroup_trees = Some(trees.cgroups);
    for (mount, tree) in plan.mounts.iter().zip(trees.mounts) {
        let failed = |errno| mounting(mount, errno);
        match (&mount.kind, tree) {
            (MountKind::Bind { .. }, Some(tree)) => {
                let place = place_for(root, mount, tree.as_fd())?;
                processes.keep_free(mount, place.as_fd())?;
                mount::attach(tree.as_fd(), place.as_fd()).map_err(|error| failed(error.errno))?;
                check_bound_proc(mount, tree.as_fd())?;
                processes.take(mount, tree.as_fd())?;
            }
            (MountKind::New(filesystem), tree) => {
                let place = directory_for(root, mount)?;
                processes.keep_free(mount, place.as_fd())?;
                let new = match tree {
                    Some(tree) => tree,
                    None => new_mount(mount, filesystem, Some(place.as_fd())).map_err(failed)?,
                };
                mount::attach(new.as_fd(), place.as_fd()).map_err(|error| failed(error.errno))?;
                processes.take(mount, new.as_fd())?;
                if mount.is_proc() {
                    proc = Some(new);
                } else if is_late(mount) {
                    late.push(new);
                }
            }
            (MountKind::Cgroup, _) => {
                let trees = cgroup_trees.take().unwrap_or_default();
                let place = directory_for(root, mount)?;
                processes.keep_free(mount, place.as_fd())?;
                late.extend(mount_cgroups(place.as_fd(), mount, trees, cgroups)?);
            }
            (MountKind::Bind { .. }, None) => {}
        }
    }
    mount_nodes(root, plan, trees.nodes)?;
    Ok(Procfs::new(proc, late))
}

/// The file system that was mounted at `/proc`, by its device number.
struct Processes(Option<u64>);

impl Processes {
    /// Takes in what was mounted.
    fn take(&mut self, plan: &MountPlan, mount: BorrowedFd<'_>) -> Result<(), RuntimeError> {
        if plan.target == Path::new("proc") {
            let stat = rustix::fs::fstat(mount).map_err(|errno| mounting(plan, errno))?;
            self.0 = Some(stat.st_dev);
        }
        Ok(())
    }

    /// Refuses a place in it that is not one of those the plan allows by name: a link of the image or
    /// of a volume has led there.
    fn keep_free(&self, plan: &MountPlan, place: BorrowedFd<'_>) -> Result<(), RuntimeError> {
        if self.0.is_none() || plan.target.starts_with("proc") {
            return Ok(());
        }
        let stat = rustix::fs::fstat(place).map_err(|errno| mounting(plan, errno))?;
        if self.0 == Some(stat.st_dev) { Err(plan.inside_proc()) } else { Ok(()) }
    }
}

/// Whether a mount becomes read-only only when all is made, for something may be made in it.
fn is_late(mount: &MountPlan) -> bool {
    mount.is_new("tmpfs") && mount.set.contains(Attributes::READ_ONLY)
}

fn mounting(plan: &MountPlan, errno: Errno) -> RuntimeError {
    let destination = plan.destination.display();
    let doing =
        format!("error mounting {:?} to rootfs at {:?}", plan.source, destination.to_string());
    RuntimeError::failed(doing, errno)
}

/// A place for a bind mount, of the kind of its source.
fn place_for(
    root: BorrowedFd<'_>,
    plan: &MountPlan,
    tree: BorrowedFd<'_>,
) -> Result<OwnedFd, RuntimeError> {
    let stat = rustix::fs::fstat(tree).map_err(|errno| mounting(plan, errno))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        directory_for(root, plan)
    } else {
        path::ensure_file(root, &plan.target).map_err(|error| mounting(plan, error.errno))
    }
}

/// A directory for a mount. That of the kernel's own file systems must be no symbolic link, or the
/// image could have `/proc` elsewhere.
fn directory_for(root: BorrowedFd<'_>, plan: &MountPlan) -> Result<OwnedFd, RuntimeError> {
    let failed = |errno| mounting(plan, errno);
    if plan.target.as_os_str().is_empty() {
        return rustix::io::dup(root).map_err(failed);
    }
    if plan.is_kernel_view() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(root, &plan.target, flags, Mode::empty(), resolve) {
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let destination = plan.destination.display().to_string();
                let message =
                    format!("filesystem {destination:?} must be mounted on ordinary directory");
                return Err(RuntimeError::invalid(message));
            }
            Err(Errno::NOENT) => {}
            place => return place.map_err(failed),
        }
    }
    path::ensure_directory(root, &plan.target, Mode::from_raw_mode(0o755))
        .map_err(|error| failed(error.errno))
}

/// What is bound at `/proc` must be processes.
fn check_bound_proc(plan: &MountPlan, tree: BorrowedFd<'_>) -> Result<(), RuntimeError> {
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    if plan.target != Path::new("proc") {
        return Ok(());
    }
    let stat = rustix::fs::fstatfs(tree).map_err(|errno| mounting(plan, errno))?;
    if stat.f_type == PROC_SUPER_MAGIC {
        return Ok(());
    }
    Err(RuntimeError::invalid("\"/proc\" cannot be mounted because it is not of type proc"))
}

fn new_mount(
    plan: &MountPlan,
    filesystem: &Filesystem,
    place: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(&*filesystem.kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !plan.source.is_empty() {
        rustix::mount::fsconfig_set_string(&context, "source", &*plan.source)?;
    }
    for (name, value) in &filesystem.options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, &**name, &**value)?,
            None => rustix::mount::fsconfig_set_flag(&context, &**name)?,
        }
    }
    if let Some(place) = place
        && filesystem.kind == "tmpfs"
        && !filesystem.options.iter().any(|(name, _)| name == "mode")
    {
        // A tmpfs has the permissions of the directory it covers, as runc makes it.
        let mode = rustix::fs::fstat(place)?.st_mode & 0o7777;
        rustix::mount::fsconfig_set_string(&context, "mode", format!("{mode:o}"))?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let mut set = plan.set | plan.set_below;
    if is_late(plan) {
        set -= Attributes::READ_ONLY;
    }
    let bits = u32::try_from(set.bits()).unwrap_or_default();
    let attributes = MountAttrFlags::from_bits_retain(bits);
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    // A new mount is private, which is what is nearly always asked for.
    for (propagation, _) in plan.propagation.iter().filter(|(p, _)| *p != Propagation::Private) {
        propagate(mount.as_fd(), *propagation, false)?;
    }
    Ok(mount)
}

/// The container's cgroups: with version 2 its directory, with version 1 a directory of hierarchies.
/// Gives the mounts that are to become read-only.
fn mount_cgroups(
    place: BorrowedFd<'_>,
    plan: &MountPlan,
    trees: Vec<OwnedFd>,
    cgroups: &[Hierarchy],
) -> Result<Vec<OwnedFd>, RuntimeError> {
    let failed = |errno| mounting(plan, errno);
    if cgroups.iter().all(|hierarchy| hierarchy.unified) {
        if let Some(tree) = trees.into_iter().next() {
            apply(plan, tree.as_fd()).map_err(failed)?;
            mount::attach(tree.as_fd(), place).map_err(|error| failed(error.errno))?;
        }
        return Ok(Vec::new());
    }
    let tmpfs =
        Filesystem { kind: "tmpfs".into(), options: vec![("mode".into(), Some("755".into()))] };
    let covering =
        MountPlan { kind: MountKind::New(tmpfs.clone()), source: "tmpfs".into(), ..plan.clone() };
    let tmpfs = new_mount(&covering, &tmpfs, None).map_err(failed)?;
    mount::attach(tmpfs.as_fd(), place).map_err(|error| failed(error.errno))?;
    for (hierarchy, tree) in shown(cgroups).zip(trees) {
        mount_hierarchy(tmpfs.as_fd(), plan, hierarchy, tree.as_fd()).map_err(failed)?;
    }
    Ok(if is_late(&covering) { vec![tmpfs] } else { Vec::new() })
}

fn mount_hierarchy(
    tmpfs: BorrowedFd<'_>,
    plan: &MountPlan,
    hierarchy: &Hierarchy,
    tree: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let name = hierarchy.mountpoint.file_name().ok_or(Errno::INVAL)?;
    rustix::fs::mkdirat(tmpfs, name, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::openat(tmpfs, name, flags, Mode::empty())?;
    apply(plan, tree)?;
    mount::attach(tree, place.as_fd()).map_err(|error| error.errno)?;
    // Controllers that share a hierarchy are found under each one's name.
    for controller in hierarchy.controllers.iter().filter(|controller| name != controller.as_str())
    {
        match rustix::fs::symlinkat(name, tmpfs, controller) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The host's device nodes, where none can be made.
fn mount_nodes(
    root: BorrowedFd<'_>,
    plan: &Plan<'_>,
    trees: Vec<OwnedFd>,
) -> Result<(), RuntimeError> {
    let nodes = plan.devices.iter().flatten().filter(|node| node.kind != NodeKind::Fifo);
    for (node, tree) in nodes.zip(trees) {
        let doing = || format!("binding device {:?}", node.path.display().to_string());
        let place = path::ensure_file(root, &node.path)
            .map_err(|error| RuntimeError::call(doing(), &error))?;
        mount::attach(tree.as_fd(), place.as_fd())
            .map_err(|error| RuntimeError::call(doing(), &error))?;
    }
    Ok(())
}

/// When all is made: what is to be read-only becomes it, and the root has its propagation.
pub(super) fn settle(
    proc: &Procfs,
    root: BorrowedFd<'_>,
    plan: &Plan<'_>,
) -> Result<(), RuntimeError> {
    let read_only = Change { set: Attributes::READ_ONLY, ..Change::default() };
    let failed = |error| RuntimeError::call("making a mount read-only", &error);
    for mount in proc.late() {
        mount::set_attributes(mount.as_fd(), read_only, false).map_err(failed)?;
    }
    if plan.root_readonly {
        mount::set_attributes(root, read_only, false).map_err(failed)?;
    }
    if let Some((propagation, recursive)) = plan.root_propagation {
        let change = Change { propagation: Some(propagation), ..Change::default() };
        mount::set_attributes(root, change, recursive)
            .map_err(|error| RuntimeError::call("setting the root's propagation", &error))?;
    }
    Ok(())
}
