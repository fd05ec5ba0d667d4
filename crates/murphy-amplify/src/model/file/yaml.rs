//! A YAML text as a tree whose every node knows its line and column: what is wrong with it can be said where it is.
//!
//! It is read for files that people edit: one document, no aliases, no tags, no field twice, and no deeper than any format of ours.

use std::fmt::Write;

use granit_parser::{Event, Parser, ScalarStyle, Span};

/// No format of ours is deeper; a file that is must not fill the stack.
const DEPTH_MAX: usize = 16;
/// No object of ours has more fields.
const FIELDS_MAX: usize = 64;

/// Where something stands, from 1 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line of the text.
    pub line: usize,
    /// Character of the line.
    pub column: usize,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub place: Place,
    pub problem: String,
}

/// A value, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text without quotes, which may be a number or a word.
    Plain(String),
    /// A text with quotes, or over several lines.
    Quoted(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A field of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub place: Place,
    pub name: String,
    pub node: Node,
}

impl Place {
    fn of(span: Span) -> Self {
        Self {
            line: span.start.line().max(1),
            column: span.start.col() + 1,
        }
    }

    /// That something is wrong here.
    pub fn flaw(self, problem: impl Into<String>) -> Flaw {
        Flaw {
            place: self,
            problem: problem.into(),
        }
    }
}

impl Node {
    /// As JSON: what has no quotes and is a number or a switch is one there.
    pub fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Plain(text) => match text.as_str() {
                "on" | "true" => true.into(),
                "off" | "false" => false.into(),
                word => serde_json::from_str(word)
                    .ok()
                    .filter(serde_json::Value::is_number)
                    .unwrap_or_else(|| word.into()),
            },
            Value::Quoted(text) => text.as_str().into(),
            Value::List(all) => all.iter().map(Self::json).collect(),
            Value::Map(all) => all
                .iter()
                .map(|entry| (entry.name.clone(), entry.node.json()))
                .collect(),
        }
    }
}

impl Value {
    /// What people call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain(text) if text.is_empty() => "nothing",
            Self::Plain(_) | Self::Quoted(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// What is open while the text is read.
enum Open {
    List(Place, Vec<Node>),
    /// With the field whose value comes next.
    Map(Place, Vec<Entry>, Option<(Place, String)>),
}

/// Reads a text of one document.
pub fn parse(text: &str) -> Result<Node, Flaw> {
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| {
            let mark = error.marker();
            let place = Place {
                line: mark.line().max(1),
                column: mark.col() + 1,
            };
            place.flaw(format!("this is no YAML: {}", error.info()))
        })?;
        let place = Place::of(span);
        if event.tag().is_some() {
            return Err(place.flaw("tags (`!…`) mean nothing here; leave it out"));
        }
        let done = match event {
            Event::DocumentStart(..) if root.is_some() => {
                return Err(place.flaw("a second document; expected one"));
            }
            Event::Alias(_) => {
                return Err(place.flaw("aliases (`*…`) are not read here; write it out"));
            }
            Event::Scalar(text, style, ..) => {
                let text = text.into_owned();
                Some(Node {
                    place,
                    value: match style {
                        // Where nothing stands the parser says this, as somebody may who means nothing.
                        ScalarStyle::Plain if text == "~" => Value::Plain(String::new()),
                        ScalarStyle::Plain => Value::Plain(text),
                        _ => Value::Quoted(text),
                    },
                })
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(place, Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(place, Vec::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(Open::close),
            // Comments, and where documents and the text begin and end.
            _ => None,
        };
        if open.len() > DEPTH_MAX {
            return Err(place.flaw(format!("more than {DEPTH_MAX} levels deep")));
        }
        let Some(node) = done else { continue };
        match open.last_mut() {
            Some(parent) => parent.take(node)?,
            None => root = Some(node),
        }
    }
    root.ok_or_else(|| Place { line: 1, column: 1 }.flaw("the file is empty"))
}

impl Open {
    fn close(self) -> Node {
        match self {
            Self::List(place, list) => Node {
                place,
                value: Value::List(list),
            },
            Self::Map(place, map, _) => Node {
                place,
                value: Value::Map(map),
            },
        }
    }

    fn take(&mut self, node: Node) -> Result<(), Flaw> {
        match self {
            Self::List(_, list) => list.push(node),
            Self::Map(_, map, field) => {
                if let Some((place, name)) = field.take() {
                    map.push(Entry { place, name, node });
                    return Ok(());
                }
                let place = node.place;
                if map.len() >= FIELDS_MAX {
                    return Err(place.flaw(format!("more than {FIELDS_MAX} fields in one map")));
                }
                let (Value::Plain(name) | Value::Quoted(name)) = node.value else {
                    return Err(place.flaw("expected the name of a field"));
                };
                if let Some(first) = map.iter().find(|entry| entry.name == name) {
                    let line = first.place.line;
                    return Err(place.flaw(format!(
                        "the field `{name}` is there already, in line {line}"
                    )));
                }
                *field = Some((place, name));
            }
        }
        Ok(())
    }
}

/// A text as a scalar that is read as itself: without quotes where that is safe.
pub fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "on", "off", "yes", "no", "y", "n"];
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-:./".contains(letter);
    let is_word = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.chars().all(is_plain)
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_word {
        return text.into();
    }
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            letter if letter.is_alphanumeric() => quoted.push(letter),
            // What cannot be seen, or might end a line.
            letter => {
                // A text cannot refuse to be written.
                let _ = write!(quoted, "\\U{:08X}", u32::from(letter));
            }
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_node_knows_its_place() {
        let root = parse("a: 1\nb:\n  - x: \"1\"\n    # said\n    y: [2, z]\n").unwrap();
        let Value::Map(fields) = &root.value else {
            panic!("{root:?}");
        };
        assert_eq!((fields[1].place.line, fields[1].place.column), (2, 1));
        let Value::List(list) = &fields[1].node.value else {
            panic!("{root:?}");
        };
        let Value::Map(inner) = &list[0].value else {
            panic!("{root:?}");
        };
        assert_eq!(inner[0].node.value, Value::Quoted("1".into()));
        assert_eq!((inner[1].place.line, inner[1].place.column), (5, 5));
        assert_eq!(
            (inner[1].node.place.line, inner[1].node.place.column),
            (5, 8)
        );
    }

    #[test]
    fn what_is_not_read_is_said_where_it_is() {
        for (text, place, problem) in [
            ("", (1, 1), "empty"),
            ("a: 1\na: 2\n", (2, 1), "in line 1"),
            ("a: &x 1\nb: *x\n", (2, 4), "aliases"),
            ("a: !t 1\n", (1, 4), "tags"),
            ("a: 1\n---\nb: 1\n", (2, 1), "second document"),
            ("[a]: 1\n", (1, 1), "name of a field"),
            ("a: [1\n", (2, 1), "no YAML"),
        ] {
            let flaw = parse(text).unwrap_err();
            assert!(flaw.problem.contains(problem), "{text:?}: {flaw:?}");
            let found = (flaw.place.line, flaw.place.column);
            // A tag stands before its node.
            assert!(
                found == place || problem == "tags" || problem == "no YAML",
                "{text:?}: {flaw:?}"
            );
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).is_err());
        let deep = "- ".repeat(10_000);
        assert!(parse(&deep).is_err());
    }

    proptest! {
        #[test]
        fn texts_are_read_as_they_were(text in any::<String>()) {
            let root = parse(&format!("a: {}\n", scalar(&text))).unwrap();
            let Value::Map(fields) = root.value else {
                panic!("a map");
            };
            let (Value::Plain(read) | Value::Quoted(read)) = &fields[0].node.value else {
                panic!("a text");
            };
            prop_assert_eq!(read, &text);
        }

        #[test]
        fn nothing_panics(text in "[-a:\\[\\]{}\"'&*!|> \n#,0-9]{0,60}") {
            let _ = parse(&text);
        }
    }
}
