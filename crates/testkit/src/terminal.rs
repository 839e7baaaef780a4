//! A program on a terminal of its own: what `docker run -it` sees when a person types.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::command::{Capture, DEADLINE, contains, wait_child};
use crate::{Invocation, Output};

/// A running program whose three standard streams are a terminal.
#[derive(Debug)]
pub struct Terminal {
    line: String,
    master: File,
    screen: Capture,
    child: Child,
}

impl Terminal {
    /// Starts `invocation` on a new terminal of `rows` and `columns`, as leader of a new session.
    ///
    /// The program is executed through `setsid --ctty` of util-linux, so that the terminal is its
    /// controlling one and signals from keys and resizes reach it.
    #[track_caller]
    pub fn start(invocation: &Invocation, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("opening a terminal");
        grantpt(&master).expect("granting the terminal");
        unlockpt(&master).expect("unlocking the terminal");
        let name = ptsname(&master, Vec::new()).expect("naming the terminal");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty()).expect("opening its other end");
        resize(&master, rows, columns);
        let inner = invocation.to_command();
        let mut command = crate::command::command("setsid");
        command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().env("TERM", "xterm");
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let end = || Stdio::from(slave.try_clone().expect("duplicating a descriptor"));
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("starting setsid of util-linux");
        drop(command);
        drop(slave);
        let screen = Capture::of(File::from(master.try_clone().expect("duplicating a descriptor")));
        Self { line: invocation.line(), master: File::from(master), screen, child }
    }

    /// Types `keys`.
    #[track_caller]
    pub fn type_keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("typing");
    }

    /// Changes the size, as a window manager would; the program gets SIGWINCH.
    #[track_caller]
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.master, rows, columns);
    }

    /// All that was shown so far.
    #[must_use]
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.bytes()).into_owned()
    }

    /// Waits until `text` was shown.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.wait_for_count(text, 1);
    }

    /// Waits until `text` was shown `count` times; the echo of what was typed counts too.
    #[track_caller]
    pub fn wait_for_count(&self, text: &str, count: usize) {
        let seen = self.screen.wait_for(DEADLINE, |bytes| {
            let many = String::from_utf8_lossy(bytes).matches(text).count() >= count;
            (contains(bytes, text) && many).then_some(())
        });
        if seen.is_none() {
            panic!("`{}` did not show {text:?} {count} times, but:\n{}", self.line, self.shown());
        }
    }

    /// Waits for the program's end.
    #[must_use = "a program's result is to be looked at"]
    #[track_caller]
    pub fn finish(mut self) -> Output {
        let began = std::time::Instant::now();
        let status = wait_child(&mut self.child, DEADLINE);
        let timed_out = status.is_none();
        let status = status.unwrap_or_else(|| {
            self.child.kill().expect("killing a child of ours");
            self.child.wait().expect("waiting for a child of ours")
        });
        // The rest of the screen arrives before the end of the file.
        let rest: Option<()> = self.screen.wait_for(Duration::from_millis(300), |_| None);
        debug_assert!(rest.is_none(), "the search never finds anything");
        Output {
            line: self.line.clone(),
            code: status.code().unwrap_or(128),
            timed_out,
            stdout: self.screen.bytes(),
            stderr: Vec::new(),
            elapsed: began.elapsed(),
        }
    }
}

#[track_caller]
fn resize(master: &impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).expect("setting the terminal's size");
}
