//! Murphy's own JSON Lines, of every model but etcd: a header, then one event a line (docs/history.md).

use std::io::Read;

use super::{Options, sink::Sink};
use crate::{
    history::Header,
    json::{Cursor, Parse},
    read::{self, Fields, Model, ReadError},
    recording::Entry,
    value::Value,
};

/// Reads a whole history.
pub(super) fn read(
    source: impl Read,
    options: &Options<'_>,
    sink: &mut impl Sink,
) -> Result<(), ReadError> {
    let mut intake = Intake {
        sink,
        model: options.model,
        value: Value::Nil,
    };
    read::read(source, &mut intake)
}

struct Intake<'a, S> {
    sink: &'a mut S,
    model: Option<&'a str>,
    /// The value of the line at hand.
    value: Value,
}

impl<S: Sink> Model for Intake<'_, S> {
    const IS_ETCD: bool = false;

    fn begin(&mut self, header: &Header) -> Result<(), Box<str>> {
        match self.model {
            Some(model) if model != header.model => {
                let found = &header.model;
                return Err(
                    format!("the history is of model `{found}`, expected `{model}`").into(),
                );
            }
            _ if header.model == "etcd" => return Err(super::ETCD_IS_APART.into()),
            _ => {}
        }
        self.sink.begin(header)
    }

    fn define(&mut self, _: &str, cursor: &mut Cursor<'_>) -> Parse<()> {
        cursor.flaw("`let` lines belong to model etcd")
    }

    fn value(&mut self, _: &Fields<'_>, cursor: &mut Cursor<'_>) -> Parse<()> {
        self.value = cursor.value()?;
        Ok(())
    }

    fn event(&mut self, line: u32, fields: &Fields<'_>) -> Result<(), Box<str>> {
        // The caller has seen that kind, process and f are there.
        let Some(kind) = fields.kind else {
            return Err("expected the field `type`".into());
        };
        // Other formats have 64-bit integers with a sign: what is read here can be written there.
        for (name, number) in [("index", fields.index), ("time", fields.time)] {
            if number.is_some_and(|number| i64::try_from(number).is_err()) {
                return Err(format!("the {name} is beyond 2^63").into());
            }
        }
        self.sink.take(Entry {
            line: line.into(),
            index: fields.index,
            kind,
            process: fields.process.as_deref().unwrap_or_default().into(),
            f: fields.f.as_deref().unwrap_or_default().into(),
            value: std::mem::take(&mut self.value),
            time: fields.time,
            node: fields.node.as_deref().map(Into::into),
            error: fields.error.as_deref().map(Into::into),
        })
    }

    fn leave_out(&mut self, line: u64, problem: Box<str>) -> Result<(), Box<str>> {
        self.value = Value::Nil;
        self.sink.leave_out(line, problem)
    }

    fn is_over(&self) -> bool {
        self.sink.is_over()
    }
}
