//! A compressed blob while it comes in: one writes it to `blobs/partial/`, one follows and reads.
//!
//! ```text
//! Spool::push --> blobs/partial/<hex> --> Follower::read
//! ```
//!
//! The file is the buffer: who writes never waits for who reads, a connection that breaks is not
//! seen by the reader, and bytes that an earlier attempt left are read like any others. They are
//! never synchronised before all are there: after a power failure they fail their digest.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{ErrorKind, StoreError};
use crate::ingest::WriteBehind;
use crate::space;

/// A file that grows while it is read.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    /// The writer's; nobody waits for it while it waits for the disk.
    behind: Mutex<WriteBehind>,
}

#[derive(Debug)]
struct State {
    /// Bytes that may be read.
    written: u64,
    /// How often it began anew.
    round: u32,
    writer: Side,
    reader: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Active,
    /// It did all that it had to.
    Finished,
    /// It ended before that.
    Gone,
}

/// Why there is nothing more to read, although the end was not reached.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Who writes, or who builds, gave up.
    Abandoned,
    /// All is written anew, from the first byte.
    Restarted,
    /// The file cannot be read.
    File(io::Error),
}

impl Spool {
    /// Opens the file with what is there of `size` bytes; a longer one begins anew.
    pub(crate) fn open(path: PathBuf, size: u64) -> Result<Arc<Self>, StoreError> {
        let open = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = open.map_err(|e| StoreError::file("open", &path, e))?;
        let mut written = file.metadata().map_err(|e| StoreError::file("stat", &path, e))?.len();
        if written > size {
            file.set_len(0).map_err(|e| StoreError::file("truncate", &path, e))?;
            written = 0;
        }
        let state = State { written, round: 0, writer: Side::Active, reader: Side::Active };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Ok(Arc::new(Self { file, path, state, changed, behind: Mutex::default() }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes are there.
    pub(crate) fn written(&self) -> u64 {
        self.lock().written
    }

    /// Adds bytes at the end. There is one writer only.
    pub(crate) fn push(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let at = {
            let state = self.lock();
            if state.reader == Side::Gone {
                return Err(StoreError::Interrupted);
            }
            state.written
        };
        let written = at + bytes.len() as u64;
        let grown = space::check_growth(&self.file, &self.path, at, written).and_then(|()| {
            let write = self.file.write_all_at(bytes, at);
            write.map_err(|e| StoreError::file("write", &self.path, e))
        });
        if let Err(error) = grown {
            // What is there would only keep the disk full for the next attempt.
            if error.kind() == ErrorKind::Full
                && let Err(error) = std::fs::remove_file(&self.path)
            {
                tracing::warn!(path = %self.path.display(), %error, "cannot delete");
            }
            return Err(error);
        }
        self.lock().written = written;
        self.changed.notify_all();
        self.behind().written(&self.file, written);
        Ok(())
    }

    /// Throws all away; the reader begins anew too.
    pub(crate) fn restart(&self) -> Result<(), StoreError> {
        *self.behind() = WriteBehind::default();
        let mut state = self.lock();
        (state.written, state.round) = (0, state.round + 1);
        let truncated = self.file.set_len(0);
        drop(state);
        self.changed.notify_all();
        truncated.map_err(|e| StoreError::file("truncate", &self.path, e))
    }

    /// Tells that all is written.
    pub(crate) fn finish_writing(&self) {
        self.end(|state| state.writer = Side::Finished);
    }

    /// Tells that no more is written, if not all is.
    pub(crate) fn abandon_writing(&self) {
        self.end(|state| {
            if state.writer == Side::Active {
                state.writer = Side::Gone;
            }
        });
    }

    /// Tells that it has been read as far as it is needed.
    pub(crate) fn finish_reading(&self) {
        self.end(|state| state.reader = Side::Finished);
    }

    /// Tells that nobody reads any more, if not all was read.
    pub(crate) fn abandon_reading(&self) {
        self.end(|state| {
            if state.reader == Side::Active {
                state.reader = Side::Gone;
            }
        });
    }

    /// Waits until all of it is on the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(|e| StoreError::file("fsync", &self.path, e))
    }

    /// Reads from the first byte.
    pub(crate) fn follow(self: &Arc<Self>) -> Follower {
        let round = self.lock().round;
        Follower { spool: Arc::clone(self), round, position: 0, stopped: None }
    }

    fn end(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn behind(&self) -> MutexGuard<'_, WriteBehind> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a spool while it grows, and waits for what is to come.
#[derive(Debug)]
pub(crate) struct Follower {
    spool: Arc<Spool>,
    round: u32,
    position: u64,
    stopped: Option<Stopped>,
}

impl Follower {
    /// Why reading ended in an error, if it did.
    pub(crate) fn into_stopped(self) -> Option<Stopped> {
        self.stopped
    }

    /// How many bytes can be read at once; 0 at the end. Waits for the first.
    fn available(&self) -> Result<u64, Stopped> {
        let mut state = self.spool.lock();
        loop {
            if state.reader == Side::Gone {
                return Err(Stopped::Abandoned);
            }
            if state.round != self.round {
                return Err(Stopped::Restarted);
            }
            // Of a part nothing can be kept, so that the rest of it need not be read.
            if state.writer == Side::Gone {
                return Err(Stopped::Abandoned);
            }
            if state.written > self.position || state.writer == Side::Finished {
                return Ok(state.written - self.position);
            }
            state = self.spool.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Stopped> {
        let available = self.available()?;
        let most = usize::try_from(available).map_or(buffer.len(), |a| a.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let read = loop {
            match self.spool.file.read_at(&mut buffer[..most], self.position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(Stopped::File)?,
            }
        };
        if read == 0 {
            // It was truncated: either begun anew just now, or not by us.
            self.available()?;
            return Err(Stopped::File(io::ErrorKind::UnexpectedEof.into()));
        }
        self.position += read as u64;
        Ok(read)
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped.is_none() {
            match self.read_some(buffer) {
                Ok(length) => return Ok(length),
                Err(stopped) => self.stopped = Some(stopped),
            }
        }
        // Not `Interrupted`, upon which readers try again.
        Err(io::Error::other("the blob does not come any further"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(size: u64) -> (tempfile::TempDir, Arc<Spool>) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path().join("partial"), size).unwrap();
        (dir, spool)
    }

    fn read_all(spool: &Arc<Spool>) -> Result<Vec<u8>, Option<Stopped>> {
        let mut follower = spool.follow();
        let mut bytes = Vec::new();
        match follower.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(_) => Err(follower.into_stopped()),
        }
    }

    #[test]
    fn what_is_written_is_read_as_it_comes() {
        let (_dir, spool) = spool(300_000);
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_all(&spool).unwrap());
            for part in 0..3_u8 {
                spool.push(&[part; 100_000]).unwrap();
            }
            spool.finish_writing();
            reader.join().unwrap()
        });
        assert_eq!(read, [vec![0; 100_000], vec![1; 100_000], vec![2; 100_000]].concat());
    }

    #[test]
    fn a_later_attempt_goes_on_where_the_first_ended() {
        let (dir, first) = spool(4);
        first.push(b"ab").unwrap();
        first.abandon_writing();
        assert!(matches!(read_all(&first), Err(Some(Stopped::Abandoned))));
        let second = Spool::open(dir.path().join("partial"), 4).unwrap();
        assert_eq!(second.written(), 2);
        second.push(b"cd").unwrap();
        second.finish_writing();
        assert_eq!(read_all(&second).unwrap(), b"abcd");
        // What is longer than it can be is not what it should be.
        assert_eq!(Spool::open(dir.path().join("partial"), 3).unwrap().written(), 0);
    }

    #[test]
    fn a_reader_hears_that_all_begins_anew() {
        let (_dir, spool) = spool(4);
        spool.push(b"xy").unwrap();
        let mut follower = spool.follow();
        follower.read_exact(&mut [0; 2]).unwrap();
        spool.restart().unwrap();
        assert!(follower.read(&mut [0; 2]).is_err());
        assert!(matches!(follower.into_stopped(), Some(Stopped::Restarted)));
        spool.push(b"abcd").unwrap();
        spool.finish_writing();
        assert_eq!(read_all(&spool).unwrap(), b"abcd");
    }

    #[test]
    fn a_writer_hears_that_nobody_reads() {
        let (_dir, spool) = spool(4);
        spool.abandon_reading();
        assert!(matches!(spool.push(b"a"), Err(StoreError::Interrupted)));
        assert!(matches!(read_all(&spool), Err(Some(Stopped::Abandoned))));
    }
}
