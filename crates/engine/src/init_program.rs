//! The small init of containers made with `--init`: a copy of the supervisor's program, for containers.
//!
//! It is bound into them read-only, but a container that may mount can make it writable again. So it is
//! never the file that the host executes, and each start looks whether it is still as it was.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{Doing as _, Result};

/// Its name under the exec root.
const NAME: &str = "docker-init";

/// How much is compared at once.
const PIECE: usize = 64 * 1024;

/// What anybody may do to it: read and execute.
const MODE: u32 = 0o555;

/// The small init's program.
#[derive(Debug)]
pub(crate) struct InitProgram {
    path: PathBuf,
    /// The program as it was when the engine started, in memory and sealed.
    original: File,
    /// Held while the copy is looked at or made.
    making: Mutex<()>,
}

impl InitProgram {
    /// The program that `original` holds, to be copied under an exec root when it is first needed.
    pub(crate) fn new(exec_root: &Path, original: OwnedFd) -> Self {
        Self { path: exec_root.join(NAME), original: original.into(), making: Mutex::new(()) }
    }

    /// The copy, which is the same as the original. A container that has another one keeps that.
    ///
    /// # Errors
    /// When it is not, and no new one can be made.
    pub(crate) fn copy(&self) -> Result<&Path> {
        let _held = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let ensured = self.is_as_it_was().and_then(|same| match same {
            true => Ok(()),
            false => self.make(),
        });
        ensured.doing(|| format!("preparing the small init {}", self.path.display()))?;
        Ok(&self.path)
    }

    fn is_as_it_was(&self) -> io::Result<bool> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let copy = match File::options().read(true).custom_flags(flags).open(&self.path) {
            Ok(copy) => copy,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // A link in its place.
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let (stat, size) = (copy.metadata()?, self.original.metadata()?.len());
        let owned = (stat.uid(), stat.gid(), stat.mode() & 0o7777) == (0, 0, MODE);
        if !stat.is_file() || !owned || stat.len() != size {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (vec![0; PIECE], vec![0; PIECE]);
        let mut offset = 0;
        while offset < size {
            let length = usize::try_from(size - offset).unwrap_or(PIECE).min(PIECE);
            let ours = ours.get_mut(..length).unwrap_or_default();
            let theirs = theirs.get_mut(..length).unwrap_or_default();
            self.original.read_exact_at(ours, offset)?;
            // It may become shorter at any time.
            match copy.read_exact_at(theirs, offset) {
                Ok(()) if ours == theirs => offset += length as u64,
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Puts a new file in its place; whoever has the old one bound keeps that.
    fn make(&self) -> io::Result<()> {
        let size = usize::try_from(self.original.metadata()?.len()).unwrap_or_default();
        let mut program = vec![0; size];
        self.original.read_exact_at(&mut program, 0)?;
        let temporary = self.path.with_extension("new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = File::options();
        let mut file = options.write(true).create_new(true).mode(MODE).open(&temporary)?;
        file.write_all(&program)?;
        // The mask of this process may have taken something away.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE))?;
        drop(file);
        fs::rename(&temporary, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(directory: &Path, bytes: &[u8]) -> InitProgram {
        let original = ferry_sys::launch::seal("test", bytes).unwrap();
        InitProgram::new(directory, original)
    }

    #[test]
    fn the_copy_is_made_once_and_again_when_it_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let program = program(directory.path(), &bytes);
        let path = program.copy().unwrap().to_owned();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        let inode = || fs::symlink_metadata(&path).unwrap().ino();
        let first = inode();
        program.copy().unwrap();
        assert_eq!(inode(), first);
        // Held by a container, as a bind mount would.
        let held = File::open(&path).unwrap();

        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let writer = File::options().write(true).open(&path).unwrap();
        writer.write_all_at(b"X", 150_000).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(MODE)).unwrap();
        assert_ne!(fs::read(&path).unwrap(), bytes);
        program.copy().unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_ne!(inode(), first);
        assert_eq!(held.metadata().unwrap().ino(), first);
        writer.write_all_at(b"Y", 10).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn what_is_in_its_place_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let program = program(directory.path(), b"program");
        let path = directory.path().join(NAME);
        let secret = directory.path().join("secret");
        fs::write(&secret, "program").unwrap();
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        program.copy().unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        for other in [&b"progra"[..], b"programs", b""] {
            fs::remove_file(&path).unwrap();
            fs::write(&path, other).unwrap();
            program.copy().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"program");
        }
        assert_eq!(fs::read(&secret).unwrap(), b"program");
    }
}
