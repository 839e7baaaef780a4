//! One connection to a supervisor: messages out, replies and events in.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferry_supervisor::files;
use ferry_supervisor::protocol::{self, Call, Hello, MAX_MESSAGE, Message, Outcome, Request};
use ferry_sys::{SysError, fdpass};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use super::SupervisorError;

/// How long a call may take: a start waits for file systems of others.
pub(super) fn patience_for(call: &Call) -> Duration {
    Duration::from_secs(match call {
        Call::Start(_) => 180,
        Call::Exec(_) => 60,
        _ => 15,
    })
}

/// How many events wait for the container's driver before the connection is given up.
const MOST_EVENTS: usize = 16 * 1024;

/// The socket's path may be longer than an address holds; that of its directory's descriptor is short.
pub(super) fn connect(directory: &Path) -> Result<OwnedFd, SupervisorError> {
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let absent = |errno: Errno, op: &'static str| match errno {
        Errno::NOENT | Errno::CONNREFUSED => SupervisorError::Absent(directory.to_owned()),
        errno => SupervisorError::Kernel(SysError::at(op, directory, errno)),
    };
    let handle = rustix::fs::open(directory, flags, rustix::fs::Mode::empty())
        .map_err(|errno| absent(errno, "open"))?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&handle);
    let path = PathBuf::from(format!("/proc/self/fd/{number}/{}", files::SOCKET));
    fdpass::connect(&path, SocketFlags::empty()).map_err(|error| absent(error.errno, "connect"))
}

/// Lets tokio say when a descriptor is ready.
#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types whose descriptor changes; an OwnedFd's does not"
)]
pub(crate) fn watch(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, SysError> {
    AsyncFd::new(fd).map_err(|error| {
        SysError::new("epoll_ctl", "watch", Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })
}

/// What handles and the connection's task share.
#[derive(Debug)]
pub(super) struct Shared {
    socket: AsyncFd<OwnedFd>,
    /// Who waits for which reply; `None` when there will be none any more.
    waiting: Mutex<Option<Waiting>>,
    last_id: AtomicU64,
}

type Waiting = HashMap<u64, oneshot::Sender<Outcome>>;

impl Shared {
    pub(super) fn new(socket: AsyncFd<OwnedFd>) -> Self {
        Self { socket, waiting: Mutex::new(Some(Waiting::new())), last_id: AtomicU64::new(0) }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id for a call and where its reply will come; `None` when the supervisor has gone.
    pub(super) fn expect_reply(&self) -> Option<(u64, oneshot::Receiver<Outcome>)> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        drop(self.waiting().as_mut()?.insert(id, sender));
        Some((id, receiver))
    }

    /// Waits no more for a reply.
    pub(super) fn forget(&self, id: u64) {
        if let Some(waiting) = self.waiting().as_mut() {
            drop(waiting.remove(&id));
        }
    }

    /// Sends a message, waiting for room.
    pub(super) async fn send(
        &self,
        bytes: &[u8],
        descriptors: &[OwnedFd],
    ) -> Result<(), SupervisorError> {
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(|fd| fd.as_fd()).collect();
        let sent = self
            .socket
            .async_io(Interest::WRITABLE, |socket| {
                fdpass::send(socket, bytes, &descriptors).map_err(std::io::Error::from)
            })
            .await;
        sent.map_err(|error| match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => SupervisorError::Lost,
            errno => SupervisorError::Kernel(SysError::new("sendmsg", "supervisor", errno)),
        })
    }

    /// Sends without waiting for room or for a reply.
    pub(super) fn try_tell(&self, call: Call) -> Result<(), Errno> {
        fdpass::send(self.socket.get_ref(), &Request { id: 0, call }.encode(), &[])
    }
}

/// The task that listens.
pub(super) struct Connection {
    shared: Arc<Shared>,
    events: mpsc::Sender<protocol::Event>,
    hello: Option<oneshot::Sender<Hello>>,
    /// Events for which the driver has no room: replies behind them must not wait for it.
    backlog: VecDeque<protocol::Event>,
}

impl Connection {
    pub(super) fn new(
        shared: Arc<Shared>,
        events: mpsc::Sender<protocol::Event>,
        hello: oneshot::Sender<Hello>,
    ) -> Self {
        Self { shared, events, hello: Some(hello), backlog: VecDeque::new() }
    }

    /// Runs until the supervisor closes the connection.
    pub(super) async fn run(mut self) {
        let mut buffer = vec![0_u8; MAX_MESSAGE];
        loop {
            let received = tokio::select! {
                biased;
                room = self.events.reserve(), if !self.backlog.is_empty() => {
                    match (room, self.backlog.pop_front()) {
                        (Ok(room), Some(event)) => room.send(event),
                        // Nobody listens any more.
                        _ => self.backlog.clear(),
                    }
                    continue;
                }
                received = self.shared.socket.async_io(Interest::READABLE, |socket| {
                    fdpass::receive(socket, &mut buffer).map_err(std::io::Error::from)
                }) => received,
            };
            match received {
                Ok(Some(datagram)) => {
                    let message = buffer.get(..datagram.length).and_then(Message::decode);
                    self.take(message);
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "supervisor's connection");
                    break;
                }
            }
            if self.backlog.len() > MOST_EVENTS {
                tracing::error!("a container's events are not taken; its connection is given up");
                break;
            }
        }
        // Dropping the senders tells everyone who waits.
        drop(self.shared.waiting().take());
        for event in std::mem::take(&mut self.backlog) {
            if self.events.send(event).await.is_err() {
                break;
            }
        }
    }

    fn take(&mut self, message: Option<Message>) {
        match message {
            Some(Message::Hello(hello)) => {
                if let Some(sender) = self.hello.take() {
                    // Whoever launched it may not wait for it.
                    drop(sender.send(hello));
                }
            }
            Some(Message::Reply { id, outcome }) => {
                let sender = self.shared.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
                if let Some(sender) = sender {
                    // Whoever asked may have gone.
                    drop(sender.send(outcome));
                }
            }
            Some(Message::Event(event)) => self.backlog.push_back(event),
            None => tracing::debug!("a message of the supervisor that is not known here"),
        }
    }
}
