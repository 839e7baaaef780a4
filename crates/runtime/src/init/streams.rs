//! Standard streams and the terminal.

use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use ferry_sys::{mount, path};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use rustix::thread::Uid;

use crate::channel::Channel;
use crate::container::Stdio;
use crate::error::{ErrorKind, RuntimeError};

impl Stdio {
    /// The descriptors the process gets.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let pipes = match self {
            Self::Pipes { stdin, stdout, stderr } => Some([stdin, stdout, stderr]),
            Self::Inherit | Self::Terminal { .. } => None,
        };
        pipes.into_iter().flatten().map(AsRawFd::as_raw_fd)
    }
}

/// Streams that are ready to be the process's.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Input, output, errors; none keeps those there are.
    own: Option<[OwnedFd; 3]>,
    /// The master of the terminal.
    terminal: Option<OwnedFd>,
}

/// Opens a terminal of the container at `root`, or takes the given streams. The init also has the
/// terminal on `/dev/console`.
pub(crate) fn prepare(
    stdio: Stdio,
    root: BorrowedFd<'_>,
    is_init: bool,
) -> Result<Streams, RuntimeError> {
    match stdio {
        Stdio::Inherit => Ok(Streams { own: None, terminal: None }),
        Stdio::Pipes { stdin, stdout, stderr } => {
            Ok(Streams { own: Some([stdin, stdout, stderr]), terminal: None })
        }
        Stdio::Terminal { size } => open_terminal(root, size, is_init),
    }
}

impl Streams {
    /// Makes them descriptors 0, 1 and 2, owned by the process's user, and hands the master over.
    pub(crate) fn take_on(self, uid: u32, channel: &Channel) -> Result<(), RuntimeError> {
        let failed = |errno| RuntimeError::failed("setting up standard streams", errno);
        if let Some(own) = self.own {
            // Above the three, so that none is overwritten before it is copied.
            let own = own.map(|fd| rustix::io::fcntl_dupfd_cloexec(&fd, 3));
            let [stdin, stdout, stderr] = own;
            rustix::stdio::dup2_stdin(stdin.map_err(failed)?).map_err(failed)?;
            rustix::stdio::dup2_stdout(stdout.map_err(failed)?).map_err(failed)?;
            rustix::stdio::dup2_stderr(stderr.map_err(failed)?).map_err(failed)?;
        }
        for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            give_to(fd, uid)?;
        }
        match self.terminal {
            Some(master) => channel.terminal(master.as_fd()),
            None => Ok(()),
        }
    }
}

/// A process that is not root may have to open its streams again (`/dev/stdout`).
fn give_to(fd: BorrowedFd<'_>, uid: u32) -> Result<(), RuntimeError> {
    let failed = |errno| RuntimeError::failed("giving standard streams to the user", errno);
    let stat = match rustix::fs::fstat(fd) {
        // A process may well have no standard input.
        Err(Errno::BADF) => return Ok(()),
        stat => stat.map_err(failed)?,
    };
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if stat.st_uid == uid || is_null {
        return Ok(());
    }
    match rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None) {
        // Someone else's stream, or on a read-only file system: it is as usable as it is.
        Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

fn open_terminal(
    root: BorrowedFd<'_>,
    size: Option<(u16, u16)>,
    is_init: bool,
) -> Result<Streams, RuntimeError> {
    let failed = |errno| RuntimeError::failed("opening a terminal", errno);
    let ptmx = Path::new("dev/pts/ptmx");
    let master = path::open_in_root(root, ptmx, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())
        .map_err(failed)?;
    check_is_ptmx(master.as_fd())?;
    rustix::pty::unlockpt(&master).map_err(failed)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(failed)?;
    if let Some((rows, columns)) = size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&slave, size).map_err(failed)?;
    }
    // The session was made by the caller, which leads it.
    rustix::process::ioctl_tiocsctty(&slave).map_err(failed)?;
    if is_init {
        let console = || -> Result<(), ferry_sys::SysError> {
            // A link of the image would have the terminal put over something else. (CVE-2025-52565)
            let place = path::ensure_plain_file(root, Path::new("dev/console"))?;
            mount::attach(mount::copy_tree(slave.as_fd(), false)?.as_fd(), place.as_fd())
        };
        console().map_err(|error| RuntimeError::call("mounting /dev/console", &error))?;
    }
    let copy = || {
        slave.try_clone().map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    };
    Ok(Streams { own: Some([copy()?, copy()?, slave]), terminal: Some(master) })
}

/// What is opened as the multiplexer of terminals must be it.
fn check_is_ptmx(master: BorrowedFd<'_>) -> Result<(), RuntimeError> {
    const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
    let failed = |errno| RuntimeError::failed("checking /dev/pts/ptmx", errno);
    let stat = rustix::fs::fstat(master).map_err(failed)?;
    let filesystem = rustix::fs::fstatfs(master).map_err(failed)?;
    if stat.st_rdev == rustix::fs::makedev(5, 2) && filesystem.f_type == DEVPTS_SUPER_MAGIC {
        return Ok(());
    }
    Err(RuntimeError::new(ErrorKind::Other, "/dev/pts/ptmx is not a multiplexer of terminals"))
}
