//! A recording is written down again: as Murphy's JSON Lines, or as operations of Jepsen and Elle in EDN or JSON.
//!
//! Reading what was written gives the same recording, but for the numbers of its lines and indexes, which are those
//! of the new file. Three things cannot be said in every format:
//! - Jepsen's processes are numbers. One with another name gets a number that no other has, and its name goes beside
//!   it as `client`, which Jepsen passes over and this crate reads back;
//! - JSON has no maps whose keys are not text: such a map becomes a list of pairs;
//! - EDN tells keywords from text, and a recording does not: what was asked for, the keys of maps and the first word
//!   of each step of a transaction become keywords where they can be ones, all other text becomes strings.

use std::{
    collections::HashSet,
    io::{self, Write},
};

use serde::Serialize;

use crate::{
    history::{Header, Kind, NEMESIS, VERSION},
    recording::{Outcome, Recording},
    value::Value,
};

/// A format that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// Murphy's JSON Lines.
    Murphy,
    /// Operations in EDN, one a line.
    Edn,
    /// Operations as one JSON array, one a line.
    JepsenJson,
}

/// Writes a recording; the sink should be buffered.
pub fn write(recording: &Recording, format: Written, mut sink: impl Write) -> io::Result<()> {
    let names = Names::new(recording, format);
    match format {
        Written::Murphy => {
            let header = Header {
                murphy: "history".into(),
                version: VERSION,
                ..recording.header.clone()
            };
            serde_json::to_writer(&mut sink, &header)?;
            sink.write_all(b"\n")?;
        }
        Written::JepsenJson => sink.write_all(b"[")?,
        Written::Edn => {}
    }
    let mut index = 0;
    each_event(recording, |mut event| {
        // Jepsen's checkers read what failed from the completion, Murphy's from the request.
        if format == Written::Murphy && matches!(event.kind, Kind::Fail | Kind::Info) {
            event.value = event.value.filter(|_| event.process.is_none());
        }
        let line = Line::new(index, &event, &names, recording);
        match format {
            Written::Murphy => serde_json::to_writer(&mut sink, &line)?,
            Written::JepsenJson => {
                sink.write_all(if index == 0 { b"" } else { b",\n" })?;
                serde_json::to_writer(&mut sink, &line)?;
            }
            Written::Edn => line.write_edn(&mut sink)?,
        }
        if format != Written::JepsenJson {
            sink.write_all(b"\n")?;
        }
        index += 1;
        Ok(())
    })?;
    if format == Written::JepsenJson {
        sink.write_all(b"]\n")?;
    }
    sink.flush()
}

/// Something that happened at one moment.
struct Event<'a> {
    moment: u64,
    kind: Kind,
    /// `None` for the nemesis.
    process: Option<u32>,
    f: &'a str,
    value: Option<&'a Value>,
    node: Option<&'a str>,
    error: Option<&'a str>,
}

/// Which event comes next: of an invocation, or of a fault.
#[derive(Clone, Copy)]
enum Mark {
    Ask(usize),
    End(usize),
    Begin(usize),
    Over(usize),
}

/// Hands out the events in their order. A process that asks again without having been answered is first said not to
/// have been, as a format wants it.
fn each_event(
    recording: &Recording,
    mut take: impl FnMut(Event<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut open = vec![None; recording.process_count()];
    for mark in marks(recording) {
        match mark {
            Mark::Ask(number) => {
                let invocation = &recording.invocations[number];
                if let Some(unanswered) = open[invocation.process as usize].replace(number) {
                    let unanswered = &recording.invocations[unanswered];
                    take(Event {
                        moment: invocation.call,
                        kind: Kind::Info,
                        process: Some(invocation.process),
                        f: recording.word(unanswered.f),
                        value: Some(&unanswered.ask),
                        node: None,
                        error: None,
                    })?;
                }
                take(Event {
                    moment: invocation.call,
                    kind: Kind::Invoke,
                    process: Some(invocation.process),
                    f: recording.word(invocation.f),
                    value: Some(&invocation.ask),
                    node: invocation.node.map(|node| recording.node(node)),
                    error: None,
                })?;
            }
            Mark::End(number) => {
                let invocation = &recording.invocations[number];
                open[invocation.process as usize] = None;
                take(Event {
                    moment: invocation.end,
                    kind: match invocation.outcome {
                        Outcome::Ok => Kind::Ok,
                        Outcome::Fail => Kind::Fail,
                        Outcome::Unknown => Kind::Info,
                    },
                    process: Some(invocation.process),
                    f: recording.word(invocation.f),
                    value: Some(match invocation.outcome {
                        Outcome::Ok => &invocation.answer,
                        Outcome::Fail | Outcome::Unknown => &invocation.ask,
                    }),
                    node: None,
                    error: invocation.error.map(|error| recording.word(error)),
                })?;
            }
            Mark::Begin(number) | Mark::Over(number) => {
                let fault = &recording.faults[number];
                let begins = matches!(mark, Mark::Begin(_));
                let phase = if begins { "begin" } else { "end" };
                let id = i64::try_from(number).unwrap_or(i64::MAX);
                let value = Value::Map(
                    [
                        (Value::text("phase"), Value::text(phase)),
                        (Value::text("id"), Value::Int(id)),
                    ]
                    .into(),
                );
                take(Event {
                    moment: if begins { fault.begin } else { fault.end },
                    kind: Kind::Info,
                    process: None,
                    f: &fault.f,
                    value: Some(&value),
                    node: fault.node.as_deref(),
                    error: None,
                })?;
            }
        }
    }
    Ok(())
}

/// Every event in its order: those of invocations by index, faults between them by moment.
fn marks(recording: &Recording) -> Vec<Mark> {
    let mut events: Vec<(u64, u64, Mark)> = Vec::new();
    for (number, invocation) in recording.invocations.iter().enumerate() {
        events.push((invocation.index, invocation.call, Mark::Ask(number)));
        if invocation.end_line > 0 {
            events.push((invocation.end_index, invocation.end, Mark::End(number)));
        }
    }
    events.sort_by_key(|(index, ..)| *index);
    let mut faults: Vec<(u64, Mark)> = Vec::new();
    for (number, fault) in recording.faults.iter().enumerate() {
        faults.push((fault.begin, Mark::Begin(number)));
        if fault.end < u64::MAX {
            faults.push((fault.end, Mark::Over(number)));
        }
    }
    faults.sort_by_key(|(moment, _)| *moment);
    let mut faults = faults.into_iter().peekable();
    let mut marks = Vec::with_capacity(events.len());
    for (_, moment, mark) in events {
        while let Some((_, fault)) = faults.next_if(|(at, _)| *at <= moment) {
            marks.push(fault);
        }
        marks.push(mark);
    }
    marks.extend(faults.map(|(_, fault)| fault));
    marks
}

/// What processes are called in a format.
enum Names {
    /// As they are.
    Own,
    /// By a number each; the name beside it where that is not the number itself.
    Numbers(Vec<u64>),
}

impl Names {
    fn new(recording: &Recording, format: Written) -> Self {
        if format == Written::Murphy {
            return Self::Own;
        }
        let count = u32::try_from(recording.process_count()).unwrap_or(u32::MAX);
        let own: Vec<Option<u64>> = (0..count)
            .map(|id| number_of(recording.process(id)))
            .collect();
        let taken: HashSet<u64> = own.iter().copied().flatten().collect();
        let mut free = (0..).filter(|number| !taken.contains(number));
        Self::Numbers(
            own.into_iter()
                .map(|own| own.or_else(|| free.next()).unwrap_or_default())
                .collect(),
        )
    }
}

/// The number a name is, where writing that number gives the name again.
fn number_of(name: &str) -> Option<u64> {
    let number: i64 = name.parse().ok()?;
    u64::try_from(number)
        .ok()
        .filter(|number| number.to_string() == name)
}

#[derive(Serialize)]
#[serde(untagged)]
enum Process<'a> {
    Name(&'a str),
    Number(u64),
}

/// One line; its fields in the order in which they are read fastest.
#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    r#type: Kind,
    process: Process<'a>,
    f: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn new(index: u64, event: &Event<'a>, names: &Names, recording: &'a Recording) -> Self {
        let mut client = None;
        let process = match (event.process, names) {
            (None, _) => Process::Name(NEMESIS),
            (Some(id), Names::Own) => Process::Name(recording.process(id)),
            (Some(id), Names::Numbers(numbers)) => {
                let name = recording.process(id);
                client = number_of(name).is_none().then_some(name);
                Process::Number(numbers[id as usize])
            }
        };
        Self {
            index,
            r#type: event.kind,
            process,
            f: event.f,
            value: event.value,
            time: recording.is_timed.then_some(event.moment),
            node: event.node,
            error: event.error,
            client,
        }
    }

    fn write_edn(&self, sink: &mut impl Write) -> io::Result<()> {
        let kind = match self.r#type {
            Kind::Invoke => "invoke",
            Kind::Ok => "ok",
            Kind::Fail => "fail",
            Kind::Info => "info",
        };
        write!(sink, "{{:index {}, :type :{kind}, :process ", self.index)?;
        match self.process {
            Process::Name(name) => write_word(name, sink)?,
            Process::Number(number) => write!(sink, "{number}")?,
        }
        sink.write_all(b", :f ")?;
        write_word(self.f, sink)?;
        if let Some(value) = self.value {
            sink.write_all(b", :value ")?;
            match value {
                Value::List(steps) if self.f == "txn" => write_steps(steps, sink)?,
                value => write_value(value, sink)?,
            }
        }
        if let Some(time) = self.time {
            write!(sink, ", :time {time}")?;
        }
        for (name, text) in [
            ("node", self.node),
            ("error", self.error),
            ("client", self.client),
        ] {
            if let Some(text) = text {
                write!(sink, ", :{name} ")?;
                write_text(text, sink)?;
            }
        }
        sink.write_all(b"}")
    }
}

/// The steps of a transaction, of which each begins with a keyword.
fn write_steps(steps: &[Value], sink: &mut impl Write) -> io::Result<()> {
    write_list(steps, sink, |step, sink| match step {
        Value::List(parts) => {
            let mut is_first = true;
            write_list(parts, sink, |part, sink| {
                match part.as_text().filter(|_| std::mem::take(&mut is_first)) {
                    Some(word) => write_word(word, sink),
                    None => write_value(part, sink),
                }
            })
        }
        other => write_value(other, sink),
    })
}

fn write_list<W: Write>(
    values: &[Value],
    sink: &mut W,
    mut each: impl FnMut(&Value, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    sink.write_all(b"[")?;
    for (at, value) in values.iter().enumerate() {
        sink.write_all(if at == 0 { b"" } else { b" " })?;
        each(value, sink)?;
    }
    sink.write_all(b"]")
}

fn write_value<W: Write>(value: &Value, sink: &mut W) -> io::Result<()> {
    match value {
        Value::Nil => sink.write_all(b"nil"),
        Value::Bool(truth) => write!(sink, "{truth}"),
        Value::Int(number) => write!(sink, "{number}"),
        Value::Text(text) => write_text(text, sink),
        Value::List(values) => write_list(values, sink, |value, sink| write_value(value, sink)),
        Value::Map(entries) => {
            sink.write_all(b"{")?;
            for (at, (key, value)) in entries.iter().enumerate() {
                sink.write_all(if at == 0 { b"" } else { b", " })?;
                match key.as_text() {
                    Some(word) => write_word(word, sink)?,
                    None => write_value(key, sink)?,
                }
                sink.write_all(b" ")?;
                write_value(value, sink)?;
            }
            sink.write_all(b"}")
        }
    }
}

/// A keyword where the text can be one, a string otherwise.
fn write_word(text: &str, sink: &mut impl Write) -> io::Result<()> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b".*+!-_?$%&=<>".contains(&byte);
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_word) {
        return write!(sink, ":{text}");
    }
    write_text(text, sink)
}

fn write_text(text: &str, sink: &mut impl Write) -> io::Result<()> {
    sink.write_all(b"\"")?;
    for letter in text.chars() {
        match letter {
            '"' => sink.write_all(b"\\\"")?,
            '\\' => sink.write_all(b"\\\\")?,
            '\n' => sink.write_all(b"\\n")?,
            '\r' => sink.write_all(b"\\r")?,
            '\t' => sink.write_all(b"\\t")?,
            '\0'..=' ' if letter < ' ' => write!(sink, "\\u{:04x}", u32::from(letter))?,
            _ => write!(sink, "{letter}")?,
        }
    }
    sink.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_cannot_be_keywords_are_strings() {
        let cases = [
            ("append", ":append"),
            ("a.b-c?", ":a.b-c?"),
            ("", "\"\""),
            ("5", "\"5\""),
            ("a/b", "\"a/b\""),
            ("a b\n\"\u{1}\\é", "\"a b\\n\\\"\\u0001\\\\é\""),
        ];
        for (text, expected) in cases {
            let mut sink = Vec::new();
            write_word(text, &mut sink).unwrap();
            assert_eq!(String::from_utf8(sink).unwrap(), expected);
        }
    }

    #[test]
    fn a_number_stands_for_itself_alone() {
        let cases = [
            ("0", Some(0)),
            ("17", Some(17)),
            ("007", None),
            ("-1", None),
            ("c1", None),
            ("99999999999999999999", None),
        ];
        for (name, number) in cases {
            assert_eq!(number_of(name), number, "{name}");
        }
    }
}
