//! Durable files: whole or not at all, whatever dies when.
//!
//! A file is written beside its place, synchronised, renamed into place, and its directory
//! synchronised, in that order.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::error::SysError;

/// How much a write must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survive {
    /// The death of any process: no waiting for the disk.
    Processes,
    /// A power failure too.
    Power,
}

/// Writes a whole file in place of whatever is there.
///
/// # Errors
/// The call that failed; the old file is unharmed then.
pub fn write(path: &Path, bytes: &[u8], mode: u32, survive: Survive) -> Result<(), SysError> {
    let temporary = beside(path);
    let result = write_and_rename(&temporary, path, bytes, mode, survive);
    if result.is_err() {
        // It may never have been made; what matters is that it is not there now.
        drop(std::fs::remove_file(&temporary));
    }
    result
}

fn write_and_rename(
    temporary: &Path,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    survive: Survive,
) -> Result<(), SysError> {
    let fail = |op: &'static str| {
        move |e: std::io::Error| {
            SysError::at(op, path, Errno::from_io_error(&e).unwrap_or(Errno::IO))
        }
    };
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(temporary)
        .map_err(fail("create"))?;
    file.write_all(bytes).map_err(fail("write"))?;
    if survive == Survive::Power {
        file.sync_all().map_err(fail("fsync"))?;
    }
    rename(temporary, path, survive)
}

/// Renames a file or a directory, replacing a file, and synchronises the new directory.
///
/// # Errors
/// The call that failed.
pub fn rename(from: &Path, to: &Path, survive: Survive) -> Result<(), SysError> {
    std::fs::rename(from, to)
        .map_err(|e| SysError::at("rename", to, Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
    sync_parent(to, survive)
}

/// Renames and fails with `EEXIST` when there is something already. renameat2(2), Linux 3.15.
///
/// # Errors
/// The call that failed.
pub fn rename_new(from: &Path, to: &Path, survive: Survive) -> Result<(), SysError> {
    rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
        .map_err(|errno| SysError::at("rename", to, errno))?;
    sync_parent(to, survive)
}

/// Synchronises a directory, so that the names in it survive a power failure.
///
/// # Errors
/// The call that failed.
pub fn sync_dir(path: &Path) -> Result<(), SysError> {
    let sync = |path: &Path| File::open(path)?.sync_all();
    sync(path)
        .map_err(|e| SysError::at("fsync", path, Errno::from_io_error(&e).unwrap_or(Errno::IO)))
}

/// Lets the disk begin to write a part of a file, and does not wait for it: what a later fsync has to
/// wait for is less then. It makes nothing durable. `sync_file_range(2)`
///
/// # Errors
/// What the kernel answers; also that this file cannot be written so.
pub fn begin_writing(fd: impl AsFd, offset: u64, length: u64) -> Result<(), SysError> {
    use std::os::fd::AsRawFd as _;
    let fail = |errno| SysError::new("sync_file_range", "", errno);
    let number = |value: u64| libc::off64_t::try_from(value).map_err(|_large| fail(Errno::INVAL));
    let (offset, length) = (number(offset)?, number(length)?);
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: The call takes no pointers, and the descriptor is borrowed until it returns.
    let result = unsafe { libc::sync_file_range(fd, offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
}

/// Synchronises the whole filesystem that a descriptor is on. syncfs(2).
///
/// # Errors
/// What the kernel answers; since Linux 5.8 also failed writes from before.
pub fn sync_filesystem(fd: impl AsFd) -> Result<(), SysError> {
    rustix::fs::syncfs(fd).map_err(|errno| SysError::new("syncfs", "", errno))
}

fn sync_parent(path: &Path, survive: Survive) -> Result<(), SysError> {
    match (survive, path.parent()) {
        (Survive::Power, Some(parent)) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        (Survive::Power, Some(parent)) => sync_dir(parent),
        _ => Ok(()),
    }
}

/// A name beside `path` that nobody else uses: process and count make it unique.
fn beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ferry-durable-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn names(dir: &Path) -> Vec<OsString> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn files_can_be_begun_to_be_written_and_pipes_cannot() {
        let dir = scratch("begin");
        let file = File::create(dir.join("f")).unwrap();
        (&file).write_all(&[1; 10_000]).unwrap();
        begin_writing(&file, 0, 10_000).unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(begin_writing(&reader, 0, 1).unwrap_err().errno, Errno::SPIPE);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_write_replaces_the_file_and_leaves_nothing_beside_it() {
        let dir = scratch("replace");
        let path = dir.join("x");
        for (text, survive) in [("one", Survive::Processes), ("two", Survive::Power)] {
            write(&path, text.as_bytes(), 0o600, survive).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(&dir), ["x"]);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = scratch("failed");
        let path = dir.join("taken");
        std::fs::create_dir(&path).unwrap();
        let error = write(&path, b"x", 0o600, Survive::Power).unwrap_err();
        assert_eq!(error.op, "rename");
        assert_eq!(names(&dir), ["taken"]);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn renaming_to_a_taken_name_is_refused() {
        let dir = scratch("rename");
        std::fs::write(dir.join("a"), "a").unwrap();
        std::fs::write(dir.join("b"), "b").unwrap();
        let error = rename_new(&dir.join("a"), &dir.join("b"), Survive::Power).unwrap_err();
        assert_eq!(error.errno, Errno::EXIST);
        rename_new(&dir.join("a"), &dir.join("c"), Survive::Power).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }
}
