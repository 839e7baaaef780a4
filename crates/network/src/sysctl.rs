//! Kernel parameters below `/proc/sys/net`, which are those of the thread's network namespace.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use ferry_sys::SysError;
use rustix::io::Errno;

use crate::error::{NetworkError, Result};

/// Reads a parameter such as `ipv4/ip_forward`.
pub(crate) fn read(name: &str) -> Result<String> {
    let path = Path::new("/proc/sys/net").join(name);
    let value = fs::read_to_string(&path).map_err(|error| failed("reading", &path, &error))?;
    Ok(value.trim_end().to_owned())
}

/// Writes a parameter.
pub(crate) fn write(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|error| failed("writing", &path, &error))
}

/// Writes a parameter that a kernel without IPv6 lacks.
pub(crate) fn write_if_present(name: &str, value: &str) -> Result<()> {
    match write(name, value) {
        Err(NetworkError::Kernel { source, .. }) if source.errno == Errno::NOENT => Ok(()),
        other => other,
    }
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> NetworkError {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    NetworkError::Kernel {
        doing: format!("{doing} {}", path.display()),
        source: SysError::at("open", path, errno),
    }
}
