//! JSON read as Go would read it into a struct.

use std::rc::Rc;

use serde_json::Value as Json;

use super::value::{Field, List, Map, Struct, Value};

/// The structs, their fields in Go's order. Only the types that are met are ever read.
const TYPES: &str = include_str!("types.txt");

/// A named type: the lines of its fields, or the type it is another name of.
enum Definition {
    Struct(&'static str),
    Alias(&'static str),
}

/// Makes the value that Go's decoder would make of `json` for the type `type_name`.
pub(crate) fn typed(json: &Json, type_name: &str) -> Value {
    read(Some(json), type_name)
}

/// Whether the struct `type_name` has a field of that name.
pub(super) fn has_field(type_name: &str, name: &str) -> bool {
    matches!(read(None, type_name), Value::Struct(it) if it.field(name).is_some())
}

fn define(type_name: &str) -> Option<Definition> {
    let mut rest = TYPES;
    while let Some(at) = rest.find(type_name) {
        let begins_line = rest[..at].is_empty() || rest[..at].ends_with('\n');
        let after = &rest[at + type_name.len()..];
        if begins_line && let Some(fields) = after.strip_prefix('\n') {
            let mut end = 0;
            for line in fields.split_inclusive('\n').take_while(|line| line.starts_with(' ')) {
                end += line.len();
            }
            return Some(Definition::Struct(&fields[..end]));
        }
        if begins_line && let Some(alias) = after.strip_prefix(" = ") {
            return alias.lines().next().map(Definition::Alias);
        }
        rest = after;
    }
    None
}

/// `json` is `None` for what is absent, of which Go makes the type's zero value.
fn read(json: Option<&Json>, type_name: &str) -> Value {
    let json = json.filter(|json| !json.is_null());
    if let Some(inner) = type_name.strip_prefix('*') {
        let target = json.map(|json| Rc::new(read(Some(json), inner)));
        return Value::Ptr(target, resolve(inner).into());
    }
    if type_name.starts_with('[') {
        return list(json, type_name, type_name);
    }
    if type_name.starts_with("map[") {
        return map(json, type_name, type_name);
    }
    let text = |json: Option<&Json>| json.and_then(Json::as_str).unwrap_or_default().to_owned();
    match type_name {
        "string" => Value::str(text(json)),
        "bool" => Value::Bool(json.and_then(Json::as_bool).unwrap_or_default()),
        "struct{}" => structure(json, "struct {}", ""),
        "any" | "interface{}" => json.map_or(Value::Invalid, Value::untyped),
        "time.Time" => match json.and_then(Json::as_str) {
            Some(text) => Value::Time(text.into()),
            None => Value::Time("0001-01-01T00:00:00Z".into()),
        },
        "time.Duration" => Value::Duration(json.and_then(Json::as_i64).unwrap_or_default()),
        _ => match number_type(type_name) {
            Some(name) if name.starts_with('u') => {
                Value::Uint(json.and_then(Json::as_u64).unwrap_or_default(), name)
            }
            Some("float64") => Value::Float(json.and_then(Json::as_f64).unwrap_or_default()),
            Some(name) => Value::Int(json.and_then(Json::as_i64).unwrap_or_default(), name),
            None => named(json, type_name),
        },
    }
}

fn named(json: Option<&Json>, type_name: &str) -> Value {
    match define(type_name) {
        Some(Definition::Struct(fields)) => structure(json, type_name, fields),
        Some(Definition::Alias(alias)) if alias.starts_with("map[") => map(json, alias, type_name),
        Some(Definition::Alias(alias)) if alias.starts_with('[') => list(json, alias, type_name),
        Some(Definition::Alias(alias)) => read(json, alias),
        // What is not described is a named string, such as `container.NetworkMode`.
        None => {
            let text = json.and_then(Json::as_str).unwrap_or_default();
            Value::Str(text.into(), type_name.into())
        }
    }
}

fn number_type(type_name: &str) -> Option<&'static str> {
    const NAMES: [&str; 12] = [
        "int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64",
        "float64", "byte",
    ];
    let found = NAMES.into_iter().find(|name| *name == type_name)?;
    Some(if found == "byte" { "uint8" } else { found })
}

/// The name that errors show for a type.
fn resolve(type_name: &str) -> &str {
    match type_name {
        "ocispec.Descriptor" => "v1.Descriptor",
        "ocispec.Platform" => "v1.Platform",
        "container.Ulimit" => "units.Ulimit",
        other => other,
    }
}

/// The type of elements of a slice or array type.
fn element_type(type_name: &str) -> &str {
    type_name.split_once(']').map_or("any", |(_, element)| element)
}

fn list(json: Option<&Json>, type_name: &str, shown: &str) -> Value {
    let element = element_type(type_name);
    let mut items: Vec<Value> = match json {
        Some(Json::Array(items)) => items.iter().map(|item| read(Some(item), element)).collect(),
        // Compat: a `StrSlice` may be one string.
        Some(text @ Json::String(_)) if element == "string" => vec![read(Some(text), element)],
        _ => Vec::new(),
    };
    let length = type_name.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let fixed = length.and_then(|length| length.parse().ok());
    if let Some(length) = fixed {
        items.resize_with(length, || read(None, element));
    }
    let is_nil = json.is_none() && fixed.is_none();
    Value::List(Rc::new(List { items, type_name: shown.into(), is_nil }))
}

fn map(json: Option<&Json>, type_name: &str, shown: &str) -> Value {
    let key = type_name.strip_prefix("map[").and_then(|rest| rest.split(']').next());
    let element = element_type(type_name);
    let mut entries: Vec<(Rc<str>, Value)> = match json {
        Some(Json::Object(fields)) => fields
            .iter()
            .map(|(key, item)| (key.as_str().into(), read(Some(item), element)))
            .collect(),
        _ => Vec::new(),
    };
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let shown =
        shown.replace("interface{}", "interface {}").replace("struct{}", "struct {}").into();
    Value::Map(Rc::new(Map {
        entries,
        type_name: shown,
        zero: read(None, element),
        takes_strings: key == Some("string"),
        is_nil: json.is_none(),
    }))
}

fn structure(json: Option<&Json>, type_name: &str, lines: &str) -> Value {
    let fields = lines.lines().filter_map(|line| field(json, line)).collect();
    Value::Struct(Rc::new(Struct { type_name: resolve(type_name).into(), fields }))
}

/// Reads a field by its line: name, type, name in JSON, `omitempty` or `embedded`.
fn field(json: Option<&Json>, line: &str) -> Option<Field> {
    let mut words = line.split_whitespace();
    let (name, type_name) = (words.next()?, words.next()?);
    let (mut key, mut omit_empty, mut embedded) = (name, false, false);
    for word in words {
        match word {
            "omitempty" => omit_empty = true,
            "embedded" => embedded = true,
            other => key = other,
        }
    }
    let value = if embedded {
        // An embedded struct's fields stand among those of the outer one.
        read(json, type_name)
    } else {
        read(json.and_then(|json| get(json, key)), type_name)
    };
    let json = (!embedded && key != "-").then(|| key.into());
    Some(Field { name: name.into(), json, omit_empty, embedded, value })
}

/// Finds a key as Go's decoder does: as it is, else in any case.
fn get<'a>(json: &'a Json, key: &str) -> Option<&'a Json> {
    let object = json.as_object()?;
    object.get(key).or_else(|| {
        object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    })
}
