//! Answers that come piece by piece.

use std::{collections::VecDeque, marker::PhantomData};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::ClientError;

/// An answer as bytes; dropping it ends the request.
#[derive(Debug)]
pub struct ByteStream {
    path: String,
    content_type: String,
    body: Incoming,
}

impl ByteStream {
    pub(crate) fn new(path: String, response: http::Response<Incoming>) -> Self {
        let content_type = content_type(response.headers());
        Self { path, content_type, body: response.into_body() }
    }

    /// Whether the bytes are frames of output (see [`ferry_api::stream`]).
    pub fn is_multiplexed(&self) -> bool {
        self.content_type == ferry_api::MULTIPLEXED_STREAM
    }

    /// Waits for the next piece; `None` is the end.
    ///
    /// # Errors
    ///
    /// [`ClientError::Exchange`] when the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|source| self.broken(source))?;
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Exchange { path: self.path.clone(), source }
    }
}

/// The media type of an answer; empty when it does not say.
pub(crate) fn content_type(headers: &http::HeaderMap) -> String {
    let value = headers.get(http::header::CONTENT_TYPE);
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// An answer of many JSON values; dropping it ends the request.
#[derive(Debug)]
pub struct JsonStream<T> {
    bytes: ByteStream,
    buffer: BytesMut,
    ready: VecDeque<T>,
    is_at_end: bool,
    marker: PhantomData<T>,
}

impl<T: DeserializeOwned> JsonStream<T> {
    pub(crate) fn new(bytes: ByteStream) -> Self {
        Self {
            bytes,
            buffer: BytesMut::new(),
            ready: VecDeque::new(),
            is_at_end: false,
            marker: PhantomData,
        }
    }

    /// Waits for the next value; `None` is the end.
    ///
    /// # Errors
    ///
    /// [`ClientError::Exchange`] when the connection breaks, [`ClientError::Answer`] when it is
    /// not the JSON that is expected.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(value) = self.ready.pop_front() {
                return Ok(Some(value));
            }
            if self.is_at_end {
                return Ok(None);
            }
            match self.bytes.next().await? {
                Some(data) => self.buffer.extend_from_slice(&data),
                None => self.is_at_end = true,
            }
            let used = take_values(&self.buffer, self.is_at_end, &mut self.ready)
                .map_err(|source| ClientError::Answer { path: self.bytes.path.clone(), source })?;
            self.buffer.advance(used);
        }
    }
}

/// Takes whole values from the front of `bytes`; says how much they took.
fn take_values<T: DeserializeOwned>(
    bytes: &[u8],
    is_at_end: bool,
    ready: &mut VecDeque<T>,
) -> Result<usize, serde_json::Error> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    let mut used = 0;
    loop {
        match values.next() {
            Some(Ok(value)) => {
                ready.push_back(value);
                used = values.byte_offset();
            }
            Some(Err(error)) if error.is_eof() && !is_at_end => return Ok(used),
            Some(Err(error)) => return Err(error),
            None => return Ok(bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn values_are_taken_whole_however_they_are_cut() {
        let text = b"{\"a\":1}\r\n{\"b\":[2]}\n{\"c\":\"\\u00e9\"}";
        for cut in 0..text.len() {
            let mut ready = VecDeque::<Value>::new();
            let used = take_values(&text[..cut], false, &mut ready).unwrap();
            take_values(&text[used..], true, &mut ready).unwrap();
            assert_eq!(ready.len(), 3, "cut at {cut}");
        }
    }

    #[test]
    fn a_value_cut_off_by_the_end_is_an_error() {
        take_values(b"{\"a\":", true, &mut VecDeque::<Value>::new()).unwrap_err();
    }
}
