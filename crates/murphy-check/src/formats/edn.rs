//! A cursor is a position in one element of EDN, the notation of Clojure in which Jepsen writes histories.
//!
//! It reads what the EDN specification (edn-format.org) has and what Clojure prints beyond it: tagged records,
//! namespaced maps, ratios, symbolic values, metadata. A keyword or a symbol is its text without the colon; a tag is
//! passed over, for the value behind it says enough; numbers that are no 64-bit integer are kept as their text.

use std::borrow::Cow;

use crate::{
    json::{Flaw, Parse},
    value::Value,
};

/// How deep values may nest: an element from outside must not exhaust the stack.
const DEPTH: u32 = 64;

/// A position in one element.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Cursor<'a> {
    /// At byte `at` of `text`.
    pub fn new(text: &'a str, at: usize) -> Self {
        Self { text, at, depth: 0 }
    }

    /// The byte the cursor is at.
    pub fn at(&self) -> usize {
        self.at
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn flaw<T>(&self, problem: impl Into<Box<str>>) -> Parse<T> {
        flaw_at(self.at, problem)
    }

    #[cold]
    fn expected<T>(&self, what: &str) -> Parse<T> {
        if self.byte().is_none() {
            return self.flaw(format!("the line ends here, expected {what}"));
        }
        self.flaw(format!("expected {what}"))
    }

    /// Skips white space, comments and discarded values, and returns the next byte without taking it.
    pub fn peek(&mut self) -> Parse<Option<u8>> {
        loop {
            match self.byte() {
                Some(b' ' | b'\t' | b'\r' | b'\n' | 0x0c | b',') => self.at += 1,
                Some(b';') => {
                    while !matches!(self.byte(), Some(b'\n') | None) {
                        self.at += 1;
                    }
                }
                Some(b'#') if self.text.as_bytes().get(self.at + 1) == Some(&b'_') => {
                    self.at += 2;
                    self.value()?;
                }
                other => return Ok(other),
            }
        }
    }

    /// Nothing may follow.
    pub fn end(&mut self) -> Parse<()> {
        match self.peek()? {
            None => Ok(()),
            Some(_) => self.expected("the end of the operation"),
        }
    }

    /// Reads a map; `field` is called with each key that is a word and must read the value. Tags are passed over.
    pub fn map(&mut self, mut field: impl FnMut(&str, &mut Self) -> Parse<()>) -> Parse<()> {
        while self.peek()? == Some(b'#') && self.text.as_bytes().get(self.at + 1) != Some(&b'{') {
            self.at += 1;
            self.word("a tag")?;
        }
        if self.peek()? != Some(b'{') {
            return self.expected("an operation, such as {:type :invoke, …}");
        }
        self.at += 1;
        self.depth += 1;
        loop {
            match self.peek()? {
                Some(b'}') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                Some(b':') => {
                    let name = self.keyword()?;
                    self.must_follow(name)?;
                    field(name, self)?;
                }
                None => return self.expected("`}`"),
                Some(_) => {
                    let key = self.value()?;
                    self.must_follow(&key.to_string())?;
                    field(key.as_text().unwrap_or_default(), self)?;
                }
            }
        }
    }

    fn must_follow(&mut self, key: &str) -> Parse<()> {
        match self.peek()? {
            Some(b'}') | None => self.expected(&format!("a value for the key {key}")),
            Some(_) => Ok(()),
        }
    }

    /// Reads one value of any kind.
    pub fn value(&mut self) -> Parse<Value> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.flaw(format!("nested more than {DEPTH} deep"));
        }
        let value = self.form()?;
        self.depth -= 1;
        Ok(value)
    }

    fn form(&mut self) -> Parse<Value> {
        Ok(match self.peek()? {
            Some(b'{') => self.entries("")?,
            Some(b'[') => self.list(b']')?,
            Some(b'(') => self.list(b')')?,
            Some(b'"') => Value::text(self.string()?),
            Some(b':') => Value::text(self.keyword()?),
            Some(b'\\') => Value::text(self.character()?.to_string()),
            Some(b'#') => self.dispatch()?,
            Some(b'^') => {
                self.at += 1;
                self.value()?;
                self.value()?
            }
            Some(byte @ (b'+' | b'-')) => match self.text.as_bytes().get(self.at + 1) {
                Some(b'0'..=b'9') => self.number()?,
                _ if byte == b'-' || byte == b'+' => Value::text(self.word("a value")?),
                _ => return self.expected("a value"),
            },
            Some(b'0'..=b'9') => self.number()?,
            _ => match self.word("a value")? {
                "nil" => Value::Nil,
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                word => Value::text(word),
            },
        })
    }

    /// Behind `#` stands a set, a tag, a pattern, a symbolic value or the namespace of a map.
    fn dispatch(&mut self) -> Parse<Value> {
        self.at += 1;
        match self.byte() {
            Some(b'{') => self.list(b'}'),
            Some(b'"') => {
                self.at += 1;
                let start = self.at;
                loop {
                    match self.byte() {
                        Some(b'"') => break,
                        Some(b'\\') => self.at += 2,
                        Some(_) => self.at += 1,
                        None => return self.expected("the end of the pattern"),
                    }
                }
                let pattern = self.text.get(start..self.at).unwrap_or_default();
                self.at += 1;
                Ok(Value::text(pattern))
            }
            Some(b'#') => {
                self.at += 1;
                Ok(Value::text(self.word("a symbolic value")?))
            }
            Some(b':') => {
                let namespace = self.keyword()?;
                match self.peek()? {
                    Some(b'{') => self.entries(namespace),
                    _ => self.expected("a map"),
                }
            }
            _ => {
                self.word("a tag")?;
                self.value()
            }
        }
    }

    /// Reads a list up to `closing`.
    fn list(&mut self, closing: u8) -> Parse<Value> {
        self.at += 1;
        let mut values = Vec::new();
        loop {
            match self.peek()? {
                Some(byte) if byte == closing => {
                    self.at += 1;
                    return Ok(Value::List(values.into()));
                }
                Some(b'}' | b']' | b')') | None => {
                    return self.expected(&format!("`{}`", char::from(closing)));
                }
                Some(_) => values.push(self.value()?),
            }
        }
    }

    /// Reads a map; keywords without a namespace get this one.
    fn entries(&mut self, namespace: &str) -> Parse<Value> {
        self.at += 1;
        let mut entries = Vec::new();
        loop {
            let key = match self.peek()? {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Map(entries.into()));
                }
                Some(b']' | b')') | None => return self.expected("`}`"),
                Some(b':') if !namespace.is_empty() => match self.keyword()? {
                    name if name.contains('/') => Value::text(name),
                    name => Value::text(format!("{namespace}/{name}")),
                },
                Some(_) => self.value()?,
            };
            self.must_follow(&key.to_string())?;
            entries.push((key, self.value()?));
        }
    }

    fn keyword(&mut self) -> Parse<&'a str> {
        while self.byte() == Some(b':') {
            self.at += 1;
        }
        self.word("a keyword")
    }

    /// Reads up to a byte that no word has.
    fn word(&mut self, what: &str) -> Parse<&'a str> {
        let start = self.at;
        while !matches!(
            self.byte(),
            None | Some(
                0..=b' '
                    | b','
                    | b';'
                    | b'"'
                    | b'('
                    | b')'
                    | b'['
                    | b']'
                    | b'{'
                    | b'}'
                    | b'\\'
                    | b'^'
                    | b'`'
                    | b'~'
                    | b'@'
            )
        ) {
            self.at += 1;
        }
        if self.at == start {
            return self.expected(what);
        }
        Ok(&self.text[start..self.at])
    }

    /// A whole number; a fraction, a ratio or a greater number as its text.
    fn number(&mut self) -> Parse<Value> {
        let start = self.at;
        let text = self.word("a number")?;
        let digits = text.strip_prefix('+').unwrap_or(text);
        let whole = digits.strip_suffix('N').unwrap_or(digits);
        if let Ok(number) = whole.parse() {
            return Ok(Value::Int(number));
        }
        let is_whole = |text: &str| {
            let text = text.strip_prefix('-').unwrap_or(text);
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let is_ratio = digits
            .split_once('/')
            .is_some_and(|(above, below)| is_whole(above) && is_whole(below));
        let decimal = digits.strip_suffix('M').unwrap_or(digits);
        let is_decimal = || {
            decimal
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
                && decimal.parse::<f64>().is_ok()
        };
        if is_whole(whole) || is_ratio || is_decimal() {
            return Ok(Value::text(digits.trim_end_matches(['M', 'N'])));
        }
        flaw_at(start, "expected a number")
    }

    /// Reads a string, borrowed from the element where it has no escapes.
    fn string(&mut self) -> Parse<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.byte() {
                Some(b'"') => {
                    let text = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Cow::Borrowed(text));
                }
                Some(b'\\') => return self.escaped(start).map(Cow::Owned),
                Some(_) => self.at += 1,
                None => return self.expected("the end of the text"),
            }
        }
    }

    #[cold]
    fn escaped(&mut self, start: usize) -> Parse<String> {
        let mut text = self.text[start..self.at].to_owned();
        loop {
            let plain = self.at;
            while !matches!(self.byte(), Some(b'"' | b'\\') | None) {
                self.at += 1;
            }
            text.push_str(&self.text[plain..self.at]);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(_) => text.push(self.escape()?),
                None => return self.expected("the end of the text"),
            }
        }
    }

    fn escape(&mut self) -> Parse<char> {
        self.at += 1;
        let plain = match self.byte() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => return self.unicode(),
            Some(b'0'..=b'7') => {
                let digits = self.text.as_bytes()[self.at..]
                    .iter()
                    .take(3)
                    .take_while(|byte| matches!(byte, b'0'..=b'7'))
                    .count();
                let code = u32::from_str_radix(&self.text[self.at..self.at + digits], 8);
                self.at += digits;
                let read = code.ok().and_then(char::from_u32);
                return read.map_or_else(|| self.expected("an escape"), Ok);
            }
            _ => return self.expected("an escape"),
        };
        self.at += 1;
        Ok(plain)
    }

    /// Behind a backslash: `u` and the four digits of a character, or of the two halves of one.
    fn unicode(&mut self) -> Parse<char> {
        let first = self.code()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).map_or_else(|| self.expected("a character"), Ok);
        }
        if !self.text[self.at..].starts_with("\\u") {
            return self.expected("the second half of a surrogate pair");
        }
        self.at += 1;
        let second = self.code()?;
        if !(0xdc00..0xe000).contains(&second) {
            return self.expected("the second half of a surrogate pair");
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        char::from_u32(code).map_or_else(|| self.expected("a character"), Ok)
    }

    fn code(&mut self) -> Parse<u32> {
        self.at += 1;
        let digits = self.text.get(self.at..self.at + 4);
        let is_hex = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match digits.filter(is_hex) {
            Some(digits) => {
                self.at += 4;
                // Four hexadecimal digits are a number.
                Ok(u32::from_str_radix(digits, 16).unwrap_or_default())
            }
            None => self.expected("four hexadecimal digits"),
        }
    }

    /// `\a`, `\newline`, `\u00e9`, `\(`.
    fn character(&mut self) -> Parse<char> {
        self.at += 1;
        let start = self.at;
        let Some(first) = self.text[start..].chars().next() else {
            return self.expected("a character");
        };
        self.at += first.len_utf8();
        if !first.is_alphanumeric() {
            return Ok(first);
        }
        while self
            .byte()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())
        {
            self.at += 1;
        }
        let name = &self.text[start..self.at];
        let mut letters = name.chars();
        let named = match name {
            "newline" => Some('\n'),
            "space" => Some(' '),
            "tab" => Some('\t'),
            "return" => Some('\r'),
            "formfeed" => Some('\u{c}'),
            "backspace" => Some('\u{8}'),
            _ if name.len() == first.len_utf8() => letters.next(),
            _ => {
                let radix = if first == 'u' { 16 } else { 8 };
                (first == 'u' || first == 'o')
                    .then(|| u32::from_str_radix(letters.as_str().get(1..)?, radix).ok())
                    .flatten()
                    .and_then(char::from_u32)
            }
        };
        named.map_or_else(|| flaw_at(start, "expected a character"), Ok)
    }
}

fn flaw_at<T>(at: usize, problem: impl Into<Box<str>>) -> Parse<T> {
    Err(Flaw {
        at,
        problem: problem.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Parse<Value> {
        let mut cursor = Cursor::new(text, 0);
        let value = cursor.value()?;
        cursor.end()?;
        Ok(value)
    }

    #[test]
    fn reads_what_clojure_prints() {
        let cases = [
            ("nil", "nil"),
            ("[1 -2, +3 4N]", "[1 -2 3 4]"),
            ("1.5", "1.5"),
            ("2/3", "2/3"),
            ("1.50M", "1.50"),
            ("99999999999999999999", "99999999999999999999"),
            ("##Inf", "Inf"),
            ("(:a ::b :c/d e)", "[a b c/d e]"),
            ("#{1 2}", "[1 2]"),
            (r#""a\"\\\n\u00e9\ud83d\ude00\101""#, "a\"\\\né😀A"),
            (r"[\a \newline \u00e9 \( \o101 \é]", "[a \n é ( A é]"),
            ("{:from 6, \"to\" 1 3 nil}", "{from: 6, to: 1, 3: nil}"),
            ("#:ns{:a 1 :b/c 2}", "{ns/a: 1, b/c: 2}"),
            (r#"#inst "2026-11-21T02:18:04Z""#, "2026-11-21T02:18:04Z"),
            (
                "#jepsen.history.Op{:f :r, :value #{1}}",
                "{f: r, value: [1]}",
            ),
            ("#a #b [c]", "[c]"),
            (r#"#"\d+\"x""#, "\\d+\\\"x"),
            ("; one\n[#_ {:a 1} 2 #_#_ 3 4 ; two\n]", "[2]"),
            ("^{:doc \"x\"} [1]", "[1]"),
            ("[- + -x]", "[- + -x]"),
            ("true", "true"),
        ];
        for (text, expected) in cases {
            let value = read(text).map_err(|flaw| format!("{text}: {flaw:?}"));
            assert_eq!(value.unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn names_the_place_and_what_was_expected() {
        let cases = [
            ("[1 2", 4, "the line ends here, expected `]`"),
            ("[1 2}", 4, "expected `]`"),
            ("{:a}", 3, "expected a value for the key a"),
            ("{:a 1", 5, "the line ends here, expected `}`"),
            (
                "\"abc",
                4,
                "the line ends here, expected the end of the text",
            ),
            ("\"a\\x\"", 3, "expected an escape"),
            ("12abc", 0, "expected a number"),
            (":", 1, "the line ends here, expected a keyword"),
            ("\\ab", 1, "expected a character"),
            ("#", 1, "the line ends here, expected a tag"),
            ("1 2", 2, "expected the end of the operation"),
            ("", 0, "the line ends here, expected a value"),
        ];
        for (text, at, problem) in cases {
            let flaw = read(text).expect_err(text);
            assert_eq!((flaw.at, &*flaw.problem), (at, problem), "{text}");
        }
    }

    #[test]
    fn a_deep_nest_is_a_flaw_and_no_crash() {
        for nest in ["[", "#_", "^", "#a ", "{:a "] {
            assert!(read(&nest.repeat(100_000)).is_err(), "{nest}");
        }
    }
}
