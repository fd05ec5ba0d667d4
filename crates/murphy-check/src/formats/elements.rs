//! Elements are the maps of a source one after the other, in an outer list or without one, however they are broken
//! into lines. Only one of them is in memory at a time.
//!
//! An element is found by counting brackets; what stands in it is read by a cursor ([`crate::json`], [`super::edn`]).

use std::io::{self, Read};

use crate::{lines::LIMIT, unread::Unread};

/// After so many elements that do not end, the rest of the source is not searched for more: each costs a look at
/// everything behind it.
const UNENDED_LIMIT: u32 = 20;

/// How strings, comments and brackets are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Json,
    Edn,
}

/// One element, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub text: &'a [u8],
    /// Line of the source, from 1.
    pub line: u64,
    /// Byte of that line, from 1.
    pub column: u64,
}

impl Element<'_> {
    /// Line and column of a byte of the element.
    pub fn place(&self, at: usize) -> (u64, u64) {
        let mut place = Place {
            line: self.line,
            column: self.column,
        };
        place.pass(&self.text[..at.min(self.text.len())]);
        (place.line, place.column)
    }
}

/// What is wrong between elements.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The source does not have the form.
    Flaw {
        line: u64,
        column: u64,
        problem: Box<str>,
    },
    /// The source cannot be read.
    Io { line: u64, source: io::Error },
}

#[derive(Clone, Copy, Debug)]
struct Place {
    line: u64,
    column: u64,
}

impl Place {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
    }
}

/// The list around all elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outer {
    /// Nothing was read yet.
    Unknown,
    None,
    /// It ends with this byte.
    Open(u8),
    Closed,
}

/// What a list in JSON has between its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comma {
    /// No element was read yet.
    Useless,
    /// An element was read and no comma after it.
    Missing,
    /// A comma was read and no element after it.
    Taken,
}

/// What follows between two elements.
enum Next {
    Element,
    End,
}

/// The elements of a source.
#[derive(Debug)]
pub(super) struct Elements<R> {
    unread: Unread<R>,
    syntax: Syntax,
    outer: Outer,
    place: Place,
    unended: u32,
    /// Nothing can be made of what begins here.
    is_lost: bool,
    comma: Comma,
}

impl<R: Read> Elements<R> {
    pub fn new(source: R, syntax: Syntax) -> Self {
        Self {
            unread: Unread::new(source),
            syntax,
            outer: Outer::Unknown,
            place: Place { line: 1, column: 1 },
            unended: 0,
            is_lost: false,
            comma: Comma::Useless,
        }
    }

    /// The next element. After a flaw it goes on behind it, where need be with the next line.
    pub fn next(&mut self) -> Result<Option<Element<'_>>, Trouble> {
        if std::mem::take(&mut self.is_lost) {
            self.skip_line()?;
        }
        match self.between()? {
            Next::End => return Ok(None),
            Next::Element => {}
        }
        let mut scan = Scan::new(self.syntax);
        let length = loop {
            let bytes = self.unread.bytes();
            if let Some(length) = scan.run(bytes) {
                break length;
            }
            if bytes.len() >= LIMIT {
                return self.lost("the operation that begins here is longer than 64 MiB");
            }
            if self.unread.is_done() {
                if scan.may_end(bytes) {
                    break bytes.len();
                }
                return self.lost("the operation that begins here does not end");
            }
            self.fill()?;
        };
        let (line, column) = (self.place.line, self.place.column);
        self.comma = Comma::Missing;
        let text = self.unread.take(length);
        self.place.pass(text);
        Ok(Some(Element { text, line, column }))
    }

    /// Goes to the next line, or to the end where that was done too often.
    fn skip_line(&mut self) -> Result<(), Trouble> {
        self.unended += 1;
        loop {
            let bytes = self.unread.bytes();
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            if let (Some(at), true) = (newline, self.unended <= UNENDED_LIMIT) {
                self.pass(at + 1);
                return Ok(());
            }
            let length = bytes.len();
            self.pass(length);
            if self.unread.is_done() {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn pass(&mut self, length: usize) {
        self.place.pass(self.unread.take(length));
    }

    fn flaw<T>(&self, problem: impl Into<Box<str>>) -> Result<T, Trouble> {
        Err(Trouble::Flaw {
            line: self.place.line,
            column: self.place.column,
            problem: problem.into(),
        })
    }

    fn lost<T>(&mut self, problem: &str) -> Result<T, Trouble> {
        self.is_lost = true;
        self.flaw(problem)
    }

    /// Passes what stands between elements.
    fn between(&mut self) -> Result<Next, Trouble> {
        let is_edn = self.syntax == Syntax::Edn;
        let mut in_comment = false;
        loop {
            let Some(byte) = self.peek()? else {
                return self.source_ends();
            };
            if in_comment {
                in_comment = byte != b'\n';
                self.pass(1);
                continue;
            }
            match (byte, self.outer) {
                (b' ' | b'\t' | b'\r' | b'\n' | 0x0c, _) => {}
                (b';', _) if is_edn => in_comment = true,
                (b',', _) if is_edn => {}
                (b',', Outer::Open(_)) if self.comma == Comma::Missing => {
                    self.comma = Comma::Taken;
                }
                (b'[', Outer::Unknown) => self.outer = Outer::Open(b']'),
                (b'(', Outer::Unknown) if is_edn => self.outer = Outer::Open(b')'),
                (closing, Outer::Open(expected)) if closing == expected => {
                    self.outer = Outer::Closed;
                    if !is_edn && self.comma == Comma::Taken {
                        let flaw = self.flaw("expected an operation behind the comma");
                        self.pass(1);
                        return flaw;
                    }
                }
                (_, Outer::Closed) => return self.lost("expected the end of the file"),
                (_, Outer::Open(_)) if !is_edn && self.comma == Comma::Missing => {
                    self.comma = Comma::Useless;
                    return self.flaw("expected `,` or `]`");
                }
                _ => {
                    if self.outer == Outer::Unknown {
                        self.outer = Outer::None;
                    }
                    return Ok(Next::Element);
                }
            }
            self.pass(1);
        }
    }

    fn source_ends(&mut self) -> Result<Next, Trouble> {
        let Outer::Open(closing) = self.outer else {
            return Ok(Next::End);
        };
        // Said once; a lenient reader asks again.
        self.outer = Outer::Closed;
        self.flaw(format!(
            "the file ends here, expected `{}`",
            char::from(closing)
        ))
    }

    fn peek(&mut self) -> Result<Option<u8>, Trouble> {
        while self.unread.bytes().is_empty() {
            if self.unread.is_done() {
                return Ok(None);
            }
            self.fill()?;
        }
        Ok(self.unread.bytes().first().copied())
    }

    fn fill(&mut self) -> Result<(), Trouble> {
        let line = self.place.line;
        self.unread
            .fill()
            .map_err(|source| Trouble::Io { line, source })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Plain,
    Text,
    Escape,
    Comment,
    /// EDN: behind a backslash outside of a string.
    Character,
}

/// The search for the end of an element; it goes on where it was when more was read.
#[derive(Debug)]
struct Scan {
    syntax: Syntax,
    at: usize,
    depth: u32,
    mode: Mode,
}

impl Scan {
    fn new(syntax: Syntax) -> Self {
        Self {
            syntax,
            at: 0,
            depth: 0,
            mode: Mode::Plain,
        }
    }

    /// The length of the element, where it ends in `bytes`.
    fn run(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(byte) = bytes.get(self.at).copied() {
            match (self.mode, byte) {
                (Mode::Text, b'"') | (Mode::Comment, b'\n') | (Mode::Character, _) => {
                    self.mode = Mode::Plain;
                }
                (Mode::Text, b'\\') => self.mode = Mode::Escape,
                (Mode::Escape, _) => self.mode = Mode::Text,
                (Mode::Text | Mode::Comment, _) => {}
                (Mode::Plain, byte) => {
                    if let Some(length) = self.plain(byte, bytes) {
                        return Some(length);
                    }
                }
            }
            self.at += 1;
        }
        None
    }

    #[inline]
    fn plain(&mut self, byte: u8, bytes: &[u8]) -> Option<usize> {
        let is_edn = self.syntax == Syntax::Edn;
        match byte {
            b'"' => self.mode = Mode::Text,
            b';' if is_edn => self.mode = Mode::Comment,
            b'\\' if is_edn => self.mode = Mode::Character,
            b'{' | b'[' => self.depth += 1,
            b'(' if is_edn => self.depth += 1,
            b'}' | b']' => return self.closing(),
            b')' if is_edn => return self.closing(),
            // Words alone are no operation; a tag or a discard belongs to what follows.
            b'\n' if self.depth == 0 && !matches!(bytes.first(), Some(b'#' | b'^')) => {
                return Some(self.at);
            }
            _ => {}
        }
        None
    }

    fn closing(&mut self) -> Option<usize> {
        match self.depth {
            // It closes the list around all elements, unless it is the whole element.
            0 => Some(self.at.max(1)),
            1 => Some(self.at + 1),
            _ => {
                self.depth -= 1;
                None
            }
        }
    }

    /// Whether the element may end where the source does.
    fn may_end(&self, bytes: &[u8]) -> bool {
        self.depth == 0 && self.mode == Mode::Plain && !matches!(bytes.first(), Some(b'#' | b'^'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(syntax: Syntax, text: &str, step: usize) -> Vec<String> {
        struct Trickle<'a>(&'a [u8], usize);
        impl Read for Trickle<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = self.1.min(self.0.len()).min(buffer.len());
                buffer[..length].copy_from_slice(&self.0[..length]);
                self.0 = &self.0[length..];
                Ok(length)
            }
        }
        let mut elements = Elements::new(Trickle(text.as_bytes(), step), syntax);
        let mut found = Vec::new();
        for _ in 0..100 {
            match elements.next() {
                Ok(Some(e)) => found.push(format!(
                    "{}:{} {}",
                    e.line,
                    e.column,
                    String::from_utf8_lossy(e.text)
                )),
                Ok(None) => return found,
                Err(Trouble::Flaw {
                    line,
                    column,
                    problem,
                }) => found.push(format!("{line}:{column}: {problem}")),
                Err(Trouble::Io { .. }) => unreachable!("memory can be read"),
            }
        }
        panic!("{found:?} does not end")
    }

    #[test]
    fn elements_are_found_however_they_are_broken_into_lines() {
        let cases: [(Syntax, &str, &[&str]); 11] = [
            (Syntax::Json, "", &[]),
            (
                Syntax::Json,
                "{\"a\":\"}\"}\n{}",
                &["1:1 {\"a\":\"}\"}", "2:1 {}"],
            ),
            (
                Syntax::Json,
                "[ {\n\"a\":[1]},\n {} ]\n",
                &["1:3 {\n\"a\":[1]}", "3:2 {}"],
            ),
            (
                Syntax::Json,
                "[{} {}]",
                &["1:2 {}", "1:5: expected `,` or `]`", "1:5 {}"],
            ),
            (
                Syntax::Json,
                "[{},]",
                &["1:2 {}", "1:5: expected an operation behind the comma"],
            ),
            (
                Syntax::Json,
                "[{}] x",
                &["1:2 {}", "1:6: expected the end of the file"],
            ),
            (
                Syntax::Json,
                "[{}",
                &["1:2 {}", "1:4: the file ends here, expected `]`"],
            ),
            (
                Syntax::Json,
                "{\"a\":\n{}\n",
                &["1:1: the operation that begins here does not end", "2:1 {}"],
            ),
            (
                Syntax::Edn,
                "; {\n[{:a \\} :b \"}\"} ; }\n#x{:c 1}]",
                &["2:2 {:a \\} :b \"}\"}", "3:1 #x{:c 1}"],
            ),
            (Syntax::Edn, "nil\n{:a 1}", &["1:1 nil", "2:1 {:a 1}"]),
            (
                Syntax::Edn,
                "({:a 1}, #_ {:b 2})",
                &["1:2 {:a 1}", "1:10 #_ {:b 2}"],
            ),
        ];
        for (syntax, text, expected) in cases {
            for step in [1, 3, 1000] {
                assert_eq!(elements(syntax, text, step), expected, "{text}");
            }
        }
    }

    #[test]
    fn elements_that_never_end_cost_no_more_than_twenty_looks() {
        let text = "{\n".repeat(1000);
        let found = elements_of_first(&text);
        assert_eq!(found, 21);
    }

    fn elements_of_first(text: &str) -> usize {
        let mut elements = Elements::new(text.as_bytes(), Syntax::Edn);
        let mut flaws = 0;
        while elements.next().is_err() {
            flaws += 1;
        }
        flaws
    }
}
