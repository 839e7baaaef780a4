//! One client attached to a process's streams.

use std::io::IoSlice;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use ferry_supervisor::log::Stream;
use ferry_supervisor::protocol::{Attachment, Framing};
use rustix::io::Errno;

use super::detach::DetachFilter;

/// How much output waits for a client before the process has to wait too.
const MOST_QUEUED: usize = 1024 * 1024;

/// Beneath this much the process goes on.
const FEW_QUEUED: usize = 256 * 1024;

/// A client's connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    stdout: bool,
    stderr: bool,
    framing: Framing,
    queue: Vec<u8>,
    /// How much of the queue was sent.
    sent: usize,
    /// Bytes for standard input that did not fit yet.
    pub(super) pending: Vec<u8>,
    /// It may still send something for standard input.
    pub(super) sends: bool,
    /// There was no room in standard input.
    pub(super) waits_for_room: bool,
    /// It has closed its connection; what it sent before is still to be delivered.
    pub(super) gone: bool,
    /// It is to be closed when it has got all output.
    pub(super) closing: bool,
    pub(super) detach: DetachFilter,
    /// When it took something last.
    pub(super) progress: Instant,
    /// It was full and has not come far enough down since.
    full: bool,
}

/// A client that can not be reached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl Client {
    pub(super) fn new(
        socket: OwnedFd,
        early: Vec<u8>,
        attachment: Attachment,
        now: Instant,
    ) -> Result<Self, Errno> {
        let Attachment { stdin, stdout, stderr, framing, detach_keys, early: _ } = attachment;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket,
            stdout,
            stderr,
            framing,
            queue: Vec::new(),
            sent: 0,
            pending: if stdin { early } else { Vec::new() },
            sends: stdin,
            waits_for_room: false,
            gone: false,
            closing: false,
            detach: DetachFilter::new(detach_keys),
            progress: now,
            full: false,
        })
    }

    /// Whether it gets what a stream prints.
    pub(super) fn wants(&self, stream: Stream) -> bool {
        !self.closing
            && !self.gone
            && match stream {
                Stream::Stdout => self.stdout,
                Stream::Stderr => self.stderr,
            }
    }

    /// Whether output waits for it.
    pub(super) fn has_queue(&self) -> bool {
        self.sent < self.queue.len()
    }

    /// Whether it is so far behind that the process must wait.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Gives it output: at once as far as possible, the rest is queued.
    pub(super) fn give(&mut self, stream: Stream, bytes: &[u8], now: Instant) -> Result<(), Gone> {
        let header = self.header(stream, bytes.len());
        let header = header.as_slice();
        let mut done = 0;
        if !self.has_queue() {
            done = send(self.socket.as_fd(), &[IoSlice::new(header), IoSlice::new(bytes)])?;
            if done > 0 {
                self.progress = now;
            }
        }
        if done < header.len() + bytes.len() {
            let skip = done.saturating_sub(header.len());
            self.queue.extend_from_slice(header.get(done..).unwrap_or_default());
            self.queue.extend_from_slice(bytes.get(skip..).unwrap_or_default());
        }
        self.full = self.full || self.queue.len() - self.sent >= MOST_QUEUED;
        Ok(())
    }

    /// Sends on what was queued.
    pub(super) fn flush(&mut self, now: Instant) -> Result<(), Gone> {
        while self.has_queue() {
            let rest = self.queue.get(self.sent..).unwrap_or_default();
            let count = send(self.socket.as_fd(), &[IoSlice::new(rest)])?;
            if count == 0 {
                break;
            }
            self.sent += count;
            self.progress = now;
        }
        if self.has_queue() {
            // Moving is only worth its while now and then.
            if self.sent > MOST_QUEUED / 2 {
                drop(self.queue.drain(..self.sent));
                self.sent = 0;
            }
        } else {
            self.queue = Vec::new();
            self.sent = 0;
        }
        self.full = self.full && self.queue.len() - self.sent > FEW_QUEUED;
        Ok(())
    }

    fn header(&self, stream: Stream, length: usize) -> Header {
        match self.framing {
            Framing::Raw => Header { bytes: [0; 8], length: 0 },
            Framing::Multiplexed => {
                let number = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                // Pieces are as long as the buffer they were read into.
                let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
                Header { bytes: [number, 0, 0, 0, a, b, c, d], length: 8 }
            }
        }
    }
}

/// The eight bytes before a piece of output, or none.
struct Header {
    bytes: [u8; 8],
    length: usize,
}

impl Header {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Sends as much as there is room for.
fn send(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> Result<usize, Gone> {
    // SIGPIPE is blocked for the whole program.
    match rustix::io::retry_on_intr(|| rustix::io::writev(socket, parts)) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN) => Ok(0),
        Err(_) => Err(Gone),
    }
}
