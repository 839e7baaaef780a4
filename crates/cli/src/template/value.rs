//! What a template sees: values that keep as much of their Go type as printing and errors show.

use std::rc::Rc;

/// A value inside a template.
///
/// Docker's client hands Go structs to its templates, and `text/template` prints what reflection
/// finds: field order, nil pointers, sorted maps. So our values remember those things too.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Go's zero `reflect.Value`, printed as `<no value>`.
    Invalid,
    Bool(bool),
    /// A signed integer and the name of its Go type.
    Int(i64, &'static str),
    /// An unsigned integer and the name of its Go type.
    Uint(u64, &'static str),
    Float(f64),
    /// A string and the name of its Go type.
    Str(Rc<str>, Rc<str>),
    /// A number of untyped JSON, of kind string (`json.Number`).
    Number(Rc<str>),
    List(Rc<List>),
    Map(Rc<Map>),
    Struct(Rc<Struct>),
    /// A pointer with the name of the type it points to.
    Ptr(Option<Rc<Self>>, Rc<str>),
    /// A moment, as it came in RFC 3339.
    Time(Rc<str>),
    /// A `time.Duration` in nanoseconds.
    Duration(i64),
    /// Something with methods: a row of a listing.
    Object(Rc<dyn Object>),
}

/// A Go slice or array.
#[derive(Debug)]
pub(crate) struct List {
    pub items: Vec<Value>,
    pub type_name: Rc<str>,
    pub is_nil: bool,
}

/// A Go map with keys of a string kind, sorted.
#[derive(Debug)]
pub(crate) struct Map {
    pub entries: Vec<(Rc<str>, Value)>,
    pub type_name: Rc<str>,
    /// What `index` gives for a key that is not there.
    pub zero: Value,
    /// Whether a plain string may be a key; false for maps such as `map[nat.Port]...`.
    pub takes_strings: bool,
    pub is_nil: bool,
}

/// A Go struct.
#[derive(Debug)]
pub(crate) struct Struct {
    pub type_name: Rc<str>,
    pub fields: Vec<Field>,
}

/// A field of a struct.
#[derive(Debug)]
pub(crate) struct Field {
    pub name: Rc<str>,
    /// Its key in JSON; `None` hides it there.
    pub json: Option<Rc<str>>,
    pub omit_empty: bool,
    pub embedded: bool,
    pub value: Value,
}

/// A value with methods that a template may call.
pub(crate) trait Object: std::fmt::Debug {
    /// The Go type, for error messages.
    fn type_name(&self) -> &'static str;
    /// Calls `name`; `None` if there is no such method.
    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>>;
    /// The names and values that JSON shows.
    fn json_fields(&self) -> Vec<(&'static str, Value)>;
}

impl Value {
    /// A plain Go `string`.
    pub(crate) fn str(text: impl Into<Rc<str>>) -> Self {
        Self::Str(text.into(), "string".into())
    }

    /// A Go `int`.
    pub(crate) fn int(number: i64) -> Self {
        Self::Int(number, "int")
    }

    /// A `[]string`.
    pub(crate) fn strings(items: impl IntoIterator<Item = String>) -> Self {
        let items = items.into_iter().map(Self::str).collect();
        Self::List(Rc::new(List { items, type_name: "[]string".into(), is_nil: false }))
    }

    /// JSON as Go decodes it into an `any`: objects become maps, numbers stay text.
    pub(crate) fn untyped(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Invalid,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Number(number.to_string().into()),
            Json::String(text) => Self::str(text.as_str()),
            Json::Array(items) => Self::List(Rc::new(List {
                items: items.iter().map(Self::untyped).collect(),
                type_name: "[]interface {}".into(),
                is_nil: false,
            })),
            Json::Object(entries) => {
                let mut entries: Vec<(Rc<str>, Self)> = entries
                    .iter()
                    .map(|(key, value)| (key.as_str().into(), Self::untyped(value)))
                    .collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Self::Map(Rc::new(Map {
                    entries,
                    type_name: "map[string]interface {}".into(),
                    zero: Self::Invalid,
                    takes_strings: true,
                    is_nil: false,
                }))
            }
        }
    }

    /// The name Go prints for the type.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Self::Invalid => "<nil>".into(),
            Self::Bool(_) => "bool".into(),
            Self::Int(_, name) | Self::Uint(_, name) => (*name).into(),
            Self::Float(_) => "float64".into(),
            Self::Str(_, name) => name.to_string(),
            Self::Number(_) => "json.Number".into(),
            Self::List(list) => list.type_name.to_string(),
            Self::Map(map) => map.type_name.to_string(),
            Self::Struct(it) => it.type_name.to_string(),
            Self::Ptr(_, name) => format!("*{name}"),
            Self::Time(_) => "time.Time".into(),
            Self::Duration(_) => "time.Duration".into(),
            Self::Object(object) => object.type_name().into(),
        }
    }

    /// Follows pointers; a nil pointer stays as it is.
    pub(crate) fn indirect(&self) -> &Self {
        let mut value = self;
        while let Self::Ptr(Some(inner), _) = value {
            value = inner;
        }
        value
    }

    /// Whether it is a nil pointer, slice or map, or nothing at all.
    pub(crate) fn is_nil(&self) -> bool {
        match self {
            Self::Invalid | Self::Ptr(None, _) => true,
            Self::List(list) => list.is_nil,
            Self::Map(map) => map.is_nil,
            Self::Bool(_)
            | Self::Int(..)
            | Self::Uint(..)
            | Self::Float(_)
            | Self::Str(..)
            | Self::Number(_)
            | Self::Struct(_)
            | Self::Ptr(Some(_), _)
            | Self::Time(_)
            | Self::Duration(_)
            | Self::Object(_) => false,
        }
    }

    /// The truth of `if`, `with`, `and`, `or` and `not`.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Invalid => false,
            Self::Bool(value) => *value,
            Self::Int(number, _) | Self::Duration(number) => *number != 0,
            Self::Uint(number, _) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Str(text, _) | Self::Number(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Ptr(target, _) => target.is_some(),
            Self::Struct(_) | Self::Time(_) | Self::Object(_) => true,
        }
    }

    /// The text of a value of kind string.
    pub(crate) fn as_text(&self) -> Option<&Rc<str>> {
        match self {
            Self::Str(text, _) | Self::Number(text) => Some(text),
            _ => None,
        }
    }

    /// Whether JSON's `omitempty` leaves it out.
    pub(crate) fn is_empty_for_json(&self) -> bool {
        match self {
            Self::Struct(_) | Self::Time(_) | Self::Object(_) => false,
            other => !other.is_true(),
        }
    }
}

impl Map {
    /// The value under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.entries
            .binary_search_by(|(name, _)| (**name).cmp(key))
            .ok()
            .map(|at| &self.entries[at].1)
    }
}

impl Struct {
    /// The field `name`, looked for in embedded structs too, shallowest first.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        if let Some(field) = self.fields.iter().find(|field| &*field.name == name) {
            return Some(&field.value);
        }
        self.fields.iter().filter(|field| field.embedded).find_map(|field| {
            match field.value.indirect() {
                Value::Struct(inner) => inner.field(name),
                _ => None,
            }
        })
    }
}
