//! Reading a container's log: what was printed, and what is printed from now on.
//!
//! The supervisor writes the log and puts full files away meanwhile; nothing is asked of it. New output
//! is noticed by a watch on the log's directory, the end of the container by a flag. All followers
//! share one descriptor for these watches.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use ferry_supervisor::log::{Batch, Entry, LogReader, ReadError, Selection};
use ferry_sys::SysError;
use jiff::Timestamp;
use tokio::sync::watch as flag;
use tokio::task::JoinHandle;

pub(crate) use directories::Directories;
use directories::Watched;

mod directories;

pub use ferry_supervisor::log::Stream;

/// Which entries of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Those of standard output.
    pub stdout: bool,
    /// Those of standard error.
    pub stderr: bool,
    /// Go on with what is printed from now on, until the container has ended.
    pub follow: bool,
    /// Only from this time on.
    pub since: Option<Timestamp>,
    /// Only until this time.
    pub until: Option<Timestamp>,
    /// Only the last so many, counted over both streams before times are looked at, as Docker does.
    pub tail: Option<u64>,
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it was printed.
    pub stream: Stream,
    /// When.
    pub time: Timestamp,
    /// The text; without a newline at its end it goes on in the stream's next entry.
    pub line: Vec<u8>,
    /// The attributes of the log configuration, as a JSON object.
    pub attributes: Option<String>,
}

/// Why a log can not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file can not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// New output can not be waited for.
    #[error("follow the log {path}")]
    Follow {
        /// The log.
        path: PathBuf,
        /// Why not.
        #[source]
        source: SysError,
    },
    /// The reading task was ended from outside.
    #[error("reading the log was interrupted")]
    Interrupted,
}

/// The entries of a log, in order.
#[derive(Debug)]
pub struct LogEntries {
    query: LogQuery,
    ended: flag::Receiver<bool>,
    /// Tells of new output, when following.
    changes: Option<Watched>,
    state: State,
    ready: VecDeque<LogEntry>,
}

#[derive(Debug)]
enum State {
    /// About to read on.
    Idle(Box<LogReader>),
    /// Reading, on a thread that may block; with whether the container had ended before.
    Reading {
        task: JoinHandle<(Box<LogReader>, Result<Batch, ReadError>)>,
        last: bool,
    },
    /// All that there is was read.
    Waiting(Box<LogReader>),
    Done,
}

impl LogEntries {
    /// Opens the log at `path`. `ended` says, with `true` or by being closed, that the container has
    /// ended and all its output is in the log.
    ///
    /// # Errors
    /// When a file can not be read, or new output not be waited for.
    pub(crate) async fn open(
        path: &Path,
        query: LogQuery,
        ended: flag::Receiver<bool>,
        directories: &Directories,
    ) -> Result<Self, LogError> {
        // Order: what is printed after the first reading must be noticed.
        let watched = query.follow.then(|| {
            let watched = directories.watch(path.parent().unwrap_or(Path::new(".")));
            watched.map_err(|source| LogError::Follow { path: path.to_owned(), source })
        });
        let changes = watched.transpose()?;
        let from = query.tail.map_or(Selection::All, Selection::Last);
        let owned = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || LogReader::open(&owned, from)).await;
        let reader = opened.map_err(|_cancelled| LogError::Interrupted)??;
        Ok(Self {
            query,
            ended,
            changes,
            state: State::Idle(Box::new(reader)),
            ready: VecDeque::new(),
        })
    }

    /// The next entry; `None` at the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<LogEntry, LogError>> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            match self.step().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.state = State::Done;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Entries that can be had without waiting, after one was.
    pub fn take_ready(&mut self) -> impl Iterator<Item = LogEntry> + '_ {
        self.ready.drain(..)
    }

    /// Goes on by one state; `false` at the end.
    async fn step(&mut self) -> Result<bool, LogError> {
        match &mut self.state {
            State::Done => return Ok(false),
            State::Idle(_) => self.begin_reading(),
            State::Reading { task, last } => {
                let (read, last) = (task.await, *last);
                let (reader, batch) = read.map_err(|_cancelled| LogError::Interrupted)?;
                self.take(reader, batch?, last);
            }
            State::Waiting(_) => {
                if self.wait().await {
                    self.begin_reading();
                } else {
                    self.state = State::Done;
                }
            }
        }
        Ok(true)
    }

    fn begin_reading(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Done);
        let (State::Idle(mut reader) | State::Waiting(mut reader)) = state else {
            self.state = state;
            return;
        };
        // Order: all output is in the log when the flag is set, so it is looked at first.
        let last = !self.query.follow || *self.ended.borrow() || self.ended.has_changed().is_err();
        let task = tokio::task::spawn_blocking(move || {
            let batch = reader.read();
            (reader, batch)
        });
        self.state = State::Reading { task, last };
    }

    fn take(&mut self, reader: Box<LogReader>, batch: Batch, last: bool) {
        self.state = match batch.at_end {
            false => State::Idle(reader),
            true if last => State::Done,
            true => State::Waiting(reader),
        };
        for entry in batch.entries {
            let Some(entry) = convert(entry) else { continue };
            if self.query.since.is_some_and(|since| entry.time < since) {
                continue;
            }
            if self.query.until.is_some_and(|until| entry.time > until) {
                self.state = State::Done;
                return;
            }
            let wanted = match entry.stream {
                Stream::Stdout => self.query.stdout,
                Stream::Stderr => self.query.stderr,
            };
            if wanted {
                self.ready.push_back(entry);
            }
        }
    }

    /// Waits for something new; `false` when there will be nothing that is asked for.
    async fn wait(&mut self) -> bool {
        let Some(changes) = &mut self.changes else { return false };
        let until = self.query.until.map(|until| {
            // A time that has passed is waited for no more.
            std::time::Duration::try_from(until.duration_since(Timestamp::now()))
                .unwrap_or_default()
        });
        let too_late = async {
            match until {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changes.changed() => {}
            // Set, or closed: the last reading tells which.
            _ = self.ended.changed() => {}
            () = too_late => return false,
        }
        true
    }
}

/// An entry whose time can not be read is not one of ours.
fn convert(entry: Entry) -> Option<LogEntry> {
    let Entry { stream, time, line, attributes } = entry;
    Some(LogEntry { stream, time: time.parse().ok()?, line, attributes })
}

#[cfg(test)]
mod tests;
