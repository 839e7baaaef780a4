//! Go's ways with JSON: `null` for empty things, `omitempty`, one string for a list.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

/// Declares a type of the wire: each field with its name there, `omitempty` where Go omits it.
///
/// Reading is as lenient as Go's decoder: a field may be absent or `null`, and becomes the default
/// of its type then; the case of its name does not matter; what is not known is passed over.
macro_rules! wire {
    ($(
        $(#[$meta:meta])*
        $name:ident {
            $( $(#[$field_meta:meta])* $field:ident : $ty:ty = $wire:literal $($omit:ident)? ),* $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
        pub struct $name {$(
            #[doc = concat!("`", $wire, "` on the wire.")]
            $(
                #[doc = concat!("Not written when empty (`", stringify!($omit), "`).")]
                #[serde(skip_serializing_if = "crate::go::IsEmpty::is_empty")]
            )?
            $(#[$field_meta])*
            #[serde(rename = $wire)]
            pub $field: $ty,
        )*}

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct FieldsVisitor;

                impl<'de> serde::de::Visitor<'de> for FieldsVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("the fields of ", stringify!($name)))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<$name, A::Error> {
                        let mut fields = $name::default();
                        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                            match key.as_ref() {
                                $( key if key.eq_ignore_ascii_case($wire) => {
                                    fields.$field = crate::go::value_or_default(&mut map, $wire)?;
                                } )*
                                _ => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(fields)
                    }
                }

                deserializer.deserialize_map(FieldsVisitor)
            }
        }
    )*};
}
pub(crate) use wire;

/// Go's `struct{}`: `{}` on the wire, the value of its sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Empty {}

/// A list of strings that may be written as one string; a command line, mostly.
///
/// `"sh"` reads as `["sh"]`. It is always written as a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StrSlice(pub Vec<String>);

impl From<Vec<String>> for StrSlice {
    fn from(list: Vec<String>) -> Self {
        Self(list)
    }
}

impl Serialize for StrSlice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StrSlice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StrSliceVisitor;

        impl<'de> Visitor<'de> for StrSliceVisitor {
            type Value = StrSlice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<StrSlice, E> {
                Ok(StrSlice(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<StrSlice, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(StrSlice(list))
            }
        }

        deserializer.deserialize_any(StrSliceVisitor)
    }
}

/// Reads the value of a field, and `null` as its type's default; an error names the field.
pub(crate) fn value_or_default<'de, A, T>(map: &mut A, name: &str) -> Result<T, A::Error>
where
    A: MapAccess<'de>,
    T: Deserialize<'de> + Default,
{
    match map.next_value::<Option<T>>() {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(error) => Err(de::Error::custom(format!("{name}: {error}"))),
    }
}

/// Says which values `omitempty` leaves out.
pub trait IsEmpty {
    /// Whether Go would leave the value out.
    fn is_empty(&self) -> bool;
}

impl IsEmpty for bool {
    fn is_empty(&self) -> bool {
        !self
    }
}

impl IsEmpty for String {
    fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }
}

impl<T> IsEmpty for Vec<T> {
    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl IsEmpty for StrSlice {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K, V> IsEmpty for BTreeMap<K, V> {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

/// An absent pointer is empty, a pointer to anything is not; `omitempty` on a nullable list also
/// leaves out the empty list, so such fields are plain `Vec`s here.
impl<T> IsEmpty for Option<T> {
    fn is_empty(&self) -> bool {
        self.is_none()
    }
}

macro_rules! zero_is_empty {
    ($($ty:ty),*) => {$(
        impl IsEmpty for $ty {
            fn is_empty(&self) -> bool {
                *self == 0
            }
        }
    )*};
}
zero_is_empty!(u16, u32, u64, i32, i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_reads_as_a_list_of_one() {
        assert_eq!(serde_json::from_str::<StrSlice>("\"sh\"").unwrap().0, ["sh"]);
        assert_eq!(serde_json::from_str::<StrSlice>("[\"sh\",\"-c\"]").unwrap().0, ["sh", "-c"]);
        let message = serde_json::from_str::<StrSlice>("3").unwrap_err().to_string();
        assert!(message.contains("a string or a list of strings"), "{message}");
    }
}
