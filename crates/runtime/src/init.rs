//! The init of a container, from its birth to its program: one straight sequence.
//!
//! It runs in a forked copy of the maker. There is one thread, so it may allocate; it never returns
//! into the maker's code, and whatever fails is told through the [`Channel`].

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use ferry_oci::runtime::{Process, Spec};
use ferry_sys::cgroup::Hierarchy;
use ferry_sys::process::{self, CloneNamespaces};
use ferry_sys::{keyring, namespace};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::thread::{Gid, Uid};

use crate::channel::{Channel, Word};
use crate::container::{Rootfs, Stdio};
use crate::error::RuntimeError;
use crate::plan::{Limit, Plan};
use become_user::Rights;
use program::Program;

pub(crate) mod become_user;
pub(crate) mod cgroups;
mod devices;
mod masks;
mod mounts;
pub(crate) mod procfs;
pub(crate) mod program;
mod root;
pub(crate) mod streams;

/// All the init needs to know.
pub(crate) struct Birth<'a> {
    pub(crate) id: &'a str,
    pub(crate) spec: &'a Spec,
    pub(crate) process: &'a Process,
    pub(crate) plan: Plan<'a>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) rootfs: Rootfs,
    pub(crate) stdio: Stdio,
    pub(crate) hierarchies: &'a [Hierarchy],
    /// Namespaces to join, opened by the maker, in the order of joining.
    pub(crate) join: Vec<(CloneNamespaces, OwnedFd)>,
    /// Where [`Word::Go`] comes from, if not from the channel.
    pub(crate) gate: Option<OwnedFd>,
    pub(crate) channel: &'a Channel,
}

/// Sets the container up, waits for [`Word::Go`] and executes its program. Returns when that fails.
pub(crate) fn run(birth: Birth<'_>) -> i32 {
    const DOING: &str = "error during container init";
    let channel = birth.channel;
    match set_up(birth) {
        Ok((program, gate)) => match gate {
            Some(gate) => program.launch_gated(channel, &gate),
            None => program.launch(channel, Some(DOING)),
        },
        Err(error) => {
            channel.failed(&error.within(DOING));
            1
        }
    }
}

/// Closes what is the maker's, but for `keep`, and becomes a process that nobody can trace.
pub(crate) fn leave_maker(mut keep: Vec<RawFd>) -> Result<(), RuntimeError> {
    // Order: before all else. Until its program runs, nobody in the container may trace this copy of
    // the maker or reach its descriptors and its executable through /proc. (CVE-2016-9962)
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| RuntimeError::failed("becoming undumpable", errno))?;
    // Order: before anything can take long. A descriptor of the maker that stays open here would keep
    // its peers from seeing that the maker has died.
    process::close_others(&mut keep)
        .map_err(|error| RuntimeError::call("closing the maker's descriptors", &error))?;
    process::reset_signals().map_err(|error| RuntimeError::call("resetting signals", &error))?;
    rustix::process::setsid().map_err(|errno| RuntimeError::failed("setsid", errno))?;
    // What is made in the container has the permissions asked for, whatever the maker's mask is.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// A program, and what it waits for.
type Prepared = (Program, Option<OwnedFd>);

fn set_up(birth: Birth<'_>) -> Result<Prepared, RuntimeError> {
    let mut keep = vec![birth.channel.raw()];
    keep.extend(birth.join.iter().map(|(_, namespace)| namespace.as_raw_fd()));
    if let Rootfs::Detached(mount) = &birth.rootfs {
        keep.push(mount.as_raw_fd());
    }
    keep.extend(birth.gate.as_ref().map(std::os::fd::AsRawFd::as_raw_fd));
    keep.extend(birth.stdio.descriptors());
    leave_maker(keep)?;
    let Birth { id, spec, process, plan, limits, rootfs, stdio, hierarchies, channel, .. } = birth;
    // Order: before anything that counts is used, and while the host's tree is there.
    cgroups::enter(hierarchies)?;
    if let Some(adjustment) = process.oom_score_adj {
        // Order: before user ids are mapped, for then the file is another user's; and while the
        // host's /proc is there.
        procfs::adjust_oom_score(adjustment)?;
    }
    // Order: in a user namespace there is no right to raise a limit. If one was made with this process,
    // the maker does it.
    if plan.id_maps.is_none() {
        become_user::raise_limits(&limits, None)?;
    }
    join_namespaces(birth.join)?;
    if plan.id_maps.is_some() {
        channel.expect(Word::Mapped)?;
    }
    join_keyring(Some(id))?;

    // Order: while the host's tree is there, and before its propagation is cut: a shared bind mount
    // must be a copy that is still a peer of the host's mount. And in a user namespace the kernel makes
    // a /proc or /sys only where one can be seen already.
    let trees = mounts::copy_trees(&plan, hierarchies)?;
    let root = root::open(rootfs)?;
    if plan.in_user_namespace {
        // Order: after everything of the host has been opened, for the container's root may not be
        // allowed to reach it.
        become_root()?;
    }
    root::enter(root.as_fd())?;
    let proc = mounts::mount_all(root.as_fd(), &plan, trees, hierarchies)?;
    if let Some(nodes) = &plan.devices {
        devices::make_links(root.as_fd())?;
        // Order: after /dev is mounted, before something is mounted on a node.
        devices::make_nodes(root.as_fd(), nodes)?;
    }
    set_names(spec, &plan)?;
    // Order: the terminal after /dev/pts and /dev, for it is the container's own.
    streams::prepare(stdio, root.as_fd(), true)?.take_on(process.user.uid, channel)?;
    // Order: kernel parameters before /proc/sys is made read-only, through the file system itself.
    procfs::write_sysctls(&proc, &plan.sysctls)?;
    procfs::write_apparmor(&proc, &process.apparmor_profile)?;
    root::ensure_cwd(root.as_fd(), &process.cwd)?;
    // Order: masks and read-only paths after every mount, or one could be put over them.
    masks::apply(root.as_fd(), spec.linux.as_ref())?;
    mounts::settle(&proc, root.as_fd(), &plan)?;

    // Order: the root of a cgroup namespace is the cgroup this process is in when it is made.
    if plan.make_cgroup_namespace {
        namespace::unshare_cgroup()
            .map_err(|error| RuntimeError::call("making the cgroup namespace", &error))?;
    }
    drop((proc, root));
    let rights = Rights {
        capabilities: process.capabilities.as_ref(),
        limits: &limits,
        seccomp: spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()),
    };
    become_user::settle(process, rights).map(|program| (program, birth.gate))
}

fn join_namespaces(join: Vec<(CloneNamespaces, OwnedFd)>) -> Result<(), RuntimeError> {
    for (kind, namespace) in join {
        namespace::join(namespace.as_fd(), kind)
            .map_err(|error| RuntimeError::call("joining a namespace", &error))?;
    }
    Ok(())
}

/// In a user namespace: becomes its root, whoever one was outside.
pub(crate) fn become_root() -> Result<(), RuntimeError> {
    let failed = |errno| RuntimeError::failed("becoming root of the user namespace", errno);
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    rustix::thread::set_thread_groups(&[]).map_err(failed)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)
}

/// A session keyring of the container's own, so that it does not have the maker's.
pub(crate) fn join_keyring(id: Option<&str>) -> Result<(), RuntimeError> {
    let name = id.and_then(|id| CString::new(format!("_ses.{id}")).ok());
    match keyring::join_session(name.as_deref()) {
        Ok(()) => Ok(()),
        // A kernel without keyrings has none to hide.
        Err(error) if error.errno == Errno::NOSYS => Ok(()),
        Err(error) => Err(RuntimeError::call("could not create session key", &error)),
    }
}

fn set_names(spec: &Spec, plan: &Plan<'_>) -> Result<(), RuntimeError> {
    if !spec.hostname.is_empty() {
        rustix::system::sethostname(spec.hostname.as_bytes())
            .map_err(|errno| RuntimeError::failed("sethostname", errno))?;
    }
    if !spec.domainname.is_empty() {
        rustix::system::setdomainname(spec.domainname.as_bytes())
            .map_err(|errno| RuntimeError::failed("setdomainname", errno))?;
    }
    if plan.loopback {
        namespace::bring_up_loopback()
            .map_err(|error| RuntimeError::call("bringing up the loopback interface", &error))?;
    }
    Ok(())
}
