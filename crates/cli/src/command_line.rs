//! The command line: which commands there are, what is typed, what is helped with.
//!
//! Docker's client parses with Go's `pflag` and `cobra`, and people's scripts know its ways: how
//! short flags combine, that `-d=false` is possible, which words are said about a mistake. So the
//! parser is ours; the commands themselves are data ([`grammar`]), of which only the one that is
//! named is ever read.

pub(crate) mod grammar;
pub(crate) mod help;
pub(crate) mod parser;

pub(crate) use grammar::{Command, Flag, Kind};
pub(crate) use parser::{Matches, parse};

#[cfg(test)]
mod tests;
