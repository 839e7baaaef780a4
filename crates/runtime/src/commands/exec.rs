//! `exec`.

use std::fs;
use std::os::fd::AsFd as _;

use ferry_oci::runtime::{Process, Status};
use ferry_runtime::container::{CgroupEntry, ExecRequest, Running};
use ferry_sys::process::kill_and_wait;
use ferry_sys::signal::SignalFd;

use super::{Context, Outcome, create, life};
use crate::flags::{Flag, Given, switch, value};
use crate::foreground;
use crate::record::Record;

pub(super) const FLAGS: &[Flag] = &[
    value("process", Some('p')),
    value("cwd", None),
    value("env", Some('e')),
    value("user", Some('u')),
    value("additional-gids", Some('g')),
    value("cap", Some('c')),
    value("apparmor", None),
    value("console-socket", None),
    value("pid-file", None),
    switch("tty", Some('t')),
    switch("detach", Some('d')),
    switch("no-new-privs", None),
];

pub(super) fn exec(context: &Context, given: &Given, rest: Vec<String>) -> Outcome {
    let id = given.operands.first().ok_or("requires the container's id")?;
    let (home, record) = life::find(context, id)?;
    match home.status(&record)? {
        Status::Running | Status::Created => {}
        Status::Paused => return Err("cannot exec in a paused container".to_owned()),
        Status::Stopped | Status::Creating => {
            return Err("cannot exec in a stopped container".to_owned());
        }
    }
    let process = process(&record, given, rest)?;
    let detach = given.is_set("detach");
    create::check_terminal(given, &process, detach)?;
    let init = record.open_init()?.ok_or("cannot exec in a stopped container")?;
    let cgroup = record.open_cgroup()?.ok_or("cannot exec in a stopped container")?;
    // Order: before the process is made, so that no signal is lost in between.
    let signals = match detach {
        true => None,
        false => Some(SignalFd::block_all().map_err(|error| error.to_string())?),
    };
    let request = ExecRequest {
        init: init.as_fd(),
        process: &process,
        spec: &record.spec,
        stdio: create::stdio(&process),
        cgroup: CgroupEntry::of(&cgroup),
    };
    let Running { pid, pidfd, terminal } = ferry_runtime::container::exec(request)
        .map_err(|error| format!("unable to start container process: {error}"))?;
    let delivered = create::hand_over(given, terminal.as_ref())
        .and_then(|()| create::write_pid_file(given, pid.as_raw_nonzero().get()));
    if let Err(message) = delivered {
        return Err(match kill_and_wait(pidfd.as_fd()) {
            Ok(()) => message,
            Err(left) => format!("{message} (and its process is left: {left})"),
        });
    }
    let Some(signals) = signals else { return Ok(0) };
    let code = foreground::attend(pidfd.as_fd(), &signals, terminal)?;
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// The process to run: of a file, or that of the container with what the line says otherwise.
fn process(record: &Record, given: &Given, rest: Vec<String>) -> Result<Process, String> {
    if let Some(path) = given.value("process") {
        let text = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        return serde_json::from_slice(&text).map_err(|error| format!("{path}: {error}"));
    }
    if rest.is_empty() {
        return Err("process args cannot be empty".to_owned());
    }
    let mut process = record.spec.process.clone().ok_or("the container has no process")?;
    process.args = rest;
    process.terminal = given.is_set("tty");
    process.env.extend(given.values("env").iter().cloned());
    if let Some(cwd) = given.value("cwd") {
        process.cwd = cwd.into();
    }
    if let Some(profile) = given.value("apparmor") {
        process.apparmor_profile = profile.to_owned();
    }
    if given.is_set("no-new-privs") {
        process.no_new_privileges = true;
    }
    if let Some(user) = given.value("user") {
        let (uid, gid) = user.split_once(':').map_or((user, None), |(uid, gid)| (uid, Some(gid)));
        process.user.uid = number(uid)?;
        if let Some(gid) = gid {
            process.user.gid = number(gid)?;
        }
    }
    for gid in given.values("additional-gids") {
        process.user.additional_gids.push(number(gid)?);
    }
    let capabilities = process.capabilities.get_or_insert_default();
    for name in given.values("cap") {
        for set in
            [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted]
        {
            set.push(name.clone());
        }
    }
    Ok(process)
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|error| format!("{text:?} is not an id: {error}"))
}
