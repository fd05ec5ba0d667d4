//! A pattern is a regular expression that bytes hold or do not: pages, banners and lines need not be text.
//!
//! The syntax is that of the crate `regex`, which takes time linear in what is searched, whatever the pattern: a probe
//! cannot be made to hang by what a system says.

use std::{fmt, str::FromStr};

use regex::bytes::{Regex, RegexBuilder};

/// The most memory that a pattern may take once it is compiled.
const BYTES_MAX: usize = 1 << 20;

/// What is looked for.
#[derive(Clone)]
pub struct Pattern(Regex);

/// A pattern, and whether it is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It must be there.
    Present(Pattern),
    /// It must not.
    Missing(Pattern),
}

impl Pattern {
    /// Whether these bytes hold it.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Pattern {
    type Err = String;

    /// The error is what is wrong with it, as a fragment.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected a pattern after ~, such as ~ready".into());
        }
        let built = RegexBuilder::new(text).size_limit(BYTES_MAX).build();
        built.map(Self).map_err(|error| {
            // Several lines, of which the last one says it: "error: unclosed group".
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default();
            let what = last.strip_prefix("error: ").unwrap_or(last);
            format!("the pattern {text:?} is no regular expression: {what}; write \\ before what is meant as it stands")
        })
    }
}

impl Expected {
    /// Reads `~PATTERN` or `!~PATTERN`; nothing where it begins with neither.
    pub(super) fn read(text: &str) -> Option<Result<Self, String>> {
        if let Some(pattern) = text.strip_prefix("!~") {
            return Some(pattern.parse().map(Self::Missing));
        }
        let pattern = text.strip_prefix('~')?;
        Some(pattern.parse().map(Self::Present))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present(pattern) => write!(f, "~{pattern}"),
            Self::Missing(pattern) => write!(f, "!~{pattern}"),
        }
    }
}

impl PartialEq for Pattern {
    /// By what was written.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_searched_in_bytes_that_need_not_be_text() {
        let pattern: Pattern = r"(?i)error \d+".parse().unwrap();
        assert!(pattern.is_in(b"\xff Error 17"));
        assert!(!pattern.is_in(b"error"));
    }

    #[test]
    fn what_is_no_pattern_is_said_in_one_line() {
        for (text, what) in [
            ("(", "unclosed group"),
            ("a{9999}{9999}", "exceeds"),
            ("", "expected a pattern"),
        ] {
            let error = text.parse::<Pattern>().unwrap_err();
            assert!(error.contains(what) && !error.contains('\n'), "{error}");
        }
    }
}
