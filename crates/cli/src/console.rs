//! Standard output and standard error.

use std::io::{self, Write as _};

use crate::report::Failure;

/// Writes data for the user's programs.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line of data.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Writes to standard error as it is, for progress.
pub(crate) fn talk(text: &str) {
    let mut stream = io::stderr().lock();
    drop(stream.write_all(text.as_bytes()).and_then(|()| stream.flush()));
}

/// Says something to the user; nothing can be done when that fails.
pub(crate) fn complain(text: &str) {
    if !text.is_empty() {
        drop(writeln!(io::stderr().lock(), "{text}"));
    }
}
