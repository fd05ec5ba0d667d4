//! Output is the only place that prints: results to standard output, everything else to standard error.
//!
//! A reader that goes away (a closed pipe) is not an error: what was to be said is simply not heard.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the module that prints"
)]

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

/// Writes one line of results.
pub fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Writes one line that is no result.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes one value as a line of JSON.
pub fn json<T: Serialize>(value: &T) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        // Every type that comes here serialises; a bug in one is said, not hidden.
        Err(error) => note(&format!("murphy: bug: {error}")),
    }
}

/// Whether colour is wanted on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// Colours for results: on a terminal, unless `NO_COLOR` says otherwise.
    pub fn for_results() -> Self {
        Self(io::stdout().is_terminal() && no_color_is_unset())
    }

    /// Whether it is.
    pub fn is_on(self) -> bool {
        self.0
    }

    /// The word of a verdict in its colour.
    pub fn verdict(self, word: &str) -> String {
        let code = match word.trim().to_lowercase().as_str() {
            "held" => "32",
            "broken" => "1;31",
            _ => "33",
        };
        self.wrap(code, word)
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn no_color_is_unset() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A number with thin groups, as the eye reads it: `72 491`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 fault`, `2 faults`, `3 processes`.
pub fn plural(number: u64, noun: &str) -> String {
    let ending = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{} {noun}{ending}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_nouns_agree() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(72_491), "72 491");
        assert_eq!(grouped(1_000_000), "1 000 000");
        assert_eq!(plural(1, "fault"), "1 fault");
        assert_eq!(plural(1_200, "fault"), "1 200 faults");
        assert_eq!(plural(3, "process"), "3 processes");
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        assert_eq!(Paint(false).verdict("BROKEN"), "BROKEN");
        assert_eq!(Paint(true).verdict("BROKEN"), "\x1b[1;31mBROKEN\x1b[0m");
    }
}
