//! The bytes that are sent: counted, and kept to their number.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::registry::BlobSource;
use crate::transport::RequestBody;

/// How far the sending of one request has come.
#[derive(Debug, Default)]
pub(super) struct Sending {
    bytes: AtomicU64,
    failure: Mutex<Option<io::Error>>,
}

impl Sending {
    /// Bytes that have been taken to be sent.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Why the bytes could not be read, if that is why the request failed.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn fail(&self, error: &io::Error) {
        let copy = io::Error::new(error.kind(), error.to_string());
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
    }
}

/// So many bytes of a blob from an offset on, as the body of a request; opened anew for each time
/// that the request is made.
pub(super) fn body(
    source: &Arc<dyn BlobSource>,
    from: u64,
    length: u64,
) -> (RequestBody, Arc<Sending>) {
    let sending = Arc::new(Sending::default());
    let open = {
        let (source, sending) = (Arc::clone(source), Arc::clone(&sending));
        move || -> io::Result<Box<dyn Read + Send>> {
            sending.bytes.store(0, Ordering::Relaxed);
            let inner = source.open(from).inspect_err(|error| sending.fail(error))?;
            Ok(Box::new(Counted { inner, left: length, sending: Arc::clone(&sending) }))
        }
    };
    (RequestBody::Stream { open: Arc::new(open), length: Some(length) }, sending)
}

struct Counted {
    inner: Box<dyn Read + Send>,
    left: u64,
    sending: Arc<Sending>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = loop {
            match self.inner.read(&mut buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => {
                    let words = "it is shorter than it was said to be";
                    break Err(io::Error::new(io::ErrorKind::UnexpectedEof, words));
                }
                other => break other,
            }
        };
        let count = count.inspect_err(|error| self.sending.fail(error))?;
        self.left -= count as u64;
        self.sending.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Text(&'static [u8]);

    impl BlobSource for Text {
        fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
            let from = usize::try_from(from).unwrap();
            let rest = self.0.get(from..).ok_or(io::ErrorKind::InvalidInput)?;
            Ok(Box::new(rest))
        }

        fn size(&self) -> Option<u64> {
            None
        }
    }

    fn read(from: u64, length: u64) -> (io::Result<String>, Arc<Sending>) {
        let source: Arc<dyn BlobSource> = Arc::new(Text(b"0123456789"));
        let (body, sending) = body(&source, from, length);
        let RequestBody::Stream { open, .. } = body else { panic!("a stream") };
        let read = || {
            let mut text = String::new();
            open()?.read_to_string(&mut text).map(|_| text)
        };
        // The second time must be as the first: a request may be made again.
        let first = read().map_err(|error| error.kind());
        let second = read();
        assert_eq!(first, second.as_ref().cloned().map_err(io::Error::kind));
        (second, sending)
    }

    #[test]
    fn so_many_bytes_are_sent() {
        let (text, sending) = read(3, 4);
        assert_eq!((text.unwrap().as_str(), sending.bytes()), ("3456", 4));
        assert!(sending.failure().is_none());
        assert_eq!(read(10, 0).0.unwrap(), "");
    }

    #[test]
    fn a_source_that_is_too_short_is_at_fault() {
        let (text, sending) = read(8, 4);
        assert!(text.is_err());
        assert_eq!(sending.failure().unwrap().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read(11, 1).1.failure().is_some());
    }
}
