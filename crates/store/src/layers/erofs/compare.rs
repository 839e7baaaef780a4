//! Where an index goes while it is made: into a file, or beside one that is there.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;

/// Takes the bytes of an index in ascending order.
pub(super) trait Sink: Write {
    /// Goes on at `to`; what is left out is zero.
    fn skip_to(&mut self, to: u64) -> io::Result<()>;
}

impl Sink for BufWriter<&File> {
    fn skip_to(&mut self, to: u64) -> io::Result<()> {
        self.seek(SeekFrom::Start(to)).map(drop)
    }
}

impl<S: Sink> Sink for &mut S {
    fn skip_to(&mut self, to: u64) -> io::Result<()> {
        (**self).skip_to(to)
    }
}

/// Compares what is written to it with a file; the first difference is an error.
pub(super) struct Comparison<'a> {
    file: &'a File,
    at: u64,
    /// What was read of the file ahead, from `start`.
    buffer: Vec<u8>,
    start: u64,
    pub(super) differs: bool,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(file: &'a File) -> Self {
        Self { file, at: 0, buffer: Vec::new(), start: 0, differs: false }
    }

    /// Some bytes of the file from where we are, at most so many.
    fn ahead(&mut self, most: u64) -> io::Result<&[u8]> {
        let end = self.start + self.buffer.len() as u64;
        if !(self.start..end).contains(&self.at) {
            self.buffer.resize(256 << 10, 0);
            let length = self.file.read_at(&mut self.buffer, self.at)?;
            self.buffer.truncate(length);
            self.start = self.at;
            if length == 0 {
                return Err(self.difference());
            }
        }
        let from = usize::try_from(self.at - self.start).map_err(io::Error::other)?;
        let rest = &self.buffer[from..];
        Ok(&rest[..usize::try_from(most).map_or(rest.len(), |most| most.min(rest.len()))])
    }

    fn difference(&mut self) -> io::Error {
        self.differs = true;
        io::Error::other("it differs")
    }
}

impl Write for Comparison<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let kept = self.ahead(bytes.len() as u64)?;
        let length = kept.len();
        if *kept != bytes[..length] {
            return Err(self.difference());
        }
        self.at += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Comparison<'_> {
    fn skip_to(&mut self, to: u64) -> io::Result<()> {
        while self.at < to {
            let kept = self.ahead(to - self.at)?;
            let length = kept.len() as u64;
            if kept.iter().any(|&byte| byte != 0) {
                return Err(self.difference());
            }
            self.at += length;
        }
        Ok(())
    }
}
