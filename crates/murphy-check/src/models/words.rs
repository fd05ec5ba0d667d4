//! Fragments in which models say that they do not understand a value.

use crate::value::Value;

/// An `f` that the model does not have. `known` is such as `read and write`.
pub(super) fn unknown_f<T>(f: &str, model: &str, known: &str) -> Result<T, Box<str>> {
    Err(format!("unknown f `{f}`; model {model} has {known}").into())
}

/// Another value than `expected`, such as `a number`.
pub(super) fn wrong<T>(f: &str, expected: &str, found: &Value) -> Result<T, Box<str>> {
    let mut found = found.to_string();
    if found.chars().count() > 60 {
        found = found.chars().take(60).chain("…".chars()).collect();
    }
    Err(format!("expected {expected} for `{f}`, found {found}").into())
}

/// A whole number.
pub(super) fn number(f: &str, value: &Value) -> Result<i64, Box<str>> {
    (value.as_int()).map_or_else(|| wrong(f, "a whole number", value), Ok)
}

/// A list of two.
pub(super) fn pair<'a>(f: &str, value: &'a Value) -> Result<(&'a Value, &'a Value), Box<str>> {
    match value.as_list() {
        Some([one, other]) => Ok((one, other)),
        _ => wrong(f, "a list of two", value),
    }
}
