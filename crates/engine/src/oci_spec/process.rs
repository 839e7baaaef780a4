//! The process of a container, and of an exec in it.

use std::path::PathBuf;

use ferry_oci::runtime::{Capabilities, ConsoleSize, Process, Rlimit, User};

use super::{INIT_PATH, SpecInput};
use crate::spec::{ContainerSpec, ExecSpec};
use crate::users::ResolvedUser;

/// Docker's search path.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn process(input: &SpecInput<'_>, capabilities: Vec<String>) -> Process {
    let spec = input.spec;
    let mut args = spec.arguments();
    if input.init.is_some() {
        args.splice(0..0, [INIT_PATH.to_owned(), "--".to_owned()]);
    }
    let (rows, columns) = spec.host.console_size;
    Process {
        terminal: spec.streams.tty,
        console_size: (spec.streams.tty && rows > 0 && columns > 0)
            .then_some(ConsoleSize { height: rows, width: columns }),
        user: user(input.user),
        args,
        env: environment(spec, input.hostname, input.user, &[]),
        cwd: directory(&spec.working_dir),
        capabilities: Some(sets(capabilities)),
        rlimits: rlimits(spec),
        no_new_privileges: spec.host.security.no_new_privileges,
        oom_score_adj: Some(spec.host.oom_score_adj),
        ..Process::default()
    }
}

/// The process of an exec: the container's with what the exec changes.
pub(crate) fn exec_process(
    spec: &ContainerSpec,
    exec: &ExecSpec,
    hostname: &str,
    user_of_exec: &ResolvedUser,
    capabilities: Vec<String>,
) -> Process {
    let mut spec = spec.clone();
    spec.streams.tty = exec.streams.tty;
    let working_dir =
        if exec.working_dir.is_empty() { &spec.working_dir } else { &exec.working_dir };
    Process {
        terminal: exec.streams.tty,
        console_size: exec
            .console_size
            .filter(|(rows, columns)| exec.streams.tty && *rows > 0 && *columns > 0)
            .map(|(height, width)| ConsoleSize { height, width }),
        user: user(user_of_exec),
        args: exec.command.clone(),
        env: environment(&spec, hostname, user_of_exec, &exec.env),
        cwd: directory(working_dir),
        capabilities: Some(sets(capabilities)),
        rlimits: rlimits(&spec),
        no_new_privileges: spec.host.security.no_new_privileges,
        oom_score_adj: Some(spec.host.oom_score_adj),
        ..Process::default()
    }
}

fn user(user: &ResolvedUser) -> User {
    User {
        uid: user.uid,
        gid: user.gid,
        umask: None,
        additional_gids: user.additional_gids.clone(),
    }
}

fn directory(path: &str) -> PathBuf {
    if path.is_empty() { PathBuf::from("/") } else { PathBuf::from(path) }
}

/// Compat: Docker fills three of the five sets, so a user other than root has nothing in force.
fn sets(names: Vec<String>) -> Capabilities {
    Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
        ..Capabilities::default()
    }
}

fn rlimits(spec: &ContainerSpec) -> Vec<Rlimit> {
    let number = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    spec.host
        .ulimits
        .iter()
        .map(|ulimit| Rlimit {
            kind: format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase()),
            hard: number(ulimit.hard),
            soft: number(ulimit.soft),
        })
        .collect()
}

/// Docker's variables first, then those of the container, then those of the exec; a later one takes
/// the place of an earlier one, a name alone removes it. `HOME` is last, as runc adds it.
fn environment(
    spec: &ContainerSpec,
    hostname: &str,
    user: &ResolvedUser,
    more: &[String],
) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if spec.streams.tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in spec.env.iter().chain(more) {
        let name = crate::spec::name_of(entry);
        let place = env.iter().position(|known| crate::spec::name_of(known) == name);
        match (place, entry.contains('=')) {
            (Some(place), true) => env[place].clone_from(entry),
            (Some(place), false) => {
                env.remove(place);
            }
            (None, true) => env.push(entry.clone()),
            (None, false) => {}
        }
    }
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", user.home));
    }
    env
}
