//! Reading a log, while it is written and put away.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::entry::{Entry, parse};
use super::writer::rotated;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// How many rotated files are looked for at most; as many as can be kept.
const MOST_FILES: u32 = 10_000;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selection {
    /// At the oldest entry.
    #[default]
    All,
    /// At the last so many entries.
    Last(u64),
}

/// Why a log can not be read.
#[derive(Debug, thiserror::Error)]
#[error("read log {path}")]
pub struct ReadError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What one read gave.
#[derive(Debug, Default)]
pub struct Batch {
    /// Entries, in order.
    pub entries: Vec<Entry>,
    /// There is nothing more now.
    pub at_end: bool,
}

/// A reader of a log: through the rotated files to the current one, and on as they are put away.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: Option<File>,
    /// Bytes of an entry that is not complete.
    rest: Vec<u8>,
}

impl LogReader {
    /// Opens a log; one that has never been written is empty.
    ///
    /// # Errors
    /// Why a file can not be read.
    pub fn open(path: &Path, from: Selection) -> Result<Self, ReadError> {
        let mut reader = Self { path: path.to_owned(), file: None, rest: Vec::new() };
        let mut files = Vec::new();
        for number in 0..MOST_FILES {
            match reader.open_file(number)? {
                Some(file) => files.push(file),
                None if number == 0 => {}
                None => break,
            }
        }
        match from {
            Selection::All => reader.file = files.pop(),
            Selection::Last(count) => {
                let mut left = count;
                for mut file in files {
                    let (at, found) = reader.wrap(begin_of_last(&file, left))?;
                    let sought = file.seek(SeekFrom::Start(at)).map(drop);
                    reader.wrap(sought)?;
                    reader.file = Some(file);
                    left -= found;
                    if left == 0 {
                        break;
                    }
                }
            }
        }
        Ok(reader)
    }

    /// Reads on: some entries, or none at the end.
    ///
    /// # Errors
    /// Why a file can not be read.
    pub fn read(&mut self) -> Result<Batch, ReadError> {
        loop {
            let Some(mut file) = self.file.take() else {
                self.file = self.open_file(0)?;
                if self.file.is_none() {
                    return Ok(Batch { entries: Vec::new(), at_end: true });
                }
                continue;
            };
            let entries = self.read_file(&mut file);
            let entries = self.wrap(entries)?;
            if !entries.is_empty() {
                self.file = Some(file);
                return Ok(Batch { entries, at_end: false });
            }
            match self.successor(&file)? {
                // Order: it was put away before we looked, so nobody writes it any more; what was
                // written between our read and that is still to be read.
                Some(next) => {
                    let entries = self.read_file(&mut file);
                    let entries = self.wrap(entries)?;
                    if entries.is_empty() {
                        self.rest.clear();
                        self.file = Some(next);
                    } else {
                        self.file = Some(file);
                        return Ok(Batch { entries, at_end: false });
                    }
                }
                None => {
                    self.file = Some(file);
                    return Ok(Batch { entries: Vec::new(), at_end: true });
                }
            }
        }
    }

    /// Reads until there is a whole entry or the file ends.
    fn read_file(&mut self, file: &mut File) -> io::Result<Vec<Entry>> {
        let mut chunk = vec![0_u8; CHUNK];
        loop {
            // A file that became shorter was emptied by someone else; what is in it now is new.
            let at = file.stream_position()?;
            if file.metadata()?.len() < at {
                file.seek(SeekFrom::Start(0)).map(drop)?;
                self.rest.clear();
            }
            let count = file.read(&mut chunk)?;
            let read = chunk.get(..count).unwrap_or_default();
            if read.is_empty() {
                return Ok(Vec::new());
            }
            self.rest.extend_from_slice(read);
            if let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') {
                let after = self.rest.split_off(end + 1);
                let whole = std::mem::replace(&mut self.rest, after);
                let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                let entries: Vec<Entry> = lines.filter_map(parse).collect();
                if !entries.is_empty() {
                    return Ok(entries);
                }
            }
        }
    }

    /// The file that came after one; `None` when it is the current one.
    fn successor(&self, file: &File) -> Result<Option<File>, ReadError> {
        let mine = self.wrap(identity(file))?;
        let mut newer = None;
        for number in 0..MOST_FILES {
            let Some(other) = self.open_file(number)? else {
                // Between two renames the current file's name is free for a moment.
                if number == 0 { return Ok(None) } else { break }
            };
            if self.wrap(identity(&other))? == mine {
                return Ok(newer);
            }
            newer = Some(other);
        }
        // It was removed: go on with the oldest there is.
        Ok(newer)
    }

    fn open_file(&self, number: u32) -> Result<Option<File>, ReadError> {
        match File::open(rotated(&self.path, number)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadError { path: self.path.clone(), source }),
        }
    }

    fn wrap<T>(&self, result: io::Result<T>) -> Result<T, ReadError> {
        result.map_err(|source| ReadError { path: self.path.clone(), source })
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Where the last `count` lines of a file begin, and how many there are.
fn begin_of_last(file: &File, count: u64) -> io::Result<(u64, u64)> {
    let mut chunk = vec![0_u8; CHUNK];
    let length = file.metadata()?.len();
    let mut at = length;
    let mut found = 0;
    if count == 0 {
        return Ok((length, 0));
    }
    while at > 0 {
        let size = at.min(CHUNK as u64);
        at -= size;
        let Some(part) = chunk.get_mut(..usize::try_from(size).unwrap_or(CHUNK)) else { break };
        file.read_exact_at(part, at)?;
        for (index, byte) in part.iter().enumerate().rev() {
            let place = at + index as u64;
            // The newline at the end of the file ends the last line and begins none.
            if *byte == b'\n' && place + 1 < length {
                found += 1;
                if found == count {
                    return Ok((place + 1, found));
                }
            }
        }
    }
    Ok((0, found + u64::from(length > 0)))
}

#[cfg(test)]
mod tests;
