//! Reads the words after a command as `pflag` does.

use super::{Command, Flag, Kind, help};
use crate::options;
use crate::report::Failure;

/// The commands whose flags end at the first argument, for what follows is not theirs.
const ENDS_AT_ARGUMENT: [&str; 4] =
    ["container run", "container create", "container exec", "container top"];

/// What was typed after a command.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    /// Flags by long name, in the order they came, values as they were checked.
    pub values: Vec<(&'static str, String)>,
    pub args: Vec<String>,
    pub wants_help: bool,
    /// Warnings about deprecated flags.
    pub notes: Vec<String>,
}

impl Matches {
    /// Whether the flag was given.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.iter().any(|(long, _)| *long == name)
    }

    /// The last value of a flag.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(long, _)| *long == name).map(|(_, value)| value.as_str())
    }

    /// The last value, or empty.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.value(name).unwrap_or_default()
    }

    /// A boolean flag that is false unless given.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    /// A boolean flag that is true unless given otherwise.
    pub(crate) fn flag_or_true(&self, name: &str) -> bool {
        self.value(name) != Some("false")
    }

    /// All values of a flag.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.values
            .iter()
            .filter(|(long, _)| *long == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// An integer, zero unless given; its form was checked when it was parsed.
    pub(crate) fn int(&self, name: &str) -> i64 {
        self.value(name).and_then(|value| options::numbers::int(value).ok()).unwrap_or(0)
    }
}

/// The flag that another name stands for.
fn canonical(long: &'static str) -> &'static str {
    match long {
        "net" => "network",
        "net-alias" => "network-alias",
        "dns-opt" => "dns-option",
        "time" => "timeout",
        other => other,
    }
}

/// Parses the words after the command that was called by the name `path`.
pub(crate) fn parse(
    program: &str,
    path: &str,
    command: &Command,
    words: &[String],
) -> Result<Matches, Failure> {
    let ends = ENDS_AT_ARGUMENT.contains(&command.names[0]);
    let matches = read_flags(&command.flags, words, !ends).map_err(|message| {
        Failure::new(125, help::mistake(program, path, command.usage, &message))
    })?;
    if !matches.wants_help {
        check_count(program, path, command, matches.args.len())?;
    }
    Ok(matches)
}

/// Reads flags and arguments; with `interspersed`, flags may follow arguments.
pub(crate) fn read_flags(
    flags: &[Flag],
    words: &[String],
    interspersed: bool,
) -> Result<Matches, String> {
    let mut matches = Matches::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            matches.args.extend(words.cloned());
            break;
        }
        let Some(rest) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            matches.args.push(word.clone());
            if !interspersed {
                matches.args.extend(words.cloned());
                break;
            }
            continue;
        };
        match rest.strip_prefix('-') {
            Some(long) => read_long(flags, word, long, &mut words, &mut matches)?,
            None => read_short(flags, rest, &mut words, &mut matches)?,
        }
        if matches.wants_help {
            break;
        }
    }
    Ok(matches)
}

fn read_long(
    flags: &[Flag],
    word: &str,
    rest: &str,
    words: &mut std::slice::Iter<'_, String>,
    matches: &mut Matches,
) -> Result<(), String> {
    if rest.starts_with(['-', '=']) {
        return Err(format!("bad flag syntax: {word}"));
    }
    let (name, value) = match rest.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (rest, None),
    };
    let Some(flag) = flags.iter().find(|flag| flag.long == name) else {
        if name == "help" {
            matches.wants_help = true;
            return Ok(());
        }
        return Err(format!("unknown flag: --{name}"));
    };
    let value = match value {
        Some(value) => value,
        None if flag.kind == Kind::Bool => "true".into(),
        None => words.next().cloned().ok_or_else(|| format!("flag needs an argument: {word}"))?,
    };
    store(flag, value, matches)
}

fn read_short(
    flags: &[Flag],
    letters: &str,
    words: &mut std::slice::Iter<'_, String>,
    matches: &mut Matches,
) -> Result<(), String> {
    let mut rest = letters;
    while let Some(letter) = rest.chars().next() {
        let all = rest;
        rest = &rest[letter.len_utf8()..];
        let Some(flag) = flags.iter().find(|flag| flag.short == Some(letter)) else {
            if letter == 'h' && !flags.iter().any(|flag| flag.long == "help") {
                matches.notes.push("Flag shorthand -h has been deprecated, use --help".into());
                matches.wants_help = true;
                return Ok(());
            }
            return Err(format!("unknown shorthand flag: '{letter}' in -{all}"));
        };
        if let Some(value) = rest.strip_prefix('=') {
            return store(flag, value.into(), matches);
        }
        if flag.kind == Kind::Bool {
            store(flag, "true".into(), matches)?;
            continue;
        }
        if !rest.is_empty() {
            return store(flag, rest.into(), matches);
        }
        let value = words
            .next()
            .cloned()
            .ok_or_else(|| format!("flag needs an argument: '{letter}' in -{all}"))?;
        return store(flag, value, matches);
    }
    Ok(())
}

fn store(flag: &Flag, value: String, matches: &mut Matches) -> Result<(), String> {
    let checked = options::check(flag, &value).map_err(|error| {
        let name = match flag.short {
            Some(short) => format!("-{short}, --{}", flag.long),
            None => format!("--{}", flag.long),
        };
        let value = crate::template::quote::quote(&value);
        format!("invalid argument {value} for \"{name}\" flag: {error}")
    })?;
    if let Some(advice) = flag.deprecated {
        matches.notes.push(format!("Flag --{} has been deprecated, {advice}", flag.long));
    }
    if flag.long == "help" {
        matches.wants_help = checked == "true";
        return Ok(());
    }
    let long = canonical(flag.long);
    if flag.kind == Kind::Strings {
        matches.values.extend(checked.split(',').map(|item| (long, item.to_owned())));
    } else {
        matches.values.push((long, checked));
    }
    Ok(())
}

fn check_count(program: &str, path: &str, command: &Command, count: usize) -> Result<(), Failure> {
    let (least, most) = (command.least_args, command.most_args);
    if (least..=most).contains(&count) {
        return Ok(());
    }
    let arguments = |count: usize| if count == 1 { "argument" } else { "arguments" };
    // Compat: one of Docker's sentences begins with another word.
    let mut lead = "Run";
    let wanted = match (least, most) {
        (0, 0) => "accepts no arguments".into(),
        (0, most) => format!("requires at most {most} {}", arguments(most)),
        (least, usize::MAX) => {
            lead = "See";
            format!("requires at least {least} {}", arguments(least))
        }
        (least, most) if least == most => format!("requires {least} {}", arguments(least)),
        (least, most) => {
            format!("requires at least {least} and at most {most} {}", arguments(most))
        }
    };
    let usage = help::usage_line(program, path, command.usage);
    Err(Failure::new(
        1,
        format!(
            "{program}: '{program} {path}' {wanted}\n\nUsage:  {usage}\n\n\
             {lead} '{program} {path} --help' for more information"
        ),
    ))
}
