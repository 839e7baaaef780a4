//! The standard streams of a container, joined to ours.
//!
//! ```text
//! stdin  ── thread, looks for the detach keys ──> socket, half-closed at the end
//! socket ── thread, takes the frames apart ─────> stdout, stderr
//! ```
//!
//! The threads block in reads and writes; so a slow reader of our output never holds up the
//! input, and the async side has only signals, sizes and the container's end to look at.

pub(crate) mod keys;
pub(crate) mod signals;

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::OwnedFd;

use ferry_api::stream::{Decoder, StreamKind};
use ferry_client::{BlockingStream, Hijacked};
use tokio::sync::oneshot;

use crate::terminal::Raw;
use keys::DetachKeys;

const BUFFER: usize = 64 * 1024;

/// Which streams are joined, and how.
#[derive(Debug, Clone)]
pub(crate) struct Wiring {
    pub stdin: bool,
    pub tty: bool,
    pub detach_keys: DetachKeys,
}

/// How the joining ended.
#[derive(Debug)]
pub(crate) enum End {
    /// All output has come.
    Output(io::Result<()>),
    /// The user typed the detach keys.
    Detached,
}

/// Streams being copied.
#[derive(Debug)]
pub(crate) struct Joined {
    output: oneshot::Receiver<io::Result<()>>,
    detached: oneshot::Receiver<()>,
    raw: Option<Raw>,
}

/// Joins the streams of a hijacked connection to ours, with the terminal in raw mode if the
/// container has one.
pub(crate) fn join(hijacked: Hijacked, wiring: Wiring) -> io::Result<Joined> {
    let BlockingStream { socket, already_read, .. } = hijacked.into_blocking()?;
    let raw = (wiring.stdin && wiring.tty).then(Raw::enter);
    let (output_sender, output) = oneshot::channel();
    let (detached_sender, detached) = oneshot::channel();
    let input_socket = socket.try_clone()?;
    if wiring.stdin {
        let keys = if wiring.tty { wiring.detach_keys } else { DetachKeys::none() };
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            // The end of our input is not the end of anything else: dropping the sender says so.
            if copy_input(input_socket, keys) {
                detached_sender.send(()).ok();
            }
        })?;
    }
    std::thread::Builder::new().name("output".into()).spawn(move || {
        output_sender.send(copy_output(socket, &already_read, wiring.tty)).ok();
    })?;
    Ok(Joined { output, detached, raw })
}

impl Joined {
    /// Waits for the end of the output or for the detach keys; puts the terminal back.
    pub(crate) async fn end(mut self) -> End {
        let end = tokio::select! {
            result = &mut self.output => {
                End::Output(result.unwrap_or_else(|_closed| Err(io::ErrorKind::BrokenPipe.into())))
            }
            Ok(()) = &mut self.detached => End::Detached,
        };
        drop(self.raw.take());
        end
    }
}

/// Copies our input until it ends; says whether the detach keys were typed.
fn copy_input(socket: OwnedFd, keys: DetachKeys) -> bool {
    let mut input = io::stdin().lock();
    let mut socket = File::from(socket);
    let mut watch = keys.watch();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_unreadable) => break,
        };
        let (bytes, is_detached) = watch.pass(&buffer[..length]);
        if socket.write_all(&bytes).is_err() {
            return is_detached;
        }
        if is_detached {
            return true;
        }
    }
    // The other side may be gone already.
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Write).ok();
    false
}

fn copy_output(socket: OwnedFd, already_read: &[u8], tty: bool) -> io::Result<()> {
    let mut socket = File::from(socket);
    let mut sorter = Sorter::new(!tty);
    sorter.take(already_read)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => sorter.take(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // An engine that closes hard has sent all it had.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Writes output where it belongs.
#[derive(Debug)]
pub(crate) struct Sorter {
    frames: Option<Decoder>,
    /// An error of the engine within the stream.
    complaint: Vec<u8>,
}

impl Sorter {
    /// Output with frames goes to both streams, without them all goes to standard output.
    pub(crate) fn new(has_frames: bool) -> Self {
        Self { frames: has_frames.then(Decoder::default), complaint: Vec::new() }
    }

    /// Writes what came.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(decoder) = &mut self.frames else { return write(io::stdout().lock(), bytes) };
        loop {
            match decoder.next(&mut bytes).map_err(|error| io::Error::other(error.to_string()))? {
                None => break,
                Some((StreamKind::Stdout | StreamKind::Stdin, piece)) => {
                    write(io::stdout().lock(), piece)?;
                }
                Some((StreamKind::Stderr, piece)) => write(io::stderr().lock(), piece)?,
                Some((StreamKind::SystemError, piece)) => self.complaint.extend_from_slice(piece),
            }
        }
        if !self.complaint.is_empty() && decoder.is_between_frames() {
            let text = String::from_utf8_lossy(&self.complaint);
            return Err(io::Error::other(format!("error from daemon in stream: {text}")));
        }
        Ok(())
    }
}

fn write(mut stream: impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}
