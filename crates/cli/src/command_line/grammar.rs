//! The commands and flags, read from `commands/grammar.txt`.

/// All commands; see the head of the file for its form.
const GRAMMAR: &str = include_str!("../commands/grammar.txt");

/// A command as the grammar has it.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// Its names without the program's; the first is where it belongs.
    pub names: Vec<&'static str>,
    pub least_args: usize,
    pub most_args: usize,
    pub usage: &'static str,
    pub about: &'static str,
    pub flags: Vec<Flag>,
}

/// A flag of a command.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    pub long: &'static str,
    pub short: Option<char>,
    pub kind: Kind,
    /// The word for the value in the help; empty for booleans.
    pub value_name: &'static str,
    /// With `\n` for line breaks.
    pub help: &'static str,
    pub is_hidden: bool,
    /// What to say when it is used, if it should not be.
    pub deprecated: Option<&'static str>,
}

/// The kinds of flags, which decide how a value is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Uint16,
    Uint64,
    Text,
    Bytes,
    Decimal,
    Duration,
    List,
    /// Comma-separated.
    Strings,
    Filter,
    Map,
    Mount,
    Network,
    Ulimit,
    Gpus,
}

impl Kind {
    fn read(name: &str) -> Self {
        match name {
            "" => Self::Bool,
            "int" => Self::Int,
            "uint16" => Self::Uint16,
            "uint64" => Self::Uint64,
            "bytes" => Self::Bytes,
            "decimal" => Self::Decimal,
            "duration" => Self::Duration,
            "list" => Self::List,
            "strings" => Self::Strings,
            "filter" => Self::Filter,
            "map" => Self::Map,
            "mount" => Self::Mount,
            "network" => Self::Network,
            "ulimit" => Self::Ulimit,
            "gpu-request" => Self::Gpus,
            _ => Self::Text,
        }
    }
}

/// The lines of one command.
struct Entry {
    names: &'static str,
    lines: &'static str,
}

fn entries() -> impl Iterator<Item = Entry> {
    let mut rest = GRAMMAR;
    std::iter::from_fn(move || {
        loop {
            let (line, after) = rest.split_once('\n')?;
            if line.starts_with(['#', ' ']) {
                rest = after;
                continue;
            }
            let end = after
                .split_inclusive('\n')
                .take_while(|line| line.starts_with(' '))
                .map(str::len)
                .sum();
            let (lines, next) = after.split_at(end);
            rest = next;
            return Some(Entry { names: line, lines });
        }
    })
}

/// Finds a command by any of its names, such as `ps` or `container ls`.
pub(crate) fn find(path: &str) -> Option<Command> {
    entries().find(|entry| entry.names.split(", ").any(|name| name == path)).map(|it| it.read())
}

/// The names and descriptions of all commands.
pub(crate) fn all() -> impl Iterator<Item = (Vec<&'static str>, &'static str)> {
    entries().map(|entry| {
        let about = entry.lines.lines().nth(1).unwrap_or_default().trim_start();
        (entry.names.split(", ").collect(), about)
    })
}

impl Entry {
    fn read(&self) -> Command {
        let mut lines = self.lines.lines();
        let usage = lines.next().unwrap_or_default().trim_start();
        let (arity, usage) = usage.split_once(' ').unwrap_or((usage, ""));
        let about = lines.next().unwrap_or_default().trim_start();
        let number = |text: &str| text.parse().unwrap_or(0);
        let (least_args, most_args) = match (arity.strip_suffix('+'), arity.split_once('-')) {
            (Some(least), _) => (number(least), usize::MAX),
            (None, Some((least, most))) => (number(least), number(most)),
            (None, None) => (number(arity), number(arity)),
        };
        let mut flags: Vec<Flag> = Vec::new();
        for line in lines.map(str::trim_start) {
            if let Some(other) = line.strip_prefix("= ") {
                flags.extend(find(other).into_iter().flat_map(|command| command.flags));
            } else if let Some(flag) = flag(line) {
                // What a command says itself goes before what it takes over.
                flags.retain(|other| other.long != flag.long);
                flags.push(flag);
            }
        }
        flags.sort_by_key(|flag| flag.long);
        Command {
            names: self.names.split(", ").collect(),
            least_args,
            most_args,
            usage,
            about,
            flags,
        }
    }
}

fn flag(line: &'static str) -> Option<Flag> {
    let (form, help) = line.split_once(" | ")?;
    let mut words = form.split(' ');
    let mut long = words.next()?;
    let short = long.strip_suffix(',').and_then(|it| it.strip_prefix('-')?.chars().next());
    if short.is_some() {
        long = words.next()?;
    }
    let value_name = words.next().unwrap_or_default();
    let hidden = help.strip_prefix('!');
    let deprecated = hidden.map(str::trim_start).and_then(|text| text.strip_prefix("deprecated, "));
    Some(Flag {
        long: long.strip_prefix("--")?,
        short,
        kind: Kind::read(value_name),
        value_name,
        help,
        is_hidden: hidden.is_some(),
        deprecated,
    })
}
