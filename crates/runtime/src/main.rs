//! `ferry-runtime`: the OCI runtime's command line, in the words of runc's.
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod commands;
mod flags;
mod foreground;
mod log;
mod record;
mod shield;
mod time;

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let _program = arguments.next();
    commands::main(arguments.collect())
}
