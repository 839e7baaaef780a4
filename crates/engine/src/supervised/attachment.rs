//! A client who sees and feeds a container.

use std::os::fd::OwnedFd;

use ferry_supervisor::protocol::Framing;
use rustix::event::{PollFd, PollFlags, Timespec};

/// A client's connection.
#[derive(Debug)]
pub struct Attachment {
    /// Its socket, or one end of a pair.
    pub socket: OwnedFd,
    /// What was read from it already.
    pub already_read: Vec<u8>,
    /// What it sends goes to standard input.
    pub stdin: bool,
    /// It gets standard output.
    pub stdout: bool,
    /// It gets standard error.
    pub stderr: bool,
    /// How it gets them.
    pub framing: Framing,
    /// The bytes that detach it from a terminal; empty is none.
    pub detach_keys: Vec<u8>,
}

impl Attachment {
    /// Whether somebody is at the other end. One who only sends no more is; so is a client over the
    /// network who has vanished, until something is written to it.
    pub(crate) fn is_connected(&self) -> bool {
        let mut polled = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut polled, Some(&now)) {
            Ok(_) => {
                let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
                polled.iter().all(|one| !one.revents().intersects(gone))
            }
            // Nothing is known.
            Err(_) => true,
        }
    }
}
