//! Dockerfile instructions that change an image's configuration: `docker import -c`,
//! `docker commit -c`.
//!
//! Grammar and words are those of BuildKit's Dockerfile frontend, as far as these instructions go.

mod healthcheck;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ferry_oci::image::{Empty, RunConfig};

use self::words::{Environment, expand, expand_words, split_words};
use crate::error::StoreError;

/// Applies instructions, one or more lines each, in order.
///
/// # Errors
/// `Invalid` in Docker's words.
pub fn apply(config: &mut RunConfig, changes: &[String]) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let lines = logical_lines(&changes.join("\n"));
    if lines.is_empty() {
        return Err(invalid("file with no instructions"));
    }
    // Order: all are known before any is applied, as Docker checks them.
    for line in &lines {
        let (instruction, _) = divide(line);
        if !ALLOWED.contains(&instruction.to_ascii_uppercase().as_str()) {
            return Err(invalid(format!("{instruction} is not a valid change command")));
        }
    }
    let mut has_cmd = false;
    for line in &lines {
        let (instruction, rest) = divide(line);
        let instruction = instruction.to_ascii_uppercase();
        has_cmd |= instruction == "CMD";
        apply_one(config, &instruction, rest, has_cmd)?;
    }
    Ok(())
}

const ALLOWED: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "HEALTHCHECK",
    "ENV",
    "EXPOSE",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a trigger of `ONBUILD` may be.
const TRIGGERS: [&str; 15] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

fn apply_one(
    config: &mut RunConfig,
    instruction: &str,
    rest: &str,
    has_cmd: bool,
) -> Result<(), StoreError> {
    let environment = Environment::new(config.env.as_deref().unwrap_or_default());
    match instruction {
        "CMD" => config.cmd = Some(command(rest)?),
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(rest)?);
            // A command that was there before was made for another program.
            if !has_cmd {
                config.cmd = None;
            }
        }
        "ENV" => {
            for (name, value) in name_values("ENV", rest)? {
                let (name, value) = (expand(&name, &environment)?, expand(&value, &environment)?);
                set_env(config.env.get_or_insert_default(), &name, &value);
            }
        }
        "LABEL" => {
            for (name, value) in name_values("LABEL", rest)? {
                let (name, value) = (expand(&name, &environment)?, expand(&value, &environment)?);
                config.labels.get_or_insert_default().insert(name, value);
            }
        }
        "EXPOSE" => expose(config, &expand_words(rest, &environment)?)?,
        "VOLUME" => volume(config, rest, &environment)?,
        "USER" => config.user = expand(exactly_one("USER", rest)?, &environment)?,
        "WORKDIR" => {
            let path = expand(exactly_one("WORKDIR", rest)?, &environment)?;
            config.working_dir = working_dir(&config.working_dir, &path)?;
        }
        "STOPSIGNAL" => {
            let signal = expand(exactly_one("STOPSIGNAL", rest)?, &environment)?;
            if !is_signal(&signal) {
                return Err(invalid(format!("invalid signal: {signal}")));
            }
            config.stop_signal = signal;
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck::parse(rest)?),
        _ => config.on_build.get_or_insert_default().push(trigger(rest)?),
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::Invalid(message.into())
}

/// Lines without comments, with those that end in a backslash joined.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut joined = String::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match line.trim_end_matches([' ', '\t']).strip_suffix('\\') {
            Some(start) => joined.push_str(start),
            None => {
                joined.push_str(line);
                lines.push(std::mem::take(&mut joined).trim().to_owned());
            }
        }
    }
    if !joined.trim().is_empty() {
        lines.push(joined.trim().to_owned());
    }
    lines
}

/// The instruction and what follows it.
fn divide(line: &str) -> (&str, &str) {
    match line.split_once(char::is_whitespace) {
        Some((instruction, rest)) => (instruction, rest.trim()),
        None => (line, ""),
    }
}

fn exactly_one<'a>(instruction: &str, rest: &'a str) -> Result<&'a str, StoreError> {
    if rest.is_empty() {
        return Err(invalid(format!("{instruction} requires exactly one argument")));
    }
    Ok(rest)
}

/// A JSON list as it is, anything else as a line for the shell.
fn command(rest: &str) -> Result<Vec<String>, StoreError> {
    if let Some(words) = json_words(rest)? {
        return Ok(words);
    }
    let shell = ["/bin/sh", "-c"].into_iter().map(str::to_owned);
    // Compat: an empty line is no argument at all.
    Ok(shell.chain((!rest.is_empty()).then(|| rest.to_owned())).collect())
}

fn json_words(rest: &str) -> Result<Option<Vec<String>>, StoreError> {
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(rest) else { return Ok(None) };
    let words = values.into_iter().map(|value| match value {
        serde_json::Value::String(word) => Ok(word),
        _ => Err(invalid("when using JSON array syntax, arrays must be comprised of strings only")),
    });
    words.collect::<Result<Vec<_>, _>>().map(Some)
}

/// `name=value` pairs, or the old form of one name and the rest of the line.
fn name_values(instruction: &str, rest: &str) -> Result<Vec<(String, String)>, StoreError> {
    let words = split_words(rest);
    let Some(first) = words.first() else {
        return Err(invalid(format!("{instruction} requires at least one argument")));
    };
    let blank = || invalid(format!("{instruction} names can not be blank"));
    if !first.contains('=') {
        let Some((name, value)) = rest.split_once(char::is_whitespace) else {
            return Err(invalid(format!("{instruction} must have two arguments")));
        };
        return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(blank()),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(invalid(format!(
            "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
        ))),
    };
    words.into_iter().map(pair).collect()
}

fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    let same = |known: &&mut String| known.split('=').next() == Some(name);
    match env.iter_mut().find(same) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}

fn expose(config: &mut RunConfig, words: &[String]) -> Result<(), StoreError> {
    if words.is_empty() {
        return Err(invalid("EXPOSE requires at least one argument"));
    }
    for word in words {
        let (ports, protocol) = match word.split_once('/') {
            Some((ports, protocol)) => (ports, protocol.to_ascii_lowercase()),
            None => (word.as_str(), "tcp".to_owned()),
        };
        // Compat: addresses and host ports may be given, and mean nothing.
        let container = ports.rsplit(':').next().unwrap_or_default();
        let wrong = || invalid(format!("Invalid containerPort: {container}"));
        let port = |text: &str| text.parse::<u16>().map_err(|_number| wrong());
        let (first, last) = match container.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(container)?, port(container)?),
        };
        if first > last {
            return Err(wrong());
        }
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(invalid(format!("Invalid proto: {protocol}")));
        }
        let exposed: &mut BTreeMap<String, Empty> = config.exposed_ports.get_or_insert_default();
        exposed.extend((first..=last).map(|port| (format!("{port}/{protocol}"), Empty {})));
    }
    Ok(())
}

fn volume(config: &mut RunConfig, rest: &str, environment: &Environment) -> Result<(), StoreError> {
    let words = match json_words(rest)? {
        Some(words) => words,
        None => split_words(rest),
    };
    if words.is_empty() {
        return Err(invalid("VOLUME requires at least one argument"));
    }
    for word in words {
        let path = expand(&word, environment)?;
        if path.trim().is_empty() {
            return Err(invalid("VOLUME specified can not be an empty string"));
        }
        config.volumes.get_or_insert_default().insert(path.trim().to_owned(), Empty {});
    }
    Ok(())
}

/// Joins a directory to the present one and resolves its dots.
fn working_dir(current: &str, path: &str) -> Result<String, StoreError> {
    if path.is_empty() {
        return Err(invalid("cannot normalize nothing"));
    }
    let mut components: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { current };
    for component in base.split('/').chain(path.split('/')) {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    Ok(format!("/{}", components.join("/")))
}

fn trigger(rest: &str) -> Result<String, StoreError> {
    if rest.is_empty() {
        return Err(invalid("ONBUILD requires at least one argument"));
    }
    let (instruction, _) = divide(rest);
    match instruction.to_ascii_uppercase().as_str() {
        "ONBUILD" => Err(invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        trigger @ ("MAINTAINER" | "FROM") => {
            Err(invalid(format!("{trigger} isn't allowed as an ONBUILD trigger")))
        }
        known if TRIGGERS.contains(&known) => Ok(rest.to_owned()),
        _ => Err(invalid(format!("unknown instruction: {instruction}"))),
    }
}

const SIGNALS: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// A number, or a name with or without `SIG`.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, most: u8| {
        let number = name.strip_prefix(prefix).and_then(|n| n.parse::<u8>().ok());
        number.is_some_and(|number| (1..=most).contains(&number))
    };
    SIGNALS.contains(&name) || real_time("RTMIN+", 15) || real_time("RTMAX-", 14)
}
