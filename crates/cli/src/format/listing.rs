//! Listings: rows through a template, in a table, as JSON or as the user wants.

use std::rc::Rc;

use super::tabs;
use crate::template::{Mode, Object, Template, Value};

/// A row's cells: what a template may ask by name.
#[derive(Debug)]
pub(crate) struct Row {
    /// The Go type, for error messages.
    pub type_name: &'static str,
    pub cells: Vec<(&'static str, Value)>,
    /// What `.Label "key"` looks into.
    pub labels: Vec<(String, String)>,
}

impl Object for Row {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        if name == "Label" && self.cells.iter().any(|(cell, _)| *cell == "Labels") {
            let [Value::Str(key, _)] = args else {
                let message = format!("wrong number of args for Label: want 1 got {}", args.len());
                return Some(Err(message));
            };
            let found = self.labels.iter().find(|(name, _)| **name == **key);
            return Some(Ok(Value::str(found.map_or("", |(_, value)| value.as_str()))));
        }
        let (_, value) = self.cells.iter().find(|(cell, _)| *cell == name)?;
        if !args.is_empty() {
            let message = format!("wrong number of args for {name}: want 0 got {}", args.len());
            return Some(Err(message));
        }
        Some(Ok(value.clone()))
    }

    fn json_fields(&self) -> Vec<(&'static str, Value)> {
        self.cells.clone()
    }
}

/// What is listed, and how.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    /// The template, a `table` one perhaps; `json` is each row as JSON.
    pub format: &'a str,
    /// The headings of the cells.
    pub headings: &'a [(&'static str, &'static str)],
}

/// The row of headings of a table.
#[derive(Debug)]
struct Headings(Vec<(&'static str, &'static str)>);

impl Object for Headings {
    fn type_name(&self) -> &'static str {
        "formatter.SubHeaderContext"
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        if let ("Label", [Value::Str(key, _)]) = (name, args) {
            let last = key.rsplit('.').next().unwrap_or_default();
            return Some(Ok(Value::str(last.replace(['-', '_'], " "))));
        }
        let found = self.0.iter().find(|(cell, _)| *cell == name);
        Some(Ok(found.map_or(Value::Invalid, |(_, text)| Value::str(*text))))
    }

    fn json_fields(&self) -> Vec<(&'static str, Value)> {
        self.0.iter().map(|(name, text)| (*name, Value::str(*text))).collect()
    }
}

impl Listing<'_> {
    /// Renders all rows.
    pub(crate) fn render(&self, rows: Vec<Row>) -> Result<String, String> {
        let is_table = self.format.starts_with("table");
        let text = match self.format {
            "json" => "{{json .}}",
            format => format.strip_prefix("table").filter(|_| is_table).unwrap_or(format),
        };
        let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let template =
            Template::parse(&text).map_err(|error| format!("template parsing error: {error}"))?;
        let mut body = String::new();
        for row in rows {
            template
                .execute(&Value::Object(Rc::new(row)), Mode::Plain, &mut body)
                .map_err(|error| format!("template parsing error: {error}"))?;
            body.push('\n');
        }
        if !is_table {
            return Ok(body);
        }
        let mut header = String::new();
        let headings = Value::Object(Rc::new(Headings(self.headings.to_vec())));
        // Compat: an error in the heading is not told, for the rows had none.
        drop(template.execute(&headings, Mode::Header, &mut header));
        Ok(tabs::align(&format!("{header}\n{body}"), 3))
    }
}
