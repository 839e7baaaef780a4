//! The directory of one volume.
//!
//! ```text
//! volumes/<name>/_data        what is mounted
//!                _copy        the image's content, while it is copied
//!                _ready       the same, complete, while it is moved into `_data`
//!                unfinished   made for a container that has no record yet, in the boot it names
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{copy, make_directory, remove_tree};
use crate::error::{Doing as _, EngineError, Result};

/// What is mounted.
pub(super) const DATA: &str = "_data";
const UNFINISHED: &str = "unfinished";

/// The directory of one volume.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Whether it is there, with what is mounted.
    pub(super) fn exists(&self) -> bool {
        self.0.join(DATA).is_dir()
    }

    /// Makes it, at `hidden` first, so that it appears whole. One that is there is taken as it is, as
    /// Docker does. Says whether it is new.
    ///
    /// # Errors
    /// When it can not be made.
    pub(super) fn make(&self, hidden: &Path) -> Result<bool> {
        make_directory(hidden, 0o701)?;
        make_directory(&hidden.join(DATA), 0o755)?;
        self.appear(hidden)
    }

    /// As [`Place::make`], with the mark of one that is still to be recorded.
    ///
    /// # Errors
    /// When it can not be made.
    pub(super) fn make_unfinished(&self, hidden: &Path, boot_id: &str) -> Result<bool> {
        make_directory(hidden, 0o701)?;
        make_directory(&hidden.join(DATA), 0o755)?;
        let mark = hidden.join(UNFINISHED);
        fs::write(&mark, boot_id).doing(|| format!("writing {}", mark.display()))?;
        self.appear(hidden)
    }

    fn appear(&self, hidden: &Path) -> Result<bool> {
        match fs::rename(hidden, &self.0) {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty
                ) =>
            {
                remove_tree(hidden)?;
                make_directory(&self.0.join(DATA), 0o755)?;
                Ok(false)
            }
            Err(error) => {
                remove_tree(hidden)?;
                let doing = format!("making the directory {}", self.0.display());
                Err(EngineError::internal(doing, error))
            }
        }
    }

    /// It is recorded: the mark goes.
    ///
    /// # Errors
    /// When it can not be removed.
    pub(super) fn finish(&self) -> Result<()> {
        let mark = self.0.join(UNFINISHED);
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(EngineError::internal(format!("removing {}", mark.display()), error))
            }
            _ => Ok(()),
        }
    }

    /// Whether it was made, in this boot, for a container that was never recorded. Of another boot
    /// nothing can be said: the record may have been lost with the power.
    pub(super) fn is_unfinished(&self, boot_id: &str) -> bool {
        fs::read_to_string(self.0.join(UNFINISHED)).is_ok_and(|of| of == boot_id)
    }

    /// Puts a recorded one in order after a crash.
    ///
    /// # Errors
    /// When something can not be read or moved.
    pub(super) fn settle(&self) -> Result<()> {
        if !self.exists() {
            tracing::warn!(volume = %self.0.display(), "a volume was gone, and is made anew");
            make_directory(&self.0, 0o701)?;
            make_directory(&self.0.join(DATA), 0o755)?;
        }
        copy::settle(&self.0)?;
        self.finish()
    }

    /// When it was made, as far as its directory tells.
    pub(super) fn created(&self) -> Timestamp {
        let made = fs::metadata(&self.0).and_then(|metadata| metadata.modified());
        made.ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_else(Timestamp::now)
    }
}

/// What tells this boot from others.
///
/// # Errors
/// When the kernel does not say.
pub(super) fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    fs::read_to_string(path).map(|id| id.trim().to_owned()).doing(|| format!("reading {path}"))
}
