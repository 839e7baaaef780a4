//! What stands in a command: values, fields, methods, functions and their arguments.

use std::fmt;
use std::rc::Rc;

use super::{Dot, Mode, Result, State, holds_any};
use crate::template::ast::{Expression, Number, Term};
use crate::template::functions::{self, Kind};
use crate::template::quote::quote;
use crate::template::value::{Map, Value};
use crate::template::{methods, schema};

impl<'a> State<'a> {
    /// The value of an operand, called with `args` if it is a method.
    pub(super) fn operand(
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
            Value::Ptr(None, pointee) if schema::has_field(pointee, name) => {
                let message = format!("nil pointer evaluating {type_name}.{name}");
                return self.fail(&message);
            }
            Value::Object(_) | Value::Time(_) | Value::Str(..) | Value::Duration(_) => {
                let mut values = Vec::new();
                for arg in args {
                    values.push(self.argument(dot, arg, Kind::Any)?);
                }
                values.extend(last);
                let result = match &target {
                    Value::Object(object) => object.call(name, &values),
                    other => methods::call(other, name, &values),
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

    pub(super) fn function(
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
        let Some(function) = functions::find(name, self.mode) else {
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
