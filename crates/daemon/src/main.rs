//! `ferryd`: the engine's program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use ferry_daemon::config::Flags;

fn main() -> ExitCode {
    match ferry_daemon::run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the log may not have been started")]
            {
                eprintln!("ferryd: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
