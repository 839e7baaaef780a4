//! The last part of every process of a container: limits, privileges, user, directory, program.

use ferry_oci::runtime::{Capabilities as Sets, Process, Seccomp};
use ferry_sys::capabilities::{self, Capabilities};
use ferry_sys::{process as sys_process, rlimit, seccomp as sys_seccomp};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{Gid, Uid};

use super::program::Program;
use crate::error::{ErrorKind, RuntimeError};
use crate::plan::Limit;
use crate::seccomp;

/// What a process may do and use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights<'a> {
    /// Its capabilities; without them it has none.
    pub(crate) capabilities: Option<&'a Sets>,
    pub(crate) limits: &'a [Limit],
    pub(crate) seccomp: Option<&'a Seccomp>,
}

/// Raises hard limits to what will be set, for this process or for a child that has just been forked.
/// Only that: a limit on descriptors that was in force already could end the making of the container.
pub(crate) fn raise_limits(limits: &[Limit], of: Option<Pid>) -> Result<(), RuntimeError> {
    limits.iter().try_for_each(|limit| {
        rlimit::raise(of, limit.resource, limit.hard).map_err(|error| limiting(*limit, error.errno))
    })
}

fn limiting(limit: Limit, errno: Errno) -> RuntimeError {
    let doing = "error setting rlimits for ready process: error setting rlimit type";
    RuntimeError::failed(format!("{doing} {}", limit.number), errno)
}

/// Gives up everything the process is not to have, and finds its program.
///
/// The limits must have been [raised](raise_limits) where they were lower.
pub(crate) fn settle(process: &Process, rights: Rights<'_>) -> Result<Program, RuntimeError> {
    let Rights { capabilities, limits, seccomp } = rights;
    for limit in limits {
        // Order: before the user changes, for the number of the user's processes is looked at then.
        rlimit::set(limit.resource, limit.soft, limit.hard)
            .map_err(|error| limiting(*limit, error.errno))?;
    }
    // Order: before any filter, which need not allow it. All that is opened from here on closes on
    // execution by itself.
    sys_process::close_on_exec_from(3)
        .map_err(|error| RuntimeError::call("closing descriptors", &error))?;
    let filter = seccomp.map(seccomp::prepare).transpose()?;
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true)
            .map_err(|errno| RuntimeError::failed("setting no_new_privs", errno))?;
    }
    // Order: without no_new_privs a filter needs CAP_SYS_ADMIN, so it is loaded before capabilities
    // are dropped; with it, as late as possible, so that it need not allow what is done until then.
    let late_filter = match filter {
        Some(filter) if !process.no_new_privileges => {
            load(&filter)?;
            None
        }
        filter => filter,
    };
    // Order: the directory is entered before the user changes, for root may enter where the user may
    // not; where root may not (a network file system), it is tried again as the user.
    let entered = enter(process);
    change_user(process, capabilities)?;
    if entered.is_err() {
        enter(process)?;
    }
    check_directory()?;
    Program::find(process, late_filter)
}

pub(super) fn load(filter: &seccomp::Prepared) -> Result<(), RuntimeError> {
    sys_seccomp::load(&filter.program, filter.flags)
        .map(|_no_listener| ())
        .map_err(|error| RuntimeError::call("unable to init seccomp", &error))
}

fn change_user(process: &Process, sets: Option<&Sets>) -> Result<(), RuntimeError> {
    let failed = |doing: &'static str| move |errno| RuntimeError::failed(doing, errno);
    let call = |error| RuntimeError::call("unable to apply caps", &error);
    // Compat: a configuration without capabilities gives none, as with runc.
    let sets = sets.map(FiveSets::new).unwrap_or_default();
    // Order: dropping from the bounding set needs CAP_SETPCAP, so it is first.
    capabilities::limit_bounding(sets.bounding).map_err(call)?;
    // Order: the user changes while CAP_SETUID is there, and what is permitted survives the change.
    capabilities::keep_over_user_change(true).map_err(call)?;
    let user = &process.user;
    let groups: Vec<Gid> = user.additional_gids.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups)
        .map_err(failed("unable to set additional groups"))?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("unable to set the group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("unable to set the user"))?;
    capabilities::keep_over_user_change(false).map_err(call)?;
    // Order: after the user, for the change empties the effective set.
    capabilities::set(sets.effective, sets.permitted, sets.inheritable).map_err(call)?;
    // Order: ambient capabilities must be permitted and inheritable already. One that is not is left
    // out, as runc does.
    let _refused = capabilities::set_ambient(sets.ambient).map_err(call)?;
    let umask = Mode::from_raw_mode(user.umask.unwrap_or(0o022) & 0o777);
    rustix::process::umask(umask);
    Ok(())
}

/// The capability sets, of those the kernel knows.
#[derive(Default)]
struct FiveSets {
    bounding: Capabilities,
    effective: Capabilities,
    permitted: Capabilities,
    inheritable: Capabilities,
    ambient: Capabilities,
}

impl FiveSets {
    fn new(sets: &Sets) -> Self {
        let of = |names: &[String]| Capabilities::from_names(names);
        Self {
            bounding: of(&sets.bounding),
            effective: of(&sets.effective),
            permitted: of(&sets.permitted),
            inheritable: of(&sets.inheritable),
            ambient: of(&sets.ambient),
        }
    }
}

fn enter(process: &Process) -> Result<(), RuntimeError> {
    let cwd = process.cwd.display();
    rustix::process::chdir(&process.cwd).map_err(|errno| {
        let doing = format!("chdir to cwd ({:?}) set in config.json failed", cwd.to_string());
        RuntimeError::failed(doing, errno)
    })
}

/// The working directory must be in the container: a path like `/proc/self/fd/7` might have led to a
/// directory of the host. (CVE-2024-21626)
fn check_directory() -> Result<(), RuntimeError> {
    let outside = || {
        let message = "current working directory is outside of container mount namespace root -- \
                       possible container breakout detected";
        RuntimeError::new(ErrorKind::Other, message)
    };
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_unreachable) => Err(outside()),
        Err(Errno::NOENT) => Err(outside()),
        Err(errno) => Err(RuntimeError::failed("getting the working directory", errno)),
    }
}
