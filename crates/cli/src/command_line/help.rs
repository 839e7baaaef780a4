//! Help texts in the form of Docker's.

use super::{Command, Flag, grammar};

/// The columns for help when the terminal does not say.
const DEFAULT_WIDTH: usize = 80;

/// The groups of commands and what they are about; some stand in another.
pub(crate) const GROUPS: [(&str, &str); 9] = [
    ("artifact", "Manage files in registries (OCI artifacts), without an engine"),
    ("buildx", "Work on images without an engine (of Buildx only imagetools)"),
    ("buildx imagetools", "Commands to work on images in registry"),
    ("container", "Manage containers"),
    ("image", "Manage images"),
    ("manifest", "Manage Docker image manifests and manifest lists"),
    ("network", "Manage networks"),
    ("system", "Manage Docker"),
    ("volume", "Manage volumes"),
];

/// The commands that the main help shows first.
const COMMON: [&str; 10] =
    ["run", "exec", "ps", "pull", "push", "images", "login", "logout", "version", "info"];

/// The group of this name.
pub(crate) fn find_group(name: &str) -> Option<(&'static str, &'static str)> {
    GROUPS.iter().find(|(group, _)| *group == name).copied()
}

/// `docker ps [OPTIONS]`
pub(crate) fn usage_line(program: &str, path: &str, usage: &str) -> String {
    format!("{program} {path} {usage}").trim_end().to_owned()
}

/// What is said about a mistake in the flags.
pub(crate) fn mistake(program: &str, path: &str, usage: &str, message: &str) -> String {
    let line = usage_line(program, path, usage);
    format!("{message}\n\nUsage:  {line}\n\nRun '{program} {path} --help' for more information")
}

/// The help of a command.
pub(crate) fn command(program: &str, path: &str, command: &Command) -> String {
    let mut out = format!(
        "Usage:  {}\n\n{}\n",
        usage_line(program, path, command.usage),
        command.about.replace("\\n", "\n")
    );
    if command.names.len() > 1 {
        let names: Vec<String> =
            command.names.iter().map(|name| format!("{program} {name}")).collect();
        out.push_str(&format!("\nAliases:\n  {}\n", names.join(", ")));
    }
    let flags = flags(&command.flags);
    if !flags.is_empty() {
        out.push_str(&format!("\nOptions:\n{flags}"));
    }
    out
}

/// The help of a group of commands.
pub(crate) fn group(program: &str, group: &str, about: &str) -> String {
    let mut commands: Vec<(&str, &'static str)> = grammar::all()
        .filter_map(|(names, about)| {
            let name = names.iter().find_map(|name| name.strip_prefix(group)?.strip_prefix(' '))?;
            Some((name, about))
        })
        .chain(GROUPS.iter().filter_map(|(name, about)| {
            Some((name.strip_prefix(group)?.strip_prefix(' ')?, *about))
        }))
        .filter(|(name, _)| !name.contains(' '))
        .collect();
    commands.sort_unstable();
    format!(
        "Usage:  {program} {group} COMMAND\n\n{about}\n\nCommands:\n{}\n\
         Run '{program} {group} COMMAND --help' for more information on a command.\n",
        list(&commands)
    )
}

/// The help of the program.
pub(crate) fn main(program: &str, globals: &[Flag]) -> String {
    let mut common = Vec::new();
    let mut others = Vec::new();
    for (names, about) in grammar::all() {
        for name in names.into_iter().filter(|name| !name.contains(' ')) {
            let part = if COMMON.contains(&name) { &mut common } else { &mut others };
            part.push((name, about));
        }
    }
    let groups: Vec<(&str, &'static str)> =
        GROUPS.iter().filter(|(name, _)| !name.contains(' ')).copied().collect();
    common.sort_by_key(|(name, _)| COMMON.iter().position(|it| it == name));
    others.sort_unstable();
    format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers\n\n\
         Common Commands:\n{}\nManagement Commands:\n{}\nCommands:\n{}\nGlobal Options:\n{}\n\
         Run '{program} COMMAND --help' for more information on a command.\n",
        list(&common),
        list(&groups),
        list(&others),
        flags(globals)
    )
}

fn list(commands: &[(&str, &'static str)]) -> String {
    // Of several lines the first says it, as a heading.
    let short = |about: &'static str| match about.split_once("\\n") {
        Some((first, _)) => first.trim_end_matches('.'),
        None => about,
    };
    commands.iter().map(|(name, about)| format!("  {name:<11} {}\n", short(about))).collect()
}

/// The flags, aligned and wrapped to the terminal's width.
pub(crate) fn flags(flags: &[Flag]) -> String {
    let width = rustix::termios::tcgetwinsize(std::io::stdin())
        .map_or(DEFAULT_WIDTH, |size| usize::from(size.ws_col));
    flags_wrapped(flags, width.saturating_sub(1))
}

fn flags_wrapped(flags: &[Flag], width: usize) -> String {
    let shown: Vec<(&Flag, String)> = flags
        .iter()
        .filter(|flag| !flag.is_hidden)
        .map(|flag| {
            let short = flag.short.map_or("    ".into(), |short| format!("-{short}, "));
            let form = format!("  {short}--{} {}", flag.long, flag.value_name);
            (flag, form.trim_end().to_owned())
        })
        .collect();
    let widest = shown.iter().map(|(_, form)| form.len()).max().unwrap_or(0);
    shown
        .iter()
        .map(|(flag, form)| {
            let help = flag.help.replace("\\n", "\n");
            format!("{form:<widest$}   {}\n", wrap(widest + 3, width, &help))
        })
        .collect()
}

/// Wraps as `pflag` does: each line is filled to a few columns less than there are, and the last
/// may use those too.
fn wrap(mut indent: usize, width: usize, text: &str) -> String {
    const SLOP: usize = 5;
    const NARROW: usize = 24;
    let mut out = String::new();
    let mut room = width.saturating_sub(indent);
    if room < NARROW {
        indent = 16;
        room = width.saturating_sub(indent);
        out.push('\n');
        out.push_str(&" ".repeat(indent));
    }
    let margin = format!("\n{}", " ".repeat(indent));
    if room < NARROW {
        return text.replace('\n', &out);
    }
    room -= SLOP;
    let (mut line, mut rest) = split(room, SLOP, text);
    loop {
        out.push_str(&line.replace('\n', &margin));
        if rest.is_empty() {
            return out;
        }
        out.push_str(&margin);
        (line, rest) = split(room, SLOP, rest);
    }
}

fn split(room: usize, slop: usize, text: &str) -> (&str, &str) {
    if room + slop > text.len() {
        return (text, "");
    }
    let room = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let head = &text[..room];
    let Some(blank) = head.rfind([' ', '\t', '\n']).filter(|at| *at > 0) else {
        return (text, "");
    };
    match head.rfind('\n') {
        Some(newline) if newline > 0 && newline < blank => (&text[..newline], &text[newline + 1..]),
        _ => (&text[..blank], &text[blank + 1..]),
    }
}
