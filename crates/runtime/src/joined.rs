//! A further process of a running container: it joins, gives up what it is not to have, and executes.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use ferry_oci::runtime::{NamespaceType, Process, Spec};
use ferry_sys::cgroup::Hierarchy;
use ferry_sys::namespace;
use ferry_sys::process::CloneNamespaces;
use rustix::fs::{CWD, Mode, OFlags};

use crate::channel::Channel;
use crate::container::Stdio;
use crate::error::RuntimeError;
use crate::init::become_user::Rights;
use crate::init::program::Program;
use crate::init::{self, become_user, cgroups, procfs, streams};
use crate::plan::Limit;

/// All the process needs to know.
pub(crate) struct Joining<'a> {
    /// The container's init.
    pub(crate) init: BorrowedFd<'a>,
    pub(crate) process: &'a Process,
    pub(crate) spec: &'a Spec,
    pub(crate) limits: Vec<Limit>,
    pub(crate) stdio: Stdio,
    /// The container's places in every cgroup hierarchy.
    pub(crate) hierarchies: &'a [Hierarchy],
    pub(crate) channel: &'a Channel,
}

/// Joins, waits for the word to go and executes. Returns when that fails.
pub(crate) fn run(joining: Joining<'_>) -> i32 {
    let channel = joining.channel;
    match set_up(joining) {
        Ok(program) => program.launch(channel, None),
        Err(error) => {
            channel.failed(&error);
            1
        }
    }
}

fn set_up(joining: Joining<'_>) -> Result<Program, RuntimeError> {
    let Joining { init, process, spec, limits, stdio, hierarchies, channel } = joining;
    let mut keep = vec![channel.raw(), init.as_raw_fd()];
    keep.extend(stdio.descriptors());
    init::leave_maker(keep)?;
    // Order: before anything that counts is used, and while the host's tree is there.
    cgroups::enter(hierarchies)?;
    if let Some(adjustment) = process.oom_score_adj {
        // Order: while the host's /proc is there.
        procfs::adjust_oom_score(adjustment)?;
    }
    // Order: in a user namespace there is no right to raise a limit.
    become_user::raise_limits(&limits, None)?;
    // All at once: the kernel checks every right before it joins any. The process id namespace is the
    // one this process was born in.
    let kinds = joined(spec);
    namespace::join_process(init, kinds)
        .map_err(|error| RuntimeError::call("joining the container's namespaces", &error))?;
    if kinds.contains(CloneNamespaces::USER) {
        init::become_root()?;
    }
    init::join_keyring(None)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, "/", flags, Mode::empty())
        .map_err(|errno| RuntimeError::failed("opening the container's root", errno))?;
    streams::prepare(stdio, root.as_fd(), false)?.take_on(process.user.uid, channel)?;
    drop(root);
    procfs::apply_apparmor(&process.apparmor_profile)?;
    let containers = spec.process.as_ref().and_then(|process| process.capabilities.as_ref());
    let rights = Rights {
        // A process that says nothing of capabilities has the container's. As runc does.
        capabilities: process.capabilities.as_ref().or(containers),
        limits: &limits,
        seccomp: spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()),
    };
    become_user::settle(process, rights)
}

fn has(spec: &Spec, kind: NamespaceType) -> bool {
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    namespaces.into_iter().any(|namespace| namespace.kind == kind)
}

/// What is joined: whether a namespace is the container's own or shared with the host does not matter,
/// for to join what one is in already is no fault. But for users, where it is one; and for clocks,
/// which not every kernel has.
fn joined(spec: &Spec) -> CloneNamespaces {
    let mut kinds = CloneNamespaces::MOUNT
        | CloneNamespaces::UTS
        | CloneNamespaces::IPC
        | CloneNamespaces::NETWORK
        | CloneNamespaces::CGROUP;
    kinds.set(CloneNamespaces::USER, has(spec, NamespaceType::User));
    kinds.set(CloneNamespaces::TIME, has(spec, NamespaceType::Time));
    kinds
}
