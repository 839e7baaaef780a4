//! The process beside each container, and, by another name, the small init in it.
//!
//! The name it is executed by says which: `docker-init` in a container made with `--init`, anything
//! else is the supervisor.
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

mod docker_init;
mod program;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().map(OsString::from).unwrap_or_default();
    if name == docker_init::NAME {
        return docker_init::run(arguments.collect());
    }
    program::run()
}
