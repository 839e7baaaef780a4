//! How much of the disk is left.

use std::os::fd::AsFd;
use std::path::Path;

use crate::error::StoreError;
use crate::limits;

/// Refuses to fill the disk to its brim with `more` bytes: whatever else is on it, our own database
/// first, needs some space to go on. The file is on that disk.
pub(crate) fn check(file: impl AsFd, path: &Path, more: u64) -> Result<(), StoreError> {
    let space = rustix::fs::fstatvfs(file).map_err(|e| StoreError::file("statvfs", path, e))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let whole = space.f_blocks.saturating_mul(space.f_frsize);
    let wanted = limits::MIN_FREE_BYTES.max(whole / 100 * limits::MIN_FREE_PERCENT);
    // Of a small disk so much would be all of it.
    if free < more.saturating_add(wanted.min(whole / 10)) {
        return Err(StoreError::Full { doing: "write", path: path.to_owned() });
    }
    Ok(())
}

/// As [`check`], from time to time while a file grows from one length to another.
pub(crate) fn check_growth(
    file: impl AsFd,
    path: &Path,
    before: u64,
    after: u64,
) -> Result<(), StoreError> {
    match before / limits::FREE_SPACE_EVERY == after / limits::FREE_SPACE_EVERY {
        true => Ok(()),
        false => check(file, path, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_written() {
        let file = tempfile::tempfile().unwrap();
        let path = Path::new("a file");
        check(&file, path, 0).unwrap();
        assert_eq!(check(&file, path, 1 << 62).unwrap_err().kind(), ErrorKind::Full);
        check_growth(&file, path, 0, limits::FREE_SPACE_EVERY).unwrap();
    }
}
