//! `create` and `run`.

use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferry_oci::runtime::{Process, Resources, Spec};
use ferry_runtime::container::{
    CgroupEntry, CreateRequest, GATE_WORD, Rootfs, Stdio, Waiting, create_gated,
};
use ferry_runtime::limits;
use ferry_sys::cgroup::{Cgroup, Layout};
use ferry_sys::process::kill_and_wait;
use ferry_sys::signal::SignalFd;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::{Context, Outcome, only_id};
use crate::flags::{Flag, Given, switch, value};
use crate::foreground;
use crate::record::{Home, Record};

pub(super) const FLAGS: &[Flag] =
    &[value("bundle", Some('b')), value("console-socket", None), value("pid-file", None)];

pub(super) const RUN_FLAGS: &[Flag] = &[
    value("bundle", Some('b')),
    value("console-socket", None),
    value("pid-file", None),
    switch("detach", Some('d')),
    switch("keep", None),
];

/// How long a cgroup may take to be free of processes that have just been killed.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn create(context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    let Made { home, record, terminal, .. } = make(context, given, true)?;
    deliver(given, &home, &record, terminal.as_ref())?;
    Ok(0)
}

pub(super) fn run(context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    let detach = given.is_set("detach");
    // Order: before the process is made, so that no signal is lost in between.
    let signals = match detach {
        true => None,
        false => Some(SignalFd::block_all().map_err(|error| error.to_string())?),
    };
    let Made { home, record, pidfd, terminal, cgroup } = make(context, given, detach)?;
    deliver(given, &home, &record, terminal.as_ref())?;
    home.open_gate(GATE_WORD)?;
    let Some(signals) = signals else { return Ok(0) };
    let code = foreground::attend(pidfd.as_fd(), &signals, terminal)?;
    if !given.is_set("keep") {
        cgroup.kill().map_err(|error| error.to_string())?;
        super::life::destroy(&home, &record)?;
    }
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// A container that has been made and recorded.
struct Made {
    home: Home,
    record: Record,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
    cgroup: Cgroup,
}

/// Makes a container, with which the command then stays or not.
fn make(context: &Context, given: &Given, detach: bool) -> Result<Made, String> {
    let id = only_id(given)?;
    let bundle = fs::canonicalize(given.value("bundle").unwrap_or("."))
        .map_err(|error| format!("bundle {:?}: {error}", given.value("bundle").unwrap_or(".")))?;
    let spec = load(&bundle)?;
    if let Some(process) = &spec.process {
        check_terminal(given, process, detach)?;
    }
    let home = Home::at(&context.root, id)?;
    home.make()?;
    match make_in(&home, id, bundle, spec) {
        Ok((record, waiting, cgroup)) => {
            let Waiting { pidfd, terminal, .. } = waiting;
            Ok(Made { home, record, pidfd, terminal, cgroup })
        }
        Err(message) => Err(match home.remove() {
            Ok(()) => message,
            Err(left) => format!("{message} (and {left})"),
        }),
    }
}

fn make_in(
    home: &Home,
    id: &str,
    bundle: PathBuf,
    spec: Spec,
) -> Result<(Record, Waiting, Cgroup), String> {
    let rootfs = spec.root.as_ref().ok_or("root is required")?.path.clone();
    let path = cgroup_path(&spec, id);
    let layout = Layout::detect().map_err(|error| error.to_string())?;
    if let Some(group) = Cgroup::open(&layout, &path).map_err(|error| error.to_string())?
        && !group.pids().map_err(|error| error.to_string())?.is_empty()
    {
        return Err(format!("container's cgroup is not empty: {path}"));
    }
    let cgroup = Cgroup::create(&layout, &path).map_err(|error| error.to_string())?;
    let made = fill(home, id, &spec, &rootfs, &cgroup).and_then(|waiting| {
        let record = Record::new(id, bundle, rootfs, waiting.pid, path, spec);
        match record.and_then(|record| home.write(&record).map(|()| record)) {
            Ok(record) => Ok((record, waiting)),
            Err(message) => Err(match kill_and_wait(waiting.pidfd.as_fd()) {
                Ok(()) => message,
                Err(left) => format!("{message} (and its init is left: {left})"),
            }),
        }
    });
    match made {
        Ok((record, waiting)) => Ok((record, waiting, cgroup)),
        Err(message) => Err(match cgroup.remove(PATIENCE) {
            Ok(()) => message,
            Err(left) => format!("{message} (and its cgroup is left: {left})"),
        }),
    }
}

fn fill(
    home: &Home,
    id: &str,
    spec: &Spec,
    rootfs: &Path,
    cgroup: &Cgroup,
) -> Result<Waiting, String> {
    let nothing_asked = Resources::default();
    let resources = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    limits::apply(cgroup, resources.unwrap_or(&nothing_asked))
        .map_err(|error| error.to_string())?;
    let process = spec.process.as_ref().ok_or("process is required")?;
    let request = CreateRequest {
        id,
        spec,
        rootfs: Rootfs::Path(rootfs.to_owned()),
        stdio: stdio(process),
        cgroup: CgroupEntry::of(cgroup),
        netns: None,
    };
    create_gated(request, home.make_gate()?)
        .map_err(|error| format!("unable to start container process: {error}"))
}

/// The streams a process's configuration asks for.
pub(super) fn stdio(process: &Process) -> Stdio {
    match process.terminal {
        true => {
            Stdio::Terminal { size: process.console_size.map(|size| (size.height, size.width)) }
        }
        false => Stdio::Inherit,
    }
}

fn load(bundle: &Path) -> Result<Spec, String> {
    let path = bundle.join("config.json");
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!("JSON specification file {} not found", path.display()));
        }
        text => text.map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let mut spec: Spec =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if let Some(root) = &mut spec.root {
        root.path = bundle.join(&root.path);
    }
    for mount in &mut spec.mounts {
        // Sources of bind mounts are relative to the bundle; those of other mounts are mere names.
        let binds =
            mount.kind == "bind" || mount.options.iter().any(|o| o == "bind" || o == "rbind");
        if binds {
            mount.source = bundle.join(&mount.source).display().to_string();
        }
    }
    Ok(spec)
}

/// The cgroup of a container: what is asked for, beneath the root of all hierarchies.
fn cgroup_path(spec: &Spec, id: &str) -> String {
    let asked = spec.linux.as_ref().map_or("", |linux| linux.cgroups_path.as_str());
    match asked.trim_matches('/') {
        "" => format!("/{id}"),
        path => format!("/{path}"),
    }
}

/// Refuses, before anything is made, a terminal that nobody would hold, and a place for one that there
/// will not be. In runc's words.
pub(super) fn check_terminal(given: &Given, process: &Process, detach: bool) -> Result<(), String> {
    match (detach && process.terminal, given.value("console-socket")) {
        (true, None) => {
            Err("cannot allocate tty if runc will detach without setting console socket".to_owned())
        }
        (false, Some(_)) => {
            Err("cannot use console socket if runc will not detach or allocate tty".to_owned())
        }
        _ => Ok(()),
    }
}

/// Hands the terminal over and writes the pid file. What was made is undone when that fails.
fn deliver(
    given: &Given,
    home: &Home,
    record: &Record,
    terminal: Option<&OwnedFd>,
) -> Result<(), String> {
    let deliver = || hand_over(given, terminal).and_then(|()| write_pid_file(given, record.pid));
    deliver().map_err(|message| match super::life::destroy(home, record) {
        Ok(()) => message,
        Err(left) => format!("{message} (and {left})"),
    })
}

/// Sends the terminal to the socket that was named, if one was.
pub(super) fn hand_over(given: &Given, terminal: Option<&OwnedFd>) -> Result<(), String> {
    match (given.value("console-socket"), terminal) {
        (Some(socket), Some(terminal)) => send_terminal(Path::new(socket), terminal.as_fd())
            .map_err(|errno| format!("console socket {socket}: {errno}")),
        _ => Ok(()),
    }
}

fn send_terminal(socket: &Path, terminal: BorrowedFd<'_>) -> Result<(), rustix::io::Errno> {
    use rustix::net::{SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC;
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
    let descriptors = [terminal];
    let rights = SendAncillaryMessage::ScmRights(&descriptors);
    let mut space = vec![std::mem::MaybeUninit::uninit(); rights.size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(rights);
    let name = [std::io::IoSlice::new(b"/dev/ptmx")];
    rustix::net::sendmsg(&stream, &name, &mut control, SendFlags::NOSIGNAL).map(|_sent| ())
}

/// Writes a process's id to the file that was named, whole or not at all.
pub(super) fn write_pid_file(given: &Given, pid: i32) -> Result<(), String> {
    let Some(path) = given.value("pid-file").map(Path::new) else { return Ok(()) };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let temporary = path.with_file_name(format!(".{name}"));
    fs::write(&temporary, pid.to_string())
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| format!("pid file {}: {error}", path.display()))
}
