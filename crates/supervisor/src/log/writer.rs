//! Writing a log.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::MAX_TEXT;
use super::entry::{Stream, encode};
use crate::protocol::LogConfig;
use crate::time::Clock;

/// How much is gathered at most before it is written.
const BURST: usize = 256 * 1024;

/// How much is usually gathered.
const CALM: usize = 32 * 1024;

/// The writer of a log. Entries are gathered until [`LogWriter::flush`] and always written whole.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: Option<u64>,
    max_files: u32,
    attributes: String,
    lines: [Line; 2],
    gathered: Vec<u8>,
    clock: Clock,
    now: fn() -> SystemTime,
}

/// What of a line was printed so far.
#[derive(Debug, Default)]
struct Line {
    text: Vec<u8>,
    /// When the first entry of a line was written that takes several.
    begun: Option<SystemTime>,
}

impl LogWriter {
    /// Opens a log, to go on at its end.
    ///
    /// # Errors
    /// Why the file can not be opened.
    pub fn open(config: &LogConfig) -> io::Result<Self> {
        Self::open_with_clock(config, SystemTime::now)
    }

    /// Opens a log whose entries bear the times of another clock.
    ///
    /// # Errors
    /// Why the file can not be opened.
    pub fn open_with_clock(config: &LogConfig, now: fn() -> SystemTime) -> io::Result<Self> {
        let path = PathBuf::from(&config.path);
        let file = open(&path, false)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            size,
            max_size: config.max_size,
            max_files: config.max_files.max(1),
            attributes: config.attributes.clone(),
            lines: [Line::default(), Line::default()],
            gathered: Vec::new(),
            clock: Clock::default(),
            now,
        })
    }

    /// Takes what was printed.
    ///
    /// # Errors
    /// Why a full file could not be written or put away; what was gathered is lost then, and the log
    /// goes on with what comes next.
    pub fn append(&mut self, stream: Stream, mut bytes: &[u8]) -> io::Result<()> {
        let mut result = Ok(());
        while !bytes.is_empty() {
            let pending = self.line(stream).text.len();
            let room = MAX_TEXT.saturating_sub(pending);
            let reach = bytes.get(..room).unwrap_or(bytes);
            let (text, rest, newline) = match reach.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let (text, rest) = bytes.split_at(end);
                    (text, rest.get(1..).unwrap_or_default(), true)
                }
                None if reach.len() == room => {
                    let (text, rest) = bytes.split_at(room);
                    (text, rest, false)
                }
                None => {
                    self.line(stream).text.extend_from_slice(bytes);
                    return result;
                }
            };
            result = result.and(self.entry(stream, text, newline));
            bytes = rest;
        }
        result
    }

    /// Takes the end of a stream: what is left of a line becomes an entry without a newline.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn end(&mut self, stream: Stream) -> io::Result<()> {
        if self.line(stream).text.is_empty() {
            return Ok(());
        }
        self.entry(stream, &[], false)
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// Why it could not be written; it is lost then, and no part of an entry is in the file.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let result = self.file.write_all(&self.gathered);
        match &result {
            Ok(()) => self.size += self.gathered.len() as u64,
            // A full disk takes a part; half an entry would spoil the next one too.
            Err(_) => drop(self.file.set_len(self.size)),
        }
        // What a burst needed must not be held for the rest of the container's life.
        let calm = self.gathered.len() < CALM;
        self.gathered.clear();
        if calm {
            self.gathered.shrink_to(CALM);
        }
        result
    }

    fn line(&mut self, stream: Stream) -> &mut Line {
        let [stdout, stderr] = &mut self.lines;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    /// Gathers one entry: what is pending of the line, and `more`.
    fn entry(&mut self, stream: Stream, more: &[u8], newline: bool) -> io::Result<()> {
        let now = (self.now)();
        let line = self.line(stream);
        let time = match newline {
            true => line.begun.take().unwrap_or(now),
            false => *line.begun.get_or_insert(now),
        };
        let mut pending = std::mem::take(&mut line.text);
        let text = if pending.is_empty() {
            more
        } else {
            pending.extend_from_slice(more);
            &pending
        };
        let room = self.make_room();
        let clock = (time, &mut self.clock);
        encode(stream, text, newline, &self.attributes, clock, &mut self.gathered);
        pending.clear();
        self.line(stream).text = pending;
        // Long output in one turn of the loop must not gather without end.
        let written = if self.gathered.len() >= BURST { self.flush() } else { Ok(()) };
        room.and(written)
    }

    /// Puts a full file away. As with Docker, a file may be longer than its limit by one entry.
    fn make_room(&mut self) -> io::Result<()> {
        let Some(max_size) = self.max_size else { return Ok(()) };
        if self.size + self.gathered.len() as u64 >= max_size {
            let flushed = self.flush();
            if self.size >= max_size {
                self.rotate()?;
            }
            return flushed;
        }
        Ok(())
    }

    /// Readers that have the current file open can read it to its end, even if it is the only one.
    fn rotate(&mut self) -> io::Result<()> {
        // Order: what may fail for want of room comes before anything is moved, for it is tried again
        // and again, and each time would push one more file out.
        let temporary = self.path.with_extension("log.new");
        let file = open(&temporary, true)?;
        for number in (1..self.max_files.saturating_sub(1)).rev() {
            move_if_there(&rotated(&self.path, number), &rotated(&self.path, number + 1))?;
        }
        if self.max_files > 1 {
            move_if_there(&self.path, &rotated(&self.path, 1))?;
        }
        // Order: the new file appears in one step, so that a follower never finds none.
        std::fs::rename(&temporary, &self.path)?;
        self.file = file;
        self.size = 0;
        Ok(())
    }
}

/// The name of the file that was current `number` files ago.
#[must_use]
pub(super) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    PathBuf::from(name)
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn open(path: &Path, truncate: bool) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).append(true).mode(0o640);
    let file = options.open(path)?;
    if truncate {
        file.set_len(0)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
