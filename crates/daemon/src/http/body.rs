//! Bodies: whole ones, streams of them, and what clients send.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use http_body_util::{
    BodyDataStream, BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody,
};
use hyper::body::{Body as _, Frame, Incoming};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{
    io::{StreamReader, SyncIoBridge},
    task::TaskTracker,
};

use crate::http::error::Failure;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The longest JSON body that is read.
pub(crate) const MAX_JSON_BYTES: usize = 8 * 1024 * 1024;

/// How long a client may pause in a body that nobody wants any more.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn empty() -> Body {
    UnsyncBoxBody::new(Empty::new().map_err(|never| match never {}))
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    UnsyncBoxBody::new(Full::new(bytes.into()).map_err(|never| match never {}))
}

/// A body whose pieces are sent as they come.
pub(crate) fn stream(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    UnsyncBoxBody::new(StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))))
}

/// As [`stream`], of pieces that may fail to come: the connection breaks off then, so that nobody
/// takes what there is for the whole.
pub(crate) fn fallible_stream(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Body {
    UnsyncBoxBody::new(StreamBody::new(pieces.map_ok(Frame::data)))
}

/// The writing end of a body, for a thread that may block; see [`writer`].
#[derive(Debug)]
struct Writer(mpsc::Sender<Bytes>);

/// Pieces of an archive that wait for a slow client.
const QUEUED_PIECES: usize = 4;

/// Makes a writer for a thread that may block, and what is written to it.
pub(crate) fn writer() -> (Box<dyn io::Write + Send>, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(QUEUED_PIECES);
    (Box::new(Writer(sender)), receiver)
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Bytes::copy_from_slice(bytes)).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads all of a request's body.
///
/// # Errors
///
/// It is longer than [`MAX_JSON_BYTES`], or breaks off.
pub(crate) async fn collect(mut incoming: Incoming) -> Result<Bytes, Failure> {
    let too_large = || {
        Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("request body is larger than {MAX_JSON_BYTES} bytes"),
        )
    };
    // A client that says it will send too much is not waited for.
    if incoming.size_hint().lower() > MAX_JSON_BYTES as u64 {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame
            .map_err(|error| Failure::invalid(format!("error reading request body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > MAX_JSON_BYTES {
            return Err(too_large());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Makes a reader of a request's body for a thread that may block.
///
/// What is not read of it is taken from the client and let go, by a task on `tasks`: a client that is cut
/// off while it sends may not see the answer that says why.
pub(crate) fn reader(incoming: Incoming, tasks: &TaskTracker) -> Box<dyn io::Read + Send> {
    let (sender, receiver) = oneshot::channel();
    tasks.spawn(async move {
        if let Ok(rest) = receiver.await {
            discard(rest).await;
        }
    });
    let pieces = Watched { body: Some(BodyDataStream::new(incoming)), rest: Some(sender) };
    Box::new(SyncIoBridge::new(StreamReader::new(pieces.map_err(io::Error::other))))
}

/// Reads a body to its end, its client's end, or a pause of [`PATIENCE`].
async fn discard(mut body: BodyDataStream<Incoming>) {
    while let Ok(Some(Ok(_))) = tokio::time::timeout(PATIENCE, body.next()).await {}
}

/// A body that is handed on when nobody reads it any more.
struct Watched {
    /// Taken at its end.
    body: Option<BodyDataStream<Incoming>>,
    rest: Option<oneshot::Sender<BodyDataStream<Incoming>>>,
}

impl Stream for Watched {
    type Item = Result<Bytes, hyper::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let next = ready!(body.poll_next_unpin(context));
        if !matches!(next, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(next)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(body), Some(rest)) = (self.body.take(), self.rest.take()) {
            // Without the task the engine is stopping, and its connections end.
            drop(rest.send(body));
        }
    }
}
