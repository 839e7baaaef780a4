//! Staying with a process until it ends: passing signals on, and a terminal's bytes to and fro.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ferry_sys::process;
use ferry_sys::signal::{SignalFd, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::{OptionalActions, Termios};

/// Stays until the process ends, and gives its exit code. `signals` were blocked before it was made.
pub(crate) fn attend(
    pidfd: BorrowedFd<'_>,
    signals: &SignalFd,
    terminal: Option<OwnedFd>,
) -> Result<i32, String> {
    let mut terminal = terminal.map(Relay::new).transpose()?;
    loop {
        match turn(pidfd, signals, terminal.as_mut()) {
            Ok(false) => {}
            Ok(true) => break,
            Err(errno) => return Err(format!("waiting for the process: {errno}")),
        }
    }
    if let Some(relay) = &mut terminal {
        // What the process said at last.
        while relay.output() == Output::Passed {}
    }
    drop(terminal);
    process::wait(pidfd).map_err(|error| error.to_string())
}

/// Waits for something to happen and does what is to be done; true when the process has ended.
fn turn(
    pidfd: BorrowedFd<'_>,
    signals: &SignalFd,
    mut terminal: Option<&mut Relay>,
) -> Result<bool, Errno> {
    let stdin = rustix::stdio::stdin();
    let rest = terminal.as_deref_mut().and_then(Relay::rest);
    let mut watched =
        vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
    if let Some(relay) = terminal.as_deref() {
        // A descriptor that is watched for nothing still says that it has hung up; so none is watched.
        let nothing = || PollFd::from_borrowed_fd(pidfd, PollFlags::empty());
        let (master, input) = (relay.wanted(), relay.wants_input());
        watched.push(master.map_or_else(nothing, |events| PollFd::new(&relay.master, events)));
        watched.push(if input { PollFd::new(&stdin, PollFlags::IN) } else { nothing() });
    }
    match poll(&mut watched, rest.as_ref()) {
        Err(Errno::INTR) => return Ok(false),
        ready => ready?,
    };
    let is_ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
    drop(watched);
    let ready = |index: usize| is_ready.get(index).copied().unwrap_or(false);
    if ready(1) {
        while let Ok(Some(received)) = signals.next() {
            pass_on(pidfd, received.signal, terminal.as_deref())?;
        }
    }
    if let Some(relay) = terminal {
        if ready(2) {
            relay.attend();
        }
        if ready(3) {
            relay.input();
        }
    }
    Ok(ready(0))
}

fn pass_on(pidfd: BorrowedFd<'_>, signal: i32, terminal: Option<&Relay>) -> Result<(), Errno> {
    match Signal::from_named_raw(signal) {
        Some(Signal::WINCH) => terminal.map_or(Ok(()), Relay::resize),
        Some(Signal::CHILD | Signal::URG | Signal::TSTP | Signal::TTIN | Signal::TTOU) => Ok(()),
        _ => match send(pidfd, signal) {
            Ok(()) => Ok(()),
            Err(error) if error.errno == Errno::SRCH => Ok(()),
            Err(error) => Err(error.errno),
        },
    }
}

/// How long a terminal that no process has open is left alone before it is looked at again.
const REST: Duration = Duration::from_millis(100);

/// The master of the process's terminal, which never blocks, and this program's own terminal in raw mode.
struct Relay {
    master: OwnedFd,
    before: Option<Termios>,
    reads_input: bool,
    /// Input for which the terminal has had no room; until it is gone no more is read. To wait for room
    /// would be to wait for a process that waits for its output to be read.
    pending: Vec<u8>,
    /// Until when the terminal is left alone: no process has it open, but one may open it again.
    rests_until: Option<Instant>,
}

/// What became of an attempt to pass output on.
#[derive(PartialEq, Eq)]
enum Output {
    /// Some was passed on, and there may be more.
    Passed,
    /// There is none.
    None,
    /// There is none, and no process has the terminal open.
    HungUp,
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Self, String> {
        let failed = |doing: &'static str| move |errno| format!("{doing}: {errno}");
        let flags = rustix::fs::fcntl_getfl(&master)
            .and_then(|flags| rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK));
        flags.map_err(failed("making the terminal non-blocking"))?;
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)
                .map_err(failed("setting the terminal to raw mode"))?;
        }
        let relay =
            Self { master, before, reads_input: true, pending: Vec::new(), rests_until: None };
        relay.resize().map_err(failed("setting the terminal's size"))?;
        Ok(relay)
    }

    /// How long the terminal is still to be left alone.
    fn rest(&mut self) -> Option<Timespec> {
        let left = self.rests_until?.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.rests_until = None;
            return None;
        }
        Timespec::try_from(left).ok()
    }

    /// What the terminal is watched for, if it is.
    fn wanted(&self) -> Option<PollFlags> {
        let room = if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        self.rests_until.is_none().then_some(PollFlags::IN | room)
    }

    fn wants_input(&self) -> bool {
        self.reads_input && self.pending.is_empty()
    }

    /// Gives the process's terminal the size of this program's own.
    fn resize(&self) -> Result<(), Errno> {
        if self.before.is_none() {
            return Ok(());
        }
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin())?;
        rustix::termios::tcsetwinsize(&self.master, size)
    }

    /// Passes output and input on, as far as there is some and there is room for it.
    fn attend(&mut self) {
        if self.output() == Output::HungUp {
            self.rests_until = Some(Instant::now() + REST);
        }
        self.flush();
    }

    /// Passes some output on.
    fn output(&self) -> Output {
        let mut buffer = [0; 8192];
        match rustix::io::read(&self.master, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => Output::None,
            // EIO.
            Ok(0) | Err(_) => Output::HungUp,
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                // The process goes on when nobody reads what it says, as without a terminal.
                match write_all(rustix::stdio::stdout(), bytes) {
                    Ok(()) | Err(_) => Output::Passed,
                }
            }
        }
    }

    /// Takes some input in and passes it on.
    fn input(&mut self) {
        let mut buffer = [0; 8192];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) => {
                self.reads_input = false;
                // As if end of file was typed.
                self.pending.push(4);
            }
            Ok(length) => self.pending.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(_) => self.reads_input = false,
        }
        self.flush();
    }

    /// Passes on what is pending, as far as there is room for it.
    fn flush(&mut self) {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.master, &self.pending) {
                Ok(0) | Err(Errno::AGAIN) => return,
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::INTR) => {}
                // Nobody will read it.
                Err(_) => self.pending.clear(),
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let restored =
                rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
            // There is nobody to tell, and the terminal may be gone.
            match restored {
                Ok(()) | Err(_) => {}
            }
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
