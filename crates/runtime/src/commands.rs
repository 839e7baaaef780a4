//! The commands, and the line that names one.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::flags::{Flag, Given, switch, value};
use crate::log::Log;
use crate::shield;

mod create;
mod exec;
mod life;
mod show;
mod template;

/// What every command knows.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where the containers' records are.
    root: PathBuf,
}

/// The result of a command: the exit code of a process it stayed with, or 0.
type Outcome = Result<u8, String>;

/// One command.
struct Command {
    name: &'static str,
    flags: &'static [Flag],
    /// Whether flags end at the first operand, for what follows is a command of its own.
    stop: bool,
    /// Whether it makes processes in containers, and so must not let them get hold of its file.
    shielded: bool,
    run: fn(&Context, &Given, Vec<String>) -> Outcome,
}

const GLOBAL: &[Flag] = &[
    value("root", None),
    value("log", None),
    value("log-format", None),
    switch("debug", None),
    switch("systemd-cgroup", None),
    value("rootless", None),
    switch("version", Some('v')),
    switch("help", Some('h')),
];

const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        flags: create::FLAGS,
        stop: false,
        shielded: true,
        run: create::create,
    },
    Command { name: "start", flags: &[], stop: false, shielded: false, run: life::start },
    Command {
        name: "run",
        flags: create::RUN_FLAGS,
        stop: false,
        shielded: true,
        run: create::run,
    },
    Command { name: "exec", flags: exec::FLAGS, stop: true, shielded: true, run: exec::exec },
    Command { name: "state", flags: &[], stop: false, shielded: false, run: show::state },
    Command {
        name: "kill",
        flags: life::KILL_FLAGS,
        stop: false,
        shielded: false,
        run: life::kill,
    },
    Command {
        name: "delete",
        flags: life::DELETE_FLAGS,
        stop: false,
        shielded: false,
        run: life::delete,
    },
    Command { name: "pause", flags: &[], stop: false, shielded: false, run: life::pause },
    Command { name: "resume", flags: &[], stop: false, shielded: false, run: life::resume },
    Command {
        name: "list",
        flags: show::LIST_FLAGS,
        stop: false,
        shielded: false,
        run: show::list,
    },
    Command { name: "ps", flags: show::PS_FLAGS, stop: false, shielded: false, run: show::ps },
    Command {
        name: "spec",
        flags: template::FLAGS,
        stop: false,
        shielded: false,
        run: template::spec,
    },
    Command { name: "features", flags: &[], stop: false, shielded: false, run: show::features },
];

/// Runs a command line.
pub(crate) fn main(line: Vec<String>) -> ExitCode {
    let mut log = Log::default();
    match dispatch(line, &mut log) {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            log.error(&message);
            ExitCode::from(1)
        }
    }
}

fn dispatch(line: Vec<String>, log: &mut Log) -> Outcome {
    let (global, rest) = Given::parse(line, GLOBAL, true)?;
    log.path = global.value("log").map(PathBuf::from);
    log.json = match global.value("log-format") {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => return Err(format!("invalid log-format: {other:?}")),
    };
    if global.is_set("version") {
        return print(&version()).map(|()| 0);
    }
    let Some(name) = global.operands.first().filter(|_| !global.is_set("help")) else {
        return print(&usage()).map(|()| 0);
    };
    if global.is_set("systemd-cgroup") {
        return Err("--systemd-cgroup is not supported".to_owned());
    }
    if let Some(rootless) =
        global.value("rootless").filter(|value| !["auto", "false"].contains(value))
    {
        return Err(format!("--rootless={rootless} is not supported"));
    }
    let command = COMMANDS.iter().find(|command| command.name == name);
    let command = command.ok_or_else(|| format!("No help topic for '{name}'"))?;
    let (given, rest) = Given::parse(rest, command.flags, command.stop)?;
    if command.shielded {
        shield::raise()?;
    }
    let context = Context { root: global.value("root").unwrap_or("/run/ferry-runtime").into() };
    let failed = |message| format!("{name} failed: {message}");
    (command.run)(&context, &given, rest).map_err(failed)
}

fn version() -> String {
    format!(
        "ferry-runtime version {}\nspec: {}",
        env!("CARGO_PKG_VERSION"),
        ferry_oci::runtime::VERSION
    )
}

fn usage() -> String {
    let commands: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
    let flags: Vec<_> = GLOBAL.iter().map(|flag| format!("--{}", flag.name)).collect();
    format!(
        "usage: ferry-runtime [flags] command [flags] [operands]\n\ncommands: {}\nflags: {}",
        commands.join(" "),
        flags.join(" ")
    )
}

/// Prints a text and a new line.
fn print(text: &str) -> Result<(), String> {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| format!("writing: {error}")),
    }
}

/// The id, the only operand of most commands.
fn only_id(given: &Given) -> Result<&str, String> {
    match given.operands.as_slice() {
        [id] => Ok(id),
        [] => Err("requires exactly 1 argument(s): the container's id".to_owned()),
        [_, more, ..] => Err(format!("unexpected argument {more:?}")),
    }
}
