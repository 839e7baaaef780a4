//! Command lines as runc takes them: `-x`, `--x`, `--x=value`, `--x value`; what is not known is refused.

use std::collections::BTreeMap;

/// A flag that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Its long name.
    pub(crate) name: &'static str,
    /// Its one-letter name.
    pub(crate) short: Option<char>,
    /// Whether it has a value.
    pub(crate) takes_value: bool,
}

/// A flag with a value.
pub(crate) const fn value(name: &'static str, short: Option<char>) -> Flag {
    Flag { name, short, takes_value: true }
}

/// A flag without one.
pub(crate) const fn switch(name: &'static str, short: Option<char>) -> Flag {
    Flag { name, short, takes_value: false }
}

/// What was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    flags: BTreeMap<&'static str, Vec<String>>,
    /// What is no flag.
    pub(crate) operands: Vec<String>,
}

impl Given {
    /// Reads a line up to its first operand if `stop`, else all of it.
    pub(crate) fn parse(
        line: Vec<String>,
        known: &[Flag],
        stop: bool,
    ) -> Result<(Self, Vec<String>), String> {
        let mut given = Self::default();
        let mut line = line.into_iter();
        while let Some(word) = line.next() {
            let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
                given.operands.push(word);
                if stop {
                    break;
                }
                continue;
            };
            if name == "-" {
                break;
            }
            let name = name.strip_prefix('-').unwrap_or(name);
            let (name, attached) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let flag = known.iter().find(|flag| flag.is(name));
            let flag = flag.ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
            let value = match (flag.takes_value, attached) {
                (true, Some(value)) => value,
                (true, None) => {
                    line.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?
                }
                (false, None) => "true".to_owned(),
                (false, Some(value)) if value == "true" || value == "false" => value,
                (false, Some(value)) => {
                    return Err(format!("invalid boolean value {value:?} for -{name}"));
                }
            };
            given.flags.entry(flag.name).or_default().push(value);
        }
        let rest = line.collect();
        Ok((given, rest))
    }

    /// The last value of a flag.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.flags.get(name)?.last().map(String::as_str)
    }

    /// All values of a flag.
    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.flags.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a flag without a value was given.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }
}

impl Flag {
    fn is(&self, name: &str) -> bool {
        let mut letters = name.chars();
        self.name == name
            || (self.short.is_some() && self.short == letters.next() && letters.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::{Given, switch, value};

    fn check(line: &[&str], stop: bool) -> Result<(Given, Vec<String>), String> {
        let known =
            [value("bundle", Some('b')), switch("detach", Some('d')), value("env", Some('e'))];
        Given::parse(line.iter().map(ToString::to_string).collect(), &known, stop)
    }

    #[test]
    fn flags_have_four_forms() {
        for line in [["--bundle", "x"], ["-b", "x"], ["-bundle", "x"]] {
            assert_eq!(check(&line, false).unwrap().0.value("bundle"), Some("x"), "{line:?}");
        }
        let (given, _) =
            check(&["--bundle=x=y", "-d", "id", "-e", "A=1", "-e", "B=2"], false).unwrap();
        assert_eq!(given.value("bundle"), Some("x=y"));
        assert!(given.is_set("detach"));
        assert_eq!(given.operands, ["id"]);
        assert_eq!(given.values("env"), ["A=1", "B=2"]);
    }

    #[test]
    fn unknown_flags_are_refused_by_name() {
        assert_eq!(check(&["--nope"], false).unwrap_err(), "flag provided but not defined: -nope");
        assert_eq!(check(&["-b"], false).unwrap_err(), "flag needs an argument: -b");
        assert!(check(&["--detach=maybe"], false).is_err());
    }

    #[test]
    fn a_command_stops_the_flags() {
        let (given, rest) = check(&["-d", "id", "ls", "-l"], true).unwrap();
        assert_eq!(given.operands, ["id"]);
        assert_eq!(rest, ["ls", "-l"]);
    }
}
