//! `docker export`: a container's whole root filesystem as an archive.

use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;

use crate::error::StoreError;
use crate::out::tree::TreeArchiver;
use crate::store::Store;

impl Store {
    /// Writes everything in a directory as an archive. What is mounted in it is left out.
    ///
    /// # Errors
    /// When a file cannot be read, or the archive not be written.
    pub fn export_tree(
        &self,
        root: OwnedFd,
        out: &mut (dyn Write + Send),
    ) -> Result<(), StoreError> {
        let out = BufWriter::with_capacity(256 << 10, out);
        TreeArchiver::new(out, None).archive(root).map(drop)
    }
}
