//! What is sent: whole, or read on a thread of its own while the network takes it.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Request, RequestBody};
use crate::limits;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Pieces that are read ahead of the network.
const AHEAD: usize = 4;

/// What a body tells while it is sent.
#[derive(Debug)]
pub(super) struct Watch {
    last: Mutex<Instant>,
    /// Whether the network would take more than our own source has given.
    is_starved: AtomicBool,
    /// Bytes that were given to the network.
    sent: AtomicU64,
    failure: Mutex<Option<io::Error>>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let last = Mutex::new(Instant::now());
        let (is_starved, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { last, is_starved, sent, failure: Mutex::new(None) }
    }

    /// How long nothing may happen: what the network has taken may stand in its buffers still.
    pub(super) fn allows(&self, request: &Request) -> Duration {
        let buffered = self.sent.load(Ordering::Relaxed).min(limits::SEND_BUFFER);
        request.deadline + Duration::from_secs(buffered / request.least_uplink.max(1))
    }

    /// When the network last took something; at first, when the request began. It is not to blame
    /// for the time in which our own source is waited for.
    pub(super) fn last(&self) -> Instant {
        if self.is_starved.load(Ordering::Relaxed) {
            return Instant::now();
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why what is to be sent could not be read, once.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn took(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.moved();
    }

    /// The network goes on, if only with the end.
    fn moved(&self) {
        self.is_starved.store(false, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn fail(&self, error: io::Error) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// Ends a request whose body cannot be read; the reason is in its [`Watch`].
#[derive(Debug, thiserror::Error)]
#[error("what is to be sent cannot be read")]
pub(super) struct SourceFailed;

/// A body on its way out.
#[derive(Debug)]
pub(super) enum Outgoing {
    Whole(Option<Bytes>),
    Stream {
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        /// Bytes that are still to come, when that is known.
        left: Option<u64>,
        watch: Arc<Watch>,
    },
}

impl Outgoing {
    /// Begins to read.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn new(body: &RequestBody, watch: &Arc<Watch>) -> io::Result<Self> {
        match body {
            RequestBody::Empty => Ok(Self::Whole(None)),
            RequestBody::Bytes(bytes) => {
                Ok(Self::Whole(Some(bytes.clone()).filter(|bytes| !bytes.is_empty())))
            }
            RequestBody::Stream { open, length } => {
                let source = open()?;
                let (to, pieces) = mpsc::channel(AHEAD);
                // Ends by itself when nobody takes its pieces any longer.
                drop(tokio::task::spawn_blocking(move || read_all(source, &to)));
                Ok(Self::Stream { pieces, left: *length, watch: watch.clone() })
            }
        }
    }
}

fn read_all(mut source: Box<dyn Read + Send>, to: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = source.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let is_end = read.is_err() || piece.is_empty();
        let piece = read.map(|_| Bytes::from(piece));
        let is_empty = piece.as_ref().is_ok_and(Bytes::is_empty);
        if (!is_empty && to.blocking_send(piece).is_err()) || is_end {
            return;
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = SourceFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SourceFailed>>> {
        let (pieces, left, watch) = match self.get_mut() {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Stream { pieces, left, watch } => (pieces, left, watch),
        };
        let Poll::Ready(piece) = pieces.poll_recv(context) else {
            watch.is_starved.store(true, Ordering::Relaxed);
            return Poll::Pending;
        };
        watch.moved();
        let error = match (piece, left) {
            (Some(Ok(piece)), left) => {
                let length = piece.len() as u64;
                match left {
                    Some(left) if *left < length => {
                        io::Error::new(io::ErrorKind::InvalidData, "it has become longer")
                    }
                    left => {
                        *left = left.map(|left| left - length);
                        watch.took(length);
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                }
            }
            (Some(Err(error)), _) => error,
            (None, None | Some(0)) => return Poll::Ready(None),
            (None, Some(_)) => {
                io::Error::new(io::ErrorKind::UnexpectedEof, "it has become shorter")
            }
        };
        watch.fail(error);
        Poll::Ready(Some(Err(SourceFailed)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None) | Self::Stream { left: Some(0), .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream { left: Some(left), .. } => SizeHint::with_exact(*left),
            Self::Stream { left: None, .. } => SizeHint::default(),
        }
    }
}
