//! Values as Go's `fmt` prints them.

use std::rc::Rc;

use super::quote::quote;
use super::value::Value;

/// How composite values are printed: `%v`, `%+v` or `%#v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    WithNames,
}

/// The text of `{{value}}`.
pub(crate) fn shown(value: &Value) -> String {
    match value.indirect() {
        Value::Invalid => "<no value>".into(),
        other => print(other),
    }
}

/// `fmt.Sprint` of one value.
pub(super) fn print(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value, Style::Plain, 0);
    out
}

/// Appends `value`; `depth` is zero outside any composite value.
pub(super) fn write_value(out: &mut String, value: &Value, style: Style, depth: usize) {
    match value {
        Value::Invalid | Value::Ptr(None, _) => out.push_str("<nil>"),
        Value::Bool(it) => out.push_str(if *it { "true" } else { "false" }),
        Value::Int(number, _) => out.push_str(&number.to_string()),
        Value::Uint(number, _) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Str(text, _) | Value::Number(text) => out.push_str(text),
        Value::List(list) => {
            out.push('[');
            for (at, item) in list.items.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                write_value(out, item, style, depth + 1);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (at, (key, item)) in map.entries.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write_value(out, item, style, depth + 1);
            }
            out.push(']');
        }
        Value::Struct(it) => {
            out.push('{');
            for (at, field) in it.fields.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                if style == Style::WithNames {
                    out.push_str(&field.name);
                    out.push(':');
                }
                write_value(out, &field.value, style, depth + 1);
            }
            out.push('}');
        }
        Value::Ptr(Some(target), _) => match stringer(target) {
            Some(text) => out.push_str(&text),
            None if depth == 0 && is_composite(target) => {
                out.push('&');
                write_value(out, target, style, depth + 1);
            }
            None => out.push_str(&address(target)),
        },
        Value::Time(text) => out.push_str(&super::time::print(text)),
        Value::Duration(nanoseconds) => out.push_str(&super::time::duration(*nanoseconds)),
        Value::Object(object) => {
            out.push_str("&{");
            let texts: Vec<String> =
                object.json_fields().iter().map(|(_, value)| print(value)).collect();
            out.push_str(&texts.join(" "));
            out.push('}');
        }
    }
}

/// What a pointer's own `String` method says, for the types that have one.
fn stringer(target: &Value) -> Option<String> {
    match target {
        Value::Struct(it) if &*it.type_name == "units.Ulimit" => {
            let field = |name| it.field(name).map(print).unwrap_or_default();
            Some(format!("{}={}:{}", field("Name"), field("Soft"), field("Hard")))
        }
        Value::Str(text, name) if &**name == "registry.NetIPNet" => Some(text.to_string()),
        Value::Time(_) | Value::Duration(_) => Some(print(target)),
        _ => None,
    }
}

fn is_composite(value: &Value) -> bool {
    matches!(value, Value::Struct(_) | Value::Map(_) | Value::List(_))
}

/// Go prints where a nested pointer points to; any address does.
fn address(target: &Rc<Value>) -> String {
    format!("{:p}", Rc::as_ptr(target))
}

/// `%v` of a float: the shortest text that reads back, with an exponent when it is far from one.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..21).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{number}")
}

/// `%#v`: Go syntax, for the kinds a template can meet.
pub(super) fn go_syntax(value: &Value) -> String {
    let joined = |items: Vec<String>| items.join(", ");
    match value {
        Value::Invalid => "<nil>".into(),
        Value::Str(text, _) | Value::Number(text) => quote(text),
        Value::Uint(number, _) => format!("{number:#x}"),
        Value::Ptr(None, name) => format!("(*{name})(nil)"),
        Value::Ptr(Some(target), _) => format!("&{}", go_syntax(target)),
        Value::List(list) if list.is_nil => format!("{}(nil)", list.type_name),
        Value::List(list) => {
            format!("{}{{{}}}", list.type_name, joined(list.items.iter().map(go_syntax).collect()))
        }
        Value::Map(map) if map.is_nil => format!("{}(nil)", map.type_name),
        Value::Map(map) => {
            let entry =
                |(key, item): &(Rc<str>, Value)| format!("{}:{}", quote(key), go_syntax(item));
            format!("{}{{{}}}", map.type_name, joined(map.entries.iter().map(entry).collect()))
        }
        Value::Struct(it) => {
            let fields = it
                .fields
                .iter()
                .map(|field| format!("{}:{}", field.name, go_syntax(&field.value)))
                .collect();
            format!("{}{{{}}}", it.type_name, joined(fields))
        }
        other => print(other),
    }
}
