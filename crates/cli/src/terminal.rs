//! The user's terminal: whether there is one, its size, raw mode.

use std::io::{stdin, stdout};
use std::os::fd::AsFd;

use rustix::termios::{
    LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};

use crate::report::Failure;

/// Whether standard input is a terminal.
pub(crate) fn is_input() -> bool {
    isatty(stdin())
}

/// Whether standard output is a terminal.
pub(crate) fn is_output() -> bool {
    isatty(stdout())
}

/// Rows and columns of the terminal at standard output.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_row > 0 || size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The columns of the terminal that a stream goes to, if it goes to one.
pub(crate) fn columns(stream: impl AsFd) -> Option<u16> {
    isatty(&stream).then(|| tcgetwinsize(&stream).map_or(80, |size| size.ws_col))
}

/// Refuses a terminal for the container when the user has none.
pub(crate) fn check(attach_stdin: bool, tty: bool) -> Result<(), Failure> {
    if attach_stdin && tty && !is_input() {
        return Err(Failure::plain("the input device is not a TTY"));
    }
    Ok(())
}

/// Raw mode of the terminal; dropping it puts the terminal back as it was.
#[derive(Debug)]
pub(crate) struct Raw(Option<Termios>);

impl Raw {
    /// Makes the terminal raw: every key goes to the container as it is.
    pub(crate) fn enter() -> Self {
        let Ok(before) = tcgetattr(stdin()) else { return Self(None) };
        let mut modes = before.clone();
        modes.make_raw();
        let changed = tcsetattr(stdin(), OptionalActions::Now, &modes).is_ok();
        Self(changed.then_some(before))
    }
}

/// The terminal does not show what is typed; dropping it makes it do so again.
#[derive(Debug)]
pub(crate) struct Silent(Option<Termios>);

impl Silent {
    /// From now on what is typed is not shown, but for the ends of lines.
    pub(crate) fn enter() -> Self {
        let Ok(before) = tcgetattr(stdin()) else { return Self(None) };
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        let changed = tcsetattr(stdin(), OptionalActions::Now, &modes).is_ok();
        Self(changed.then_some(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            tcsetattr(stdin(), OptionalActions::Now, modes).ok();
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            tcsetattr(stdin(), OptionalActions::Now, modes).ok();
        }
    }
}
