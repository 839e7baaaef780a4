//! Words with quotes, escapes and variables, as a Dockerfile has them.

use std::collections::HashMap;

use super::invalid;
use crate::error::StoreError;

/// The variables that words may name.
pub(super) struct Environment(HashMap<String, String>);

impl Environment {
    pub(super) fn new(env: &[String]) -> Self {
        let pairs = env.iter().filter_map(|entry| entry.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// Splits at white space outside of quotes; quotes and escapes stay in the words.
pub(super) fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            // Nothing escapes in single quotes.
            ('\\', None | Some('"')) => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Expands each word of a line; what expands to several words gives several.
pub(super) fn expand_words(
    text: &str,
    environment: &Environment,
) -> Result<Vec<String>, StoreError> {
    let mut words = Vec::new();
    for word in split_words(text) {
        words.extend(expand(&word, environment)?.split_whitespace().map(str::to_owned));
    }
    Ok(words)
}

/// Takes quotes and escapes away and puts variables in.
pub(super) fn expand(word: &str, environment: &Environment) -> Result<String, StoreError> {
    let mut expansion = Expansion { rest: word, environment, depth: 0 };
    expansion.until(None)
}

struct Expansion<'a> {
    rest: &'a str,
    environment: &'a Environment,
    depth: u32,
}

/// How deep `${a:-${b:-...}}` may be; nobody writes more than two.
const MAX_DEPTH: u32 = 32;

impl Expansion<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Expands up to a character, which is consumed, or to the end.
    fn until(&mut self, end: Option<char>) -> Result<String, StoreError> {
        let mut result = String::new();
        loop {
            match self.next() {
                Some(c) if Some(c) == end => return Ok(result),
                None if end.is_none() => return Ok(result),
                None => return Err(invalid("syntax error: missing '}'")),
                Some('\'') => loop {
                    match self.next() {
                        Some('\'') => break,
                        Some(c) => result.push(c),
                        None => return Err(unterminated()),
                    }
                },
                Some('"') => self.double_quoted(&mut result)?,
                Some('\\') => result.extend(self.next()),
                Some('$') => result.push_str(&self.variable()?),
                Some(c) => result.push(c),
            }
        }
    }

    fn double_quoted(&mut self, result: &mut String) -> Result<(), StoreError> {
        loop {
            match self.next() {
                Some('"') => return Ok(()),
                Some('$') => result.push_str(&self.variable()?),
                Some('\\') => match self.next() {
                    Some(c @ ('"' | '$' | '\\')) => result.push(c),
                    Some(c) => result.extend(['\\', c]),
                    None => return Err(unterminated()),
                },
                Some(c) => result.push(c),
                None => return Err(unterminated()),
            }
        }
    }

    /// What follows a `$`.
    fn variable(&mut self) -> Result<String, StoreError> {
        if !self.rest.starts_with('{') {
            let name = self.name();
            // Compat: a `$` before anything else stands for itself.
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name) });
        }
        self.next();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(invalid("syntax error: substitutions are nested too deeply"));
        }
        let name = self.name();
        if name.is_empty() {
            return Err(invalid("syntax error: bad substitution"));
        }
        let known = self.environment.0.get(&name);
        let result = match self.next() {
            Some('}') => Ok(self.value(&name)),
            Some(':') => {
                let modifier = self.next();
                self.modified(&name, known.filter(|value| !value.is_empty()), modifier)
            }
            modifier @ Some('-' | '+' | '?') => self.modified(&name, known, modifier),
            Some(other) => Err(unsupported(other)),
            None => Err(invalid("syntax error: missing '}'")),
        };
        self.depth -= 1;
        result
    }

    fn modified(
        &mut self,
        name: &str,
        value: Option<&String>,
        modifier: Option<char>,
    ) -> Result<String, StoreError> {
        let word = self.until(Some('}'))?;
        match (modifier, value) {
            (Some('-' | '?'), Some(value)) => Ok(value.clone()),
            (Some('-'), None) | (Some('+'), Some(_)) => Ok(word),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) if word.is_empty() => {
                Err(invalid(format!("{name}: is not allowed to be unset")))
            }
            (Some('?'), None) => Err(invalid(format!("{name}: {word}"))),
            (Some(other), _) => Err(unsupported(other)),
            (None, _) => Err(invalid("syntax error: missing '}'")),
        }
    }

    fn name(&mut self) -> String {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut length = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
        // A number is one digit, as in a shell.
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            length = 1;
        }
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        name.to_owned()
    }

    fn value(&self, name: &str) -> String {
        self.environment.0.get(name).cloned().unwrap_or_default()
    }
}

fn unterminated() -> StoreError {
    invalid("unexpected end of statement while looking for matching quote")
}

fn unsupported(modifier: char) -> StoreError {
    invalid(format!("unsupported modifier ({modifier}) in substitution"))
}
