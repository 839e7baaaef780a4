//! The streams of one process: from its clients to it, from it to its clients and the log.
//!
//! ```text
//! client ──splice──> standard input
//! standard output, error ──> log, and every client that wants it
//! ```
//!
//! A client that does not take its output holds up the process when a mebibyte waits for it, as with
//! Docker: nothing is lost, neither for the others nor for the log. If there are others it is given
//! up after [`STALL`], so that they do not wait for ever.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ferry_supervisor::log::{LogWriter, Stream};
use ferry_supervisor::protocol::Attachment;
use rustix::io::Errno;
use rustix::net::Shutdown;

use super::client::Client;
use super::poll::{End, NUMBER_MASK, Poller, Readiness, Token};

mod input;

/// How long a client may hold up others.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// How long a client may take to fetch the rest when the process has ended.
pub(super) const LINGER: Duration = Duration::from_secs(600);

/// How many reads in a row one stream gets before the others have their turn.
const TURNS: usize = 8;

/// The streams of one process.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Streams {
    job: u32,
    tty: bool,
    /// Standard input ends with the first client that ends its own.
    stdin_once: bool,
    /// The end of a pipe; a terminal's is `stdout`.
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    clients: BTreeMap<u32, Client>,
    last_client: u32,
    log: Option<LogWriter>,
    /// Nobody has the terminal open now. Anybody in the container may open it again while the process
    /// lives, so its master is kept, and watched for changes alone: it would be ready all the time.
    hung_up: bool,
    /// The process has ended.
    ended: bool,
    /// The process has ended: a stream that is empty has ended too, whoever still holds it open.
    final_drain: bool,
}

/// What is to be told about streams.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// A client has detached itself.
    pub(super) detached: bool,
    /// The log could not be written.
    pub(super) log_error: Option<std::io::Error>,
}

/// The ends of a process's streams that stay here.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

impl Streams {
    pub(super) fn new(
        job: u32,
        tty: bool,
        stdin_once: bool,
        ends: Ends,
        log: Option<LogWriter>,
    ) -> Result<Self, Errno> {
        let Ends { stdin, stdout, stderr } = ends;
        for end in [&stdin, &stdout, &stderr].into_iter().flatten() {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        Ok(Self {
            job,
            tty,
            stdin_once,
            stdin,
            stdout,
            stderr,
            clients: BTreeMap::new(),
            last_client: 0,
            log,
            hung_up: false,
            ended: false,
            final_drain: false,
        })
    }

    /// Adds a client.
    pub(super) fn attach(
        &mut self,
        socket: OwnedFd,
        early: Vec<u8>,
        mut attachment: Attachment,
        now: Instant,
    ) -> Result<(), Errno> {
        // Without a standard input there is nowhere to send to.
        attachment.stdin &= self.tty || self.stdin.is_some();
        let client = Client::new(socket, early, attachment, now)?;
        self.last_client = (self.last_client + 1) & NUMBER_MASK;
        self.clients.insert(self.last_client, client);
        Ok(())
    }

    /// The terminal.
    pub(super) fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.stdout.as_ref().filter(|_| self.tty).map(OwnedFd::as_fd)
    }

    /// Whether all output has come to its end.
    pub(super) fn is_drained(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// Whether there are clients.
    pub(super) fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether the process waits for a client to take its output.
    pub(super) fn is_blocked(&self) -> bool {
        self.clients.values().any(Client::is_full)
    }

    /// Something is ready at an end.
    pub(super) fn end_ready(
        &mut self,
        end: End,
        ready: Readiness,
        scratch: &mut [u8],
        poller: &mut Poller,
        notices: &mut Notices,
    ) {
        let now = Instant::now();
        match end {
            End::Stdin => self.room_for_input(poller, notices),
            End::Stdout | End::Stderr => {
                if self.tty && ready.contains(Readiness::OUT) {
                    self.room_for_input(poller, notices);
                }
                if ready.intersects(Readiness::IN | Readiness::HUP | Readiness::ERR) {
                    let stream = if end == End::Stdout { Stream::Stdout } else { Stream::Stderr };
                    self.pump(stream, scratch, poller, notices, now);
                }
            }
        }
    }

    /// Something is ready at a client.
    pub(super) fn client_ready(
        &mut self,
        key: u32,
        ready: Readiness,
        poller: &mut Poller,
        notices: &mut Notices,
    ) {
        let now = Instant::now();
        let Some(client) = self.clients.get_mut(&key) else { return };
        let ended = ready.intersects(Readiness::HUP | Readiness::ERR);
        if ready.contains(Readiness::OUT) && client.flush(now).is_err() {
            client.gone = true;
        }
        client.gone |= ended;
        if ready.contains(Readiness::IN) || ended {
            self.input(key, poller, notices);
        }
        self.sweep(poller, now);
    }

    /// Reads what was printed and hands it on.
    fn pump(
        &mut self,
        stream: Stream,
        scratch: &mut [u8],
        poller: &mut Poller,
        notices: &mut Notices,
        now: Instant,
    ) {
        for _ in 0..TURNS {
            if self.is_blocked() {
                return;
            }
            let end = match stream {
                Stream::Stdout => &self.stdout,
                Stream::Stderr => &self.stderr,
            };
            let Some(end) = end else { return };
            match rustix::io::read(end, &mut *scratch) {
                Ok(count) if count > 0 => {
                    self.hung_up = false;
                    let bytes = scratch.get(..count).unwrap_or_default();
                    self.hand_on(stream, bytes, poller, notices, now);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !self.final_drain => {
                    self.hung_up = false;
                    return;
                }
                Err(Errno::IO) if self.tty && !self.ended => {
                    self.hung_up = true;
                    return;
                }
                // The end of a pipe, or of a terminal (`EIO`); after the process's end also what is
                // held open by somebody else.
                Ok(_) | Err(_) => {
                    self.close_output(stream, poller, notices);
                    return;
                }
            }
        }
    }

    fn hand_on(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        poller: &mut Poller,
        notices: &mut Notices,
        now: Instant,
    ) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.append(stream, bytes)
        {
            notices.log_error = Some(error);
        }
        let mut lost = false;
        for client in self.clients.values_mut().filter(|client| client.wants(stream)) {
            if client.give(stream, bytes, now).is_err() {
                client.gone = true;
                lost = true;
            }
        }
        if lost {
            self.sweep(poller, now);
        }
    }

    fn close_output(&mut self, stream: Stream, poller: &mut Poller, notices: &mut Notices) {
        let end = match stream {
            Stream::Stdout => self.stdout.take(),
            Stream::Stderr => self.stderr.take(),
        };
        if let Some(end) = end {
            poller.close(end);
        }
        if let Some(log) = &mut self.log
            && let Err(error) = log.end(stream)
        {
            notices.log_error = Some(error);
        }
    }

    /// The process has ended and has had its time: what it has printed is read, and then its streams
    /// are closed, even if another process holds them open.
    pub(super) fn drain(&mut self, scratch: &mut [u8], poller: &mut Poller, notices: &mut Notices) {
        self.final_drain = true;
        let now = Instant::now();
        self.pump(Stream::Stdout, scratch, poller, notices, now);
        self.pump(Stream::Stderr, scratch, poller, notices, now);
    }

    /// The process has ended: nothing can be sent to it any more, and a terminal that nobody has open
    /// has come to its end.
    pub(super) fn process_has_ended(&mut self, poller: &mut Poller) {
        self.ended = true;
        // It is to be heard of again.
        self.hung_up = false;
        self.close_input(poller);
    }

    /// Nothing can be sent to the process any more.
    fn close_input(&mut self, poller: &mut Poller) {
        if let Some(stdin) = self.stdin.take() {
            poller.close(stdin);
        }
        for client in self.clients.values_mut() {
            client.sends = false;
            client.waits_for_room = false;
            client.pending = Vec::new();
        }
    }

    /// All clients are to see the end when they have got everything.
    pub(super) fn close_clients(&mut self, poller: &mut Poller) {
        for client in self.clients.values_mut() {
            client.closing = true;
        }
        self.sweep(poller, Instant::now());
    }

    /// Removes clients that have gone, have got all, or hold up others for too long.
    pub(super) fn sweep(&mut self, poller: &mut Poller, now: Instant) {
        let others = self.clients.len() > 1;
        let remove: Vec<u32> = self
            .clients
            .iter()
            .filter(|(_, client)| {
                let delivered = !client.has_queue() && client.pending.is_empty();
                let patience = if client.closing { LINGER } else { STALL };
                let stalled = client.has_queue()
                    && (client.closing || client.is_full() && others)
                    && now >= client.progress + patience;
                stalled || client.gone && !client.sends || client.closing && delivered
            })
            .map(|(key, _)| *key)
            .collect();
        for key in remove {
            if let Some(client) = self.clients.remove(&key) {
                close(client, poller);
            }
        }
    }

    /// When [`Self::sweep`] may find a client that holds up others.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let others = self.clients.len() > 1;
        self.clients
            .values()
            .filter(|client| client.has_queue())
            .filter(|client| client.closing || client.is_full() && others)
            .map(|client| client.progress + if client.closing { LINGER } else { STALL })
            .min()
    }

    /// Writes the log.
    pub(super) fn flush_log(&mut self, notices: &mut Notices) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.flush()
        {
            notices.log_error = Some(error);
        }
    }

    /// Closes everything.
    pub(super) fn close(mut self, poller: &mut Poller) {
        self.close_input(poller);
        for end in [self.stdout.take(), self.stderr.take()].into_iter().flatten() {
            poller.close(end);
        }
        for (_, client) in std::mem::take(&mut self.clients) {
            close(client, poller);
        }
    }

    /// Says what to wait for, of everything here.
    pub(super) fn register(&self, poller: &mut Poller) -> Result<(), Errno> {
        let job = self.job;
        let blocked = self.is_blocked();
        let wants_room = self.clients.values().any(|client| client.waits_for_room);
        let reads = if blocked { Readiness::empty() } else { Readiness::IN };
        let writes = if wants_room { Readiness::OUT } else { Readiness::empty() };
        if let Some(stdin) = &self.stdin {
            let token = Token::Stream { job, end: End::Stdin };
            poller.want(stdin.as_fd(), token, wants_room.then_some(Readiness::OUT))?;
        }
        if let Some(stdout) = &self.stdout {
            let mut flags = if self.tty { reads | writes } else { reads };
            flags.set(Readiness::ET, self.hung_up);
            let token = Token::Stream { job, end: End::Stdout };
            poller.want(stdout.as_fd(), token, (!blocked).then_some(flags))?;
        }
        if let Some(stderr) = &self.stderr {
            let token = Token::Stream { job, end: End::Stderr };
            poller.want(stderr.as_fd(), token, (!blocked).then_some(reads))?;
        }
        for (key, client) in &self.clients {
            let mut flags = Readiness::empty();
            flags.set(Readiness::IN, client.sends && !client.waits_for_room && !client.gone);
            flags.set(Readiness::OUT, client.has_queue() && !client.gone);
            let token = Token::Client { job, client: *key };
            // One that has gone would tell so again and again.
            poller.want(client.socket.as_fd(), token, (!client.gone).then_some(flags))?;
        }
        Ok(())
    }
}

/// Closes a client's connection so that it sees an end, even if another process has it open too.
fn close(client: Client, poller: &mut Poller) {
    // What it sent and nobody took would make the end look like a broken connection.
    let mut rest = [0_u8; 4096];
    for _ in 0..64 {
        match rustix::io::read(&client.socket, &mut rest) {
            Ok(count) if count > 0 => {}
            _ => break,
        }
    }
    // It may have gone before.
    let _may_fail = rustix::net::shutdown(&client.socket, Shutdown::Both);
    poller.close(client.socket);
}
