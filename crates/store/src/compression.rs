//! Compressed streams, told apart by their first bytes.

mod gzip;

use std::io::{self, BufRead, Chain, Cursor, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use crate::limits;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
    /// Known, but no longer made by anyone; refused.
    Bzip2,
}

/// Bytes needed to tell.
pub(crate) const MAGIC_LEN: usize = 6;

impl Compression {
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A stream may begin with a frame to be skipped.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }

    /// Decompresses a stream.
    pub(crate) fn decode<'a, R: Read + Send + 'a>(
        self,
        reader: R,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(reader),
            Self::Gzip => Box::new(gzip::GzipReader::new(reader)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(reader)?;
                decoder.window_log_max(limits::MAX_ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Self::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(limits::MAX_XZ_MEMORY, flags)?;
                Box::new(liblzma::read::XzDecoder::new_stream(reader, stream))
            }
            Self::Bzip2 => {
                let message = "bzip2 compression is not supported; use gzip, zstd or xz";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        })
    }
}

/// A stream whose first bytes were looked at.
pub(crate) type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// Reads the first bytes of a stream and puts them back.
pub(crate) fn peek<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, Peeked<R>)> {
    let mut start = Vec::new();
    reader.by_ref().take(MAGIC_LEN as u64).read_to_end(&mut start)?;
    let chain = Cursor::new(start.clone()).chain(reader);
    Ok((start, chain))
}

/// Runs a reader on a thread of its own, some buffers ahead of who reads from the result.
///
/// The thread ends with the stream, with an error, or when the result is dropped.
pub(crate) fn read_ahead<'scope, R: Read + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    reader: R,
) -> (ReadAhead, ScopedJoinHandle<'scope, ()>) {
    ahead(scope, move |sender| sender.pump(reader))
}

/// Runs work on a thread of its own that gives bytes to who reads from the result.
pub(crate) fn ahead<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce(&Sender) -> T + Send + 'scope,
) -> (ReadAhead, ScopedJoinHandle<'scope, T>) {
    let (full, receiver) = sync_channel(AHEAD);
    // As many as there can be, so that none is sent back in vain.
    let (returns, empty) = sync_channel(AHEAD + 2);
    let thread = scope.spawn(move || work(&Sender { full, empty }));
    let reader =
        ReadAhead { receiver, returns, buffer: Vec::new(), unread: 0..0, has_ended: false };
    (reader, thread)
}

const AHEAD: usize = 8;
const BUFFER: usize = 256 << 10;

/// A buffer, and how many bytes of it are filled; none at the end of the stream.
type Filled = (Vec<u8>, usize);

/// The end of a [`ReadAhead`] that bytes are put into.
#[derive(Debug)]
pub(crate) struct Sender {
    full: SyncSender<io::Result<Filled>>,
    /// Buffers that were read, to be filled again.
    empty: Receiver<Vec<u8>>,
}

impl Sender {
    /// Gives a whole stream and its end, or its error, as long as somebody reads it.
    pub(crate) fn pump(&self, mut reader: impl Read) {
        loop {
            let mut buffer = self.empty.try_recv().unwrap_or_else(|_none| vec![0; BUFFER]);
            let filled = fill(&mut reader, &mut buffer).map(|length| (buffer, length));
            let last = !matches!(filled, Ok((_, 1..)));
            if self.full.send(filled).is_err() || last {
                break;
            }
        }
    }

    /// Gives an error in place of a stream; nobody may want to know any more.
    pub(crate) fn fail(&self, error: io::Error) {
        drop(self.full.send(Err(error)));
    }
}

/// Fills a buffer as far as the stream goes.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What another thread has read.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    receiver: Receiver<io::Result<Filled>>,
    returns: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    /// What of `buffer` was not read yet.
    unread: Range<usize>,
    has_ended: bool,
}

impl BufRead for ReadAhead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.unread.is_empty() && !self.has_ended {
            let (buffer, length) = match self.receiver.recv() {
                Ok(received) => received?,
                // The thread panicked, else it would have said that it ended.
                Err(_) => return Err(io::Error::other("the reading thread is gone")),
            };
            let read = std::mem::replace(&mut self.buffer, buffer);
            if !read.is_empty() {
                // The thread may have ended, and have no use for it.
                drop(self.returns.try_send(read));
            }
            self.unread = 0..length;
            self.has_ended = length == 0;
        }
        Ok(&self.buffer[self.unread.clone()])
    }

    fn consume(&mut self, amount: usize) {
        self.unread.start = self.unread.end.min(self.unread.start + amount);
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}
