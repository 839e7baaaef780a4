//! Staying with a process until it ends: passing signals on, and a terminal's bytes to and fro.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use ferry_sys::process;
use ferry_sys::signal::{SignalFd, send};
use rustix::event::{PollFd, PollFlags, poll};
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
        relay.drain();
    }
    drop(terminal);
    process::wait(pidfd).map_err(|error| error.to_string())
}

/// Waits for something to happen and does what is to be done; true when the process has ended.
fn turn(
    pidfd: BorrowedFd<'_>,
    signals: &SignalFd,
    terminal: Option<&mut Relay>,
) -> Result<bool, Errno> {
    let stdin = rustix::stdio::stdin();
    let mut watched =
        vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
    if let Some(relay) = terminal.as_deref() {
        watched.push(PollFd::new(&relay.master, PollFlags::IN));
        if relay.reads_input {
            watched.push(PollFd::new(&stdin, PollFlags::IN));
        }
    }
    match poll(&mut watched, None) {
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
            relay.output();
        }
        if ready(3) {
            relay.input()?;
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

/// The master of the process's terminal, and this program's own terminal in raw mode.
struct Relay {
    master: OwnedFd,
    before: Option<Termios>,
    reads_input: bool,
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Self, String> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)
                .map_err(|errno| format!("setting the terminal to raw mode: {errno}"))?;
        }
        let relay = Self { master, before, reads_input: true };
        relay.resize().map_err(|errno| format!("setting the terminal's size: {errno}"))?;
        Ok(relay)
    }

    /// Gives the process's terminal the size of this program's own.
    fn resize(&self) -> Result<(), Errno> {
        if self.before.is_none() {
            return Ok(());
        }
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin())?;
        rustix::termios::tcsetwinsize(&self.master, size)
    }

    /// Passes some output on; false when there is none left.
    fn output(&self) -> bool {
        let mut buffer = [0; 8192];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                write_all(rustix::stdio::stdout(), bytes).is_ok()
            }
        }
    }

    fn input(&mut self) -> Result<(), Errno> {
        let mut buffer = [0; 8192];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) => {
                self.reads_input = false;
                // As if end of file was typed.
                write_all(self.master.as_fd(), &[4])
            }
            Ok(length) => write_all(self.master.as_fd(), buffer.get(..length).unwrap_or_default()),
            Err(Errno::INTR) => Ok(()),
            Err(_) => {
                self.reads_input = false;
                Ok(())
            }
        }
    }

    /// Passes on what the process said at last.
    fn drain(&mut self) {
        let flags = rustix::fs::fcntl_getfl(&self.master).unwrap_or(rustix::fs::OFlags::empty());
        let nonblocking = flags | rustix::fs::OFlags::NONBLOCK;
        if rustix::fs::fcntl_setfl(&self.master, nonblocking).is_ok() {
            while self.output() {}
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
