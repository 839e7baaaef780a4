//! What the engine asks for.

use std::os::fd::{AsFd as _, OwnedFd};

use ferry_supervisor::protocol::{
    Answer, Attachment, Call, Failure, FailureKind, Message, Outcome, Request, Start, Target,
};
use ferry_sys::SysError;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::termios::Winsize;

use super::Program;
use super::job::{INIT, Job, Stage};
use super::link::Received;
use super::make::{Arrived, StartWith, invalid, not_running, other};

impl Program {
    /// Does what a call asks for, and answers.
    pub(super) fn serve(&mut self, received: Received) {
        let Received { bytes, descriptors } = received;
        let (id, outcome) = match Request::decode(&bytes) {
            Ok(Request { id, call }) => match self.call(id, call, descriptors) {
                Ok(Some(answer)) => (id, Ok(answer)),
                // It is answered later.
                Ok(None) => return,
                Err(failure) => (id, Err(failure)),
            },
            Err(unreadable) => {
                let kind = FailureKind::Unsupported;
                (unreadable.id, Err(Failure { kind, message: unreadable.message }))
            }
        };
        self.reply(id, outcome);
    }

    /// Answers a call, unless nobody wants to hear of it.
    pub(super) fn reply(&mut self, id: u64, outcome: Result<Answer, Failure>) {
        if id != 0 {
            let outcome = match outcome {
                Ok(answer) => Outcome::Ok(answer),
                Err(failure) => Outcome::Failed(failure),
            };
            self.link.say(&Message::Reply { id, outcome }, &mut self.poller);
        }
    }

    fn call(
        &mut self,
        id: u64,
        call: Call,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<Answer>, Failure> {
        let mut descriptors = descriptors.into_iter();
        match call {
            Call::Start(start) => {
                let with = start_with(&start, &mut descriptors)?;
                let started = self.start(*start, with);
                self.failed = self.container.is_none();
                let (pid, started_at) = started?;
                Ok(Some(Answer::Started { pid: pid.as_raw_nonzero().get(), started_at }))
            }
            Call::Attach(attachment) => {
                let client = arrived(attachment, &mut descriptors)?;
                self.attach(INIT, client).map(|()| Some(Answer::Done))
            }
            Call::Exec(mut exec) => {
                let client = match exec.attachment.take() {
                    Some(attachment) => Some(arrived(attachment, &mut descriptors)?),
                    None => None,
                };
                self.begin_exec(id, exec, client).map(|()| None)
            }
            Call::Kill { target, signal } => self.kill(&target, signal).map(Some),
            Call::Resize { target, rows, columns } => self.resize(&target, rows, columns).map(Some),
            Call::Pause => self.set_paused(true).map(Some),
            Call::Resume => self.set_paused(false).map(Some),
            Call::ExecRecorded { exec_id } => {
                self.recorded(|job| job.exec_id.as_deref() == Some(&*exec_id));
                Ok(Some(Answer::Done))
            }
            Call::Release => {
                let Some(container) = self.container.as_mut().filter(|it| it.exit.is_some()) else {
                    return Err(invalid("the container has not ended"));
                };
                container.released = true;
                self.recorded(|_| true);
                Ok(Some(Answer::Done))
            }
        }
    }

    /// Clients of processes whose end is recorded may see the end.
    fn recorded(&mut self, which: impl Fn(&Job) -> bool) {
        for job in self.jobs.values_mut() {
            if matches!(job.stage, Stage::Told { .. }) && which(job) {
                job.stage = Stage::Closing;
                job.streams.close_clients(&mut self.poller);
            }
        }
    }

    fn job(&self, target: &Target) -> Result<&Job, Failure> {
        let found = match target {
            Target::Init | Target::All => self.jobs.get(&INIT),
            Target::Exec(id) => self.jobs.values().find(|job| job.exec_id.as_ref() == Some(id)),
        };
        found
            .filter(|job| job.is_running())
            .ok_or_else(|| not_running("the process is not running"))
    }

    fn kill(&self, target: &Target, signal: i32) -> Result<Answer, Failure> {
        let job = self.job(target)?;
        let sent = match (target, &self.container) {
            (Target::All, Some(container)) if signal == Signal::KILL.as_raw() => {
                container.cgroup.kill()
            }
            (Target::All, Some(container)) => {
                container.cgroup.pids().map(|pids| send_all(&pids, signal))
            }
            _ => ferry_sys::signal::send(job.pidfd.as_fd(), signal),
        };
        match sent {
            Ok(()) => Ok(Answer::Done),
            Err(SysError { errno: Errno::SRCH, .. }) => {
                Err(not_running("the process is not running"))
            }
            Err(SysError { errno: Errno::INVAL, .. }) => {
                Err(invalid(format!("invalid signal: {signal}")))
            }
            Err(error) => Err(other(error.to_string())),
        }
    }

    fn resize(&self, target: &Target, rows: u16, columns: u16) -> Result<Answer, Failure> {
        let terminal = self.job(target)?.streams.terminal();
        let terminal = terminal.ok_or_else(|| invalid("the process has no terminal"))?;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size)
            .map_err(|errno| other(format!("resize the terminal: {errno}")))?;
        Ok(Answer::Done)
    }

    fn set_paused(&mut self, paused: bool) -> Result<Answer, Failure> {
        let _running = self.job(&Target::Init)?;
        let container = self.container.as_mut().ok_or_else(|| not_running("no container"))?;
        container.set_paused(paused).map_err(|error| other(error.to_string()))?;
        Ok(Answer::Done)
    }
}

/// A process that ends meanwhile is no error.
fn send_all(pids: &[Pid], signal: i32) {
    let pidfds = pids.iter().filter_map(|pid| {
        rustix::process::pidfd_open(*pid, rustix::process::PidfdFlags::empty()).ok()
    });
    for pidfd in pidfds {
        drop(ferry_sys::signal::send(pidfd.as_fd(), signal));
    }
}

fn start_with(
    start: &Start,
    descriptors: &mut impl Iterator<Item = OwnedFd>,
) -> Result<StartWith, Failure> {
    let missing = || invalid("a descriptor is missing");
    let rootfs = descriptors.next().ok_or_else(missing)?;
    let netns = match start.netns {
        true => Some(descriptors.next().ok_or_else(missing)?),
        false => None,
    };
    let mut clients = Vec::with_capacity(start.attachments.len());
    for attachment in &start.attachments {
        clients.push(arrived(attachment.clone(), descriptors)?);
    }
    Ok(StartWith { rootfs, netns, clients })
}

fn arrived(
    attachment: Attachment,
    descriptors: &mut impl Iterator<Item = OwnedFd>,
) -> Result<Arrived, Failure> {
    let missing = || invalid("a client's descriptor is missing");
    let socket = descriptors.next().ok_or_else(missing)?;
    let early = match attachment.early {
        true => Some(descriptors.next().ok_or_else(missing)?),
        false => None,
    };
    Ok(Arrived { socket, early, attachment })
}
