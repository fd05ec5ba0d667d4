//! A cursor is a position in one line of JSON, read value by value without building a tree.
//!
//! A history of a million operations is a gigabyte of small objects with a known vocabulary. Reading it
//! field by field into the checker's own tables, with strings borrowed from the line, is several times
//! faster than a tree of values, and a flaw keeps the byte at which it was found. The cursor accepts
//! JSON as RFC 8259 has it; numbers are 64-bit integers, because no model has others. Where a model takes
//! values of any shape, [`Cursor::value`] does build the tree.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::value::Value;

/// How deep objects and lists may nest: a line from outside must not exhaust the stack.
const DEPTH: u32 = 64;

/// What is wrong with a line, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Byte of the line, from 0.
    pub at: usize,
    /// A fragment such as `expected a number`.
    pub problem: Box<str>,
}

/// The result of reading one value.
pub(crate) type Parse<T> = Result<T, Flaw>;

/// A position in one line of JSON.
pub(crate) struct Cursor<'a> {
    line: &'a str,
    at: usize,
    depth: u32,
}

/// The first place from `at` on at which a string ends, escapes or breaks, eight bytes at a time; where
/// the line ends before that, a place before its last eight bytes.
#[inline]
fn plain_until(line: &[u8], mut at: usize) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    while let Some(word) = line.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()) {
        let word = u64::from_le_bytes(word);
        let is_zero = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
        let quote = is_zero(word ^ (LOW * u64::from(b'"')));
        let escape = is_zero(word ^ (LOW * u64::from(b'\\')));
        let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
        let special = quote | escape | control;
        if special != 0 {
            // The lowest bit that is set is exact; borrows only spoil higher ones.
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at
}

impl<'a> Cursor<'a> {
    /// At the start of `line`.
    pub fn new(line: &'a str) -> Self {
        Self {
            line,
            at: 0,
            depth: 0,
        }
    }

    /// The byte the cursor is at.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes to byte `at`, which [`Self::at`] returned for this line.
    pub fn go(&mut self, at: usize) {
        self.at = at;
    }

    /// A flaw at the cursor.
    pub fn flaw<T>(&self, problem: impl Into<Box<str>>) -> Parse<T> {
        Err(Flaw {
            at: self.at,
            problem: problem.into(),
        })
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    /// Skips white space and returns the next byte without taking it.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                other => return other,
            }
        }
    }

    #[inline]
    fn take(&mut self, byte: u8, expected: &'static str) -> Parse<()> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        self.expected(expected)
    }

    #[cold]
    fn expected<T>(&self, what: &str) -> Parse<T> {
        if self.byte().is_none() {
            return self.flaw(format!("the line ends here, expected {what}"));
        }
        self.flaw(format!("expected {what}"))
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Parse<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.expected("the end of the line"),
        }
    }

    fn enter(&mut self) -> Parse<()> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.flaw(format!("nested more than {DEPTH} deep"));
        }
        Ok(())
    }

    /// Reads an object; `field` is called with each name and must read the value.
    #[inline]
    pub fn object(&mut self, field: impl FnMut(&str, &mut Self) -> Parse<()>) -> Parse<()> {
        self.take(b'{', "an object")?;
        self.enter()?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        self.fields(field)?;
        self.depth -= 1;
        Ok(())
    }

    /// Reads fields up to the end of the object.
    #[inline]
    fn fields(&mut self, mut field: impl FnMut(&str, &mut Self) -> Parse<()>) -> Parse<()> {
        loop {
            if self.peek() != Some(b'"') {
                return self.expected("a field name");
            }
            let name = self.string()?;
            self.take(b':', "`:`")?;
            field(&name, self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.expected("`,` or `}`"),
            }
        }
    }

    /// Takes `text` where it is next, to the byte. What this program writes has one form; a reader that
    /// tries it first, and goes back where it fails, reads that form without looking at each name.
    #[inline]
    pub fn literal(&mut self, text: &str) -> bool {
        let is_next = self.line.as_bytes()[self.at..].starts_with(text.as_bytes());
        if is_next {
            self.at += text.len();
        }
        is_next
    }

    /// Reads the rest of an object behind one of its fields.
    #[inline]
    pub fn rest_of_object(&mut self, field: impl FnMut(&str, &mut Self) -> Parse<()>) -> Parse<()> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.fields(field)
            }
            Some(b'}') => {
                self.at += 1;
                Ok(())
            }
            _ => self.expected("`,` or `}`"),
        }
    }

    /// Reads a list; `element` is called at each element and must read it.
    #[inline]
    pub fn list(&mut self, mut element: impl FnMut(&mut Self) -> Parse<()>) -> Parse<()> {
        self.take(b'[', "a list")?;
        self.enter()?;
        if self.peek() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return self.expected("`,` or `]`"),
            }
        }
    }

    /// Reads a string, borrowed from the line where it has no escapes.
    #[inline]
    pub fn string(&mut self) -> Parse<Cow<'a, str>> {
        self.take(b'"', "text")?;
        let start = self.at;
        self.at = plain_until(self.line.as_bytes(), start);
        loop {
            match self.byte() {
                Some(b'"') => {
                    let text = &self.line[start..self.at];
                    self.at += 1;
                    return Ok(Cow::Borrowed(text));
                }
                Some(b'\\') => return self.escaped(start).map(Cow::Owned),
                Some(0..0x20) => return self.expected("text without control characters"),
                Some(_) => self.at += 1,
                None => return self.expected("the end of the text"),
            }
        }
    }

    #[cold]
    fn escaped(&mut self, start: usize) -> Parse<String> {
        let mut text = self.line[start..self.at].to_owned();
        loop {
            let plain = self.at;
            while !matches!(self.byte(), Some(b'"' | b'\\' | 0..0x20) | None) {
                self.at += 1;
            }
            text.push_str(&self.line[plain..self.at]);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return self.expected("text without control characters"),
                None => return self.expected("the end of the text"),
            }
        }
    }

    fn escape(&mut self) -> Parse<char> {
        self.at += 1;
        let letter = self.byte();
        let plain = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return self.expected("an escape"),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode(&mut self) -> Parse<char> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).map_or_else(|| self.expected("a character"), Ok);
        }
        if !self.line[self.at..].starts_with("\\u") {
            return self.expected("the second half of a surrogate pair");
        }
        self.at += 2;
        let second = self.hex()?;
        if !(0xdc00..0xe000).contains(&second) {
            return self.expected("the second half of a surrogate pair");
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        char::from_u32(code).map_or_else(|| self.expected("a character"), Ok)
    }

    fn hex(&mut self) -> Parse<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.byte().and_then(|b| char::from(b).to_digit(16)) else {
                return self.expected("four hexadecimal digits");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// Reads a whole number from 0.
    #[inline]
    pub fn natural(&mut self) -> Parse<u64> {
        self.peek();
        let start = self.at;
        let mut number = 0_u64;
        while let Some(byte @ b'0'..=b'9') = self.byte() {
            match number
                .checked_mul(10)
                .and_then(|n| n.checked_add(u64::from(byte - b'0')))
            {
                Some(next) => number = next,
                None => return self.flaw("the number does not fit in 64 bits"),
            }
            self.at += 1;
        }
        if self.at == start {
            return self.expected("a whole number");
        }
        if let Some(b'.' | b'e' | b'E') = self.byte() {
            return self.expected("a whole number");
        }
        if self.at > start + 1 && self.line.as_bytes()[start] == b'0' {
            self.at = start;
            return self.expected("a number without leading zeros");
        }
        Ok(number)
    }

    /// Reads a whole number.
    #[inline]
    pub fn integer(&mut self) -> Parse<i64> {
        let negative = self.peek() == Some(b'-');
        if negative {
            self.at += 1;
            if !matches!(self.byte(), Some(b'0'..=b'9')) {
                return self.expected("a digit");
            }
        }
        let magnitude = self.natural()?;
        let number = if negative {
            0_i64.checked_sub_unsigned(magnitude)
        } else {
            i64::try_from(magnitude).ok()
        };
        number.map_or_else(|| self.flaw("the number does not fit in 64 bits"), Ok)
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self) -> Parse<bool> {
        self.peek();
        for (word, value) in [("true", true), ("false", false)] {
            if self.line[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        self.expected("true or false")
    }

    /// Takes `null` where it is next.
    #[inline]
    pub fn null(&mut self) -> bool {
        let is_null = self.peek() == Some(b'n') && self.line[self.at..].starts_with("null");
        if is_null {
            self.at += 4;
        }
        is_null
    }

    /// Reads one value of any kind. A number that is not a 64-bit integer is kept as its text.
    pub fn value(&mut self) -> Parse<Value> {
        Ok(match self.peek() {
            Some(b'{') => {
                let mut entries = Vec::new();
                self.object(|name, cursor| {
                    entries.push((Value::text(name), cursor.value()?));
                    Ok(())
                })?;
                Value::Map(entries.into())
            }
            Some(b'[') => {
                let mut values = SmallVec::<[Value; 4]>::new();
                self.list(|cursor| {
                    values.push(cursor.value()?);
                    Ok(())
                })?;
                Value::List(values.into_vec().into())
            }
            Some(b'"') => Value::text(self.string()?),
            Some(b't' | b'f') => Value::Bool(self.boolean()?),
            Some(b'n') if self.null() => Value::Nil,
            Some(b'-' | b'0'..=b'9') => {
                let start = self.at;
                if let Ok(number) = self.integer() {
                    Value::Int(number)
                } else {
                    self.at = start;
                    self.skip_number()?;
                    Value::text(&self.line[start..self.at])
                }
            }
            _ => return self.expected("a value"),
        })
    }

    /// Skips one value of any kind.
    pub fn skip(&mut self) -> Parse<()> {
        match self.peek() {
            Some(b'{') => self.object(|_, cursor| cursor.skip()),
            Some(b'[') => self.list(Self::skip),
            Some(b'"') => self.string().map(drop),
            Some(b't' | b'f') => self.boolean().map(drop),
            Some(b'n') if self.null() => Ok(()),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ => self.expected("a value"),
        }
    }

    /// A value that is skipped, or of any kind, may be a fraction.
    fn skip_number(&mut self) -> Parse<()> {
        let start = self.at;
        while let Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if serde_json::from_str::<f64>(&self.line[start..self.at]).is_err() {
            self.at = start;
            return self.expected("a number");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_text_with_escapes() {
        let mut cursor = Cursor::new(r#""a\"\\\/\b\f\n\r\tA😀é""#);
        assert_eq!(cursor.string().unwrap(), "a\"\\/\u{8}\u{c}\n\r\tA😀é");
    }

    #[test]
    fn names_the_place_and_what_was_expected() {
        let flaw = Cursor::new(r#"{"a": x}"#)
            .object(|_, c| c.natural().map(drop))
            .unwrap_err();
        assert_eq!((flaw.at, &*flaw.problem), (6, "expected a whole number"));
        let flaw = Cursor::new(r#"{"a": 12"#)
            .object(|_, c| c.natural().map(drop))
            .unwrap_err();
        assert_eq!(
            (flaw.at, &*flaw.problem),
            (8, "the line ends here, expected `,` or `}`")
        );
    }

    #[test]
    fn a_deep_nest_is_a_flaw_and_no_crash() {
        assert!(Cursor::new(&"[".repeat(100_000)).skip().is_err());
    }

    proptest! {
        #[test]
        fn skips_exactly_what_serde_accepts(text in r#"[\[\]{}:,"a0-9.eE \\untrfl-]{0,12}"#) {
            let mut cursor = Cursor::new(&text);
            let ours = cursor.skip().and_then(|()| cursor.end());
            // Only the shape is ours to judge: serde refuses numbers beyond f64 and lone surrogates, too.
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{} {:?} {:?}", text, ours, theirs);
        }

        #[test]
        fn reads_integers_as_rust_does(number in any::<i64>()) {
            prop_assert_eq!(Cursor::new(&number.to_string()).integer(), Ok(number));
        }
    }
}
