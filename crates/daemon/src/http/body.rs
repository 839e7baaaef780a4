//! Bodies: whole ones, streams of them, and what clients send.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use http_body_util::{
    BodyDataStream, BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody,
};
use hyper::body::{Body as _, Frame, Incoming};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::http::error::Failure;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The longest JSON body that is read.
pub(crate) const MAX_JSON_BYTES: usize = 8 * 1024 * 1024;

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
pub(crate) fn reader(incoming: Incoming) -> Box<dyn io::Read + Send> {
    let pieces = BodyDataStream::new(incoming).map_err(io::Error::other);
    Box::new(SyncIoBridge::new(StreamReader::new(Box::pin(pieces))))
}
