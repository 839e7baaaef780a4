//! The `filters` parameter: names with the values of which one must match.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// Filters of a list, of events or of a prune.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// Text that is not filters.
#[derive(Debug, thiserror::Error)]
#[error("invalid filter")]
pub struct InvalidFilters {
    source: serde_json::Error,
}

/// A filter that the list does not have; displayed as Docker says it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedFilter {
    /// No such filter.
    #[error("invalid filter '{0}'")]
    Name(String),
    /// A value that the filter does not have.
    #[error("invalid filter '{name}=[{}]'", values.join(" "))]
    Value {
        /// The filter.
        name: String,
        /// All its values.
        values: Vec<String>,
    },
}

impl Filters {
    /// Reads the parameter: `{"k":["v"]}`, or `{"k":{"v":true}}`; empty text is no filter.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidFilters> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let map: Option<BTreeMap<String, Option<Values>>> =
            serde_json::from_str(text).map_err(|source| InvalidFilters { source })?;
        let filters = map.unwrap_or_default().into_iter();
        Ok(Self(filters.map(|(name, values)| (name, values.unwrap_or_default().0)).collect()))
    }

    /// Adds a value to a filter.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.entry(name.into()).or_default().insert(value.into());
    }

    /// Makes the parameter, in the form that every version of Docker reads.
    pub fn encode(&self) -> String {
        let map: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .0
            .iter()
            .map(|(name, values)| {
                (name.as_str(), values.iter().map(|value| (value.as_str(), true)).collect())
            })
            .collect();
        serde_json::json!(map).to_string()
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the filter is there.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The values of a filter; none when it is not there.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// All filters with all their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.iter().map(String::as_str)))
    }

    /// The one truth value of a filter, if it is there.
    ///
    /// # Errors
    ///
    /// Its values are not one of Go's truth values, or contradict each other.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, RefusedFilter> {
        let Some(values) = self.0.get(name) else { return Ok(None) };
        let refused = || RefusedFilter::Value {
            name: name.to_owned(),
            values: values.iter().cloned().collect(),
        };
        let is_true = values.contains("1") || values.contains("true");
        let is_false = values.contains("0") || values.contains("false");
        if is_true == is_false { Err(refused()) } else { Ok(Some(is_true)) }
    }

    /// Checks that there are no filters but `known`.
    ///
    /// # Errors
    ///
    /// The first one that is not known.
    pub fn check(&self, known: &[&str]) -> Result<(), RefusedFilter> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(RefusedFilter::Name(name.clone())),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct Values(BTreeSet<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValuesVisitor;

        impl<'de> Visitor<'de> for ValuesVisitor {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings or a map of strings to booleans")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Values, A::Error> {
                let mut values = BTreeSet::new();
                while let Some(value) = seq.next_element()? {
                    values.insert(value);
                }
                Ok(Values(values))
            }

            // Compat: Docker looks at the keys alone; a value of `false` counts.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut values = BTreeSet::new();
                while let Some((value, _)) = map.next_entry::<String, bool>()? {
                    values.insert(value);
                }
                Ok(Values(values))
            }
        }

        deserializer.deserialize_any(ValuesVisitor)
    }
}

#[cfg(test)]
mod tests;
