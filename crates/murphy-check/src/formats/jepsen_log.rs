//! Jepsen's log, as far as it tells operations: `INFO  jepsen.util - 0  :invoke  :write  3`.
//!
//! Lines of other loggers are passed over. An `:info` and what never ended have unknown outcomes; a `:fail` did not
//! happen, and says why where its value is a word such as `:timed-out`. A failed `:cas` without such a word is one
//! that found another value; model `cas-register` takes it so.

use std::io::Read;

use super::{
    Options, edn,
    jepsen::{Intake, Op},
    operations::{malformed, text_of},
    sink::Sink,
};
use crate::{
    history::Kind,
    json::{Flaw, Parse},
    lines::{LIMIT, Lines},
    read::ReadError,
};

/// The logger of operations.
pub(super) const LOGGER: &str = "jepsen.util";

/// How lines of a log begin, unless they begin with a date.
pub(super) const LEVELS: [&str; 5] = ["INFO", "WARN", "ERROR", "DEBUG", "TRACE"];

/// Reads a whole log.
pub(super) fn read(
    source: impl Read,
    options: &Options<'_>,
    sink: &mut impl Sink,
) -> Result<(), ReadError> {
    let model = options.model.unwrap_or("cas-register");
    let unfit = |problem| malformed((1, 1), problem);
    let mut intake = Intake::new(Some(model), false, sink).map_err(unfit)?;
    let mut lines = Lines::new(source);
    let mut is_empty = true;
    for number in 1.. {
        let line = lines.next().map_err(|source| ReadError::Io {
            line: number,
            source,
        })?;
        let Some(line) = line else { break };
        if line.trim_ascii().is_empty() {
            continue;
        }
        is_empty = false;
        let done = if line.len() >= LIMIT {
            let problem = "the line is longer than 64 MiB".into();
            Err(Flaw { at: LIMIT, problem })
        } else {
            text_of(line).and_then(parse)
        };
        match done {
            Ok(None) => Ok(()),
            Ok(Some(op)) => intake
                .take(number, op)
                .map_err(|problem| malformed((number, 1), problem)),
            Err(flaw) => intake
                .sink
                .leave_out(number, flaw.problem)
                .map_err(|problem| malformed((number, flaw.at as u64 + 1), problem)),
        }?;
        if intake.sink.is_over() {
            break;
        }
    }
    if is_empty {
        return Err(malformed((1, 1), "the log is empty".into()));
    }
    Ok(())
}

/// An operation, or nothing where another logger speaks.
fn parse(line: &str) -> Parse<Option<Op>> {
    let Some(at) = line.find(LOGGER).map(|at| at + LOGGER.len()) else {
        return other_logger(line).map(|()| None);
    };
    let behind = line[at..].trim_start_matches([' ', '-', ':']);
    let mut cursor = edn::Cursor::new(line, line.len() - behind.len());
    let mut op = Op::default();
    for name in ["process", "type", "f"] {
        let place = start(&mut cursor, name)?;
        op.set(name, cursor.value()?)
            .map_err(|problem| Flaw { at: place, problem })?;
    }
    start(&mut cursor, "value")?;
    let value = cursor.value()?;
    if cursor.peek()?.is_some() {
        let error = cursor.value()?;
        op.error = Some(error.to_string());
    }
    match op.kind {
        Some(Kind::Fail | Kind::Info) if op.error.is_none() && value.as_text().is_some() => {
            op.error = value.as_text().map(str::to_owned);
        }
        _ => op.value = value,
    }
    Ok(Some(op))
}

/// Where the next part begins.
fn start(cursor: &mut edn::Cursor<'_>, part: &str) -> Parse<usize> {
    let next = cursor.peek()?;
    let at = cursor.at();
    if next.is_none() {
        let problem = format!("the line ends here, expected the {part} of an operation").into();
        return Err(Flaw { at, problem });
    }
    Ok(at)
}

/// A line of another logger has a level or a date, a name and something to say; a trace of the stack is indented.
fn other_logger(line: &str) -> Parse<()> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    let is_trace = line.starts_with([' ', '\t']);
    let begins = LEVELS.contains(&first) || first.starts_with(|c: char| c.is_ascii_digit());
    if is_trace || begins && words.count() >= 2 {
        return Ok(());
    }
    let (at, problem) = if begins {
        (line.len(), "the line ends here, expected who says what")
    } else {
        (
            0,
            "expected a line of a log, such as `INFO  jepsen.util - 0 :invoke :read nil`",
        )
    };
    Err(Flaw {
        at,
        problem: problem.into(),
    })
}
