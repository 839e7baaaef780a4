//! Files that appear in somebody else's tree when they are whole.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::ensure_parent;
use crate::error::{Context as _, SysError};

/// A file on its way to a path under a root: written beside its place, renamed when it is whole,
/// gone when it is dropped before. What is renamed is in the directory that was resolved first,
/// whatever has become of the path since.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    parent: OwnedFd,
    temporary: OsString,
    name: OsString,
    file: File,
    replaces: bool,
    is_kept: bool,
}

impl NewFile {
    /// Begins a file, with the directories above it. Its mode is `mode` without the process's mask.
    ///
    /// # Errors
    /// `EEXIST` when there is something already and it is not to be replaced; else what openat2,
    /// mkdirat and openat say.
    pub fn create(
        root: BorrowedFd<'_>,
        path: &Path,
        mode: u32,
        replaces: bool,
    ) -> Result<Self, SysError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let subject = || path.display().to_string();
        let (parent, name) = ensure_parent(root, path)?;
        if !replaces {
            match rustix::fs::statat(&parent, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Ok(_) => return Err(SysError::at("create", path, Errno::EXIST)),
                Err(errno) => return Err(SysError::at("statat", path, errno)),
            }
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = OsString::from(format!(".tmp-{}-{count}", std::process::id()));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(
            &parent,
            &*temporary,
            flags | OFlags::WRONLY,
            Mode::from_raw_mode(mode),
        );
        let file = File::from(made.during("openat", subject)?);
        let path = path.to_owned();
        Ok(Self { path, parent, temporary, name, file, replaces, is_kept: false })
    }

    /// The file, to be written.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name. renameat2(2), Linux 3.15.
    ///
    /// # Errors
    /// `EEXIST` when there is something by now and it is not to be replaced; else what renameat2
    /// says. The file is gone then.
    pub fn keep(mut self) -> Result<(), SysError> {
        let flags = if self.replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let (parent, temporary, name) = (&self.parent, &*self.temporary, &*self.name);
        rustix::fs::renameat_with(parent, temporary, parent, name, flags)
            .map_err(|errno| SysError::at("rename", &self.path, errno))?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nothing can be done about a file that stays.
            rustix::fs::unlinkat(&self.parent, &*self.temporary, AtFlags::empty()).ok();
        }
    }
}
