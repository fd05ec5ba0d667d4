//! A reader takes a history line by line, hands each event to its model, and says exactly where a line
//! is wrong.

use std::{borrow::Cow, io::Read};

use crate::{
    history::{Header, Kind, VERSION},
    json::{Cursor, Flaw, Parse},
    lines::{LIMIT, Lines},
};

/// Why a history cannot be read. The text begins with `line:column`, to which the caller adds the name
/// of the file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The line is not what the format says.
    #[error("{line}:{column}: {problem}")]
    Malformed {
        /// Line of the file, from 1.
        line: u64,
        /// Byte of the line, from 1.
        column: u64,
        /// What was expected.
        problem: Box<str>,
    },
    /// The file itself cannot be read further.
    #[error("{line}:1: {source}")]
    Io {
        /// The line that was to be read.
        line: u64,
        /// The reason.
        source: std::io::Error,
    },
}

/// The fields of an event, except its value, which the model reads itself.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    pub index: Option<u64>,
    pub kind: Option<Kind>,
    pub process: Option<Cow<'a, str>>,
    pub f: Option<Cow<'a, str>>,
    pub time: Option<u64>,
    pub node: Option<Cow<'a, str>>,
    pub error: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    value_at: Option<usize>,
    value_read: bool,
}

/// What gives the lines of a history their meaning.
pub(crate) trait Model {
    /// Whether values are objects on nearly every line, and events have a time on every line.
    const IS_ETCD: bool;
    /// Takes the header, which comes first; a problem is said of the whole line.
    fn begin(&mut self, header: &Header) -> Result<(), Box<str>>;
    /// Reads the value of an event whose kind, process and `f` are known, and keeps it for [`Self::event`].
    fn value(&mut self, fields: &Fields<'_>, cursor: &mut Cursor<'_>) -> Parse<()>;
    /// Reads the value of a `let` line.
    fn define(&mut self, name: &str, cursor: &mut Cursor<'_>) -> Parse<()>;
    /// Takes the event; a problem is said of the whole line.
    fn event(&mut self, line: u32, fields: &Fields<'_>) -> Result<(), Box<str>>;
    /// A line behind the header is wrong: the problem again, or nothing where it is to be left out.
    fn leave_out(&mut self, line: u64, problem: Box<str>) -> Result<(), Box<str>> {
        let _ = line;
        Err(problem)
    }
    /// Whether no more lines are needed.
    fn is_over(&self) -> bool {
        false
    }
}

/// Reads a whole history.
pub(crate) fn read<M: Model>(source: impl Read, target: &mut M) -> Result<(), ReadError> {
    let mut lines = Lines::new(source);
    let mut begun = false;
    for number in 1.. {
        let line = lines.next().map_err(|source| ReadError::Io {
            line: number,
            source,
        })?;
        let Some(line) = line else { break };
        read_line(line, number, &mut begun, target)?;
        if target.is_over() {
            break;
        }
    }
    if begun { Ok(()) } else { Err(empty()) }
}

/// Reads one line; the first that is not blank is the header.
pub(crate) fn read_line<M: Model>(
    line: &[u8],
    number: u64,
    begun: &mut bool,
    target: &mut M,
) -> Result<(), ReadError> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    if !*begun {
        *begun = true;
        return text_of(line)
            .and_then(parse_header)
            .and_then(|header| target.begin(&header).map_err(whole_line))
            .map_err(|flaw| malformed(number, flaw));
    }
    let read = text_of(line).and_then(|text| parse_line(text, number, target));
    read.or_else(|Flaw { at, problem }| {
        let left_out = target.leave_out(number, problem);
        left_out.map_err(|problem| malformed(number, Flaw { at, problem }))
    })
}

/// There is not even a header.
pub(crate) fn empty() -> ReadError {
    let problem = "the history is empty, expected its header".into();
    malformed(1, Flaw { at: 0, problem })
}

fn whole_line(problem: Box<str>) -> Flaw {
    Flaw { at: 0, problem }
}

fn malformed(line: u64, flaw: Flaw) -> ReadError {
    ReadError::Malformed {
        line,
        column: flaw.at as u64 + 1,
        problem: flaw.problem,
    }
}

fn text_of(line: &[u8]) -> Parse<&str> {
    if line.len() >= LIMIT {
        return Err(Flaw {
            at: line.len(),
            problem: "the line is longer than 64 MiB".into(),
        });
    }
    std::str::from_utf8(line).map_err(|error| Flaw {
        at: error.valid_up_to(),
        problem: "expected UTF-8 (bytes that are not text are written as {\"b64\": …})".into(),
    })
}

/// Reads the first line of a history.
pub(crate) fn parse_header(text: &str) -> Parse<Header> {
    let header: Header = serde_json::from_str(text).map_err(|error| Flaw {
        at: error.column().saturating_sub(1),
        problem: format!("expected the header of a history: {error}").into(),
    })?;
    let problem = if header.murphy != "history" {
        format!(
            "expected the header of a history, found `{}`",
            header.murphy
        )
    } else if header.version == 0 || header.version > VERSION {
        format!(
            "format version {} is newer than {VERSION}, the newest this program reads",
            header.version
        )
    } else {
        return Ok(header);
    };
    Err(Flaw {
        at: 0,
        problem: problem.into(),
    })
}

fn parse_line<M: Model>(text: &str, number: u64, model: &mut M) -> Parse<()> {
    let mut cursor = Cursor::new(text);
    let mut fields = Fields::default();
    if usual_start(&mut cursor, &mut fields, M::IS_ETCD)? {
        fields.value_read = true;
        model.value(&fields, &mut cursor)?;
        if !usual_end(&mut cursor, &mut fields)? {
            cursor.rest_of_object(|name, cursor| parse_field(name, cursor, &mut fields, model))?;
        }
    } else {
        cursor.go(0);
        fields = Fields::default();
        cursor.object(|name, cursor| parse_field(name, cursor, &mut fields, model))?;
    }
    cursor.end()?;
    if let (Some(at), false) = (fields.value_at, fields.value_read) {
        cursor.go(at);
        match &fields.name {
            Some(name) => model.define(name, &mut cursor)?,
            None if fields.kind.is_some() && fields.process.is_some() && fields.f.is_some() => {
                model.value(&fields, &mut cursor)?;
            }
            None => {}
        }
    }
    if fields.name.is_some() {
        return match fields.value_at {
            Some(_) => Ok(()),
            None => Err(Flaw {
                at: 0,
                problem: "expected the field `value` beside `let`".into(),
            }),
        };
    }
    let missing = [
        ("type", fields.kind.is_none()),
        ("process", fields.process.is_none()),
        ("f", fields.f.is_none()),
        ("time", M::IS_ETCD && fields.time.is_none()),
    ];
    if let Some((name, _)) = missing.iter().find(|(_, missing)| *missing) {
        return Err(Flaw {
            at: 0,
            problem: format!("expected the field `{name}`").into(),
        });
    }
    let line = u32::try_from(number).map_err(|_| Flaw {
        at: 0,
        problem: "more than 4 294 967 295 lines".into(),
    })?;
    model.event(line, &fields).map_err(whole_line)
}

/// Reads the form in which events are written, up to the value; false where the line has another.
#[inline]
fn usual_start<'a>(
    cursor: &mut Cursor<'a>,
    fields: &mut Fields<'a>,
    only_objects: bool,
) -> Parse<bool> {
    if !cursor.literal(r#"{"index":"#) || !matches!(cursor.peek(), Some(b'0'..=b'9')) {
        return Ok(false);
    }
    fields.index = Some(cursor.natural()?);
    fields.kind = if cursor.literal(r#","type":"ok","process":"#) {
        Some(Kind::Ok)
    } else if cursor.literal(r#","type":"invoke","process":"#) {
        Some(Kind::Invoke)
    } else {
        return Ok(false);
    };
    fields.process = Some(parse_process(cursor)?);
    if !cursor.literal(r#","f":"#) {
        return Ok(false);
    }
    fields.f = Some(cursor.string()?);
    Ok(cursor.literal(r#","value":"#) && (!only_objects || cursor.peek() == Some(b'{')))
}

/// Reads on behind the value; false where the event does not end with time and node.
#[inline]
fn usual_end<'a>(cursor: &mut Cursor<'a>, fields: &mut Fields<'a>) -> Parse<bool> {
    if cursor.literal(r#","time":"#) {
        fields.time = Some(cursor.natural()?);
        if cursor.literal(r#","node":"#) {
            fields.node = optional(cursor)?;
        }
    }
    Ok(cursor.literal("}"))
}

#[inline]
fn parse_field<'a>(
    name: &str,
    cursor: &mut Cursor<'a>,
    fields: &mut Fields<'a>,
    model: &mut impl Model,
) -> Parse<()> {
    match name {
        "index" => fields.index = Some(cursor.natural()?),
        "type" => fields.kind = Some(parse_kind(cursor)?),
        "process" => fields.process = Some(parse_process(cursor)?),
        "f" => fields.f = Some(cursor.string()?),
        "value" => {
            if cursor.null() {
                return Ok(());
            }
            fields.value_at = Some(cursor.at());
            let known = fields.kind.is_some() && fields.process.is_some() && fields.f.is_some();
            if known && fields.name.is_none() {
                fields.value_read = true;
                return model.value(fields, cursor);
            }
            return cursor.skip();
        }
        "time" => fields.time = Some(cursor.natural()?),
        "node" => fields.node = optional(cursor)?,
        "error" => fields.error = optional(cursor)?,
        "let" => fields.name = Some(cursor.string()?),
        // The answer carries it; beside the answer it is for people and other tools.
        "revision" => cursor.skip()?,
        "murphy" => return cursor.flaw("a second header: a file holds one history"),
        other => return cursor.flaw(format!("unknown field `{other}`")),
    }
    Ok(())
}

fn optional<'a>(cursor: &mut Cursor<'a>) -> Parse<Option<Cow<'a, str>>> {
    if cursor.null() {
        Ok(None)
    } else {
        cursor.string().map(Some)
    }
}

fn parse_kind(cursor: &mut Cursor<'_>) -> Parse<Kind> {
    let at = cursor.at();
    match &*cursor.string()? {
        "invoke" => Ok(Kind::Invoke),
        "ok" => Ok(Kind::Ok),
        "fail" => Ok(Kind::Fail),
        "info" => Ok(Kind::Info),
        _ => Err(Flaw {
            at,
            problem: "expected the type invoke, ok, fail or info".into(),
        }),
    }
}

/// A name, or a number as Jepsen writes it.
fn parse_process<'a>(cursor: &mut Cursor<'a>) -> Parse<Cow<'a, str>> {
    if cursor.peek() == Some(b'"') {
        return cursor.string();
    }
    match cursor.integer() {
        Ok(number) => Ok(Cow::Owned(number.to_string())),
        Err(flaw) => Err(Flaw {
            problem: "expected a process: a name or a whole number".into(),
            ..flaw
        }),
    }
}
