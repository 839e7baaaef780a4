//! Waiting for many descriptors at once.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::io::Errno;

pub(super) use rustix::event::epoll::EventFlags as Readiness;

/// What a descriptor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Signals,
    Engine,
    Listener,
    OutOfMemory,
    /// An end of a process's streams.
    Stream {
        job: u32,
        end: End,
    },
    /// An exec whose process does not execute its program yet.
    Entering {
        job: u32,
    },
    /// A client of a process.
    Client {
        job: u32,
        client: u32,
    },
}

/// The ends of a process's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Stdin,
    Stdout,
    Stderr,
}

/// Jobs and clients are numbered with this many bits in a token.
pub(super) const NUMBER_MASK: u32 = (1 << 30) - 1;

impl Token {
    fn encode(self) -> u64 {
        let (kind, job, client) = match self {
            Self::Signals => (0, 0, 0),
            Self::Engine => (0, 0, 1),
            Self::Listener => (0, 0, 2),
            Self::OutOfMemory => (0, 0, 3),
            Self::Stream { job, end: End::Stdin } => (1, job, 0),
            Self::Stream { job, end: End::Stdout } => (1, job, 1),
            Self::Stream { job, end: End::Stderr } => (1, job, 2),
            Self::Client { job, client } => (2, job, client),
            Self::Entering { job } => (3, job, 0),
        };
        (kind << 60) | (u64::from(job) << 30) | u64::from(client)
    }

    fn decode(value: u64) -> Option<Self> {
        let number = |value: u64| u32::try_from(value & u64::from(NUMBER_MASK)).unwrap_or(0);
        let (job, client) = (number(value >> 30), number(value));
        Some(match (value >> 60, client) {
            (0, 0) => Self::Signals,
            (0, 1) => Self::Engine,
            (0, 2) => Self::Listener,
            (0, 3) => Self::OutOfMemory,
            (1, 0) => Self::Stream { job, end: End::Stdin },
            (1, 1) => Self::Stream { job, end: End::Stdout },
            (1, 2) => Self::Stream { job, end: End::Stderr },
            (2, _) => Self::Client { job, client },
            (3, _) => Self::Entering { job },
            _ => return None,
        })
    }
}

/// An epoll instance that knows what it was told.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    registered: BTreeMap<RawFd, (u64, Readiness)>,
}

impl Poller {
    pub(super) fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, registered: BTreeMap::new() })
    }

    /// Says what to wait for; empty flags still tell of the end, `None` tells of nothing.
    pub(super) fn want(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        flags: Option<Readiness>,
    ) -> Result<(), Errno> {
        let Some(flags) = flags else {
            self.forget(fd);
            return Ok(());
        };
        let value = token.encode();
        let data = EventData::new_u64(value);
        match self.registered.get(&fd.as_raw_fd()) {
            Some(known) if *known == (value, flags) => return Ok(()),
            Some(_) => epoll::modify(&self.epoll, fd, data, flags)?,
            None => epoll::add(&self.epoll, fd, data, flags)?,
        }
        self.registered.insert(fd.as_raw_fd(), (value, flags));
        Ok(())
    }

    /// To be called before a descriptor is closed: another process may have the same file open, and
    /// closing ours alone would leave it registered.
    pub(super) fn forget(&mut self, fd: BorrowedFd<'_>) {
        if self.registered.remove(&fd.as_raw_fd()).is_some() {
            // It was added by us and is still open, so this can not fail.
            let _done = epoll::delete(&self.epoll, fd);
        }
    }

    /// Forgets and closes.
    pub(super) fn close(&mut self, fd: OwnedFd) {
        self.forget(std::os::fd::AsFd::as_fd(&fd));
        drop(fd);
    }

    /// Waits; the events are for now, later ones may make earlier ones stale.
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Vec<(Token, Readiness)>, Errno> {
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).unwrap_or_default());
        let mut events: Vec<Event> = Vec::with_capacity(32);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(events
            .iter()
            .filter_map(|event| {
                // The structure is packed, so its fields are copied out first.
                let (data, flags) = (event.data, event.flags);
                Token::decode(data.u64()).map(|token| (token, flags))
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        let last = NUMBER_MASK;
        for token in [
            Token::Signals,
            Token::Engine,
            Token::Listener,
            Token::OutOfMemory,
            Token::Stream { job: 0, end: End::Stdin },
            Token::Stream { job: 7, end: End::Stdout },
            Token::Stream { job: last, end: End::Stderr },
            Token::Client { job: 0, client: 0 },
            Token::Client { job: last, client: last },
            Token::Entering { job: last },
        ] {
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
    }
}
