//! `start`, `kill`, `delete`, `pause`, `resume`.

use std::time::Duration;

use ferry_oci::runtime::{NamespaceType, Status};
use ferry_runtime::container::GATE_WORD;
use ferry_sys::signal::send;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Context, Outcome, only_id};
use crate::flags::{Flag, Given, switch};
use crate::record::{ABSENT, Home, Record};

pub(super) const KILL_FLAGS: &[Flag] = &[switch("all", Some('a'))];
pub(super) const DELETE_FLAGS: &[Flag] = &[switch("force", Some('f'))];

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn start(context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    let (home, record) = find(context, only_id(given)?)?;
    match home.status(&record)? {
        Status::Created if home.open_gate(GATE_WORD)? => Ok(0),
        Status::Created | Status::Creating | Status::Running | Status::Paused => {
            Err("cannot start an already running container".to_owned())
        }
        Status::Stopped => Err("cannot start a container that has stopped".to_owned()),
    }
}

pub(super) fn kill(context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    let (id, signal) = match given.operands.as_slice() {
        [id] => (id, "SIGTERM"),
        [id, signal] => (id, signal.as_str()),
        _ => return Err("requires the container's id and at most a signal".to_owned()),
    };
    let signal = signal_number(signal).ok_or_else(|| format!("unknown signal {signal:?}"))?;
    let (_home, record) = find(context, id)?;
    if given.is_set("all") || (signal == KILL && !has_own_processes(&record)) {
        let Some(group) = record.open_cgroup()? else { return Ok(0) };
        if signal == KILL {
            return group.kill().map(|()| 0).map_err(|error| error.to_string());
        }
        for pid in group.pids().map_err(|error| error.to_string())? {
            let flags = rustix::process::PidfdFlags::empty();
            match rustix::process::pidfd_open(pid, flags) {
                Ok(process) => ignore_ended(send(process.as_fd(), signal))?,
                Err(Errno::SRCH) => {}
                Err(errno) => return Err(format!("pidfd_open {pid}: {errno}")),
            }
        }
        return Ok(0);
    }
    let init = record.open_init()?.ok_or("container not running")?;
    ignore_ended(send(init.as_fd(), signal))?;
    Ok(0)
}

use std::os::fd::AsFd as _;

const KILL: i32 = 9;

fn ignore_ended(sent: Result<(), ferry_sys::SysError>) -> Result<(), String> {
    match sent {
        Err(error) if error.errno != Errno::SRCH => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Whether the end of the init is the end of all processes.
fn has_own_processes(record: &Record) -> bool {
    let namespaces = record.spec.linux.iter().flat_map(|linux| &linux.namespaces);
    namespaces.into_iter().any(|ns| ns.kind == NamespaceType::Pid && ns.path.is_none())
}

pub(super) fn delete(context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    let id = only_id(given)?;
    let force = given.is_set("force");
    let home = Home::at(&context.root, id)?;
    let record = match home.find()? {
        Some(record) => record,
        // What a create left that was killed; nothing refers to it.
        None if force => return home.remove().map(|()| 0),
        None => return Err(ABSENT.to_owned()),
    };
    match home.status(&record)? {
        Status::Stopped => {}
        Status::Created => {}
        status if !force => {
            let status = status.as_str();
            return Err(format!("cannot delete container {id} that is not stopped: {status}"));
        }
        Status::Creating | Status::Running | Status::Paused => {}
    }
    destroy(&home, &record).map(|()| 0)
}

/// Ends a container and removes all of it.
pub(super) fn destroy(home: &Home, record: &Record) -> Result<(), String> {
    let init = record.open_init()?;
    let group = record.open_cgroup()?;
    if let Some(init) = &init {
        ignore_ended(send(init.as_fd(), KILL))?;
    }
    if let Some(group) = &group {
        group.kill().map_err(|error| error.to_string())?;
    }
    if let Some(init) = init {
        await_end(init.as_fd())?;
    }
    if let Some(group) = group {
        group.remove(PATIENCE).map_err(|error| error.to_string())?;
    }
    home.remove()
}

fn await_end(init: std::os::fd::BorrowedFd<'_>) -> Result<(), String> {
    let deadline = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let mut watched = [PollFd::from_borrowed_fd(init, PollFlags::IN)];
    match poll(&mut watched, Some(&deadline)) {
        Ok(0) => Err("container init still running".to_owned()),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(format!("waiting for the container's init: {errno}")),
    }
}

pub(super) fn pause(context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    let (home, record) = find(context, only_id(given)?)?;
    match home.status(&record)? {
        Status::Running | Status::Created => {}
        _ => return Err("container not running".to_owned()),
    }
    let group = record.open_cgroup()?.ok_or("container not running")?;
    group.freeze(PATIENCE).map(|()| 0).map_err(|error| error.to_string())
}

pub(super) fn resume(context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    let (home, record) = find(context, only_id(given)?)?;
    if home.status(&record)? != Status::Paused {
        return Err("container not paused".to_owned());
    }
    let group = record.open_cgroup()?.ok_or("container not running")?;
    group.thaw().map(|()| 0).map_err(|error| error.to_string())
}

/// A container's directory and record.
pub(super) fn find(context: &Context, id: &str) -> Result<(Home, Record), String> {
    let home = Home::at(&context.root, id)?;
    let record = home.read()?;
    Ok((home, record))
}

/// A signal by number or by name, with or without `SIG`.
fn signal_number(text: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = text.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let text = text.to_ascii_uppercase();
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    let index = NAMES.iter().position(|known| *known == name);
    if let Some(index) = index {
        return i32::try_from(index).ok().map(|index| index + 1);
    }
    let (base, sign, offset) = match name {
        "RTMIN" => return Some(34),
        "RTMAX" => return Some(64),
        name if name.starts_with("RTMIN+") => (34, 1, &name[6..]),
        name if name.starts_with("RTMAX-") => (64, -1, &name[6..]),
        _ => return None,
    };
    let number = base + sign * offset.parse::<u8>().ok().map(i32::from)?;
    (34..=64).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn signals_have_numbers_and_names() {
        for (text, number) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGTERM", Some(15)),
            ("sigusr1", Some(10)),
            ("SYS", Some(31)),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("RTMIN+99", None),
            ("NOPE", None),
            ("65", None),
            ("-1", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }
}
