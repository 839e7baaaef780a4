//! Executes a template as Go's `text/template` does, with its error messages.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::ast::{Block, Branch, Command, Expression, Node, Number, Pipeline, Term};
use super::functions::{self, Kind};
use super::print::{print, shown};
use super::quote::quote;
use super::value::{Map, Value};

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

    /// The value of an operand, called with `args` if it is a method.
    fn operand(
        &mut self,
        dot: &Dot,
        it: &'a Expression,
        args: &'a [Expression],
        last: Option<Value>,
    ) -> Result<Value> {
        if !matches!(it.term, Term::Pipeline(_)) {
            self.at(it.position, it);
        }
        match &it.term {
            Term::Dot => Ok(dot.value.clone()),
            Term::Nil => Ok(Value::Invalid),
            Term::Bool(value) => Ok(Value::Bool(*value)),
            Term::Number(number) => self.constant(number),
            Term::Text { text, .. } => Ok(Value::str(text.as_str())),
            Term::Field(names) => self.chain(dot, dot.clone(), names, args, last),
            Term::Variable(names) => {
                let value = self.variable(&names[0]);
                if names.len() == 1 {
                    if !args.is_empty() || last.is_some() {
                        let message = format!("can't give argument to non-function {it}");
                        return self.fail(&message);
                    }
                    return Ok(value);
                }
                self.chain(dot, Dot { value, is_any: false }, &names[1..], args, last)
            }
            Term::Function(name) => self.function(dot, it, name, (it.position, it), &[], None),
            Term::Pipeline(pipeline) => self.pipeline(dot, pipeline),
            Term::Chain(base, names) => {
                if matches!(base.term, Term::Nil) {
                    return self.fail(&format!("indirection through explicit nil in {it}"));
                }
                let value = self.operand(dot, base, &[], None)?;
                self.chain(dot, Dot { value, is_any: false }, names, args, last)
            }
        }
    }

    fn variable(&self, name: &str) -> Value {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found.map_or(Value::Invalid, |(_, value)| value.clone())
    }

    fn constant(&self, number: &Number) -> Result<Value> {
        let is_hexadecimal = number.text.len() > 2 && number.text[1..].starts_with(['x', 'X']);
        if number.is_character {
            return Ok(Value::Int(number.integer.unwrap_or(0), "int32"));
        }
        if let Some(float) = number.float
            && !is_hexadecimal
            && number.text.contains(['.', 'e', 'E', 'p', 'P'])
        {
            return Ok(Value::Float(float));
        }
        match number.integer {
            Some(integer) => Ok(Value::int(integer)),
            None if number.unsigned.is_some() => {
                self.fail(&format!("{} overflows int", number.text))
            }
            None => Ok(Value::Float(number.float.unwrap_or(0.0))),
        }
    }

    /// `.A.B.C`: only the last may take arguments.
    fn chain(
        &mut self,
        dot: &Dot,
        receiver: Dot,
        names: &[String],
        args: &'a [Expression],
        last: Option<Value>,
    ) -> Result<Value> {
        let mut current = receiver;
        let Some((final_name, middle)) = names.split_last() else { return Ok(current.value) };
        for name in middle {
            current = self.field(dot, &current, name, &[], None)?;
        }
        Ok(self.field(dot, &current, final_name, args, last)?.value)
    }

    fn field(
        &mut self,
        dot: &Dot,
        receiver: &Dot,
        name: &str,
        args: &'a [Expression],
        last: Option<Value>,
    ) -> Result<Dot> {
        let has_args = !args.is_empty() || last.is_some();
        let type_name =
            if receiver.is_any { "interface {}".into() } else { receiver.value.type_name() };
        let plain = |value: &Value| Ok(Dot { value: value.clone(), is_any: false });
        let target = receiver.value.indirect().clone();
        match &target {
            Value::Invalid if self.mode == Mode::Strict => {
                let message = format!("nil data; no entry for key {}", quote(name));
                return self.fail(&message);
            }
            Value::Invalid if receiver.is_any => {
                let message = format!("nil pointer evaluating {type_name}.{name}");
                return self.fail(&message);
            }
            Value::Invalid => return plain(&Value::Invalid),
            Value::Struct(structure) => {
                if let Some(value) = structure.field(name) {
                    if has_args {
                        let message =
                            format!("{name} has arguments but cannot be invoked as function");
                        return self.fail(&message);
                    }
                    return plain(value);
                }
            }
            Value::Map(map) if map.takes_strings => {
                if has_args {
                    let message = format!("{name} is not a method but has arguments");
                    return self.fail(&message);
                }
                return self.entry(map, name);
            }
            Value::Ptr(None, pointee) => {
                if super::schema::has_field(pointee, name) {
                    let message = format!("nil pointer evaluating {type_name}.{name}");
                    return self.fail(&message);
                }
            }
            Value::Object(_) | Value::Time(_) | Value::Str(..) | Value::Duration(_) => {
                let mut values = Vec::new();
                for arg in args {
                    values.push(self.argument(dot, arg, Kind::Any)?);
                }
                values.extend(last);
                let result = match &target {
                    Value::Object(object) => object.call(name, &values),
                    other => super::methods::call(other, name, &values),
                };
                match result {
                    Some(Ok(value)) => return plain(&value),
                    Some(Err(message)) => return self.fail(&message),
                    None => {}
                }
            }
            _ => {}
        }
        self.fail(&format!("can't evaluate field {name} in type {type_name}"))
    }

    fn entry(&self, map: &Rc<Map>, name: &str) -> Result<Dot> {
        let is_any = holds_any(&map.type_name);
        match map.get(name) {
            Some(value) => Ok(Dot { value: value.clone(), is_any }),
            None if self.mode == Mode::Strict => {
                self.fail(&format!("map has no entry for key {}", quote(name)))
            }
            None => Ok(Dot { value: Value::Invalid, is_any: false }),
        }
    }

    fn function(
        &mut self,
        dot: &Dot,
        it: &'a Expression,
        name: &str,
        node: (usize, &'a dyn fmt::Display),
        args: &'a [Expression],
        last: Option<Value>,
    ) -> Result<Value> {
        self.at(it.position, it);
        if matches!(name, "and" | "or") {
            return self.and_or(dot, name, args, last);
        }
        let Some(function) = functions::find(name, self.mode == Mode::Header) else {
            return self.fail(&format!("{} is not a defined function", quote(name)));
        };
        let given = args.len() + usize::from(last.is_some());
        let wanted = function.parameters.len();
        if function.variadic && given < wanted - 1 {
            let message = format!(
                "wrong number of args for {name}: want at least {} got {}",
                wanted - 1,
                args.len()
            );
            return self.fail(&message);
        }
        if !function.variadic && given != wanted {
            let message = format!("wrong number of args for {name}: want {wanted} got {given}");
            return self.fail(&message);
        }
        let kind = |at: usize| function.parameters[at.min(wanted - 1)];
        let mut values = Vec::with_capacity(given);
        for (at, arg) in args.iter().enumerate() {
            values.push(self.argument(dot, arg, kind(at))?);
        }
        if let Some(last) = last {
            values.push(self.fit(last, kind(args.len()))?);
        }
        match (function.run)(&values) {
            Ok(value) => Ok(value),
            Err(message) => {
                self.node = Some(node);
                // Compat: `call` names what it was given.
                let message = match args.first() {
                    Some(arg) if name == "call" => {
                        message.replace("function of", &format!("function {arg} of"))
                    }
                    _ => message,
                };
                self.fail(&format!("error calling {name}: {message}"))
            }
        }
    }

    fn and_or(
        &mut self,
        dot: &Dot,
        name: &str,
        args: &'a [Expression],
        last: Option<Value>,
    ) -> Result<Value> {
        if args.is_empty() && last.is_none() {
            let message = format!("wrong number of args for {name}: want at least 1 got 0");
            return self.fail(&message);
        }
        let mut value = Value::Invalid;
        for arg in args {
            value = self.argument(dot, arg, Kind::Any)?;
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn argument(&mut self, dot: &Dot, arg: &'a Expression, kind: Kind) -> Result<Value> {
        self.at(arg.position, arg);
        let literal = |what: &str| format!("expected {what}; found {arg}");
        match (&arg.term, kind) {
            (Term::Nil, Kind::Text | Kind::Int) => {
                let message = format!("cannot assign nil to {}", kind.type_name());
                self.fail(&message)
            }
            (Term::Text { .. } | Term::Bool(_), Kind::Int) => self.fail(&literal("integer")),
            (Term::Number(number), Kind::Int) => match number.integer {
                Some(integer) => Ok(Value::int(integer)),
                None => self.fail(&literal("integer")),
            },
            (Term::Number(_) | Term::Bool(_), Kind::Text) => self.fail(&literal("string")),
            (Term::Number(_) | Term::Bool(_) | Term::Text { .. }, Kind::Texts) => {
                self.fail(&format!("can't handle {arg} for arg of type []string"))
            }
            _ => {
                let value = self.operand(dot, arg, &[], None)?;
                self.fit(value, kind)
            }
        }
    }

    /// Checks that a value can be passed where `kind` is wanted.
    fn fit(&self, value: Value, kind: Kind) -> Result<Value> {
        let fits = |value: &Value| match (kind, value) {
            (Kind::Any, _) => true,
            (Kind::Text, Value::Str(_, name)) => &**name == "string",
            (Kind::Int, Value::Int(_, name)) => *name == "int",
            (Kind::Texts, Value::List(list)) => {
                matches!(&*list.type_name, "[]string" | "strslice.StrSlice")
            }
            _ => false,
        };
        if fits(&value) {
            return Ok(value);
        }
        match &value {
            Value::Ptr(Some(target), _) if fits(target) => Ok((**target).clone()),
            Value::Invalid if kind == Kind::Texts => Ok(Value::strings([])),
            Value::Invalid => {
                let message = format!("invalid value; expected {}", kind.type_name());
                self.fail(&message)
            }
            other => {
                let message = format!(
                    "wrong type for value; expected {}; got {}",
                    kind.type_name(),
                    other.type_name()
                );
                self.fail(&message)
            }
        }
    }
}
