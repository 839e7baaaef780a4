//! Values as Go's `encoding/json` writes them.

use super::value::{Field, Value};

/// `value` as JSON; `escapes_html` as `json.Marshal` does and Docker's `json` function does not.
pub(crate) fn encode(value: &Value, escapes_html: bool) -> String {
    let mut out = String::new();
    write(&mut out, value, escapes_html);
    out
}

fn write(out: &mut String, value: &Value, html: bool) {
    match value {
        Value::Invalid | Value::Ptr(None, _) => out.push_str("null"),
        Value::Bool(it) => out.push_str(if *it { "true" } else { "false" }),
        Value::Int(number, _) | Value::Duration(number) => out.push_str(&number.to_string()),
        Value::Uint(number, _) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&number.to_string()),
        Value::Number(number) => out.push_str(number),
        Value::Str(text, _) | Value::Time(text) => string(out, text, html),
        Value::List(list) if list.is_nil => out.push_str("null"),
        Value::List(list) => {
            out.push('[');
            for (at, item) in list.items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(out, item, html);
            }
            out.push(']');
        }
        Value::Map(map) if map.is_nil => out.push_str("null"),
        Value::Map(map) => {
            object(out, map.entries.iter().map(|(key, item)| (&**key, item)), html);
        }
        Value::Struct(it) => {
            let mut fields = Vec::new();
            collect(&it.fields, &mut fields);
            object(out, fields.into_iter(), html);
        }
        Value::Ptr(Some(target), _) => write(out, target, html),
        // A listing's row encodes itself, with `json.Marshal`.
        Value::Object(it) => {
            let mut fields = it.json_fields();
            fields.sort_by_key(|(name, _)| *name);
            object(out, fields.iter().map(|(name, item)| (*name, item)), true);
        }
    }
}

/// The fields JSON shows, those of embedded structs in their place.
fn collect<'a>(fields: &'a [Field], out: &mut Vec<(&'a str, &'a Value)>) {
    for field in fields {
        let value = &field.value;
        match (&field.json, value.indirect()) {
            (None, Value::Struct(inner)) if field.embedded => collect(&inner.fields, out),
            (None, _) => {}
            (Some(_), _) if field.omit_empty && value.is_empty_for_json() => {}
            (Some(name), _) => out.push((name, value)),
        }
    }
}

fn object<'a>(out: &mut String, fields: impl Iterator<Item = (&'a str, &'a Value)>, html: bool) {
    out.push('{');
    for (at, (name, item)) in fields.enumerate() {
        if at > 0 {
            out.push(',');
        }
        string(out, name, html);
        out.push(':');
        write(out, item, html);
    }
    out.push('}');
}

/// A JSON string with Go's choice of escapes.
pub(crate) fn string(out: &mut String, text: &str, html: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '<' | '>' | '&' if html => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
