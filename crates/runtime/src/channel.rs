//! The talk between the process that makes a container and the init that it has forked.
//!
//! ```text
//! maker                                   init
//!   |  Mapped  (its user ids are mapped)   -> |
//!   | <- Terminal (its master, if it has one) |
//!   | <- Ready (all is set up)                |
//!   |  Go      (execute)                   -> |
//!   | <- end of file (it executes)            |
//!   | <- Failed, at any time instead          |
//! ```
//!
//! Each message is one datagram of a `SOCK_SEQPACKET` pair; both ends are closed on execution. When the
//! maker dies, the init reads the end of file and ends. The terminal goes ahead, for what is said after
//! it may be said behind a system call filter, which need allow no more than read(2) and write(2).

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use ferry_sys::fdpass;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};

use crate::error::{ErrorKind, RuntimeError};

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What the maker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// The init's user ids are mapped.
    Mapped = b'M' as isize,
    /// The init is to execute its program.
    Go = b'G' as isize,
}

/// What the init says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// It waits for [`Word::Go`].
    Ready,
    /// It could not go on, and ends.
    Failed(RuntimeError),
    /// It executes its program, or it is dead.
    Closed,
}

/// Longest message; an error of more is cut.
const LONGEST: usize = 16 * 1024;

/// Waits for a word. Only read(2), which every system call filter allows.
pub(crate) fn expect(from: &OwnedFd, word: Word) -> Result<(), RuntimeError> {
    let mut byte = [0_u8; 1];
    loop {
        match rustix::io::read(from, &mut byte) {
            Ok(1) if isize::from(byte[0]) == word as isize => return Ok(()),
            Ok(0) => {
                return Err(RuntimeError::new(ErrorKind::Other, "nobody waits for the container"));
            }
            Ok(_) => {
                let message = format!("waiting for {word:?}: an unexpected word {byte:?}");
                return Err(RuntimeError::new(ErrorKind::Other, message));
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(RuntimeError::failed(format!("waiting for {word:?}"), errno)),
        }
    }
}

impl Channel {
    /// Two ends: the maker's and the init's.
    pub(crate) fn pair() -> Result<(Self, Self), RuntimeError> {
        fdpass::pair(SocketFlags::empty())
            .map(|(maker, init)| (Self(maker), Self(init)))
            .map_err(|error| RuntimeError::call("making the channel to the init", &error))
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Maker: says a word.
    pub(crate) fn say(&self, word: Word) -> Result<(), Errno> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "all are ASCII"
        )]
        let byte = word as isize as u8;
        rustix::net::send(&self.0, &[byte], SendFlags::NOSIGNAL).map(|_sent| ())
    }

    /// Init: waits for a word.
    pub(crate) fn expect(&self, word: Word) -> Result<(), RuntimeError> {
        expect(&self.0, word)
    }

    /// Init: hands the master of its terminal over. Not behind a filter: it needs sendmsg(2).
    pub(crate) fn terminal(&self, master: BorrowedFd<'_>) -> Result<(), RuntimeError> {
        fdpass::send(&self.0, b"T", &[master])
            .map_err(|errno| RuntimeError::failed("handing the terminal over", errno))
    }

    /// Init: says that it is ready. Only write(2).
    pub(crate) fn ready(&self) -> Result<(), RuntimeError> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.0, b"R"))
            .map(|_one| ())
            .map_err(|errno| RuntimeError::failed("telling that the container is ready", errno))
    }

    /// Init: says that it could not go on. Only write(2). That nobody listens is of no interest.
    pub(crate) fn failed(&self, error: &RuntimeError) {
        let kind = match error.kind() {
            ErrorKind::NotFound => b'n',
            ErrorKind::PermissionDenied => b'p',
            ErrorKind::IsDirectory => b'd',
            ErrorKind::Invalid => b'i',
            ErrorKind::Other => b'o',
        };
        let mut message = vec![b'E', kind];
        message.extend_from_slice(error.to_string().as_bytes());
        message.truncate(LONGEST);
        match rustix::io::write(&self.0, &message) {
            Ok(_) | Err(_) => {}
        }
    }

    /// Maker: waits for nothing from now on; then [`answer_now`](Self::answer_now) is to be asked.
    pub(crate) fn do_not_wait(&self) -> Result<(), RuntimeError> {
        rustix::io::ioctl_fionbio(&self.0, true).map_err(failed_to_wait)
    }

    /// Maker: waits for what the init says.
    pub(crate) fn answer(&self) -> Result<Answer, RuntimeError> {
        self.answer_now()?.ok_or_else(|| failed_to_wait(Errno::AGAIN))
    }

    /// Maker: what the init has said; `None` when that is nothing, for a maker that does not wait.
    pub(crate) fn answer_now(&self) -> Result<Option<Answer>, RuntimeError> {
        let mut buffer = vec![0; LONGEST];
        let datagram = match fdpass::receive(&self.0, &mut buffer) {
            Ok(Some(datagram)) => datagram,
            Ok(None) | Err(Errno::CONNRESET) => return Ok(Some(Answer::Closed)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(failed_to_wait(errno)),
        };
        buffer.truncate(datagram.length);
        let terminal = datagram.descriptors.into_iter().next();
        Ok(Some(match buffer.as_slice() {
            [] => Answer::Closed,
            [b'R'] => Answer::Ready,
            [b'T'] => match terminal {
                Some(master) => Answer::Terminal(master),
                None => {
                    let message = "the container's terminal could not be received";
                    Answer::Failed(RuntimeError::new(ErrorKind::Other, message))
                }
            },
            [b'E', kind, message @ ..] => {
                let kind = match kind {
                    b'n' => ErrorKind::NotFound,
                    b'p' => ErrorKind::PermissionDenied,
                    b'd' => ErrorKind::IsDirectory,
                    b'i' => ErrorKind::Invalid,
                    _ => ErrorKind::Other,
                };
                Answer::Failed(RuntimeError::new(kind, String::from_utf8_lossy(message)))
            }
            other => {
                let message = format!("the container's init said {other:?}");
                Answer::Failed(RuntimeError::new(ErrorKind::Other, message))
            }
        }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn failed_to_wait(errno: Errno) -> RuntimeError {
    RuntimeError::failed("waiting for the container's init", errno)
}
