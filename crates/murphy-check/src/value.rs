//! A value is what a history says was asked or answered, before a model gives it a meaning.
//!
//! Formats differ in how they write a value; models do not care. A keyword of EDN is a [`Value::Text`]; a map
//! keeps the order in which it was written.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use smol_str::SmolStr;

/// A value of any format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Nothing: `nil`, `null`, or a field that is not there.
    #[default]
    Nil,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text, a keyword or a symbol; of up to 23 bytes it takes no memory of its own, as most do.
    Text(SmolStr),
    /// A list, vector or set.
    List(Box<[Value]>),
    /// Keys and values.
    Map(Box<[(Value, Value)]>),
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<SmolStr>) -> Self {
        Self::Text(text.into())
    }

    /// A list.
    pub fn list(values: impl IntoIterator<Item = Self>) -> Self {
        Self::List(values.into_iter().collect())
    }

    /// True for [`Value::Nil`].
    pub fn is_nil(&self) -> bool {
        *self == Self::Nil
    }

    /// The number, where it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, where it is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// The value under a key of text, where it is a map that has it.
    pub fn field(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else {
            return None;
        };
        let is_it = |(key, _): &&(Self, Self)| key.as_text() == Some(name);
        entries.iter().find(is_it).map(|(_, value)| value)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

/// As people read it: `nil`, `5`, `"x"`, `[1 2]`, `{k: 1}`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) if text.is_empty() => f.write_str("\"\""),
            Self::Text(text) => f.write_str(text),
            Self::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    let gap = if at == 0 { "" } else { " " };
                    write!(f, "{gap}{value}")?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    let gap = if at == 0 { "" } else { ", " };
                    write!(f, "{gap}{key}: {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

/// As JSON; a map with a key that is not text becomes a list of pairs.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => serializer.collect_seq(values.iter()),
            Self::Map(entries) if entries.iter().all(|(key, _)| key.as_text().is_some()) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Map(entries) => {
                let mut list = serializer.serialize_seq(Some(entries.len()))?;
                for pair in entries {
                    list.serialize_element(pair)?;
                }
                list.end()
            }
        }
    }
}
