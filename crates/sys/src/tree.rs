//! Directory trees that somebody else made: of any depth, and with names of any kind.
//!
//! Everything is done by descriptors relative to their directory, and nothing is followed. However
//! deep a tree is, 32 of its directories are open at most, no stack grows with it, and each
//! level costs a few bytes of memory: a path longer than `PATH_MAX` is made by a loop of mkdir and
//! chdir, and needs no privilege.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Context as _, SysError};
use crate::path::open_beneath;

/// How many directories of one tree are open at once. Those above them are closed, and opened
/// again by `..`, which must lead to the same directory as before.
const OPEN: usize = 32;

const DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Deletes a file, or a directory and everything beneath it. What is not there is no error.
///
/// Other filesystems mounted in it are not entered: their place cannot be removed (`EBUSY`).
///
/// # Errors
/// What the kernel says of the first thing that cannot be deleted; the rest is still there then.
pub fn remove(path: &Path) -> Result<(), SysError> {
    let subject = || path.display().to_string();
    let directory = match openat(CWD, path, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return gone(unlinkat(CWD, path, AtFlags::empty())).during("unlink", subject);
        }
        answer => answer.during("open", subject)?,
    };
    empty(directory).map_err(|(op, errno)| SysError::new(op, format!("{}/…", subject()), errno))?;
    gone(unlinkat(CWD, path, AtFlags::REMOVEDIR)).during("rmdir", subject)
}

/// Deletes everything in a directory.
fn empty(directory: OwnedFd) -> Result<(), (&'static str, Errno)> {
    let mut descent = Descent::start(directory).map_err(|e| ("open", e))?;
    loop {
        let Some(entry) = descent.next().map_err(|e| ("read", e))? else {
            let name = descent.name.take().filter(|name| !name.is_empty());
            // What was deleted meanwhile has moved the rest: the directory above is read again.
            if !descent.leave(Reopened::AtItsStart).map_err(|e| ("open", e))? {
                return Ok(());
            }
            // Without its name it is found again above.
            if let (Some(name), Some(above)) = (name, descent.directory()) {
                gone(unlinkat(above, &*name, AtFlags::REMOVEDIR)).map_err(|e| ("rmdir", e))?;
            }
            continue;
        };
        let Some(above) = descent.directory() else { return Ok(()) };
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory {
            match gone(unlinkat(above, name, AtFlags::empty())) {
                // Some filesystems do not tell what an entry is.
                Err(Errno::ISDIR) => {}
                answer => {
                    answer.map_err(|e| ("unlink", e))?;
                    continue;
                }
            }
        }
        // An empty one goes at once; and one where something is mounted says so before it is entered.
        match gone(unlinkat(above, name, AtFlags::REMOVEDIR)) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let inner =
                    openat(above, name, DIRECTORY, Mode::empty()).map_err(|e| ("open", e))?;
                descent.enter(inner, name).map_err(|e| ("open", e))?;
            }
            answer => answer.map_err(|e| ("rmdir", e))?,
        }
    }
}

/// Tells of everything beneath a directory, each directory before what is in it. What other
/// filesystems are mounted in it is left out, and so is what goes meanwhile; what cannot be looked at is
/// told as an error, and the walk goes on beside it.
///
/// # Errors
/// When the directory itself cannot be read.
pub fn walk(
    root: BorrowedFd<'_>,
    mut tell: impl FnMut(Result<&Stat, Errno>),
) -> Result<(), SysError> {
    let root = openat(root, ".", DIRECTORY, Mode::empty()).during("open", || "a tree")?;
    let mut descent = Descent::start(root).during("open", || "a tree")?;
    loop {
        let entry = match descent.next() {
            Ok(Some(entry)) => entry,
            read => {
                if let Err(errno) = read {
                    tell(Err(errno));
                }
                match descent.leave(Reopened::WhereItWas) {
                    Ok(true) => continue,
                    Ok(false) => return Ok(()),
                    // It was moved elsewhere while it was walked: there is no way back.
                    Err(errno) => {
                        tell(Err(errno));
                        return Ok(());
                    }
                }
            }
        };
        let Some(above) = descent.directory() else { return Ok(()) };
        let name = entry.file_name();
        let stat = match statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => {
                tell(Err(errno));
                continue;
            }
        };
        tell(Ok(&stat));
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        let inner = open_beneath(above, Path::new(OsStr::from_bytes(name.to_bytes())), DIRECTORY);
        match inner.and_then(|inner| descent.enter(inner, name)) {
            Ok(()) | Err(Errno::XDEV | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => tell(Err(errno)),
        }
    }
}

/// The way from the root of a tree to a directory in it.
struct Descent {
    /// All directories on the way, by device and inode, and where reading them goes on.
    levels: Vec<Level>,
    /// The lowest of them, open, with their names in the ones above.
    open: VecDeque<(Dir, CString)>,
    /// The lowest one's name, once it has been read to its end; while what is above is open.
    name: Option<CString>,
}

struct Level {
    id: (u64, u64),
    offset: i64,
}

/// Where reading a directory goes on that was closed meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reopened {
    AtItsStart,
    WhereItWas,
}

impl Descent {
    fn start(root: OwnedFd) -> Result<Self, Errno> {
        let mut descent = Self { levels: Vec::new(), open: VecDeque::new(), name: None };
        descent.enter(root, c"")?;
        Ok(descent)
    }

    /// The lowest directory.
    fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.open.back().and_then(|(dir, _)| dir.fd().ok())
    }

    fn enter(&mut self, directory: OwnedFd, name: &CStr) -> Result<(), Errno> {
        let id = id_of(directory.as_fd())?;
        self.open.push_back((Dir::new(directory)?, name.to_owned()));
        self.levels.push(Level { id, offset: 0 });
        if self.open.len() > OPEN {
            self.open.pop_front();
        }
        Ok(())
    }

    /// The next entry of the lowest directory.
    fn next(&mut self) -> Result<Option<rustix::fs::DirEntry>, Errno> {
        let (Some((dir, name)), Some(level)) = (self.open.back_mut(), self.levels.last_mut())
        else {
            return Ok(None);
        };
        loop {
            match dir.read() {
                None => {
                    self.name = Some(std::mem::take(name));
                    return Ok(None);
                }
                Some(entry) => {
                    let entry = entry?;
                    level.offset = entry.offset();
                    if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                        return Ok(Some(entry));
                    }
                }
            }
        }
    }

    /// Goes up; false when that was the root.
    fn leave(&mut self, reopened: Reopened) -> Result<bool, Errno> {
        self.levels.pop();
        let (Some((inner, _)), Some(level)) = (self.open.pop_back(), self.levels.last()) else {
            return Ok(false);
        };
        if self.open.is_empty() {
            let above = openat(inner.fd()?, "..", DIRECTORY, Mode::empty())?;
            if id_of(above.as_fd())? != level.id {
                return Err(Errno::STALE);
            }
            let mut dir = Dir::new(above)?;
            if reopened == Reopened::WhereItWas {
                dir.seek(level.offset)?;
            }
            // Its own name is not known any more.
            self.open.push_back((dir, CString::default()));
        }
        Ok(true)
    }
}

fn id_of(directory: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let stat = fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// What is not there need not be deleted.
fn gone(answer: Result<(), Errno>) -> Result<(), Errno> {
    match answer {
        Err(Errno::NOENT) => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests;
