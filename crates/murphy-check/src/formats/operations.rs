//! Operations in EDN and in JSON, one map each: the files Jepsen, Knossos, Elle and elle-cli write and read, and
//! porcupine's key-value files.

use std::io::Read;

use super::{
    Options, edn,
    elements::{Element, Elements, Syntax, Trouble},
    jepsen::{Intake, Op, is_known},
    sink::Sink,
};
use crate::{
    json::{self, Flaw, Parse},
    read::ReadError,
};

/// Reads a whole history; the model that was guessed, where nobody told it. Where every operation has a key beside its
/// value it is of model `key-value`.
pub(super) fn read(
    source: impl Read,
    syntax: Syntax,
    is_keyed: bool,
    options: &Options<'_>,
    sink: &mut impl Sink,
) -> Result<Option<&'static str>, ReadError> {
    let guessed = is_keyed.then_some("key-value");
    let unfit = |problem| malformed((1, 1), problem);
    let mut intake = Intake::new(options.model.or(guessed), is_keyed, sink).map_err(unfit)?;
    let mut elements = Elements::new(source, syntax);
    let mut is_empty = true;
    loop {
        let found = match elements.next() {
            Ok(None) => break,
            Ok(Some(element)) => take(&element, syntax, &mut intake),
            Err(Trouble::Io { line, source }) => return Err(ReadError::Io { line, source }),
            Err(Trouble::Flaw {
                line,
                column,
                problem,
            }) => intake
                .sink
                .leave_out(line, problem)
                .map_err(|problem| malformed((line, column), problem)),
        };
        is_empty = false;
        found?;
        if intake.sink.is_over() {
            break;
        }
    }
    if is_empty {
        return Err(malformed((1, 1), "the history is empty".into()));
    }
    intake.guessed().map_err(unfit)
}

/// The place and the problem as an error.
pub(super) fn malformed((line, column): (u64, u64), problem: Box<str>) -> ReadError {
    ReadError::Malformed {
        line,
        column,
        problem,
    }
}

fn take<S: Sink>(
    element: &Element<'_>,
    syntax: Syntax,
    intake: &mut Intake<'_, S>,
) -> Result<(), ReadError> {
    match text_of(element.text).and_then(|text| parse(text, syntax)) {
        Ok(None) => Ok(()),
        Ok(Some(op)) => intake
            .take(element.line, op)
            .map_err(|problem| malformed(element.place(0), problem)),
        Err(flaw) => {
            let place = element.place(flaw.at);
            intake
                .sink
                .leave_out(place.0, flaw.problem)
                .map_err(|problem| malformed(place, problem))
        }
    }
}

/// The text of an element.
pub(super) fn text_of(bytes: &[u8]) -> Parse<&str> {
    std::str::from_utf8(bytes).map_err(|error| Flaw {
        at: error.valid_up_to(),
        problem: "expected UTF-8".into(),
    })
}

fn parse(text: &str, syntax: Syntax) -> Parse<Option<Op>> {
    let mut op = Op::default();
    let mut wrong = None;
    let mut set = |name: &str, at: usize, value| {
        if let Err(problem) = op.set(name, value) {
            wrong.get_or_insert(Flaw { at, problem });
        }
    };
    match syntax {
        Syntax::Edn => {
            let mut cursor = edn::Cursor::new(text, 0);
            if cursor.peek()?.is_none() {
                return Ok(None);
            }
            cursor.map(|name, cursor| {
                cursor.peek()?;
                let at = cursor.at();
                let value = cursor.value()?;
                if is_known(name) {
                    set(name, at, value);
                }
                Ok(())
            })?;
            cursor.end()?;
        }
        Syntax::Json => {
            let mut cursor = json::Cursor::new(text);
            cursor.object(|name, cursor| {
                if !is_known(name) {
                    return cursor.skip();
                }
                cursor.peek();
                let at = cursor.at();
                set(name, at, cursor.value()?);
                Ok(())
            })?;
            cursor.end()?;
        }
    }
    wrong.map_or(Ok(Some(op)), Err)
}
