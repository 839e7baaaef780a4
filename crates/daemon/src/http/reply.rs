//! Answers.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::http::{
    body::{self, Body},
    error::Failure,
    takeover::Takeover,
};

/// What comes of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer.
    Response(Response<Body>),
    /// No HTTP any more.
    Takeover(Takeover),
}

impl Reply {
    /// An answer without a body.
    pub(crate) fn status(status: StatusCode) -> Self {
        let mut response = Response::new(body::empty());
        *response.status_mut() = status;
        Self::Response(response)
    }

    pub(crate) fn no_content() -> Self {
        Self::status(StatusCode::NO_CONTENT)
    }

    pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Result<Self, Failure> {
        let line = json_line(value)?;
        let mut response = Response::new(body::full(line));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        Ok(Self::Response(response))
    }

    /// An answer whose head goes out at once and whose pieces follow as they come.
    pub(crate) fn stream(
        content_type: &'static str,
        pieces: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Self {
        let mut response = Response::new(body::stream(pieces));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self::Response(response)
    }

    /// As [`Reply::stream`], of pieces that may fail to come.
    pub(crate) fn fallible_stream(
        content_type: &'static str,
        pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        let mut response = Response::new(body::fallible_stream(pieces));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self::Response(response)
    }
}

/// Docker's media type of JSON, and of lines of JSON.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Writes a value as Docker does: with a line feed.
pub(crate) fn json_line(value: &impl Serialize) -> Result<Bytes, Failure> {
    let mut line = serde_json::to_vec(value)
        .map_err(|error| Failure::internal(format!("cannot write the answer: {error}")))?;
    line.push(b'\n');
    Ok(line.into())
}
