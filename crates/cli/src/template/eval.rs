//! Executes a template as Go's `text/template` does, with its error messages.

mod operands;

use std::collections::BTreeMap;
use std::fmt;

use super::ast::{Block, Branch, Command, Node, Pipeline, Term};
use super::print::{print, shown};
use super::quote::quote;
use super::value::Value;

/// How deep templates may call each other.
const MAX_DEPTH: usize = 1000;

/// What differs between executions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    #[default]
    Plain,
    /// A missing key of a map is an error.
    Strict,
    /// The heading of a table: functions leave its words alone.
    Header,
    /// The templates of Buildx, whose `json` spreads over lines.
    Buildx,
}

pub(super) struct State<'a> {
    pub defined: &'a BTreeMap<String, Block>,
    pub text: &'a str,
    /// The name the text was parsed under.
    pub file: &'a str,
    pub mode: Mode,
    /// The template being executed, for errors.
    pub name: &'a str,
    pub variables: Vec<(String, Value)>,
    pub out: &'a mut String,
    pub depth: usize,
    /// The node last looked at, which errors show.
    pub node: Option<(usize, &'a dyn fmt::Display)>,
}

/// How a block ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Normal,
    Break,
    Continue,
}

/// The current value, and whether it came out of an `any`, which only errors show.
#[derive(Debug, Clone)]
pub(super) struct Dot {
    pub value: Value,
    pub is_any: bool,
}

type Result<T, E = String> = std::result::Result<T, E>;

fn holds_any(type_name: &str) -> bool {
    type_name.ends_with("]interface {}")
}

impl<'a> State<'a> {
    fn at(&mut self, position: usize, node: &'a dyn fmt::Display) {
        self.node = Some((position, node));
    }

    fn fail<T>(&self, message: &str) -> Result<T> {
        let Some((position, node)) = self.node else {
            return Err(format!("template: {}: {message}", self.name));
        };
        let before = &self.text[..position];
        let line = 1 + before.matches('\n').count();
        let column = before.rfind('\n').map_or(position, |newline| position - newline);
        let (file, name) = (self.file, quote(self.name));
        Err(format!("template: {file}:{line}:{column}: executing {name} at <{node}>: {message}"))
    }

    pub(super) fn block(&mut self, dot: &Dot, nodes: &'a [Node]) -> Result<Flow> {
        for node in nodes {
            match self.node(dot, node)? {
                Flow::Normal => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Normal)
    }

    fn node(&mut self, dot: &Dot, node: &'a Node) -> Result<Flow> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(dot, pipeline)?;
                if pipeline.variables.is_empty() {
                    let text = shown(&value);
                    self.out.push_str(&text);
                }
            }
            Node::If(branch) | Node::With(branch) => {
                let known = self.variables.len();
                let value = self.pipeline(dot, &branch.pipeline)?;
                let mut flow = Flow::Normal;
                if value.is_true() {
                    let inner = Dot { value, is_any: false };
                    let dot = if matches!(node, Node::With(_)) { &inner } else { dot };
                    flow = self.block(dot, &branch.body)?;
                } else if let Some(otherwise) = &branch.otherwise {
                    flow = self.block(dot, otherwise)?;
                }
                self.variables.truncate(known);
                return Ok(flow);
            }
            Node::Range(branch) => return self.range(dot, branch),
            Node::Template { position, name, pipeline } => {
                self.at(*position, node);
                self.template(dot, name, pipeline.as_ref())?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Normal)
    }

    fn template(&mut self, dot: &Dot, name: &'a str, pipeline: Option<&'a Pipeline>) -> Result<()> {
        let defined = self.defined;
        let Some(body) = defined.get(name) else {
            return self.fail(&format!("template {} not defined", quote(name)));
        };
        if self.depth >= MAX_DEPTH {
            let message = format!("exceeded maximum template depth ({MAX_DEPTH})");
            return self.fail(&message);
        }
        let value = match pipeline {
            Some(pipeline) => self.pipeline(dot, pipeline)?,
            None => Value::Invalid,
        };
        let outer_variables =
            std::mem::replace(&mut self.variables, vec![("$".into(), value.clone())]);
        let outer_name = std::mem::replace(&mut self.name, name);
        self.depth += 1;
        self.block(&Dot { value, is_any: false }, body)?;
        self.depth -= 1;
        self.name = outer_name;
        self.variables = outer_variables;
        Ok(())
    }

    fn range(&mut self, dot: &Dot, branch: &'a Branch) -> Result<Flow> {
        let known = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let marked = self.variables.len();
        let (entries, is_any) = match value.indirect() {
            Value::List(list) => {
                let entries: Vec<_> =
                    (0..).map(Value::int).zip(list.items.iter().cloned()).collect();
                (entries, holds_any(&list.type_name))
            }
            Value::Map(map) => {
                let entries = map
                    .entries
                    .iter()
                    .map(|(key, item)| (Value::str(key.clone()), item.clone()))
                    .collect();
                (entries, holds_any(&map.type_name))
            }
            Value::Int(count, _) => {
                ((0..*count).map(|at| (Value::int(at), Value::int(at))).collect(), false)
            }
            Value::Invalid => (Vec::new(), false),
            other => {
                let message = format!("range can't iterate over {}", print(other));
                return self.fail(&message);
            }
        };
        if entries.is_empty() {
            self.variables.truncate(known);
            let Some(otherwise) = &branch.otherwise else { return Ok(Flow::Normal) };
            return self.block(dot, otherwise);
        }
        for (key, item) in entries {
            self.set_loop_variables(&branch.pipeline, marked, key, &item);
            let flow = self.block(&Dot { value: item, is_any }, &branch.body)?;
            self.variables.truncate(marked);
            if flow == Flow::Break {
                break;
            }
        }
        self.variables.truncate(known);
        Ok(Flow::Normal)
    }

    /// The pipeline of a `range` gave its variables the whole; each turn gives them its part.
    fn set_loop_variables(&mut self, pipeline: &Pipeline, marked: usize, key: Value, item: &Value) {
        let names = &pipeline.variables;
        let parts = match names.len() {
            0 => return,
            1 => vec![item.clone()],
            _ => vec![key, item.clone()],
        };
        for (at, part) in parts.into_iter().enumerate() {
            if pipeline.assigns {
                self.assign(&names[at], part);
            } else {
                let slot = marked - names.len() + at;
                self.variables[slot].1 = part;
            }
        }
    }

    fn assign(&mut self, name: &str, value: Value) {
        if let Some(slot) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            slot.1 = value;
        }
    }

    fn pipeline(&mut self, dot: &Dot, pipeline: &'a Pipeline) -> Result<Value> {
        self.at(pipeline.position, pipeline);
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Invalid);
        for name in &pipeline.variables {
            if pipeline.assigns {
                self.assign(name, value.clone());
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Dot, command: &'a Command, last: Option<Value>) -> Result<Value> {
        let first = &command.words[0];
        let args = &command.words[1..];
        match &first.term {
            Term::Field(_) | Term::Chain(..) | Term::Variable(_) => {
                return self.operand(dot, first, args, last);
            }
            Term::Function(name) => {
                return self.function(dot, first, name, (first.position, command), args, last);
            }
            _ => {}
        }
        if !matches!(first.term, Term::Pipeline(_)) {
            self.at(first.position, first);
        }
        if !args.is_empty() || last.is_some() {
            let message = format!("can't give argument to non-function {first}");
            return self.fail(&message);
        }
        match &first.term {
            Term::Nil => self.fail("nil is not a command"),
            _ => self.operand(dot, first, args, None),
        }
    }
}
