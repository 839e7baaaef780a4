//! The user's command: `ferry`, which looks and speaks like `docker`.
//!
//! A command line is read by [`command_line`], checked by [`options`], carried out by
//! [`commands`] through the client, and shown by [`mod@format`] with the templates of [`template`].
//! Called by the name `docker` it is the same program. Of the engine it asks nothing that `curl`
//! cannot; what a command asks of registries itself goes through [`registries`].
#![forbid(unsafe_code)]

mod command_line;
mod commands;
mod config;
mod console;
mod credentials;
mod format;
mod note;
mod options;
mod program;
mod prompt;
mod registries;
mod report;
mod streams;
mod template;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console::complain(&format!("cannot start the async runtime: {error}"));
            return ExitCode::from(125);
        }
    };
    let result = runtime.block_on(program::run(&words));
    // A thread may still read a terminal; it ends with the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console::complain(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}
