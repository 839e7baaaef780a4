//! Go's `text/template`, as far as Docker's `--format` lets users see it.
//!
//! A template is cut into tokens ([`lex`]), made a tree ([`parse`]) and executed on a [`Value`]
//! ([`eval`]). Values are made of JSON either as Go decodes it into an `any`, or as it decodes it
//! into the struct that Docker's client has ([`schema`]); the latter knows field order, nil
//! pointers and Go's names. Error messages are Go's, to the byte: scripts match them.

mod ast;
mod eval;
mod functions;
pub(crate) mod json;
mod lex;
mod methods;
mod number;
mod parse;
mod print;
mod printf;
pub(crate) mod quote;
pub(crate) mod schema;
mod time;
mod value;

use std::collections::BTreeMap;

pub(crate) use eval::Mode;
pub(crate) use time::print as shown_time;
pub(crate) use value::{Field, List, Object, Struct, Value};

/// A template, ready to be executed any number of times.
#[derive(Debug)]
pub(crate) struct Template {
    name: &'static str,
    text: String,
    main: ast::Block,
    defined: BTreeMap<String, ast::Block>,
}

impl Template {
    /// Parses `text`; the error is Go's.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_named("", text)
    }

    /// Parses `text` under a name, which errors show.
    pub(crate) fn parse_named(name: &'static str, text: &str) -> Result<Self, String> {
        let parsed = parse::parse(name, text).map_err(|message| format!("template: {message}"))?;
        Ok(Self { name, text: text.to_owned(), main: parsed.main, defined: parsed.defined })
    }

    /// Executes the template on `data`; what was written before an error stays in `out`.
    pub(crate) fn execute(&self, data: &Value, mode: Mode, out: &mut String) -> Result<(), String> {
        let mut state = eval::State {
            defined: &self.defined,
            text: &self.text,
            file: self.name,
            mode,
            name: self.name,
            variables: vec![("$".into(), data.clone())],
            out,
            depth: 0,
            node: None,
        };
        state.block(&eval::Dot { value: data.clone(), is_any: false }, &self.main).map(|_flow| ())
    }
}

#[cfg(test)]
mod tests;
