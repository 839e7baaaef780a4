//! The connection to the engine, and the place where a new engine finds us.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use ferry_supervisor::files;
use ferry_supervisor::protocol::{Event, ExecExit, Hello, MAX_MESSAGE, Message};
use ferry_sys::{SysError, fdpass};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::poll::{Poller, Readiness, Token};

/// How many messages wait for an engine that does not read; then it is given up, to connect again.
const MOST_QUEUED: usize = 4096;

/// How many ends of execs are kept for the next engine.
const MOST_ENDED: usize = 1024;

/// A message that was received.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// The connection to the engine.
#[derive(Debug, Default)]
pub(super) struct Link {
    socket: Option<OwnedFd>,
    queue: VecDeque<Vec<u8>>,
    listener: Option<(OwnedFd, PathBuf)>,
    /// Ends of execs that no engine has heard of.
    ended: Vec<ExecExit>,
}

impl Link {
    pub(super) fn new(socket: OwnedFd, poller: &mut Poller) -> Result<Self, Errno> {
        let mut link = Self::default();
        link.connect(socket, poller)?;
        Ok(link)
    }

    fn connect(&mut self, socket: OwnedFd, poller: &mut Poller) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        self.hang_up(poller);
        self.socket = Some(socket);
        self.register(poller)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Whether there are messages to be sent.
    pub(super) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Listens in a container's directory.
    pub(super) fn listen(&mut self, directory: &Path, poller: &mut Poller) -> Result<(), SysError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let at = |errno| SysError::at("open", directory, errno);
        let handle = rustix::fs::open(directory, flags, Mode::empty()).map_err(at)?;
        let path = directory.join(files::SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                return Err(SysError::at("unlink", &path, errno));
            }
            _ => {}
        }
        // The path may be longer than an address holds.
        let short = format!("/proc/self/fd/{}/{}", handle.as_raw_fd(), files::SOCKET);
        let listener = fdpass::listen(Path::new(&short), SocketFlags::NONBLOCK)?;
        poller
            .want(listener.as_fd(), Token::Listener, Some(Readiness::IN))
            .map_err(|errno| SysError::at("epoll_ctl", &path, errno))?;
        self.listener = Some((listener, path));
        Ok(())
    }

    /// Listens no more.
    pub(super) fn stop_listening(&mut self, poller: &mut Poller) {
        if let Some((listener, path)) = self.listener.take() {
            poller.close(listener);
            // The engine may have removed the directory.
            drop(std::fs::remove_file(path));
        }
    }

    /// Takes a new engine in place of the old one, which must be dead or wrong.
    pub(super) fn accept(&mut self, poller: &mut Poller) -> bool {
        let Some((listener, _)) = &self.listener else { return false };
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => self.connect(socket, poller).is_ok(),
            Err(_) => false,
        }
    }

    /// Says how things are; the first message on a connection.
    pub(super) fn hello(&mut self, mut hello: Hello, poller: &mut Poller) {
        if let Some(container) = &mut hello.container {
            container.ended_execs = std::mem::take(&mut self.ended);
        }
        self.say(&Message::Hello(hello), poller);
    }

    /// Tells what happened, or keeps it for the next engine.
    pub(super) fn tell(&mut self, event: Event, poller: &mut Poller) {
        if self.socket.is_some() {
            self.say(&Message::Event(event), poller);
        } else if let Event::ExecExited(exit) = event
            && self.ended.len() < MOST_ENDED
        {
            self.ended.push(exit);
        }
    }

    pub(super) fn say(&mut self, message: &Message, poller: &mut Poller) {
        if self.socket.is_none() {
            return;
        }
        self.queue.push_back(message.encode());
        self.flush(poller);
    }

    /// Sends as much as there is room for.
    pub(super) fn flush(&mut self, poller: &mut Poller) {
        while let (Some(socket), Some(message)) = (&self.socket, self.queue.front()) {
            match fdpass::send(socket, message, &[]) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(Errno::AGAIN) if self.queue.len() <= MOST_QUEUED => break,
                Err(_) => self.hang_up(poller),
            }
        }
        if self.register(poller).is_err() {
            self.hang_up(poller);
        }
    }

    fn register(&self, poller: &mut Poller) -> Result<(), Errno> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let writes = if self.queue.is_empty() { Readiness::empty() } else { Readiness::OUT };
        poller.want(socket.as_fd(), Token::Engine, Some(Readiness::IN | writes))
    }

    /// The next call; `None` when there is none now, or the engine has gone.
    pub(super) fn receive(&mut self, poller: &mut Poller) -> Option<Received> {
        let socket = self.socket.as_ref()?;
        let mut bytes = vec![0_u8; MAX_MESSAGE];
        match fdpass::receive(socket, &mut bytes) {
            Ok(Some(datagram)) if !datagram.truncated => {
                bytes.truncate(datagram.length);
                bytes.shrink_to_fit();
                Some(Received { bytes, descriptors: datagram.descriptors })
            }
            Err(Errno::AGAIN) => None,
            // What was cut off can not be answered, for its id may be missing.
            _ => {
                self.hang_up(poller);
                None
            }
        }
    }

    pub(super) fn hang_up(&mut self, poller: &mut Poller) {
        if let Some(socket) = self.socket.take() {
            poller.close(socket);
        }
        self.queue.clear();
    }
}
