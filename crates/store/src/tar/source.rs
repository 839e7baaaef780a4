//! Where an archive's bytes come from.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

/// Bytes in order, of which some may be skipped.
pub(crate) trait ByteSource {
    /// Reads some bytes; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Leaves out bytes; an error of kind `UnexpectedEof` when there are not so many.
    fn skip(&mut self, count: u64) -> io::Result<()> {
        match self.skip_at_most(count)? {
            skipped if skipped == count => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    /// Leaves out bytes, fewer at the end; tells how many.
    fn skip_at_most(&mut self, count: u64) -> io::Result<u64>;
    /// How many bytes were read and skipped.
    fn position(&self) -> u64;
}

/// A stream; skipping reads.
#[derive(Debug)]
pub(crate) struct StreamSource<R> {
    inner: R,
    position: u64,
}

impl<R: Read> StreamSource<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, position: 0 }
    }
}

impl<R: Read> ByteSource for StreamSource<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Ok(length) => {
                    self.position += length as u64;
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn skip_at_most(&mut self, count: u64) -> io::Result<u64> {
        let mut buffer = [0; 16 << 10];
        let mut skipped = 0;
        while skipped < count {
            let left = count - skipped;
            let most = usize::try_from(left).map_or(buffer.len(), |c| c.min(buffer.len()));
            match self.read(&mut buffer[..most])? {
                0 => break,
                length => skipped += length as u64,
            }
        }
        Ok(skipped)
    }

    fn position(&self) -> u64 {
        self.position
    }
}

/// A file, of which headers are read and contents are not.
#[derive(Debug)]
pub(crate) struct FileSource<'a> {
    file: &'a File,
    length: u64,
    position: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> FileSource<'a> {
    /// Large enough to find the next header of a small file, small enough to read little of a
    /// large one.
    const WINDOW: usize = 16 << 10;

    pub(crate) fn new(file: &'a File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length, position: 0, window: Vec::new(), window_start: 0 })
    }
}

impl ByteSource for FileSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut start = self.position.checked_sub(self.window_start);
        if start.is_none_or(|start| start >= self.window.len() as u64) {
            self.window.resize(Self::WINDOW, 0);
            let length = self.file.read_at(&mut self.window, self.position)?;
            self.window.truncate(length);
            (self.window_start, start) = (self.position, Some(0));
        }
        let start = usize::try_from(start.unwrap_or(0)).unwrap_or(usize::MAX);
        let available = self.window.get(start..).unwrap_or_default();
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.position += length as u64;
        Ok(length)
    }

    fn skip_at_most(&mut self, count: u64) -> io::Result<u64> {
        let skipped = count.min(self.length.saturating_sub(self.position));
        self.position += skipped;
        Ok(skipped)
    }

    fn position(&self) -> u64 {
        self.position
    }
}
