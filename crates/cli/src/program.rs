//! From the words of the command line to the command.

use ferry_client::Client;

use crate::command_line::grammar::{self, Flag, Kind};
use crate::command_line::{Matches, help, parse, parser};
use crate::config::{Choice, Config};
use crate::report::Failure;
use crate::{commands, console};

/// Docker's commands that are known and not there yet.
const LATER: [&str; 15] = [
    "build", "builder", "bake", "compose", "config", "context", "cp", "diff", "node", "plugin",
    "search", "stats", "swarm", "trust", "update",
];

/// Likewise of Buildx.
const BUILDX_LATER: [&str; 15] = [
    "bake",
    "build",
    "create",
    "debug",
    "dial-stdio",
    "du",
    "history",
    "inspect",
    "install",
    "ls",
    "prune",
    "rm",
    "stop",
    "use",
    "version",
];

/// What a command has at hand.
#[derive(Debug)]
pub(crate) struct Cli {
    /// The name the program was called by.
    pub program: String,
    pub client: Client,
    pub config: Config,
    pub context: String,
    pub debug: bool,
}

/// Runs the command line; the first word is the program's own name.
pub(crate) async fn run(words: &[String]) -> Result<(), Failure> {
    let (own, words) =
        words.split_first().map_or(("ferry", words), |(own, rest)| (own.as_str(), rest));
    // Called as `docker`, it speaks of itself as `docker`.
    let program = match own.rsplit('/').next() {
        Some("docker") => "docker",
        _ => "ferry",
    };
    let globals = parser::read_flags(&globals(), words, false).map_err(|message| {
        Failure::new(
            125,
            format!(
                "{message}\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\n\
                 Run '{program} --help' for more information"
            ),
        )
    })?;
    if globals.flag("version") {
        return console::line(&format!(
            "Docker version {}, build {}",
            commands::version::VERSION,
            commands::version::BUILD
        ));
    }
    for flag in ["tls", "tlscacert", "tlscert", "tlskey", "tlsverify"] {
        if globals.is_given(flag) && globals.text(flag) != "false" {
            return Err(Failure::plain(format!("--{flag} is not supported yet")));
        }
    }
    let level = globals.value("log-level").unwrap_or("info");
    if !["debug", "info", "warn", "error", "fatal", "trace", "panic", "warning"].contains(&level) {
        return Err(Failure::plain(format!("Unable to parse logging level: {level}")));
    }
    let (named, wants_help) = match globals.args.split_first() {
        _ if globals.wants_help => {
            // `--help` may come before the command; what follows it was not read.
            let at = words.iter().position(|word| word == "--help" || word == "-h");
            (&words[at.map_or(0, |at| at + 1)..], true)
        }
        Some((first, rest)) if first == "help" => (rest, true),
        _ => (globals.args.as_slice(), false),
    };
    let is_topic = globals.args.first().is_some_and(|first| first == "help");
    if named.is_empty() {
        let text = help::main(program, &self::globals());
        if wants_help {
            return console::print(&text);
        }
        console::complain(text.trim_end_matches('\n'));
        return Ok(());
    }
    dispatch(program, &globals, named, wants_help, is_topic).await
}

async fn dispatch(
    program: &str,
    globals: &Matches,
    named: &[String],
    wants_help: bool,
    is_topic: bool,
) -> Result<(), Failure> {
    let unknown = |path: &str, usage: &str, about: &str| {
        Err(Failure::plain(format!(
            "{program}: unknown command: {program} {path}\n\n{usage}Run '{program}{about} --help' \
             for more information"
        )))
    };
    let mut path = named[0].clone();
    let mut words = &named[1..];
    while let Some((group, about)) = help::find_group(&path) {
        let second = words.iter().find(|word| !word.starts_with('-'));
        let is_help = wants_help || words.iter().any(|word| word == "--help" || word == "-h");
        let Some(second) = second else {
            let text = help::group(program, group, about);
            if is_help {
                return console::print(&text);
            }
            console::complain(text.trim_end_matches('\n'));
            return Ok(());
        };
        path = format!("{group} {second}");
        words = &words[1..];
        if grammar::find(&path).is_none() && help::find_group(&path).is_none() {
            if is_help {
                return console::print(&help::group(program, group, about));
            }
            refuse_later(program, second, &path)?;
            return unknown(&path, &format!("Usage:  {program} {group}\n\n"), &format!(" {group}"));
        }
    }
    let Some(command) = grammar::find(&path) else {
        if is_topic {
            return Err(Failure::plain(format!("unknown help topic: {}", named.join(" "))));
        }
        refuse_later(program, &path, &path)?;
        return unknown(&path, "", "");
    };
    if wants_help {
        return console::print(&help::command(program, &path, &command));
    }
    let matches = parse(program, &path, &command, words)?;
    for note in &matches.notes {
        console::line(note)?;
    }
    if matches.wants_help {
        return console::print(&help::command(program, &path, &command));
    }
    let mut cli = connect(program, globals)?;
    let result = commands::run(&cli, &path, command.names[0], &matches).await;
    // Versions are not negotiated, which would cost a request each time. An older engine refuses
    // the first request, before anything was done or printed.
    if let Err(failure) = &result
        && let Some(version) = failure.wanted_version()
        && std::env::var_os("DOCKER_API_VERSION").is_none()
    {
        cli.client = Client::with_api_version(cli.client.address().clone(), version);
        return commands::run(&cli, &path, command.names[0], &matches).await;
    }
    result
}

fn refuse_later(program: &str, word: &str, path: &str) -> Result<(), Failure> {
    let is_later = LATER.contains(&word)
        || matches!(path, "network connect" | "network create" | "network disconnect")
        || BUILDX_LATER.iter().any(|later| path.strip_prefix("buildx ") == Some(later))
        || matches!(path, "network prune" | "network rm" | "volume update" | "system dial-stdio");
    if is_later {
        return Err(Failure::plain(format!("{program}: '{program} {path}' is not supported yet")));
    }
    Ok(())
}

fn connect(program: &str, globals: &Matches) -> Result<Cli, Failure> {
    let config = Config::load(globals.value("config"));
    let choice = Choice {
        hosts: globals.list("host"),
        context: globals.value("context").map(str::to_owned),
    };
    let engine = config.engine(&choice)?;
    if matches!(engine.address, ferry_client::Address::Tcp(_)) {
        for name in ["DOCKER_TLS", "DOCKER_TLS_VERIFY"] {
            if std::env::var_os(name).is_some_and(|value| !value.is_empty()) {
                return Err(Failure::plain(format!("{name} is not supported yet")));
            }
        }
    }
    let version = std::env::var("DOCKER_API_VERSION").unwrap_or_default();
    let client = if version.is_empty() {
        Client::new(engine.address)
    } else {
        Client::with_api_version(engine.address, version.trim_start_matches('v'))
    };
    let context = engine.context;
    let debug = globals.flag("debug");
    Ok(Cli { program: program.into(), client, config, context, debug })
}

/// The flags before the command.
fn globals() -> Vec<Flag> {
    let flag = |long, short, value_name: &'static str, kind, help| Flag {
        long,
        short,
        kind,
        value_name,
        help,
        is_hidden: false,
        deprecated: None,
    };
    vec![
        flag(
            "config",
            None,
            "string",
            Kind::Text,
            "Location of client config files (default \"~/.docker\")",
        ),
        flag(
            "context",
            Some('c'),
            "string",
            Kind::Text,
            "Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set with \"docker context use\")",
        ),
        flag("debug", Some('D'), "", Kind::Bool, "Enable debug mode"),
        flag("host", Some('H'), "list", Kind::List, "Daemon socket to connect to"),
        flag(
            "log-level",
            Some('l'),
            "string",
            Kind::Text,
            "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\") (default \"info\")",
        ),
        flag("tls", None, "", Kind::Bool, "Use TLS; implied by --tlsverify"),
        flag(
            "tlscacert",
            None,
            "string",
            Kind::Text,
            "Trust certs signed only by this CA (default \"~/.docker/ca.pem\")",
        ),
        flag(
            "tlscert",
            None,
            "string",
            Kind::Text,
            "Path to TLS certificate file (default \"~/.docker/cert.pem\")",
        ),
        flag(
            "tlskey",
            None,
            "string",
            Kind::Text,
            "Path to TLS key file (default \"~/.docker/key.pem\")",
        ),
        flag("tlsverify", None, "", Kind::Bool, "Use TLS and verify the remote"),
        flag("version", Some('v'), "", Kind::Bool, "Print version information and quit"),
    ]
}
