//! The functions a template may call: those of `text/template` and those of Docker.

use std::cmp::Ordering;

use super::eval::Mode;
use super::json;
use super::print::{print, shown};
use super::printf::sprintf;
use super::value::Value;
use crate::format::indent_json_by;

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Text,
    Int,
    Texts,
}

impl Kind {
    /// The Go type, for errors.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Int => "int",
            Self::Texts => "[]string",
        }
    }
}

/// A function and its signature.
#[derive(Debug)]
pub(super) struct Function {
    pub parameters: &'static [Kind],
    /// Whether the last parameter may come any number of times.
    pub variadic: bool,
    pub run: fn(&[Value]) -> Result<Value, String>,
}

/// Whether there is such a function.
pub(super) fn exists(name: &str) -> bool {
    matches!(name, "and" | "or") || find(name, Mode::Plain).is_some()
}

/// Finds a function; in a table's header Docker replaces those that would garble it.
pub(super) fn find(name: &str, mode: Mode) -> Option<Function> {
    use Kind::{Any, Int, Text, Texts};
    type Run = fn(&[Value]) -> Result<Value, String>;
    let fixed = |parameters, run: Run| Some(Function { parameters, variadic: false, run });
    let many = |parameters, run: Run| Some(Function { parameters, variadic: true, run });
    let identity: Run = |args| Ok(args[0].clone());
    if mode == Mode::Header {
        match name {
            "json" | "title" | "lower" | "upper" => return fixed(&[Text], identity),
            "truncate" => return fixed(&[Text, Int], identity),
            "split" | "join" => return fixed(&[Text, Text], identity),
            _ => {}
        }
    }
    match name {
        "json" if mode == Mode::Buildx => fixed(&[Any], |args| {
            let text = json::encode(&args[0], true);
            Ok(Value::str(indent_json_by(&text, "  ")))
        }),
        "json" => fixed(&[Any], |args| Ok(Value::str(json::encode(&args[0], false)))),
        "split" => fixed(&[Text, Text], |args| Ok(split(text(&args[0]), text(&args[1])))),
        "join" => fixed(&[Texts, Text], |args| Ok(join(&args[0], text(&args[1])))),
        "title" => fixed(&[Text], |args| Ok(Value::str(title(text(&args[0]))))),
        "lower" => fixed(&[Text], |args| Ok(Value::str(text(&args[0]).to_lowercase()))),
        "upper" => fixed(&[Text], |args| Ok(Value::str(text(&args[0]).to_uppercase()))),
        "pad" => fixed(&[Text, Int, Int], pad),
        "truncate" => fixed(&[Text, Int], truncate),
        "len" => fixed(&[Any], |args| length(&args[0])),
        "not" => fixed(&[Any], |args| Ok(Value::Bool(!args[0].is_true()))),
        "index" => many(&[Any, Any], index),
        "slice" => many(&[Any, Any], slice),
        "eq" => many(&[Any, Any], |args| equal(args).map(Value::Bool)),
        "ne" => fixed(&[Any, Any], |args| equal(args).map(|it| Value::Bool(!it))),
        "lt" => fixed(&[Any, Any], |args| less(args).map(Value::Bool)),
        "le" => fixed(&[Any, Any], |args| Ok(Value::Bool(less(args)? || equal(args)?))),
        "gt" => fixed(&[Any, Any], |args| Ok(Value::Bool(!(less(args)? || equal(args)?)))),
        "ge" => fixed(&[Any, Any], |args| less(args).map(|it| Value::Bool(!it))),
        "print" => many(&[Any], |args| Ok(Value::str(sprint(args)))),
        "println" => many(&[Any], |args| {
            Ok(Value::str(format!("{}\n", args.iter().map(print).collect::<Vec<_>>().join(" "))))
        }),
        "printf" => many(&[Text, Any], |args| Ok(Value::str(sprintf(text(&args[0]), &args[1..])))),
        "html" => many(&[Any], |args| Ok(Value::str(html(&all(args))))),
        "js" => many(&[Any], |args| Ok(Value::str(js(&all(args))))),
        "urlquery" => many(&[Any], |args| Ok(Value::str(urlquery(&all(args))))),
        "call" => many(&[Any, Any], |args| match &args[0] {
            Value::Invalid => Err("call of nil".into()),
            other => Err(format!("non-function of type {}", other.type_name())),
        }),
        _ => None,
    }
}

fn text(value: &Value) -> &str {
    value.as_text().map_or("", |text| text)
}

fn amount(value: &Value) -> i64 {
    if let Value::Int(number, _) = value { *number } else { 0 }
}

fn split(source: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return Value::strings(source.chars().map(String::from));
    }
    Value::strings(source.split(separator).map(String::from))
}

fn join(list: &Value, separator: &str) -> Value {
    let Value::List(list) = list else { return Value::str("") };
    let items: Vec<&str> = list.items.iter().map(text).collect();
    Value::str(items.join(separator))
}

/// Go's `strings.Title`: the first letter of each word in upper case.
fn title(source: &str) -> String {
    let mut previous = ' ';
    source
        .chars()
        .flat_map(|c| {
            let begins = !(previous.is_alphanumeric() || previous == '_')
                && (previous.is_ascii() || previous.is_whitespace());
            previous = c;
            let upper = begins.then(|| c.to_uppercase());
            let same = (!begins).then_some(c);
            upper.into_iter().flatten().chain(same)
        })
        .collect()
}

fn spaces(count: &Value) -> Result<String, String> {
    let count = usize::try_from(amount(count))
        .map_err(|_negative| "strings: negative Repeat count".to_owned())?;
    Ok(" ".repeat(count))
}

fn pad(args: &[Value]) -> Result<Value, String> {
    let source = text(&args[0]);
    if source.is_empty() {
        return Ok(args[0].clone());
    }
    Ok(Value::str(format!("{}{source}{}", spaces(&args[1])?, spaces(&args[2])?)))
}

fn truncate(args: &[Value]) -> Result<Value, String> {
    let (source, length) = (text(&args[0]), amount(&args[1]));
    let Ok(length) = usize::try_from(length) else {
        return Err(format!("slice bounds out of range [:{length}]"));
    };
    if source.len() < length {
        return Ok(args[0].clone());
    }
    let bytes = source.as_bytes().get(..length).unwrap_or_default();
    Ok(Value::str(String::from_utf8_lossy(bytes).into_owned()))
}

fn length(item: &Value) -> Result<Value, String> {
    let count = match item.indirect() {
        Value::Str(text, _) | Value::Number(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Invalid => return Err("len of untyped nil".into()),
        Value::Ptr(..) => return Err("len of nil pointer".into()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::int(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// An index or a slice bound.
fn position(index: &Value, limit: usize) -> Result<usize, String> {
    let number = match index {
        Value::Int(number, _) => i128::from(*number),
        Value::Uint(number, _) => i128::from(*number),
        Value::Invalid => return Err("cannot index slice/array with nil".into()),
        other => return Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    usize::try_from(number)
        .ok()
        .filter(|at| *at < limit)
        .ok_or_else(|| format!("index out of range: {number}"))
}

fn index(args: &[Value]) -> Result<Value, String> {
    let mut item = args[0].clone();
    if matches!(item, Value::Invalid) {
        return Err("index of untyped nil".into());
    }
    for key in &args[1..] {
        let next = match item.indirect() {
            Value::Ptr(..) | Value::Invalid => return Err("index of nil pointer".into()),
            Value::List(list) => list.items[position(key, list.items.len())?].clone(),
            Value::Str(text, _) => {
                Value::Uint(text.as_bytes()[position(key, text.len())?].into(), "uint8")
            }
            Value::Map(map) => {
                let Some(name) = key.as_text() else {
                    return Err(match key {
                        Value::Invalid => "value is nil; should be of type string".into(),
                        key => format!("value has type {}; should be string", key.type_name()),
                    });
                };
                let is_plain = key.type_name() == "string";
                if !map.takes_strings && is_plain || map.takes_strings && !is_plain {
                    return Err(format!(
                        "value has type {}; should be {}",
                        key.type_name(),
                        key_type(&map.type_name)
                    ));
                }
                map.get(name).unwrap_or(&map.zero).clone()
            }
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
        item = next;
    }
    Ok(item)
}

/// `K` of `map[K]V`.
fn key_type(map: &str) -> &str {
    map.strip_prefix("map[").and_then(|rest| rest.split(']').next()).unwrap_or("string")
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let item = args[0].indirect();
    let bounds = &args[1..];
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let limit = match item {
        Value::Str(..) if bounds.len() == 3 => {
            return Err("cannot 3-index slice a string".into());
        }
        Value::Str(text, _) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Invalid => return Err("slice of untyped nil".into()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let mut range = [0, limit, limit];
    for (slot, bound) in range.iter_mut().zip(bounds) {
        *slot = position(bound, limit + 1)?;
    }
    let [from, to, capacity] = range;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if to > capacity {
        return Err(format!("invalid slice index: {to} > {capacity}"));
    }
    Ok(match item {
        Value::List(list) => Value::List(std::rc::Rc::new(super::value::List {
            items: list.items[from..to].to_vec(),
            type_name: list.type_name.clone(),
            is_nil: false,
        })),
        other => {
            let bytes = &text(other).as_bytes()[from..to];
            Value::str(String::from_utf8_lossy(bytes).into_owned())
        }
    })
}

const INCOMPATIBLE: &str = "incompatible types for comparison";
const NOT_BASIC: &str = "invalid type for comparison";

fn equal(args: &[Value]) -> Result<bool, String> {
    let Some((first, others)) = args.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err("missing argument for comparison".into());
    };
    for other in others {
        if same(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn same(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Str(a, _) | Value::Number(a), Value::Str(b, _) | Value::Number(b)) => a == b,
        (a, b) if whole(a).is_some() && whole(b).is_some() => whole(a) == whole(b),
        (Value::Invalid, b) => b.is_nil(),
        (a, Value::Invalid) => a.is_nil(),
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Struct(a), Value::Struct(b)) if a.type_name == b.type_name => {
            for (a, b) in a.fields.iter().zip(&b.fields) {
                if !same(&a.value, &b.value)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Ptr(a, _), Value::Ptr(b, _)) => match (a, b) {
            (Some(a), Some(b)) => std::rc::Rc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        },
        (a @ (Value::List(_) | Value::Map(_)), b) if a.type_name() == b.type_name() => {
            if a.is_nil() || b.is_nil() {
                a.is_nil() == b.is_nil()
            } else {
                return Err(format!("non-comparable type {}: {}", print(a), a.type_name()));
            }
        }
        _ => return Err(INCOMPATIBLE.into()),
    })
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number, _) | Value::Duration(number) => Some(i128::from(*number)),
        Value::Uint(number, _) => Some(i128::from(*number)),
        _ => None,
    }
}

fn less(args: &[Value]) -> Result<bool, String> {
    let ordering = match (&args[0], &args[1]) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Greater),
        (Value::Str(a, _) | Value::Number(a), Value::Str(b, _) | Value::Number(b)) => a.cmp(b),
        (a, b) if whole(a).is_some() && whole(b).is_some() => whole(a).cmp(&whole(b)),
        (Value::Bool(_), Value::Bool(_)) => return Err(NOT_BASIC.into()),
        (a, b) if is_basic(a) && is_basic(b) => return Err(INCOMPATIBLE.into()),
        _ => return Err(NOT_BASIC.into()),
    };
    Ok(ordering == Ordering::Less)
}

fn is_basic(value: &Value) -> bool {
    whole(value).is_some()
        || matches!(value, Value::Float(_) | Value::Str(..) | Value::Number(_) | Value::Bool(_))
}

/// `fmt.Sprint`: a space between operands when neither is a string.
fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        let is_text = |value: &Value| value.as_text().is_some();
        if at > 0 && !is_text(arg) && !is_text(&args[at - 1]) {
            out.push(' ');
        }
        out.push_str(&print(arg));
    }
    out
}

/// The arguments of an escaping function as one text.
fn all(args: &[Value]) -> String {
    match args {
        [one] => shown(one),
        many => sprint(many),
    }
}

fn html(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for c in source.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn js(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for c in source.chars() {
        match c {
            '\\' | '\'' | '"' => {
                out.push('\\');
                out.push(c);
            }
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            '\0'..='\x1f' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_ascii() || super::quote::is_printable(c) => out.push(c),
            c => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        }
    }
    out
}

fn urlquery(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for byte in source.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
