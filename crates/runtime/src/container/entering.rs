//! A further process on its way into a container, for a maker that has other things to do meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ferry_sys::process::Child;
use rustix::io::Errno;
use rustix::process::Pid;

use super::{Running, ready_twice, unexpected_end};
use crate::channel::{Answer, Channel, Word};
use crate::error::RuntimeError;

/// A process that joins a container and sets itself up there.
///
/// Its descriptor is readable when [`advance`](Self::advance) has something to do. Dropping it lets the
/// process see that nobody waits for it, and end, if it still can.
#[derive(Debug)]
pub struct Entering {
    child: Child,
    channel: Channel,
    terminal: Option<OwnedFd>,
    /// It was told to execute its program.
    told: bool,
}

impl Entering {
    pub(super) fn new(child: Child, channel: Channel) -> Self {
        Self { child, channel, terminal: None, told: false }
    }

    /// Its id on the host.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.child.pid
    }

    /// A descriptor of the process, to send signals to.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// Takes what the process has said, and lets it go on. Whether it executes its program now, or has
    /// ended when it was about to, which only waiting for it tells.
    ///
    /// # Errors
    /// When it could not be set up. It may not have ended yet: the caller kills it and waits for it.
    pub fn advance(&mut self) -> Result<bool, RuntimeError> {
        loop {
            match self.channel.answer_now()? {
                None => return Ok(false),
                Some(Answer::Terminal(master)) => self.terminal = Some(master),
                Some(Answer::Ready) if self.told => return Err(ready_twice()),
                Some(Answer::Ready) => match self.channel.say(Word::Go) {
                    Ok(()) => self.told = true,
                    // A dead process can not be told; that it is dead is what matters.
                    Err(Errno::PIPE) => return Err(unexpected_end()),
                    Err(errno) => {
                        return Err(RuntimeError::failed("telling the init to go", errno));
                    }
                },
                Some(Answer::Failed(error)) => return Err(error),
                Some(Answer::Closed) if self.told => return Ok(true),
                Some(Answer::Closed) => return Err(unexpected_end()),
            }
        }
    }

    /// The process, when [`advance`](Self::advance) has said that it executes its program.
    #[must_use]
    pub fn into_running(self) -> Running {
        let Self { child: Child { pid, pidfd }, terminal, .. } = self;
        Running { pid, pidfd, terminal }
    }
}

impl AsFd for Entering {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
